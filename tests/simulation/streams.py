"""Redis as far as the transport uses it: one stream per queue with one group, keys, a script; and its misfortunes.

A test runs the same random operations here and on a real Valkey, so that nobody has to believe this file.
"""

import asyncio
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, field

from redis.exceptions import ResponseError


@dataclass
class Group:
    last: int = 0
    pending: dict[int, tuple[str, int]] = field(default_factory=dict)  # entry → consumer, when (µs)
    consumers: dict[str, int] = field(default_factory=dict)


@dataclass
class Stream:
    entries: dict[int, tuple[str, str]] = field(default_factory=dict)  # field and value: each entry has one
    newest: int = 0
    group: Group | None = None


class Server:
    """The state of one Redis, and what an administrator or a disaster does to it."""

    def __init__(self, clock) -> None:
        self._clock = clock
        self.streams: dict[str, Stream] = {}
        self.keys: dict[str, str] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self.listeners: set[Subscription] = set()

    def add(self, name, values):
        stream = self.streams.setdefault(name, Stream())
        for value in values:
            stream.newest += 1
            stream.entries[stream.newest] = value
        self.arrived()
        return len(stream.entries)

    def arrived(self):
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def wait(self, seconds):
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting.append(future)
        timer = loop.call_later(seconds, lambda: future.done() or future.set_result(None))
        try:
            await future
        finally:
            timer.cancel()

    def group(self, name):
        stream = self.streams.get(name)
        if stream is None or stream.group is None:
            raise ResponseError("NOGROUP No such key or consumer group")
        return stream, stream.group

    def create_group(self, name):
        stream = self.streams.setdefault(name, Stream())
        if stream.group is not None:
            raise ResponseError("BUSYGROUP Consumer Group name already exists")
        stream.group = Group()

    def read(self, name, consumer, count):
        stream, group = self.group(name)
        group.consumers.setdefault(consumer, 0)
        fresh = [entry for entry in stream.entries if entry > group.last][:count]
        for entry in fresh:
            group.last = entry
            group.pending[entry] = (consumer, self._clock.now_us())
        return [(entry, stream.entries[entry]) for entry in fresh]

    def unread(self, name):
        stream, group = self.group(name)
        return any(entry > group.last for entry in stream.entries)

    def ack(self, name, entries):
        stream = self.streams.get(name)
        if stream is None or stream.group is None:
            return 0
        return sum(stream.group.pending.pop(entry, None) is not None for entry in entries)

    def delete(self, name, entries):
        stream = self.streams.get(name)
        return 0 if stream is None else sum(stream.entries.pop(entry, None) is not None for entry in entries)

    def length(self, name):
        return len(self.streams[name].entries) if name in self.streams else 0

    def pending(self, name, count):
        _, group = self.group(name)
        now_us = self._clock.now_us()
        found = sorted(group.pending.items())[:count]
        return [(entry, holder, (now_us - since_us) // 1000) for entry, (holder, since_us) in found]

    def drop_consumer(self, name, consumer):
        _, group = self.group(name)
        group.consumers.pop(consumer, None)
        for entry in [entry for entry, (holder, _) in group.pending.items() if holder == consumer]:
            del group.pending[entry]

    # Misfortunes

    def snapshot(self):
        return deepcopy((self.streams, self.keys))

    def restore(self, snapshot):
        self.streams, self.keys = deepcopy(snapshot)
        self.arrived()

    def wipe(self):
        self.restore(({}, {}))

    def duplicate(self, random):
        for name, stream in list(self.streams.items()):
            if stream.entries:
                self.add(name, [random.choice(list(stream.entries.values()))])

    def reorder(self, random):
        for stream in self.streams.values():
            unread = [entry for entry in stream.entries if stream.group is None or entry > stream.group.last]
            values = [stream.entries[entry] for entry in unread]
            random.shuffle(values)
            stream.entries.update(zip(unread, values, strict=True))


def _entry(number):
    return b"%d-0" % number


def _fields(pair):
    return {pair[0].encode(): pair[1].encode()}


def _number(entry):
    text = entry.decode() if isinstance(entry, bytes) else entry
    return int(text.split("-")[0])


class SimRedis:
    """The client of one process, with redis-py's names and shapes."""

    def __init__(self, process) -> None:
        self._process = process
        self._server = process.world.redis

    async def _say(self, name, operate, *, note=None):
        def noted():
            result = operate()
            self._process.world.note(self._process, name, note if note is not None else result)
            return result

        return await self._process.call("redis", name, noted)

    def pipeline(self, transaction=False):
        return Pipeline(self._process, self._server)

    def register_script(self, text):
        assert "XADD" in text

        async def publish(keys, args):
            pairs = list(zip(args[::2], args[1::2], strict=True))

            def operate():
                return [self._server.add(keys[0], pairs), (self._server.keys.get(keys[1]) or "").encode()]

            return await self._say("xadd", operate, note=pairs)

        return publish

    async def set(self, key, value):
        await self._say("set", lambda: self._server.keys.__setitem__(key, value))

    async def publish(self, channel, data):
        await self._say("publish", lambda: self._process.world.published(data), note=data)

    @asynccontextmanager
    async def pubsub(self):
        subscription = Subscription(self._process)
        try:
            yield subscription
        finally:
            self._server.listeners.discard(subscription)

    async def xgroup_create(self, name, group, id="0", mkstream=True):  # noqa: A002 - redis-py's name
        await self._say("xgroup_create", lambda: self._server.create_group(name))

    async def xrange(self, name, count):
        def operate():
            stream = self._server.streams.get(name)
            found = list(stream.entries.items())[:count] if stream else []
            return [(_entry(entry), _fields(pair)) for entry, pair in found]

        return await self._say("xrange", operate)

    async def xpending_range(self, name, group, min, max, count):  # noqa: A002 - redis-py's names
        found = await self._say("xpending", lambda: self._server.pending(name, count))
        return [
            {"message_id": _entry(entry), "consumer": consumer.encode(), "time_since_delivered": idle_ms}
            for entry, consumer, idle_ms in found
        ]

    async def xinfo_groups(self, name):
        last = await self._say("xinfo_groups", lambda: self._server.group(name)[1].last)
        return [{"name": b"holdfast", "last-delivered-id": _entry(last)}]

    async def xinfo_consumers(self, name, group):
        found = await self._say("xinfo_consumers", lambda: list(self._server.group(name)[1].consumers))
        return [{"name": consumer.encode()} for consumer in found]

    async def xgroup_delconsumer(self, name, group, consumer):
        await self._say("xgroup_delconsumer", lambda: self._server.drop_consumer(name, consumer), note=consumer)

    async def xreadgroup(self, group, consumer, streams, count, block):
        (name,) = streams
        process, server = self._process, self._server
        fate = await process.reach("redis", "xreadgroup")
        if not server.unread(name):
            await server.wait(block / 1000)
            if process.world.over or (not process.alive and process.world.random.random() < 0.7):
                await process.awake()  # its socket went with it; otherwise Redis has not noticed yet
        found = server.read(name, consumer, count)
        if found:
            process.world.note(process, "xreadgroup", found)
        await process.answered(fate)
        if not found:
            return []
        return [[name.encode(), [(_entry(entry), _fields(pair)) for entry, pair in found]]]


class Subscription:
    """Of one process, to the control channel; it hears of what is said while it is there, or not at all."""

    def __init__(self, process) -> None:
        self._process = process
        self.name = process.name
        self._heard = asyncio.Queue()

    async def subscribe(self, channel):
        await self._process.reach("redis", "subscribe")
        self._process.world.redis.listeners.add(self)
        self._heard.put_nowait({"type": "subscribe", "data": 1})

    async def get_message(self, timeout):  # noqa: ASYNC109 - redis-py's name
        try:
            message = await asyncio.wait_for(self._heard.get(), timeout)
        except TimeoutError:
            message = None
        await self._process.awake()
        return message

    def say(self, job):
        self._heard.put_nowait({"type": "message", "data": job.encode()})


class Pipeline:
    def __init__(self, process, server) -> None:
        self._process = process
        self._server = server
        self._said = []

    def xlen(self, name):
        self._said.append(lambda: self._server.length(name))

    def get(self, key):
        self._said.append(lambda: value.encode() if (value := self._server.keys.get(key)) is not None else None)

    def xack(self, name, group, *entries):
        self._said.append(lambda: self._server.ack(name, [_number(entry) for entry in entries]))

    def xdel(self, name, *entries):
        self._said.append(lambda: self._server.delete(name, [_number(entry) for entry in entries]))

    async def execute(self, raise_on_error=True):
        return await self._process.call("redis", "pipeline", lambda: [operate() for operate in self._said])
