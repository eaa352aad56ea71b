"""`macaw verify`: a text before the verifiers, without a log and without a tenant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from macaw.cli.terminal.options import AsJson
from macaw.cli.terminal.status import DONE, FAILED

if TYPE_CHECKING:
    from processors.calls.verifiers.pipeline import Verified
    from processors.calls.verifiers.verifier import Verification


def command(
    text: Annotated[str, typer.Argument(help="The text, or @FILE; @- is standard input.", metavar="TEXT|@FILE")],
    *,
    surface: Annotated[
        str, typer.Option("--surface", help="The place of the text: arguments, or result.", metavar="SURFACE")
    ] = "arguments",
    as_json: AsJson = False,
) -> None:
    """Let every verifier look at a text, as it would at a parameter or a result.

    Exit 1 if one would deny it, or if a part of it was not read.
    """
    from macaw.cli.terminal.output import show_json
    from processors.calls.verifiers.trial import tried
    from schemas.words import Surface

    if surface not in tuple(Surface):
        raise typer.BadParameter(f"got {surface[:40]!r}, want {' or '.join(Surface)}", param_hint="--surface")
    found = tried(_read(text), Surface(surface))
    if as_json:
        show_json([_as_json(one) for one in found.answers], indent=2)
    else:
        _tell(found)
    raise typer.Exit(FAILED if any(one.outcome == "deny" or _is_unread(one) for one in found.answers) else DONE)


def _read(given: str) -> str:
    """Return the text itself, or that of a file. Bytes that are not UTF-8 are read as far as they are."""
    import sys

    if not given.startswith("@"):
        return given
    raw = sys.stdin.buffer.read() if given == "@-" else Path(given[1:]).read_bytes()
    return raw.decode("utf-8", "replace")


def _as_json(one: Verification) -> dict[str, object]:
    found = [{"kind": f.kind, "start": f.start, "end": f.end} for f in one.findings]
    told = {"verifier": one.verifier, "priority": one.priority, "outcome": str(one.outcome), "found": found}
    return {**told, "unread": _is_unread(one)}


def _is_unread(one: Verification) -> bool:
    """Return True if the verifier did not read the text to its end."""
    return bool(one.stamps.get("unread"))


def _tell(found: Verified) -> None:
    from macaw.cli.terminal.output import show, show_table

    rows = (
        (
            str(one.priority),
            one.verifier,
            str(one.outcome),
            ", ".join(f"{f.kind} at {f.start}-{f.end}" for f in one.findings) or "-",
        )
        for one in found.answers
    )
    show_table(("PRIORITY", "VERIFIER", "ANSWER", "FOUND"), rows)
    if any(map(_is_unread, found.answers)):
        show("unread: the text is longer than the bound, and nobody looked at the rest; give it in shorter parts")
