"""Settings of the media service, read from `HOLDFAST_MEDIA_*`."""

from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from services.media.cpus import usable_cpus
from services.media.films.limits import AudioLimits, VideoLimits
from services.media.limits import ImageLimits, Limits
from services.media.slots.sandbox import PROTECTIONS

MIB = 1024 * 1024


class MediaSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="HOLDFAST_MEDIA_", frozen=True, extra="ignore", allow_inf_nan=False)

    storage_url: str = ".holdfast/media"
    slots: int = Field(default_factory=usable_cpus, ge=1, le=256)
    disk_reserve_bytes: int = Field(256 * MIB, ge=0, description="of a local storage's disk, that no upload may take")
    upload_limit_bytes: int = Field(2048 * MIB, ge=1024, le=1024 * 1024 * MIB, description="of whatever kind")
    upload_memory_bytes: int = Field(512 * MIB, ge=32 * MIB, description="of a process, for files on their way in")
    upload_keep_s: float = Field(86_400.0, ge=60, le=30 * 86_400, description="since an upload was last brought a part")
    uploads_max: int = Field(1000, ge=1, le=100_000, description="of one tenant, that are not complete")
    fetch_limit_s: float = Field(300.0, gt=0, le=840, description="of one download from a URL")
    link_key: SecretStr = Field(SecretStr(""), description="signs links to files; the master key does if it is empty")
    browser_origins: Annotated[tuple[str, ...], NoDecode] = ()  # whose pages may upload, and read what comes back
    image_limit_s: float = Field(30.0, gt=0, le=50, description="of one image in its slot, then it is killed")
    video_limit_s: float = Field(1_800.0, gt=0, le=3_400, description="of one video in its slot")
    audio_limit_s: float = Field(600.0, gt=0, le=1_100, description="of one sound in its slot")
    waiting_limit: int = Field(100_000, ge=1, le=10_000_000, description="assets of one queue that may wait")
    tenant_waiting_limit: int = Field(10_000, ge=1, le=10_000_000, description="those of one tenant")
    slot_data_limit_bytes: int = Field(900 * MIB, ge=64 * MIB, description="private memory of a slot (RLIMIT_DATA)")
    slot_resident_limit_bytes: int = Field(1200 * MIB, ge=64 * MIB, description="what a slot may hold, all in all")
    slot_file_limit_bytes: int = Field(4096 * MIB, ge=MIB, description="one file that a slot writes")
    slot_recycle_after: int = Field(500, ge=1, le=1_000_000, description="calls, then a slot is replaced")
    slot_growth_limit_bytes: int = Field(256 * MIB, ge=MIB, description="more than when it was new: replaced as well")
    required_protections: Annotated[tuple[str, ...], NoDecode] = ("seccomp",)
    quarantine_after: int = Field(3, ge=0, le=100, description="slots that a content may end; 0: it is never kept out")
    keep_casualties_s: float = Field(30 * 86_400.0, ge=60, le=315_360_000)

    image_size_limit_bytes: int = Field(32 * MIB, ge=1024, le=1024 * MIB)
    image_pixels_limit: int = Field(50_000_000, ge=1, le=1_000_000_000, description="of all frames that are decoded")
    image_frames_limit: int = Field(100, ge=1, le=10_000)
    image_output_pixels_limit: int = Field(
        100_000_000, ge=1, le=10_000_000_000, description="of all renditions of one image together"
    )
    video_size_limit_bytes: int = Field(2048 * MIB, ge=1024, le=1024 * 1024 * MIB)
    video_duration_limit_s: float = Field(7200.0, gt=0, le=86_400)
    video_pixels_limit: int = Field(4096 * 2304, ge=1, le=100_000_000, description="of one frame")
    audio_size_limit_bytes: int = Field(512 * MIB, ge=1024, le=1024 * 1024 * MIB)
    audio_duration_limit_s: float = Field(14_400.0, gt=0, le=86_400)
    streams_limit: int = Field(32, ge=1, le=1000, description="in one video or sound")

    @field_validator("required_protections", mode="before")
    @classmethod
    def _protections(cls, value: object) -> object:
        names = tuple(value.replace(",", " ").split()) if isinstance(value, str) else value
        if isinstance(names, tuple) and (unknown := [name for name in names if name not in PROTECTIONS]):
            raise ValueError(f"{unknown[0]!r} is none of {', '.join(PROTECTIONS)}")
        return names

    def slot_limit_s(self, kind: str) -> float:
        """How long a call of this kind may run."""
        return {"video": self.video_limit_s, "audio": self.audio_limit_s}.get(kind, self.image_limit_s)

    def limits(self) -> Limits:
        """What a slot is told to refuse."""
        return Limits(
            image=ImageLimits(
                size_bytes=self.image_size_limit_bytes,
                pixels=self.image_pixels_limit,
                frames=self.image_frames_limit,
                output_pixels=self.image_output_pixels_limit,
            ),
            video=VideoLimits(
                size_bytes=self.video_size_limit_bytes,
                duration_s=self.video_duration_limit_s,
                pixels=self.video_pixels_limit,
                streams=self.streams_limit,
            ),
            audio=AudioLimits(
                size_bytes=self.audio_size_limit_bytes,
                duration_s=self.audio_duration_limit_s,
                streams=self.streams_limit,
            ),
        )

    @field_validator("storage_url")
    @classmethod
    def _storage(cls, value: str) -> str:
        url = urlsplit(value)
        if url.scheme not in ("", "file", "s3", "gs", "az") or (url.scheme in ("s3", "gs", "az") and not url.hostname):
            raise ValueError("must be a directory, file://…, or s3://, gs:// or az:// with the name of a bucket")
        return value

    @field_validator("browser_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("browser_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for part in value:
            url = urlsplit(part)
            if url.scheme not in ("http", "https") or not url.netloc or url.path or url.query or "@" in url.netloc:
                raise ValueError(f"{part!r} is no origin: https://app.example.com, without a path")
        return value
