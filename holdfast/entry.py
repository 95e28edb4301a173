"""The console script: the command line, or one sentence about what it lacks to start."""

import sys


def main() -> None:
    try:
        from holdfast.cli import main as run  # noqa: PLC0415 - so that a missing dependency is told, not traced
    except ModuleNotFoundError as missing:
        sys.stderr.write(f"holdfast: {missing.name} is not installed: run `make setup`\n")
        sys.exit(2)
    run()
