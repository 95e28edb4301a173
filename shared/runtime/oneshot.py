"""The commands of an image that do one thing with the database and print what came of it: `migrate`, `audit`.

What keeps them from being tried at all is one sentence on standard error, and exit code 2; a defect is a traceback.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from shared.db.failures import is_transient
from shared.kernel import logs
from shared.kernel.errors import Misconfigured
from shared.kernel.settings import CoreSettings, load

Result = TypeVar("Result")


def done(work: Callable[[CoreSettings], Coroutine[Any, Any, Result]], *, log_level: str | None = None) -> Result:
    """Run it to its end. Raises SystemExit(2). `log_level`: None for the one of the settings."""
    try:
        settings = load(CoreSettings)
        logs.configure(log_level or settings.log_level)
        return asyncio.run(work(settings))
    except Misconfigured as wrong:
        reason = str(wrong)
    except Exception as error:
        if not is_transient(error):
            raise
        reason = f"the database does not answer: {error}"
    sys.stderr.write(f"{reason}\n")
    raise SystemExit(2)
