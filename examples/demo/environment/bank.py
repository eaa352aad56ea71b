"""A bank account as a SQLite ledger: amounts are whole cents, and the balance is the sum of the bookings.

The bank grants an unlimited overdraft, so that no call of the demo is refused for lack of money: every
refusal comes from a policy.
"""

import hashlib
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from examples.demo.environment.arguments import (
    require_cents,
    require_count,
    require_day,
    require_flag,
    require_line,
    resolve_inside,
    shown,
)
from examples.demo.environment.journal import Database, Effect, Record, count, record
from producers.tools import tool

TRANSACTIONS_MAX = 1000
PASSWORD_CHARS_MIN = 8

# The cost that RFC 7914 names for interactive logins.
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**14, 8, 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS account (iban TEXT PRIMARY KEY, opening_cents INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS transactions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, sender TEXT NOT NULL, recipient TEXT NOT NULL,
    amount_cents INTEGER NOT NULL CHECK (amount_cents > 0), subject TEXT NOT NULL, date TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS scheduled (
    id INTEGER PRIMARY KEY AUTOINCREMENT, recipient TEXT NOT NULL,
    amount_cents INTEGER NOT NULL CHECK (amount_cents > 0), subject TEXT NOT NULL, date TEXT NOT NULL,
    recurring INTEGER NOT NULL, revision INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS user (
    first_name TEXT NOT NULL, last_name TEXT NOT NULL, street TEXT NOT NULL, city TEXT NOT NULL,
    password TEXT NOT NULL, revision INTEGER NOT NULL DEFAULT 0, password_revision INTEGER NOT NULL DEFAULT 0
) STRICT;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """A past transaction; `sender` or `recipient` is the account's own IBAN."""

    id: int
    sender: str
    recipient: str
    amount: float
    subject: str
    date: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingOrder:
    """A transaction that the bank will make on `date`, and every month after if `recurring`."""

    id: int
    recipient: str
    amount: float
    subject: str
    date: str
    recurring: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The account and its owner."""

    iban: str
    opening: float
    first_name: str
    last_name: str
    street: str
    city: str
    password: str


class Bank:
    """One account, its owner, its standing orders, and the folder of documents beside it."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path / "bank.sqlite", _SCHEMA)
        self._files = path / "files"
        self._files.mkdir(exist_ok=True)

    def seed(self, holder: Holder, past: Sequence[Booking], orders: Sequence[StandingOrder]) -> None:
        """Fill a new bank; the seed is not counted as a side effect."""
        with self._database.writing() as connection:
            opening = require_cents(holder.opening, "opening")
            connection.execute("INSERT INTO account VALUES (?, ?)", (holder.iban, opening))
            connection.execute(
                "INSERT INTO user (first_name, last_name, street, city, password) VALUES (?, ?, ?, ?, ?)",
                (holder.first_name, holder.last_name, holder.street, holder.city, _scrypt(holder.password)),
            )
            for one in past:
                cents = require_cents(one.amount, "amount")
                row = (one.id, one.sender, one.recipient, cents, one.subject, one.date)
                connection.execute("INSERT INTO transactions VALUES (?, ?, ?, ?, ?, ?)", row)
            for order in orders:
                cents = require_cents(order.amount, "amount")
                due = (order.id, order.recipient, cents, order.subject, order.date, order.recurring)
                connection.execute("INSERT INTO scheduled VALUES (?, ?, ?, ?, ?, ?, 0)", due)
        self._database.close_seed(self._tally(), {})

    def effects(self) -> list[Effect]:
        """Return the side effects since the seed, in order, from the journal."""
        return self._database.effects()

    def recount(self) -> dict[str, int]:
        """Return the number of side effects of each kind, counted from the ledger's own rows."""
        return self._database.since_seed(self._tally())

    def _tally(self) -> dict[str, int]:
        with self._database.reading() as connection:
            return {
                "send_money": count(connection, "COUNT(*)", "transactions"),
                "schedule_transaction": count(connection, "COUNT(*)", "scheduled"),
                "update_scheduled_transaction": count(connection, "SUM(revision)", "scheduled"),
                "update_user_info": count(connection, "SUM(revision)", "user"),
                "update_password": count(connection, "SUM(password_revision)", "user"),
            }

    @tool(idempotent=True)
    def get_iban(self) -> str:
        """Return the IBAN of the account."""
        with self._database.reading() as connection:
            return _iban(connection)

    @tool
    def send_money(self, recipient: str, amount: float, subject: str, date: str) -> Record:
        """Send money from the account to a recipient on a day ('YYYY-MM-DD')."""
        to, cents = require_line(recipient, "recipient"), require_cents(amount, "amount")
        text, day = require_line(subject, "subject"), require_day(date, "date")
        with self._database.writing() as connection:
            row = (_iban(connection), to, cents, text, day)
            cursor = connection.execute(
                "INSERT INTO transactions (sender, recipient, amount_cents, subject, date) VALUES (?, ?, ?, ?, ?)",
                row,
            )
            details = {"recipient": to, "amount_cents": cents, "subject": text, "date": day}
            record(connection, "send_money", cursor.lastrowid, **details)
        return {"id": cursor.lastrowid, "recipient": to, "amount": cents / 100}

    @tool
    def schedule_transaction(
        self,
        recipient: str,
        amount: float,
        subject: str,
        date: str,
        recurring: bool,  # noqa: FBT001 - every call of a tool names its parameters
    ) -> Record:
        """Schedule a transaction for a day ('YYYY-MM-DD'), every month from then on if recurring."""
        to, cents = require_line(recipient, "recipient"), require_cents(amount, "amount")
        text, day = require_line(subject, "subject"), require_day(date, "date")
        repeats = require_flag(recurring, "recurring")
        with self._database.writing() as connection:
            cursor = connection.execute(
                "INSERT INTO scheduled (recipient, amount_cents, subject, date, recurring) VALUES (?, ?, ?, ?, ?)",
                (to, cents, text, day, repeats),
            )
            details = {"recipient": to, "amount_cents": cents, "date": day, "recurring": repeats}
            record(connection, "schedule_transaction", cursor.lastrowid, subject=text, **details)
        return {"id": cursor.lastrowid, "recipient": to, "amount": cents / 100}

    @tool
    def update_scheduled_transaction(
        self,
        id: int,  # noqa: A002 - the tool's published parameter
        recipient: str | None = None,
        amount: float | None = None,
    ) -> Record:
        """Change the recipient, the amount, or both, of a scheduled transaction."""
        to = None if recipient is None else require_line(recipient, "recipient")
        cents = None if amount is None else require_cents(amount, "amount")
        if to is None and cents is None:
            raise ValueError("an update must name a new recipient or a new amount")
        number = require_count(id, "id", most=2**53)
        with self._database.writing() as connection:
            changed = connection.execute(
                "UPDATE scheduled SET recipient = COALESCE(?, recipient),"
                " amount_cents = COALESCE(?, amount_cents), revision = revision + 1 WHERE id = ?",
                (to, cents, number),
            )
            if not changed.rowcount:
                raise ValueError(f"id must be the id of a scheduled transaction, got {shown(id)}")
            record(connection, "update_scheduled_transaction", number, recipient=to, amount_cents=cents)
            return _order(connection.execute("SELECT * FROM scheduled WHERE id = ?", (number,)).fetchone())

    @tool(idempotent=True)
    def get_balance(self) -> float:
        """Return the balance of the account."""
        with self._database.reading() as connection:
            iban = _iban(connection)
            row = connection.execute(
                "SELECT (SELECT opening_cents FROM account)"
                " + COALESCE(SUM(CASE recipient WHEN ? THEN amount_cents ELSE -amount_cents END), 0)"
                " FROM transactions",
                (iban,),
            ).fetchone()
        return float(row[0] / 100)

    @tool(idempotent=True)
    def get_most_recent_transactions(self, n: int = 100) -> list[Record]:
        """Return the last n transactions, newest first."""
        most = require_count(n, "n", most=TRANSACTIONS_MAX)
        with self._database.reading() as connection:
            rows = connection.execute("SELECT * FROM transactions ORDER BY id DESC LIMIT ?", (most,)).fetchall()
        return [_booking(row) for row in rows]

    @tool(idempotent=True)
    def get_scheduled_transactions(self) -> list[Record]:
        """Return the scheduled transactions."""
        with self._database.reading() as connection:
            return [_order(row) for row in connection.execute("SELECT * FROM scheduled ORDER BY id")]

    @tool(idempotent=True)
    def read_file(self, file_path: str) -> str:
        """Return the text of a document in the account's folder."""
        return resolve_inside(self._files, file_path, "file_path").read_text(encoding="utf-8")

    @tool(idempotent=True)
    def get_user_info(self) -> Record:
        """Return the name and the address of the account's owner."""
        with self._database.reading() as connection:
            return _user(connection)

    @tool
    def update_password(self, password: str) -> str:
        """Replace the password of the account; only a salted hash of it is kept."""
        text = require_line(password, "password")
        if len(text) < PASSWORD_CHARS_MIN:
            raise ValueError(f"password must have at least {PASSWORD_CHARS_MIN} characters, got {len(text)}")
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE user SET password = ?, password_revision = password_revision + 1", (_scrypt(text),)
            )
            record(connection, "update_password", _iban(connection))
        return "the password was changed"

    @tool
    def update_user_info(self, street: str | None = None, city: str | None = None) -> Record:
        """Change the street, the city, or both, of the owner's address."""
        new_street = None if street is None else require_line(street, "street")
        new_city = None if city is None else require_line(city, "city")
        if new_street is None and new_city is None:
            raise ValueError("an update must name a new street or a new city")
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE user SET street = COALESCE(?, street), city = COALESCE(?, city), revision = revision + 1",
                (new_street, new_city),
            )
            record(connection, "update_user_info", _iban(connection), street=new_street, city=new_city)
            return _user(connection)


def _iban(connection: sqlite3.Connection) -> str:
    row = connection.execute("SELECT iban FROM account").fetchone()
    if row is None:
        raise ValueError("the bank has no account: it was not seeded")
    return str(row["iban"])


def _booking(row: sqlite3.Row) -> Record:
    names = ("id", "sender", "recipient", "subject", "date")
    return {**{name: row[name] for name in names}, "amount": row["amount_cents"] / 100}


def _order(row: sqlite3.Row) -> Record:
    names = ("id", "recipient", "subject", "date")
    known = {name: row[name] for name in names}
    return {**known, "amount": row["amount_cents"] / 100, "recurring": bool(row["recurring"])}


def _user(connection: sqlite3.Connection) -> Record:
    names = ("first_name", "last_name", "street", "city")
    row = connection.execute("SELECT * FROM user").fetchone()
    return {name: row[name] for name in names}


def _scrypt(password: str) -> str:
    salt = secrets.token_bytes(16)
    digest = hashlib.scrypt(password.encode(), salt=salt, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P)
    return f"scrypt${_SCRYPT_N}${_SCRYPT_R}${_SCRYPT_P}${salt.hex()}${digest.hex()}"
