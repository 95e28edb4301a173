"""One run: a world made from a seed, a time of troubles, then healing, quiescence and judgement."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from random import Random

from shared.kernel.clock import ManualClock, after_us
from shared.ledger.store_accept import new_job
from shared.ledger.store_dead import RETRY, cancel_job
from shared.transport.enqueue import Accepted, Acceptor
from shared.transport.names import stream
from shared.transport.wake import WORK
from tests.simulation import calendar, roles
from tests.simulation.database import Ledger, SimDatabase
from tests.simulation.kin import Kin
from tests.simulation.loop import Stuck, VirtualLoop
from tests.simulation.plan import HINDRANCES, make_plan
from tests.simulation.process import Process
from tests.simulation.restraint import Restraint
from tests.simulation.streams import Server
from tests.simulation.witness import Violation, Witness
from tests.simulation.work import QUEUE, Work

START_US = 10**12
QUIET_S = 240.0  # after healing: two waits for solitude, deadlines and retries included
CLEAN_S = 15.0  # and then Redis holds nothing any more
MOST_TURNS = 400_000


@dataclass
class Run:
    """What came of a seed. `trace` holds (µs, process, what, detail)."""

    seed: int
    failure: BaseException | None
    trace: list
    virtual_s: float
    jobs: int
    stats: dict

    def story(self, last=400):
        lines = [
            f"{(at_us - START_US) / 1e6:11.6f} {who:<10} {what:<22} {_brief(detail)}"
            for at_us, who, what, detail in self.trace
        ]
        head = f"seed {self.seed}: {self.failure}\nreplay: python -m tests.simulation --seed {self.seed}"
        return "\n".join([head, *(["…"] if len(lines) > last else []), *lines[-last:]])


class World:
    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.plan = make_plan(self.random)
        self.calendar = calendar.make_calendar(seed, self.plan)
        self.clock = ManualClock(START_US)
        self.loop = VirtualLoop(self.clock)
        self.redis = Server(self.clock)
        self.kin = Kin.of(self)
        self.witness = Witness(self)
        self.ledger = Ledger(self.witness)
        self.restraint = Restraint(self)
        self.troubled = not self.plan.calm
        self.over = False
        self.limbo: list[asyncio.Future[None]] = []
        self.kills = 0
        self.pending = 0  # statements still on their way, and successors still to start
        self.slots: dict[int, str | None] = {}
        self.locks: dict[str, Process] = {}
        self.sessions: Counter[str | None] = Counter()  # lock → statements that its session works on for nobody
        self.relays: dict[Process, roles.SimRelay] = {}
        self.workers: list[Process] = []
        self.acknowledged: set[str] = set()
        self.kinds: dict[str, str] = {}
        self.lanes: dict[str, str | None] = {}
        self.two_relays = False
        self.alone: set[tuple[str, int]] = set()
        self.trace: list[tuple[int, str, str, object]] = []
        self.stats: dict[str, int] = {}
        self._snapshots = [self.redis.snapshot()]
        self._born = 0
        self._failure: BaseException | None = None
        self._failed: asyncio.Future[None] = self.loop.create_future()

    # Running

    def run(self) -> Run:
        with roles.simulated(self):
            self.loop.set_exception_handler(self._unheard)
            try:
                self.loop.run_until_complete(self._run())
            except (Violation, Stuck) as failure:
                self._failure = self._failure or failure
            finally:
                self._tear_down()
        jobs = len(self.witness.accepted)
        passed_s = (self.clock.now_us() - START_US) / 1e6
        return Run(self.seed, self._failure, self.trace, passed_s, jobs, self.stats)

    async def _run(self):
        story = self.loop.create_task(self._story())
        await asyncio.wait({story, self._failed}, return_when=asyncio.FIRST_COMPLETED)
        if self._failed.done():
            raise self._failure
        await story

    async def _story(self):
        self.restraint.open(START_US)
        for number in range(self.plan.relays):
            self._start_relay(number)
        for number in range(self.plan.workers):
            self.slots[number] = None
            self._start_worker(number)
        caller = Process(self, "api", killable=False)
        acceptor = Acceptor(SimDatabase(caller), self.wake)
        orders = [self.loop.create_task(self._order(acceptor, order)) for order in self.plan.orders]
        if self.kin is not None:
            orders.append(self.loop.create_task(self.kin.ask()))
        for at_s, event in self.plan.events:
            self.loop.call_later(at_s, self._strike, event)
        for at_s, by_us in self.calendar.steps if self.calendar else ():
            self.loop.call_later(at_s, self._step_clock, by_us)
        await asyncio.sleep(self.plan.chaos_s)
        self.note(None, "healing")
        self.troubled = False
        await asyncio.wait(orders)
        await self.restraint.end(self._unhindered)
        if self.calendar is not None:
            healed_us = self.clock.now_us()
            ticked = lambda: calendar.has_ticked_since(self.ledger, healed_us)  # noqa: E731
            await self._until(ticked, QUIET_S, lambda: "the schedule does not tick")
            calendar.stop(self.ledger, self.clock.now_us())
        await self._until(self._quiet, QUIET_S, self._unfinished)
        await self._until(lambda: self.redis.length(stream(QUEUE)) == 0, CLEAN_S, lambda: "Redis is not empty")
        self.witness.judge()
        if self.kin is not None:
            self.kin.judge()
        if self.calendar is not None:
            calendar.judge(self)

    async def _until(self, condition, limit_s, words):
        until_us = after_us(self.clock.now_us(), limit_s)
        while not condition():
            if self.clock.now_us() > until_us:
                self.fail(Violation(f"not quiet {limit_s:.0f} s after healing: {words()}"))
            await asyncio.sleep(0.25)

    def _quiet(self):
        """Everything has ended, also for those who were stopped and come back with what they did meanwhile."""
        return not (self.witness.open or self.pending or self.witness.active_alive() or self._any_stopped())

    def _any_stopped(self):
        return any(process.stopped for process in (*self.workers, *self.relays))

    async def _unhindered(self):
        hindered = lambda: [one for one in (*self.workers, *self.relays) if one.stopped or one.cut_off]  # noqa: E731
        await self._until(lambda: not hindered(), QUIET_S, lambda: "somebody is stopped or cut off")

    def _unfinished(self):
        rows = [tuple(row) for row in self.ledger.query(
            "SELECT id, state, fence, attempt, incarnation FROM job WHERE state IN ('ready', 'dispatched', 'running')"
        )]  # fmt: skip
        return f"{rows}, {self.pending} still on their way"

    def _tear_down(self):
        self.over = True
        for _ in range(30):
            tasks = asyncio.all_tasks(self.loop)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
        for task in asyncio.all_tasks(self.loop):
            task._log_destroy_pending = False
        self.loop.close()

    # What the parts tell the world

    def note(self, process, what, detail=""):
        self.trace.append((self.clock.now_us(), process.name if process else "world", what, detail))
        if len(self.trace) > MOST_TURNS:
            self.fail(Violation("it turns in circles"))

    def fail(self, failure):
        if self.over:
            return
        self._failure = self._failure or failure
        self.note(None, "VIOLATION", str(failure))
        if not self._failed.done():
            self._failed.set_result(None)

    def _unheard(self, loop, context):
        error = context.get("exception")
        if error is not None and not isinstance(error, (ConnectionError, asyncio.CancelledError)):
            self.fail(error)

    @property
    def tolerance_us(self):
        """How early a start may seem to somebody whose clock is behind."""
        return self.plan.tolerance_us + (self.calendar.step_us if self.calendar else 0)

    def kind_of(self, job):
        return self.kinds.get(job, "unknown")

    def lane_of(self, job):
        return self.lanes.get(job)

    def count(self, what, number=1):
        self.stats[what] = self.stats.get(what, 0) + number

    def fate(self, process, target):
        if not self.troubled or self.random.random() >= self.plan.fault_rate:
            return None
        fate = self.random.choice(self.plan.fates)
        if fate.startswith(("die", "stop")) and not process.killable:
            return "refused"
        if fate.startswith("die") and not self._may_kill(process):
            return None
        self.count(fate)
        return fate

    def later(self, delay_s, process, name, operate, lock=None):
        """Something the server does after its client has given up on it."""
        self.pending += 1
        self.sessions[lock] += 1

        def happen():
            self.pending -= 1
            self.sessions[lock] -= 1
            if self.over:
                return
            self.note(process, "late", name)
            try:
                operate()
            except Exception as error:
                self.note(process, "late failed", repr(error))

        self.loop.call_later(delay_s, happen)

    def wake(self, queue):
        self.loop.call_later(0.001, self.published, WORK)

    def published(self, word):
        """Pub/sub reaches whoever listens now; a process that is stopped will find it when it goes on."""
        for process, running in self.relays.items():
            if process.alive and self.random.random() < 0.95:
                running.nudge(word)

    # Processes

    def _start_worker(self, number):
        self._born += 1
        process = Process(self, f"worker{number}.{self._born}")
        process.on_death = lambda dead: self._succeed(dead, number)
        self.workers.append(process)
        self.loop.create_task(roles.work(process, number))

    def _succeed(self, dead, number):
        """Somebody takes the slot soon, or a new host comes up and nobody knows of the dead."""
        self.workers.remove(dead)
        self.pending += 1
        place = number
        if self.random.random() < 0.3:
            place = max(self.slots) + 1
            self.slots[place] = None
        self.loop.call_later(self.random.choice([0.01, 0.2, 2.0]), self._succeeded, place)

    def _succeeded(self, place):
        self.pending -= 1
        if not self.over:
            self._start_worker(place)

    def _start_relay(self, number):
        self._born += 1
        process = Process(self, f"relay{number}.{self._born}")
        process.on_death = lambda dead: (
            self.relays.pop(dead, None)
            and self.loop.call_later(self.random.choice([0.01, 1.0, 3.0]), self._start_relay, number)
        )
        self.loop.create_task(roles.serve_relay(process))

    def _may_kill(self, process):
        if not process.killable:
            return False
        if process in self.relays:
            return True
        if self.kills >= self.plan.kills:
            return False
        self.kills += 1
        return True

    # Orders and troubles

    async def _order(self, acceptor, order):
        await asyncio.sleep(order.at_s)
        now_us = acceptor.database.clock.now_us()
        jobs = []
        for kind in order.kinds:
            command = Work(kind=kind, seconds=order.seconds, times=order.times)
            job = new_job(
                command, tenant="t1", now_us=now_us, run_at=after_us(now_us, order.run_in_s),
                priority=order.priority, max_attempts=order.max_attempts, timeout_s=order.timeout_s, lane=order.lane,
            )  # fmt: skip
            self.lanes[job.id] = order.lane
            self.kinds[job.id] = kind
            jobs.append(job)
        try:
            await acceptor.submit(Accepted(jobs))
        except ConnectionError:
            return
        self.acknowledged.update(job.id for job in jobs)

    def _strike(self, event):
        self.note(None, event)
        self.count(event)
        (getattr(self.restraint, event) if event in HINDRANCES else getattr(self, f"_{event}"))()
        self._snapshots.append(self.redis.snapshot())

    def _any(self, processes):
        found = [process for process in processes if process.alive]
        return self.random.choice(found) if found else None

    def _kill_worker(self):
        process = self._any(self.workers)
        if process and self._may_kill(process):
            process.die()

    def _kill_relay(self):
        if process := self._any(self.relays):
            process.die()

    def _stop_worker(self):
        """Rather one that is at work, and rather for longer than its lease: it comes back with a late result."""
        busy = [process for process in dict.fromkeys(self.witness.active.values()) if process in self.workers]
        lease_s = self.plan.lease_s
        if process := self._any(busy or self.workers):
            process.pause(self.random.choice([self.random.uniform(0.2, lease_s), lease_s * 1.5, lease_s * 2.0]))

    def _stop_relay(self):
        if process := self._any(self.relays):
            process.pause(self.random.uniform(0.2, self.plan.longest_stop_s))

    def _cut_worker(self):
        if process := self._any(self.workers):
            process.cut(self.random.choice(["database", "redis"]), self.random.uniform(0.2, self.plan.longest_stop_s))

    def _cut_relay(self):
        if process := self._any(self.relays):
            process.cut(self.random.choice(["database", "redis"]), self.random.uniform(0.2, self.plan.longest_stop_s))

    def _down(self, target):
        seconds = self.random.uniform(0.2, 6.0)
        for process in (*self.workers, *self.relays):
            process.cut(target, seconds)

    def _database_down(self):
        self._down("database")

    def _crash_database(self):
        """Moments after the relay's next mark, so that there is one to lose."""
        self.ledger.on_mark = lambda: self.loop.call_later(self.random.uniform(0.0, 0.05), self._database_crashed)

    def _database_crashed(self):
        """It comes back with what was on its disk; every session is gone, and with it the relay's lock."""
        if self.over or not self.troubled:
            return
        lost = self.ledger.lose_marks(self.random.randint(0, max(0, self.ledger.unflushed - 1)))
        self.note(None, "database crashed", lost)
        self.count("lost_marks", len(lost))
        self.locks.clear()
        self.two_relays = True  # until the old one notices
        self._database_down()

    def _redis_down(self):
        self._down("redis")

    def _wipe(self):
        self.redis.wipe()

    def _restore(self):
        self.redis.restore(self.random.choice(self._snapshots))

    def _lag(self):
        """A failover to a replica that has not heard of the last moments."""
        snapshot = self.redis.snapshot()
        self.loop.call_later(self.random.uniform(0.002, 0.5), self.redis.restore, snapshot)

    def _duplicate(self):
        self.redis.duplicate(self.random)

    def _reorder(self):
        self.redis.reorder(self.random)

    def _drain_worker(self):
        if process := self._any(self.workers):
            process.stop.set()

    def _step_clock(self, by_us):
        if self.over or not self.troubled:
            return
        if process := self._any(self.relays):
            self.note(process, "clock set", by_us)
            self.count("clock_set")
            process.clock.step(by_us)

    def _steal_lock(self):
        """The session that held it broke and its holder has not noticed: two relays work at once."""
        self.locks.clear()
        self.two_relays = True

    def _cancel_job(self):
        if self.witness.open:
            job = self.random.choice(sorted(self.witness.open))
            at_once(cancel_job(Direct(self.ledger), "t1", job, self.clock.now_us()))
            for subscription in sorted(self.redis.listeners, key=lambda one: one.name):
                if self.random.random() < 0.8:
                    subscription.say(job)

    def _retry_dead(self):
        """Somebody tries every dead letter again; its attempts start over, its fence does not."""
        dead = [row["id"] for row in self.ledger.query("SELECT id FROM job WHERE state = 'dead' ORDER BY id")]
        values = {"ids": dead, "tenant": "t1", "now": self.clock.now_us(), "states": ["dead"]}
        self.ledger.execute(RETRY, values)


class Direct:
    """A connection of somebody whom no network troubles."""

    def __init__(self, ledger) -> None:
        self._ledger = ledger

    async def fetch(self, statement, params=None, rows=()):
        return self._ledger.execute(statement, params, rows)


def at_once(coroutine):
    """Run what waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError("it waits for something")


def _brief(detail):
    if isinstance(detail, list) and detail and hasattr(detail[0], "keys"):
        detail = [{k: row[k] for k in row.keys() if k in ("id", "fence", "beat", "tombstone")} for row in detail]  # noqa: SIM118
    text = detail if isinstance(detail, str) else repr(detail)
    return text if len(text) <= 240 else text[:240] + "…"
