"""Rows as the log lists them, a log that answers from memory, and a channel with settings for the stub."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from producers.client.approvals import Answered
from schemas.errors import UnavailableError
from streams.approvals.channels import SlackChannel
from streams.approvals.posting import Poster
from streams.approvals.questions import Choice, ListedCall, waiting_in
from streams.approvals.settings import SlackPerson, SlackSettings
from tests.streams.approvals.slack_stub import APP, BEN, CAROL, CHANNEL, SECRET, TEAM, TOKEN

NOW_MS = 1_900_000_000_000


def row(number: int = 0, **changes: Any) -> dict[str, Any]:
    """Return a row of the list of requests."""
    request = hashlib.sha256(f"call {number}".encode()).hexdigest()
    digest = hashlib.sha256(f"parameters {number}".encode()).hexdigest()
    return {
        "request": request, "key": "manager", "resource": "tool:bank/pay", "for_user": "payer", "for_agent": "payer",
        "criteria": ["role:manager"], "quorum": 1, "approved_by": [], "one_time": True, "asked_at": number,
        "open_until": NOW_MS + 60_000, "parameters_sha256": digest, "scopes": {"once": True}, **changes,
    }  # fmt: skip


def waiting(number: int = 0, **changes: Any) -> ListedCall:
    return waiting_in(row(number, **changes))


@dataclass
class LogInMemory:
    """The log side of a service, from memory: its rows, the answers that it took, and the way in which it fails."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    answers: list[tuple[str, str, str, dict[str, Any]]] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    is_away: bool = False

    def waiting(self) -> list[ListedCall]:
        if self.is_away:
            raise UnavailableError("no broker answers")
        return [waiting_in(one) for one in self.rows]

    def shown(self, request: str) -> Any:
        raise UnavailableError("no broker answers")

    def approve(self, rows: Any, choice: Choice, said_by: str, reason: str) -> list[Answered]:
        return [self._take(one, "approve", said_by, dict(choice.arguments)) for one in rows]

    def deny(self, rows: Any, said_by: str, reason: str) -> list[Answered]:
        return [self._take(one, "deny", said_by, {}) for one in rows]

    def close(self) -> None:
        pass

    def _take(self, one: Any, says: str, said_by: str, arguments: dict[str, Any]) -> Answered:
        reason = self.reasons.get(said_by, "")
        if not reason:
            self.answers.append((one["request"], says, said_by, arguments))
            self.rows = [left for left in self.rows if left["request"] != one["request"]]
        return Answered(one["request"], one["key"], reason and f"refused: {reason}", reason)


def settings(url: str, **changes: Any) -> SlackSettings:
    given: dict[str, Any] = {
        "app": APP, "team": TEAM, "channel": CHANNEL, "bot_token": TOKEN, "signing_secret": SECRET,
        "people": {CAROL: SlackPerson("user:carol", is_link=False), BEN: SlackPerson("user:ben", is_link=True)},
        "shows_parameters": False, "api": f"{url}/api", "hooks": f"{url}/hooks", "private_hosts": ("127.0.0.1",),
    }  # fmt: skip
    return SlackSettings(**{**given, **changes})


def channel(url: str, **changes: Any) -> SlackChannel:
    return SlackChannel(settings(url, **changes), Poster(), "acme", "slack")


def config(folder: Path, text: str, **secrets: str) -> Path:
    """Write a file of a channel with its secrets beside it."""
    for name, line in secrets.items():
        path = folder / f"{name}.secret"
        path.write_text(f"{line}\n")
        path.chmod(0o600)
    file = folder / "approvals.yaml"
    file.write_text(text)
    return file
