"""Where an installation keeps the archives of its tenants: the setting `archive` of config.json.

| value | place |
|---|---|
| `tenants/{tenant}/archive` | a folder; a relative path begins at `.macaw` |
| `/mnt/evidence` | without `{tenant}`, each tenant has a folder of its name in it |
| `s3://bucket/prefix` | likewise, in an object store; of one that is not AWS, at `archive_s3_endpoint` |
| `off` | no archive |
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from processors.evidence.archive.segment import Owner
from producers.home.home import Home, TenantHome
from schemas.errors import InstallationError
from streams.archive.keyring import LASTING, Keyring
from streams.archive.marks import VERIFIED, ArchiveMark
from streams.archive.reading import ArchivedLog
from streams.archive.store import FolderStore, Store

SETTING = "archive"
DEFAULT = "tenants/{tenant}/archive"
OFF = "off"
TENANT = "{tenant}"
S3 = "s3://"
S3_ENDPOINT = "archive_s3_endpoint"


class ArchivePlaceError(InstallationError):
    """The place of the archive is not configured, or cannot be used; the message names the next step."""


@dataclass(frozen=True, slots=True)
class TenantArchive:
    """The archive of one tenant: its store, its keys, and the log that it belongs to."""

    store: Store
    keyring: Keyring
    owner: Owner

    def read(self) -> ArchivedLog:
        """Return the archive as it is now. Raises SegmentError, StoreError."""
        return ArchivedLog(self.store, self.owner, self.keyring)


def check_setting(value: str) -> None:
    """Raise ArchivePlaceError unless a text can be the setting."""
    rest = value.replace(TENANT, "")
    if (
        not value.strip()
        or "{" in rest
        or "}" in rest
        or (value.startswith(S3) and not value.removeprefix(S3).strip("/"))
    ):
        raise ArchivePlaceError(
            f"{value[:100]!r} is not the place of an archive: name a folder, s3://BUCKET/PREFIX, or {OFF!r}"
        )


def is_configured(home: Home) -> bool:
    """Return True if this installation has an archive."""
    return home.config.get(SETTING, OFF) != OFF


def location(home: Home, tenant: str) -> str:
    """Return the place of a tenant's archive: an absolute path, or an address that begins with s3://.

    Raises:
        ArchivePlaceError: there is none.
    """
    named = home.config.get(SETTING, OFF)
    if named == OFF:
        raise ArchivePlaceError(
            f"no archive is configured: run `macaw archive run`, or set `{SETTING}` in {home.path / 'config.json'} to "
            "a folder or to s3://BUCKET/PREFIX"
        )
    check_setting(named)
    place = named.replace(TENANT, tenant) if TENANT in named else f"{named.rstrip('/')}/{tenant}"
    return place if place.startswith(S3) else str(home.path / place)


def open_store(home: Home, tenant: str) -> Store:
    """Return the store of a tenant's archive. Raises ArchivePlaceError, StoreError."""
    place = location(home, tenant)
    return _s3_store(home, place) if place.startswith(S3) else FolderStore(Path(place))


def _s3_store(home: Home, place: str) -> Store:
    try:
        from streams.archive.s3 import S3Store
    except ModuleNotFoundError as exc:
        raise ArchivePlaceError(
            f"the client of object stores is not installed ({exc.name} is missing): `pip install 'macaw-streams[s3]'`"
        ) from exc
    bucket, _, prefix = place.removeprefix(S3).partition("/")
    return S3Store(bucket, prefix, endpoint=home.config.get(S3_ENDPOINT))


def open_archive(home: Home, folder: TenantHome, *, make_keys: bool = False) -> TenantArchive:
    """Return a tenant's archive; with `make_keys` the lasting key is made if there is none.

    Raises:
        ArchivePlaceError, ArchiveKeyError, HomeError, StoreError: it is not configured, or cannot be used.
    """
    keyring = Keyring(folder.path)
    if make_keys:
        keyring.make_lasting()
    owner = keyring.owner(folder.tenant, home.deployment, folder.genesis)
    return TenantArchive(open_store(home, folder.tenant), keyring, owner)


def verified_offset(home: Home, tenant: str) -> int | None:
    """Return the intake offset below which a tenant's archive was verified, None if it has no archive.

    It is 0 for an archive that was not verified yet. A tenant that was archived once counts, whatever config.json says.
    Raises MarkError.
    """
    keys = Keyring(home.path / "tenants" / tenant).path
    if not is_configured(home) and not (keys / LASTING).exists():
        return None
    mark = ArchiveMark.load(keys, VERIFIED)
    return 0 if mark is None else mark.next_offset


@contextmanager
def archived_log(home: Home, folder: TenantHome) -> Iterator[ArchivedLog | None]:
    """Give a tenant's archive as it is now, None if this installation has none.

    Raises:
        ArchiveKeyError, HomeError, StoreError, SegmentError: it cannot be read.
    """
    yield open_archive(home, folder).read() if is_configured(home) else None
