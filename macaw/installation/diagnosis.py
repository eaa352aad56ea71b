"""The checks of `macaw doctor`: each returns findings with a level, a sentence, and the next command to run.

A check never raises for the state of an installation: a broken part is its finding. A part that needs the brokers is
not checked while they do not answer, and its finding says so. No finding quotes a secret, or text of a provider.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import closing
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from macaw.installation.enforcement import ENDS, standing_in
from macaw.installation.key_names import keys_in
from macaw.installation.tenancy import admin_connection
from processors.identity.issuers import speaks_for
from processors.identity.keys import is_live
from producers.home.addresses import is_loopback_host
from producers.home.clock import clock_ms
from producers.home.home import Home, TenantHome
from producers.home.keystores.errors import KeyAccessError
from producers.home.keystores.settings import FILE
from producers.identity.settings import find_login_settings
from producers.identity.web import check_url
from producers.kafka.link import logins_of
from producers.kafka.logins import NoBridgeError, SessionRefusedError
from producers.kafka.outcomes import NoAnswerError, RefusedError
from producers.kafka.registry_view import RegistryView
from schemas import limits
from schemas.errors import MacawError
from schemas.events.workflow import StateQueried
from schemas.reasons import Reason
from schemas.rows import KeyRow, ProviderRow
from schemas.words import Role
from streams.archive.health import LAG_SECONDS, compare, connected
from streams.archive.places import is_configured, open_archive, verified_offset
from streams.bridge.key_cache import KeyCache, KeyTerms, terms_of
from streams.bridge.reasons import FetchError
from streams.cluster import access
from streams.cluster.plan import ClusterPlan
from streams.cluster.topics import open_admin
from streams.local.choose import APACHE_KAFKA
from streams.local.probe import ask_capabilities

BROKER_SECONDS = 5.0
MONITOR_SECONDS = 5.0
PROVIDER_SECONDS = 10.0
BRIDGE_SECONDS = 5.0
CLOCK_WARNING_MS = 5_000
EXAMPLES_MAX = 3
# An unsigned text in the form of a token: a bridge that runs refuses it, and that is its answer.
_HEADER, _SIGNATURE = {"alg": "RS256", "kid": "macaw-doctor"}, "AA"


class Level(IntEnum):
    """The weight of a finding."""

    OK = 0
    WARNING = 1
    FAULT = 2


class Part(StrEnum):
    """The part of an installation that a finding is about."""

    BROKER = "broker"
    TOPICS = "topics"
    MONITOR = "monitor"
    CLOCK = "clock"
    PROVIDER = "provider"
    BRIDGE = "bridge"
    KEYS = "keys"
    ARCHIVE = "archive"
    ENFORCED = "enforced"


@dataclass(frozen=True, slots=True)
class Diagnosed:
    """One line of the diagnosis. `next` is a command or an act, empty if nothing is to be done."""

    part: Part
    level: Level
    text: str
    next: str = ""


@dataclass(frozen=True, slots=True)
class Registered:
    """The keys and the identity providers of a tenant, as its log has them."""

    keys: dict[bytes, KeyRow]
    providers: dict[str, ProviderRow]


def diagnose(home: Home, folder: TenantHome) -> Iterator[Diagnosed]:
    """Yield the findings of every part, in the order of the table in docs/setup.md."""
    broker = check_broker(home)
    yield broker
    answers = broker.level is not Level.FAULT
    registered: Registered | None = None
    if answers:
        yield from _checked(Part.TOPICS, lambda: check_topics(home, folder))
        yield from _checked(Part.MONITOR, lambda: check_monitor(home, folder))
        try:
            registered = read_registered(home, folder)
        except (MacawError, KafkaException) as exc:
            yield Diagnosed(Part.KEYS, Level.FAULT, f"the registry cannot be read: {_told(exc)}", "macaw topic check")
    else:
        yield from (_unchecked(part) for part in (Part.TOPICS, Part.MONITOR, Part.CLOCK))
    yield from _checked(Part.PROVIDER, lambda: check_providers(home, folder, registered))
    if registered is not None:
        yield from _checked(Part.BRIDGE, lambda: check_bridges(home, folder, registered))
    else:
        yield _unchecked(Part.BRIDGE)
    yield from _checked(Part.KEYS, lambda: check_keys(home, folder, registered))
    if answers:
        yield from _checked(Part.ARCHIVE, lambda: check_archive(home, folder))
        yield from _checked(Part.ENFORCED, lambda: check_enforced(home, folder))
    else:
        yield _unchecked(Part.ARCHIVE)
        yield _unchecked(Part.ENFORCED)


def _checked(part: Part, check: Callable[[], Iterator[Diagnosed]]) -> Iterator[Diagnosed]:
    """Yield the findings of a check; the error that ends it becomes a fault, and its message names the next step."""
    try:
        yield from check()
    except (MacawError, KafkaException, OSError) as exc:
        yield Diagnosed(part, Level.FAULT, _told(exc))


def _unchecked(part: Part) -> Diagnosed:
    return Diagnosed(part, Level.WARNING, "not checked: no broker answers, or the registry cannot be read")


def _told(exc: Exception) -> str:
    if isinstance(exc, KafkaException):
        return f"Kafka refused the request: {exc.args[0].str()}"
    if isinstance(exc, OSError):
        return f"cannot use {exc.filename}: {exc.strerror}"
    return str(exc)


# ---- brokers, topics


def check_broker(home: Home) -> Diagnosed:
    """Check that the brokers answer, accept our login, and have the capabilities of Apache Kafka."""
    try:
        bootstrap, security = home.bootstrap, home.security
    except MacawError as exc:
        return Diagnosed(Part.BROKER, Level.FAULT, str(exc), "macaw up")
    with AdminClient({**security, "bootstrap.servers": bootstrap, "log_level": 0}) as admin:
        try:
            brokers = len(admin.list_topics(timeout=BROKER_SECONDS).brokers)
        except KafkaException as exc:
            text = f"no broker answers at {bootstrap}: {exc.args[0].str()}"
            return Diagnosed(Part.BROKER, Level.FAULT, text, "macaw up, or see `bootstrap` and `kafka` in config.json")
    kind = home.config.get("broker_kind", "not started here")
    told = f"{brokers} at {bootstrap} ({kind})"
    if ask_capabilities(bootstrap, security) >= APACHE_KAFKA:
        return Diagnosed(Part.BROKER, Level.OK, f"{told}, with the capabilities of Apache Kafka")
    text = f"{told}, without the capabilities of Apache Kafka: a crash may lose records, so it is for a first look"
    return Diagnosed(Part.BROKER, Level.WARNING, text, "macaw up --broker kafka, in a new folder")


def check_topics(home: Home, folder: TenantHome) -> Iterator[Diagnosed]:
    """Compare topics and access rules with the plan, as `macaw topic check` does."""
    name = folder.tenant
    with open_admin(home.bootstrap, home.security) as admin:
        plan = ClusterPlan.read(
            admin,
            name,
            replication=home.replication,
            access=access.load_access(home.path / access.FILE),
            verified=verified_offset(home, name),
        )
    drift = plan.drift
    if drift:
        few = "; ".join(f"{d.resource}: {d.key} is {d.found}" for d in drift[:EXAMPLES_MAX])
        more = f"; {len(drift) - EXAMPLES_MAX} more" if len(drift) > EXAMPLES_MAX else ""
        yield Diagnosed(
            Part.TOPICS, Level.FAULT, f"{len(drift)} differ: {few}{more}", f"macaw topic apply --tenant {name}"
        )
        return
    rules = "access rules" if plan.found is not None else "no access rules, for the cluster has no authorizer"
    yield Diagnosed(Part.TOPICS, Level.OK, f"topics are as wanted, with {rules}")


def read_registered(home: Home, folder: TenantHome) -> Registered:
    """Return keys and providers as the log has them. Raises RegistryError, KafkaException."""
    with closing(RegistryView.of(home, folder)) as view:
        view.refresh(seconds=BROKER_SECONDS)
        tables = view.tables
        return Registered(
            dict(tables.keys.rows), {key.decode(): row for key, row in sorted(tables.providers.rows.items())}
        )


# ---- monitor, clock


def check_monitor(home: Home, folder: TenantHome) -> Iterator[Diagnosed]:
    """Ask the monitor a question that an admin may not ask: its refusal is the answer, and carries the log time.

    The question stays on the log as one refused record.
    """
    key = folder.path / "admin.key"
    if not key.exists() or folder.keys.facts(key).store != FILE:
        text = "not asked: the admin key is not here, or its store would ask for a passphrase"
        yield Diagnosed(Part.MONITOR, Level.WARNING, text, "macaw policy list, where the admin key is")
        yield Diagnosed(Part.CLOCK, Level.WARNING, "not checked: the time comes with the monitor's answer")
        return
    before = clock_ms()
    with admin_connection(home, folder) as connection:
        try:
            connection.ask(StateQueried(what="doctor", argument=""), seconds=MONITOR_SECONDS)
        except RefusedError as refused:
            answered = refused.answer.result.at if refused.answer is not None else None
        except NoAnswerError:
            text = f"no monitor answers within {MONITOR_SECONDS:g} s"
            yield Diagnosed(Part.MONITOR, Level.FAULT, text, "macaw up, or macaw monitor beside a broker of your own")
            yield Diagnosed(Part.CLOCK, Level.WARNING, "not checked: the time comes with the monitor's answer")
            return
    took = clock_ms() - before
    yield Diagnosed(Part.MONITOR, Level.OK, f"a monitor answers in {took} ms")
    if answered is not None:
        yield check_clock(before, answered, clock_ms())


def check_clock(before: int, log_time: int, after: int) -> Diagnosed:
    """Compare this machine's clock with a log time between `before` and `after`, in ms."""
    off = max(before - log_time, log_time - after, 0)
    if off > min(limits.ISSUED_AHEAD_MS_MAX, limits.ISSUED_BEHIND_MS_MAX):
        text = f"this clock and that of the brokers differ by {off // 1000} s: events from here are refused"
        return Diagnosed(Part.CLOCK, Level.FAULT, text, "set this machine's clock by NTP")
    if off > CLOCK_WARNING_MS:
        text = f"this clock and that of the brokers differ by {off // 1000} s"
        return Diagnosed(Part.CLOCK, Level.WARNING, text, "set this machine's clock by NTP")
    return Diagnosed(Part.CLOCK, Level.OK, f"the clock is within {CLOCK_WARNING_MS // 1000} s of the brokers'")


