"""What the pool, the images and the blobs raise on purpose.

    HoldfastError
    ├── MediaError         422  the file itself is refused; trying again gives the same answer
    ├── TaskFailed         500  a task raised something nobody foresaw; `error_type` names it
    ├── SlotDied           500  the child process ended under the call; `signal` or `exit_code` says how
    ├── ContentQuarantined 422  this content has ended too many slots and gets no other; `ended_by` says by what
    ├── DeadlineExceeded   504  the call ran for longer than its timeout and was killed
    ├── PoolFull           429  the bounded queue in front of the slots is full
    ├── PoolClosed         503  the pool was closed, or never started
    ├── SlotsUnavailable   503  no child process can be started
    ├── BlobMissing        404  no object under that key
    ├── BlobTooLarge       413  a stream passed its limit; nothing of it is stored
    ├── UnsupportedFormat  415  what came is nothing that is taken here, by its first bytes
    └── StorageFull        507  the disk's reserve would be eaten into; nothing is stored

Codes of MediaError: unsupported_format, unsupported_codec, no_streams, reaches_out, truncated, corrupt, too_many_bytes,
too_many_pixels, too_many_frames, too_many_streams, too_long, out_of_memory, output_too_large, no_such_file. Worth a
retry: SlotDied, DeadlineExceeded, TaskFailed, PoolClosed and SlotsUnavailable.
"""

import signal as signals
from typing import Any

from shared.kernel.errors import BadInput, HoldfastError, NotFound, Overloaded, TooLarge, Unavailable


class MediaError(BadInput):
    code = "media_refused"

    def wire(self) -> dict[str, Any]:
        """The form in which a child tells its parent."""
        return {"type": self.code, "message": self.message, "refusal": True, "details": self.details}


class TaskFailed(HoldfastError):
    code = "task_failed"


class SlotDied(HoldfastError):
    code = "slot_died"

    @classmethod
    def by(cls, status: int | None) -> "SlotDied":
        """Read an exit code as subprocess has it: negative is a signal, None is unknown (nobody could wait for it)."""
        if status is None:
            return cls("the media slot ended while it ran this call", signal=None, exit_code=None)
        if status < 0:
            name = _signal_name(-status)
            return cls(f"the media slot was ended by {name} while it ran this call", signal=name, exit_code=None)
        return cls(f"the media slot exited with {status} while it ran this call", signal=None, exit_code=status)


class ContentQuarantined(HoldfastError):
    status = 422
    code = "content_quarantined"


class DeadlineExceeded(HoldfastError):
    status = 504
    code = "deadline_exceeded"


class PoolFull(Overloaded):
    code = "media_pool_full"


class PoolClosed(Unavailable):
    code = "media_pool_closed"


class SlotsUnavailable(Unavailable):
    code = "media_slots_unavailable"


class BlobMissing(NotFound):
    code = "blob_missing"


class BlobTooLarge(TooLarge):
    code = "body_too_large"


class UnsupportedFormat(HoldfastError):
    status = 415
    code = "unsupported_format"


class StorageFull(HoldfastError):
    status = 507
    code = "storage_full"


def _signal_name(number: int) -> str:
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"
