"""The workflow: an invoice from the mail to the confirmation, a person who decides, and evidence of it."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from examples.demo.checks import Checks, check_evidence
from examples.demo.installation import DemoError, views_address
from examples.demo.workflow import chapters
from examples.demo.workflow.acting import Acting, refusals_table
from examples.demo.workflow.cast import CLERK, Cast, open_cast
from examples.demo.workflow.chapters import CHECK, PAY, SEND, payment_of
from examples.demo.workflow.office import INVOICES, LARGE
from producers.client import CallError
from producers.client.views_client import fetch_rows
from producers.home.home import Home

SEEN_SECONDS = 60.0


def play(console: Console, home: Home, base: Path, checks: Checks) -> None:
    """Play the demo in an installation that runs, and note the claims that held. Raises DemoError."""
    with ExitStack() as stack:
        with console.status("founding a tenant, its tools, its agents and two persons …"):
            cast = open_cast(home, base, stack)
        acting = Acting(console, cast)
        views = _Views(views_address(base), cast)
        try:
            worth = _play(acting, views)
        except CallError as exc:
            raise DemoError(f"a step that must pass was refused: {exc}") from exc
        console.print()
        console.print(refusals_table(acting.refusals))
        console.print("\nWhat held:")
        check_refusals(checks, acting)
        _check_effects(checks, acting)
        _check_views(checks, views, worth)
    check_evidence(checks, home, base, cast.folder)


def _play(acting: Acting, views: _Views) -> dict[str, str]:
    delegation = chapters.small_invoice(acting)
    chapters.large_invoice(acting, delegation, lambda: views.asked(PAY))
    chapters.shared_memory(acting)
    worth = chapters.handed_on(acting, delegation)
    chapters.days_total(acting, delegation)
    return worth


@dataclass(slots=True)
class _Views:
    """A client of the query API with the tenant's own token; it keeps every answer."""

    address: str
    cast: Cast
    answers: list[Any] = field(default_factory=list)  # Any: JSON

    def rows(self, what: str, **parameters: str) -> list[dict[str, Any]]:
        folder = self.cast.folder
        found: list[dict[str, Any]] = fetch_rows(self.address, folder.tenant, folder.token(), what, parameters)
        self.answers.append(found)
        return found

    def asked(self, resource: str) -> dict[str, Any] | None:
        """Return the open request for a resource once the views show it."""
        until = time.monotonic() + SEEN_SECONDS
        while time.monotonic() < until:
            for row in self.rows("approvals"):
                if row["resource"] == resource:
                    return row
            time.sleep(0.2)
        return None

    def worth(self) -> dict[str, str]:
        """Return the status of each delegation, by its id."""
        return {str(one["id"]): str(one["status"]) for one in _flat(self.rows("delegations"))}


def _flat(trees: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for tree in trees for one in (tree, *_flat(tree["children"]))]


def check_refusals(checks: Checks, acting: Acting) -> None:
    """Note the claims that each attempt was refused for the expected reason, and the facts seen on the way."""
    wrong = [one for one in acting.refusals if one.got != one.want]
    checks.say(
        f"{len(acting.refusals)} attempts were refused, each with its own reason", bool(acting.refusals) and not wrong
    )
    for what, held in acting.facts:
        checks.say(what, held)


def _check_effects(checks: Checks, acting: Acting) -> None:
    """Note the claims that the stores' contents are exactly the allowed calls, one each and in order."""
    building, allowed = acting.cast.building, acting.allowed
    paid = [(str(what["invoice_id"]), float(what["amount"])) for resource, what in allowed if resource == PAY]
    checks.say(
        f"the bank booked exactly the {len(paid)} payments that were allowed", building.bank.booked() == paid != []
    )
    sent = sum(resource == SEND for resource, _ in allowed)
    effects = {kind: many for kind, many in {"pay": len(paid), "send_email": sent}.items() if many}
    checks.say(
        f"{len(paid) + sent} side effects are exactly those of the allowed calls, and the stores themselves agree",
        building.effects() == effects == building.recount(),
    )
    executed = acting.cast.hosts.executed()
    checks.say(f"{executed} executions for {len(allowed)} allowed calls", executed == len(allowed))
    ended = [(PAY, payment_of(LARGE)) in allowed, sent == 2]
    checks.say(
        f"carol was asked {len(acting.answers)} times, said yes {sum(acting.answers)} times, and the calls ended so",
        acting.answers == ended,
    )


def _check_views(checks: Checks, views: _Views, worth: dict[str, str]) -> None:
    until = time.monotonic() + SEEN_SECONDS
    while (seen := views.worth()) != worth and time.monotonic() < until:
        time.sleep(0.2)
    checks.say("the views show the delegations as a tree: one active, three ended by the revocation", seen == worth)
    keys = {row["key"] for row in views.rows("context")}
    wanted = {f"invoice/{one.invoice_id}" for one in INVOICES[:2]} | {INVOICES[2].invoice_id}
    checks.say(f"they show the {len(keys)} keys of the memory", keys == wanted)
    checked = views.rows("attestations", session=views.cast[CLERK].session_id.hex(), key="supplier_checked")
    checks.say(f"and the supplier's check, attested by {CHECK}", [row["resource"] for row in checked] == [CHECK])
    told = str(views.answers)
    checks.say("no answer of theirs has a value of the memory", not any(one.iban in told for one in INVOICES))
