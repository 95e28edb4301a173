"""Fingerprints: which failures are alike, said so that a deploy, another machine or a new line above changes nothing.

A fingerprint is of the task, the type at the root of the exception's chain of causes, and the innermost frame of the
handler's own code: its file, named after its module, and its function. Frames of the standard library, of installed
packages and of the engine are passed over, since an upgrade moves them; line numbers, folders and addresses are left
out. Pure but for the traceback that is read. Refuses to walk a chain for ever: CHAIN_MOST links.
"""

import re
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from types import TracebackType

CHAIN_MOST = 32
FRAMES_MOST = 1_000
ENGINE = "shared."  # what calls handlers, and what they call to write and to send
_INSTALLED = re.compile(r"[/\\](?:site|dist)-packages[/\\]")
_STANDARD = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib")})
_VARYING = re.compile(
    r"0x[0-9a-f]+|\b[a-z]+_[0-9a-z]{26}\b|[0-9a-f]{8}-[0-9a-f-]{27}|[0-9]+(?:\.[0-9]+)*", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Frame:
    """One call: the file as it was compiled, its module's name, and the function's qualified name."""

    file: str
    module: str
    function: str


def fingerprint(task: str, error_type: str, place: str) -> str:
    """Groups failures that are alike: the task, the type, and where it was raised. 16 hexadecimal digits."""
    return blake2b(f"{task}\n{error_type}\n{place}".encode("utf-8", "replace"), digest_size=8).hexdigest()


def fingerprint_of(task: str, raised: BaseException) -> str:
    cause = root_of(raised)
    place = place_of(list(frames_of(cause.__traceback__))) or place_of(list(frames_of(raised.__traceback__)))
    return fingerprint(task, type(cause).__name__, place)


def root_of(raised: BaseException) -> BaseException:
    """What it all came from: through `raise … from`, and into the first of a group. What was merely being handled
    when something else went wrong (`__context__`) is no cause.
    """
    found = raised
    for _ in range(CHAIN_MOST):
        inner = found.exceptions[0] if isinstance(found, BaseExceptionGroup) else found.__cause__
        if inner is None:
            break
        found = inner
    return found


def frames_of(traceback: TracebackType | None) -> Iterator[Frame]:
    """Outermost first."""
    for _ in range(FRAMES_MOST):
        if traceback is None:
            return
        code = traceback.tb_frame.f_code
        module = traceback.tb_frame.f_globals.get("__name__")
        yield Frame(code.co_filename, module if isinstance(module, str) else "", code.co_qualname)
        traceback = traceback.tb_next


def place_of(frames: Sequence[Frame], standard: Sequence[str] = _STANDARD) -> str:
    """`services/api/tasks.py:send_welcome`; of the engine when nothing else is ours, "" when nothing is at all."""
    own = [frame for frame in frames if _is_own(frame.file, standard)]
    theirs = [frame for frame in own if not frame.module.startswith(ENGINE)]
    return _shown((theirs or own)[-1]) if own else ""


def plain(words: str) -> str:
    """A reason without what differs from one job to the next: ids, numbers, addresses."""
    return _VARYING.sub("#", words)


def _is_own(file: str, standard: Sequence[str]) -> bool:
    if file.startswith("<") or _INSTALLED.search(file):  # frozen, generated, or installed
        return False
    return not any(file.startswith(folder.rstrip("/\\") + sep) for folder in standard for sep in "/\\")


def _shown(frame: Frame) -> str:
    base = re.split(r"[/\\]", frame.file)[-1]
    if frame.module in {"", "__main__", "__mp_main__"}:
        return f"{base}:{frame.function}"
    path = frame.module.replace(".", "/")
    return f"{path}/{base}:{frame.function}" if base == "__init__.py" else f"{path}.py:{frame.function}"
