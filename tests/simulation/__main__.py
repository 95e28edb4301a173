"""`python -m tests.simulation`: replay one seed with its trace, or run many and print those that fail as JSON lines."""

import argparse
import json
import sys
import time

from tests.simulation.world import World


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seed", type=int, help="run this one and print its trace")
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--last", type=int, default=100_000, help="lines of the trace")
    asked = parser.parse_args()
    if asked.seed is not None:
        done = World(asked.seed).run()
        print(done.story(asked.last))
        return 1 if done.failure else 0
    failed = 0
    begun_s = time.monotonic()
    stats: dict[str, int] = {}
    for seed in range(asked.first, asked.first + asked.runs * asked.step, asked.step):
        done = World(seed).run()
        for name, count in {**done.stats, "jobs": done.jobs, "virtual_s": int(done.virtual_s)}.items():
            stats[name] = stats.get(name, 0) + count
        if done.failure:
            failed += 1
            print(json.dumps({"seed": seed, "failure": str(done.failure), "story": done.story()}), flush=True)
    stats |= {"runs": asked.runs, "failed": failed, "wall_ms": round((time.monotonic() - begun_s) * 1000)}
    print(json.dumps({"stats": stats}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
