"""dramatiq on Redis: `dramatiq bench.peers.dramatiq`, its defaults, or a deep prefetch (environment of its worker).

Not durable beyond Valkey's log; messages are acknowledged after they ran.
"""

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.peers.tally import REDIS, Tally, timed

dramatiq.set_broker(RedisBroker(url=REDIS))
tally = Tally()


@dramatiq.actor(actor_name="noop")
def noop() -> None:
    tally.ran()


if __name__ == "__main__":
    timed(noop.send)
