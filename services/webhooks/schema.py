"""The webhooks service as an owner of a schema."""

from pathlib import Path

from shared.db.migrate import Owner

OWNER = Owner("webhooks", Path(__file__).parent / "migrations", oldest=1, newest=1)
