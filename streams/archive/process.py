"""The process that archives: every tenant of an installation in turn, until it is stopped.

It needs READ on the topics of a tenant (role `exporter`), and a place to write. It deletes nothing on the brokers: only
`macaw archive trim` does, with an operator's rights. A tenant whose archive cannot go on is held, said so again and
again, and tried again; the others go on.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import NamedTuple

from confluent_kafka import KafkaException

from processors.evidence.archive.writing import SEGMENT_ENTRIES
from producers.home.home import Home
from schemas.errors import MacawError
from streams.archive.archiver import Archiver
from streams.archive.log_source import Consumers
from streams.archive.places import open_archive

log = logging.getLogger(__name__)

POLL_SECONDS = 5.0  # between two looks at the end of a log; one request for each tenant
# What was decided and is not archived yet is on the brokers: with intake kept for ever, five minutes risk nothing, and
# make at most 105,000 segments a year of a tenant that never rests.
SEGMENT_SECONDS = 300.0
PAUSE_SECONDS_MAX = 60.0  # between two attempts on a tenant that is held


class ArchiveState(NamedTuple):
    """How far the archive of one tenant is; `age_seconds` since it held the whole log, at least since the start."""

    tenant: str
    next_index: int | None  # None while the store could not be read
    age_seconds: float
    failures: int


@dataclass(slots=True)
class _Tenant:
    """The process's knowledge of one tenant between two looks. Times are of `time.monotonic`."""

    archiver: Archiver | None = None
    last_round: float = float("-inf")
    whole_at: float = field(default_factory=time.monotonic)  # when the archive last held the whole log; at first: now
    try_at: float = 0.0
    failures: int = 0


class ArchiveProcess:
    """Archives all tenants of an installation."""

    def __init__(self, home: Home, *, segment_seconds: float = SEGMENT_SECONDS) -> None:
        self._home = home
        self._segment_seconds = segment_seconds
        self._tenants: dict[str, _Tenant] = {}
        self._stop = threading.Event()
        self._consumers: Consumers | None = None

    def stop(self) -> None:
        """Ask `run` to return. A round that is under way ends first."""
        self._stop.set()

    def run(self) -> None:
        """Archive until `stop`."""
        try:
            while not self._stop.is_set():
                self.look()
                self._stop.wait(POLL_SECONDS)
        finally:
            self.close()

    def close(self) -> None:
        """Close the connections to the brokers."""
        if self._consumers is not None:
            self._consumers.close()
            self._consumers = None

    def states(self) -> list[ArchiveState]:
        """Return how far the archive of each tenant is; any thread may ask."""
        now = time.monotonic()
        return [
            ArchiveState(
                tenant=name,
                next_index=None if (archiver := one.archiver) is None else archiver.end.next_index,
                age_seconds=now - one.whole_at,
                failures=one.failures,
            )
            for name, one in list(self._tenants.items())
        ]

    def look(self, *, at_once: bool = False) -> bool:
        """Look at each tenant, and archive those that are due, or with `at_once` all; return False if one is held."""
        is_well = True
        for name in self._home.tenants():
            if self._stop.is_set():
                break
            is_well &= self._attempt(name, self._tenants.setdefault(name, _Tenant()), at_once=at_once)
        return is_well

    def _attempt(self, name: str, tenant: _Tenant, *, at_once: bool) -> bool:
        if time.monotonic() < tenant.try_at and not at_once:
            return False
        try:
            self._archive(name, tenant, at_once=at_once)
        except (MacawError, KafkaException, OSError) as exc:
            self._hold(name, tenant, exc)
            return False
        if tenant.failures:
            log.info("%s: the archive goes on", name)
        tenant.failures = 0
        return True

    def _hold(self, name: str, tenant: _Tenant, exc: Exception) -> None:
        """Tell that a tenant is not archived, and when it is tried again."""
        tenant.failures += 1
        tenant.archiver = None  # its end is read from the store again
        pause = min(POLL_SECONDS * 2 ** min(tenant.failures - 1, 10), PAUSE_SECONDS_MAX)
        tenant.try_at = time.monotonic() + pause
        why = exc.args[0].str() if isinstance(exc, KafkaException) else str(exc)
        log.error(
            "%s is not archived: %s. Nothing is lost: the log stays on the brokers, and must not be trimmed; the next "
            "attempt is in %d s. See docs/archive.md",
            name,
            why,
            pause,
        )

    def _archive(self, name: str, tenant: _Tenant, *, at_once: bool) -> None:
        if self._consumers is None:
            self._consumers = Consumers(self._home.bootstrap, name, security=self._home.security)
        if tenant.archiver is None:
            archive = open_archive(self._home, self._home.tenant(name), make_keys=True)
            tenant.archiver = Archiver(archive.store, archive.owner, archive.keyring)
        archiver = tenant.archiver
        asked_at = time.monotonic()
        lag = self._consumers.lag(name, archiver.end)
        is_due = time.monotonic() - tenant.last_round >= self._segment_seconds or lag >= SEGMENT_ENTRIES
        if lag == 0:
            tenant.whole_at = asked_at
        if lag == 0 or not (is_due or at_once):
            return
        count = archiver.run_once(self._consumers, self._home.tenant(name).set_aside)
        tenant.last_round = time.monotonic()
        tenant.whole_at = asked_at
        log.info("%s: %d entries archived, up to entry %d", name, count, archiver.end.next_index - 1)
