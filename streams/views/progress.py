"""How far the views are: whether they may be shown, and the time up to which they are complete.

An answer names a time `as_of`; it contains every change that was committed before that time. The views ask for the ends
of all their sources at a moment, read past these ends, and then `as_of` becomes that moment. Only offsets decide this,
never a lack of records: an empty table is shown only if its source is known to be empty. All tables are ready together,
because an answer may come from several.

    10:00:05   ends of the sources asked for: sessions/0 ends at 120        as_of is 10:00:04
    10:00:06   position of sessions/0 is 121, but record 118 is not folded  as_of stays 10:00:04
    10:00:07   position 121, and every pulled record is folded              as_of becomes 10:00:05
"""

from __future__ import annotations

import enum
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from schemas.errors import StoppedError

Place = tuple[str, int]  # a topic and its partition

# A check runs every second and may wait for a slow broker. An older `as_of` means that something is wrong.
AS_OF_MS_MAX = 15_000


class Phase(enum.Enum):
    """The present activity of a views process; the value is the sentence for people."""

    STARTING = "the views are connecting to the brokers"
    JOINING = "the views are joining their consumer group"
    RECOVERING = "the views are recovering their tables"
    READING = "the views are reading their sources up to now"
    FOLLOWING = "the views follow the log"


class LostRecordError(StoppedError):
    """A pulled record did not reach the table, so the view would be wrong. The process must start again."""


@dataclass(slots=True)
class Progress:
    """The phase of the views, the time `as_of` in ms, and the pulled records that are not folded yet, by partition.

    `readings` counts how often the sources were read from their beginning.
    """

    phase: Phase = Phase.STARTING
    as_of: int | None = None
    poison_records: int = 0
    readings: int = 0
    _unfolded: defaultdict[Place, deque[int]] = field(default_factory=lambda: defaultdict(deque))
    _target: tuple[int, Mapping[Place, int]] | None = None

    def is_ready(self, now: int) -> bool:
        """True if the views may be shown at `now`."""
        return self.phase is Phase.FOLLOWING and self.as_of is not None and now - self.as_of <= AS_OF_MS_MAX

    def sentence(self, now: int) -> str:
        """Return the reason why the views may not be shown. Requires `not is_ready(now)`."""
        if self.phase is Phase.FOLLOWING and self.as_of is not None:
            return f"the views have not caught up with the log for {(now - self.as_of) // 1000} s"
        return self.phase.value

    def note_pulled(self, place: Place, offsets: Iterable[int]) -> None:
        """Take note of records on their way to the table."""
        self._unfolded[place].extend(offsets)

    def note_folded(self, place: Place, offset: int) -> None:
        """Take note that the record at `offset` is in the table, or was skipped as poison.

        Raises:
            LostRecordError: an earlier record was pulled and is not in the table.
        """
        waiting = self._unfolded[place]
        if waiting and waiting[0] < offset:
            raise LostRecordError(
                f"the record at offset {waiting[0]} of {place} was pulled and not folded before offset {offset}"
            )
        if waiting and waiting[0] == offset:
            waiting.popleft()

    def begin_anew(self) -> None:
        """Take note that the sources are read from their beginning; the views are not ready until they are read.

        Records on their way to the table are forgotten, because they are pulled again.
        """
        self._unfolded.clear()
        self.readings += 1
        self.wait_in(Phase.READING)

    def wait_in(self, phase: Phase) -> None:
        """Take note that the views may not be shown, and why."""
        self.phase = phase
        self._target = None

    def aim(self, now: int, ends: Mapping[Place, int]) -> None:
        """Make the ends of the sources, which were asked for after `now`, the next target, if there is none."""
        if self._target is None:
            self._target = (now, dict(ends))

    def settle(self, positions: Mapping[Place, int]) -> None:
        """Compare the positions of the reader with the target; if it is reached, `as_of` moves to its time.

        A position passes the markers and aborted records of transactions, which are never pulled. A pulled record
        counts when it is folded.
        """
        if self._target is None:
            return
        at, ends = self._target
        if all(positions.get(p, 0) >= end for p, end in ends.items()) and not any(self._unfolded.values()):
            self.phase, self.as_of, self._target = Phase.FOLLOWING, at, None
        elif self.phase is not Phase.FOLLOWING:
            self.phase = Phase.READING
