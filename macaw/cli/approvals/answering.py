"""`macaw approvals approve` and `deny`: one question about one or several calls, and a signed answer to each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from macaw.cli.approvals.listing import Person
from macaw.cli.terminal.options import AsJson, OptionsError, Tenant
from schemas.words import Status

if TYPE_CHECKING:
    from producers.client import Answered, Client
    from producers.client.approvals import ShownCall

Requests = Annotated[
    list[str],
    typer.Argument(help="The ids of one or several calls, as `macaw approvals list` shows them.", metavar="CALL..."),
]
Key = Annotated[
    str | None, typer.Option("--key", help="The approval to answer, if a call needs several.", metavar="KEY")
]
Reason = Annotated[str, typer.Option("--reason", help="The reason, kept on the log.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]
SaidBy = Annotated[
    str | None,
    typer.Option("--said-by", help="The person that a registered approver speaks for: user:NAME.", metavar="NAME"),
]


class ShownRequest(NamedTuple):
    """A call that was shown, and the one of its requests that is to be answered."""

    shown: ShownCall
    request: dict[str, Any]


def approve(
    requests: Requests,
    *,
    name: Person,
    key: Key = None,
    reason: Reason = "",
    once: Annotated[bool, typer.Option("--once", help="Approve this call alone, and no later one.")] = False,
    seconds: Annotated[
        float | None,
        typer.Option("--for", help="Let the approval last so long, and no longer.", metavar="SECONDS", min=0.001),
    ] = None,
    uses: Annotated[
        int | None, typer.Option("--uses", help="Let the approval serve so many calls, and no more.", min=1)
    ] = None,
    said_by: SaidBy = None,
    yes: Yes = False,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Approve calls with exactly these parameters."""

    def answer(client: Client, asked: Sequence[dict[str, Any]]) -> list[Answered]:
        return client.approve_all(asked, reason=reason, said_by=said_by, once=once, for_seconds=seconds, uses=uses)

    _answer(requests, name, key, answer, "approve", yes=yes, tenant=tenant, as_json=as_json)


def deny(
    requests: Requests,
    *,
    name: Person,
    key: Key = None,
    reason: Reason = "",
    said_by: SaidBy = None,
    yes: Yes = False,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Deny calls; a single denial ends a call."""

    def answer(client: Client, asked: Sequence[dict[str, Any]]) -> list[Answered]:
        return client.deny_all(asked, reason=reason, said_by=said_by)

    _answer(requests, name, key, answer, "deny", yes=yes, tenant=tenant, as_json=as_json)


def _answer(
    calls: Sequence[str],
    name: str,
    key: str | None,
    answer: Callable[[Client, Sequence[dict[str, Any]]], list[Answered]],
    verb: str,
    *,
    yes: bool,
    tenant: str | None,
    as_json: bool,
) -> None:
    """Show the calls, ask once, and sign an answer to each that was shown; the exit status is 1 if any has failed."""
    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.given import confirmed
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.speaking import open_client
    from producers.client.approvals import REQUESTS_AT_ONCE_MAX

    if as_json and not yes:
        raise OptionsError("with `--json` the calls are not shown, so there is nothing to confirm: give --yes as well")
    named = list(dict.fromkeys(calls))
    if len(named) > REQUESTS_AT_ONCE_MAX:
        raise CommandError(f"got {len(named)} calls, want at most {REQUESTS_AT_ONCE_MAX} in one question")
    home, folder = open_tenant(tenant)
    with open_client(home, folder, name) as client:
        asked, problems = _shown(client, named, key, as_json=as_json)
        if asked and not yes and not confirmed(_question(verb, len(asked), len(named))):
            raise CommandError("not confirmed, so nothing was signed: answer y, or give --yes")
        # Each is fetched again before it is signed, and refused if it differs from the one that was shown.
        outcomes = answer(client, [one.request for one in asked]) if asked else []
    said = Status.APPROVED if verb == "approve" else Status.DENIED
    _tell(asked, outcomes, problems, said, is_one=len(named) == 1, as_json=as_json)


def _shown(
    client: Client, calls: Sequence[str], key: str | None, *, as_json: bool
) -> tuple[list[ShownRequest], dict[str, str]]:
    """Show each call; return those that were shown, and the problem of each other. A problem of one alone is raised."""
    from macaw.cli.approvals.listing import show_call
    from macaw.cli.terminal.output import show
    from schemas.errors import EvidenceError, InputError, OutcomeError

    asked: list[ShownRequest] = []
    problems: dict[str, str] = {}
    for at, call in enumerate(calls, 1):
        try:
            shown = client.show_call(call)
            one = ShownRequest(shown, _chosen(shown, key))
        except (OutcomeError, InputError, EvidenceError) as exc:
            if len(calls) == 1:
                raise
            problems[call] = str(exc)
            continue
        asked.append(one)
        if as_json:
            continue
        if len(calls) > 1:
            show(f"---- {at} of {len(calls)}")
        show_call(shown, (one.request,))
    return asked, problems


def _question(verb: str, shown: int, named: int) -> str:
    if named == 1:
        return "approve exactly this?" if verb == "approve" else "deny this?"
    return f"{verb} exactly these {shown} calls?" if verb == "approve" else f"deny these {shown} calls?"


def _chosen(shown: ShownCall, key: str | None) -> dict[str, Any]:
    from macaw.cli.terminal.errors import CommandError

    if key is not None:
        return shown.request_for(key)
    if len(shown.requests) != 1:
        keys = ", ".join(str(one.get("key")) for one in shown.requests)
        raise CommandError(f"the call needs several approvals: name one of them with --key: {keys}")
    return shown.requests[0]


def _tell(
    asked: Sequence[ShownRequest],
    outcomes: Sequence[Answered],
    problems: dict[str, str],
    said: str,
    *,
    is_one: bool,
    as_json: bool,
) -> None:
    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.output import say, show_json

    if is_one and outcomes and not outcomes[0].is_on_log:
        raise CommandError(outcomes[0].problem)
    rows = [_row(one, outcome, said) for one, outcome in zip(asked, outcomes, strict=True)]
    rows += [{"request": call, "problem": problem} for call, problem in problems.items()]
    if as_json:
        show_json(rows[0] if is_one else rows, indent=2)
    else:
        for one, outcome in zip(asked, outcomes, strict=True):
            call = f"{one.shown.resource}, call {one.shown.request}"
            if outcome.is_on_log:
                say(f"{outcome.key} is {said} for {call}; the answer is on the log")
            else:
                say(f"FAILED for {call}: {outcome.problem}")
        for call, problem in problems.items():
            say(f"FAILED for the call {call}: {problem}")
    if any("problem" in row for row in rows):
        raise typer.Exit(1)


def _row(one: ShownRequest, outcome: Answered, said: str) -> dict[str, Any]:
    row = {
        "request": one.shown.request,
        "key": outcome.key,
        "parameters_sha256": one.shown.parameters_sha256.hex(),
    }
    return row | ({"answer": said} if outcome.is_on_log else {"problem": outcome.problem, "reason": outcome.reason})
