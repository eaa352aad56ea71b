"""The recorded log folded again with other policies or catalogues, or by another engine: the calls that would flip.

Two folds go side by side over the same records. In one the log is as it is; in the other the new documents replace the
policies that the log publishes under their ids, new catalogues those under their names, and rates and counts follow.
Advice: nothing is written, and a call that was denied has no recorded result, so its further effects are not known.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from macaw.policies.history import History, Recorded, decisions_of, fold, fold_recorded
from processors.intake.identify import Received
from processors.policy.documents import PolicyDocument
from processors.proof.signing import VerifiedHeads
from processors.state.engines import Engine
from processors.state.tables import SINGLETON, Tables
from schemas import codec
from schemas.events.catalogues import CataloguePublished, CatalogueWithdrawn
from schemas.events.tenancy import TenantSetting
from schemas.records import Decision, Event, PolicyPublished, PolicyWithdrawn
from schemas.rows import CatalogueRow, PolicyRow
from streams.history.state_rows import framed_rows, restore_rows

KEPT_BYTES_MAX = 256 * 1024 * 1024  # of the records that another engine decides beside


_Rows = dict[bytes, Any]  # None stands for no row
_RULES = (PolicyPublished, PolicyWithdrawn, CataloguePublished, CatalogueWithdrawn)


class Turned(NamedTuple):
    """A recorded call that would have been decided otherwise."""

    event_id: bytes
    audit_index: int
    decided_at: int
    principal_id: str
    resource: str
    before: tuple[str, str, str]
    after: tuple[str, str, str]

    @property
    def flips(self) -> bool:
        """True if the outcome differs, not only the reason."""
        return self.before[0] != self.after[0]


@dataclass(slots=True)
class Simulated:
    """The result of a simulation. `missing` events are kept nowhere any more; their charges are not counted.

    `masked` counts the calls with the same outcome of which their tools would have got other values masked.
    """

    calls: int = 0
    masked: int = 0
    turned: list[Turned] = field(default_factory=list)
    missing: int = 0

    @property
    def flips(self) -> list[Turned]:
        """The calls with another outcome."""
        return [one for one in self.turned if one.flips]

    def by_reason(self) -> Mapping[tuple[str, str], int]:
        """Return how many calls turned from one answer to another."""
        return Counter((_answer(one.before), _answer(one.after)) for one in self.flips)


def _answer(found: tuple[str, str, str]) -> str:
    return f"{found[0]} {found[1]}".strip()


class TriedRules(NamedTuple):
    """Rules of verifiers that are tried: catalogues by name, and values of settings."""

    catalogues: Mapping[str, CatalogueRow] = {}
    settings: Mapping[str, str] = {}


def simulate(
    history: History,
    documents: Sequence[PolicyDocument],
    withdrawn: Sequence[str] = (),
    tried: TriedRules = TriedRules(),  # noqa: B008 - it has no part that changes
) -> Simulated:
    """Fold a log twice and compare. Policies with the ids `withdrawn` are never in force in the second fold.

    Catalogues and settings that are `tried` count where the log's engine has verifiers of texts.

    Raises:
        HistoryError: the log cannot be folded from its beginning.
    """
    world = _World(history.tables(), documents, withdrawn, tried)
    tables, heads, found = history.tables(), VerifiedHeads(), Simulated()
    for one in history.records:
        recorded = decisions_of(fold_recorded(tables, one, heads))
        _compare(found, recorded, world.fold(one.received, heads, recorded))
    found.missing = len(history.missing)
    return found


def _compare(
    found: Simulated, recorded: Mapping[bytes, tuple[Decision, bytes]], others: Mapping[bytes, Decision]
) -> None:
    """Note the calls that two folds have decided at one record, and those that they answer differently."""
    # A call that waits in one world only ends at another record there: the first decisions are compared.
    for event in recorded.keys() & others.keys():
        one, other = recorded[event][0], others[event]
        found.calls += 1
        found.masked += one.outcome == other.outcome and one.changed != other.changed
        before, after = _told(one), _told(other)
        if before != after:
            found.turned.append(
                Turned(one.event_id, one.audit_index, one.decided_at, one.principal_id, one.resource, before, after)
            )


def _told(decision: Decision) -> tuple[str, str, str]:
    # A wait that differs by some ms is the same answer. Of a call that was only observed, the answer of enforcement.
    said = decision if decision.observed is None else decision.observed
    return said.outcome, said.reason, said.detail.partition(" retry_after_ms=")[0]


def simulate_engine(history: History, engine: Engine, last: int) -> Simulated:
    """Fold a log, its last records beside it by another engine, as if that one had been activated before them.

    `last` counts records of intake; fewer are compared if they are larger than KEPT_BYTES_MAX together.

    Raises:
        HistoryError: the log cannot be folded from its beginning.
        EngineMissingError: an engine of the log is not installed here.
    """
    tables, heads, kept, size = history.tables(), VerifiedHeads(), deque[Recorded](), 0
    for one in history.records:
        kept.append(one)
        size += len(one.received.value or b"")
        while len(kept) > last or size > KEPT_BYTES_MAX:
            first = kept.popleft()
            size -= len(first.received.value or b"")
            fold_recorded(tables, first, heads)
    found = Simulated(missing=len(history.missing))
    while kept and not tables.tenant.rows:  # the founding itself is decided by its own engine
        fold_recorded(tables, kept.popleft(), heads)
    if not tables.tenant.rows:
        return found
    other = _Beside(_decided_by(tables, engine))
    for one in kept:
        recorded = decisions_of(fold_recorded(tables, one, heads))
        _compare(found, recorded, other.fold(one.received, heads, recorded))
    return found


def _decided_by(tables: Tables, engine: Engine) -> Tables:
    """Return tables with the same rows, for which another engine decides."""
    other = Tables(
        tenant=tables.tenant_id,
        deployment=tables.deployment,
        genesis=tables.genesis,
        engines={engine.number: engine},
    )
    restore_rows(other, framed_rows(tables))
    other.tenant.put(SINGLETON, replace(tables.tenant.rows[SINGLETON], engine=engine.number, data=engine.data))
    other.resume_at(next_index=tables.next_index, prev=tables.prev, now=tables.now)
    return other


class _Beside:
    """A fold beside the recorded one."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def fold(
        self, received: Received, heads: VerifiedHeads, recorded: Mapping[bytes, tuple[Decision, bytes]]
    ) -> dict[bytes, Decision]:
        """Fold one record and return its decisions, by the call that each is on."""
        found = decisions_of(fold(self._tables, received, heads))
        for event, (_, leaf) in found.items():
            if event in recorded and leaf != recorded[event][1]:
                self._rename(leaf, recorded[event][1])
        return {event: decision for event, (decision, _) in found.items()}

    def _rename(self, leaf: bytes, recorded: bytes) -> None:
        # The tool's report names the decision that it saw: an open call must be found under that name.
        row = self._tables.calls.get(leaf)
        if row is not None:
            self._tables.calls.delete(leaf)
            self._tables.calls.put(recorded, row)
            self._tables.commit()


