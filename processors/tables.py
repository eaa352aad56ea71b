"""The state of one tenant: typed tables, a journal to undo with, and deadlines.

The step reads and writes rows here and nowhere else. Every write notes what it replaced: a record that is refused is
undone to its savepoint, a transaction that aborts is undone whole, and one that commits hands its changes over as
values. Tables hold what the log says; they can always be rebuilt from it.
"""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Generic, TypeVar

from processors.policy.rates import idle_at
from schemas import limits
from schemas.rows import (
    AttestationRow,
    CallRow,
    DelegationRow,
    GrantRow,
    KeyRow,
    PendingRow,
    PersonRow,
    PolicyRow,
    PrincipalRow,
    PromptRow,
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
)

R = TypeVar("R")
D = TypeVar("D")
_Undo = tuple["Table[Any]", bytes, Any]
Change = tuple[str, bytes, Any]
Groups = Callable[[R], tuple[Hashable, ...]]

SINGLETON = b"-"  # the key of a table's only row
OPEN = "open"  # the group of all requests that may still be approved
OVER = "over"  # with an event's leaf: the group of what it asked for and has its answer
AUDIT_GENESIS_TAG = b"macaw/audit/v1\n"
_DEADLINES_SPARE = 4096


class Table(Generic[R]):
    """Rows of one kind by key. A row with a deadline leaves when log time reaches it.

    Rows can be found by the groups they are in, their keys in order; `weight` is the sum of what rows weigh, and
    `weight_of` that of a group. All follow every write and every undoing, so they are never stored.
    """

    __slots__ = (
        "_deadline",
        "_deadlines",
        "_groups",
        "_groups_of",
        "_journal",
        "_weigh",
        "_weights",
        "name",
        "rows",
        "version",
        "weight",
    )

    def __init__(
        self,
        name: str,
        journal: list[_Undo],
        deadlines: list[tuple[int, str, bytes]],
        deadline: Callable[[R], int] | None = None,
        *,
        groups: Groups[R] | None = None,
        weigh: Callable[[R], int] | None = None,
    ) -> None:
        self.name = name
        self.rows: dict[bytes, R] = {}
        self.version = 0  # changes with every write, undone ones included: what is derived from rows goes stale
        self._journal = journal
        self._deadlines = deadlines
        self._deadline = deadline
        self._groups_of = groups
        self._groups: dict[Hashable, list[bytes]] = {}
        self._weigh = weigh
        self._weights: dict[Hashable, int] = {}
        self.weight = 0

    def __len__(self) -> int:
        return len(self.rows)

    def get(self, key: bytes) -> R | None:
        return self.rows.get(key)

    def of(self, group: Hashable) -> Sequence[bytes]:
        """Return the keys of a group's rows, in order. Requires that the caller writes nothing while it reads."""
        return self._groups.get(group, ())

    def weight_of(self, group: Hashable) -> int:
        """Return what a group's rows weigh."""
        return self._weights.get(group, 0)

    def put(self, key: bytes, row: R) -> None:
        self._journal.append((self, key, self.rows.get(key)))
        self._set(key, row)

    def delete(self, key: bytes) -> None:
        self._journal.append((self, key, self.rows[key]))
        self._remove(key)

    def restore(self, key: bytes, row: R | None) -> None:
        """Set or remove a row without a trace: for undoing, and for a restart from the changelog."""
        if row is None:
            self._remove(key)
        else:
            self._set(key, row)

    def deadline_of(self, key: bytes) -> int | None:
        """Return when the row leaves, or None where there is no such row."""
        row = self.rows.get(key)
        return None if row is None or self._deadline is None else self._deadline(row)

    def _set(self, key: bytes, row: R) -> None:
        before = self.rows.get(key)
        if self._groups_of is not None or self._weigh is not None:
            self._derive(key, before, row)
        self.rows[key] = row
        self.version += 1
        # A row that only counts on keeps its place: else each use of what lasts a day would be remembered for a day.
        if self._deadline is not None and (before is None or self._deadline(before) != self._deadline(row)):
            deadline = self._deadline(row)
            if deadline < limits.FOR_EVER_MS:
                heapq.heappush(self._deadlines, (deadline, self.name, key))

    def _remove(self, key: bytes) -> None:
        row = self.rows.pop(key, None)
        self.version += 1
        if self._groups_of is not None or self._weigh is not None:
            self._derive(key, row, None)

    def _derive(self, key: bytes, before: R | None, after: R | None) -> None:
        """Let the groups and the weights follow a row's change."""
        old = () if before is None or self._groups_of is None else self._groups_of(before)
        new = () if after is None or self._groups_of is None else self._groups_of(after)
        if self._weigh is not None:
            self._shift(old, 0 if before is None else -self._weigh(before))
            self._shift(new, 0 if after is None else self._weigh(after))
        if old == new:
            return
        for group in old:
            keys = self._groups[group]
            del keys[bisect.bisect_left(keys, key)]
            if not keys:
                del self._groups[group]
        for group in new:
            bisect.insort(self._groups.setdefault(group, []), key)

    def _shift(self, groups: Sequence[Hashable], weight: int) -> None:
        self.weight += weight
        for group in groups:
            shifted = self._weights.get(group, 0) + weight
            if shifted:
                self._weights[group] = shifted
            else:
                self._weights.pop(group, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantLimits:
    """Bounds that a tenant's own events may tighten later; the defaults are the system's."""

    output_payload_bytes: int = limits.OUTPUT_PAYLOAD_BYTES_MAX
    keys: int = limits.KEYS_MAX
    sessions: int = limits.SESSIONS_MAX
    persons: int = limits.PERSONS_MAX
    pending_calls: int = limits.PENDING_CALLS_MAX
    policies: int = limits.POLICIES_MAX
    attestations: int = limits.ATTESTATIONS_MAX
    pending_bytes: int = limits.PENDING_BYTES_MAX
    grants: int = limits.GRANTS_MAX
    delegations: int = limits.DELEGATIONS_MAX
    vault_keys: int = limits.VAULT_KEYS_MAX
    vault_bytes: int = limits.VAULT_BYTES_MAX
    prompts: int = limits.PROMPTS_MAX


def _groups_of_request(row: RequestRow) -> tuple[Hashable, ...]:
    return ((OVER, row.event),) if row.closed else (OPEN, row.requester, row.event)


class Tables:
    """All state of one tenant's fold, with the tail of its audit log."""

    def __init__(self, *, tenant: str, deployment: str, genesis: bytes, bounds: TenantLimits | None = None) -> None:
        self.tenant_id = tenant
        self.origin = f"{deployment}/{tenant}"
        self.genesis = genesis
        self.limits = bounds or TenantLimits()
        self._journal: list[_Undo] = []
        self._deadlines: list[tuple[int, str, bytes]] = []
        self.tenant: Table[TenantRow] = self._table("tenant")
        self.keys: Table[KeyRow] = self._table("keys")
        self.principals: Table[PrincipalRow] = self._table("principals")
        self.resources: Table[ResourceRow] = self._table("resources")
        self.policies: Table[PolicyRow] = self._table("policies")
        self.sessions: Table[SessionRow] = self._table(
            "sessions", lambda s: s.expires_at + limits.SESSION_LINGER_MS, groups=lambda s: (s.principal_id,)
        )
        self.persons: Table[PersonRow] = self._table("persons", lambda p: p.until)
        self.sequences: Table[SequenceRow] = self._table("sequences")
        self.calls: Table[CallRow] = self._table("calls", lambda c: c.unknown_at, groups=lambda c: (c.event,))
        # Workflow state: what was attested and approved, remembered, handed on, and derived.
        self.attestations: Table[AttestationRow] = self._table(
            "attestations", lambda a: a.until, groups=lambda a: (a.session_id, (a.session_id, a.key))
        )
        self.requests: Table[RequestRow] = self._table(
            "requests",
            lambda r: r.until,
            groups=_groups_of_request,
            weigh=lambda r: len(r.call.event),
        )
        self.pending: Table[PendingRow] = self._table(
            "pending", lambda p: p.deadline, groups=lambda p: (p.session_id,), weigh=lambda p: len(p.call.event)
        )
        self.grants: Table[GrantRow] = self._table("grants", lambda g: g.until)
        self.delegations: Table[DelegationRow] = self._table(
            "delegations",
            lambda d: d.until,
            groups=lambda d: (("by", d.delegator), ("to", d.delegate), ("through", d.opened_by)),
        )
        self.scopes: Table[VaultScopeRow] = self._table("scopes", lambda s: s.until)
        self.vault: Table[VaultRow] = self._table(
            "vault",
            lambda v: v.until,
            groups=lambda v: (v.scope, ("by", v.author)),
            weigh=lambda v: len(v.value.encode()),
        )
        self.prompts: Table[PromptRow] = self._table("prompts", lambda p: p.until)
        self.buckets: Table[RateBucketRow] = self._table("buckets", lambda b: idle_at(b.arrival))
        self.cells: Table[RuleCellRow] = self._table("cells", lambda c: c.until)
        self.rulings: Table[RulingRow] = self._table("rulings", lambda r: r.until)
        self.by_name: dict[str, Table[Any]] = {t.name: t for t in vars(self).values() if isinstance(t, Table)}
        # The tail of the audit log: what the next entry links to.
        self.next_index = 0
        self.prev = sha256(AUDIT_GENESIS_TAG + genesis).digest()
        self.now = 0
        self._tail = self._prepared_tail = (self.next_index, self.prev, self.now)
        self._prepared = 0  # how much of the journal belongs to the transaction that is being committed
        self._derived: dict[str, tuple[int, Any]] = {}
        self._deadlines_max = _DEADLINES_SPARE

    def _table(
        self,
        name: str,
        deadline: Callable[[Any], int] | None = None,
        *,
        groups: Groups[Any] | None = None,
        weigh: Callable[[Any], int] | None = None,
    ) -> Table[Any]:
        return Table(name, self._journal, self._deadlines, deadline, groups=groups, weigh=weigh)

    def derived(self, table: Table[R], build: Callable[[dict[bytes, R]], D]) -> D:
        """Return `build(rows)`, made again only after the table has changed. One builder for each table."""
        version, value = self._derived.get(table.name, (-1, None))
        if version != table.version:
            value = build(table.rows)
            self._derived[table.name] = (table.version, value)
        return value  # type: ignore[no-any-return]

    # --- transactions ---

    def savepoint(self) -> int:
        """Return a mark to undo to."""
        return len(self._journal)

    def undo_to(self, mark: int) -> None:
        """Take back every write since `mark`, newest first."""
        while len(self._journal) > mark:
            table, key, before = self._journal.pop()
            table.restore(key, before)

    def rollback(self) -> None:
        """Take back everything that is not committed: a transaction was aborted, and what came after stood on it."""
        self.undo_to(0)
        self._prepared = 0
        self.next_index, self.prev, self.now = self._tail

    def changes(self) -> Iterator[Change]:
        """Yield (table, key, row or None) once for each row changed since the last `prepare` or `commit`."""
        seen: set[tuple[str, bytes]] = set()
        for table, key, _ in self._journal[self._prepared :]:
            if (table.name, key) not in seen:
                seen.add((table.name, key))
                yield table.name, key, table.rows.get(key)

    def prepare(self) -> None:
        """Put the writes up to now into a transaction. Later ones stand on it, and belong to the next."""
        self._prepared = len(self._journal)
        self._prepared_tail = (self.next_index, self.prev, self.now)

    def commit_prepared(self) -> None:
        """Make the prepared writes final: their transaction was committed."""
        del self._journal[: self._prepared]
        self._prepared = 0
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
        """Return the earliest deadline of a row that is still there."""
        heap = self._deadlines
        while heap:
            deadline, name, key = heap[0]
            if self.by_name[name].deadline_of(key) == deadline:
                return deadline
            heapq.heappop(heap)  # the row has left or moved its deadline
        return None

    def _forget_moved_deadlines(self) -> None:
        """Drop what no row has for its deadline any more: each time that a row is moved on leaves such a place behind.

        The next time is when as many have come as there are now: a write costs the same however many rows stand.
        """
        self._deadlines[:] = {one for one in self._deadlines if self.by_name[one[1]].deadline_of(one[2]) == one[0]}
        heapq.heapify(self._deadlines)
        self._deadlines_max = 2 * len(self._deadlines) + _DEADLINES_SPARE

    def due(self) -> Iterator[tuple[str, bytes]]:
        """Yield (table, key) of rows whose deadline is at or before now, at most 64, in (deadline, table, key) order.

        The caller deletes each row that it is given.
        """
        if not self._deadlines or self._deadlines[0][0] > self.now:
            return  # the usual case: the earliest, of a row that may have left already, is not due
        for _ in range(limits.EXPIRED_PER_EVENT_MAX):
            deadline = self.next_deadline()
            if deadline is None or deadline > self.now:
                return
            _, name, key = heapq.heappop(self._deadlines)
            yield name, key
