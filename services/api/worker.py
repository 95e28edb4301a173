"""The api service's worker: what `taskiq worker services.api.worker:create_broker --receiver …` loads."""

from services.api.app import create_app
from services.api.tasks import TASKS
from shared.kernel.settings import CoreSettings, load
from shared.runtime.worker import make_broker
from shared.transport.broker import HoldfastBroker


def create_broker() -> HoldfastBroker:
    return make_broker(settings=load(CoreSettings), queue="api", tasks=TASKS, create_app=create_app)
