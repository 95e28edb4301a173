"""Workers that die, stop, wedge or are told to go, with hundreds of jobs in flight."""

import signal
import time

from shared.testing.lab import Fail, Kill, Noop, Sleep, Wedge
from tests.faults.rig import Rig

LOAD = [*(Sleep(seconds=0.05) for _ in range(200)), *(Noop(number=n) for n in range(200)), *(Fail() for _ in range(20))]


async def test_a_killed_worker_is_succeeded_at_once(rig: Rig) -> None:
    rig.relay()
    rig.worker(processes=2)
    await rig.enqueue(*(Sleep(seconds=2.0) for _ in range(20)), *LOAD)  # those that last stand first: they are hit
    await rig.until_running(10)
    killed_us = rig.kill(rig.active())
    states = await rig.settled()
    assert states == {"completed": len(rig.accepted)}
    times = await rig.recovery_s(killed_us, "worker killed, standby at hand")
    assert times, "nothing was running when the worker was killed"
    assert times[0] < 20, "this is no target, only proof that it was not the lease that helped"


async def test_a_killed_worker_that_nobody_succeeds_is_found_by_its_silence(rig: Rig) -> None:
    rig.relay()
    first = rig.worker("first", state="state-1")
    rig.worker("second", state="state-2")
    await rig.until_workers(2)
    await rig.enqueue(*(Sleep(seconds=3.0) for _ in range(40)), *LOAD)
    await rig.until_running(30)
    pids = rig.active("state-1")
    rig.supervisor.roles.remove(first)
    killed_us = rig.kill([*([first.process.pid] if first.process else []), *pids])
    states = await rig.settled()
    assert states == {"completed": len(rig.accepted)}
    assert await rig.recovery_s(killed_us, "worker killed, nobody knows (lease 3 s)")
    assert await rig.rows("SELECT id FROM incarnation WHERE tombstone LIKE 'lost: no beat%'")


async def test_with_the_default_lease_nobody_waits_longer_than_twenty_seconds(rig: Rig) -> None:
    defaults = {"HOLDFAST_BEAT_S": "3", "HOLDFAST_LEASE_S": "15"}
    rig.relay(**defaults)
    first = rig.worker("first", state="state-1", **defaults)
    rig.worker("second", state="state-2", **defaults)
    await rig.until_workers(2)
    await rig.enqueue(*(Sleep(seconds=2.0) for _ in range(40)))
    await rig.until_running(30)
    pids = rig.active("state-1")
    rig.supervisor.roles.remove(first)
    killed_us = rig.kill([*([first.process.pid] if first.process else []), *pids])
    assert await rig.settled() == {"completed": 40}
    times = await rig.recovery_s(killed_us, "worker killed, nobody knows (default lease)")
    assert times, "nothing was running when the worker was killed"
    assert times[0] >= 10, "somebody knew: this is not the case that the test is about"


async def test_killed_between_read_and_claim(rig: Rig) -> None:
    rig.relay()
    rig.worker(processes=2, HOLDFAST_FAULT_POINTS=f"worker.read=4@{rig.folder}/once")
    await rig.enqueue(*LOAD)
    assert await rig.settled() == {"completed": len(rig.accepted)}
    assert len(await rig.rows("SELECT id FROM incarnation WHERE tombstone LIKE 'crash%'")) >= 1


async def test_killed_between_claim_and_ack(rig: Rig) -> None:
    rig.relay()
    rig.worker(processes=2, HOLDFAST_FAULT_POINTS=f"claim.committed=4@{rig.folder}/once")
    await rig.enqueue(*LOAD)
    assert await rig.settled() == {"completed": len(rig.accepted)}
    assert len(await rig.rows("SELECT job_id FROM job_attempt WHERE outcome = 'crashed'")) >= 1


