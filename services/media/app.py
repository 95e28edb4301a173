"""The media service's HTTP app: uploads in, assets and renditions out. The pool belongs to the worker, not to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from services.media.blobs import Blobs
from services.media.browsers import allow_browsers
from services.media.buffers import Buffers
from services.media.links import Links
from services.media.places import Places
from services.media.pool import open_pool
from services.media.room import Room
from services.media.routes import assets, control, files, ingest, presets, quarantine, uploads
from services.media.schema import OWNER
from services.media.settings import MediaSettings
from services.media.slots.slot import SlotLimits
from services.media.waiting import measure_waiting
from shared.kernel.settings import CoreSettings, load
from shared.ledger.schema import LEDGER
from shared.runtime.http import build_app
from shared.runtime.resources import Resources


def create_app(
    settings: CoreSettings | None = None, media: MediaSettings | None = None, *, niceness: int = SlotLimits.niceness
) -> FastAPI:
    """Settings come from the environment unless they are given; `niceness` is the slots'. Raises Misconfigured."""
    chosen = media or load(MediaSettings)
    core = settings or load(CoreSettings)
    most_bytes = chosen.upload_limit_bytes
    links = Links(chosen.link_key.get_secret_value() or core.master_key.get_secret_value())

    @asynccontextmanager
    async def opened(app: FastAPI, resources: Resources) -> AsyncIterator[None]:
        app.state.media_settings = chosen
        app.state.room = Room(resources.database, whole=chosen.waiting_limit, tenant=chosen.tenant_waiting_limit)
        app.state.blobs = Blobs(chosen.storage_url, reserve_bytes=chosen.disk_reserve_bytes)
        app.state.links = links
        app.state.buffers = Buffers(chosen.upload_memory_bytes)
        app.state.places = Places()
        app.state.pool = open_pool(chosen, niceness)  # started by a worker only
        app.state.scratch = None
        try:
            yield
        finally:
            await app.state.pool.close()
            if app.state.scratch is not None:
                app.state.scratch.leave()

    app = build_app(
        "Holdfast media",
        core,
        [
            uploads.router,
            ingest.router,
            files.signed,
            presets.router,
            quarantine.router,
            control.router,
            assets.router,
            files.router,
        ],
        owners=[LEDGER, OWNER],
        opened=opened,
        scrape=measure_waiting,
        body_limits=dict.fromkeys(("/v1/media", "/v1/media/uploads", "/v1/media/uploads/{id}"), most_bytes),
        signed=files.SIGNED,
    )
    allow_browsers(app, chosen.browser_origins)
    return app
