"""Administrators: keys that are offered on their owners' machines, and added and removed by the root keys."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from macaw.installation.key_names import ORGANISATION
from processors.identity.keys import is_live
from producers.home.clock import clock_ms
from producers.home.files import create_private, read_file
from producers.home.home import Home, TenantHome
from producers.kafka.registry_view import RegistryView
from schemas.errors import InputError
from schemas.events.keys import KeyOffer
from schemas.rows import KeyRow
from schemas.words import Role

OFFER_BYTES_MAX = 16 * 1024


class OfferError(InputError):
    """A file is not the offer of an administrator's key for this tenant."""


class AdminKey(NamedTuple):
    """A key of an administrator on the log."""

    kid: bytes
    row: KeyRow
    is_live: bool


def make_offer(folder: TenantHome, name: str, path: Path) -> KeyOffer:
    """Offer the key in `path` for an administrator, a new one if the file is not there yet. Raises KeyAccessError.

    Under the name of the organisation it is a key of that.
    """
    role = Role.ORGANISATION if name == ORGANISATION else Role.ADMIN
    key = folder.keys.load(path) if path.exists() else folder.keys.create(path, role)
    return key.offer(role, name, folder.genesis)


def save_offer(offer: KeyOffer, folder: TenantHome, path: Path) -> None:
    """Write an offer to a new file; nothing in it is secret. Raises FileExistsError, OSError."""
    value = {
        "macaw-admin-offer": 1,
        "tenant": folder.tenant,
        "genesis": folder.genesis.hex(),
        "principal_id": offer.principal_id,
        "ed25519": offer.ed25519.hex(),
        "x25519": offer.x25519.hex(),
        "possession": offer.possession.hex(),
    }
    create_private(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def load_offer(folder: TenantHome, path: Path) -> KeyOffer:
    """Read an offer for this tenant. Raises FileError, OfferError."""
    try:
        value = json.loads(read_file(path, OFFER_BYTES_MAX))
        if value["macaw-admin-offer"] != 1 or value["genesis"] != folder.genesis.hex():
            raise OfferError(f"{path} is an offer for another tenant, or of another version: make it anew there")
        ed25519, x25519, possession = (bytes.fromhex(value[name]) for name in ("ed25519", "x25519", "possession"))
        return KeyOffer(principal_id=str(value["principal_id"]), ed25519=ed25519, x25519=x25519, possession=possession)
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        if isinstance(exc, OfferError):
            raise
        raise OfferError(
            f"{path} is not the offer of an administrator's key: `macaw admin offer NAME --out FILE` writes one"
        ) from exc


def admins_of(home: Home, folder: TenantHome) -> list[AdminKey]:
    """Return every key of an administrator that the log has, ended ones too. Raises RegistryError."""
    with closing(RegistryView.of(home, folder)) as view:
        view.refresh()
        now, rows = clock_ms(), view.tables.keys.rows
        return [AdminKey(kid, row, is_live(row, now)) for kid, row in rows.items() if row.role == Role.ADMIN]
