"""`python -m shared.runtime.doctor`: the examination from within an image, one JSON line; `holdfast doctor` shows it.

Exit codes: 0 nothing fails, 1 something does, 2 the settings cannot be read.
"""

import argparse
import asyncio
import json
import sys

from shared.kernel import logs
from shared.kernel.errors import Misconfigured
from shared.kernel.settings import CoreSettings, load
from shared.runtime.doctor.examination import examine
from shared.runtime.doctor.finding import document, exit_code
from shared.runtime.doctor.subject import GRACE_S, PROCESSES, Subject


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m shared.runtime.doctor", description="examine this installation")
    parser.add_argument("--grace-s", type=float, default=GRACE_S, help="between SIGTERM and SIGKILL")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="that open connections, at the most")
    parser.add_argument("--strict", action="store_true", help="warnings cost the exit code as well")
    given = parser.parse_args()
    logs.configure("ERROR")
    try:
        subject = Subject(load(CoreSettings), grace_s=given.grace_s, processes=given.processes)
    except Misconfigured as wrong:
        sys.stderr.write(f"{wrong}\n")
        return 2
    findings = asyncio.run(examine(subject))
    sys.stdout.write(json.dumps(document(findings), ensure_ascii=False) + "\n")
    return exit_code(findings, strict=given.strict)


if __name__ == "__main__":
    sys.exit(main())
