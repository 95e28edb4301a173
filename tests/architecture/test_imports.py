"""Importing does nothing: no connection, no process, no thread, no setting is read; for every module of the product.

One fresh interpreter imports them all with the doors shut, which is how a test, a linter or `taskiq worker` meets them.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.architecture.tree import ROOT, module_name, product_files

SCRIPT = """
import importlib, os, socket, sqlite3, subprocess, sys, threading
import anyio, asyncpg, aiosqlite, fastapi, redis.asyncio, sqlalchemy, sqlmodel, taskiq, taskiq_redis, uvloop
from pydantic_settings import BaseSettings


def refuse(what):
    def refused(*args, **options):
        raise AssertionError(f"at import time: {what}")

    return refused


read = os._Environ.__getitem__


def reading(self, name):
    if str(name).startswith("HOLDFAST_"):
        raise AssertionError(f"at import time: the environment is read ({name})")
    return read(self, name)


os._Environ.__getitem__ = reading
BaseSettings.__init__ = refuse("settings are made")
for name in ("connect", "connect_ex", "bind", "listen", "sendto"):
    setattr(socket.socket, name, refuse(f"a socket is used ({name})"))
socket.getaddrinfo = refuse("a name is looked up")
sqlite3.connect = refuse("a database is opened")
subprocess.Popen.__init__ = refuse("a process is started")
os.fork = refuse("a process is forked")
threading.Thread.start = refuse("a thread is started")

failed = []
for module in sys.argv[1:]:
    try:
        importlib.import_module(module)
    except BaseException as error:
        failed.append(f"{module}: {error!r}")
print("\\n".join(failed))
"""


def test_importing_a_module_connects_reads_and_starts_nothing(tmp_path) -> None:
    modules = [module_name(path) for path in product_files() if path.stem != "__main__"]
    bare = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *modules],
        cwd=tmp_path, env={**bare, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
    assert list(tmp_path.iterdir()) == [], "an import wrote into the working directory"
