"""The verdicts, the faults that lead to them, and the content of the files at one position of a log."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from processors.evidence.audit_log import ENTRY_MAGIC
from schemas.records import AuditEntry


class VerdictCode(StrEnum):
    """The verdict on a folder. UNWITNESSED is the best that is given today; each code below it names a fault."""

    OK = "OK"  # not given yet: it needs a checkpoint and a witness
    UNWITNESSED = "UNWITNESSED"
    TRUNCATED = "TRUNCATED"
    GAP = "GAP"
    FORK = "FORK"
    BAD_LINK = "BAD_LINK"
    BAD_SIG = "BAD_SIG"
    KEY_NOT_VALID = "KEY_NOT_VALID"
    SPLICE = "SPLICE"
    PAYLOAD_MISSING = "PAYLOAD_MISSING"
    SCHEMA_UNKNOWN = "SCHEMA_UNKNOWN"
    ENGINE_MISSING = "ENGINE_MISSING"  # not a fault of the folder: this version cannot judge the entries from here on
    MALFORMED = "MALFORMED"  # a file does not have its form, or not the digest in the manifest


class Fault(Exception):  # noqa: N818 - a verdict on its way up
    """A folder fails with this code at this index; None if no entry is to blame."""

    def __init__(self, code: VerdictCode, index: int | None, detail: str) -> None:
        super().__init__(code, index, detail)
        self.code, self.index, self.detail = code, index, detail


@dataclass(frozen=True, slots=True)
class Item:
    """The content of the files at one position. `entry` is None if the bytes are not an entry; `why` is the reason."""

    index: int
    data: bytes
    leaf: bytes
    entry: AuditEntry | None
    why: str
    seal: bytes | None
    event: bytes | None

    @property
    def digest(self) -> bytes:
        """The schema digest that the entry names."""
        return self.data[4:36]

    @property
    def is_entry_like(self) -> bool:
        """True if the bytes begin as an entry does. The magic is not under the monitor's signature."""
        return len(self.data) >= 36 and self.data[:4] == ENTRY_MAGIC
