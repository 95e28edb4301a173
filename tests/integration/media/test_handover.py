"""What a slot says that it has made is not believed: a file may have taken it over."""

import hashlib
import os

import pytest

from services.media.blobs import Blobs
from services.media.errors import TaskFailed
from services.media.handover import store_made
from services.media.presets import preset_set

PRESETS = preset_set("default").wire()
ITEM = {"name": "w320", "format": "webp", "kind": "image", "width": 3, "height": 2}


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "call"
    made.mkdir()
    (made / "w320.webp").write_bytes(b"picture")
    (tmp_path / "secret").write_bytes(b"secret")
    return made


@pytest.fixture
def store(folder, tmp_path):
    blobs = Blobs(str(tmp_path / "blobs"))

    async def given(*items, probe=None):
        made = {"probe": probe or {"kind": "image"}, "renditions": list(items)}
        return await store_made(blobs, "assets/a/renditions/1", folder, made, PRESETS)

    return given


async def test_what_is_there_is_found_here(store):
    lies = {"size_bytes": 1, "sha256": "0", "content_type": "text/html", "path": "/proc/self/environ", "more": "x"}
    _, (kept,) = await store({**ITEM, **lies})
    assert kept == {
        **ITEM, "content_type": "image/webp", "size_bytes": 7, "sha256": hashlib.sha256(b"picture").hexdigest(),
        "key": "assets/a/renditions/1/w320.webp",
    }  # fmt: skip


async def test_a_link_to_somewhere_else_is_not_followed(store, folder, tmp_path):
    (folder / "w320.webp").unlink()
    for put in (lambda path: path.symlink_to(tmp_path / "secret"), os.mkfifo, lambda path: path.mkdir()):
        put(folder / "w1280.webp")
        with pytest.raises(TaskFailed):
            await store({**ITEM, "name": "w1280"})
        path = folder / "w1280.webp"
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


@pytest.mark.parametrize(
    "item",
    [
        {**ITEM, "name": "../secret"}, {**ITEM, "name": "nobody"}, {**ITEM, "name": ["w320"]},
        {**ITEM, "format": "html"},
        {**ITEM, "name": "w1280"}, {}, "w320", {**ITEM, "format": {}},
    ],
)  # fmt: skip
async def test_what_nobody_has_asked_for_is_refused(store, item):
    with pytest.raises(TaskFailed):
        await store(item)


async def test_the_same_twice_and_a_probe_of_no_kind_are_refused(store):
    for given in (store(ITEM, ITEM), store(ITEM, probe={"kind": "program"}), store(ITEM, probe=[1])):
        with pytest.raises(TaskFailed):
            await given
