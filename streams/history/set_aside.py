"""Records that are not the log's, set aside by its operator: a thief of a decision key has written them.

`macaw audit foreign` finds them. A record that is set aside is still on its topic; this installation reads past it. A
list that names honest records gains nobody anything: the log then lacks entries, and every reader says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from processors.intake.identify import Received
from schemas.topics import Topic
from streams.history.records import Gone, Records

SetAside = Mapping[str, frozenset[int]]  # offsets by TOPIC/PARTITION, for example "audit/0"
NOTHING: SetAside = {}


def offsets_of(set_aside: SetAside, topic: Topic, partition: int = 0) -> frozenset[int]:
    """Return the offsets of a partition that are set aside."""
    return set_aside.get(f"{topic.name}/{partition}", frozenset())


class Without:
    """One partition without the records at some offsets; see `Records`."""

    def __init__(self, records: Records, offsets: frozenset[int]) -> None:
        self._records, self._offsets = records, offsets

    @property
    def low(self) -> int:
        """The first offset."""
        return self._records.low

    @property
    def high(self) -> int:
        """The offset behind the last record."""
        return self._records.high

    def read(self, start: int) -> Iterator[Received | Gone]:
        """Yield the records from an offset on. Raises as the partition does."""
        return (one for one in self._records.read(start) if one.offset not in self._offsets)

    def behind(self, offset: int) -> int:
        """Return the first offset after a batch that cannot be read."""
        return self._records.behind(offset)


def without(records: Records, set_aside: SetAside, topic: Topic, partition: int = 0) -> Records:
    """Return a partition without its records that are set aside."""
    offsets = offsets_of(set_aside, topic, partition)
    return Without(records, offsets) if offsets else records
