"""Locks between processes of one installation. The kernel releases them when their holder ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from producers.home.home import Home, TenantHome
from schemas.errors import InstallationError


class LockedError(InstallationError):
    """Another process holds the lock; the message is written for the user."""


@contextmanager
def only_one(path: Path, complaint: str) -> Iterator[None]:
    """Hold the lock at `path` during the block. Raises LockedError(complaint) if another process holds it."""
    with _opened(path) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise LockedError(complaint) from exc
        yield


def only_keys_command(folder: TenantHome) -> AbstractContextManager[None]:
    """Be the only `macaw key` that changes keys of a tenant during the block. Raises LockedError."""
    return only_one(folder.path / "keys.lock", "another `macaw key` changes keys of this tenant: wait for it")


def update_config(base: Path, config: Mapping[str, str]) -> Home:
    """Write these settings below `base` and keep the others, although processes write theirs at the same time."""
    with _opened(base / ".macaw" / "config.lock") as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return Home.create(base, config)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
