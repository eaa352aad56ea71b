"""`macaw archive`: the second copy of each tenant's log, which outlives retention (docs/archive.md)."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Any

import typer

from macaw.cli.terminal.metering import MetricsPort
from macaw.cli.terminal.options import AsJson, Tenant
from macaw.cli.terminal.status import DONE, FAILED

if TYPE_CHECKING:
    from processors.evidence.archive.verdict import ArchiveVerdict
    from producers.home.home import Home, TenantHome
    from streams.archive.health import Brokers
    from streams.archive.places import TenantArchive
    from streams.archive.reading import Span

app = typer.Typer(help="Archive logs in closed segments, verify them, and trim intake below them.")

MaxLag = Annotated[
    float | None,
    typer.Option("--max-lag", min=0, help="Seconds that a record may wait for its archiving; without it 900."),
]


@app.command("run")
def run(
    *,
    once: Annotated[bool, typer.Option("--once", help="Archive the present log of each tenant, then end.")] = False,
    metrics_port: MetricsPort = 0,
) -> None:
    """Archive the logs of all tenants of this installation, until Ctrl-C.

    The place is `archive` in config.json; without it, a folder of each tenant's home, which is then written there.
    """
    import logging
    from functools import partial

    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.metering import metered
    from macaw.cli.terminal.output import log_to_stderr
    from macaw.cli.terminal.places import open_home, require_broker
    from macaw.cli.terminal.stopping import Stopping
    from macaw.installation.locking import only_one
    from streams.archive.places import OFF, SETTING
    from streams.archive.process import ArchiveProcess
    from streams.metrics.archive import readings_of_archives

    log_to_stderr(logging.INFO)
    home = open_home()
    require_broker(home)
    home = _configured(home)
    if home.config[SETTING] == OFF:
        raise CommandError(f"`{SETTING}` is {OFF!r} in config.json: name a folder there, or s3://BUCKET/PREFIX")
    running = "this installation archives already: stop that process first"
    with only_one(home.path / "archive.lock", running), Stopping() as stopping:
        process = ArchiveProcess(home)
        stopping.ask = process.stop
        is_well = True
        if once:
            is_well = process.look(at_once=True)
            process.close()
        elif stopping.signal is None:
            with metered(home, "archive", partial(readings_of_archives, process), metrics_port):
                process.run()
    raise typer.Exit(stopping.status if is_well else FAILED)


@app.command("place")
def place(
    location: Annotated[
        str | None,
        typer.Argument(help="A folder, s3://BUCKET/PREFIX, or `off`; without it, the present place.", metavar="PLACE"),
    ] = None,
) -> None:
    """Show where this installation keeps its archives, or write another place into config.json."""
    from macaw.cli.terminal.output import say, show
    from macaw.cli.terminal.places import base_folder, open_home
    from macaw.installation.locking import update_config
    from streams.archive.places import OFF, SETTING, check_setting

    if location is None:
        show(open_home().config.get(SETTING, OFF))
        return
    check_setting(location)
    update_config(base_folder(), {SETTING: location})
    say(f"{SETTING}: {location}; `macaw topic apply` has intake kept for it, and processes read it at their next start")


@app.command("status")
def status(*, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Show how far the archive reaches, its lag, its size, its retention profile and its legal hold."""
    from macaw.cli.terminal.output import show, show_json
    from streams.archive.health import compare, connected
    from streams.archive.marks import VERIFIED, ArchiveMark
    from streams.archive.places import location
    from streams.archive.retention import hold_in, profile_of

    home, folder, archive = _opened(tenant)
    span = archive.read().span
    with connected(home, folder.tenant) as consumers:
        brokers = compare(consumers, folder.tenant, span)
    keys = archive.keyring.path
    hold, mark = hold_in(keys), ArchiveMark.load(keys, VERIFIED)
    found = {
        "tenant": folder.tenant,
        "place": location(home, folder.tenant),
        "segments": span.segments,
        "bytes": archive.store.sizes(),
        "entries": span.next_index,
        "next_offset": span.next_offset,
        "verified_offset": 0 if mark is None else mark.next_offset,
        "intake": {"low": brokers.low, "high": brokers.high},
        "lag_records": brokers.lag,
        "lag_seconds": brokers.age_ms / 1000,
        "profile": profile_of(home),
        "hold": None if hold is None else hold.reason,
    }
    if as_json:
        show_json(found, indent=2)
        return
    show(f"{folder.tenant}: {span.segments} segments, {found['bytes']} bytes, in {found['place']}")
    show(f"archived: {span.next_index} entries, intake below offset {span.next_offset}; {_verified(mark)}")
    show(f"brokers: intake has offsets {brokers.low} to {brokers.high}; {_lag(brokers)}")
    show(f"retention profile: {found['profile']}; legal hold: {'none' if hold is None else hold.reason}")


