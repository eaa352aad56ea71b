"""The monitor: the process of the trust path. It drives the loop, and appends a tick when a deadline has passed."""

from __future__ import annotations

import gc
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from confluent_kafka import Producer

from processors.calls.verifiers.loading import NONE, load, wanted
from processors.proof.authoring import RANDOM_BYTES, draft_event, sign_drafts
from processors.state.engines import Engines
from processors.state.tables import Tables
from producers.home.clock import clock_ms
from schemas import limits
from schemas.errors import InstallationError
from schemas.records import ClockTicked
from schemas.topics import INTAKE
from schemas.words import Role
from streams.history.kept_log import OpenArchive
from streams.history.set_aside import SetAside
from streams.meters import TenantMeters
from streams.worker.fold import TenantFold
from streams.worker.loop import Loop
from streams.worker.settings import LoopSettings
from streams.worker.signing.decision_keys import DecisionKeys, Signatory
from streams.worker.state_head import StateMac

log = logging.getLogger(__name__)

IDLE_SECONDS = 0.1
TICK_SECONDS_MIN = 1.0  # between two ticks of a tenant, so that one tick is under way at a time
TOLD_SECONDS = 86_400.0
TOLD_ROLES = frozenset({Role.MONITOR, Role.BRIDGE, Role.ENROLMENT, Role.APPROVER, Role.ATTESTER, Role.TOOL})
GC_ALLOCATIONS = 50_000
GC_GENERATIONS = (20, 50)


@dataclass(frozen=True, slots=True)
class MonitoredTenant:
    """A tenant's configuration on a worker: its pinned genesis of 32 bytes, its decision keys, and its state secret.

    `archive` opens the archive of its intake. It is asked for when state must be folded again and intake was trimmed.
    """

    tenant: str
    deployment: str
    genesis: bytes
    keys: DecisionKeys
    state_secret: bytes = field(repr=False)
    archive: OpenArchive | None = None
    set_aside: SetAside = field(default_factory=dict)


def build_fold(
    tenant: MonitoredTenant, engines: Engines | None = None, meters: TenantMeters | None = None
) -> TenantFold:
    """Return an empty fold for a tenant. Without `engines` those of this installation decide.

    `meters` are those of an earlier fold of the tenant, which go on.
    """
    return TenantFold(
        tables=Tables(tenant=tenant.tenant, deployment=tenant.deployment, genesis=tenant.genesis, engines=engines),
        signatory=Signatory(tenant.keys),
        state=StateMac(tenant.state_secret),
        archive=tenant.archive,
        set_aside=tenant.set_aside,
        meters=meters or TenantMeters(),
    )


def tune_collector() -> None:
    """Let Python's cycle collector run rarely: rows and outputs form no cycles, and visiting each costs time."""
    gc.set_threshold(GC_ALLOCATIONS, *GC_GENERATIONS)


class Monitor:
    """One worker. `tenants` returns the configuration of a tenant id, or None."""

    def __init__(self, settings: LoopSettings, tenants: Callable[[str], MonitoredTenant | None]) -> None:
        self._tenants = tenants
        self.meters: dict[str, TenantMeters] = {}  # by tenant: one entry for each that this worker ever served
        self._loop = Loop(settings, self._open_fold)
        self._ticker = Ticker(settings)
        self._ends = KeyEnds()
        self._detectors = DetectorLoading()
        self._stop = threading.Event()

    def _open_fold(self, name: str) -> TenantFold | None:
        found = self._tenants(name)
        return None if found is None else build_fold(found, meters=self.meters.setdefault(name, TenantMeters()))

    @property
    def folds(self) -> dict[str, TenantFold]:
        """The folds that are running, by intake topic."""
        return self._loop.folds

    def lags(self) -> dict[str, int]:
        """Return how many records each partition has yet to fold, by intake topic."""
        return self._loop.lags()

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
                    self._ends.tell(fold.tables)
                    self._detectors.look(fold.tables)
        finally:
            self._loop.close()
            self._ticker.close()

    def _tick(self, fold: TenantFold) -> None:
        """Append a tick if one is due. A key that does not sign costs its tenant alone the tick; the loop pauses it."""
        try:
            self._ticker.tick(fold)
        except InstallationError as exc:
            log.warning("%s: no tick: %s", fold.tables.tenant_id, exc)


class KeyEnds:
    """Logs once a day which keys end soon, and without which a tenant or its people would stand still."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def tell(self, tables: Tables) -> None:
        """Log a warning for each key of these tables that ends within KEY_END_TOLD_MS, unless it was told today."""
        last = self._told.get(tables.tenant_id, -math.inf)
        if time.monotonic() - last < TOLD_SECONDS or not len(tables.tenant):
            return
        self._told[tables.tenant_id] = time.monotonic()
        now = clock_ms()
        for kid, row in tables.keys.rows.items():
            if row.expires_at is None or row.spent or row.role not in TOLD_ROLES:
                continue
            if row.expires_at - now <= limits.KEY_END_TOLD_MS:
                log.warning(
                    "%s: the %s key %s of %s ends at %s: rotate it before, with `macaw key rotate`",
                    tables.tenant_id, row.role, kid.hex()[:16], row.principal_id,
                    datetime.fromtimestamp(row.expires_at / 1000, UTC).isoformat(timespec="minutes"),
                )  # fmt: skip


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
        fold.signatory.begin(tables)
        if (key := fold.signatory.current) is None:
            return
        row = tables.keys.get(key.kid)
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
        [headers] = sign_drafts(key.signing, [draft])
        self._producer.produce(INTAKE.of(tables.tenant_id), draft.value, partition=0, headers=list(headers))
        self._producer.poll(0)

    def close(self) -> None:
        """Send the queued events; waits at most 2 seconds."""
        self._producer.flush(2)


class DetectorLoading:
    """Loads each verifier once, beside the loop, when a tenant of this worker turns it on.

    A worker that takes a tenant over has loaded them before (`resume.py`). A call that comes within the second that
    this takes waits for the rest of it.
    """

    def __init__(self, loading: Callable[[Iterable[str]], None] = load) -> None:
        self._load = loading
        self._begun = NONE

    def look(self, tables: Tables) -> None:
        """Look at the settings of a tenant. Cheap where nothing has changed; raises nothing."""
        missing = wanted(tables) - self._begun
        if missing:
            self._begun |= missing
            threading.Thread(target=self._run, args=(missing,), name="detectors", daemon=True).start()

    def _run(self, names: frozenset[str]) -> None:
        try:
            self._load(sorted(names))
        except Exception:  # the records that need them are denied, and name the failure
            log.exception("the verifiers %s cannot be loaded; calls that they look at are denied", ", ".join(names))
