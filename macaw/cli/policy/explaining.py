"""`macaw policy explain`: the reasons of a decision on the log, for administrators."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from macaw.cli.terminal.options import AsJson, Tenant
from schemas.words import Outcome

if TYPE_CHECKING:
    from macaw.policies.asking import Explained
    from macaw.policies.history import AmbiguousIdError, Found
    from schemas.records import Decision


def explain(
    event_id: Annotated[
        str,
        typer.Argument(help="The call: its event id or leaf in hex, as `macaw log` shows it.", metavar="EVENT_ID"),
    ],
    *,
    offset: Annotated[
        int | None,
        typer.Option("--offset", help="The offset on intake, if the id stands for several events.", min=0),
    ] = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Show the rule that decided a call, all other checks, and the smallest change that would have allowed it.

    The log is folded again up to that call. The admin key must be here, because the answer quotes policies. Senders
    choose ids: if one stands for several events, these are listed, and a leaf or --offset chooses one.
    """
    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.output import show_json
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.archives import archive_of
    from macaw.policies.asking import explain_call
    from macaw.policies.history import AmbiguousIdError, live_history

    home, folder = open_tenant(tenant)
    folder.key("admin")  # the answer quotes policies, so it is for holders of this key
    try:
        with live_history(home, folder, archive_of(home, folder)) as history:
            found = explain_call(history, event_id, offset=offset)
    except AmbiguousIdError as exc:
        _tell_candidates(exc, as_json=as_json)
        raise CommandError(str(exc)) from exc
    if as_json:
        show_json(_as_json(found), indent=2)
    else:
        _tell(found)


def _tell_candidates(several: AmbiguousIdError, *, as_json: bool) -> None:
    """Show the events that an id may mean."""
    from macaw.cli.terminal.output import show, show_json, show_table
    from macaw.cli.terminal.rendering import time_of

    if as_json:
        rows = [asdict(one) | {"leaf": one.leaf.hex(), "event_id": one.event_id.hex()} for one in several.candidates]
        show_json({"ambiguous": rows, "count": several.count}, indent=2)
        return
    columns = ("OFFSET", "LEAF", "EVENT ID", "TIME", "KIND", "BY", "RESOURCE")
    show_table(
        columns,
        (
            (
                str(one.offset), one.leaf.hex(), one.event_id.hex(), time_of(one.appended_at),
                one.kind, one.principal_id, one.resource,
            )
            for one in several.candidates
        ),
    )  # fmt: skip
    if several.count > len(several.candidates):
        show(f"… of {several.count} records on intake that begin so")


def _as_json(found: Found[Explained]) -> dict[str, Any]:
    decision, answer = found.decision, found.answer
    return {
        "event_id": decision.event_id.hex(),
        "audit_index": found.index,
        "principal_id": decision.principal_id,
        "recorded": {"outcome": decision.outcome, "reason": decision.reason, "detail": decision.detail},
        "observed": None if decision.observed is None else asdict(decision.observed),
        "verdicts": [asdict(one) | {"catalogue": one.catalogue and one.catalogue.hex()} for one in decision.verdicts],
        "stamps": None if decision.stamps is None else json.loads(decision.stamps),
        "changed": [asdict(one) for one in decision.changed],
        "decided_by": {"policy": answer.deciding, "sha256": answer.verdict.deciding.hex(), "at": answer.verdict.detail},
        "explanation": answer.told,
        "smallest_change": [one._asdict() for one in answer.edits],
    }


