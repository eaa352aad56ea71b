"""The monitor: the process of the trust path. It drives the loop, and appends a tick when a deadline has passed."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from confluent_kafka import Producer

from processors.proof.authoring import RANDOM_BYTES, draft_event, sign_drafts
from processors.proof.sealing import Opens
from processors.proof.signing import SigningKey, Signs
from processors.state.engines import Engines
from processors.state.tables import Tables
from producers.home.clock import clock_ms
from schemas.errors import InstallationError
from schemas.records import ClockTicked
from schemas.topics import INTAKE
from streams.history.kept_log import OpenArchive
from streams.worker.fold import TenantFold
from streams.worker.loop import Loop
from streams.worker.sealing import Sealer
from streams.worker.settings import LoopSettings
from streams.worker.state_head import StateMac

log = logging.getLogger(__name__)

IDLE_SECONDS = 0.1
TICK_SECONDS_MIN = 1.0  # between two ticks of a tenant, so that one tick is under way at a time
STATE_TAG = b"macaw/state-secret/v1\n"
GC_ALLOCATIONS = 50_000
GC_GENERATIONS = (20, 50)


@dataclass(frozen=True, slots=True)
class MonitoredTenant:
    """A tenant's configuration on a worker: its pinned genesis of 32 bytes, and the keys that sign and seal.

    `archive` opens the archive of its intake. It is asked for when state must be folded again and intake was trimmed.
    """

    tenant: str
    deployment: str
    genesis: bytes
    signing: Signs
    sealing: Opens
    archive: OpenArchive | None = None


def build_fold(tenant: MonitoredTenant, engines: Engines | None = None) -> TenantFold:
    """Return an empty fold for a tenant. Without `engines` those of this installation decide."""
    return TenantFold(
        tables=Tables(tenant=tenant.tenant, deployment=tenant.deployment, genesis=tenant.genesis, engines=engines),
        signing=tenant.signing,
        sealer=Sealer(tenant.sealing),
        state=StateMac(_secret_beside(tenant.signing)),
        archive=tenant.archive,
    )


def _secret_beside(signing: Signs) -> SigningKey:
    """Return the key that the state head's MAC is made from: of the decision key, or of a token its holder's secret.

    A token gives no secret away. Its signature over `STATE_TAG` is deterministic (RFC 8032, section 5.1.6), is never
    published, and stands for nothing else, since every other signed message has another tag.

    Raises:
        InstallationError: the token does not sign.
    """
    if isinstance(signing, SigningKey):
        return signing
    return SigningKey.from_seed(sha256(signing.sign(STATE_TAG)).digest())


def tune_collector() -> None:
    """Let Python's cycle collector run rarely: rows and outputs form no cycles, and visiting each costs time."""
    gc.set_threshold(GC_ALLOCATIONS, *GC_GENERATIONS)


class Monitor:
    """One worker. `tenants` returns the configuration of a tenant id, or None."""

    def __init__(self, settings: LoopSettings, tenants: Callable[[str], MonitoredTenant | None]) -> None:
        self._loop = Loop(settings, lambda name: None if (found := tenants(name)) is None else build_fold(found))
        self._ticker = Ticker(settings)
        self._stop = threading.Event()

    @property
    def paused(self) -> dict[str, str]:
        """Intake topics that this worker has paused, with the reason."""
        return self._loop.paused

    @property
    def faults(self) -> dict[str, int]:
        """Rules that broke since a partition was taken over, by intake topic. Every entry is a defect to report."""
        return {topic: fold.faults for topic, fold in self._loop.folds.items() if fold.faults}

    def stop(self) -> None:
        """Ask the worker to end after its present turn."""
        self._stop.set()

    def run(self) -> None:
        """Work until `stop`. Raises WorkerFencedError when another worker has taken over."""
        tune_collector()
        try:
            while not self._stop.is_set():
                self._loop.turn(IDLE_SECONDS)
                for fold in self._loop.folds.values():
                    self._tick(fold)
        finally:
            self._loop.close()
            self._ticker.close()

    def _tick(self, fold: TenantFold) -> None:
        """Append a tick if one is due. A key that does not sign costs its tenant alone the tick; the loop pauses it."""
        try:
            self._ticker.tick(fold)
        except InstallationError as exc:
            log.warning("%s: no tick: %s", fold.tables.tenant_id, exc)


class Ticker:
    """Appends ClockTicked to intake, so that a deadline takes effect even if no other event arrives."""

    def __init__(self, settings: LoopSettings) -> None:
        self._producer = Producer(
            {
                **settings.security,
                "bootstrap.servers": settings.bootstrap,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 0,
                "log_level": 2,
            }
        )
        self._last: dict[str, float] = {}

    def tick(self, fold: TenantFold) -> None:
        """Append a signed ClockTicked if a deadline of this tenant has passed and no tick is under way."""
        tables = fold.tables
        deadline = tables.next_deadline()
        now_ms = clock_ms()
        if deadline is None or now_ms <= deadline or tables.now >= deadline:
            return
        if time.monotonic() - self._last.get(tables.tenant_id, 0.0) < TICK_SECONDS_MIN:
            return
        self._last[tables.tenant_id] = time.monotonic()
        row = tables.keys.get(fold.signing.kid)
        draft = draft_event(
            tables.tenant_id,
            tables.genesis,
            ClockTicked(deadline=deadline),
            principal_id=row.principal_id if row else "monitor",
            session_id=None,
            seq=now_ms * 1000,
            now_ms=now_ms,
            random=os.urandom(RANDOM_BYTES),
        )
        [headers] = sign_drafts(fold.signing, [draft])
        self._producer.produce(INTAKE.of(tables.tenant_id), draft.value, partition=0, headers=list(headers))
        self._producer.poll(0)

    def close(self) -> None:
        """Send the queued events; waits at most 2 seconds."""
        self._producer.flush(2)
