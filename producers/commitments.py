"""What a host commits beside an offset, so that whoever reads on knows as much as the one before.

Two things stand in the metadata of each commit, under the same fence as the offset itself. `since`: all decisions that
may still be followed by a second one for their call stand at this offset or later; a new owner of the partition reads
back to it and remembers them, before it executes anything. `again`: idempotent calls that were begun and have no report
yet; a new owner executes them once more. Instances keep nothing else in common: no clock, no disk.
"""

from __future__ import annotations

import logging
import re
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from producers.admission import EVENT_AGE_MS_MAX, EVENT_AHEAD_MS_MAX
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
    """A committed offset of one partition, and what stands beside it."""

    offset: int
    since: int = 0
    again: tuple[int, ...] = ()

    @property
    def metadata(self) -> str:
        """What to commit beside the offset."""
        return f"1 {self.since} {','.join(map(str, self.again))}"

    @classmethod
    def read(cls, offset: int, metadata: str | None) -> Commitment:
        """Return what was committed. Without metadata of ours nothing is redelivered, and all of the log is read back.

        A negative offset means that nothing was committed.
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
            "beside the offset %d stands nothing of a tool host: the log is read back from its beginning", offset
        )
        return cls(offset)


class Standing(Enum):
    """What a record is to the instance that reads it."""

    NEW = "nobody has committed it"
    AGAIN = "an instance that is gone has begun it and not reported"
    PAST = "it is somebody's, or was: only to be remembered"


class Share:
    """One partition as one instance serves it.

    It lives as long as the instance: what it knows stays true when the partition is somebody else's for a while. The
    host's loop calls everything here but `finished`, which any thread may.
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

    def standing(self, offset: int) -> Standing:
        """Return what the next record is. Requires that records are shown in their order."""
        if offset >= self.committed:
            self._awaited.clear()  # of those that were not met, the log has no record any more
            return Standing.NEW
        if offset not in self._awaited:
            return Standing.PAST
        self._awaited.discard(offset)
        with self._lock:
            # The partition went away and came back while the call ran: nobody is gone.
            return Standing.PAST if offset in self._running else Standing.AGAIN

    def advance(self, end: int, begun: Iterable[int], *, now: float) -> Commitment:
        """Return what to commit for having read to `end` and being about to begin these idempotent calls."""
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
        """An idempotent call has its report."""
        with self._lock:
            self._changed |= self._running.pop(offset, None) is not None

    @property
    def is_outdated(self) -> bool:
        """Whether calls that are finished still stand in what was committed."""
        return self.assigned and self._changed

    def _mark(self, offset: int, now: float) -> None:
        if not self._marks or now - self._marks[-1][0] >= MARK_SECONDS:
            self._marks.append((now, offset))
        while self._marks and now - self._marks[0][0] > REMEMBERED_SECONDS:
            self._since = max(self._since, self._marks.popleft()[1])
