"""The policies, subjects and tables of one moment from which questions are answered, and how they are kept current.

Each answer comes from one `Snapshot`. A snapshot that could not be replaced for STALE_SECONDS gives no more answers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from processors.policy.evaluation import Lookups, Settings
from processors.policy.index import PolicyIndex
from streams.authzen import limits
from streams.authzen.directory import Directory

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoliciesStanding:
    """The policies in force as of one audit entry, or the policies of files that were not published.

    `as_of` is the index of that entry, None for files. `now` is its log time in ms; answers use this time or a later
    one. `tables` are only read.
    """

    index: PolicyIndex = field(repr=False)
    as_of: int | None = None
    now: int = 0
    tables: Lookups = field(default=Lookups(), repr=False)
    settings: Settings = field(default=Settings())


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The policies and the directory from which one question is answered."""

    policies: PoliciesStanding
    directory: Directory = field(repr=False)


Load = Callable[[], Snapshot]


class Kept:
    """The newest snapshot, replaced every REFRESH_SECONDS by `load`. An exception of the first load passes through."""

    def __init__(self, load: Load, clock: Callable[[], float] = time.monotonic) -> None:
        self._load = load
        self._clock = clock
        self._read_at = clock()
        self._standing = load()

    def current(self) -> Snapshot | None:
        """Return the newest snapshot, None if it is older than STALE_SECONDS."""
        return self._standing if self._clock() - self._read_at <= limits.STALE_SECONDS else None

    def read_anew(self) -> None:
        """Replace the snapshot. If reading fails, log the error and keep the old one until it is stale."""
        asked_at = self._clock()
        try:
            self._standing = self._load()
            self._read_at = asked_at
        except Exception as exc:  # noqa: BLE001 - a snapshot that cannot be replaced becomes stale and gives no answers
            log.error("policies and subjects cannot be read again: %s: %s", type(exc).__name__, exc)  # noqa: TRY400 - no traceback each time

    async def keep(self) -> None:
        """Replace the snapshot every REFRESH_SECONDS, for ever. Reading runs in a thread, because it may be slow."""
        while True:
            await asyncio.sleep(limits.REFRESH_SECONDS)
            await asyncio.to_thread(self.read_anew)
