"""Settings of the webhooks service, read from `HOLDFAST_WEBHOOKS_*`."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class WebhooksSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="HOLDFAST_WEBHOOKS_", frozen=True, extra="ignore", allow_inf_nan=False)

    endpoints_max: int = Field(
        1_000, ge=1, le=10_000, description="endpoints of one tenant; an event's deliveries are accepted in one commit"
    )
    fresh_s: float = Field(
        1.0, ge=0, le=1, description="how old a process's knowledge of an endpoint may be; 0 reads it every time"
    )
    events_cache_bytes: int = Field(
        32 * 1024 * 1024, ge=1024 * 1024, description="bodies of events that a worker keeps, for fan-out and retries"
    )
    keep_events_s: float = Field(
        14 * 86_400.0, ge=60, le=3_650 * 86_400, description="events that no delivery needs any more"
    )
    purge_batch: int = Field(500, ge=1, le=5_000, description="rows of one transaction")
    connections_max: int = Field(256, ge=1, le=4_096, description="connections of one worker process")
    connections_per_host: int = Field(128, ge=1, le=4_096)