async def test_a_stopped_worker_writes_nothing_after_its_lease(rig: Rig) -> None:
    rig.relay()
    rig.worker("first", state="state-1")
    rig.worker("second", state="state-2")
    await rig.until_workers(2)
    await rig.enqueue(*(Sleep(seconds=1.5) for _ in range(40)))
    await rig.until_running(30)
    stopped = rig.active("state-1")
    stopped_us = await rig.halt(stopped)
    try:
        await rig.until_buried(1)
    finally:
        rig.kill(stopped, signal.SIGCONT)
    await rig.enqueue(*LOAD)
    assert await rig.settled() == {"completed": len(rig.accepted)}
    await rig.recovery_s(stopped_us, "worker stopped past its lease")
    await rig.until_logged("first", "incarnation_lost")
    late = await rig.rows(
        "SELECT a.job_id FROM job_attempt a JOIN incarnation n ON n.id = a.incarnation "
        "WHERE n.tombstone LIKE 'lost%' AND a.outcome = 'completed' AND a.finished_at > n.tombstoned_at"
    )
    assert not late, "a result of a buried incarnation was recorded"


async def test_a_stopped_worker_keeps_its_place_from_nobody(rig: Rig) -> None:
    rig.relay()
    rig.worker(processes=2)
    await rig.enqueue(*(Sleep(seconds=1.5) for _ in range(20)))
    await rig.until_running(15)
    stopped = rig.active()
    stopped_us = await rig.halt(stopped)
    try:
        await rig.enqueue(*LOAD)
        states = await rig.settled()
        assert states == {"completed": len(rig.accepted)}, "the standby did not step in while its holder was stopped"
        await rig.recovery_s(stopped_us, "worker stopped, standby at hand (lease 3 s)")
        assert rig.logged("w", "place_taken_over") == 1
    finally:
        rig.kill(stopped, signal.SIGCONT)
    await rig.until_logged("w", "place_lost")
    (successor,) = rig.active()
    assert successor not in stopped, "the one that came back did not give way"
    rig.kill([successor])
    await rig.enqueue(*LOAD)
    assert await rig.settled() == {"completed": len(rig.accepted)}, "the one that came back did not stand by"


async def test_sigterm_drains_and_gives_back_without_spending_an_attempt(rig: Rig) -> None:
    rig.relay()
    going = rig.worker("going", state="state-1")
    long = await rig.enqueue(*(Sleep(seconds=8.0) for _ in range(5)), *(Sleep(seconds=0.5) for _ in range(10)))
    await rig.until_running(15)
    rig.supervisor.roles.remove(going)
    assert going.process is not None
    going.process.terminate()
    began_s = time.monotonic()
    going.process.wait(20)
    print(f"\n    drained in {time.monotonic() - began_s:.1f} s (limit 3 s)")
    rig.worker("coming", state="state-2")
    assert await rig.settled() == {"completed": len(long)}
    rows = await rig.rows("SELECT attempt, releases FROM job WHERE id = :id", id=long[0])
    assert rows[0].attempt == 1, "the given back run was counted as an attempt"
    assert rows[0].releases == 1


async def test_a_poison_job_ends_dead_and_its_neighbours_complete(rig: Rig) -> None:
    rig.relay()
    rig.worker(processes=2)
    innocents = await rig.enqueue(*(Sleep(seconds=0.2) for _ in range(100)))
    poison = await rig.enqueue(Kill())
    states = await rig.settled()
    assert states == {"completed": len(innocents), "dead": 1}
    row = (await rig.rows("SELECT state, error_type, crashes FROM job WHERE id = :id", id=poison[0]))[0]
    assert (row.state, row.error_type) == ("dead", "poison")
    print(f"\n    poison: dead after {row.crashes} deaths of its process")
    blamed = await rig.rows("SELECT id FROM job WHERE state = 'dead' AND id <> :id", id=poison[0])
    assert not blamed


async def test_a_wedged_event_loop_ends_its_process_and_the_rest_goes_on(rig: Rig) -> None:
    rig.relay()
    rig.worker(processes=2)
    await rig.enqueue(*LOAD[:100], Wedge(seconds=600))
    states = await rig.settled(120)
    assert states["completed"] == 100
    assert states["dead"] == 1, "the job that wedges every process is poison"
    assert rig.logged("w", "event_loop_wedged") >= 1
