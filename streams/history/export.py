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
from typing import Any, BinaryIO

from confluent_kafka import Message

from processors.evidence.folder_format import ENTRIES, EVENTS, NO_EVENT, AuditRecord, pack
from processors.intake.identify import Received
from processors.proof.signing import KID_HEADER, PROOF_HEADER
from processors.state.tables import Tables
from producers.home.security import UNSECURED, Security
from producers.kafka.consuming import UnreadableBatchError, headers_of
from schemas.errors import StoppedError
from schemas.records import AuditEntry
from schemas.topics import AUDIT, INTAKE
from schemas.words import Outcome
from streams.history.folded import RuledIntake, entry_in
from streams.history.partitions import whole_partition

FOREIGN_TOLD_MAX = 8


class ExportError(StoppedError):
    """The log is not complete, or the target folder is not empty."""


@dataclass(frozen=True, slots=True)
class Exported:
    """The result of an export: `size` audit entries, and `events_absent` of them without their event.

    `foreign` counts records of the audit topic that are not entries of this log; `foreign_at` are the first offsets.
    """

    target: Path
    size: int
    events_absent: int
    foreign: int = 0
    foreign_at: tuple[int, ...] = ()


def export_audit(
    bootstrap: str, *, tenant: str, deployment: str, genesis: bytes, target: Path, security: Security = UNSECURED
) -> Exported:
    """Write the tenant's log, as far as it is committed now, into a new folder.

    Records of the audit topic that are not entries of this log are left out and counted: without access rules any
    client can write there. The folder appears whole or not at all. It holds the events in clear, parameters included,
    and only its owner can read it.

    Raises:
        ExportError: `target` is not empty.
        PackError: there is no log, or the event of a registry entry is gone from intake.
        ReadTimeoutError: a topic could not be read to its end.
    """
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise ExportError(f"{target} exists and is not an empty folder: name a new folder")
    count = _Count()
    with (
        whole_partition(bootstrap, AUDIT.of(tenant), security=security) as audit,
        whole_partition(bootstrap, INTAKE.of(tenant), committed=False, security=security) as intake,
    ):
        ruled = RuledIntake(intake, Tables(tenant=tenant, deployment=deployment, genesis=genesis), start=intake.low)
        origin = f"{deployment}/{tenant}"
        pairs = pair(count.entries(audit.records, origin), ruled)
        pieces = pack(pairs, origin=origin, tenant=tenant, genesis=genesis)
        write_folder(count.through(pieces), target)
    return Exported(target, count.size, count.events_absent, count.foreign, tuple(count.foreign_at))


@dataclass(slots=True)
class _Count:
    """Counts the pieces on their way into the folder."""

    size: int = 0
    events_absent: int = 0
    foreign: int = 0
    foreign_at: list[int] = field(default_factory=list)

    def entries(self, audit: Iterable[Message], origin: str) -> Iterator[Message]:
        """Yield the records that are entries of this log. Their signatures are left to the verifier."""
        for message in audit:
            entry = entry_in(message.value())
            if entry is not None and entry.origin == origin:
                yield message
                continue
            self.foreign += 1
            if len(self.foreign_at) < FOREIGN_TOLD_MAX:
                self.foreign_at.append(message.offset() or 0)

    def through(self, pieces: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
        for name, piece in pieces:
            self.size += name == ENTRIES
            self.events_absent += name == EVENTS and piece == NO_EVENT
            yield name, piece


def pair(audit: Iterable[Message], intake: RuledIntake) -> Iterator[tuple[AuditRecord, Received | None]]:
    """Yield each audit record with the intake record that it names, None if that record is gone. Both are in order.

    For a skipped record the event is the ruling that its entry names.
    """
    for message in audit:
        entry = entry_in(message.value())
        yield audit_record(message), None if entry is None else _event_of(entry, intake)


def _event_of(entry: AuditEntry, intake: RuledIntake) -> Received | None:
    if entry.outcome == Outcome.SKIPPED:
        ruling = intake.ruling_of(entry)
        return None if ruling is None else ruling.event
    while True:
        try:
            event = intake.peek()
        except UnreadableBatchError as exc:
            if entry.offset <= exc.offset:
                return None  # the monitor read it once, and it cannot be read any more
            intake.go_behind()
            continue
        if event is None or event.offset > entry.offset:
            return None
        intake.take(None)
        if event.offset == entry.offset:
            return event


def audit_record(message: Message) -> AuditRecord:
    """Return the parts of a record of the audit topic that an export writes."""
    headers: Any = headers_of(message)
    kid, proof = ([v for n, v in headers if n == name and v is not None] for name in (KID_HEADER, PROOF_HEADER))
    # Without exactly one of each the record is not signed: the folder still has it, and the verifier says BAD_SIG.
    return AuditRecord(message.value() or b"", kid[0] if len(kid) == 1 else b"", proof[0] if len(proof) == 1 else b"")


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
