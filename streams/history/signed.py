"""The acts of one key: every audit entry of an event that it signed."""

from __future__ import annotations

from collections.abc import Iterator

from producers.home.security import UNSECURED, Security
from schemas.records import AuditEntry
from schemas.topics import AUDIT
from streams.history.kept_log import OpenArchive, kept_log
from streams.history.records import entry_in, present
from streams.history.set_aside import NOTHING, SetAside


def signed_by(
    bootstrap: str,
    tenant: str,
    kid: str,
    *,
    archive: OpenArchive | None = None,
    security: Security = UNSECURED,
    set_aside: SetAside = NOTHING,
) -> Iterator[AuditEntry]:
    """Yield the entries whose event was signed by the key with this kid, or with one that begins so, in hex.

    Raises:
        TrimmedError, ArchiveGapError, ArchiveDiffersError: the audit log is not whole.
        ReadTimeoutError: the topic could not be read to its end.
    """
    with kept_log(bootstrap, tenant, archive=archive, security=security, set_aside=set_aside) as kept:
        audit = kept.whole(AUDIT)
        for record in present(audit.read(audit.low)):
            entry = entry_in(record.value)
            if entry is not None and entry.event_kid is not None and entry.event_kid.hex().startswith(kid):
                yield entry