class _World(_Beside):
    """The fold in which the new documents and catalogues are in force, and settings have other values."""

    def __init__(
        self, tables: Tables, documents: Sequence[PolicyDocument], withdrawn: Sequence[str], tried: TriedRules
    ) -> None:
        super().__init__(tables)
        policies: _Rows = {
            one.policy_id.encode(): PolicyRow(document=one.canonical.decode(), digest=one.digest, extends=one.extends)
            for one in documents
        }
        policies |= {policy_id.encode(): None for policy_id in withdrawn}
        self._ours: dict[str, _Rows] = {
            "policies": policies,
            "catalogues": {name.encode(): row for name, row in tried.catalogues.items()},
        }
        # The log's rows under these keys.
        self._theirs: dict[str, _Rows] = {table: dict.fromkeys(rows) for table, rows in self._ours.items()}
        self._settings = tried.settings
        self._settled = -1  # the version of the tenant's row in which the settings have our values
        self._put(self._ours)
        tables.commit()

    def fold(
        self, received: Received, heads: VerifiedHeads, recorded: Mapping[bytes, tuple[Decision, bytes]]
    ) -> dict[bytes, Decision]:
        """Fold one record and return its decisions, by the call that each is on."""
        changes_rules = _is_of_rules(received)
        if changes_rules:  # judged with the log's rows, or a recorded publication would be a conflict
            self._put(self._theirs)
        found = super().fold(received, heads, recorded)
        if changes_rules:
            self._theirs = {
                table: {key: self._tables.by_name[table].get(key) for key in rows} for table, rows in self._ours.items()
            }
            self._put(self._ours)
            self._tables.commit()
        self._settle()
        return found

    def _put(self, rows: Mapping[str, _Rows]) -> None:
        for name, some in rows.items():
            table = self._tables.by_name[name]
            for key, row in some.items():
                if row is not None:
                    table.put(key, row)
                elif table.get(key) is not None:
                    table.delete(key)

    def _settle(self) -> None:
        """Give the settings our values, after the log has changed the tenant's row."""
        tenant = self._tables.tenant
        row = tenant.get(SINGLETON)
        if not self._settings or row is None or tenant.version == self._settled:
            return
        values = {one.name: one.value for one in row.settings} | dict(self._settings)
        settings = tuple(TenantSetting(name=name, value=value) for name, value in sorted(values.items()))
        tenant.put(SINGLETON, replace(row, settings=settings))
        self._tables.commit()
        self._settled = tenant.version


def _is_of_rules(received: Received) -> bool:
    try:
        schema, body = codec.unframe(received.value or b"")
        event = codec.decode(schema, body)
    except codec.SchemaError:
        return False
    return isinstance(event, Event) and isinstance(event.body, _RULES)
