"""Settings of the webhooks service, read from `HOLDFAST_WEBHOOKS_*`."""

from typing import Annotated, Any

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from services.webhooks.breaker import Rules
from shared.kernel.errors import Misconfigured
from shared.runtime.proxy import ProxyAddress


class WebhooksSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="HOLDFAST_WEBHOOKS_", frozen=True, extra="ignore", allow_inf_nan=False)

    endpoints_max: int = Field(
        10_000,
        ge=1,
        le=100_000,
        description="endpoints of one tenant; an event for more than 100 is fanned out by a job",
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
    circuit_window_s: float = Field(60.0, ge=1, le=3_600, description="of attempts whose share of failures counts")
    circuit_least: int = Field(10, ge=2, le=100_000, description="attempts of a window before the circuit may open")
    circuit_share: float = Field(0.5, gt=0, le=1, description="of failures among them, from which on it opens")
    circuit_pause_s: float = Field(5.0, ge=0.05, le=3_600, description="until the first probe; then twice as long")
    circuit_pause_most_s: float = Field(300.0, ge=0.05, le=86_400, description="until any probe")
    disable_after_s: float = Field(
        5 * 86_400.0,
        ge=0,
        le=365 * 86_400,
        description="of only failures, then an endpoint is disabled; 0 never",
    )
    connections_max: int = Field(256, ge=1, le=4_096, description="connections of one worker process")
    connections_per_host: int = Field(128, ge=1, le=4_096)
    egress_ports: Annotated[tuple[int, ...], NoDecode] = Field(
        (), description="the only ports that deliveries, test sends and token fetches may go to; empty = any"
    )
    egress_proxy: SecretStr | None = Field(
        None, description="http://[user:password@]host[:port] that every delivery is tunnelled through by CONNECT"
    )

    @field_validator("egress_ports", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        for port in value:
            if not str(port).isdecimal() or not 1 <= int(port) <= 65_535:
                raise ValueError(f"{port} is not a port")
        return tuple(int(port) for port in value)

    @field_validator("egress_proxy")
    @classmethod
    def _proxy(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        try:
            ProxyAddress.read(value.get_secret_value())
        except Misconfigured as wrong:
            raise ValueError(wrong.message) from None
        return value

    @property
    def proxy(self) -> ProxyAddress | None:
        return ProxyAddress.read(self.egress_proxy.get_secret_value()) if self.egress_proxy is not None else None

    @property
    def health(self) -> Rules:
        return Rules(
            window_s=self.circuit_window_s, least=self.circuit_least, share=self.circuit_share,
            pause_s=self.circuit_pause_s, pause_most_s=max(self.circuit_pause_s, self.circuit_pause_most_s),
            disable_after_s=self.disable_after_s,
        )  # fmt: skip
