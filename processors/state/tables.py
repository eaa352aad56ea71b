"""The state of one tenant: typed tables, a journal to undo with, and deadlines.

The step reads and writes rows here and nowhere else. Every write puts the replaced row into the journal: a refused
record is undone to its savepoint, an aborted transaction is undone whole, and a committed one hands its changes over as
values. Tables are a cache of the log and can always be rebuilt from it.

`derived` keeps one value for each table, made from all its rows, until the next write to that table:
    tables.derived(tables.policies, index_of)   calls index_of(rows); again only after a write to the table
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Container, Iterator
from hashlib import sha256
from typing import Any, TypeVar

from processors.state import groups as of
from processors.state.bounds import TenantLimits, limits_with, rooms_of
from processors.state.engines import Engine, Engines, check_decides, held_engine, installed
from processors.state.groups import ALL, groups_by_session
from processors.state.heard import HeardIndex
from processors.state.journal import Change, Journal, RowWrite
from processors.state.measures import (
    key_ends_at,
    lean_session,
    session_leaves_at,
    shares_of_attestation,
    shares_of_request,
    weight_of_given,
    weight_of_offer,
    weight_of_pending,
    weight_of_request,
    weight_of_session,
    weight_of_value,
)
from processors.state.settings import DEFAULTS, settings_of
from processors.state.shares import shares_of, shares_of_sponsor
from processors.state.table import Table
from schemas import limits
from schemas.events.attributes import weight_of
from schemas.events.engines import EngineData
from schemas.rows import (
    AttestationRow,
    CallRow,
    CatalogueRow,
    DelegationRow,
    EnforcementRow,
    EngineDataRow,
    GrantRow,
    HeardRow,
    IdempotencyRow,
    JudgedRow,
    KeyRow,
    OfferRow,
    PendingRow,
    PersonRow,
    PolicyRow,
    PresenceRow,
    PrincipalRow,
    PromptRow,
    ProviderRow,
    RateBucketRow,
    RequestRow,
    ResourceRow,
    RuleCellRow,
    RulingRow,
    SequenceRow,
    SessionRow,
    TenantRow,
    VaultRow,
    VaultScopeRow,
    VerifierRow,
    WorkRow,
)  # fmt: skip

R = TypeVar("R")
D = TypeVar("D")

SINGLETON = b"-"  # the key of a table's only row
AUDIT_GENESIS_TAG = b"macaw/audit/v1\n"
_DEADLINES_SPARE = 4096


class Tables:
    """All state of one tenant's fold, with the tail of its audit log."""

    def __init__(
        self,
        *,
        tenant: str,
        deployment: str,
        genesis: bytes,
        bounds: TenantLimits | None = None,
        engines: Engines | None = None,
    ) -> None:
        """`engines` are the ones that may decide; without it, those of this installation."""
        self.engines = engines
        self._engine: Engine | None = None  # of the record under way, once it was asked for
        self._engine_version = -1  # of the table `tenant`, which `_engine` was taken from
        self.tenant_id, self.deployment, self.genesis = tenant, deployment, genesis
        self.origin = f"{deployment}/{tenant}"
        self.system_limits = self.limits = bounds or TenantLimits()  # the latter with the tenant's own in their place
        self.settings = DEFAULTS  # of the tenant's row, like the limits
        self._journal = Journal()
        self._deadlines: list[tuple[int, str, bytes]] = []
        self.tenant: Table[TenantRow] = self._table("tenant", told=self._follow_row)
        self.engine_data: Table[EngineDataRow] = self._table("engine_data")
        self.providers: Table[ProviderRow] = self._table("providers")
        self.principals: Table[PrincipalRow] = self._table("principals")
        self.policies: Table[PolicyRow] = self._table("policies")
        self.catalogues: Table[CatalogueRow] = self._table("catalogues")
        self.enforcement: Table[EnforcementRow] = self._table("enforcement", lambda r: r.until)
        self.sequences: Table[SequenceRow] = self._table("sequences")
        self.rulings: Table[RulingRow] = self._table("rulings", lambda r: r.until)
        self._who_is_who()
        self._calls()
        self._workflow_state()
        self.by_name: dict[str, Table[Any]] = {t.name: t for t in vars(self).values() if isinstance(t, Table)}
        self._bound(self.limits)
        self.next_index = 0  # with `prev` the tail of the audit log: index and link of the next entry
        self.prev = sha256(AUDIT_GENESIS_TAG + genesis).digest()
        self.now = 0
        self.appended = 0  # append time of the record (ms), below `now` if a clock went back
        self._tail = self._prepared_tail = (self.next_index, self.prev, self.now)
        self._derived: dict[str, tuple[int, Any]] = {}
        self._deadlines_max = _DEADLINES_SPARE

    def _who_is_who(self) -> None:
        self.keys: Table[KeyRow] = self._table(
            "keys",
            key_ends_at,
            groups=of.groups_of_key,
            payers=lambda k: () if k.spent else shares_of(k.payer),
        )
        self.resources: Table[ResourceRow] = self._table("resources", payers=lambda r: shares_of(r.payer))
        self.sessions: Table[SessionRow] = self._table(
            "sessions",
            session_leaves_at,
            groups=of.groups_of_session,
            payers=lambda s: shares_of(s.payer),
            weigh=weight_of_session,
            lean=lean_session,
        )
        self.persons: Table[PersonRow] = self._table(
            "persons",
            lambda p: p.until,
            groups=of.groups_of_person,
            payers=lambda p: shares_of_sponsor(p.opened_by if p.sponsor is None else p.sponsor),
            weigh=lambda p: weight_of(p.attributes),
        )
        self.offers: Table[OfferRow] = self._table(
            "offers",
            groups=lambda o: (ALL, o.principal_id, ("key", o.kid)),
            payers=lambda o: shares_of(o.payer),
            weigh=weight_of_offer,
        )
        self.verifiers: Table[VerifierRow] = self._table("verifiers")
        self.presence: Table[PresenceRow] = self._table("presence", lambda p: p.until)

    def _calls(self) -> None:
        self.calls: Table[CallRow] = self._table(
            "calls",
            lambda c: c.unknown_at,
            groups=lambda c: (c.event,) if c.target is None else (c.event, ("target", c.target)),
            payers=lambda c: shares_of(c.payer, c.tool),
        )
        self.idempotency: Table[IdempotencyRow] = self._table(
            "idempotency",
            lambda i: i.until,
            groups=lambda i: (i.event,),
            payers=lambda i: shares_of(i.payer),
        )
        paid = {"payers": lambda one: shares_of(one.payer)}
        self.buckets: Table[RateBucketRow] = self._table("buckets", lambda b: b.until, **paid)
        self.work: Table[WorkRow] = self._table("work", lambda w: w.until)  # one for each principal
        self.cells: Table[RuleCellRow] = self._table(
            "cells",
            lambda c: c.until,
            groups=groups_by_session,
            payers=lambda c: shares_of(c.payer),
        )
        self.prompts: Table[PromptRow] = self._table(
            "prompts",
            lambda p: p.until,
            groups=groups_by_session,
            payers=lambda p: shares_of(p.payer),
            weigh=lambda p: sum(map(len, p.policies)),
        )
        self.heard_index = HeardIndex()
        self.heard: Table[HeardRow] = self._table(
            "heard",
            lambda h: h.until,
            groups=lambda h: (("heard by", h.owner), h.session_id),
            payers=lambda h: shares_of(h.payer),
            weigh=lambda h: len(h.fingerprints),
            follow=self.heard_index.follow,
        )
        self.judged: Table[JudgedRow] = self._table("judged", lambda j: j.until, **paid)

    def _workflow_state(self) -> None:
        """Make the tables of attestations, approvals, delegations and the vault."""
        self.attestations: Table[AttestationRow] = self._table(
            "attestations",
            lambda a: a.until,
            groups=of.groups_of_attestation,
            payers=shares_of_attestation,
            weigh=lambda a: len(a.key) + len(a.value),
        )
        self.requests: Table[RequestRow] = self._table(
            "requests",
            lambda r: r.until,
            groups=of.groups_of_request,
            payers=shares_of_request,
            weigh=weight_of_request,
        )
        self.pending: Table[PendingRow] = self._table(
            "pending",
            lambda p: p.deadline,
            groups=of.groups_of_pending,
            payers=lambda p: shares_of(p.payer),
            weigh=weight_of_pending,
        )
        self.grants: Table[GrantRow] = self._table(
            "grants",
            lambda g: g.until,
            payers=lambda g: shares_of(g.payer),
            weigh=lambda g: weight_of_given(g.approvals),
        )
        self.delegations: Table[DelegationRow] = self._table(
            "delegations",
            lambda d: d.until,
            groups=lambda d: (("by", d.delegator), ("to", d.delegate), ("through", d.opened_by)),
            payers=lambda d: shares_of(d.payer),
            weigh=lambda d: len(d.scope) + len(d.purpose) + weight_of(d.attributes),
        )
        self.scopes: Table[VaultScopeRow] = self._table(
            "scopes", lambda s: s.until, payers=lambda s: shares_of(s.payer)
        )
        self.vault: Table[VaultRow] = self._table(
            "vault",
            lambda v: v.until,
            groups=lambda v: (v.scope,),
            payers=lambda v: shares_of(v.payer),
            weigh=weight_of_value,
        )

    def _table(self, name: str, deadline: Callable[[Any], int] | None = None, **more: Any) -> Table[Any]:
        return Table(name, self._journal.entries, self._deadlines, deadline, **more)

    def derived(self, table: Table[R], build: Callable[[dict[bytes, R]], D]) -> D:
        """Return `build(rows)`, kept until the table changes. Requires the same `build` in all calls for a table."""
        version, value = self._derived.get(table.name, (-1, None))
        if version != table.version:
            value = build(table.rows)
            self._derived[table.name] = (table.version, value)
        return value  # type: ignore[no-any-return]

    # --- the limits and settings ---

    def _follow_row(self, row: TenantRow | None) -> None:
        """Keep bounds and settings at those in the tenant's row, whichever way it was written or undone."""
        self.settings = settings_of(() if row is None else row.settings)
        given = limits_with(self.system_limits, () if row is None else row.limits)
        if given != self.limits:
            self._bound(given)

    def _bound(self, given: TenantLimits) -> None:
        self.limits = given
        for name, room in rooms_of(given).items():
            self.by_name[name].set_room(room)

    # --- the engine ---

    @property
    def engine(self) -> Engine:
        """The engine of the record under way; between records, that of the next one.

        A record that activates another engine is still decided by the one before. Before the founding event it is the
        lowest engine that is held. Raises EngineMissingError.
        """
        if self._engine is not None:
            return self._engine
        row = self.tenant.rows.get(SINGLETON)
        return self.decide_by(*((min(self.engines or installed()), None) if row is None else (row.engine, row.data)))

    def check_engine(self) -> None:
        """Raise EngineMissingError unless the engine of the next record is held."""
        self._engine = self.engine

    def check_decides(self) -> None:
        """Raise EngineMissingError unless this installation can decide the next record, and not only follow it."""
        self.check_engine()
        check_decides(self.engine)

    def decide_by(self, number: int, data: tuple[EngineData, ...] | None) -> Engine:
        """Let an engine decide until the tenant's row has changed and the record ended. Raises EngineMissingError."""
        held = self.engines or installed()
        self._engine = held[number] if data is None else held_engine(number, data, held)
        self._engine_version = self.tenant.version
        return self._engine

    def _forget_engine(self) -> None:
        if self._engine_version != self.tenant.version:
            self._engine = None

    # --- transactions ---

    def savepoint(self) -> int:
        """Return a mark to undo to."""
        return len(self._journal.entries)

    def undo_to(self, mark: int) -> None:
        """Take back every write since `mark`, newest first."""
        self._journal.undo_to(mark)
        self._forget_engine()

    def rollback(self) -> None:
        """Undo every write that is not committed: those of an aborted transaction, and later ones built on them."""
        self._journal.rollback()
        self._forget_engine()
        self.next_index, self.prev, self.now = self._tail

    def end_record(self, leaf: bytes) -> None:
        """Move the tail of the audit log past the entry with this log leaf; its record writes no more."""
        self._journal.end_record(self.next_index, self.now)
        self._forget_engine()
        self.prev = leaf
        self.next_index += 1

    def changes(self) -> Iterator[Change]:
        """Yield (table, key, row or None) once for each row changed since the last `prepare` or `commit`."""
        return self._journal.changes()

    def writes(self, tables: Container[str], since: int | None = None) -> Iterator[RowWrite]:
        """Yield the writes to some tables, newest first: those since the savepoint `since`, else as in `changes`."""
        return self._journal.writes(tables, since)

    def prepare(self) -> None:
        """Put the writes so far into a transaction. Later writes build on them, and belong to the next transaction."""
        self._journal.prepare()
        self._forget_engine()
        self._prepared_tail = (self.next_index, self.prev, self.now)

    def commit_prepared(self) -> None:
        """Make the prepared writes final: their transaction was committed."""
        self._journal.commit_prepared()
        self._tail = self._prepared_tail
        if len(self._deadlines) > self._deadlines_max:
            self._forget_moved_deadlines()

    def commit(self) -> None:
        """Make every write up to now final."""
        self.prepare()
        self.commit_prepared()

    @property
    def committed_index(self) -> int:
        """The audit index after the last committed entry; `next_index` may be ahead of it."""
        return self._tail[0]

    def resume_at(self, *, next_index: int, prev: bytes, now: int) -> None:
        """Set the tail of the audit log, after the rows were restored from the changelog."""
        self.next_index, self.prev, self.now = next_index, prev, now
        self.commit()

    # --- deadlines ---

    def next_deadline(self) -> int | None:
        """Return the earliest deadline (log time, ms) of a row in any table; None if no row has one."""
        heap = self._deadlines
        while heap:
            deadline, name, key = heap[0]
            if self.by_name[name].deadline_of(key) == deadline:
                return deadline
            heapq.heappop(heap)  # the row has left or moved its deadline
        return None

    def _forget_moved_deadlines(self) -> None:
        """Compact the heap: drop entries of rows that have left or have a new deadline.

        Runs when the heap has doubled, so a write stays O(log n).
        """
        self._deadlines[:] = {one for one in self._deadlines if self.by_name[one[1]].deadline_of(one[2]) == one[0]}
        heapq.heapify(self._deadlines)
        self._deadlines_max = 2 * len(self._deadlines) + _DEADLINES_SPARE

    def due(self) -> Iterator[tuple[str, bytes]]:
        """Yield (table, key) of rows with a deadline at or before now, at most 64, in (deadline, table, key) order.

        The caller must delete each row, or move its deadline.
        """
        if not self._deadlines or self._deadlines[0][0] > self.now:
            return  # the usual case: the earliest entry is not due
        for _ in range(limits.EXPIRED_PER_EVENT_MAX):
            deadline = self.next_deadline()
            if deadline is None or deadline > self.now:
                return
            _, name, key = heapq.heappop(self._deadlines)
            yield name, key
