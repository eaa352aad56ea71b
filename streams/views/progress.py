"""How far the views are: whether they may be shown, and as of when they are the truth.

An answer names a time `as_of`; every change that was committed before it is in the answer. The views ask for the ends
of all their sources, read past them, and only then is that moment's time taken over. Offsets alone decide, never
silence: an empty table is shown only when its source is known to be empty. One readiness serves all tables, because an
answer may be made from several.
"""

from __future__ import annotations

import enum
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from schemas.errors import StoppedError

Place = tuple[str, int]  # a topic and its partition

# Between two checks a second passes, and a check may wait for a slow broker: older than this, something is wrong.
AS_OF_MS_MAX = 15_000


class Phase(enum.Enum):
    """What a views process is doing; the value is the sentence for people."""

    STARTING = "the views are connecting to the brokers"
    JOINING = "the views are joining their consumer group"
    RECOVERING = "the views are recovering their tables"
    READING = "the views are reading their sources up to now"
    FOLLOWING = "the views follow the log"


class LostRecordError(StoppedError):
    """A record that was taken from the broker never reached the table: the view would lie. Start anew."""


@dataclass(slots=True)
class Progress:
    """What was taken from the sources and is in no table yet, by partition, and the time that is vouched for."""

    phase: Phase = Phase.STARTING
    as_of: int | None = None
    poison_records: int = 0
    _unfolded: defaultdict[Place, deque[int]] = field(default_factory=lambda: defaultdict(deque))
    _target: tuple[int, Mapping[Place, int]] | None = None

    def is_ready(self, now: int) -> bool:
        """Whether the views may be shown at `now`."""
        return self.phase is Phase.FOLLOWING and self.as_of is not None and now - self.as_of <= AS_OF_MS_MAX

    def sentence(self, now: int) -> str:
        """Say why the views may not be shown. Requires `not is_ready(now)`."""
        if self.phase is Phase.FOLLOWING and self.as_of is not None:
            return f"the views have not caught up with the log for {(now - self.as_of) // 1000} s"
        return self.phase.value

    def note_pulled(self, place: Place, offsets: Iterable[int]) -> None:
        """Take note of records on their way to the table."""
        self._unfolded[place].extend(offsets)

    def note_folded(self, place: Place, offset: int) -> None:
        """Take note that the record at `offset` is in the table, or was skipped as poison.

        Raises:
            LostRecordError: an earlier one was pulled and is not.
        """
        waiting = self._unfolded[place]
        if waiting and waiting[0] < offset:
            raise LostRecordError(f"the record at {waiting[0]} of {place} was lost before {offset}")
        if waiting and waiting[0] == offset:
            waiting.popleft()

    def begin_anew(self) -> None:
        """Take note that the sources are read from their beginning: what was true before is not known now.

        What was on its way is forgotten, it comes again.
        """
        self._unfolded.clear()
        self.wait_in(Phase.READING)

    def wait_in(self, phase: Phase) -> None:
        """Take note that the views may not be shown, and why."""
        self.phase = phase
        self._target = None

    def aim(self, now: int, ends: Mapping[Place, int]) -> None:
        """Take the ends of the sources, asked for after `now`, as the next target, unless one is under way."""
        if self._target is None:
            self._target = (now, dict(ends))

    def settle(self, positions: Mapping[Place, int]) -> None:
        """Compare where the reader stands with the target; reaching it moves `as_of`.

        The position passes the marks and aborted records of transactions, which are never pulled; a pulled record
        counts when it is folded.
        """
        if self._target is None:
            return
        at, ends = self._target
        if all(positions.get(p, 0) >= end for p, end in ends.items()) and not any(self._unfolded.values()):
            self.phase, self.as_of, self._target = Phase.FOLLOWING, at, None
        elif self.phase is not Phase.FOLLOWING:
            self.phase = Phase.READING
