"""Renditions of a film or a sound by a slot, for the tests, and what is in them."""

from pathlib import Path

import av

from services.media.presets import PresetSet, preset_set

DEFAULT = preset_set("default").wire()


async def made(pool, source, out, presets=DEFAULT, **more):
    args = {"source": str(source), "directory": str(out), "presets": presets}
    result = await pool.run("renditions", args, timeout_s=60, **more)
    for one in result["renditions"]:
        data = read(one)
        assert Path(one["path"]).parent == out
        assert one["size_bytes"] == len(data)
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"{one['name']}.{one['format']}" for one in result["renditions"]
    )
    return result["probe"], {one["name"]: one for one in result["renditions"]}


def read(one):
    return Path(one["path"]).read_bytes()


def only(*presets):
    return PresetSet("x", video=presets).wire()


def frames_of(path):
    with av.open(str(path)) as container:
        return [(frame.time, frame) for frame in container.decode(video=0)]


def sound_of(path):
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    return frames, sum(frame.samples for frame in frames) / frames[0].sample_rate


def onset(path, threshold=0.1):
    """When the first loud sample of its sound is heard, in seconds."""
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            values = memoryview(bytes(frame.planes[0])).cast("f")[: frame.samples]
            loud = next((n for n, value in enumerate(values) if abs(value) > threshold), None)
            if loud is not None:
                return frame.time + loud / frame.sample_rate
    return None
