"""The view of delegations, as trees: each delegation with the delegations that were made from it.

A delegation is shown until an hour after its own end, revoked or not. No delegation ends later than its parent, so a
child is never shown without its parent.
"""

from __future__ import annotations

import enum
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence

from schemas.changes import DelegationChanged
from schemas.codec import MalformedRecordError
from schemas.topics import OPS_DELEGATIONS, OPS_DELEGATIONS_CHANGELOG
from streams.views.view import ID_BYTES, JSONRow, Page, PageQuery, View, live_rows, shown_after

TREE_ROWS_MAX = 250  # per page, because a scope may be large
DEPTH_MAX = 16  # nested delegations of a page: twice the depth that the monitor allows


class DelegationStatus(enum.Enum):
    """The status of a delegation.

    `active` means that neither the delegation nor one above it was revoked by name. It may still have ended, because
    its delegator has lost a session or a key since; the view of sessions shows that.
    """

    ACTIVE = "active"
    REVOKED = "revoked"
    ENDED = "ended"


def shown_until(row: DelegationChanged) -> int:
    """Return the time in ms from which the row is no longer shown."""
    return shown_after(row.expires_at)


def check(change: DelegationChanged) -> None:
    """Raise MalformedRecordError unless the parent is another delegation's id, and the scope is JSON."""
    if change.parent is not None and (len(change.parent) != ID_BYTES or change.parent == change.delegation):
        raise MalformedRecordError(f"the parent must be another delegation's id of {ID_BYTES} bytes")
    try:
        json.loads(change.scope)
    except (ValueError, RecursionError) as exc:
        raise MalformedRecordError("the scope is not JSON") from exc


def status_of(row: DelegationChanged, above: DelegationStatus, now: int) -> DelegationStatus:
    """Return the status of a delegation at `now`, if its parent has the status `above`."""
    if DelegationStatus.REVOKED in {above, DelegationStatus(row.status)}:
        return DelegationStatus.REVOKED
    over = now >= row.expires_at or DelegationStatus.ENDED in {above, DelegationStatus(row.status)}
    return DelegationStatus.ENDED if over else DelegationStatus.ACTIVE


def describe(row: DelegationChanged, status: DelegationStatus) -> JSONRow:
    """Return a delegation as the query API writes it."""
    return {
        "id": row.delegation.hex(),
        "parent": row.parent.hex() if row.parent is not None else None,
        "delegator": row.delegator,
        "delegate": row.delegate,
        "scope": json.loads(row.scope),
        "purpose": row.purpose,
        "status": status.value,
        "expires_at": row.expires_at,
        "changed_at": row.at,
        "audit_index": row.audit_index,
    }


DELEGATIONS = View(
    name="delegations",
    source=OPS_DELEGATIONS,
    changelog=OPS_DELEGATIONS_CHANGELOG,
    record=DelegationChanged,
    statuses=frozenset(status.value for status in DelegationStatus),
    id_of=lambda change: change.delegation,
    shown_until=shown_until,
    check=check,
)


# ---- trees


def select_trees(rows: Mapping[bytes, bytes], question: PageQuery, now: int, member: str = "") -> Page:
    """Return a page of a tenant's trees in the order of their roots, each delegation with its `children`.

    With `member`, only trees with a delegation from or to this principal. A page holds at most `limit` trees and about
    TREE_ROWS_MAX delegations; if a tree is cut, `children_left_out` counts the children that are missing.
    """
    tree = _Trees(rows, question.tenant, now)
    found: list[JSONRow] = []
    last, room = question.after, TREE_ROWS_MAX
    for root in tree.roots:
        if root.delegation.hex() <= question.after or (member and not tree.names(root, member)):
            continue
        if len(found) == question.limit or room <= 0:
            return Page(tuple(found), last)
        grown = tree.grown(root, room)
        room -= _count(grown)
        found.append(grown)
        last = root.delegation.hex()
    return Page(tuple(found), None)


class _Trees:
    """The delegations of one tenant at one moment, by their parent."""

    def __init__(self, rows: Mapping[bytes, bytes], tenant: str, now: int) -> None:
        self._now = now
        every = {
            row.delegation: row
            for _, row in live_rows(DELEGATIONS, rows, PageQuery(tenant=tenant), now)
            if row is not None
        }
        self._children: defaultdict[bytes, list[DelegationChanged]] = defaultdict(list)
        self.roots: list[DelegationChanged] = []
        for row in every.values():
            if row.parent is None or row.parent not in every:
                self.roots.append(row)
            else:
                self._children[row.parent].append(row)

    def names(self, root: DelegationChanged, member: str) -> bool:
        """True if a principal is delegator or delegate anywhere in a tree."""
        below: Sequence[DelegationChanged] = [root]
        for _ in range(DEPTH_MAX):
            if any(member in {row.delegator, row.delegate} for row in below):
                return True
            below = [child for row in below for child in self._children.get(row.delegation, ())]
        return False

    def grown(self, root: DelegationChanged, room: int) -> JSONRow:
        """Return a tree of at most `room` delegations; those near the root come first."""
        # A root with a parent has lost that parent here, so its status is not known to be active.
        above = DelegationStatus.ACTIVE if root.parent is None else DelegationStatus.ENDED
        top = describe(root, status_of(root, above, self._now))
        below: list[tuple[DelegationChanged, JSONRow]] = [(root, top)]
        room -= 1
        for _ in range(DEPTH_MAX):
            deeper: list[tuple[DelegationChanged, JSONRow]] = []
            for row, told in below:
                children = self._children.get(row.delegation, [])
                shown = children[: max(room, 0)]
                room -= len(shown)
                status = DelegationStatus(told["status"])
                made = [(child, describe(child, status_of(child, status, self._now))) for child in shown]
                told["children"] = [one for _, one in made]
                if len(shown) < len(children):
                    told["children_left_out"] = len(children) - len(shown)
                deeper += made
            below = deeper
        return top


def _count(tree: JSONRow) -> int:
    children = tree.get("children", [])
    assert isinstance(children, list)
    return 1 + sum(_count(child) for child in children)
