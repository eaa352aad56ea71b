"""A worker loads the detectors of a tenant before it folds the first record, and later ones as they are turned on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from processors.state.settings import settings_of
from schemas.events.tenancy import LimitsSet, TenantSetting
from streams.local.choose import BrokerInfo
from streams.worker import resume
from streams.worker.monitor import DetectorLoading
from tests.engines import NEWEST
from tests.streams.loop_world import World, fold_all, turn_until
from tests.world import Office

ON = (TenantSetting(name="verifiers.secrets", value="stamp"), TenantSetting(name="results.secrets", value="withhold"))


@pytest.mark.broker
def test_they_are_loaded_before_the_worker_folds(
    broker: BrokerInfo, tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(broker, tmp_path, unique)
    tenant, other = world.found("one"), world.found("other")
    tenant.append(tenant.events(tenant.admin, [LimitsSet(limits=(), settings=ON)]))
    first = world.loop()
    fold_all(first, tenant, other)
    first.close()

    loaded: list[tuple[set[str], bool, str]] = []

    def load(names: Iterable[str]) -> None:
        intake = threading.current_thread().name.removeprefix("restore ")
        loaded.append((set(names), intake in second.folds, intake))

    monkeypatch.setattr(resume, "load", load)
    second = world.loop("1")
    tenant.call(1)
    try:
        turn_until(second, lambda: {tenant.intake, other.intake} <= second.folds.keys())
        fold_all(second, tenant, other)
    finally:
        second.close()
    assert ({"secrets"}, False, tenant.intake) in loaded
    assert (set(), False, other.intake) in loaded


def test_a_verifier_that_is_turned_on_is_loaded_once_beside_the_loop() -> None:
    tables, loaded, done = Office.opened(**NEWEST).world.tables, list[list[str]](), threading.Event()

    def load(names: Iterable[str]) -> None:
        loaded.append(list(names))
        done.set()

    loading = DetectorLoading(load)
    loading.look(tables)
    assert not loaded
    for settings in (ON, ON, (*ON, TenantSetting(name="verifiers.personal_data", value="deny"))):
        tables.settings = settings_of(settings)
        loading.look(tables)
        assert done.wait(30)
    for thread in threading.enumerate():
        if thread.name == "detectors":
            thread.join(30)
    assert loaded == [["secrets"], ["personal_data"]]


def test_a_detector_that_cannot_be_loaded_is_told(caplog: pytest.LogCaptureFixture) -> None:
    tables = Office.opened(**NEWEST).world.tables
    tables.settings = settings_of(ON)

    def load(_: Iterable[str]) -> None:
        raise ImportError("no module named pyatr")

    caplog.set_level(logging.ERROR)
    DetectorLoading(load).look(tables)
    for thread in threading.enumerate():
        if thread.name == "detectors":
            thread.join(30)
    assert "secrets cannot be loaded" in caplog.text
