"""What the OpenAPI shows of assets: a picture, a film, a sound, a broken one, one whose bytes are on their way."""

from typing import Any, Final

_ID: Final = "ast_01m81s9dmte5srzwdfgsk0cb4q"
_JOB: Final = "job_01m81s9dnhe47s3tch4srt7qc0"
_URL: Final = f"/v1/media/{_ID}/renditions"
_STORED: Final = {"fraction": 1.0, "note": "stored", "at": "2026-11-22T10:00:00.912004Z"}
_NO_COLOUR: Final = {"primaries": None, "transfer": None, "matrix": None, "range": None, "hdr": False}


def _made(name: str, form: str, kind: str, sha256: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "kind": kind, "format": form, **more, "sha256": sha256, "url": f"{_URL}/{name}"}


UPLOADED: Final[dict[str, Any]] = {"id": _ID, "job": _JOB, "state": "accepted", "size_bytes": 434_616}
PICTURE: Final[dict[str, Any]] = {
    "id": _ID, "state": "processed", "kind": "image", "priority": "interactive", "job": _JOB, "preset_set": "default",
    "size_bytes": 434_616, "sha256": "95988e34ad01e996a1b87c1484e113904a73237901fb9814de811f3d755eaabd",
    "created_at": "2026-11-22T10:00:00.000000Z",
    "probe": {
        "kind": "image", "format": "jpeg", "frames": 1, "size_bytes": 434_616, "width": 1280, "height": 1920,
        "colour_space": "srgb", "bits": 8, "orientation": 6, "alpha": False, "icc": False,
        "camera": {"camera_make": "Holdfast", "camera_model": "Demo Camera"},
        "thumbhash": "nvcJJQRWeYp4CIg3iIPIeIVzUEgH", "dominant_colour": "#948885", "damaged": False,
    },
    "progress": _STORED,
    "renditions": [
        _made(
            "w320", "webp", "image", "8f1bb839181b19d5be26f26045d926f084a74883c1cd0daa844fc3a74296aaee",
            content_type="image/webp", width=213, height=320, frames=1, size_bytes=7_808,
        ),
        _made(
            "w1280", "webp", "image", "086a89fb0730b0c75c8c0487f3c4dc9accc864d83eaac3b0307feb2fd32f3d35",
            content_type="image/webp", width=853, height=1280, frames=1, size_bytes=86_856,
        ),
    ],
    "error": None,
}  # fmt: skip
_FILM: Final[dict[str, Any]] = {
    **PICTURE, "kind": "video", "size_bytes": 21_273,
    "probe": {
        "kind": "video", "format": "mp4", "duration_s": 1.0, "width": 640, "height": 360, "rotation": 0, "fps": 10.0,
        "codec": "h264", "pixel_format": "yuv420p", "bit_rate": 170_184, "interlaced": False, "colour": _NO_COLOUR,
        "audio": {"codec": "aac", "sample_rate": 48_000, "channels": 2, "bit_rate": 128_381}, "streams": 2,
        "size_bytes": 21_273,
    },
    "renditions": [
        _made(
            "poster", "webp", "image", "95e104578c64fe6c28da7d8387852c84bf668d82330e9ef6947192f570286838",
            content_type="image/webp", width=640, height=360, frames=1, size_bytes=624,
        ),
        _made(
            "720p", "mp4", "video", "cf4a511b55f7e6a666388e6d349f9436795626ba9f850f016649dc3beea300be",
            content_type="video/mp4", width=640, height=360, duration_s=1.0, size_bytes=21_691,
        ),
    ],
}  # fmt: skip
_SOUND: Final[dict[str, Any]] = {
    **PICTURE, "kind": "audio", "size_bytes": 16_749,
    "probe": {
        "kind": "audio", "format": "mp3", "duration_s": 1.009, "codec": "mp3", "sample_rate": 48_000, "channels": 2,
        "bit_rate": 128_000, "streams": 1, "size_bytes": 16_749,
    },
    "renditions": [
        _made(
            "peaks", "json", "peaks", "365c7d15642ba0685a9ccdf2792432b2208b7efa802de9d528bf0685d13b6c40",
            content_type="application/json", duration_s=1.009, size_bytes=1_850,
        ),
        _made(
            "aac", "m4a", "audio", "fd3f5d4dbbd3b64122e636bfb65d07e82745891dd01fe1053e9b565a4b825659",
            content_type="audio/mp4", duration_s=1.009, size_bytes=17_411,
        ),
    ],
}  # fmt: skip
_FAILED: Final[dict[str, Any]] = {
    **PICTURE, "state": "failed", "probe": None, "renditions": [],
    "progress": {"fraction": 0.1, "note": "probed", "at": "2026-11-22T10:00:00.187310Z"},
    "error": {"code": "truncated", "message": "the image ends too early (VipsJpeg: premature end of JPEG image)"},
}  # fmt: skip
_FETCHING: Final[dict[str, Any]] = {
    **PICTURE, "state": "fetching", "kind": None, "size_bytes": None, "sha256": None, "probe": None, "renditions": [],
    "progress": None,
}  # fmt: skip
SHOWN: Final[dict[str, Any]] = {
    "picture": {"summary": "A picture, processed", "value": PICTURE},
    "film": {"summary": "A film, processed", "value": _FILM},
    "sound": {"summary": "A sound, processed", "value": _SOUND},
    "failed": {"summary": "A picture that is refused", "value": _FAILED},
    "fetching": {"summary": "Its bytes are on their way", "value": _FETCHING},
}
LINE: Final[dict[str, Any]] = {
    **{name: value for name, value in PICTURE.items() if name not in ("probe", "sha256")},
    "renditions": ["w320", "w1280"],
}
CANCELLED: Final[dict[str, Any]] = {
    "waited": {
        "summary": "It waited", "value": {"id": _ID, "job": _JOB, "requested": False, "state": "cancelled"},
    },
    "ran": {
        "summary": "It runs, and is asked to end",
        "value": {"id": _ID, "job": _JOB, "requested": True, "state": "processing"},
    },
}  # fmt: skip
AGAIN: Final[dict[str, Any]] = {
    "the set as it is now": {"summary": "The same set, which has been edited", "value": {}},
    "another set": {"summary": "Another set", "value": {"presets": "default", "priority": "bulk"}},
    "this once": {
        "summary": "Presets for this once",
        "value": {"presets": {"image": [{"name": "w640", "width": 640, "format": "avif"}]}},
    },
}
REPROCESSED: Final[dict[str, Any]] = {
    "id": _ID, "job": "job_01m81saq9rf2vbk5e4k8h2xw3n", "state": "accepted", "preset_set": "default",
}  # fmt: skip
