"""A worker of an earlier release: it knows Noop, and has never heard of what came later."""

from __future__ import annotations

from shared.kernel.settings import CoreSettings, load
from shared.runtime.worker import make_broker
from shared.testing.lab import QUEUE, Noop, create_app, noop
from shared.transport.broker import HoldfastBroker


def create_broker() -> HoldfastBroker:
    return make_broker(settings=load(CoreSettings), queue=QUEUE, tasks={Noop: noop}, create_app=create_app)
