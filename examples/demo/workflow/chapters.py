"""The acts: an invoice below the limit, one above it, a shared memory, a delegation narrowed and revoked, a total."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from examples.demo.workflow.acting import Acting
from examples.demo.workflow.cast import ALICE, CLERK, COURIER, INTERN, PAYER, VISITOR
from examples.demo.workflow.office import HANDED_ON, LARGE, SMALL, TOO_MUCH, Invoice
from producers.kafka.answers import Answer
from schemas.words import Status

SEARCH, SEND = "tool:mail/search_emails", "tool:mail/send_email"
EXTRACT, CHECK, PAY = "tool:office/extract_invoice", "tool:office/check_supplier", "tool:bank/pay"
SHARED = "invoices"
DAY_MAX = 5500  # the total of payment.json


def payment_of(invoice: Invoice) -> dict[str, Any]:
    """Return the parameters of the payment of an invoice; the check takes the same parameters."""
    return {"invoice_id": invoice.invoice_id, "iban": invoice.iban, "amount": invoice.amount}


def note(text: str) -> dict[str, Any]:
    """Return the parameters of a mail."""
    return {"recipients": ["accounts@bluesparrow.example"], "subject": text, "body": text}


def read_and_extract(acting: Acting, delegation: str, invoice: Invoice) -> dict[str, Any]:
    """Let the clerk read the mail of an invoice, extract it, and keep the result in its own memory."""
    mails = acting.call(CLERK, SEARCH, {"query": invoice.invoice_id}, delegation=delegation)
    found: dict[str, Any] = acting.call(CLERK, EXTRACT, {"text": mails[0]["body"]}, delegation=delegation)
    acting.cast[CLERK].context_set(f"invoice/{invoice.invoice_id}", found)
    acting.done(CLERK, f"remembers {invoice.invoice_id} in its own memory on the log")
    return found


def small_invoice(acting: Acting) -> str:
    """Play an invoice below the limit; return the delegation from alice to the clerk."""
    acting.chapter("1. alice lets an agent handle invoices; one of 480 needs nobody else")
    delegation = acting.cast[ALICE].delegate(CLERK, resources=["tool:**"], purpose="the invoices of this week")
    acting.done(ALICE, f"delegates tool:** to {CLERK}")
    acting.call(CLERK, SEND, note("I begin with the invoices"), delegation=delegation)
    read_and_extract(acting, delegation, SMALL)
    remembered = acting.cast[CLERK].context_get(f"invoice/{SMALL.invoice_id}")
    payment = {name: remembered[name] for name in ("invoice_id", "iban", "amount")}
    acting.fact("what the agent remembered is what the invoice says", payment == payment_of(SMALL))

    def pay(what: dict[str, Any]) -> object:
        return acting.call(CLERK, PAY, what, delegation=delegation)

    acting.refused("the shortcut: pay before the supplier was checked", "SEQUENCE_MISSING", lambda: pay(payment))
    acting.call(CLERK, CHECK, payment, delegation=delegation)
    pay(payment)
    acting.refused("the same check, used for a second payment", "ATTESTATION_CONSUMED", lambda: pay(payment))
    acting.call(CLERK, CHECK, payment, delegation=delegation)
    acting.refused(
        "this invoice's check, used to pay another invoice", "SEQUENCE_MISSING", lambda: pay(payment_of(LARGE))
    )
    return delegation


def large_invoice(acting: Acting, delegation: str, shown: Callable[[], dict[str, Any] | None]) -> None:
    """Play an invoice above the limit: a person decides on it, and again before the confirmation is sent outside.

    `shown` returns the request for the payment as the views show it.
    """
    acting.chapter("2. one of 4200 waits for a second person")
    read_and_extract(acting, delegation, LARGE)
    payment = payment_of(LARGE)
    acting.call(CLERK, CHECK, payment, delegation=delegation)
    future, request = acting.asks(CLERK, PAY, payment, "payment_release", delegation=delegation)
    acting.refused(
        "alice approves what is asked for in her own name",
        "APPROVER_IS_REQUESTER",
        lambda: acting.cast[ALICE].approve_attestation(request),
    )
    row = shown()
    who = {"criteria": ["group:payment-approvers"], "quorum": 1}
    acting.fact(
        "the views show who may approve it, and that nobody has",
        row is not None and (row["may_approve"], row["approved_by"]) == (who, []),
    )
    acting.fact("nothing is paid while the call waits", len(acting.cast.building.bank.booked()) == 1)
    _ends(acting, PAY, payment, future, released=acting.decides(request))

    confirmation = note(f"{LARGE.invoice_id} was handled")
    future, request = acting.asks(CLERK, SEND, confirmation, "mail_release", delegation=delegation)
    sent = acting.cast.building.effects()["send_email"]
    acting.fact("after reading mail from outside, what the same agent sends waits for a person", sent == 1)
    _ends(acting, SEND, confirmation, future, released=acting.decides(request))


def _ends(acting: Acting, resource: str, parameters: dict[str, Any], future: Future[Answer], *, released: bool) -> None:
    """Let a call end as carol has decided."""

    def end() -> object:
        return acting.result(CLERK, resource, parameters, future)

    if released:
        end()
        return
    acting.refused(f"{resource}, which carol denied", "APPROVAL_DENIED", end)


def shared_memory(acting: Acting) -> None:
    """Play a shared value that another agent edits; the next write of its author is refused."""
    acting.chapter("3. a shared memory is edited")
    cast = acting.cast
    clerk, intern, key = cast[CLERK], cast[INTERN], HANDED_ON.invoice_id
    version = clerk.context_set(key, payment_of(HANDED_ON), scope=SHARED)
    acting.done(CLERK, f"shares {key} with its colleagues, as version {version}")
    intern.context_set(key, {**payment_of(HANDED_ON), "iban": "XX00EVIL"}, scope=SHARED)
    acting.done(INTERN, "puts another account into it")
    acting.refused(
        "the first author writes on, as if nothing had happened",
        "VERSION_CONFLICT",
        lambda: clerk.context_set(key, payment_of(HANDED_ON), scope=SHARED, expected=version),
    )
    entry = clerk.context_entry(key, scope=SHARED)
    acting.fact(f"the log says who edited it: {entry.author}, version {entry.version}", entry.author == INTERN)
    clerk.context_set(key, payment_of(HANDED_ON), scope=SHARED, expected=entry.version)
    acting.done(CLERK, "puts it right, in place of exactly that version")
    acting.refused(
        "an agent without a role writes into it",
        "NO_POLICY",
        lambda: cast[VISITOR].context_set(key, {}, scope=SHARED),
    )
    own = f"session:{clerk.session_id.hex()}"
    acting.refused(
        "an agent reads another one's own memory", "VAULT_FORM", lambda: intern.context_get("invoice", scope=own)
    )


def handed_on(acting: Acting, delegation: str) -> dict[str, str]:
    """Play a delegation that is narrowed twice and revoked in the middle; return the status of each at the end."""
    acting.chapter("4. the right to pay is handed on, narrowed twice, and revoked in the middle")
    cast, pays = acting.cast, [CHECK, PAY]
    middle = cast[CLERK].delegate(
        PAYER, resources=pays, conditions={"max_amount": 1000}, expires_in=1800, parent=delegation
    )
    acting.done(CLERK, f"hands {PAYER} checking and paying up to 1000")
    last = cast[PAYER].delegate(COURIER, resources=pays, conditions={"max_amount": 300}, expires_in=900, parent=middle)
    acting.done(PAYER, f"hands {COURIER} the same up to 300")
    payment = cast[COURIER].context_get(HANDED_ON.invoice_id, scope=SHARED)
    for resource in pays:
        acting.call(COURIER, resource, payment, delegation=last)

    def check(amount: float) -> object:
        return acting.call(COURIER, CHECK, {**payment, "amount": amount}, delegation=last)

    acting.refused("301 under a delegation of 300", "DELEGATION_CONDITION", lambda: check(301))
    wider = cast[COURIER].delegate(INTERN, resources=["tool:**"], expires_in=600, parent=last)
    acting.done(COURIER, f"hands {INTERN} everything, which it does not have")
    acting.refused(
        "a call that only the wider delegation allows, and none above it",
        "DELEGATION_SCOPE",
        lambda: acting.call(INTERN, SEND, note("Hello"), delegation=wider),
    )
    cast[CLERK].revoke_delegation(middle, reason="the week is over")
    acting.done(CLERK, f"revokes what it gave to {PAYER}")
    acting.refused("a call through the revoked delegation", "DELEGATION_REVOKED", lambda: check(100))
    return {delegation: Status.ACTIVE, middle: Status.REVOKED, last: Status.REVOKED, wider: Status.REVOKED}


def days_total(acting: Acting, delegation: str) -> None:
    """Play payments above the total of a day, which counts for a user over all agents."""
    acting.chapter("5. the payments of a day have a total")
    paid = sum(amount for _, amount in acting.cast.building.bank.booked())
    payment = payment_of(TOO_MUCH)
    acting.call(CLERK, CHECK, payment, delegation=delegation)

    def pay() -> object:
        return acting.call(CLERK, PAY, payment, delegation=delegation)

    if paid + TOO_MUCH.amount > DAY_MAX:
        acting.refused(f"{TOO_MUCH.amount:g} more, after {paid:g} of {DAY_MAX} today", "SEQUENCE_TOTAL", pay)
    else:
        pay()  # carol has denied the large one: there is room
