"""The offline verifier: files in, one verdict out. It needs no broker, no registry, no network, and trusts no monitor.

It trusts the genesis that its caller pins, and folds the registry from there by the rules of
`processors.identity.following`, so every key is judged as it stood at that entry. The first failing index decides. The
checks of an entry, in order: schema (SCHEMA_UNKNOWN), origin (SPLICE), index (GAP if above its position, BAD_LINK if
below), prev (BAD_LINK), signature (BAD_SIG), key (KEY_NOT_VALID), and its event (BAD_SIG, PAYLOAD_MISSING).

**When an entry is judged.** A change to an entry breaks its own signature and the link of the entry after it. So that
one change has one name, an entry's own signature is judged only once its successor is known to link to it:

- a changed bit in an entry is BAD_LINK at the next index; in the last entry it is BAD_SIG at the entry itself. This
  holds also if the entry no longer decodes;
- a changed bit in its schema digest, origin, index or prev gives the code of that field's check, at the entry itself;
- if origin or index of the successor fail, the entry before it is judged first, for its index is lower.

**FORK** is a broken link, or the same index twice, between two entries that both carry a good signature of a live
monitor key. A change to a file cannot make that; only a monitor that wrote two histories can.

An entry's key must be live in the registry as it was *before* the entry's own event, so the entry that records a key's
revocation is the last that the key may sign. The founding entry alone is judged after its event, which brings the key.

**ENGINE_MISSING** is said of the first entry that this version cannot judge, because an entry before it activated an
engine that is not installed here. It is no fault of the folder: a version with that engine gives the verdict.

Digests in the manifest are compared last. They cover the bytes that no other check reads, such as the one that marks an
event as absent. They are not a signature: after cutting the tail off every file and writing a new manifest, an attacker
has a shorter log that is whole. Only a witness can tell, and therefore a log without one is UNWITNESSED, never OK.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

from processors.evidence.audit_log import AUDIT_ENTRY, read_entry
from processors.evidence.entry import EntryProgress, Judge, Schemas
from processors.evidence.folder_format import (
    DATA_FILES,
    ENTRIES,
    ENTRY_BYTES_MAX,
    EVENT_RECORD_BYTES_MAX,
    EVENTS,
    MANIFEST,
    MANIFEST_BYTES_MAX,
    PROOF_RECORD_BYTES_MAX,
    PROOFS,
    REGISTRY,
    SCHEMA_BYTES_MAX,
    Folder,
    FormatError,
    Manifest,
    Source,
    schema_file,
    seals,
)
from processors.evidence.items import Fault, Item, VerdictCode
from processors.policy.errors import RULE_ERRORS
from processors.proof import merkle
from processors.state.engines import EngineMissingError, Engines
from processors.state.tables import Tables
from processors.text.characters import quoted
from schemas import codec
from schemas.topics import is_tenant_id

__all__ = ["AuditVerdict", "VerdictCode", "verify"]

GENESIS_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditVerdict:
    """The verdict on a folder, and the part of the log that held.

    `size` entries held before the verdict and `root` is their RFC 6962 root. `events_absent` of them came without their
    event, so that only the monitor's word stands for them: its key alone is enough to write such entries. `absent`
    lists them as (first, last), at most ABSENT_RANGES_MAX ranges. `index` is None if no entry is to blame.
    """

    code: VerdictCode
    index: int | None
    detail: str
    size: int
    root: bytes
    events_absent: int
    absent: tuple[tuple[int, int], ...] = ()


def verify(folder: Folder, *, genesis: bytes, engines: Engines | None = None) -> AuditVerdict:
    """Return the verdict on a folder for the genesis that the caller pins. Requires 32 bytes.

    `engines` are the ones whose entries can be judged; without it, those of this version.

    Never raises for the contents of the files. Errors of `folder.read` pass through.
    """
    assert len(genesis) == GENESIS_BYTES
    progress = EntryProgress()
    code, index, detail = VerdictCode.UNWITNESSED, None, "whole and signed, but no witness has seen it"
    try:
        _Walk(folder, genesis, progress, engines).run()
    except Fault as fault:
        code, index, detail = fault.code, fault.index, fault.detail
    except EngineMissingError as exc:
        code, index, detail = VerdictCode.ENGINE_MISSING, progress.size, str(exc)
    except RULE_ERRORS as exc:  # here as in the fold, bytes that break a rule are refused, never passed
        code, index, detail = VerdictCode.MALFORMED, progress.size, f"a check could not be made: {type(exc).__name__}"
    return AuditVerdict(
        code=code,
        index=index,
        detail=detail,
        size=progress.size,
        root=merkle.frontier_root(progress.frontier),
        events_absent=progress.events_absent,
        absent=tuple(progress.absent),
    )


class _Walk:
    """One pass over the files of a folder."""

    def __init__(self, folder: Folder, genesis: bytes, progress: EntryProgress, engines: Engines | None) -> None:
        self._names = frozenset(folder.names())
        self._manifest = _manifest(folder, self._names, genesis)
        self._sources = {name: Source(folder.read(name)) for name in DATA_FILES}
        self._schema_digests = dict(_schemas(folder, self._names))
        self._schemas = Schemas(
            frozenset(d for d in codec.by_digest() if self._schema_digests.get(schema_file(d)) == d)
        )
        self._progress = progress
        tables = Tables(
            tenant=self._manifest.tenant, deployment=self._manifest.deployment, genesis=genesis, engines=engines
        )
        self._first_prev = tables.prev
        self._judge = Judge(tables, self._schemas, self._sources[REGISTRY], progress)
        self._end: Fault | None = None

    def run(self) -> None:
        """Raise Fault for the first failing index; return if everything holds."""
        before: Item | None = None
        count = 0
        for item in self._items():
            fault = self._misplaced(item)
            if fault is None and not self._links(before, item):
                raise self._broken_link(before, item)
            if before is not None:
                self._judge.settle(before)
            if fault is not None:
                raise self._twice(fault, before, item)
            before, count = item, item.index + 1
        if before is not None:
            self._judge.settle(before)
        self._finish(before, count)

    # --- the place of an entry ---

    def _items(self) -> Iterator[Item]:
        entries = self._sources[ENTRIES]
        proofs = iter(seals(self._sources[PROOFS], PROOF_RECORD_BYTES_MAX))
        events = iter(seals(self._sources[EVENTS], EVENT_RECORD_BYTES_MAX))
        for index in itertools.count():
            try:
                data = entries.record(ENTRY_BYTES_MAX)
            except EOFError as exc:
                code = VerdictCode.TRUNCATED if index < self._manifest.size else VerdictCode.MALFORMED
                self._end = Fault(code, index, f"entries.bin: {exc}")
                return
            except FormatError as exc:
                self._end = Fault(VerdictCode.MALFORMED, index, f"entries.bin: {exc}")
                return
            if data is None:
                return
            entry, why = read_entry(data)
            yield Item(index, data, merkle.leaf_hash(data), entry, why, next(proofs), next(events))

    def _misplaced(self, item: Item) -> Fault | None:
        """Return the fault of an entry's schema, origin or index, or None. Other bytes have none of the three."""
        if not item.is_entry_like:
            return None  # their own signature, or their successor's link, will fail
        try:
            schema = self._schemas.use(item.digest, item.index)
        except Fault as fault:
            return fault
        if schema.name != AUDIT_ENTRY:
            return Fault(VerdictCode.SCHEMA_UNKNOWN, item.index, f"{schema.name} is not the schema of an entry")
        entry = item.entry
        if entry is not None and entry.origin != self._manifest.origin:
            return Fault(
                VerdictCode.SPLICE, item.index, "the entry belongs to another log: its origin is not the manifest's"
            )
        if entry is not None and entry.index != item.index:
            code = VerdictCode.GAP if entry.index > item.index else VerdictCode.BAD_LINK
            return Fault(code, item.index, f"the entry at this position has index {entry.index}")
        return None

    def _links(self, before: Item | None, item: Item) -> bool:
        """True if an entry names the leaf of the one before; an entry that does not decode passes."""
        if item.entry is None:
            return True
        return item.entry.prev == (before.leaf if before else self._first_prev)

    def _broken_link(self, before: Item | None, item: Item) -> Fault:
        if before is not None and self._holds(before) and self._is_signed(item):
            return Fault(
                VerdictCode.FORK, item.index, "a signed entry names another signed entry before it: two histories"
            )
        return Fault(
            VerdictCode.BAD_LINK, item.index, "prev is not the leaf of the entry before: one of the two was changed"
        )

    def _twice(self, fault: Fault, before: Item | None, item: Item) -> Fault:
        """Return `fault`, or Fault FORK if the entry before has the same index, and both are signed and differ."""
        if before is None or before.entry is None or item.entry is None:
            return fault
        if item.entry.index == before.entry.index and item.leaf != before.leaf and self._is_signed(item):
            return Fault(VerdictCode.FORK, item.index, f"two signed entries of index {item.entry.index}")
        return fault

    def _holds(self, item: Item) -> bool:
        try:
            self._judge.settle(item)
        except (Fault, EngineMissingError):
            return False
        return True

    def _is_signed(self, item: Item) -> bool:
        assert item.entry is not None
        try:
            self._judge.signers.check_signature(item)
            self._judge.signers.check_key(item, item.entry)
        except Fault:
            return False
        return True

    # --- the checks after the last entry ---

    def _finish(self, last: Item | None, count: int) -> None:
        size = self._manifest.size
        if self._end is not None:
            raise self._end
        if count < size:
            raise Fault(VerdictCode.TRUNCATED, count, f"the manifest says {size} entries, the file has {count}")
        if count > size:
            raise Fault(VerdictCode.MALFORMED, size, f"the manifest says {size} entries, the file has {count}")
        self._judge.finish()
        if last is None or last.leaf != self._manifest.last:
            raise Fault(VerdictCode.BAD_LINK, size, "the last entry is not the one that the manifest names")
        for name in (PROOFS, EVENTS):
            if not self._sources[name].at_end:
                raise Fault(VerdictCode.MALFORMED, size, f"{name} goes on after the last entry")
        self._check_files()

    def _check_files(self) -> None:
        """Raise Fault MALFORMED unless the folder holds exactly the used files, with the manifest's digests."""
        want = {*DATA_FILES, *map(schema_file, self._schemas.used)}
        for what, names in (("folder", self._names - {MANIFEST}), ("manifest", self._manifest.files.keys())):
            for name in sorted(want ^ names):
                raise Fault(
                    VerdictCode.MALFORMED,
                    None,
                    f"the {what} {'lacks' if name in want else 'has unused'} {quoted(name[:100])}",
                )
        digests = {name: source.digest() for name, source in self._sources.items()} | self._schema_digests
        for name, digest in self._manifest.files.items():
            if digests[name] != digest:
                raise Fault(VerdictCode.MALFORMED, None, f"{name} does not have the SHA-256 in the manifest")


