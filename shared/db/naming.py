"""Names of constraints and columns' types that both databases share; every table of the project hangs on this."""

from sqlalchemy import MetaData, String
from sqlmodel import SQLModel

CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Table(SQLModel):
    """Base of the project's tables: one metadata, named constraints, so that migrations can name what they change."""

    metadata = MetaData(naming_convention=CONVENTION)


def id_text() -> String:
    """The type of an id: text compared byte by byte, so that an index orders ids as time does."""
    return String().with_variant(String(collation="C"), "postgresql")
