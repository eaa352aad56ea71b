"""The database under every store of the demo, with a journal that cannot be rewritten.

There are two independent accounts of the side effects. The journal has one row per side effect, written in the
transaction of the effect. The store's own rows, files and mails are the second account: `since_seed` turns
a store's counts of them into the counts since its seed. A comparison of both finds an effect without a row in
the journal, and a row without an effect.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

BUSY_SECONDS_MAX = 30.0

Record = dict[str, object]  # a JSON object, as the tools return it

_SCHEMA = """
CREATE TABLE IF NOT EXISTS journal (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, target TEXT NOT NULL, details TEXT NOT NULL
) STRICT;
CREATE TRIGGER IF NOT EXISTS journal_keeps_its_rows BEFORE UPDATE ON journal
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER IF NOT EXISTS journal_loses_no_row BEFORE DELETE ON journal
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TABLE IF NOT EXISTS baseline (kind TEXT PRIMARY KEY, count INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""


class Effect(NamedTuple):
    """One side effect, as in the journal; `kind` is the name of the tool."""

    kind: str
    target: str
    details: Mapping[str, object]


class Store(Protocol):
    """The methods that the demo calls on every store, beside its tools."""

    def effects(self) -> list[Effect]:
        """Return the side effects since the seed, in order, from the journal."""
        ...

    def recount(self) -> dict[str, int]:
        """Return the number of side effects of each kind, counted from the store itself without the journal."""
        ...


class Database:
    """One SQLite file. Every use opens its own connection, so any thread may call at any time."""

    def __init__(self, path: Path, schema: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with closing(self._connect()) as connection:
            connection.executescript(_SCHEMA + schema)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give a connection for reading, for the length of a `with` block."""
        with closing(self._connect()) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give a connection inside a transaction: one writer at a time, committed as a whole or not at all."""
        with closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def effects(self) -> list[Effect]:
        """Return the journal, oldest first."""
        with self.reading() as connection:
            rows = connection.execute("SELECT kind, target, details FROM journal ORDER BY seq").fetchall()
        return [Effect(row["kind"], row["target"], json.loads(row["details"])) for row in rows]

    def close_seed(self, tally: Mapping[str, int], settings: Mapping[str, str]) -> None:
        """Declare the seed complete: `tally` becomes the baseline of `since_seed`.

        Raises:
            ValueError: The store was seeded before.

        """
        with self.writing() as connection:
            if connection.execute("SELECT 1 FROM baseline").fetchone():
                raise ValueError(f"the store {self._path.name!r} is seeded already")
            connection.executemany("INSERT INTO baseline VALUES (?, ?)", tally.items())
            connection.executemany("INSERT INTO settings VALUES (?, ?)", settings.items())

    def since_seed(self, tally: Mapping[str, int]) -> dict[str, int]:
        """Return the increase of `tally` over the seed, without the kinds that have not changed."""
        with self.reading() as connection:
            before = {row["kind"]: row["count"] for row in connection.execute("SELECT * FROM baseline")}
        gained = {kind: count - before.get(kind, 0) for kind, count in tally.items()}
        return {kind: count for kind, count in gained.items() if count}

    def setting(self, name: str) -> str:
        """Return the value that the seed fixed under `name`.

        Raises:
            ValueError: The store was not seeded.

        """
        with self.reading() as connection:
            row = connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise ValueError(f"the store {self._path.name!r} has no {name!r}: it was not seeded")
        return str(row["value"])

    def _connect(self) -> sqlite3.Connection:
        # Autocommit: the methods above open transactions themselves, and the driver must not.
        connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS_MAX, isolation_level=None)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA foreign_keys = ON")
        return connection


def record(connection: sqlite3.Connection, kind: str, target: object, **details: object) -> None:
    """Write one side effect into the journal, in the caller's transaction."""
    row = (kind, str(target), json.dumps(details, sort_keys=True))
    connection.execute("INSERT INTO journal (kind, target, details) VALUES (?, ?, ?)", row)


def count(connection: sqlite3.Connection, expression: str, table: str) -> int:
    """Return an aggregate over one table, 0 when it is empty. Both texts are the program's own."""
    row = connection.execute(f"SELECT COALESCE({expression}, 0) FROM {table}").fetchone()  # noqa: S608
    return int(row[0])


def counts(effects: Iterable[Effect]) -> dict[str, int]:
    """Return the number of effects of each kind."""
    return dict(Counter(effect.kind for effect in effects))
