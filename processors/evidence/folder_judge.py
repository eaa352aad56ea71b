"""The judgement of a folder's entries: the registry is folded from `registry.bin`, which must fit the entries."""

from __future__ import annotations

from processors.evidence.entry import EntryJudge, EntryProgress, Fault, Item, Schemas, VerdictCode
from processors.evidence.folder_format import (
    EVENT_RECORD_BYTES_MAX,
    EvidenceEvent,
    FormatError,
    Manifest,
    RegistryEvent,
    Source,
    is_registry_entry,
)
from processors.evidence.known_keys import SESSION_KINDS
from processors.state.tables import Tables
from schemas.records import AuditEntry


class Judge(EntryJudge):
    """Judges the entries of a folder in order."""

    def __init__(self, manifest: Manifest, schemas: Schemas, registry: Source, progress: EntryProgress) -> None:
        tables = Tables(tenant=manifest.tenant, deployment=manifest.deployment, genesis=manifest.genesis)
        super().__init__(tables, schemas, progress)
        self._registry = registry
        self._registry_broken = ""
        self._next = self._read_registry()

    def _founding(self, item: Item) -> EvidenceEvent | None:
        return self._next.event if self._next is not None and self._next.index == item.index else None

    def _check_registry(self, item: Item, entry: AuditEntry, signed: EvidenceEvent | None) -> None:
        """Raise Fault unless registry.bin has the events of exactly the entries that change the registry, in order."""
        found, index = self._next, item.index
        needed = is_registry_entry(entry)
        if found is not None and (found.index < index or (found.index == index and not needed)):
            raise Fault(VerdictCode.SPLICE, index, f"registry.bin names entry {found.index}, which does not change it")
        is_here = found is not None and found.index == index
        if not needed or (signed is None and entry.kind in SESSION_KINDS and not is_here):
            return  # an absent event of a session changes nothing here: its key is unknown, or it ends as it must
        if found is None or found.index != index or signed is None:
            detail = f"registry.bin or events.bin lacks the event of this {entry.kind}"
            raise Fault(VerdictCode.PAYLOAD_MISSING, index, detail)
        if found.event != signed:
            raise Fault(VerdictCode.BAD_SIG, index, "the event in registry.bin is not the one that the entry names")
        self._fold_accepted(item, entry, signed)
        self._next = self._read_registry()

    def _read_registry(self) -> RegistryEvent | None:
        """Return the next registry event; None at the end, and if the file is broken, which `finish` reports."""
        try:
            record = self._registry.record(EVENT_RECORD_BYTES_MAX)
            return None if record is None else RegistryEvent.parse(record)
        except (EOFError, FormatError) as exc:
            self._registry_broken = str(exc)
            return None

    def finish(self) -> None:
        """Raise Fault unless registry.bin is whole and ends with the log."""
        size = self._progress.size
        if self._registry_broken:
            raise Fault(VerdictCode.MALFORMED, size, f"registry.bin: {self._registry_broken}")
        if self._next is not None:
            code = VerdictCode.TRUNCATED if self._next.index >= size else VerdictCode.SPLICE
            raise Fault(code, size, f"registry.bin names entry {self._next.index}, but the log has {size} entries")
