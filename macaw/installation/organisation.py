"""The key of an organisation: read for a founding, rotated and revoked by itself, in each of its tenants apart."""

from __future__ import annotations

import re
from pathlib import Path

from macaw.installation.key_names import ORGANISATION
from processors.identity.keys import is_live
from producers.home.clock import clock_ms
from producers.home.files import read_file
from producers.home.home import Home, HomeError, TenantHome
from producers.home.keys import KeyPair
from producers.kafka.connection import Connection
from producers.kafka.outcomes import RefusedError
from schemas.errors import InputError
from schemas.events.keys import KeyRotated
from schemas.reasons import Reason
from schemas.records import PrincipalRevoked
from schemas.words import Role

KEY_FILE_BYTES_MAX = 64 * 1024
_PUBLIC = re.compile(rb"[0-9a-fA-F]{64}")


class OrganisationError(InputError):
    """A file does not hold the key of this tenant's organisation; the message says which one is wanted."""


def public_key_in(folder: TenantHome, file: Path | None) -> bytes | None:
    """Return the public key in a file: 64 hex digits of it, or a key pair. None gives None.

    Raises:
        FileError, KeyAccessError: the file cannot be read, or holds neither.
    """
    if file is None:
        return None
    text = read_file(file, KEY_FILE_BYTES_MAX).strip()
    return bytes.fromhex(text.decode("ascii")) if _PUBLIC.fullmatch(text) else folder.keys.load(file).signing.public


def rotate_organisation(home: Home, folder: TenantHome, old: Path, new: Path, *, reason: str) -> KeyPair:
    """Put the key in `new`, which is made if it is not there, in the place of the one in `old`; keep both files.

    The old file stays because other tenants of the organisation may still know its key. A run that was interrupted is
    gone on with: a tenant that has the new key already is left as it is.

    Raises:
        OrganisationError: the key in `old` is not that of this tenant's organisation, or is over.
        RefusedError: the log refused it.
    """
    before = folder.keys.load(old)
    pair = folder.keys.load(new) if new.exists() else folder.keys.create(new, ORGANISATION, label=ORGANISATION)
    with Connection.registered(home, folder, before, ORGANISATION) as connection:
        if connection.registry.live_key(pair.kid, Role.ORGANISATION) is not None:
            return pair
        _check_live(connection, before, old)
        offer = pair.offer(Role.ORGANISATION, ORGANISATION, folder.genesis)
        try:
            connection.ask(KeyRotated(kid=before.kid, key=offer, reason=reason))
        except RefusedError as exc:
            if exc.reason != Reason.KEY_TAKEN:
                raise
            raise OrganisationError(f"{new} is in use in {folder.tenant} already: name a new file") from exc
    return pair


def revoke_organisation(home: Home, folder: TenantHome, file: Path, *, reason: str) -> None:
    """Revoke the key in a file, with that key itself. Its policies stay in force. Raises as `rotate_organisation`."""
    key = folder.keys.load(file)
    with Connection.registered(home, folder, key, ORGANISATION) as connection:
        _check_live(connection, key, file)
        connection.ask(PrincipalRevoked(principal_id=ORGANISATION, kid=key.kid, reason=reason))


def _check_live(connection: Connection, key: KeyPair, file: Path) -> None:
    connection.registry.refresh()
    row = connection.registry.key(key.kid)
    if row is None or row.role != Role.ORGANISATION:
        raise OrganisationError(
            f"{file} is not the key of this tenant's organisation: `macaw key list --from-log` shows the kid of it"
        )
    if not is_live(row, clock_ms()):
        raise HomeError(f"the key in {file} has ended here: use its successor, or let the roots name one")
