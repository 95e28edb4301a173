"""Install one service's slice of requirements.lock into a virtual environment.

Owns which of the lock's pins an image holds. `requirements.lock` is universal: it pins every extra, the test tools
included, and an image needs one extra. The lock decides versions and hashes, `pyproject.toml` names what is wanted
first, and the metadata of each installed wheel names what comes next; so the slice is found in waves, and no resolver
ever chooses a version.

Invariant: what is installed has its version and its hash in the lock. Refuses: an unknown extra, a need that the lock
does not pin at a version that satisfies it, and source distributions but those named by `--from-source` (building one
runs its code). Those are built without isolation, because an isolated build would fetch its tools unpinned:
build-tools.lock has them.

Why not `pip install -c requirements.lock <names>`: hashes in a constraints file switch pip to hash mode, and hash
mode then refuses every requirement that is not itself pinned with `==` (seen with pip 25.1).
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

try:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name
except ModuleNotFoundError:  # In the build stage pip is the only thing there is, and it brings the same package along.
    from pip._vendor.packaging.requirements import Requirement  # type: ignore[assignment]
    from pip._vendor.packaging.utils import canonicalize_name  # type: ignore[assignment]

_PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)")


class SliceError(Exception):
    """What is wanted and what is pinned do not agree; the message is one sentence for the build log."""


@dataclass(frozen=True)
class Pin:
    """One entry of the lock: `text` is the entry as written, marker and hashes included."""

    name: str
    version: str
    text: str


Obtain = Callable[[list[Pin]], Mapping[str, Iterable[str]]]


def read_pins(lock: str) -> dict[str, Pin]:
    """Entries by canonical name. An entry without a hash is an error: pip would accept it outside hash mode."""
    pins: dict[str, Pin] = {}
    for line in lock.replace("\\\n", " ").splitlines():
        entry = line.split(" #", 1)[0].strip()
        if not entry or entry.startswith("#"):
            continue
        match = _PIN.match(entry)
        if match is None or "--hash=sha256:" not in entry:
            raise SliceError(f"requirements.lock: not a pin with hashes: {entry[:80]}")
        name = canonicalize_name(match["name"])
        if name in pins:
            raise SliceError(f"requirements.lock pins {name} twice; one image needs one answer")
        pins[name] = Pin(name, match["version"], entry)
    return pins


def read_roots(pyproject: str, extra: str) -> list[Requirement]:
    """The project's own dependencies and those of one extra."""
    project = tomllib.loads(pyproject)["project"]
    extras = project["optional-dependencies"]
    if extra not in extras:
        raise SliceError(f"pyproject.toml has no extra {extra!r}; there are: {', '.join(extras)}")
    return [Requirement(text) for text in (*project["dependencies"], *extras[extra])]


def slice_lock(roots: Iterable[Requirement], pins: Mapping[str, Pin], obtain: Obtain) -> list[str]:
    """Names in the slice, sorted. `obtain` installs a wave of pins and answers each name's Requires-Dist lines.

    A name may come back later with more extras (`redis`, then `redis[hiredis]`): its lines are then read again.
    """
    lines: dict[str, list[str]] = {}
    done: set[tuple[str, str]] = set()
    wave = [root for root in roots if root.marker is None or root.marker.evaluate({"extra": ""})]
    while wave:
        wanted = {(canonicalize_name(need.name), extra) for need in wave for extra in ("", *need.extras)} - done
        fresh = sorted({_pin_for(need, pins).name for need in wave} - lines.keys())
        if fresh:
            found = obtain([pins[name] for name in fresh])
            lines |= {name: list(texts) for name, texts in found.items()}
        done |= wanted
        wave = [need for name, extra in sorted(wanted) for need in _needs(lines[name], extra)]
    return sorted(lines)


def _needs(lines: Iterable[str], extra: str) -> list[Requirement]:
    needs = [Requirement(line) for line in lines]
    return [need for need in needs if (need.marker.evaluate({"extra": extra}) if need.marker else extra == "")]


def _pin_for(need: Requirement, pins: Mapping[str, Pin]) -> Pin:
    pin = pins.get(canonicalize_name(need.name))
    if pin is None:
        raise SliceError(f"{need} is needed and requirements.lock does not pin it")
    if not need.specifier.contains(pin.version, prereleases=True):
        raise SliceError(f"{need} is needed and requirements.lock pins {pin.version}")
    return pin


def pip_into(venv: Path, from_source: frozenset[str]) -> Obtain:
    """Installs by pip, without dependencies and with hashes required, into a venv that itself needs no pip."""
    site = sysconfig.get_path("purelib", "venv", vars={"base": str(venv), "platbase": str(venv)})

    def obtain(pins: list[Pin]) -> dict[str, list[str]]:
        with tempfile.TemporaryDirectory() as scratch:
            wheels = [pin for pin in pins if pin.name not in from_source]
            if wheels:
                _pip(venv, "install", "--only-binary", ":all:", *_hashed(wheels, Path(scratch)))
            sources = [pin for pin in pins if pin.name in from_source]
            if sources:
                _pip(None, "wheel", "--no-build-isolation", "--wheel-dir", scratch, *_hashed(sources, Path(scratch)))
                _pip(venv, "install", "--no-index", *(str(wheel) for wheel in Path(scratch).glob("*.whl")))
        found: dict[str, list[str]] = {
            canonicalize_name(dist.name): dist.requires or [] for dist in metadata.distributions(path=[site])
        }
        return {pin.name: found[pin.name] for pin in pins}

    return obtain


def _hashed(pins: list[Pin], scratch: Path) -> list[str]:
    listing = scratch / "wanted.txt"
    listing.write_text("".join(f"{pin.text}\n" for pin in pins), "utf-8")
    return ["--require-hashes", "-r", str(listing)]


def _pip(venv: Path | None, verb: str, *options: str) -> None:
    """`venv` None: this interpreter's own environment, the one that holds the build tools."""
    where = [] if venv is None else ["--python", str(venv / "bin" / "python")]
    subprocess.run([sys.executable, "-m", "pip", *where, verb, "--quiet", "--no-deps", *options], check=True)


def main() -> int:
    """Exit 2 with one sentence when the slice cannot be made; `pip check` has the last word."""
    parser = argparse.ArgumentParser(description="Install one extra of the lock into a virtual environment.")
    parser.add_argument("--project", type=Path, default=Path("pyproject.toml"))
    parser.add_argument("--lock", type=Path, default=Path("requirements.lock"))
    parser.add_argument("--extra", required=True)
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--from-source", action="append", default=[], help="a name that has no wheel and may be built")
    given = parser.parse_args()
    obtain = pip_into(given.into, frozenset(given.from_source))
    try:
        roots = read_roots(given.project.read_text("utf-8"), given.extra)
        names = slice_lock(roots, read_pins(given.lock.read_text("utf-8")), obtain)
    except (SliceError, subprocess.CalledProcessError) as error:
        print(f"install_locked: {error}", file=sys.stderr)
        return 2
    print(f"{given.extra}: {len(names)} packages of the lock: {' '.join(names)}")
    check = [sys.executable, "-m", "pip", "--python", str(given.into / "bin" / "python"), "check"]
    return subprocess.run(check, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
