"""A whole exported log in memory, and the ways to change it that tests name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from processors.evidence.folder_format import ENTRIES, EVENTS, PROOFS, REGISTRY, EvidenceEvent, RegistryEvent
from processors.evidence.verdict import AuditVerdict, verify
from schemas import codec
from tests.reference.log_builder import FolderInMemory, build_log, tool_keys

LOG = build_log()
FOLDER = LOG.folder()
GENESIS = LOG.world.genesis
TOOL = tool_keys().signing
LAST = len(LOG.entries) - 1
CALL, REFUSED, REVOKED = 5, 11, 15
AUDIT_SCHEMA = codec.current("AuditEntry").sha256
Change = Callable[[FolderInMemory], FolderInMemory]


def judge(folder: FolderInMemory, genesis: bytes = GENESIS) -> AuditVerdict:
    return verify(folder, genesis=genesis)


def said(folder: FolderInMemory, genesis: bytes = GENESIS) -> tuple[str, int | None]:
    verdict = judge(folder, genesis)
    return verdict.code, verdict.index


def flipped(data: bytes, at: int, bit: int = 0) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1 << bit
    return bytes(changed)


def bit_in(name: str, index: int, at: int) -> Change:
    """Flip a bit of one record of a file."""

    def change(folder: FolderInMemory) -> FolderInMemory:
        items = folder.items(name)
        items[index] = flipped(items[index], at)
        return folder.put(name, items)

    return change


def items(name: str, change: Callable[[list[bytes]], list[bytes]]) -> Change:
    """Change the list of records of a file."""
    return lambda folder: folder.put(name, change(folder.items(name)))


def everywhere(change: Callable[[list[bytes]], list[bytes]]) -> Change:
    """Change the entries and, alike, what goes along with them."""

    def run(folder: FolderInMemory) -> FolderInMemory:
        for name in (ENTRIES, PROOFS, EVENTS):
            folder = folder.put(name, change(folder.items(name)))
        return folder

    return run


def rewritten(at: int, /, **changed: Any) -> Change:
    """Change fields of an entry, without the monitor."""
    data = b"AUD1" + AUDIT_SCHEMA + codec.encode(replace(LOG.entries[at], **changed))
    return items(ENTRIES, lambda entries: [*entries[:at], data, *entries[at + 1 :]])


def drop(index: int) -> Callable[[list[bytes]], list[bytes]]:
    return lambda records: records[:index] + records[index + 1 :]


def swap(index: int) -> Callable[[list[bytes]], list[bytes]]:
    return lambda r: [*r[:index], r[index + 1], r[index], *r[index + 2 :]]


def double(index: int) -> Callable[[list[bytes]], list[bytes]]:
    return lambda records: [*records[: index + 1], *records[index:]]


def cut(size: int) -> Callable[[list[bytes]], list[bytes]]:
    return lambda records: records[:size]


def appended(name: str, data: bytes) -> Change:
    return lambda folder: folder.with_file(name, folder.files[name] + data)


def registry(change: Callable[[list[RegistryEvent]], list[RegistryEvent]]) -> Change:
    def run(folder: FolderInMemory) -> FolderInMemory:
        events = [RegistryEvent.parse(item) for item in folder.items(REGISTRY)]
        return folder.put(REGISTRY, [event.encode() for event in change(events)])

    return run


def signed_event(folder: FolderInMemory, index: int) -> EvidenceEvent:
    return EvidenceEvent.parse(folder.items(EVENTS)[index][1:])
