"""A rule that breaks does not stop its tenant, and people are told."""

from __future__ import annotations

import logging

import pytest

from processors.context import vault
from producers.home.keys import KeyPair
from schemas.events.workflow import ContextWritten
from streams.worker.fold import TenantFold
from streams.worker.signing.decision_keys import DecisionKeys, Signatory
from streams.worker.state_head import StateMac
from tests.workflow_world import Workflow


def test_a_rule_that_broke_is_logged_as_an_error_and_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Kind, place and offset are told; no value of the record is."""
    world = Workflow.opened("told")
    world.send(ContextWritten(scope="session", key="k", value='"secret"', ttl_ms=None, expected=None), world.bot)
    world.tick()
    keys: KeyPair = world.monitor.keys
    fold = TenantFold(world.fresh_tables(), Signatory(DecisionKeys.of(keys)), StateMac(bytes(32)))

    def broken(*_of: object) -> None:
        raise KeyError("secret")

    monkeypatch.setattr(vault, "operate", broken)
    with caplog.at_level(logging.ERROR):
        assert fold.fold(world.records) == len(world.records)

    (told,) = [record.getMessage() for record in caplog.records]
    assert fold.faults == 1
    assert f"offset {len(world.records) - 2}: KeyError at tests.streams.test_broken_rule_told:" in told
    assert "secret" not in told
    assert len(fold.take()) > len(world.records)
