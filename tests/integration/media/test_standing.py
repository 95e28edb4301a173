"""What the media worker says of itself, and what it leaves on the disk."""

import os
import signal
import tempfile

import pytest

from services.media.app import create_app
from services.media.settings import MediaSettings
from services.media.slots import fence, sandbox
from services.media.worker import standing, start_pool
from shared.kernel.errors import Misconfigured
from shared.kernel.settings import load
from shared.runtime.health import readiness
from tests.integration.http.places import Place, on_one_database, place
from tests.integration.media.conftest import until

__all__ = ["place"]


@on_one_database
async def test_it_names_its_slots_and_each_protection(place: Place, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    app = create_app(place.settings, MediaSettings(storage_url=str(tmp_path / "media"), slots=1))
    async with app.router.lifespan_context(app):
        assert readiness(standing(app)) == (
            503,
            {
                "status": "not_ready", "checks": {"slots": "missing"},
                "missing": [{"check": "slots", "problem": "no media slot is ready", "required": True}],
            },
        )  # fmt: skip
        await start_pool(app)
        assert app.state.scratch.folder.parent == tmp_path
        status, document = readiness(standing(app))
        assert status == 200
        assert set(document["checks"]) == {"slots", *sandbox.PROTECTIONS}
        assert document["checks"]["seccomp"] == "ok"
        (pid,) = app.state.pool.pids()
        os.kill(pid, signal.SIGKILL)
        await until(app.state.pool, lambda pool: pool.pids() != [pid])
        await until(app.state.pool, lambda pool: readiness(standing(app))[0] == 200)
    assert not app.state.scratch.folder.exists()


@on_one_database
async def test_a_protection_that_is_off_degrades_and_is_explained(place: Place, tmp_path, monkeypatch) -> None:
    app = create_app(place.settings, MediaSettings(storage_url=str(tmp_path / "media"), slots=1))
    async with app.router.lifespan_context(app):
        await start_pool(app)
        seat = next(iter(app.state.pool._rota.seats.values()))
        seat.protection = {**seat.protection, "landlock": "the kernel has no Landlock"}
        status, document = readiness(standing(app))
    assert (status, document["status"]) == (200, "degraded")
    assert document["missing"] == [
        {"check": "landlock", "problem": "the kernel has no Landlock", "required": False}
    ]  # fmt: skip


def test_what_is_required_must_be_a_protection(monkeypatch) -> None:
    monkeypatch.setenv("HOLDFAST_MEDIA_REQUIRED_PROTECTIONS", "seccomp, landlock")
    assert load(MediaSettings).required_protections == ("seccomp", "landlock")
    monkeypatch.setenv("HOLDFAST_MEDIA_REQUIRED_PROTECTIONS", "")
    assert load(MediaSettings).required_protections == ()
    monkeypatch.setenv("HOLDFAST_MEDIA_REQUIRED_PROTECTIONS", "prayers")
    with pytest.raises(Misconfigured, match="prayers"):
        load(MediaSettings)


def test_the_fence_reads_no_more_than_programs_and_libraries() -> None:
    assert not [path for path in fence.readable() if path in ("/", "/proc", "/etc", "/home", "/root", "/var")]
