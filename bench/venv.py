"""The environment of peers and plots: `.venv-peers`, from `bench/peers.txt` with hashes, never the product's.

`python -m bench.venv` makes it (`make bench-peers`); a scenario that needs it does so itself. It is made again when the
pins change. Where it cannot be made, the reason stands in the report in place of the figures.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PINS = ROOT / "bench" / "peers.txt"
FOLDER = ROOT / ".venv-peers"
STAMP = FOLDER / ".installed"
INSTALL_S = 600.0


def python() -> str:
    return str(FOLDER / "bin" / "python")


def binary(name: str) -> str:
    return str(FOLDER / "bin" / name)


def ensure() -> str | None:
    """None when it is there, otherwise why not, in one line."""
    wanted = hashlib.sha256(PINS.read_bytes()).hexdigest()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return None
    try:
        shutil.rmtree(FOLDER, ignore_errors=True)
        _run(sys.executable, "-m", "venv", str(FOLDER))
        _run(python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes",
             "-r", str(PINS))  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        lines = (getattr(error, "stderr", None) or str(error) or repr(error)).strip().splitlines()
        first = next((line for line in lines if line.startswith("ERROR")), lines[-1])
        return f"{PINS.name} cannot be installed: {first}"
    STAMP.write_text(wanted)
    return None


def versions() -> dict[str, str]:
    """The pins, for the report."""
    lines = (line.split(";")[0].strip(" \\") for line in PINS.read_text().splitlines() if "==" in line)
    return dict(line.partition("==")[::2] for line in lines)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_S)


if __name__ == "__main__":
    if reason := ensure():
        print(reason, file=sys.stderr)
        sys.exit(1)
    print(f"{FOLDER.name} is ready")
