"""Settings of the media service, read from `HOLDFAST_MEDIA_*`."""

import os
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 1024 * 1024


def usable_cpus() -> int:
    """What this process may use: its affinity, and the cgroup's CPU limit if that is less; at least 1."""
    usable = len(os.sched_getaffinity(0))
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:  # noqa: PTH123 - a kernel file
            quota, period = file.read().split()
    except (OSError, ValueError):
        return usable
    return usable if quota == "max" else max(1, min(usable, int(quota) // int(period)))


class MediaSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="HOLDFAST_MEDIA_", frozen=True, extra="ignore", allow_inf_nan=False)

    storage_url: str = ".holdfast/media"
    slots: int = Field(default_factory=usable_cpus, ge=1, le=256)
    upload_limit_bytes: int = Field(32 * MIB, ge=1024, le=1024 * MIB)
    image_limit_s: float = Field(30.0, gt=0, le=50, description="of one image in its slot, then it is killed")
    slot_data_limit_bytes: int = Field(900 * MIB, ge=64 * MIB)

    @field_validator("storage_url")
    @classmethod
    def _storage(cls, value: str) -> str:
        url = urlsplit(value)
        if url.scheme not in ("", "file", "s3", "gs", "az") or (url.scheme in ("s3", "gs", "az") and not url.hostname):
            raise ValueError("must be a directory, file://…, or s3://, gs:// or az:// with the name of a bucket")
        return value
