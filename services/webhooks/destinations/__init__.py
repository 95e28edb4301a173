"""Where deliveries may go, one module for each kind: a new kind is a new module here, and nothing else.

A module names its `DESTINATION`, a subclass of `base.Destination`. It is found by being here.
"""

import importlib
import pkgutil

from services.webhooks.destinations.base import Destination


def _found() -> dict[str, type[Destination]]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")
    kinds = [importlib.import_module(f"{__name__}.{name}").DESTINATION for name in names]
    return {kind.kind: kind for kind in kinds}


KINDS: dict[str, type[Destination]] = _found()
