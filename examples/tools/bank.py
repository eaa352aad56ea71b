"""A bank with one ledger in SQLite: `macaw tool serve bank=examples/tools/bank.py`."""  # noqa: INP001 - a program, not a package

import os
import sqlite3

from producers.tools import tool

OPENING = {"alice": 100.0, "bob": 0.0}


def _ledger() -> sqlite3.Connection:
    ledger = sqlite3.connect(os.environ.get("BANK_DB", "bank.db"))
    ledger.execute("CREATE TABLE IF NOT EXISTS entries (account TEXT, amount REAL, memo TEXT)")
    return ledger


@tool
def transfer(to: str, amount: float, memo: str = "") -> dict[str, object]:
    """Pay an amount from alice's account to another."""
    if amount <= 0:
        raise ValueError("the amount must be above 0")
    with _ledger() as ledger:
        ledger.executemany("INSERT INTO entries VALUES (?, ?, ?)", [("alice", -amount, memo), (to, amount, memo)])
    return {"sent": amount, "to": to}


@tool(idempotent=True)
def balance(account: str) -> float:
    """Return the balance of an account."""
    total = _ledger().execute("SELECT TOTAL(amount) FROM entries WHERE account = ?", (account,)).fetchone()[0]
    return OPENING.get(account, 0.0) + float(total)
