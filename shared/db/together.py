"""Several statements that commit together, in one round trip where the database allows it.

On PostgreSQL they become one: a transaction of its own without BEGIN and COMMIT, which were half of the round trips of
accepting a job. All of them see the database as it was before, so none may read what another one writes; what they
return is not handed on.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from shared.db.engine import Database
from shared.db.sql import Dialect, Statement

Part = tuple[Statement, Mapping[str, Any] | None, Sequence[Sequence[Any]]]  # as a Connection's fetch takes them
_PLACE = re.compile(r"\$(\d+)")


async def write_together(database: Database, parts: Sequence[Part]) -> None:
    if database.dialect == "sqlite":
        async with database.transaction() as connection:
            for statement, params, rows in parts:
                await connection.fetch(statement, params, rows)
    elif parts:
        await database.fetch(_joined(tuple(statement for statement, _, _ in parts)), None, parts)


class _Joined(Statement):
    """Its rows are the parts."""

    def __init__(self, statements: tuple[Statement, ...]) -> None:
        super().__init__("+".join(statement.name for statement in statements), _joined_text(statements))

    def sql(self, dialect: Dialect) -> str:
        assert dialect == "postgres"
        return self.text

    def bind(self, dialect: Dialect, params: Mapping[str, Any] | None, rows: Sequence[Any]) -> Any:  # noqa: ARG002
        return tuple(value for statement, given, own in rows for value in statement.bind(dialect, given, own))


@lru_cache(maxsize=64)  # programs write few kinds of things together
def _joined(statements: tuple[Statement, ...]) -> Statement:
    return _Joined(statements)


def _joined_text(statements: Sequence[Statement]) -> str:
    texts, before = [], 0
    for statement in statements:
        text = statement.sql("postgres")
        texts.append(_PLACE.sub(lambda found, shift=before: f"${int(found[1]) + shift}", text))  # type: ignore[misc]
        before += max((int(number) for number in _PLACE.findall(text)), default=0)
    *first, last = texts
    named = ",\n".join(f"part{number} AS ({text})" for number, text in enumerate(first))
    return f"WITH {named}\n{last}" if first else last
