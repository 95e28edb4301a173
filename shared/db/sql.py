"""A hot statement: plain SQL, named, written once for both databases and run on any kind of connection.

`:name` is a parameter. `{any:ids}` is "is one of this list". `{rows}` is the relation of the rows passed beside the
parameters, whose columns and types the statement declares: arrays through `unnest` on PostgreSQL (2 µs a row),
`json_each` on SQLite. `{guard:job.state}` is a column that is checked and must not choose the index: rows come by
primary key, and a partial index on that state would be walked with all its dead entries. Where one text cannot serve
both, `postgres` replaces it; a conformance suite runs both.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import orjson

Dialect = Literal["sqlite", "postgres"]
Row = Mapping[str, Any]
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_][a-z0-9_]*)")
_GUARD = re.compile(r"\{guard:([a-z_.]+)\}")
_ANY = re.compile(r"\{any:([a-z_]+)\}")


class Connection(Protocol):
    """Whatever can run a Statement: a pooled driver connection, or a handler's transaction."""

    async def fetch(
        self, statement: "Statement", params: Mapping[str, Any] | None = None, rows: Sequence[Sequence[Any]] = ()
    ) -> Sequence[Row]: ...


@dataclass(frozen=True, eq=False)
class Statement:
    name: str
    text: str
    rows: Mapping[str, str] = field(default_factory=dict)
    postgres: str | None = None
    _compiled: dict[Dialect, tuple[str, tuple[str, ...]]] = field(default_factory=dict, repr=False)

    def sql(self, dialect: Dialect) -> str:
        return self._compile(dialect)[0]

    def bind(self, dialect: Dialect, params: Mapping[str, Any] | None, rows: Sequence[Sequence[Any]]) -> Any:
        """The driver's arguments: a tuple for asyncpg, a dict for sqlite3. Rows are tuples in column order."""
        values = dict(params or {})
        _, names = self._compile(dialect)
        if dialect == "sqlite":
            for name in names:
                if isinstance(values.get(name), (list, tuple, set, frozenset)):
                    values[name] = orjson.dumps(list(values[name])).decode()
            if self.rows:
                values["rows"] = orjson.dumps(rows).decode()
            return values
        if self.rows:
            columns = zip(*rows, strict=True) if rows else [()] * len(self.rows)
            for column, items in zip(self.rows, columns, strict=True):
                values[f"rows_{column}"] = list(items)
        return tuple(values[name] for name in names)

    def _compile(self, dialect: Dialect) -> tuple[str, tuple[str, ...]]:
        found = self._compiled.get(dialect)
        if found is None:
            found = self._compiled[dialect] = _compile(self, dialect)
        return found


def _compile(statement: Statement, dialect: Dialect) -> tuple[str, tuple[str, ...]]:
    if dialect == "sqlite":
        text = _ANY.sub(r"IN (SELECT value FROM json_each(:\1))", statement.text)
        text = _GUARD.sub(r"+\1", text)
        text = text.replace("{rows}", _sqlite_rows(statement.rows))
        return text, tuple(dict.fromkeys(_PARAMETER.findall(text)))
    text = _ANY.sub(r"= ANY(CAST(:\1 AS text[]))", statement.postgres or statement.text)
    text = _GUARD.sub(r"(\1 || '')", text)
    text = text.replace("{rows}", _postgres_rows(statement.rows))
    names = tuple(dict.fromkeys(_PARAMETER.findall(text)))
    return _PARAMETER.sub(lambda m: f"${names.index(m[1]) + 1}", text), names


def _sqlite_rows(columns: Mapping[str, str]) -> str:
    picked = ", ".join(f"value ->> {index} AS {name}" for index, name in enumerate(columns))
    return f"(SELECT {picked} FROM json_each(:rows))"


def _postgres_rows(columns: Mapping[str, str]) -> str:
    arrays = ", ".join(f"CAST(:rows_{name} AS {kind}[])" for name, kind in columns.items())
    # A subselect, so that the caller's alias names a relation with these very columns on both databases.
    return f"(SELECT * FROM unnest({arrays}) AS input({', '.join(columns)}))"