def _verified(mark: Any) -> str:
    return "never verified" if mark is None else f"verified below offset {mark.next_offset}"


def _lag(brokers: Brokers) -> str:
    if not brokers.lag:
        return "no lag"
    return f"{brokers.lag} records are not archived, the first for {brokers.age_ms // 1000} s"


@app.command("verify")
def verify(
    *,
    offline: Annotated[
        bool, typer.Option("--offline", help="Read the archive alone, without asking the brokers how far it lags.")
    ] = False,
    max_lag: MaxLag = None,
    allow_absent: Annotated[
        bool,
        typer.Option("--allow-absent", help="Accept entries whose records were gone before they were archived."),
    ] = False,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Read and judge every segment, record and signature; exit status 0 only if all of them hold."""
    from macaw.cli.terminal.output import say, show, show_json

    home, folder, archive = _opened(tenant, needs_broker=not offline)
    verdict = _verdict(home, folder, archive, max_lag=max_lag, offline=offline)
    if as_json:
        show_json(_verdict_json(verdict), indent=2)
    else:
        show(_sentence(verdict))
    gone, outputs_gone = verdict.absent - verdict.shredded, verdict.outputs_absent
    passes = verdict.code == "WHOLE" and (allow_absent or not (gone or outputs_gone))
    if verdict.code == "WHOLE" and not passes:
        say(
            f"{gone} records, and the decisions and results of {outputs_gone} entries, were gone before they were "
            "archived; --allow-absent accepts that"
        )
    raise typer.Exit(DONE if passes else FAILED)


@app.command("trim")
def trim(
    *,
    to: Annotated[
        int | None,
        typer.Option("--to", min=0, help="The first offset to keep; without it, that of the last archived record."),
    ] = None,
    tenant: Tenant = None,
) -> None:
    """Verify the archive, then delete from intake the records that it has. The login needs an operator's rights."""
    from macaw.cli.terminal.output import say
    from streams.archive.health import compare, connected, first_on_intake
    from streams.archive.retention import check_no_hold
    from streams.archive.trimming import trim as trim_intake
    from streams.cluster.topics import open_admin

    home, folder, archive = _opened(tenant)
    check_no_hold(archive.keyring.path)
    verdict = _verdict(home, folder, archive)
    say(_sentence(verdict))
    with connected(home, folder.tenant) as consumers:
        low = compare(consumers, folder.tenant, archive.read().span).low
        on_intake = functools.partial(first_on_intake, consumers, folder.tenant)
        with open_admin(home.bootstrap, home.security) as admin:
            done = trim_intake(admin, archive, verdict, on_intake=on_intake, low=low, to=to)
    if done.after == done.before:
        say(f"{folder.tenant}: nothing to trim: intake begins at offset {done.before}")
    else:
        say(f"{folder.tenant}: intake was trimmed: it began at offset {done.before} and begins at {done.after}")


@app.command("expire")
def expire(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Name the months, and destroy nothing.")] = False,
    tenant: Tenant = None,
) -> None:
    """Destroy the keys of the months that are wholly older than `archive_profile`: their records cannot be read again.

    Leaves, audit entries and registrations stay. A legal hold forbids it.
    """
    from macaw.cli.terminal.output import say
    from processors.evidence.archive.bodies import month_text
    from producers.home.clock import clock_ms
    from streams.archive.health import compare, connected, oldest_month_behind
    from streams.archive.retention import OnBrokers, expired_months, profile_of
    from streams.archive.retention import expire as destroy

    home, folder, archive = _opened(tenant)
    profile, now = profile_of(home), clock_ms()
    months = expired_months(archive.keyring, profile, now)
    named = ", ".join(map(month_text, months)) or "none"
    if dry_run:
        say(f"{folder.tenant}: months wholly older than {profile}: {named}")
        return
    log = archive.read()
    with connected(home, folder.tenant) as consumers:
        low = compare(consumers, folder.tenant, log.span).low
        brokers = OnBrokers(low, oldest_month_behind(consumers, archive.owner, log.span))
    destroy(archive.keyring, months, profile=profile, now_ms=now, archive=log, brokers=brokers)
    say(f"{folder.tenant}: keys destroyed of months wholly older than {profile}: {named}")


@app.command("hold")
def hold(
    *,
    reason: Annotated[str | None, typer.Option("--reason", help="The reason for the hold, shown by `status`.")] = None,
    release: Annotated[bool, typer.Option("--release", help="End the hold.")] = False,
    tenant: Tenant = None,
) -> None:
    """Set a legal hold: until it is released, nothing of the tenant's log is destroyed or trimmed."""
    from macaw.cli.terminal.options import OptionsError
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_folder
    from producers.home.clock import clock_ms
    from streams.archive.keyring import Keyring
    from streams.archive.retention import LegalHold, release_hold, set_hold

    if release == bool(reason):
        raise OptionsError("give --reason TEXT to set a hold, or --release to end it")
    _, folder = open_folder(tenant)
    keys = Keyring(folder.path).path
    if release:
        ended = release_hold(keys)
        say(f"{folder.tenant}: {'the legal hold is released' if ended else 'there was no legal hold'}")
        return
    try:
        set_hold(keys, LegalHold(reason=reason or "", since=clock_ms()))
    except FileExistsError:
        from macaw.cli.terminal.errors import CommandError

        raise CommandError(f"{folder.tenant} has a legal hold already; `macaw archive status` shows it") from None
    say(f"{folder.tenant}: legal hold set")


# --- what the commands share


def _configured(home: Home) -> Home:
    """Return the installation with a place for its archives: the default is written where none is named."""
    from macaw.installation.locking import update_config
    from streams.archive.places import DEFAULT, SETTING

    return home if SETTING in home.config else update_config(home.path.parent, {SETTING: DEFAULT})


def _opened(tenant: str | None, *, needs_broker: bool = True) -> tuple[Home, TenantHome, TenantArchive]:
    from macaw.cli.terminal.places import open_folder, open_tenant
    from streams.archive.places import open_archive

    home, folder = open_tenant(tenant) if needs_broker else open_folder(tenant)
    return home, folder, open_archive(home, folder)


def _verdict(
    home: Home,
    folder: TenantHome,
    archive: TenantArchive,
    *,
    max_lag: float | None = None,
    offline: bool = False,
) -> ArchiveVerdict:
    from streams.archive.health import LAG_SECONDS, compare, connected
    from streams.archive.health import verify as judge

    def brokers(span: Span) -> Brokers:
        with connected(home, folder.tenant) as consumers:
            return compare(consumers, folder.tenant, span)

    lag = LAG_SECONDS if max_lag is None else max_lag
    return judge(archive, brokers=None if offline else brokers, lag_seconds=lag)


def _sentence(verdict: ArchiveVerdict) -> str:
    where = f" at entry {verdict.index}" if verdict.index is not None else ""
    segment = f" of {verdict.segment}" if verdict.segment else ""
    counts = [f"{verdict.segments} segments with {verdict.entries} entries hold, intake below {verdict.next_offset}"]
    counts += [
        f"{count} {what}"
        for count, what in (
            (verdict.absent - verdict.shredded, "came without their record"),
            (verdict.shredded, "are shredded"),
            (verdict.unproven, "are by sessions whose opening is absent"),
            (verdict.outputs_absent, "came without their decisions and results"),
        )
        if count
    ]
    return f"{verdict.code}{where}{segment}: {verdict.detail}; {'; '.join(counts)}"


def _verdict_json(verdict: ArchiveVerdict) -> dict[str, Any]:
    return {
        "verdict": str(verdict.code),
        "segment": verdict.segment or None,
        "index": verdict.index,
        "detail": verdict.detail,
        "segments": verdict.segments,
        "entries": verdict.entries,
        "next_offset": verdict.next_offset,
        "absent": verdict.absent,
        "shredded": verdict.shredded,
        "unproven": verdict.unproven,
        "outputs_absent": verdict.outputs_absent,
    }