# ---- identity providers, bridges


def check_providers(home: Home, folder: TenantHome, registered: Registered | None) -> Iterator[Diagnosed]:
    """Fetch metadata and keys of each trusted provider, and compare the configured issuer with those trusted."""
    configured = find_login_settings(home)
    trusted = {} if registered is None else {i: row for i, row in registered.providers.items() if row.ended_at is None}
    if configured is None and not trusted:
        yield Diagnosed(Part.PROVIDER, Level.OK, "no identity provider is configured or trusted")
        return
    terms = {issuer: terms_of(issuer, row) for issuer, row in trusted.items()}
    if configured is not None and configured.issuer not in trusted:
        issuer = configured.issuer
        if registered is not None:
            text = f"{issuer} is configured here, and {folder.tenant} does not trust it"
            yield Diagnosed(Part.PROVIDER, Level.FAULT, text, f"macaw idp trust {issuer} --audience AUDIENCE")
        host = check_url(issuer, "the issuer").hostname or ""
        terms[issuer] = KeyTerms(issuer, frozenset({host} if is_loopback_host(host) else ()))
    with closing(KeyCache()) as keys:
        asked = {issuer: keys.request(one) for issuer, one in terms.items()}
        for issuer, answer in asked.items():
            try:
                found = answer.result(PROVIDER_SECONDS)
            except FetchError as exc:
                yield Diagnosed(Part.PROVIDER, Level.FAULT, f"{issuer}: {exc}", "macaw idp list")
            except FutureTimeoutError:
                text = f"{issuer}: its keys did not come within {PROVIDER_SECONDS:g} s"
                yield Diagnosed(Part.PROVIDER, Level.FAULT, text, "look at the provider, and at the network between")
            else:
                yield Diagnosed(Part.PROVIDER, Level.OK, f"{issuer}: {len(found.usable)} usable keys")


