"""The gate's desk, without a log: it comes back after an outage, and every outcome is noted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from macaw.adapters.refusals import PermissionDeniedError
from macaw.hooks import desk as desks
from producers.kafka.connection import ConnectError
from tests.hooks.events import claude, codex


class _Sessions(desks._Sessions):
    """Sessions that are open or not as `away` says, and note what they are told."""

    away = False

    def __init__(self, *_: object) -> None:
        if type(self).away:
            raise ConnectError("no broker answers")
        self.noted: list[Any] = []
        client = SimpleNamespace(expires_at=None, close=lambda: None)
        self.agent = SimpleNamespace(client=client, deaf="", close=lambda: None)  # type: ignore[assignment]
        self._clients, self._is_closed = {}, False

    def client(self, name: str) -> Any:
        return SimpleNamespace(log_event=lambda *_, **how: self.noted.append(how["outcome"]))


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> desks.Desk:
    monkeypatch.setattr(_Sessions, "away", False)
    monkeypatch.setattr(desks, "_Sessions", _Sessions)
    return desks.Desk(None, None, "host")  # type: ignore[arg-type]


def test_sessions_that_ended_during_an_outage_are_opened_after_it(
    desk: desks.Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = desk._usable()
    monkeypatch.setattr(_Sessions, "away", True)
    for _ in range(2):
        with pytest.raises(ConnectError):
            desk._drop_if_broken(former, PermissionDeniedError("no", reason="SESSION_REVOKED"))
        with pytest.raises(ConnectError):
            desk._usable()
    monkeypatch.setattr(_Sessions, "away", False)
    assert desk._usable() is not former


@pytest.mark.parametrize("told", [2**60, float("inf"), "\ud800", {"a": [None]}, None])
def test_every_outcome_is_noted(desk: desks.Desk, told: Any) -> None:
    """A tool's answer may hold numbers and texts that have no canonical form: the outcome is no secret for it."""
    event = {**claude("Bash", {"command": "x"}), "hook_event_name": "PostToolUse", "tool_response": told}
    verdict = desk.answer({"event": event, "as": "coder", "agent": "claude-code", "project": "", "seconds": 5})
    assert verdict.allowed, verdict
    assert len(desk._sessions.noted) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["PermissionRequest", "pretooluse", "Stop", "", None, 5])
def test_an_event_that_is_no_tool_use_is_not_allowed(desk: desks.Desk, name: Any) -> None:
    """The hook never asks for events in which nothing runs: any other may let something run."""
    event = {**claude("Bash", {"command": "x"}), "hook_event_name": name}
    verdict = desk.answer({"event": event, "as": "coder", "agent": "claude-code", "project": "", "seconds": 5})
    assert (verdict.allowed, "not known" in verdict.reason) == (False, True)


@pytest.mark.parametrize("away", [False, True])
def test_the_allowed_parts_of_a_denied_use_are_noted_as_not_run(desk: desks.Desk, away: bool) -> None:
    """A patch of two files, of which one is denied: nothing runs, and the log must not leave it at `let through`."""
    noted: list[Any] = []

    def log_event(kind: str, **how: Any) -> None:
        if away:
            raise ConnectError("no broker answers")
        noted.append((kind, how["action"], how["target"], how["outcome"]))

    def permit(resource: str, parameters: dict[str, Any], **_: object) -> str:
        if parameters["path"] == "b":
            raise PermissionDeniedError("no", reason="PARAM_DENIED", event_id="e2")
        return "e1"

    desk._sessions.client = lambda _: SimpleNamespace(log_event=log_event)  # type: ignore[assignment, method-assign, return-value]
    desk._sessions.gate = SimpleNamespace(permit=permit)  # type: ignore[assignment]
    patch = "*** Begin Patch\n*** Add File: a\n+x\n*** Add File: b\n+x\n*** End Patch"
    event = codex("apply_patch", {"command": patch})
    verdict = desk.answer({"event": event, "as": "coder", "agent": "codex", "project": "/project", "seconds": 5})
    assert (verdict.allowed, "PARAM_DENIED" in verdict.reason) == (False, True)
    assert noted == ([] if away else [("coding_agent.tool_used", "tool:files/edit", "e1", "failure")])
