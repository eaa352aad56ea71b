"""A tenant's engine as its log tells it: the present one, those before, and the programs that must hold the next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from macaw.installation.tenancy import admin_connection
from processors.identity.following import follow
from processors.identity.keys import live_keys
from processors.proof.signing import VerifiedHeads
from processors.refusal import Refusal
from processors.state.engines import Engine, EngineMissingError, installed
from processors.state.tables import Tables
from producers.home.home import Home, TenantHome
from producers.kafka.answers import Answer
from schemas import codec
from schemas.errors import InputError
from schemas.events.engines import EngineActivated, EngineData
from schemas.records import Event, TenantFounded
from schemas.topics import MONITOR_GROUP, REGISTRY
from streams.history.partitions import whole_partition

GROUP_SECONDS = 5.0


class EngineError(InputError):
    """The engine cannot be activated from here; the message gives the cause and the next step."""


class Began(NamedTuple):
    """The beginning of an engine on a log: its number, its data, the time (ms) that its admin gave, and the reason."""

    engine: int
    data: tuple[EngineData, ...]
    issued_at: int
    reason: str


@dataclass(slots=True)
class LogEngines:
    """The engines of a log, oldest first, and its registry. `missing` is set if the last one is not installed here."""

    tables: Tables
    began: list[Began] = field(default_factory=list)
    missing: EngineMissingError | None = None

    @property
    def present(self) -> Began:
        """The engine that decides now. Requires a founded tenant."""
        return self.began[-1]


def engines_of(home: Home, folder: TenantHome) -> LogEngines:
    """Return the engines of a tenant's log, every activation verified as a follower of the registry does.

    Raises:
        EngineError: the tenant is not founded yet.
        ReadTimeoutError: the registry cannot be read to its end.
    """
    tables = Tables(tenant=folder.tenant, deployment=home.deployment, genesis=folder.genesis)
    found, heads = LogEngines(tables), VerifiedHeads()
    with whole_partition(home.bootstrap, REGISTRY.of(folder.tenant), security=home.security) as whole:
        for record in whole.records:
            if record.value is None:
                continue
            try:
                follow(tables, record, heads)
            except Refusal:
                continue  # it changes nothing, as on the log
            except EngineMissingError:
                break
            found.began += _begun_by(record.value)
    if not found.began:
        raise EngineError(f"tenant {folder.tenant} is not founded on the log yet: start a monitor, or `macaw up`")
    try:
        tables.check_engine()
    except EngineMissingError as exc:
        found.missing = exc
    return found


def _begun_by(value: bytes) -> Iterator[Began]:
    event: Event = codec.decode_as(Event, value)
    body = event.body
    if isinstance(body, TenantFounded):
        yield Began(body.engine, body.data, event.header.issued_at, "the tenant was founded")
    elif isinstance(body, EngineActivated):
        yield Began(body.engine, body.data, event.header.issued_at, body.reason)


def next_engine(found: LogEngines, number: int | None) -> Engine:
    """Return the engine of this installation to activate: `number`, or the newest.

    Raises:
        EngineError: this installation does not hold it, or it would be refused.
    """
    held = installed()
    wanted = max(held) if number is None else number
    engine = held.get(wanted)
    if engine is None:
        have = ", ".join(map(str, sorted(held)))
        raise EngineError(
            f"this installation holds engine {have} and not {wanted}: a tenant whose engine is not installed stands "
            f"still, so install the version of macaw that holds {wanted}, and activate it from there"
        )
    if wanted <= found.present.engine:
        raise EngineError(
            f"the tenant decides by engine {found.present.engine} already, and an activation needs a higher number"
        )
    return engine


def activate(home: Home, folder: TenantHome, engine: Engine, reason: str) -> Answer:
    """Activate an engine with the admin key and return the log's answer.

    Raises:
        RefusedError: the log refused it.
        NoAnswerError: no monitor has come to it yet.
    """
    with admin_connection(home, folder) as connection:
        return connection.ask(EngineActivated(engine=engine.number, data=engine.data, reason=reason))


class Datum(NamedTuple):
    """Data of one library before and after an activation; None where one of the engines has none."""

    old: EngineData | None
    new: EngineData | None


def compared(old: Sequence[EngineData], new: Sequence[EngineData]) -> list[Datum]:
    """Return the data of two engines side by side, by library: the part of a name before the slash."""
    ours, theirs = ({one.name.partition("/")[0]: one for one in some} for some in (old, new))
    return [Datum(ours.get(library), theirs.get(library)) for library in sorted({**ours, **theirs})]


def live_programs(tables: Tables) -> Mapping[str, Counter[str]]:
    """Return the number of live keys by role and principal: programs that verify records by the tenant's engine."""
    found: dict[str, Counter[str]] = {}
    for name, principal in sorted(tables.principals.rows.items()):
        count = sum(1 for _ in live_keys(tables, name.decode()))
        if count and principal.role not in {"root", "organisation", "admin"}:
            found.setdefault(principal.role, Counter())[name.decode()] = count
    return found


def workers_of(home: Home) -> list[str] | None:
    """Return the hosts of the workers in the monitors' group, None if the brokers do not tell."""
    with AdminClient({**home.security, "bootstrap.servers": home.bootstrap, "log_level": 2}) as admin:
        try:
            [asked] = admin.describe_consumer_groups([MONITOR_GROUP], request_timeout=GROUP_SECONDS).values()
            return sorted(f"{one.client_id} at {one.host.lstrip('/')}" for one in asked.result().members)
        except (KafkaException, ValueError):
            return None
