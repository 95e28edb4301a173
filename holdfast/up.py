"""`holdfast up`: keep a whole system running on this machine until Ctrl-C, then drain and stop everything."""

import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from holdfast.place import Place, check_port
from holdfast.precheck import check_modules, check_settings
from holdfast.system import System
from shared.kernel.errors import Misconfigured

TEND_S = 0.2


def up(place: Place, port: int, *, use_postgres: bool, as_json: bool = False) -> int:
    """Returns the exit code; raises Misconfigured with one sentence when it cannot start."""
    check_port(port)
    check_modules(use_postgres=use_postgres)
    place.occupy()
    system = System(place, port, use_postgres=use_postgres)
    check_settings(system.env())
    if not use_postgres:
        system.migrate()  # a database that is not ours may refuse: before anything runs
    with stop_signals() as stop:
        try:
            _say(f"starting on {place.folder}")
            system.start()
            _await(system)
            _say(f"ready: {system.base_url}   key: {place.api_key_file()}   logs: {place.logs}   (Ctrl-C stops)")
            if as_json:
                print(json.dumps({"ready": True, "base_url": system.base_url, "api_key": system.api_key}), flush=True)
            while not stop:
                for death in system.tend():
                    _say(f"restarting {death}")
                time.sleep(TEND_S)
        except KeyboardInterrupt:
            pass
        finally:
            _say("stopping: finishing what runs")
            late = system.stop()
            place.leave()
    _say(f"stopped; killed after the drain limit: {', '.join(late)}" if late else "stopped")
    return 0


def _await(system: System) -> None:
    try:
        system.await_ready()
    except TimeoutError as late:
        raise Misconfigured(str(late)) from None


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """The first SIGINT or SIGTERM raises KeyboardInterrupt; later ones are noted, so that stopping is not cut short."""
    received: list[int] = []

    def handler(signum: int, _: Any) -> None:
        received.append(signum)
        if len(received) == 1:
            raise KeyboardInterrupt

    before = {signum: signal.signal(signum, handler) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for signum, action in before.items():
            signal.signal(signum, action)


def _say(words: str) -> None:
    sys.stderr.write(f"holdfast: {words}\n")
    sys.stderr.flush()
