"""Where the parts of an upload are, until it has become an asset: `uploads/<id>/…`."""

ROOT = "uploads"


def upload_folder(upload_id: str) -> str:
    return f"{ROOT}/{upload_id}"