def _tell(found: Found[Explained]) -> None:
    from macaw.cli.policy.words import attributes_in_words
    from macaw.cli.terminal.output import show, show_table
    from macaw.cli.terminal.rendering import time_of

    decision, answer = found.decision, found.answer
    told, verdict = answer.told, answer.verdict
    show(f"{decision.outcome.upper()}{': ' + decision.reason if decision.reason else ''}")
    if (one := decision.observed) is not None:
        show(f"observed: enforcement would have said {one.outcome} {one.reason} {one.detail}".rstrip())
    show(f"call {decision.event_id.hex()} of {decision.resource}, by {decision.principal_id}")
    show(f"decided {time_of(decision.decided_at)}, audit entry {found.index}")
    show(f"subject: {attributes_in_words(told['subjects'][0])}")
    if verdict.outcome == Outcome.ALLOWED and decision.outcome == Outcome.DENIED:
        show(f"The policies allowed it; it was denied for another reason: {decision.reason} {decision.detail}".rstrip())
    elif answer.deciding:
        show(f"decided by {answer.deciding} at {verdict.detail or 'its resources'}, stage {verdict.stage.label}")
        show(f"its digest is {verdict.deciding.hex()}")
    elif verdict.outcome == Outcome.DENIED:
        show(f"decided at stage {verdict.stage.label}; no document said so")
    if told.get("grant"):
        show(f"{'granted by' if decision.outcome == Outcome.ALLOWED else 'could be granted by'} {told['grant']}")
    _tell_verdicts(decision)
    _tell_others(told)
    if answer.edits:
        show("")
        show(f"The smallest change that would have allowed it ({_edits(len(answer.edits))}):")
        rows = ((e.policy or "(new)", e.at, e.do, e.reason) for e in answer.edits)
        show_table(("POLICY", "AT", "EDIT", "LIFTS"), rows)


def _tell_verdicts(decision: Decision) -> None:
    """Show the answer of each verifier, in the order of the pipeline; a finding is a kind and a place."""
    from macaw.cli.terminal.output import show, show_table

    if not decision.verdicts:
        return
    show("")
    show("The verifiers, in their order:")
    rows = (
        (
            str(one.priority), one.verifier, one.outcome, one.reason or "-",
            ", ".join(f"{found.kind} at {found.path or '/'}" for found in one.findings) or "-",
        )
        for one in decision.verdicts
    )  # fmt: skip
    show_table(("PRIORITY", "VERIFIER", "ANSWER", "REASON", "FOUND"), rows)
    for change in decision.changed:
        show(f"The tool gets tokens below {change.path} for what {change.verifier} finds there.")


def _tell_others(told: dict[str, Any]) -> None:
    from macaw.cli.terminal.output import show, show_table

    if "broken" in told:
        show(f"the chain of policies is broken: {told['broken']}")
    if told.get("policies"):
        show("")
        show("The policies that applied, each of which must agree:")
        columns = ("LAYER", "POLICY", "", "DIGEST")
        rows = (
            (p["layer"], p["id"], "may grant" if p["grants"] else "only restricts", p["sha256"])
            for p in told["policies"]
        )
        show_table(columns, rows)
    if len(told.get("branches", [])) > 1:
        show("")
        show("Roles are alternatives:")
        show_table(
            ("BRANCH", "OUTCOME", "REASON", "AT"),
            ((b["branch"] or "-", b["outcome"], b["reason"], b["at"]) for b in told["branches"]),
        )
    if told.get("checks"):
        show("")
        show("The result of every check:")
        show_table(("POLICY", "AT", "SAID", "OF"), ((c["policy"], c["at"], _said(c), _of(c)) for c in told["checks"]))
    for bucket in told.get("buckets", []):
        wait = bucket["retry_after_ms"]
        show(f"rate of {bucket['policy']}: " + (f"used up, free again after {wait} ms" if wait else "not used up"))
    if told.get("tried", {}).get("absent"):
        show("")
        show("Looked for and not found: " + ", ".join(told["tried"]["absent"]))


def _said(check: dict[str, Any]) -> str:
    condition = check.get("condition")
    return f"{check['result']} (the condition is {condition})" if condition else str(check["result"])


def _of(check: dict[str, Any]) -> str:
    unknown = "; ".join(check.get("unknown", []))
    return f"{check['path']}: {check['type']}" if "path" in check else unknown


def _edits(count: int) -> str:
    return "one edit" if count == 1 else f"{count} edits, all of them"
