"""How uploads are shown to people, pure."""

from collections.abc import Mapping
from typing import Any

from shared.kernel.clock import rfc3339


def upload_document(upload: Mapping[str, Any]) -> dict[str, Any]:
    """`asset` is there once the upload is whole."""
    return {
        "id": upload["id"],
        "protocol": upload["protocol"],
        "size_bytes": upload["length_bytes"],
        "offset_bytes": upload["offset_bytes"],
        "asset": upload["asset_id"],
        "created_at": rfc3339(upload["created_at"]),
        "expires_at": rfc3339(upload["expires_at"]),
    }
