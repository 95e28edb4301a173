"""`python -m holdfast.mailbox PORT FOLDER`: a mail server for local runs that keeps each message as a file.

Real SMTP, no delivery: a laptop has no mail server, and a demo must not mail anybody.
"""

import asyncio
import contextlib
import signal
import sys
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

from shared.kernel.ids import new_id


class Keep:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        name = new_id("mail")
        path = self._folder / f"{name}.part"
        path.write_bytes(envelope.original_content or b"")
        path.rename(self._folder / f"{name}.eml")
        return f"250 kept as {name}"


async def serve(port: int, folder: Path) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    server = await loop.create_server(lambda: SMTP(Keep(folder), enable_SMTPUTF8=True), "127.0.0.1", port)
    async with server:
        await stop.wait()


if __name__ == "__main__":
    Path(sys.argv[2]).mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
