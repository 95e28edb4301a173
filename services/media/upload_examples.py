"""What the OpenAPI says of bodies that are no JSON, and of the headers that uploads and files are asked with."""

from collections.abc import Mapping
from typing import Any, Final

from services.media import tus
from shared.runtime.examples import Responses

_BINARY: Final[dict[str, Any]] = {"schema": {"type": "string", "format": "binary"}}
_FORM: Final = {"schema": {"type": "object", "required": ["file"], "properties": {"file": _BINARY["schema"]}}}


def _asked(name: str, description: str, *, required: bool = False) -> dict[str, Any]:
    return {
        "name": name, "in": "header", "required": required, "schema": {"type": "string"}, "description": description,
    }  # fmt: skip


def _answered(**said: str) -> dict[str, Any]:
    """Headers of an answer, by their names with `_` for `-`."""
    return {name.replace("_", "-"): {"schema": {"type": "string"}, "description": said[name]} for name in said}


def _body(description: str, content: Mapping[str, Any], *, required: bool = True) -> dict[str, Any]:
    return {"requestBody": {"description": description, "required": required, "content": dict(content)}}


FILE_BODY: Final = _body(
    "the file's bytes, streamed, or a form with one file of whatever name; what it is is told by its first bytes",
    {
        "image/*": _BINARY, "video/*": _BINARY, "audio/*": _BINARY, "application/octet-stream": _BINARY,
        "multipart/form-data": _FORM,
    },
)  # fmt: skip

_VERSION: Final = _asked("Tus-Resumable", f"`{tus.VERSION}`", required=True)
_CHECKSUM: Final = _asked("Upload-Checksum", "`sha256` (or `sha1`, `sha512`) and the base64 of the part's")
_METADATA: Final = "keys and base64, parted by commas: `presets`, `priority`, `focus`, and whatever else is to be kept"
_PART: Final = {tus.PART_TYPE: _BINARY}
_MOVED: Final = _answered(
    Upload_Offset="how many bytes have come", Upload_Expires="until when it may go on, as an HTTP date",
    Holdfast_Asset="the asset that it has become, once it is whole",
)  # fmt: skip
DESCRIBED: Final[Responses] = {
    204: {
        "description": "what is spoken, in headers",
        "headers": _answered(
            Tus_Version="versions", Tus_Extension="extensions", Tus_Max_Size="the most bytes that an upload can have",
            Tus_Checksum_Algorithm="algorithms",
        ),
    },
}  # fmt: skip
CREATE: Final[dict[str, Any]] = {
    "parameters": [
        _VERSION, _asked("Upload-Length", "the bytes of the whole", required=True),
        _asked("Upload-Metadata", _METADATA), _CHECKSUM,
    ],
    **_body("none, or the first part", _PART, required=False),
}  # fmt: skip
APPEND: Final[dict[str, Any]] = {
    "parameters": [
        _VERSION, _asked("Upload-Offset", "where this part begins: where the upload is", required=True), _CHECKSUM,
    ],
    **_body("the bytes from the offset on, as many as one likes", _PART),
}  # fmt: skip
APPENDED: Final[Responses] = {204: {"description": "they are kept", "headers": _MOVED}}
END: Final[dict[str, Any]] = {"parameters": [_asked("Tus-Resumable", f"`{tus.VERSION}`; a direct upload needs none")]}

ASKED_BYTES: Final[dict[str, Any]] = {
    "parameters": [
        _asked("Range", "`bytes=0-1023`: one range; of several the whole is answered"),
        _asked("If-Range", "the `ETag` that the range is of"), _asked("If-Match", "412 when it is another"),
        _asked("If-None-Match", "304 when it is this one"),
    ],
}  # fmt: skip
