"""`macaw approvals report`: the answers of approvers by the log, and a warning of those that come too soon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from macaw.cli.policy.flips import LIVE, Recorded, history_of
from macaw.cli.terminal.options import AsJson, Tenant

if TYPE_CHECKING:
    from macaw.policies.traffic.answered import AnswersBy, GivenAnswers

ROWS_SHOWN_MAX = 50


def report(
    *,
    within: Annotated[
        float, typer.Option("--within", help="The time in which no person reads a call.", metavar="SECONDS", min=0)
    ] = 2.0,
    hours: Annotated[
        float | None, typer.Option("--hours", min=0, help="The hours to look back; without it, the whole log.")
    ] = None,
    log: Annotated[str, Recorded] = LIVE,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Count each approver's answers, and warn of one that is nearly always yes and comes within seconds."""
    from macaw.cli.terminal.output import show, show_json, show_table
    from macaw.policies.traffic.answered import read_answers
    from producers.home.clock import clock_ms

    since = 0 if hours is None else clock_ms() - int(hours * 3_600_000)
    with history_of(log, tenant) as history:
        found = read_answers(history, since=since)
    if as_json:
        show_json([_row(by, given, within) for by, given in found.items()], indent=2)
        return
    if not found:
        show("no approver has answered")
        return
    shown = list(found.items())[:ROWS_SHOWN_MAX]
    show_table(
        ("APPROVER", "YES", "NO", "MEDIAN", f"WITHIN {within:g} S"),
        (
            (_name(by), str(n.yes), str(n.no), f"{n.median:.1f} s", f"{n.share_within(within):.0%}")
            for by, n in shown
        ),
    )  # fmt: skip
    if len(found) > ROWS_SHOWN_MAX:
        show(f"and {len(found) - ROWS_SHOWN_MAX} more: --json has all of them")
    for by, n in found.items():
        if n.is_hasty(within):
            show(
                f"WARNING  {_name(by)} said yes {n.yes} of {n.count} times, half of them within {n.median:.1f} seconds"
            )


def _name(by: AnswersBy) -> str:
    return f"{by.said_by} via {by.approver}" if by.said_by else by.approver


def _row(by: AnswersBy, given: GivenAnswers, within: float) -> dict[str, Any]:
    return {
        "approver": by.approver,
        "said_by": by.said_by or None,
        "yes": given.yes,
        "no": given.no,
        "median_seconds": given.median,
        "within_seconds": within,
        "share_within": given.share_within(within),
        "warning": given.is_hasty(within),
    }
