"""Redis or Valkey: version, role, persistence, what it does when memory runs out.

Redis holds nothing that the ledger does not know, so what is lost there costs time, never work. What it evicts while
everybody believes it to be there costs the most time: a reconcile finds it, every few seconds, again and again.
"""

from collections.abc import Mapping
from typing import Any

from shared.runtime.doctor.finding import Finding, Level, judged, size
from shared.runtime.doctor.subject import Subject
from shared.runtime.resources import connect_redis

OLDEST, WANTED = (6, 2), (7, 0)
FULL_SHARE, CROWDED_SHARE = 0.95, 0.8


async def examine(subject: Subject) -> list[Finding]:
    redis = connect_redis(subject.settings, connections=1)
    try:
        facts: dict[str, Any] = await redis.info("everything")
    finally:
        await redis.aclose()
        await redis.connection_pool.disconnect()
    return judge(facts)


def judge(facts: Mapping[str, Any]) -> list[Finding]:
    """Of what INFO says. Pure."""
    return [_version(facts), _role(facts), _persistence(facts), _eviction(facts), _memory(facts)]


def _version(facts: Mapping[str, Any]) -> Finding:
    name = "Valkey" if "valkey_version" in facts else "Redis"
    text = str(facts.get("valkey_version") or facts.get("redis_version", "0"))
    parts = tuple(int(part) for part in text.split(".")[:2] if part.isdecimal())
    level: Level = "fail" if parts < OLDEST else "warn" if parts < WANTED else "ok"
    return judged("redis version", level, f"{name} {text}", "Redis 7.0 or Valkey 7.2, or later", "upgrade the server")


def _role(facts: Mapping[str, Any]) -> Finding:
    role = str(facts.get("role", "master"))
    clustered = bool(facts.get("cluster_enabled"))
    found = f"{role}, cluster mode" if clustered else role
    level: Level = "fail" if role != "master" or clustered else "ok"
    fix = "point HOLDFAST_REDIS_URL at a primary that is no cluster: the streams of a queue are read together"
    return judged("redis role", level, found, "a primary, alone or with replicas", fix)


def _persistence(facts: Mapping[str, Any]) -> Finding:
    fix = "set appendonly yes, appendfsync everysec: a restart then publishes little again"
    wanted = "an append-only file that is written"
    if not facts.get("aof_enabled"):
        return judged("redis persistence", "warn", "no append-only file", wanted, fix)
    bad = [name for name in ("aof_last_write_status", "rdb_last_bgsave_status") if facts.get(name, "ok") != "ok"]
    if bad:
        found = ", ".join(f"{name} is {facts[name]}" for name in bad)
        return judged("redis persistence", "fail", found, wanted, "look at its log and its disk: it may refuse writes")
    return judged("redis persistence", "ok", "append-only file", wanted, "")


def _eviction(facts: Mapping[str, Any]) -> Finding:
    policy, bound = str(facts.get("maxmemory_policy", "noeviction")), int(facts.get("maxmemory", 0))
    level: Level = "ok" if policy == "noeviction" else "fail" if policy.startswith("allkeys") and bound else "warn"
    found = f"{policy}, maxmemory {size(bound) if bound else 'unbounded'}"
    fix = "set maxmemory-policy noeviction, and give queues a server of their own, no cache's"
    return judged("redis eviction", level, found, "noeviction", fix)


def _memory(facts: Mapping[str, Any]) -> Finding:
    used, bound = int(facts.get("used_memory", 0)), int(facts.get("maxmemory", 0))
    share = used / bound if bound else 0.0
    level: Level = "fail" if share > FULL_SHARE else "warn" if share > CROWDED_SHARE else "ok"
    found = f"{size(used)} of {size(bound) if bound else 'unbounded'}"
    return judged("redis memory", level, found, f"below {CROWDED_SHARE:.0%} of maxmemory", "raise maxmemory")
