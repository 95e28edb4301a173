"""The api service's HTTP app: signup, prompts, jobs, dead letters, queues, schedules."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from services.api.llm import Llm
from services.api.mail import Mailer
from services.api.queues import known_queues
from services.api.routes import actions, dead, following, jobs, lanes, prompts, queues, schedules, stats, synced, users
from services.api.schema import OWNER
from services.api.settings import ApiSettings
from shared.db.reading import looking
from shared.kernel.settings import CoreSettings, load
from shared.ledger.schema import LEDGER
from shared.ledger.store_backlog import read_backlog
from shared.ledger.store_inbox import count_dead
from shared.runtime import metrics
from shared.runtime.addresses import AddressPolicy
from shared.runtime.http import build_app
from shared.runtime.resources import Resources
from shared.runtime.watch import JobWatch


def create_app(settings: CoreSettings | None = None, api: ApiSettings | None = None) -> FastAPI:
    """Settings come from the environment unless they are given. Raises Misconfigured."""
    core, chosen = settings or load(CoreSettings), api or load(ApiSettings)
    llm = Llm(chosen, AddressPolicy.from_cidrs(core.egress_allow)) if chosen.llm_url else None

    @asynccontextmanager
    async def opened(app: FastAPI, held: Resources) -> AsyncIterator[None]:
        app.state.api_settings = chosen
        app.state.mailer = Mailer(chosen)
        watch = JobWatch(held.database, most=chosen.watchers_max, most_of_caller=chosen.watchers_per_key)
        app.state.watch = watch
        app.state.llm = llm
        if llm is not None:
            await llm.start()
        try:
            yield
        finally:
            await watch.close()
            if llm is not None:
                await llm.close()

    return build_app(
        "Holdfast api",
        core,
        [
            users.router,
            prompts.router,
            jobs.router,
            following.router,
            dead.router,
            actions.router,
            queues.router,
            lanes.router,
            schedules.router,
            stats.router,
            synced.router,
        ],
        owners=[LEDGER, OWNER],
        opened=opened,
        scrape=measure_queues,
    )


async def measure_queues(resources: Resources) -> None:
    """Take the gauges that are the ledger's, not this process's."""
    now_us = resources.database.clock.now_us()
    async with looking(resources.database) as connection:
        queues = await known_queues(connection)
    for queue in queues:
        found = await read_backlog(resources.database, queue, now_us)
        metrics.queue_measured(queue, found.backlog, max(0, now_us - (found.oldest or now_us)) / 1e6)
    metrics.DEAD_OPEN.set(await count_dead(resources.database))
