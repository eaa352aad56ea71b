"""The attestations of a case at the time of its call, with the uses that earlier calls made of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from macaw.policies.case_files import Case, CaseFileError
from processors.policy.attestations import Use
from processors.policy.errors import PolicyError
from processors.policy.evaluation import Approval, Approver, Record
from processors.policy.names import known_as
from processors.policy.times import parse_time
from schemas.words import Status


def ms(text: str) -> int:
    """Return a time of a case in ms. Raises CaseFileError."""
    try:
        return parse_time(text, "")
    except PolicyError as exc:
        raise CaseFileError(f"not an RFC 3339 time with seconds and a zone: {text!r}") from exc


@dataclass(slots=True)
class CaseAttestations:
    """The attestations of a case, as a decision reads them."""

    rows: Sequence[Case]
    requesters: frozenset[str] = frozenset()
    waiting: int = 0
    used: dict[int, int] = field(default_factory=dict)

    def records(self, key: str) -> list[Record]:
        """Return the attestations under `key` that tools and the bridge set."""
        return [
            Record(
                position=at,
                set_at=ms(row["at"]),
                setter=row.get("setter", ""),
                expires_at=_ends(row),
                max_uses=row.get("max_uses"),
                one_time=row.get("one_time", False),
                uses=self._uses(at, row),
                revoked=row.get("revoked", False),
            )
            for at, row in self._rows(key, external=False)
        ]

    def approvals(self, key: str) -> list[Approval]:
        """Return the approvals and denials under `key` that people gave."""
        return [
            Approval(
                position=at,
                at=ms(row["at"]),
                bound=row.get("bound", False),
                approvers=tuple(self._approvers(row)),
                denied=row["status"] == Status.DENIED,
                revoked=row.get("revoked", False),
                uses=self._uses(at, row),
                expires_at=_ends(row),
                max_uses=1 if row.get("one_time", False) else row.get("max_uses"),  # approvals have no other mark
            )
            for at, row in self._rows(key, external=True)
        ]

    def open_requests(self) -> int:
        """Return how many approvals the requester waits for."""
        return self.waiting

    def count(self, uses: Iterable[Use]) -> None:
        """Note that a call used some of them."""
        for use in uses:
            self.used[use.position] = self.used.get(use.position, 0) + 1

    def _approvers(self, row: Case) -> Iterator[Approver]:
        by = (one for one in row.get("by", ()) if known_as(one["user"]) not in self.requesters)
        return (Approver(one["user"], frozenset(one["is"])) for one in by)

    def _rows(self, key: str, *, external: bool) -> Iterator[tuple[int, Case]]:
        found = ((at, row) for at, row in enumerate(self.rows) if row["key"] == key)
        return ((at, row) for at, row in found if ("status" in row) is external)

    def _uses(self, at: int, row: Case) -> int:
        return int(row.get("uses", 0)) + self.used.get(at, 0)


def _ends(row: Case) -> int | None:
    return ms(row["at"]) + 1000 * int(row["time_to_live"]) if "time_to_live" in row else None
