"""Export: a tenant's audit log and its events, as a folder that any reader can check without a broker.

The exporter does not judge and is not trusted: `processors.evidence.verdict` checks a folder without regard to its
origin. It reads committed records of the audit topic and all records of intake, side by side, one at a time.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from processors.evidence.folder_format import ENTRIES, EVENTS, NO_EVENT, AuditRecord, is_registry_entry
from processors.evidence.packing import pack
from processors.intake.identify import Received
from processors.proof.signing import KID_HEADER, PROOF_HEADER
from processors.state.tables import Tables
from producers.home.security import UNSECURED, Security
from producers.kafka.consuming import UnreadableBatchError
from schemas.errors import StoppedError
from schemas.records import AuditEntry
from schemas.topics import AUDIT, INTAKE, REGISTRY, SESSIONS
from schemas.words import Outcome
from streams.history.folded import RuledIntake
from streams.history.kept_log import JoinedRecords, OpenArchive, kept_log
from streams.history.records import Gone, entry_in, present
from streams.history.registered import RegisteredEvents
from streams.history.set_aside import NOTHING, SetAside

FOREIGN_TOLD_MAX = 8


class ExportError(StoppedError):
    """The log is not complete, or the target folder is not empty."""


@dataclass(frozen=True, slots=True)
class Exported:
    """The result of an export: `size` audit entries, and `events_absent` of them without their event.

    `foreign` counts records of the audit topic that are not entries of this log; `foreign_at` are the first offsets.
    `gap` are the offsets of intake that neither the archive nor the brokers have.
    """

    target: Path
    size: int
    events_absent: int
    foreign: int = 0
    foreign_at: tuple[int, ...] = ()
    gap: range = range(0)


def export_audit(
    bootstrap: str,
    *,
    tenant: str,
    deployment: str,
    genesis: bytes,
    target: Path,
    archive: OpenArchive | None = None,
    security: Security = UNSECURED,
    set_aside: SetAside = NOTHING,
) -> Exported:
    """Write the tenant's log, as far as it is committed now, into a new folder.

    Events come from intake; those that it no longer has come from the archive, and those of the registry from the
    topics `registry` and `sessions`; all others count as absent. Records of the audit topic that are not entries of
    this log are left out and counted: without access rules any client can write there. The folder appears whole or not
    at all. It holds the events in clear, parameters included, and only its owner can read it.

    Raises:
        ExportError: `target` is not empty.
        PackError: there is no log, or the event of a registry entry is kept nowhere.
        TrimmedError, ArchiveGapError: the audit log has lost its beginning.
        ArchiveDiffersError: the archive is not of this log. The archive's own errors say if it is damaged.
        ReadTimeoutError: a topic could not be read to its end.
    """
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise ExportError(f"{target} exists and is not an empty folder: name a new folder")
    count = _Count()
    with kept_log(bootstrap, tenant, archive=archive, security=security, set_aside=set_aside) as kept:
        audit, intake = kept.whole(AUDIT), kept.as_kept(INTAKE)
        tables = Tables(tenant=tenant, deployment=deployment, genesis=genesis)
        events = _Events(
            RuledIntake(intake, tables, start=intake.low),
            RegisteredEvents(
                tables, lambda: [kept.live(topic, n) for topic in (REGISTRY, SESSIONS) for n in range(topic.partitions)]
            ),
        )
        origin = f"{deployment}/{tenant}"
        pairs = pair(count.entries(present(audit.read(audit.low)), origin), events)
        pieces = pack(pairs, origin=origin, tenant=tenant, genesis=genesis)
        write_folder(count.through(pieces), target)
    gap = intake.gap if isinstance(intake, JoinedRecords) else range(0)
    return Exported(target, count.size, count.events_absent, count.foreign, tuple(count.foreign_at), gap)


@dataclass(slots=True)
class _Count:
    """Counts the pieces on their way into the folder."""

    size: int = 0
    events_absent: int = 0
    foreign: int = 0
    foreign_at: list[int] = field(default_factory=list)

    def entries(self, audit: Iterable[Received], origin: str) -> Iterator[Received]:
        """Yield the records that are entries of this log. Their signatures are left to the verifier."""
        for record in audit:
            entry = entry_in(record.value)
            if entry is not None and entry.origin == origin:
                yield record
                continue
            self.foreign += 1
            if len(self.foreign_at) < FOREIGN_TOLD_MAX:
                self.foreign_at.append(record.offset)

    def through(self, pieces: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
        for name, piece in pieces:
            self.size += name == ENTRIES
            self.events_absent += name == EVENTS and piece == NO_EVENT
            yield name, piece


def pair(audit: Iterable[Received], events: _Events) -> Iterator[tuple[AuditRecord, Received | None]]:
    """Yield each audit record with the event that it names, None if that is gone. Both are in order.

    For a skipped record the event is the ruling that its entry names.
    """
    for record in audit:
        entry = entry_in(record.value)
        yield audit_record(record), None if entry is None else events.of(entry)


class _Events:
    """The events that entries name, from intake and from the registry. Requires entries in order."""

    def __init__(self, intake: RuledIntake, registered: RegisteredEvents) -> None:
        self._intake, self._registered = intake, registered

    def of(self, entry: AuditEntry) -> Received | None:
        """Return the event of an entry, None if it is kept nowhere."""
        if entry.outcome == Outcome.SKIPPED:
            ruling = self._intake.ruling_of(entry)
            return None if ruling is None else ruling.event
        found = self._on_intake(entry)
        return self._registered.of(entry) if found is None and is_registry_entry(entry) else found

    def _on_intake(self, entry: AuditEntry) -> Received | None:
        while True:
            try:
                event = self._intake.peek()
            except UnreadableBatchError as exc:
                if entry.offset <= exc.offset:
                    return None  # the monitor read it once, and it cannot be read any more
                self._intake.go_behind()
                continue
            if event is None or event.offset > entry.offset:
                return None
            self._intake.go_on()
            if event.offset == entry.offset:
                return None if isinstance(event, Gone) else event


def audit_record(record: Received) -> AuditRecord:
    """Return the parts of a record of the audit topic that an export writes."""
    kid, proof = (
        [value for n, value in record.headers if n == name and value is not None] for name in (KID_HEADER, PROOF_HEADER)
    )
    # Without exactly one of each the record is not signed: the folder still has it, and the verifier says BAD_SIG.
    return AuditRecord(record.value or b"", kid[0] if len(kid) == 1 else b"", proof[0] if len(proof) == 1 else b"")


def write_folder(pieces: Iterable[tuple[str, bytes]], target: Path) -> None:
    """Write a folder from its pieces: first beside `target`, then renamed, so that an aborted export leaves no folder.

    Raises:
        OSError: a file or folder cannot be written.
    """
    making = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    making.mkdir(parents=True, mode=0o700)
    try:
        with ExitStack() as stack:
            files: dict[str, BinaryIO] = {}
            for name, data in pieces:
                if name not in files:
                    files[name] = stack.enter_context(_create(making / name))
                files[name].write(data)
            for file in files.values():
                file.flush()
                os.fsync(file.fileno())
        making.rename(target)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise


def _create(path: Path) -> BinaryIO:
    path.parent.mkdir(exist_ok=True, mode=0o700)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
