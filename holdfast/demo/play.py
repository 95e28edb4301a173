"""`holdfast demo`: a fresh system in a folder of its own, the main job, the storm, the audit, one line of JSON.

Exit 0 only if everything really held. Nothing is left running, and nothing is left on disk unless something broke.
"""

import asyncio
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from holdfast.demo.receiver import Receiver
from holdfast.demo.storm import Storm
from holdfast.demo.story import Broken, Story, expect
from holdfast.system import System, local_system
from holdfast.up import stop_signals
from shared.kernel.errors import HoldfastError


def play(*, use_postgres: bool, quiet: bool) -> int:
    """Returns the exit code."""
    console = Console(stderr=True, quiet=quiet)
    started_s = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="holdfast-demo-"))
    report: dict[str, Any] = {"ok": False}
    system = local_system(folder, use_postgres=use_postgres)
    with stop_signals():
        try:
            console.print(f"starting the system on {'PostgreSQL' if use_postgres else 'SQLite'} and Valkey …")
            system.start()
            system.await_ready()
            console.print(f"  ready after {time.monotonic() - started_s:.1f} s")
            report = asyncio.run(_perform(system, console))
        except (Broken, HoldfastError, TimeoutError, OSError, ExceptionGroup) as broken:
            report["error"] = _words(broken)
        except KeyboardInterrupt:
            report["error"] = "interrupted"
        finally:
            late = system.stop()
            system.place.leave()
    if late:
        report |= {"ok": False, "error": f"had to be killed: {', '.join(late)}"}
    report["seconds"] = round(time.monotonic() - started_s, 1)
    if report["ok"]:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        report["logs"] = str(system.place.logs)
        console.print(f"[bold red]did not hold:[/] {report.get('error')}; the logs are in {system.place.logs}")
    sys.stdout.write(json.dumps(report) + "\n")
    return 0 if report["ok"] else 1


async def _perform(system: System, console: Console) -> dict[str, Any]:
    receiver = Receiver()
    await receiver.start()
    headers = {"Authorization": f"Bearer {system.api_key}"}
    tending = asyncio.create_task(_tend(system))
    try:
        async with httpx.AsyncClient(base_url=system.base_url, headers=headers, timeout=20) as http:
            story = Story(http, receiver, system.place.mail, lambda words: console.print(f"  [green]✓[/] {words}"))
            await story.play()
            return await _storm(system, story, receiver, console)
    finally:
        tending.cancel()
        await receiver.stop()


async def _storm(system: System, story: Story, receiver: Receiver, console: Console) -> dict[str, Any]:
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        accepting = progress.add_task("accepted under SIGKILL and FLUSHALL", total=None)
        storm = Storm(system, story, receiver, lambda n: progress.advance(accepting, n))
        progress.update(accepting, total=storm.total)
        await storm.rage()
        audit = await storm.settle()
    lost = len(storm.undelivered) + abs(audit["lost"])
    expect(audit["ok"], f"the audit does not hold: {audit}")
    expect(not audit["jobs"].get("dead"), f"there are dead letters left: {audit['jobs']}")
    expect(receiver.forged == 0, f"{receiver.forged} requests had no valid signature")
    expect(storm.killed_workers and storm.redis_wiped, "no worker was killed, or Redis was not wiped")
    console.print("  [green]✓[/] a worker was killed and Redis wiped under load; every event arrived, the audit holds")
    return {
        "ok": lost == 0,
        "jobs": audit["jobs"],
        "accepted": audit["accepted"],
        "webhooks_verified": receiver.verified,
        "killed_workers": storm.killed_workers,
        "redis_wiped": storm.redis_wiped,
        "lost": lost,
    }


async def _tend(system: System) -> None:
    while True:
        await asyncio.to_thread(system.tend)
        await asyncio.sleep(0.2)


def _words(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_words(inner) for inner in error.exceptions)
    return str(error) or repr(error)
