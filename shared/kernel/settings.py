"""Settings that every process shares, read from `HOLDFAST_*`; a service adds its own class with its own prefix.

Only `app.py`, `worker.py`, `shared.runtime`'s entry points and `holdfast/` make one; everything else is handed one.
"""

import ipaddress
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.kernel.errors import Misconfigured
from shared.kernel.logs import LEVELS, masked

BEATS_IN_A_LEASE = 3


class CoreSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="HOLDFAST_", frozen=True, extra="ignore", allow_inf_nan=False)

    database_url: str = "sqlite:///.holdfast/holdfast.db"
    redis_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    state_dir: Path = Path(".holdfast/state")
    master_key: SecretStr = SecretStr("")
    egress_allow: Annotated[tuple[str, ...], NoDecode] = ()
    queues: Annotated[tuple[str, ...], NoDecode] = ()  # what the relay serves; empty = every queue of the contracts
    log_level: str = "INFO"
    drain_limit_s: float = Field(25.0, gt=0, le=3600)
    slots: int = Field(1, ge=1, le=64)  # worker processes of one queue that may be active in this state_dir
    beat_s: float = Field(3.0, gt=0.05, le=10)
    lease_s: float = Field(
        15.0, gt=0.2, le=300, validate_default=True, description="a beat unchanged for this long is a death"
    )
    wedged_s: float = Field(10.0, gt=0.2, le=300, description="an event loop silent for this long ends its process")
    unknown_task_patience_s: float = Field(900.0, ge=0, description="longer than a deploy takes")
    db_pool: int = Field(8, ge=2, le=100)
    tx_cap_s: float = Field(1.0, ge=0.1, le=30, description="a transaction open for so long is rolled back")
    metrics_port: int | None = Field(None, ge=1, le=65_535, description="where a worker or relay shows its counters")
    fault_points: str = ""  # for fault tests only: see shared.kernel.faultpoints

    @field_validator("lease_s")
    @classmethod
    def _several_beats(cls, value: float, info: ValidationInfo) -> float:
        """A beat may be late and one may be lost: a shorter lease calls processes dead that are well."""
        beat_s = info.data.get("beat_s", 0.0)
        if value < BEATS_IN_A_LEASE * beat_s:
            raise ValueError(f"must be at least {BEATS_IN_A_LEASE} times HOLDFAST_BEAT_S, which is {beat_s:g}")
        return value

    @field_validator("egress_allow", "queues", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("egress_allow")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for part in value:
            ipaddress.ip_network(part)
        return value

    @field_validator("database_url")
    @classmethod
    def _scheme(cls, value: str) -> str:
        if not value.startswith(("sqlite:///", "postgresql://", "postgres://")):
            raise ValueError("database_url must start with sqlite:/// or postgresql://")
        if value.partition("?")[0] in ("sqlite:///", "sqlite:///:memory:"):
            raise ValueError("database_url must name a file: several processes open it")
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("redis_url must start with redis://, rediss:// or unix://")
        return value

    @field_validator("log_level")
    @classmethod
    def _level(cls, value: str) -> str:
        if value.upper() not in LEVELS:
            raise ValueError(f"log_level must be one of {', '.join(LEVELS)}")
        return value.upper()


S = TypeVar("S", bound=BaseSettings)


def load(kind: type[S], **overrides: Any) -> S:
    """Read settings from the environment; raises Misconfigured with one sentence that names the variable."""
    try:
        return kind(**overrides)
    except ValidationError as invalid:
        first = invalid.errors()[0]
        name = f"{kind.model_config.get('env_prefix', '')}{'_'.join(str(part) for part in first['loc'])}".upper()
        found = masked(repr(first.get("input")))
        words = first["msg"].removeprefix("Value error, ")  # pydantic's, before what a validator of ours says
        raise Misconfigured(f"{name}: {words} (found {found})") from None
