"""The tools of the office: one reads an invoice, one checks its supplier, and a bank books payments in SQLite.

The checking tool attests its check; no other tool of the demo can attest it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from examples.demo.environment.arguments import require_body, require_cents, require_line
from examples.demo.environment.journal import Database, Effect, Record, Store, count, counts, record
from examples.demo.environment.mailbox import Mail, Mailbox
from producers.tools import ToolFunction, collect_tools, tool

OWNER, NOW = "invoices@bluesparrow.example", "2026-03-02T09:00:00"
CHECK_SECONDS = 900.0

_INVOICE = re.compile(r"Invoice (INV-\d{4}).*?Supplier: ([^\n]+)\n.*?IBAN: (\w+)\n.*?Amount: ([\d.]+)", re.DOTALL)
_SUPPLIERS = "CREATE TABLE IF NOT EXISTS suppliers (iban TEXT PRIMARY KEY, name TEXT NOT NULL) STRICT;"
_PAYMENTS = """
CREATE TABLE IF NOT EXISTS payments (
    id INTEGER PRIMARY KEY AUTOINCREMENT, invoice_id TEXT NOT NULL, iban TEXT NOT NULL,
    amount_cents INTEGER NOT NULL CHECK (amount_cents > 0)
) STRICT;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """A supplier's request for money."""

    invoice_id: str
    supplier: str
    iban: str
    amount: float

    def mail(self, number: int) -> Mail:
        """Return the mail with the invoice, under this id."""
        name = self.supplier.split()[0].lower()
        return Mail(
            id=number,
            sender=f"billing@{name}.example",
            recipients=(OWNER,),
            subject=f"Invoice {self.invoice_id}",
            body=f"Invoice {self.invoice_id}\nSupplier: {self.supplier}\nIBAN: {self.iban}\nAmount: {self.amount}\n",
            sent_at=NOW,
        )


SMALL = Invoice(invoice_id="INV-1042", supplier="Paperline AG", iban="CH5604835012345678009", amount=480.0)
LARGE = Invoice(invoice_id="INV-2001", supplier="Northwind GmbH", iban="DE75512108001245126199", amount=4200.0)
HANDED_ON = Invoice(invoice_id="INV-3001", supplier="Courier Ltd", iban="GB33BUKB20201555555555", amount=250.0)
TOO_MUCH = Invoice(invoice_id="INV-4001", supplier="Paperline AG", iban="CH5604835012345678009", amount=990.0)
INVOICES = (SMALL, LARGE, HANDED_ON, TOO_MUCH)


class Office:
    """Reads invoices and checks suppliers against a register."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path / "suppliers.sqlite", _SUPPLIERS)
        with self._database.writing() as connection:
            known = {(one.iban, one.supplier) for one in INVOICES}
            connection.executemany("INSERT INTO suppliers VALUES (?, ?)", sorted(known))
        self._database.close_seed({}, {})

    def effects(self) -> list[Effect]:
        """Return the side effects: none, since reading has none."""
        return self._database.effects()

    def recount(self) -> dict[str, int]:
        """Return the side effects counted from the store itself: none."""
        return {}

    @tool(idempotent=True)
    def extract_invoice(self, text: str) -> Record:
        """Return the fields of the invoice in a mail's text."""
        found = _INVOICE.search(require_body(text, "text"))
        if found is None:
            raise ValueError("the text does not have an invoice")
        number, supplier, iban, amount = found.groups()
        return {"invoice_id": number, "supplier": supplier, "iban": iban, "amount": float(amount)}

    @tool(
        idempotent=True,
        attests=("supplier_checked",),
        auto_attest={"supplier_checked": {"one_time": True, "ttl_seconds": CHECK_SECONDS}},
    )
    def check_supplier(self, invoice_id: str, iban: str, amount: float) -> Record:
        """Look up an account in the register of suppliers. The call succeeds, and attests, only if it is known."""
        require_line(invoice_id, "invoice_id")
        require_cents(amount, "amount")
        with self._database.reading() as connection:
            row = connection.execute("SELECT name FROM suppliers WHERE iban = ?", (iban,)).fetchone()
        if row is None:
            raise ValueError("this account is not in the register of suppliers")
        return {"supplier": row["name"]}


class Bank:
    """Books payments."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path / "bank.sqlite", _PAYMENTS)
        self._database.close_seed({"pay": 0}, {})

    def effects(self) -> list[Effect]:
        """Return every payment, in order, from the journal."""
        return self._database.effects()

    def recount(self) -> dict[str, int]:
        """Return the number of payments in the books themselves."""
        with self._database.reading() as connection:
            return self._database.since_seed({"pay": count(connection, "COUNT(*)", "payments")})

    def booked(self) -> list[tuple[str, float]]:
        """Return each payment's invoice and amount, in order, from the books."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT invoice_id, amount_cents FROM payments ORDER BY id").fetchall()
        return [(row["invoice_id"], row["amount_cents"] / 100) for row in rows]

    @tool
    def pay(self, invoice_id: str, iban: str, amount: float) -> Record:
        """Pay an invoice."""
        row = (require_line(invoice_id, "invoice_id"), require_line(iban, "iban"), require_cents(amount, "amount"))
        with self._database.writing() as connection:
            connection.execute("INSERT INTO payments (invoice_id, iban, amount_cents) VALUES (?, ?, ?)", row)
            record(connection, "pay", invoice_id, amount=amount)
        return {"paid": amount, "invoice_id": invoice_id}


class Building:
    """All stores of the demo."""

    def __init__(self, path: Path) -> None:
        self.mail, self.office, self.bank = Mailbox(path / "mail"), Office(path / "office"), Bank(path / "bank")
        self.mail.seed([one.mail(at) for at, one in enumerate(INVOICES, 1)], (), owner=OWNER, now=NOW)

    @property
    def stores(self) -> dict[str, Store]:
        """Return each app with its store."""
        return {"mail": self.mail, "office": self.office, "bank": self.bank}

    def tools(self) -> dict[str, tuple[ToolFunction, ...]]:
        """Return each app's tools."""
        return {app: collect_tools(store) for app, store in self.stores.items()}

    def effects(self) -> dict[str, int]:
        """Return the number of side effects of each kind in the journals."""
        return counts(effect for store in self.stores.values() for effect in store.effects())

    def recount(self) -> Mapping[str, int]:
        """Return the number of side effects of each kind, counted from the stores' own rows and mails."""
        return {kind: many for store in self.stores.values() for kind, many in store.recount().items()}
