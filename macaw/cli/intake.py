"""`macaw intake`: an administrator's ruling on a place of intake that no monitor passes by itself."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from macaw.cli.terminal.options import Tenant
from schemas.words import Outcome

if TYPE_CHECKING:
    from schemas.rulings import RecordsSkipped, TimeAccepted

app = typer.Typer(help="Rule on records that hold a tenant up. Read docs/incidents.md first.")

First = Annotated[int, typer.Argument(min=0, help="The first offset, as the monitor's message names it.")]
Last = Annotated[int | None, typer.Argument(min=0, help="The last one; without it the first alone.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it stands on the log for ever.")]


@app.command("skip")
def skip(first: First, last: Last = None, *, reason: Reason, tenant: Tenant = None) -> None:
    """Let the monitor go on behind records that cannot be read (UNREADABLE_BATCH). One that can be read is folded."""
    from schemas.rulings import RecordsSkipped

    _rule(tenant, RecordsSkipped(first=first, last=first if last is None else last, reason=reason), Outcome.SKIPPED)


@app.command("accept-time")
def accept_time(
    first: First,
    last: Annotated[
        int | None, typer.Argument(min=0, help="The last one; without it all up to the ruling itself.")
    ] = None,
    *,
    at: Annotated[
        str | None,
        typer.Option("--at", help="Log time to take, as 2026-11-29T12:00:00+00:00; without it now.", metavar="TIME"),
    ] = None,
    reason: Reason,
    tenant: Tenant = None,
) -> None:
    """Let records that were appended ahead of the clock (CLOCK_AHEAD) count as of a time that you name."""
    from producers.home.clock import clock_ms
    from schemas.rulings import TimeAccepted

    now = clock_ms() if at is None else _milliseconds(at)
    last = _end(tenant) if last is None else last
    _rule(tenant, TimeAccepted(first=first, last=last, now=now, reason=reason), "folded at that time where ahead")


def _end(tenant: str | None) -> int:
    """Return where the ruling will stand if nobody appends before it does."""
    from macaw.cli.terminal.places import open_tenant
    from schemas.topics import INTAKE
    from streams.history.partitions import whole_partition

    home, folder = open_tenant(tenant)
    topic = INTAKE.of(folder.tenant)
    with whole_partition(home.bootstrap, topic, committed=False, security=home.security) as whole:
        return whole.high


def _milliseconds(at: str) -> int:
    try:
        when = datetime.fromisoformat(at)
    except ValueError:
        when = None
    if when is None or when.tzinfo is None:
        raise typer.BadParameter(f"{at!r} is no time with its zone", param_hint="--at")
    return int(when.timestamp() * 1000)


def _rule(tenant: str | None, body: RecordsSkipped | TimeAccepted, done: str) -> None:
    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.tenancy import admin_connection
    from producers.client import NoAnswerError

    home, folder = open_tenant(tenant)
    with admin_connection(home, folder) as connection:
        try:
            answer = connection.ask(body)
        except NoAnswerError as exc:
            raise CommandError(
                f"the ruling stands on {folder.tenant}'s intake, and no monitor has come to it: is one running, and "
                "does it wait at another offset? Its message says what for"
            ) from exc
    what = f"offsets {body.first} to {body.last} are {done}"
    say(f"{folder.tenant}: {what}; audit entry {answer.result.audit_index} says so")
