"""What answers stand on: policies, subjects and tables as of one moment, and how they are kept up to date.

An answer is from one `Standing`, whole. What cannot be read anew for too long is not answered from any more.
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
    """The policies in force as of an audit entry, None where they are files that nobody published.

    `tables` are looked at and never written to. `now` is the log time of that entry in ms: an answer is not older.
    """

    index: PolicyIndex = field(repr=False)
    as_of: int | None = None
    now: int = 0
    tables: Lookups = field(default=Lookups(), repr=False)
    settings: Settings = field(default=Settings())


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a question is answered from."""

    policies: PoliciesStanding
    directory: Directory = field(repr=False)


Load = Callable[[], Snapshot]


class Kept:
    """A standing that is read anew again and again. Raises what `load` raises when it is made."""

    def __init__(self, load: Load, clock: Callable[[], float] = time.monotonic) -> None:
        self._load = load
        self._clock = clock
        self._read_at = clock()
        self._standing = load()

    def current(self) -> Snapshot | None:
        """Return the standing, None where it is not known to be one any more."""
        return self._standing if self._clock() - self._read_at <= limits.STALE_SECONDS else None

    def read_anew(self) -> None:
        """Read what stands now; where that fails, say so and keep what there is until it is stale."""
        asked_at = self._clock()
        try:
            self._standing = self._load()
            self._read_at = asked_at
        except Exception as exc:  # noqa: BLE001 - whatever it is, nobody is answered from what became stale
            log.error("policies and subjects cannot be read anew: %s: %s", type(exc).__name__, exc)  # noqa: TRY400 - no traceback each time

    async def keep(self) -> None:
        """Read anew for ever, in a thread: brokers and files take their time."""
        while True:
            await asyncio.sleep(limits.REFRESH_SECONDS)
            await asyncio.to_thread(self.read_anew)
