"""The metadata that a host commits beside an offset, so that the next owner of the partition knows as much as the last.

Two things stand in the metadata of each commit, under the same fence as the offset itself. `since`: every decision that
may still be followed by a second one for its call stands at this offset or later; a new owner of the partition reads
back to it and remembers them before it executes anything. `again`: offsets of idempotent calls that were begun and have
no report yet; a new owner executes them once more. Instances share nothing else: no clock, no disk.
"""

from __future__ import annotations

import logging
import re
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from producers.tools.admission import EVENT_AGE_MS_MAX, EVENT_AHEAD_MS_MAX
from schemas import limits

log = logging.getLogger(__name__)

# An event may be admitted over this time, by hosts whose clocks differ; then any second decision comes too late.
REMEMBERED_SECONDS = (EVENT_AGE_MS_MAX + EVENT_AHEAD_MS_MAX + 60_000) / 1000
MARK_SECONDS = 15.0
AGAIN_SECONDS = (limits.EXECUTE_WITHIN_MS + 60_000) / 1000  # after that a redelivered call would be refused as too late
AGAIN_MAX = 128  # keeps the metadata below the 4096 bytes that a broker takes; of more, the last are not redelivered

_METADATA = re.compile(r"1 (\d{1,19}) ((?:\d{1,19}(?:,\d{1,19})*)?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Commitment:
    """A committed offset of one partition, and the metadata beside it."""

    offset: int
    since: int = 0
    again: tuple[int, ...] = ()

    @property
    def metadata(self) -> str:
        """The text to commit beside the offset."""
        return f"1 {self.since} {','.join(map(str, self.again))}"

    @classmethod
    def read(cls, offset: int, metadata: str | None) -> Commitment:
        """Return a commitment as it was committed; a negative offset means that there is none.

        Without metadata of a tool host no call is executed again, and the whole log is read back.
        """
        if offset < 0:
            return cls(0)
        found = _METADATA.fullmatch(metadata or "")
        if found is not None:
            since, listed = int(found[1]), found[2]
            again = tuple(int(n) for n in listed.split(",")) if listed else ()
            if since <= offset and len(again) <= AGAIN_MAX and all(n < offset for n in again):
                return cls(offset, since, again)
        log.warning(
            "the offset %d has no metadata of a tool host: the partition is read back from its beginning", offset
        )
        return cls(offset)


class Ownership(Enum):
    """Whether a record is this instance's to execute."""

    NEW = "no instance has committed it"
    AGAIN = "an instance that is gone has begun it and not reported"
    PAST = "an instance has committed it: remember it, never execute it"


class Share:
    """One partition as one instance serves it.

    It lives as long as the instance: its knowledge stays true while another instance owns the partition for a while.
    The host's loop calls everything here but `finished`, which any thread may call.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[int, float] = {}  # idempotent calls of this instance by offset, with when they are let go
        self._awaited: set[int] = set()  # those of an instance that is gone, until they were read
        self._marks: deque[tuple[float, int]] = deque()  # (when, offset): all below was committed then
        self._since = 0
        self._known_to = 0
        self._changed = False
        self.committed = 0
        self.assigned = False

    def resume(self, found: Commitment, *, now: float) -> int:
        """Serve the partition from here on, and return the offset from which to read."""
        self.committed, self.assigned, self._awaited = found.offset, True, set(found.again)
        self._since = max(self._since, found.since)
        self._mark(found.offset, now)
        self._changed = False
        return min(found.offset, max(self._since, self._known_to), *found.again)

    def ownership(self, offset: int) -> Ownership:
        """Return the ownership of the next record. Requires that records are passed in their order."""
        if offset >= self.committed:
            self._awaited.clear()  # the log does not hold the rest any more
            return Ownership.NEW
        if offset not in self._awaited:
            return Ownership.PAST
        self._awaited.discard(offset)
        with self._lock:
            # The partition went away and came back while the call ran: no instance is gone.
            return Ownership.PAST if offset in self._running else Ownership.AGAIN

    def advance(self, end: int, begun: Iterable[int], *, now: float) -> Commitment:
        """Return the commitment for having read to `end`, with the idempotent calls `begun` about to begin."""
        with self._lock:
            self._changed = False
            for offset in [n for n, until in self._running.items() if until < now]:
                del self._running[offset]
            again = sorted({*self._running, *self._awaited, *begun})
        return Commitment(end, min(self._since, end), tuple(again[:AGAIN_MAX]))

    def accept(self, commitment: Commitment, *, now: float) -> None:
        """Take note that the broker took a commitment."""
        self.committed = commitment.offset
        self._mark(commitment.offset, now)

    def begin(self, offset: int, *, now: float) -> None:
        """Take note that an idempotent call begins."""
        with self._lock:
            self._running[offset] = now + AGAIN_SECONDS

    def remember(self, end: int) -> None:
        """Take note that all decisions below `end` are in this instance's durable set."""
        self._known_to = max(self._known_to, end)

    def finished(self, offset: int) -> None:
        """Take note that an idempotent call has its report."""
        with self._lock:
            self._changed |= self._running.pop(offset, None) is not None

    @property
    def is_outdated(self) -> bool:
        """Whether the last commitment still lists calls that are finished."""
        return self.assigned and self._changed

    def _mark(self, offset: int, now: float) -> None:
        if not self._marks or now - self._marks[-1][0] >= MARK_SECONDS:
            self._marks.append((now, offset))
        while self._marks and now - self._marks[0][0] > REMEMBERED_SECONDS:
            self._since = max(self._since, self._marks.popleft()[1])
