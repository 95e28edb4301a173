"""`holdfast`: the command line. Every command takes `--json`; what went wrong is one sentence, and exit code 2.

Exit codes: 0 it holds or is done, 1 it does not hold (audit, demo) or was refused, 2 it could not be tried.
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from holdfast import media, schedules, show, webhooks
from holdfast.client import Refused, connect, segment
from holdfast.doctor import doctor
from holdfast.json_option import json_object
from holdfast.lanes import lanes, queues
from holdfast.place import default_place
from holdfast.show import Json
from holdfast.stats import stats
from holdfast.status import read_status
from holdfast.watch import output, watch
from shared.kernel.errors import HoldfastError, Misconfigured, NotFound
from shared.kernel.settings import CoreSettings, load
from shared.runtime.keys import create, revoke

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
jobs = typer.Typer(no_args_is_help=True, help="Look at jobs, and run dead ones again.")
dead = typer.Typer(no_args_is_help=True, help="The dead letters: look, retry, discard.")
keys = typer.Typer(no_args_is_help=True, help="API keys: create, revoke.")
shadow = typer.Typer(no_args_is_help=True, help="What BackgroundTasks loses, counted by ShadowTasks.")
app.command("stats")(stats)
app.command("doctor")(doctor)
app.add_typer(shadow, name="shadow")
app.add_typer(keys, name="keys")
app.add_typer(jobs, name="jobs")
app.add_typer(dead, name="dead")
app.add_typer(queues, name="queues")
app.add_typer(lanes, name="lanes")
app.add_typer(schedules.app, name="schedules")
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(media.app, name="media")

Port = Annotated[int, typer.Option(min=1, max=65535, help="of the one front door")]
UsePostgres = Annotated[bool, typer.Option("--postgres", help="an embedded PostgreSQL instead of SQLite")]


@app.command()
def up(port: Port = 8000, *, postgres: UsePostgres = False, as_json: Json = False) -> None:
    """Run the whole system on this machine until Ctrl-C; `--json` prints its address and key once it is ready."""
    from holdfast.up import up as run  # noqa: PLC0415 - starts slowly; the other commands do not need it

    raise typer.Exit(run(default_place(), port, use_postgres=postgres, as_json=as_json))


@app.command()
def demo(*, postgres: UsePostgres = False, as_json: Json = False) -> None:
    """Play the main job on a fresh system, kill a worker, wipe Redis, and prove that nothing was lost."""
    from holdfast.demo.play import play  # noqa: PLC0415 - as above

    raise typer.Exit(play(use_postgres=postgres, quiet=as_json))


@app.command()
def status(*, as_json: Json = False) -> None:
    """What runs on this machine: address, key, processes."""
    found = read_status(default_place())
    if as_json:
        show.as_json(found)
        return
    show.console.print(f"{found['base_url']}   logs: {found['logs']}")
    rows = [{"role": role["name"], "pids": " ".join(map(str, role["pids"])) or "none"} for role in found["roles"]]
    show.table(rows, ["role", "pids"], empty="no roles")


@app.command()
def audit(*, as_json: Json = False) -> None:
    """Prove from the database that accepted = rows + purged and every row is as it should be; exit 1 if not."""
    from holdfast.ledger import run_audit  # noqa: PLC0415 - as above

    report = asyncio.run(run_audit(_database_url()))
    if as_json:
        show.as_json(report)
    else:
        words = "holds" if report["ok"] else "does NOT hold"
        show.console.print(
            f"the ledger {words}: accepted {report['accepted']} = rows {report['rows']} + purged {report['purged']}"
            + (f", lost {report['lost']}" if report["lost"] else "")
        )
        for check, ids in report["broken"].items():
            show.console.print(f"  {check}: {', '.join(ids)}")
    raise typer.Exit(0 if report["ok"] else 1)


@app.command()
def migrate(*, as_json: Json = False) -> None:
    """Bring every schema to its newest version."""
    from holdfast.ledger import run_upgrade  # noqa: PLC0415 - as above

    versions = asyncio.run(run_upgrade(_database_url()))
    if as_json:
        show.as_json({"ok": True, "versions": versions})
    else:
        show.table([{"owner": k, "version": v} for k, v in versions.items()], ["owner", "version"], empty="no owners")


@shadow.command("report")
def shadow_report(
    after: Annotated[float, typer.Option(min=0, help="seconds after which a task that has not ended is lost")] = 300.0,
    *,
    clear: Annotated[bool, typer.Option("--clear", help="and forget what was reported")] = False,
    as_json: Json = False,
) -> None:
    """How many background tasks were lost with their process or failed in silence, and which."""
    from holdfast.ledger import run_shadow  # noqa: PLC0415 - as above

    found = asyncio.run(run_shadow(_database_url(), after, clear=clear))
    if as_json:
        show.as_json(found)
        return
    print(
        f"lost {found['lost']}, failed {found['failed']}" + (", and no more is noted: --clear" if found["full"] else "")
    )
    show.table(found["tasks"], ["end", "function", "path", "process", "started_at", "error"], empty="")


@keys.command("create")
def keys_create(
    name: Annotated[str, typer.Option(help="what it is for")],
    tenant: Annotated[str, typer.Option(help="whose rows it sees")] = "default",
    scopes: Annotated[str, typer.Option(help="comma-separated; * is everything")] = "*",
    *,
    as_json: Json = False,
) -> None:
    """Make an API key; it is shown once."""
    wanted = [scope.strip() for scope in scopes.split(",")]
    made = asyncio.run(create(_core_settings(), name=name, tenant=tenant, scopes=wanted))
    if as_json:
        show.as_json(made)
    else:
        print(f"{made['key']}\n  id {made['id']}, tenant {tenant}, scopes {' '.join(made['scopes'])}; shown only now")


@keys.command("revoke")
def keys_revoke(key_id: str, *, as_json: Json = False) -> None:
    """End an API key; processes that remember it refuse it within seconds."""
    answer = asyncio.run(revoke(_core_settings(), key_id))
    if as_json:
        show.as_json(answer)
    else:
        print(f"{key_id} is revoked")


@jobs.command("list")
def jobs_list(
    state: str | None = None,
    queue: str | None = None,
    task: str | None = None,
    limit: int = 50,
    *,
    as_json: Json = False,
) -> None:
    """The newest jobs."""
    page = connect().get("/v1/jobs", state=state, queue=queue, task=task, limit=limit)
    if as_json:
        show.as_json(page)
        return
    show.table(page["items"], ["id", "task", "state", "attempt", "created_at", "error"], empty="no jobs")


@jobs.command("show")
def jobs_show(job_id: str, *, as_json: Json = False) -> None:
    """One job with every attempt."""
    found = connect().get(f"/v1/jobs/{_segment(job_id)}")
    if as_json:
        show.as_json(found)
    else:
        show.job(found)


@jobs.command("watch")
def jobs_watch(job_id: str, *, as_json: Json = False) -> None:
    """Follow a job to its end; `--json` prints a line for each event. Exit 1 if it did not complete."""
    raise typer.Exit(watch(connect(), _segment(job_id), as_json=as_json))


@jobs.command("output")
def jobs_output(
    job_id: str, *, follow: Annotated[bool, typer.Option("--follow", help="until the job has ended")] = False
) -> None:
    """Print what a job has written; with `--follow` exit 1 if it did not complete."""
    raise typer.Exit(output(connect(), _segment(job_id), follow=follow))


@jobs.command("retry")
def jobs_retry(
    job_id: str,
    args: Annotated[str | None, typer.Option(help="JSON that takes the place of all of its arguments")] = None,
    *,
    as_json: Json = False,
) -> None:
    """Run a dead or cancelled job again."""
    body = None if args is None else {"args": json_object(args, "--args", "the job's arguments by name")}
    _told(connect().post(f"/v1/jobs/{_segment(job_id)}/retry", body), as_json=as_json)


@jobs.command("cancel")
def jobs_cancel(job_id: str, *, as_json: Json = False) -> None:
    """Cancel a waiting job, or ask a running one to end."""
    answer = connect().post(f"/v1/jobs/{_segment(job_id)}/cancel")
    if answer["requested"] and not as_json:
        show.console.print(f"{job_id} is running: its worker was asked to end it")
        return
    _told(answer, as_json=as_json)


@jobs.command("priority")
def jobs_priority(
    job_id: str,
    priority: Annotated[int, typer.Argument(min=0, max=9, help="0 is served first")],
    *,
    as_json: Json = False,
) -> None:
    """Serve a waiting job earlier or later."""
    _told(connect().patch(f"/v1/jobs/{_segment(job_id)}", {"priority": priority}), as_json=as_json)


@dead.command("list")
def dead_list(limit: int = 50, *, as_json: Json = False) -> None:
    """The dead letters, in groups of alike failures."""
    page = connect().get("/v1/dead", limit=limit)
    if as_json:
        show.as_json(page)
        return
    show.table(page["groups"], ["count", "task", "error", "last_seen", "group"], empty="no dead letters")
    show.table(page["items"], ["id", "task", "finished_at", "error"], empty="")


@dead.command("show")
def dead_show(job_id: str, *, as_json: Json = False) -> None:
    """One dead letter with every attempt."""
    jobs_show(job_id, as_json=as_json)


Ids = Annotated[list[str] | None, typer.Argument(help="job ids")]
Group = Annotated[str | None, typer.Option(help="a group, as `dead list` names it")]
Task = Annotated[str | None, typer.Option(help="every dead letter of this task")]


@dead.command("retry")
def dead_retry(
    ids: Ids = None,
    group: Group = None,
    task: Task = None,
    canary: Annotated[int | None, typer.Option(help="so many first, the rest if those complete")] = None,
    args: Annotated[str | None, typer.Option(help="JSON that replaces the arguments of the ids")] = None,
    *,
    as_json: Json = False,
) -> None:
    """Bring dead letters back."""
    body = _chosen(ids, group, task)
    if canary is not None:
        body["canary"] = canary
    if args is not None:
        body["args"] = json_object(args, "--args", "the job's arguments by name")
    _told(connect().post("/v1/dead/retry", body), as_json=as_json)


@dead.command("actions")
def dead_actions(limit: int = 50, *, as_json: Json = False) -> None:
    """What was decided, by whom and when."""
    page = connect().get("/v1/actions", limit=limit)
    if as_json:
        show.as_json(page)
        return
    rows = [{**item, "count": item["outcome"].get("count", "")} for item in page["items"]]
    show.table(rows, ["at", "action", "count", "caller", "job", "id"], empty="nothing was decided")


@dead.command("discard")
def dead_discard(ids: Ids = None, group: Group = None, task: Task = None, *, as_json: Json = False) -> None:
    """Give dead letters up for good."""
    _told(connect().post("/v1/dead/discard", _chosen(ids, group, task)), as_json=as_json)


def _segment(job_id: str) -> str:
    """An id as one part of a path, whatever was typed."""
    return segment(job_id, "a job's id is needed: `holdfast jobs list` shows them")


def _chosen(ids: list[str] | None, group: str | None, task: str | None) -> dict[str, Any]:
    chosen = [name for name, value in (("ids", ids), ("--group", group), ("--task", task)) if value]
    if len(chosen) != 1:
        raise Misconfigured("name the dead letters by ids, by --group or by --task: exactly one of them")
    if ids:
        return {"ids": ids}
    return {"group": group} if group else {"filter": {"task": task}}


def _told(answer: Any, *, as_json: bool) -> None:
    if as_json:
        show.as_json(answer)
    elif "canaries" in answer:
        print(f"{len(answer['canaries'])} canaries are on their way: {', '.join(answer['canaries'])}")
        print(f"the rest follows if they complete: holdfast jobs show {answer['job']}")
    elif "state" in answer:
        show.console.print(f"{answer['id']} is {answer['state']}")
    else:
        show.counts(answer)
    if answer.get("unknown"):
        raise typer.Exit(1)


def _core_settings() -> CoreSettings:
    return load(CoreSettings, database_url=_database_url())


def _database_url() -> str:
    """The running local system's, or HOLDFAST_DATABASE_URL, or the local SQLite file."""
    place = default_place()
    if "HOLDFAST_DATABASE_URL" in os.environ:
        return load(CoreSettings).database_url
    try:
        return str(place.read_status()["database_url"])
    except Misconfigured:
        if (place.folder / "holdfast.db").exists():
            return place.sqlite_url
        raise Misconfigured(
            f"there is no ledger in {place.folder}: set HOLDFAST_DATABASE_URL or HOLDFAST_DATA_DIR"
        ) from None


def _check_words(words: Sequence[str]) -> None:
    """Python keeps bytes that are not UTF-8 as lone surrogates, which neither a URL nor JSON can carry."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise Misconfigured(f"an argument is not UTF-8: {os.fsencode(word)!a}") from None


def main() -> None:
    try:
        _check_words(sys.argv[1:])
        app()
    except (Refused, NotFound) as refused:
        sys.stderr.write(f"holdfast: {refused}\n")
        sys.exit(1)
    except HoldfastError as wrong:
        sys.stderr.write(f"holdfast: {wrong}\n")
        sys.exit(2)
    except ModuleNotFoundError as missing:
        sys.stderr.write(f"holdfast: {missing.name} is not installed: run `make setup`\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
