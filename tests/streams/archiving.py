"""Archiving a tenant on a broker in small segments, once."""

from __future__ import annotations

from producers.home.home import Home, TenantHome
from streams.archive.archiver import Archiver
from streams.archive.log_source import Consumers
from streams.archive.places import open_archive

SEGMENT_ENTRIES = 16


def archive(home: Home, folder: TenantHome) -> None:
    """Archive all that is committed, where the installation's configuration says."""
    found = open_archive(home, folder, make_keys=True)
    archiver = Archiver(found.store, found.owner, found.keyring, segment_entries=SEGMENT_ENTRIES)
    consumers = Consumers(home.bootstrap, folder.tenant)
    try:
        assert archiver.run_once(consumers)
    finally:
        consumers.close()
