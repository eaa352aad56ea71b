"""A drive: real files in one folder, and a SQLite index of their ids, owners and shares.

Every file is plain text, with any suffix of its name. A deleted file moves to the trash folder. Files change
inside the index's transaction. A crash between the two leaves a file without an entry in the journal, and the
recount shows it.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from examples.demo.environment.arguments import (
    require_address,
    require_body,
    require_file_name,
    require_id,
    require_query,
    shown,
)
from examples.demo.environment.journal import Database, Effect, Record, count, record
from producers.tools import tool

PERMISSIONS = ("r", "rw")

# Shares are kept in the order in which they were granted; the latest one for an address counts.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, owner TEXT NOT NULL,
    appended INTEGER NOT NULL DEFAULT 0, trashed INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS one_name_once ON files (name) WHERE NOT trashed;
CREATE TABLE IF NOT EXISTS shares (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, file_id INTEGER NOT NULL REFERENCES files (id),
    email TEXT NOT NULL, permission TEXT NOT NULL
) STRICT;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """One file of a seed, `shares` as pairs of address and permission."""

    id: int
    name: str
    content: str
    shares: tuple[tuple[str, str], ...] = ()


class FileStore:
    """The drive of one person."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path / "files.sqlite", _SCHEMA)
        self._drive, self._trash = path / "drive", path / "trash"
        for folder in (self._drive, self._trash):
            folder.mkdir(exist_ok=True)

    def seed(self, files: Sequence[StoredFile], *, owner: str, last_id: int) -> None:
        """Fill a new drive; its next file gets the id `last_id + 1`. The seed does not count as a side effect."""
        with self._database.writing() as connection:
            for file in files:
                row = (file.id, file.name, owner)
                connection.execute("INSERT INTO files (id, name, owner) VALUES (?, ?, ?)", row)
                for address, permission in file.shares:
                    _share(connection, file.id, address, permission)
                self._write(self._drive / file.name, file.content, mode="x")
            # Ids of deleted files are never used again.
            connection.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'files'", (last_id,))
        self._database.close_seed(self._tally(), {"owner": owner})

    def effects(self) -> list[Effect]:
        """Return the side effects since the seed, in order, from the journal."""
        return self._database.effects()

    def recount(self) -> dict[str, int]:
        """Return the number of side effects of each kind, counted from the folders and the index."""
        return self._database.since_seed(self._tally())

    def _tally(self) -> dict[str, int]:
        kept, trashed = (sum(1 for _ in folder.iterdir()) for folder in (self._drive, self._trash))
        with self._database.reading() as connection:
            return {
                "create_file": kept + trashed,
                "delete_file": trashed,
                "append_to_file": count(connection, "SUM(appended)", "files"),
                "share_file": count(connection, "COUNT(*)", "shares"),
            }

    @tool
    def append_to_file(self, file_id: str, content: str) -> Record:
        """Append text to the end of a file, on a line of its own."""
        number, text = require_id(file_id, "file_id"), _required_text(content)
        with self._database.writing() as connection:
            row = _row(connection, number)
            path = self._drive / row["name"]
            separator = "" if path.read_text(encoding="utf-8").endswith("\n") else "\n"
            connection.execute("UPDATE files SET appended = appended + 1 WHERE id = ?", (number,))
            record(connection, "append_to_file", number, chars=len(text))
            self._write(path, f"{separator}{text}\n", mode="a")
            return self._listed(connection, row)

    @tool(idempotent=True)
    def search_files_by_filename(self, filename: str) -> list[Record]:
        """Return the files with the given text in their name."""
        text = require_query(filename, "filename")
        return [file for file in self._files() if text in str(file["filename"]).casefold()]

    @tool
    def create_file(self, filename: str, content: str) -> Record:
        """Create a file; its name must be new."""
        name, text = require_file_name(filename, "filename"), require_body(content, "content")
        owner = self._database.setting("owner")
        with self._database.writing() as connection:
            if connection.execute("SELECT 1 FROM files WHERE name = ? AND NOT trashed", (name,)).fetchone():
                raise ValueError(f"filename is taken already, got {shown(name)}")
            cursor = connection.execute("INSERT INTO files (name, owner) VALUES (?, ?)", (name, owner))
            assert cursor.lastrowid is not None
            record(connection, "create_file", cursor.lastrowid, filename=name, chars=len(text))
            self._write(self._drive / name, text, mode="x")
            return self._listed(connection, _row(connection, cursor.lastrowid))

    @tool
    def delete_file(self, file_id: str) -> Record:
        """Delete a file."""
        number = require_id(file_id, "file_id")
        with self._database.writing() as connection:
            row = _row(connection, number)
            file = self._listed(connection, row)
            connection.execute("UPDATE files SET trashed = 1 WHERE id = ?", (number,))
            record(connection, "delete_file", number, filename=row["name"])
            (self._drive / row["name"]).rename(self._trash / f"{number}-{row['name']}")
        return file

    @tool(idempotent=True)
    def get_file_by_id(self, file_id: str) -> Record:
        """Return a file with its content."""
        number = require_id(file_id, "file_id")
        with self._database.reading() as connection:
            return self._shown(connection, _row(connection, number))

    @tool(idempotent=True)
    def list_files(self) -> list[Record]:
        """Return all files: id, name, owner, size in bytes and shares."""
        with self._database.reading() as connection:
            return [self._listed(connection, row) for row in _rows(connection)]

    @tool
    def share_file(self, file_id: str, email: str, permission: str) -> Record:
        """Share a file with an address, to read ('r') or to read and write ('rw')."""
        number, address = require_id(file_id, "file_id"), require_address(email, "email")
        if permission not in PERMISSIONS:
            raise ValueError(f"permission must be 'r' or 'rw', got {shown(permission)}")
        with self._database.writing() as connection:
            row = _row(connection, number)
            if _shares(connection, number).get(address) == permission:
                raise ValueError(f"the file has this share already, got {shown(address)}")
            _share(connection, number, address, permission)
            record(connection, "share_file", number, email=address, permission=permission)
            return self._listed(connection, row)

    @tool(idempotent=True)
    def search_files(self, query: str) -> list[Record]:
        """Return the files with the query in their content."""
        text = require_query(query, "query")
        return [file for file in self._files() if text in str(file["content"]).casefold()]

    def _files(self) -> list[Record]:
        with self._database.reading() as connection:
            return [self._shown(connection, row) for row in _rows(connection)]

    def _shown(self, connection: sqlite3.Connection, row: sqlite3.Row) -> Record:
        content = (self._drive / row["name"]).read_text(encoding="utf-8")
        return {**self._listed(connection, row), "content": content}

    def _listed(self, connection: sqlite3.Connection, row: sqlite3.Row) -> Record:
        return {
            "id": str(row["id"]),
            "filename": row["name"],
            "owner": row["owner"],
            "size": (self._drive / row["name"]).stat().st_size,
            "shared_with": _shares(connection, row["id"]),
        }

    @staticmethod
    def _write(path: Path, text: str, *, mode: str) -> None:
        with path.open(mode, encoding="utf-8", newline="\n") as file:
            file.write(text)


def _row(connection: sqlite3.Connection, number: int) -> sqlite3.Row:
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM files WHERE id = ? AND NOT trashed", (number,)
    ).fetchone()
    if row is None:
        raise ValueError(f"file_id must be the id of a file, got {shown(str(number))}")
    return row


def _rows(connection: sqlite3.Connection) -> list[sqlite3.Row]:
    return connection.execute("SELECT * FROM files WHERE NOT trashed ORDER BY id").fetchall()


def _shares(connection: sqlite3.Connection, number: int) -> dict[str, str]:
    rows = connection.execute("SELECT email, permission FROM shares WHERE file_id = ? ORDER BY seq", (number,))
    return {row["email"]: row["permission"] for row in rows}


def _share(connection: sqlite3.Connection, number: int, address: str, permission: str) -> None:
    row = (number, address, permission)
    connection.execute("INSERT INTO shares (file_id, email, permission) VALUES (?, ?, ?)", row)


def _required_text(content: object) -> str:
    text = require_body(content, "content")
    if not text.strip():
        raise ValueError("content must not be blank")
    return text
