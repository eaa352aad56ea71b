"""`macaw engine`: the version of the rules that decides for a tenant, and the change to a later one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from macaw.cli.terminal.options import AsJson, Tenant

if TYPE_CHECKING:
    from macaw.installation.engines import Datum, LogEngines
    from macaw.policies.simulation import Simulated
    from processors.state.engines import Engine
    from schemas.events.engines import EngineData

app = typer.Typer(help="Show, plan and activate the engine: the version of the rules. Read docs/engines.md first.")

LAST_RECORDS = 1000
LAST_MAX = 100_000
SHOWN_MAX = 20
DIGEST_CHARS = 16

Number = Annotated[
    int | None, typer.Option("--engine", min=1, help="The engine; without it the newest of this installation.")
]


@app.command("show")
def show(*, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Show the engines of this installation, and those of the tenant's log with the present one.

    The exit status is 3 if the present one is not installed here.
    """
    from macaw.cli.terminal.output import show_json, show_table
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.status import DONE, NO_ENGINE
    from macaw.installation.engines import engines_of
    from processors.state.engines import installed

    home, folder = open_tenant(tenant)
    found = engines_of(home, folder)
    held = [installed()[number] for number in sorted(installed())]
    if as_json:
        told: dict[str, Any] = {"installed": [{"engine": one.number, "data": _data_json(one.data)} for one in held]}
        told |= {"tenant": folder.tenant, "present": found.present.engine, "log": _log_json(found)}
        show_json({**told, "is_installed": found.missing is None}, indent=2)
    else:
        show_table(("INSTALLED", "DATA", "SHA-256"), (row for one in held for row in _data_rows(one.number, one.data)))
        _tell_lacking(held)
        _tell_log(folder.tenant, found)
    raise typer.Exit(DONE if found.missing is None else NO_ENGINE)


