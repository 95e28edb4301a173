"""The simulated Redis against a real Valkey: the same random operations give the same answers."""

import contextlib
from random import Random

import pytest
import redis
from redis.exceptions import ResponseError

from shared.kernel.clock import ManualClock
from shared.transport.names import GROUP
from shared.transport.relay import _PUBLISH
from tests.simulation.streams import Server

NAME = "holdfast:suite"
CONSUMERS = ("inc_a", "inc_b", "inc_c")


class Real:
    """The operations of `Server`, asked of Valkey; its entry ids are numbered as they come."""

    def __init__(self, url):
        self._client = redis.Redis.from_url(url)
        self._publish = self._client.register_script(_PUBLISH)
        self._numbers = {}
        self._ids = {}

    def close(self):
        self._client.close()

    def add(self, values):
        length, _ = self._publish(keys=[NAME, f"{NAME}:epoch"], args=[part for pair in values for part in pair])
        for entry, _ in self._client.xrange(NAME):
            if entry not in self._numbers:
                self._numbers[entry] = len(self._numbers) + 1
                self._ids[self._numbers[entry]] = entry
        return length

    def create_group(self):
        self._client.xgroup_create(NAME, GROUP, id="0", mkstream=True)

    def read(self, consumer, count):
        found = self._client.xreadgroup(GROUP, consumer, {NAME: ">"}, count=count)
        return [(self._numbers[entry], _pair(fields)) for entry, fields in (found[0][1] if found else [])]

    def ack(self, entries):
        return self._client.xack(NAME, GROUP, *(self._ids[entry] for entry in entries))

    def delete(self, entries):
        return self._client.xdel(NAME, *(self._ids[entry] for entry in entries))

    def length(self):
        return self._client.xlen(NAME)

    def pending(self, count):
        found = self._client.xpending_range(NAME, GROUP, min="-", max="+", count=count)
        return [(self._numbers[item["message_id"]], item["consumer"].decode()) for item in found]

    def consumers(self):
        return sorted(item["name"].decode() for item in self._client.xinfo_consumers(NAME, GROUP))

    def drop_consumer(self, consumer):
        self._client.xgroup_delconsumer(NAME, GROUP, consumer)

    def entries(self):
        return [(self._numbers[entry], _pair(fields)) for entry, fields in self._client.xrange(NAME)]


class Simulated:
    def __init__(self):
        self._server = Server(ManualClock())

    def __getattr__(self, name):
        return lambda *values: getattr(self._server, name)(NAME, *values)

    def pending(self, count):
        return [(entry, consumer) for entry, consumer, _ in self._server.pending(NAME, count)]

    def consumers(self):
        return sorted(self._server.group(NAME)[1].consumers)

    def drop_consumer(self, consumer):
        self._server.drop_consumer(NAME, consumer)

    def entries(self):
        stream = self._server.streams.get(NAME)
        return list(stream.entries.items()) if stream else []


def _pair(fields):
    ((name, value),) = fields.items()
    return name.decode(), value.decode()


def _steps(random, number):
    known = 0
    for _ in range(number):
        some = random.sample(range(1, known + 1), min(known, random.randint(1, 3)))
        values = [(random.choice("js"), f"job_{random.randint(1, 9)}") for _ in range(random.randint(1, 3))]
        name, *arguments = random.choice([
            ("add", values), ("add", values), ("create_group",), ("read", random.choice(CONSUMERS), 4),
            ("read", random.choice(CONSUMERS), 2), ("ack", some), ("delete", some), ("length",), ("pending", 10),
            ("consumers",), ("drop_consumer", random.choice(CONSUMERS)), ("entries",),
        ])  # fmt: skip
        if name in ("ack", "delete") and not some:
            continue
        known += len(values) if name == "add" else 0
        yield name, arguments


def _ask(side, name, arguments):
    try:
        return getattr(side, name)(*arguments)
    except ResponseError as refused:
        # What the transport tells apart; other words differ by command where there is no stream at all.
        return "BUSYGROUP" if "BUSYGROUP" in str(refused) else "refused"


@pytest.mark.parametrize("seed", range(12))
def test_the_simulated_redis_answers_as_the_real_one_does(valkey, seed):
    with contextlib.closing(Real(valkey.url)) as real:
        simulated = Simulated()
        for name, arguments in _steps(Random(seed), 150):
            assert _ask(simulated, name, arguments) == _ask(real, name, arguments), (name, arguments)
