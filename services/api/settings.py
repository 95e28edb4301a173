"""Settings of the api service, read from `HOLDFAST_API_*`."""

from email.utils import parseaddr
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.api.rhythm import checked_rhythm
from shared.contracts.cron import zone_of
from shared.ledger.output import OUTPUT_LIMIT_BYTES


class ApiSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="HOLDFAST_API_", frozen=True, extra="ignore", allow_inf_nan=False)

    smtp_url: SecretStr = SecretStr("smtp://127.0.0.1:25")
    mail_from: str = "Holdfast <no-reply@holdfast.invalid>"
    smtp_connect_s: float = Field(5.0, gt=0, le=30)
    smtp_total_s: float = Field(20.0, gt=0, le=28, description="below the email's timeout: its own error says more")
    keep_finished_s: float = Field(24 * 3600.0, ge=60, le=3_650 * 86_400, description="completed and cancelled jobs")
    keep_attempts_s: float = Field(
        14 * 86_400.0, ge=60, le=3_650 * 86_400, description="attempts of jobs that are gone"
    )
    keep_actions_s: float = Field(
        90 * 86_400.0, ge=60, le=3_650 * 86_400, description="what callers decided about jobs"
    )
    keep_hours_s: float = Field(400 * 86_400.0, ge=86_400, le=3_650 * 86_400, description="counted hours")
    keep_deleted_s: float = Field(
        30 * 86_400.0, ge=3600, le=3_650 * 86_400, description="that an item of the feed is deleted"
    )
    sync_url: str = Field("", max_length=1_500, description="a feed to read periodically; empty: none")
    sync_token: SecretStr = SecretStr("")
    sync_every: str = Field("900", max_length=200, description="seconds, from 10 to a week, or a cron line")
    sync_time_zone: str = Field("UTC", description="of that cron line")
    sync_tenant: str = Field("system", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$", description="whose the items are")
    watchers_max: int = Field(1_000, ge=1, le=10_000, description="event streams of one process")
    watchers_per_key: int = Field(50, ge=1, le=10_000, description="event streams of one API key, in one process")
    watch_limit_s: float = Field(300.0, ge=1, le=3600, description="then a stream ends, and its client comes again")
    llm_url: str = Field(
        "", description="base of an OpenAI-compatible API, like https://api.example.com/v1; empty: off"
    )
    llm_key: SecretStr = SecretStr("")
    llm_model: str = Field("", max_length=200, description="empty: the server's own choice")
    llm_budget_s: float = Field(10.0, ge=0, le=300, description="how long POST /v1/prompts streams the answer itself")
    llm_idle_s: float = Field(60.0, gt=0, le=300, description="without a word of the model's: then the call has failed")
    llm_total_s: float = Field(300.0, gt=0, le=590, description="of one call; below the command's timeout")
    llm_prompt_limit_bytes: int = Field(64 * 1024, ge=1, le=256 * 1024, description="prompt and system together")
    llm_answer_limit_bytes: int = Field(128 * 1024, ge=64, le=OUTPUT_LIMIT_BYTES, description="then it is cut off")
    purge_batch: int = Field(500, ge=1, le=5_000, description="rows of one transaction")

    @field_validator("smtp_url")
    @classmethod
    def _smtp(cls, value: SecretStr) -> SecretStr:
        url = urlsplit(value.get_secret_value())
        if url.scheme not in ("smtp", "smtps") or not url.hostname:
            raise ValueError("smtp_url must be smtp://[user:password@]host[:port] or smtps://…")
        return value

    @field_validator("sync_url")
    @classmethod
    def _feed(cls, value: str) -> str:
        url = urlsplit(value)
        if value and (url.scheme not in ("http", "https") or not url.hostname or url.username or url.fragment):
            raise ValueError("sync_url must be http:// or https://, without a password or a fragment")
        return value

    @field_validator("sync_every")
    @classmethod
    def _rhythm(cls, value: str) -> str:
        return checked_rhythm(value)

    @field_validator("sync_time_zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        zone_of(value)
        return value

    @field_validator("mail_from")
    @classmethod
    def _sender(cls, value: str) -> str:
        if "@" not in parseaddr(value)[1] or "\n" in value or "\r" in value:
            raise ValueError("mail_from must be an address, like Holdfast <no-reply@example.com>")
        return value