@app.command("plan")
def plan(
    *,
    number: Number = None,
    last: Annotated[
        int, typer.Option("--last", min=0, max=LAST_MAX, help="Records of the log to decide by it; 0 for none.")
    ] = LAST_RECORDS,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Show the effects of an activation: data, programs that need it first, and calls decided differently."""
    from macaw.cli.terminal.output import show_json
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.archives import archive_of
    from macaw.installation.engines import compared, engines_of, live_programs, next_engine, workers_of
    from macaw.policies.history import live_history
    from macaw.policies.simulation import simulate_engine

    home, folder = open_tenant(tenant)
    found = engines_of(home, folder)
    if found.missing is not None:
        raise found.missing
    engine = next_engine(found, number)
    data = compared(found.present.data, engine.data)
    workers, programs = workers_of(home), live_programs(found.tables)
    flips: Simulated | None = None
    if last:
        with live_history(home, folder, archive_of(home, folder)) as history:
            flips = simulate_engine(history, engine, last)
    if as_json:
        told: dict[str, Any] = {"tenant": folder.tenant, "present": found.present.engine, "engine": engine.number}
        told["data"] = [{"old": _one_json(one.old), "new": _one_json(one.new)} for one in data]
        told |= {"workers": workers, "programs": programs, "simulated": None if flips is None else _flips_json(flips)}
        show_json(told, indent=2)
        return
    _tell_data(found.present.engine, engine, data)
    _tell_programs(engine.number, workers, programs)
    if flips is not None:
        _tell_flips(flips, last)


@app.command("activate")
def activate(
    *,
    number: Number = None,
    reason: Annotated[str, typer.Option("--reason", help="The reason, kept on the log for ever.")],
    tenant: Tenant = None,
) -> None:
    """Let a later engine decide from the next record on, with the admin key. This cannot be taken back.

    A worker, client or tool host without that engine stops serving the tenant: see `macaw engine plan`.
    """
    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.engines import activate as activate_engine
    from macaw.installation.engines import engines_of, next_engine
    from producers.client import NoAnswerError

    home, folder = open_tenant(tenant)
    engine = next_engine(engines_of(home, folder), number)
    try:
        answer = activate_engine(home, folder, engine, reason)
    except NoAnswerError as exc:
        raise CommandError(
            f"the activation is on {folder.tenant}'s intake, but no monitor has come to it yet: start one, and read "
            "`macaw engine show`"
        ) from exc
    say(
        f"{folder.tenant}: engine {engine.number} decides from the next record on; audit entry "
        f"{answer.result.audit_index} is the last of the engine before"
    )


# ---- what is told


def _digest(data: EngineData | None) -> str:
    return "none" if data is None else data.sha256.hex()[:DIGEST_CHARS] + "…"


def _data_rows(number: int, data: tuple[EngineData, ...]) -> list[tuple[str, str, str]]:
    rows = [(str(number), one.name, one.sha256.hex()) for one in data]
    return rows or [(str(number), "none named", "")]


def _one_json(data: EngineData | None) -> Any:
    return None if data is None else {"name": data.name, "sha256": data.sha256.hex()}


def _data_json(data: tuple[EngineData, ...]) -> list[Any]:
    return [_one_json(one) for one in data]


def _log_json(found: LogEngines) -> list[Any]:
    return [
        {"engine": one.engine, "data": _data_json(one.data), "issued_at": one.issued_at, "reason": one.reason}
        for one in found.began
    ]


def _tell_lacking(held: list[Engine]) -> None:
    """Tell which engines this installation holds for following a log only."""
    from macaw.cli.terminal.output import say
    from processors.state.engines import lacking_of

    for one in held:
        if lacking := lacking_of(one):
            say(
                f"engine {one.number} is followed here and decides nothing: it lacks {lacking}; a worker needs "
                "`pip install 'macaw-streams[server]'`"
            )


def _tell_log(tenant: str, found: LogEngines) -> None:
    from macaw.cli.terminal.output import say, show

    for one in found.began:
        when = datetime.fromtimestamp(one.issued_at / 1000, UTC).isoformat(timespec="seconds")
        mark = "present" if one is found.present else "before"
        data = ", ".join(f"{datum.name} {_digest(datum)}" for datum in one.data) or "no data named"
        show(f"{tenant}: engine {one.engine} ({mark}) since {when}: {one.reason}; {data}")
    if found.missing is not None:
        say(str(found.missing))


def _tell_data(present: int, engine: Engine, data: list[Datum]) -> None:
    from macaw.cli.terminal.output import show

    show(f"engine {present} -> {engine.number}")
    for old, new in data:
        if old == new:
            show(f"  same     {'' if new is None else new.name} {_digest(new)}")
        else:
            names = [one.name if one is not None else "none" for one in (old, new)]
            show(f"  changed  {names[0]} {_digest(old)} -> {names[1]} {_digest(new)}")


def _tell_programs(number: int, workers: list[str] | None, programs: Any) -> None:
    from macaw.cli.terminal.output import say, show

    show(f"before the activation, each of these must run a version of macaw that holds engine {number}:")
    if workers is None:
        say("the brokers do not tell the members of the monitors' group: ask the operator which workers run")
    for one in workers or ():
        show(f"  worker   {one}")
    for role, keys in programs.items():
        shown = ", ".join(f"{name} ({count} keys)" for name, count in sorted(keys.items())[:SHOWN_MAX])
        more = f", and {len(keys) - SHOWN_MAX} more" if len(keys) > SHOWN_MAX else ""
        show(f"  {role:8} {shown}{more}")
    say("the log does not tell what they run: `macaw engine show` does, on each host")


def _tell_flips(found: Simulated, last: int) -> None:
    from macaw.cli.terminal.output import show

    if found.missing:
        show(f"{found.missing} events are missing from this log: their effects are not counted")
    show(
        f"of the last {last} records {found.calls} decide a call, and {len(found.turned)} of these differently "
        f"({len(found.flips)} with another outcome)"
    )
    for one in found.turned[:SHOWN_MAX]:
        before, after = (" ".join(filter(None, answer[:2])) for answer in (one.before, one.after))
        show(f"  {one.event_id.hex()} {one.principal_id} {one.resource}: {before} -> {after}")
    if len(found.turned) > SHOWN_MAX:
        show(f"  and {len(found.turned) - SHOWN_MAX} more; --json shows all")


def _flips_json(found: Simulated) -> dict[str, Any]:
    turned = [
        {"event_id": one.event_id.hex(), "principal_id": one.principal_id, "resource": one.resource,
         "before": one.before, "after": one.after}
        for one in found.turned
    ]  # fmt: skip
    return {"calls": found.calls, "turned": turned, "flips": len(found.flips), "events_missing": found.missing}
