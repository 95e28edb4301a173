"""The api service as an owner of a schema."""

from pathlib import Path

from shared.db.migrate import Owner

OWNER = Owner("api", Path(__file__).parent / "migrations", oldest=2, newest=2)
