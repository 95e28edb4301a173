"""Real embedded servers and fault helpers for tests, benchmarks and local runs."""
