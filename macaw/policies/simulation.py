"""The recorded log folded again with other policies in force from the first record: the calls that would flip.

Two folds go side by side over the same records. In one the log is as it is; in the other the new documents replace the
policies that the log publishes under their ids, and rates and counts follow. Advice: nothing is written, and a call
that was denied has no recorded result, so its further effects are not known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from macaw.policies.history import History, decisions_of, fold, fold_recorded
from processors.intake.identify import Received
from processors.policy.documents import PolicyDocument
from processors.proof.signing import VerifiedHeads
from processors.state.tables import Tables
from schemas import codec
from schemas.records import Decision, Event, PolicyPublished, PolicyWithdrawn
from schemas.rows import PolicyRow


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
    """The result of a simulation. `missing` events are kept nowhere any more; their charges are not counted."""

    calls: int = 0
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


def simulate(history: History, documents: Sequence[PolicyDocument], withdrawn: Sequence[str] = ()) -> Simulated:
    """Fold a log twice and compare. Policies with the ids `withdrawn` are never in force in the second fold.

    Raises:
        HistoryError: the log cannot be folded from its beginning.
    """
    world = _World(history.tables(), documents, withdrawn)
    tables, heads, found = history.tables(), VerifiedHeads(), Simulated()
    for one in history.records:
        recorded = decisions_of(fold_recorded(tables, one, heads))
        others = world.fold(one.received, heads, recorded)
        # A call that waits in one world only ends at another record there: the first decisions are compared.
        for event in recorded.keys() & others.keys():
            ours, other = recorded[event][0], others[event]
            found.calls += 1
            before, after = _told(ours), _told(other)
            if before != after:
                of = ours.event_id, ours.audit_index, ours.decided_at, ours.principal_id, ours.resource
                found.turned.append(Turned(*of, before, after))
    found.missing = len(history.missing)
    return found


def _told(decision: Decision) -> tuple[str, str, str]:
    # A wait that differs by some ms is the same answer.
    return decision.outcome, decision.reason, decision.detail.partition(" retry_after_ms=")[0]


class _World:
    """The fold in which the new documents are in force."""

    def __init__(self, tables: Tables, documents: Sequence[PolicyDocument], withdrawn: Sequence[str]) -> None:
        self._tables = tables
        self._ours: dict[bytes, PolicyRow | None] = {
            one.policy_id.encode(): PolicyRow(document=one.canonical.decode(), digest=one.digest, extends=one.extends)
            for one in documents
        }
        self._ours |= {policy_id.encode(): None for policy_id in withdrawn}
        self._theirs: dict[bytes, PolicyRow | None] = dict.fromkeys(self._ours)  # the log's policies under these ids
        self._put(self._ours)
        tables.commit()

    def fold(
        self, received: Received, heads: VerifiedHeads, recorded: Mapping[bytes, tuple[Decision, bytes]]
    ) -> dict[bytes, Decision]:
        """Fold one record and return its decisions, by the call that each is on."""
        changes_policies = _is_of_policies(received)
        if changes_policies:  # judged with the log's policies, or a recorded publication would be a conflict
            self._put(self._theirs)
        outputs = fold(self._tables, received, heads)
        if changes_policies:
            self._theirs = {key: self._tables.policies.get(key) for key in self._ours}
            self._put(self._ours)
            self._tables.commit()
        found = decisions_of(outputs)
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

    def _put(self, rows: Mapping[bytes, PolicyRow | None]) -> None:
        policies = self._tables.policies
        for key, row in rows.items():
            if row is not None:
                policies.put(key, row)
            elif policies.get(key) is not None:
                policies.delete(key)


def _is_of_policies(received: Received) -> bool:
    try:
        schema, body = codec.unframe(received.value or b"")
        event = codec.decode(schema, body)
    except codec.SchemaError:
        return False
    return isinstance(event, Event) and isinstance(event.body, PolicyPublished | PolicyWithdrawn)
