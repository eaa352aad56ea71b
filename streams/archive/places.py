"""Where an installation keeps the archives of its tenants, as config.json says.

"archive": "tenants/{tenant}/archive"      a folder; a relative path begins at .macaw
"archive": "/mnt/evidence"                 without {tenant}, each tenant has a folder of its name in it
"archive": "s3://bucket/prefix"            likewise, in an object store
"archive": "off"                           no archive
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


def open_store(home: Home, tenant: str, *, writes: bool = False) -> Store:
    """Return the store of a tenant's archive; with `writes` it is known to write over nothing.

    Raises:
        ArchivePlaceError, StoreError: it is not configured, does not answer, or writes over what it has.
    """
    place = location(home, tenant)
    if not place.startswith(S3):
        return FolderStore(Path(place))
    try:
        from streams.archive.object_store import ObjectStore
    except ImportError as exc:
        raise ArchivePlaceError("an archive in an object store needs the extra `s3`: pip install '.[s3]'") from exc
    bucket, _, prefix = place.removeprefix(S3).partition("/")
    store = ObjectStore(bucket, prefix)
    if writes:
        store.check_conditions()
    return store


def open_archive(home: Home, folder: TenantHome, *, make_keys: bool = False) -> TenantArchive:
    """Return a tenant's archive; with `make_keys` the lasting key is made if there is none.

    Raises:
        ArchivePlaceError, ArchiveKeyError, HomeError, StoreError: it is not configured, or cannot be used.
    """
    keyring = Keyring(folder.path)
    if make_keys:
        keyring.make_lasting()
    owner = keyring.owner(folder.tenant, home.deployment, folder.genesis)
    return TenantArchive(open_store(home, folder.tenant, writes=make_keys), keyring, owner)


def verified_offset(home: Home, tenant: str) -> int | None:
    """Return the intake offset below which a tenant's archive was verified, None if it has no archive.

    It is 0 for an archive that was not verified yet. A tenant that was archived once counts, even if
    config.json has no archive now.
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
