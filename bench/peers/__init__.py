"""Other job systems, each with a no-op in the way its own documentation starts one: adapters, run from `.venv-peers`.

`python -m bench.peers.<name> setup | one <n> | bulk <n> | work`, told by the environment where to work (`tally`). They
import nothing of Holdfast and nothing that is not the peer's own, and `setup`, `one` and `bulk` end with one line of
JSON. `BENCH_TUNED=1` sets what its documentation names for throughput, and keeps every guarantee that it had before.
"""
