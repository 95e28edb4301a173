"""`holdfast doctor`: what an installation stands on, in colours for people, as JSON for everybody else.

It examines the running local system, or what the environment names. It changes nothing that stays.
"""

import asyncio
import os
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from holdfast import show
from holdfast.place import Place, default_place
from holdfast.show import Json
from shared.kernel import logs
from shared.kernel.errors import Misconfigured
from shared.kernel.settings import CoreSettings, load
from shared.runtime.doctor.examination import examine
from shared.runtime.doctor.finding import Finding, document, exit_code
from shared.runtime.doctor.subject import GRACE_S, PROCESSES, Subject

STYLES = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "bold red")}
Grace = Annotated[
    float, typer.Option(min=0, help="seconds between SIGTERM and SIGKILL (terminationGracePeriodSeconds)")
]
Processes = Annotated[int, typer.Option(min=1, help="that open database connections, at the most")]
Strict = Annotated[bool, typer.Option("--strict", help="warnings cost the exit code as well")]


def doctor(
    grace: Grace = GRACE_S, processes: Processes = PROCESSES, *, strict: Strict = False, as_json: Json = False
) -> None:
    """Look at databases, Redis, clocks, schemas, limits, storage, keys and beats; exit 1 if something fails."""
    logs.configure("ERROR")
    findings = asyncio.run(examine(_subject(default_place(), grace, processes)))
    if as_json:
        show.as_json(document(findings))
    else:
        _print(findings)
    raise typer.Exit(exit_code(findings, strict=strict))


def _subject(place: Place, grace_s: float, processes: int) -> Subject:
    """The environment wins over the local system, whose address, key and folder are not in the environment."""
    given: dict[str, Any] = {}
    storage = None
    try:
        running = place.read_status()
    except Misconfigured:
        running = None
    local = {"database_url": "HOLDFAST_DATABASE_URL", "redis_url": "HOLDFAST_REDIS_URL"}
    if running is not None:
        given = {name: running[name] for name, variable in local.items() if variable not in os.environ}
        key = place.folder / "master.key"
        if "HOLDFAST_MASTER_KEY" not in os.environ and key.exists():
            given["master_key"] = key.read_text().strip()
        if "HOLDFAST_MEDIA_STORAGE_URL" not in os.environ:
            storage = str(place.folder / "media")
    elif not any(variable in os.environ for variable in local.values()):
        raise Misconfigured(
            f"no system is running on {place.folder}, and HOLDFAST_DATABASE_URL names none: there is nothing to examine"
        )
    return Subject(load(CoreSettings, **given), grace_s, processes, storage)


def _print(findings: list[Finding]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", "CHECK", "FOUND", "WANTED"):
        table.add_column(title, overflow="fold")
    for finding in findings:
        mark, style = STYLES[finding.level]
        found = Text(show.printable(finding.found), style="" if finding.level == "ok" else style)
        table.add_row(Text(mark, style=style), finding.check, found, Text(finding.wanted, style="dim"))
    show.console.print(table)
    for finding in findings:
        if finding.fix:
            show.console.print(
                Text(f"→ {finding.check}: ", style=STYLES[finding.level][1]).append(finding.fix, "default")
            )
    count = {level: sum(finding.level == level for finding in findings) for level in STYLES}
    show.console.print(f"{count['ok']} ok, {count['warn']} warnings, {count['fail']} failures")
