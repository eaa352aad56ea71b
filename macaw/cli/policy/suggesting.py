"""`macaw policy suggest`: documents made from recorded calls, to be read and published by hand (docs/observe.md)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from macaw.cli.policy.flips import LIVE, Recorded, history_of
from macaw.cli.terminal.options import AsJson, Tenant

if TYPE_CHECKING:
    from macaw.policies.traffic.suggestion import Suggested

_NOT_IN_FILES = re.compile(r"[^A-Za-z0-9._-]")


def suggest(
    *,
    out: Annotated[
        Path | None, typer.Option("--out", help="The folder for a file for each document.", metavar="DIR")
    ] = None,
    hours: Annotated[
        float | None, typer.Option("--hours", min=0, help="The hours to look back; without it, the whole log.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Suggest documents for ids that are in force as well.")
    ] = False,
    log: Annotated[str, Recorded] = LIVE,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Write policies that let the executed calls of the log pass, and as little else as can be said.

    Each names a principal, its resources, and bounds of parameters. Values of calls stand in them: read them first.
    """
    import json

    from macaw.cli.terminal.output import show_json
    from macaw.policies.traffic.suggestion import suggest as made_from
    from producers.home.clock import clock_ms

    since = 0 if hours is None else clock_ms() - int(hours * 3_600_000)
    with history_of(log, tenant) as history:
        found = made_from(history, since=since, replacing=replace)
    documents = [json.loads(one.canonical) for one in found.documents.values()]
    if out is not None:
        _write(out, {one["policy_id"]: json.dumps(one, indent=2, ensure_ascii=False) + "\n" for one in documents})
    if as_json:
        show_json(
            {
                "documents": documents,
                "calls": dict(found.calls),
                "left_out": dict(found.left_out),
                "open": [{"policy": a, "resource": b, "parameter": c} for a, b, c in found.open_places],
            },
            indent=2,
        )
        return
    if out is None:
        show_json(documents, indent=2)
    _tell(found)


def _write(out: Path, texts: dict[str, str]) -> None:
    from macaw.cli.terminal.errors import CommandError

    names: dict[str, str] = {}
    for policy_id in texts:
        name = f"{_NOT_IN_FILES.sub('-', policy_id)}.json"
        if name in names.values() or (out / name).exists():
            raise CommandError(f"{out / name} is there already: give an empty folder with `--out`; nothing was written")
        names[policy_id] = name
    out.mkdir(parents=True, exist_ok=True)
    for policy_id, text in texts.items():
        (out / names[policy_id]).write_text(text, "utf-8")


def _tell(found: Suggested) -> None:
    from macaw.cli.terminal.output import say

    for policy_id, calls in sorted(found.calls.items()):
        say(f"{policy_id}: from {calls} calls")
    for reason, calls in sorted(found.left_out.items()):
        say(f"left out, {calls} calls: {reason}")
    for policy_id, resource, place in found.open_places:
        say(f"{policy_id}: parameter {place} of {resource} had values of several kinds, and is not bounded")
    if not found.documents:
        say("no document: the log has no call that one could be made from")
