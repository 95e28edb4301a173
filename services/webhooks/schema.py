"""The webhooks service as an owner of a schema."""

from pathlib import Path

from shared.db.migrate import Owner

LINKS = (("webhooks_deliveries", "job_id"),)
OWNER = Owner("webhooks", Path(__file__).parent / "migrations", oldest=2, newest=2, links=LINKS)
