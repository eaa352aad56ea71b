"""The view of delegations, as trees: each delegation with the delegations that were made from it.

A delegation is shown until an hour after its own end, revoked or not. No delegation ends later than its parent, so a
child is never shown without its parent.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence

from schemas.changes import DelegationChanged
from schemas.codec import MalformedRecordError
from schemas.topics import OPS_DELEGATIONS, OPS_DELEGATIONS_CHANGELOG
from schemas.words import Status
from streams.views.view import ID_BYTES, JSONRow, Page, PageQuery, View, live_rows, shown_after

TREE_ROWS_MAX = 250  # per page, because a scope may be large
DEPTH_MAX = 16  # nested delegations of a page: twice the depth that the monitor allows


# `active`: neither the delegation nor one above it was revoked by name. It may still have ended, because its delegator
# has lost a session or a key since; the view of sessions shows that.
OF_DELEGATIONS = (Status.ACTIVE, Status.REVOKED, Status.ENDED)


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


def status_of(row: DelegationChanged, above: Status, now: int) -> Status:
    """Return the status of a delegation at `now`, if its parent has the status `above`."""
    if Status.REVOKED in {above, Status(row.status)}:
        return Status.REVOKED
    over = now >= row.expires_at or Status.ENDED in {above, Status(row.status)}
    return Status.ENDED if over else Status.ACTIVE


def describe(row: DelegationChanged, status: Status) -> JSONRow:
    """Return a delegation as the query API writes it."""
    return {
        "id": row.delegation.hex(),
        "parent": row.parent.hex() if row.parent is not None else None,
        "delegator": row.delegator,
        "delegate": row.delegate,
        "scope": json.loads(row.scope),
        "purpose": row.purpose,
        "status": str(status),
        "expires_at": row.expires_at,
        "changed_at": row.at,
        "audit_index": row.audit_index,
    }


DELEGATIONS = View(
    name="delegations",
    source=OPS_DELEGATIONS,
    changelog=OPS_DELEGATIONS_CHANGELOG,
    record=DelegationChanged,
    statuses=frozenset(OF_DELEGATIONS),
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
        above = Status.ACTIVE if root.parent is None else Status.ENDED
        top = describe(root, status_of(root, above, self._now))
        below: list[tuple[DelegationChanged, JSONRow]] = [(root, top)]
        room -= 1
        for _ in range(DEPTH_MAX):
            deeper: list[tuple[DelegationChanged, JSONRow]] = []
            for row, told in below:
                children = self._children.get(row.delegation, [])
                shown = children[: max(room, 0)]
                room -= len(shown)
                status = Status(str(told["status"]))
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
