"""What every service stands on; the dependency rules of its parts are in pyproject.toml."""
