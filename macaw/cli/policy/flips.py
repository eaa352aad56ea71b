"""`macaw policy diff|simulate`: the calls that another version of policies would decide differently."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from macaw.cli.policy.rule_files import tried_rules
from macaw.cli.terminal.options import AsJson, OptionsError, Tenant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from macaw.policies.diff import Changed, Flip
    from macaw.policies.history import History
    from macaw.policies.simulation import Simulated

LIVE = "live"
SHOWN_MAX = 50

Version = Annotated[Path, typer.Argument(help="A JSON document, or a folder of them.", exists=True, readable=True)]
Recorded = typer.Option(
    "--log", help="A folder that `macaw audit export` wrote, or `live` for the tenant's own log.", metavar="DIR|live"
)


def diff(
    old: Version,
    new: Version,
    *,
    log: Annotated[str | None, Recorded] = None,
    policies: Annotated[
        list[Path] | None,
        typer.Option("--policies", help="Policies in force beside both versions.", metavar="PATH", exists=True),
    ] = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Show the calls that two versions decide differently: made-up calls, and with --log recorded ones.

    Finding no difference does not prove that there is none. The exit status is 0 either way.
    """
    from macaw.cli.terminal.output import show_json
    from macaw.policies.diff import changed_lines, probe_flips
    from macaw.policies.files import read_documents

    context = [one.document for one in read_documents(policies)] if policies else []
    around = {one.policy_id: one for one in context}
    before, after = ([one.document for one in read_documents([place], in_force=around)] for place in (old, new))
    lines = list(changed_lines({one.policy_id: one for one in before}, {one.policy_id: one for one in after}))
    flips, tried = probe_flips(before, after, context)
    gone = [one.policy_id for one in before if one.policy_id not in {other.policy_id for other in after}]
    recorded = _recorded(log, tenant, after, gone) if log is not None else None
    if as_json:
        told: dict[str, Any] = {"lines": [_line(one) for one in lines]}
        told |= {"probes": tried, "flips": [one._asdict() for one in flips]}
        show_json(told | ({"recorded": _simulated(recorded)} if recorded else {}), indent=2)
        return
    _tell_lines(lines)
    _tell_flips(flips, tried)
    if recorded is not None:
        _tell_simulated(recorded)


def _recorded(log: str, tenant: str | None, documents: Sequence[Any], gone: Sequence[str]) -> Simulated:
    from macaw.policies.simulation import simulate as fold_again

    with history_of(log, tenant) as history:
        return fold_again(history, documents, gone)


