"""The faults of an archive, one code for each, and the names that segments have in a store."""

from __future__ import annotations

import re
from enum import StrEnum

from processors.text.characters import quoted
from schemas.errors import EvidenceError

NAME_DIGITS, NAME_SUFFIX = 20, ".segment"
_NAME = re.compile(rf"([0-9]{{{NAME_DIGITS}}}){re.escape(NAME_SUFFIX)}")


class ArchiveCode(StrEnum):
    """The finding about an archive as a whole; entries have the codes of `processors.evidence.entry.VerdictCode`."""

    WHOLE = "WHOLE"
    EMPTY = "EMPTY"  # there is no segment yet
    LAGS = "LAGS"  # it ends further behind the log than is allowed
    LOST_SEGMENT = "LOST_SEGMENT"
    OTHER_TENANT = "OTHER_TENANT"
    OTHER_HEAD = "OTHER_HEAD"  # a segment does not continue the one before it
    EXCHANGED = "EXCHANGED"  # a segment is sealed, and another one than the installation noted
    SWAPPED = "SWAPPED"  # a segment stands under the name of another one
    CUT = "CUT"
    TRAILING_BYTES = "TRAILING_BYTES"
    TOO_LARGE = "TOO_LARGE"
    EDITED = "EDITED"  # the bytes are not those that the archiver sealed
    WRONG_KEY = "WRONG_KEY"  # the keys of this installation are not those that sealed it
    BAD_NAME = "BAD_NAME"
    NOT_A_SEGMENT = "NOT_A_SEGMENT"  # not a regular file, or without the magic and version of a segment
    MALFORMED = "MALFORMED"
    EVENT_MISMATCH = "EVENT_MISMATCH"  # an intake record is not the one that its entry names
    OUTPUTS_MISMATCH = "OUTPUTS_MISMATCH"  # the decisions and results are not those that the entry names


class SegmentError(EvidenceError):
    """A segment is refused: `code` says why, `segment` names it, `index` is its entry at fault, or None."""

    def __init__(self, code: ArchiveCode, detail: str, *, segment: str = "", index: int | None = None) -> None:
        where = f"{segment}: " if segment else ""
        entry = "" if index is None else f" at entry {index}"
        super().__init__(f"{code}{entry}: {where}{detail}")
        self.code, self.detail, self.segment, self.index = code, detail, segment, index

    def within(self, segment: str) -> SegmentError:
        """Return the same error with the segment's name."""
        return SegmentError(self.code, self.detail, segment=segment, index=self.index)


def segment_name(first: int) -> str:
    """Return the name of the segment that begins with the entry of index `first`: only one can be stored under it."""
    return f"{first:0{NAME_DIGITS}d}{NAME_SUFFIX}"


def first_of(name: str) -> int:
    """Return the index that a segment's name says. Raises SegmentError BAD_NAME for any other name, `../` included."""
    found = _NAME.fullmatch(name)
    if found is None:
        detail = f"{quoted(name[:100])} is not the name of a segment: it must be {NAME_DIGITS} digits and {NAME_SUFFIX}"
        raise SegmentError(ArchiveCode.BAD_NAME, detail)
    return int(found[1])
