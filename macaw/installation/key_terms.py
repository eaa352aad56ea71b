"""The terms of the keys that are kept here, as the log has them: which have ended, and which end soon."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from macaw.installation.decision_keys import live_on
from macaw.installation.key_names import keys_in
from producers.home.clock import clock_ms
from producers.home.home import Home, TenantHome
from producers.kafka.registry_view import RegistryView
from schemas import limits
from schemas.rows import KeyRow
from schemas.words import Role

_ABROAD = (
    "may sign this tenant's decisions, and its file is not here: copy it, or `macaw key revoke` it; if none of you has "
    "made it, an administrator's key is stolen, see docs/incidents.md"
)
WARN_BEFORE = timedelta(milliseconds=limits.KEY_END_TOLD_MS)


class Term(NamedTuple):
    """A key that is kept here, with its row on the log, None if it has none, and a warning, empty if it is fine."""

    name: str
    kid: bytes
    row: KeyRow | None
    warning: str


def terms_of(home: Home, folder: TenantHome, before: timedelta = WARN_BEFORE) -> Iterator[Term]:
    """Yield the terms of the keys here, but of sessions, which are not in the registry of keys.

    Where a decision key is kept, each live one of the tenant that is not kept here comes last, with a warning.

    Raises:
        KeyAccessError: a key file cannot be read.
        RegistryError: the registry cannot be read.
    """
    keys, now, held = folder.keys, clock_ms(), set[bytes]()
    with closing(RegistryView.of(home, folder)) as view:
        for name, path in keys_in(folder):
            if name.startswith("sessions/"):
                continue
            kid = keys.facts(path).kid
            row = view.key(kid)
            if row is not None and row.role == Role.MONITOR:
                held.add(kid)
            yield Term(name, kid, row, "" if row is None else warning_of(row, now, before))
        for kid, row in live_on(view.tables).items() if held else ():
            if kid not in held:
                yield Term(f"monitor {kid.hex()[:16]}", kid, row, _ABROAD)


def warning_of(row: KeyRow, now_ms: int, before: timedelta = WARN_BEFORE) -> str:
    """Return a warning about a key's end, empty if it is further away than `before`."""
    if row.revoked_at is not None:
        return f"was revoked at {_time(row.revoked_at)}: move its file away"
    if row.expires_at is None or row.expires_at - now_ms > before.total_seconds() * 1000:
        return ""
    if row.expires_at <= now_ms:
        return f"ended at {_time(row.expires_at)}: `macaw key rotate` or register it again, then move its file away"
    return f"ends at {_time(row.expires_at)}: rotate it before, see `macaw key rotate --help`"


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