def check_bridges(home: Home, folder: TenantHome, registered: Registered) -> Iterator[Diagnosed]:
    """Check that a live bridge speaks for each trusted provider, and that one answers."""
    now = clock_ms()
    bridges = {kid: row for kid, row in registered.keys.items() if row.role == Role.BRIDGE and is_live(row, now)}
    trusted = [issuer for issuer, row in registered.providers.items() if row.ended_at is None]
    if not trusted:
        yield Diagnosed(Part.BRIDGE, Level.OK, "none is needed: the tenant trusts no identity provider")
    for issuer in trusted:
        speaking = [kid for kid, row in bridges.items() if speaks_for(row.attributes, issuer)]
        if not speaking:
            text = f"no live bridge speaks for {issuer}"
            yield Diagnosed(Part.BRIDGE, Level.FAULT, text, f"macaw bridge register --tenant {folder.tenant}")
            continue
        yield _asked_bridge(home, folder, issuer)


def _asked_bridge(home: Home, folder: TenantHome, issuer: str) -> Diagnosed:
    """Return whether a bridge answers a login with a text that is no token: its refusal is the answer."""
    with logins_of(home, folder) as logins:
        try:
            logins.open(_no_token(issuer), seconds=BRIDGE_SECONDS)
        except SessionRefusedError:
            return Diagnosed(Part.BRIDGE, Level.OK, f"a bridge answers for {issuer}")
        except NoBridgeError as exc:
            return Diagnosed(Part.BRIDGE, Level.FAULT, f"{issuer}: {exc}", "macaw up, or macaw bridge run")
    raise AssertionError("a bridge has opened a session with a text that nobody signed")