def simulate(
    *,
    policy: Annotated[
        list[Path] | None,
        typer.Option("--policy", help="New documents: a file or folder; repeat it.", metavar="PATH", exists=True),
    ] = None,
    withdraw: Annotated[
        list[str] | None,
        typer.Option("--withdraw", help="The id of a policy to leave out from the beginning.", metavar="ID"),
    ] = None,
    catalogue: Annotated[
        Path | None,
        typer.Option(
            "--catalogue",
            help="A rule file, as for `macaw verifier import`.",
            metavar="FILE",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    verifier: Annotated[
        str | None, typer.Option("--verifier", help="The verifier that matches the rule file.", metavar="NAME")
    ] = None,
    verifiers: Annotated[
        str | None,
        typer.Option(
            "--verifiers",
            help="The setting of that verifier: off, stamp or deny. Without it, the log's.",
            metavar="MODE",
        ),
    ] = None,
    log: Annotated[str, Recorded] = LIVE,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Fold the recorded log again with new policies or rules in force from its first record: the calls that flip.

    Rates and counts follow the new decisions. The exit status is 0 either way.
    """
    from macaw.cli.terminal.output import show_json
    from macaw.policies.files import read_documents
    from macaw.policies.simulation import simulate as fold_again

    if not policy and not withdraw and not catalogue and not verifiers:
        raise OptionsError(
            "nothing to simulate: give new documents with `--policy`, an id with `--withdraw`, or a rule file with "
            "`--catalogue`"
        )
    tried = tried_rules(catalogue, verifier, verifiers)
    documents = []
    if policy:
        # The parent of a document may be on the log; a parent that is not there either denies with POLICY_BROKEN.
        documents = [one.document for one in read_documents(policy, parents_elsewhere=True)]
    with history_of(log, tenant) as history:
        found = fold_again(history, documents, withdraw or (), tried)
    if as_json:
        show_json(_simulated(found), indent=2)
    else:
        _tell_simulated(found)


@contextmanager
def history_of(log: str, tenant: str | None) -> Iterator[History]:
    """Give the log of an export, or of the tenant. Raises as `macaw.policies.history` does."""
    from macaw.policies.history import exported_history, live_history

    if log != LIVE:
        with exported_history(Path(log)) as history:
            yield history
        return
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.archives import archive_of

    home, folder = open_tenant(tenant)
    with live_history(home, folder, archive_of(home, folder)) as history:
        yield history


# ---- showing


def _line(one: Changed) -> dict[str, Any]:
    return {"policy": one.policy_id, "change": "added" if one.added else "removed", "kind": one.line.kind,
            "scope": one.line.scope, "says": one.line.says}  # fmt: skip


def _tell_lines(lines: Sequence[Changed]) -> None:
    from macaw.cli.terminal.output import show, show_table

    if not lines:
        show("lines: both versions say the same")
        return
    rows = (("+" if x.added else "-", x.policy_id, f"{x.line.kind} {x.line.scope}".strip(), x.line.says) for x in lines)
    show_table(("", "POLICY", "WHAT", "SAYS"), rows)


def _tell_flips(flips: Sequence[Flip], tried: int) -> None:
    from macaw.cli.terminal.output import plain_json, show, show_table

    show("")
    if not flips:
        show(f"differences over {tried} made-up calls: none found")
        return
    show(f"differences over {tried} made-up calls: {len(flips)} found")
    show_table(
        ("RESOURCE", "PARAMETERS", "BY", "BEFORE", "AFTER"),
        (
            (
                x.resource,
                plain_json(x.parameters)[:PARAMETERS_SHOWN_MAX],
                x.subject,
                " ".join(x.before),
                " ".join(x.after),
            )
            for x in flips[:SHOWN_MAX]
        ),
    )
    if len(flips) > SHOWN_MAX:
        show(f"and {len(flips) - SHOWN_MAX} more: --json has all of them")


PARAMETERS_SHOWN_MAX = 200


def _simulated(found: Simulated | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "calls": found.calls,
        "flips": len(found.flips),
        "masked": found.masked,
        "events_missing": found.missing,
        "by_reason": [{"before": a, "after": b, "calls": n} for (a, b), n in sorted(found.by_reason().items())],
        "turned": [
            {"event_id": x.event_id.hex(), "audit_index": x.audit_index, "decided_at": x.decided_at,
             "principal_id": x.principal_id, "resource": x.resource, "before": list(x.before), "after": list(x.after),
             "flips": x.flips}
            for x in found.turned
        ],
    }  # fmt: skip


def _tell_simulated(found: Simulated) -> None:
    from macaw.cli.terminal.output import show, show_table
    from macaw.cli.terminal.rendering import time_of

    show("")
    if found.missing:
        show(f"{found.missing} events are missing from this log: their effects are not counted")
    if found.masked:
        show(f"{found.masked} calls with the same outcome would be masked otherwise")
    if not found.flips:
        show(f"flips over {found.calls} recorded calls: none found")
    else:
        show(f"flips over {found.calls} recorded calls: {len(found.flips)} found")
        show_table(("CALLS", "BEFORE", "AFTER"), ((n, a, b) for (a, b), n in sorted(found.by_reason().items())))
        show("")
        show_table(
            ("TIME", "CALL", "BY", "RESOURCE", "BEFORE", "AFTER"),
            (
                (
                    time_of(x.decided_at),
                    x.event_id.hex(),
                    x.principal_id,
                    x.resource,
                    _answer(x.before),
                    _answer(x.after),
                )
                for x in found.flips[:SHOWN_MAX]
            ),
        )
        if len(found.flips) > SHOWN_MAX:
            show(f"and {len(found.flips) - SHOWN_MAX} more: --json has all of them")
    if others := len(found.turned) - len(found.flips):
        show(f"{others} more calls have the same outcome for another reason: --json has them")


def _answer(found: tuple[str, str, str]) -> str:
    return " ".join(part for part in found[:2] if part)
