"""The media service's HTTP app: uploads in, assets and renditions out. The pool belongs to the worker, not to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from services.media.blobs import Blobs
from services.media.pool import Pool
from services.media.routes import assets
from services.media.schema import OWNER
from services.media.settings import MediaSettings
from shared.kernel.settings import CoreSettings, load
from shared.ledger.schema import LEDGER
from shared.runtime.http import build_app
from shared.runtime.resources import Resources


def create_app(settings: CoreSettings | None = None, media: MediaSettings | None = None) -> FastAPI:
    """Settings come from the environment unless they are given. Raises Misconfigured."""
    chosen = media or load(MediaSettings)

    @asynccontextmanager
    async def opened(app: FastAPI, _: Resources) -> AsyncIterator[None]:
        app.state.media_settings = chosen
        app.state.blobs = Blobs(chosen.storage_url)
        app.state.pool = Pool(chosen.slots, data_limit_bytes=chosen.slot_data_limit_bytes)  # started by a worker only
        try:
            yield
        finally:
            await app.state.pool.close()

    return build_app(
        "Holdfast media",
        settings or load(CoreSettings),
        [assets.router],
        owners=[LEDGER, OWNER],
        opened=opened,
        body_limits={"/v1/media": chosen.upload_limit_bytes},
    )