def _no_token(issuer: str) -> str:
    import base64
    import json

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part(_HEADER)}.{part({'iss': issuer})}.{_SIGNATURE}"


# ---- keys


def check_keys(home: Home, folder: TenantHome, registered: Registered | None) -> Iterator[Diagnosed]:
    """Check that files with secrets are private, that key files can be read, and that the log knows the keys."""
    faults = 0
    for path in _secret_files(home, folder):
        if path.stat().st_mode & 0o077:
            faults += 1
            yield Diagnosed(Part.KEYS, Level.FAULT, f"{path} may be read by others", f"chmod 600 {path}")
    named = list(keys_in(folder))
    for name, path in named:
        try:
            facts = folder.keys.facts(path)
        except KeyAccessError as exc:
            faults += 1
            yield Diagnosed(Part.KEYS, Level.FAULT, str(exc), "macaw key list")
            continue
        row = None if registered is None else registered.keys.get(facts.kid)
        if name.startswith("sessions/") or registered is None or _is_root(name):
            continue
        if row is None or not is_live(row, clock_ms()):
            faults += 1
            state = "is not on the log" if row is None else "has ended on the log"
            yield Diagnosed(Part.KEYS, Level.WARNING, f"the key {name} {state}", "macaw key list --from-log")
    if not faults:
        text = f"{len(named)} keys are private" + (" and live on the log" if registered is not None else "")
        yield Diagnosed(Part.KEYS, Level.OK, text)


def _is_root(name: str) -> bool:
    return name.removeprefix("next-").partition(".")[0] == "root"


def _secret_files(home: Home, folder: TenantHome) -> Iterator[Path]:
    yield home.path / "config.json"
    yield from sorted(home.path.glob("*.secret"))
    yield from sorted(p for kind in ("*.key", "*.token", "*.secret") for p in folder.path.rglob(kind) if p.is_file())


# ---- archive


def check_enforced(home: Home, folder: TenantHome) -> Iterator[Diagnosed]:
    """Yield a warning for each thing that is observed, frozen or open by a break-glass."""
    with admin_connection(home, folder) as connection:
        try:
            found = standing_in(connection)
        except RefusedError as refused:
            if refused.reason != Reason.QUERY_INVALID:
                raise
            found = []  # an engine before observe mode: everything is enforced
    for one in found:
        until = "" if one.until is None else f", for {max(0, one.until - clock_ms()) // 1000} s more"
        yield Diagnosed(Part.ENFORCED, Level.WARNING, f"{one.kind}: {one.told} by {one.by}{until}", ENDS[one.kind])
    if not found:
        yield Diagnosed(Part.ENFORCED, Level.OK, "nothing is observed, frozen or open by a break-glass")


def check_archive(home: Home, folder: TenantHome) -> Iterator[Diagnosed]:
    """Check that the archive can be read, and how far it lags behind the log."""
    if not is_configured(home):
        text = "there is no second copy of the log: intake is kept for 30 days"
        yield Diagnosed(Part.ARCHIVE, Level.WARNING, text, "macaw archive run")
        return
    span = open_archive(home, folder).read().span
    with connected(home, folder.tenant) as consumers:
        found = compare(consumers, folder.tenant, span)
    if found.age_ms > LAG_SECONDS * 1000:
        text = f"{found.lag} records are not archived, the first for {found.age_ms // 1000} s"
        yield Diagnosed(Part.ARCHIVE, Level.FAULT, text, "macaw archive run")
    else:
        yield Diagnosed(Part.ARCHIVE, Level.OK, f"{span.next_index} entries are archived; {found.lag} records wait")
