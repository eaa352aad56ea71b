"""`macaw intake`: an administrator's ruling on records of intake that every monitor stops at."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from macaw.cli.terminal.options import Tenant
from schemas.words import Outcome

if TYPE_CHECKING:
    from schemas.events.rulings import RecordsSkipped, TimeAccepted

app = typer.Typer(help="Rule on records that stop a tenant. Read docs/incidents.md first.")

First = Annotated[int, typer.Argument(min=0, help="The first offset, as the monitor's message gives it.")]
Last = Annotated[int | None, typer.Argument(min=0, help="The last offset; without it, the first alone.")]
Reason = Annotated[str, typer.Option("--reason", help="The reason, kept on the log for ever.")]


@app.command("skip")
def skip(first: First, last: Last = None, *, reason: Reason, tenant: Tenant = None) -> None:
    """Let the monitor pass unreadable records (UNREADABLE_BATCH). A readable record in the range is folded."""
    from schemas.events.rulings import RecordsSkipped

    _rule(tenant, RecordsSkipped(first=first, last=first if last is None else last, reason=reason), Outcome.SKIPPED)


@app.command("accept-time")
def accept_time(
    first: First,
    last: Annotated[
        int | None, typer.Argument(min=0, help="The last offset; without it, all before the ruling itself.")
    ] = None,
    *,
    at: Annotated[
        str | None,
        typer.Option("--at", help="The log time, like 2026-11-29T12:00:00+00:00; without it, now.", metavar="TIME"),
    ] = None,
    reason: Reason,
    tenant: Tenant = None,
) -> None:
    """Let records that were appended ahead of the clock (CLOCK_AHEAD) count at a time of your choice."""
    from producers.home.clock import clock_ms
    from schemas.events.rulings import TimeAccepted

    now = clock_ms() if at is None else _milliseconds(at)
    last = _end(tenant) if last is None else last
    _rule(tenant, TimeAccepted(first=first, last=last, now=now, reason=reason), "folded at that time where ahead")


def _end(tenant: str | None) -> int:
    """Return the offset of the ruling, if no other record is appended before it."""
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
        raise typer.BadParameter(
            f"{at!r} is not a time with a zone: write it like 2026-11-29T12:00:00+00:00", param_hint="--at"
        )
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
                f"the ruling is on {folder.tenant}'s intake, but no monitor has reached it yet: start a monitor, or "
                "read in the messages of the one that runs at which other offset it waits"
            ) from exc
    what = f"offsets {body.first} to {body.last} are {done}"
    say(f"{folder.tenant}: {what}; audit entry {answer.result.audit_index} says so")
