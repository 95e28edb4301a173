"""Unique jobs as data: of all that wait under one key there is one; said at the enqueue, or on the command class."""

from hashlib import blake2b
from typing import Any, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, model_validator

OnConflict = Literal["keep", "replace", "reschedule"]


class Unique(BaseModel):
    """The key is `key`, or made of the command's `fields` (all of them when neither is given), always within its task.

    `scope`: one for each tenant, or one for the queue, whoever asks. It holds from the enqueue until a worker starts
    the job; with `window_s` also for so many seconds from the enqueue, whatever has become of the job by then.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str | None = Field(None, min_length=1, max_length=1_000)
    fields: tuple[str, ...] = ()
    scope: Literal["tenant", "queue"] = "tenant"
    window_s: float | None = Field(None, gt=0, le=30 * 86_400)
    on_conflict: OnConflict = "keep"

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.key is not None and self.fields:
            raise ValueError("give a key or fields: a key stands for itself")
        if self.scope == "queue" and self.on_conflict == "replace":
            raise ValueError("a job that all tenants share would run for one with the arguments of another")
        return self

    def key_of(self, task: str, tenant: str, args: Any) -> str:
        """The text that must be alone in the ledger; `args` are the command's fields as JSON knows them."""
        if self.key is not None:
            made: Any = self.key
        else:
            missing = [name for name in self.fields if name not in args]
            if missing:
                raise ValueError(f"{task} has no field {missing[0]!r} to be unique by")
            made = {name: args[name] for name in self.fields or args}
        packed = orjson.dumps([self.key is not None, made], option=orjson.OPT_SORT_KEYS)
        owner = f"t/{tenant}" if self.scope == "tenant" else "q"
        return f"{owner}/{task}/{blake2b(packed, digest_size=16).hexdigest()}"