def _manifest(folder: Folder, names: frozenset[str], genesis: bytes) -> Manifest:
    """Return the manifest. Raises Fault SPLICE if its genesis is not the pinned one, else MALFORMED."""
    missing = sorted({MANIFEST, *DATA_FILES} - names)
    if missing:
        raise Fault(VerdictCode.MALFORMED, None, f"the folder has no file {missing[0]}")
    try:
        manifest = Manifest.parse(Source(folder.read(MANIFEST)).whole(MANIFEST_BYTES_MAX))
    except FormatError as exc:
        raise Fault(VerdictCode.MALFORMED, None, f"manifest.json: {exc}") from exc
    if not is_tenant_id(manifest.tenant):
        raise Fault(VerdictCode.MALFORMED, None, "manifest.json: the tenant is not a tenant id")
    if manifest.genesis != genesis:
        raise Fault(
            VerdictCode.SPLICE, None, "manifest.json: the genesis is not the pinned one, so this is another log"
        )
    return manifest


def _schemas(folder: Folder, names: frozenset[str]) -> Iterator[tuple[str, bytes]]:
    """Yield (name, digest of its bytes) for each file that has the name of a published schema."""
    for name in sorted(names & {schema_file(digest) for digest in codec.by_digest()}):
        try:
            yield name, sha256(Source(folder.read(name)).whole(SCHEMA_BYTES_MAX)).digest()
        except FormatError:
            continue  # larger than any schema: it counts as missing
