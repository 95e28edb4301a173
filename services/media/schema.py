"""The media service as an owner of a schema."""

from pathlib import Path

from shared.db.migrate import Owner

OWNER = Owner("media", Path(__file__).parent / "migrations", oldest=2, newest=2)
