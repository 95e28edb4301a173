"""The ledger as an owner of a schema: where its migrations are and which versions this code works with."""

from pathlib import Path

from shared.db.migrate import Owner

LEDGER = Owner("ledger", Path(__file__).parent / "migrations", oldest=2, newest=2)
