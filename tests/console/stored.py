"""A console's store with calls in it, and its pages behind a real door, without a broker."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from starlette.testclient import TestClient

from producers.home.clock import clock_ms
from schemas.records import Decision, Result
from schemas.words import Outcome
from streams.address import ON_LOOPBACK
from streams.console.approving import ApprovalDesk
from streams.console.follower import Freshness
from streams.console.front import ConsoleFront, ConsoleOf
from streams.console.live import Live
from streams.console.questions import Questions
from streams.console.store import CallStore
from streams.http import door_of

TOKEN = "c" * 43
GENESIS = bytes(range(32))
OWN = "http://127.0.0.1"


@dataclass
class Stored:
    """A store, and records that fit it. Audit indexes rise."""

    base: Path
    now: int = field(default_factory=clock_ms)
    numbers: count[int] = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        self.path = self.base / "console" / "calls.sqlite"
        self.store = CallStore(self.path, GENESIS)
        self.questions = Questions(self.path)

    def decision(self, **more: Any) -> Decision:
        number = next(self.numbers)
        given: dict[str, Any] = {
            "origin": "demo/acme",
            "audit_index": number,
            "event": number.to_bytes(32),
            "event_id": number.to_bytes(16),
            "session_id": b"s" * 32,
            "principal_id": "shopper",
            "resource": "tool:bank/transfer",
            "outcome": Outcome.ALLOWED,
            "reason": "",
            "detail": "",
            "decided_at": self.now,
            "policies": (),
            "changed": (),
        }
        return Decision(**{**given, **more})

    def denied(self, **more: Any) -> Decision:
        return self.decision(**{"outcome": Outcome.DENIED, "reason": "NO_POLICY", **more})

    def result(self, of: Decision, **more: Any) -> Result:
        given: dict[str, Any] = {
            "origin": of.origin,
            "audit_index": next(self.numbers),
            "to": b"k" * 32,
            "event": of.event,
            "event_id": of.event_id,
            "outcome": Outcome.OK,
            "reason": "",
            "detail": "",
            "at": of.decided_at + 5,
        }
        return Result(**{**given, **more})

    def put(self, *records: Decision | Result) -> None:
        self.store.put(records, {})

    def console(self, desk: ApprovalDesk | None = None, freshness: Freshness | None = None) -> ConsoleOf:
        return ConsoleOf(
            tenant="acme",
            questions=self.questions,
            freshness=freshness or Freshness(complete_at=self.now),
            live=Live(),
            token=lambda: TOKEN,
            token_place="the test",
            desk=desk,
        )

    def browser(
        self, *, desk: ApprovalDesk | None = None, freshness: Freshness | None = None
    ) -> AbstractContextManager[TestClient]:
        """Return a client at the console's door that is not logged in."""
        door = door_of(ConsoleFront(self.console(desk, freshness), ON_LOOPBACK).front())
        # Not entered itself: the door of a server without a lifespan knows no such message.
        return nullcontext(TestClient(door, base_url=OWN, follow_redirects=False, raise_server_exceptions=False))


def logged_in(browser: TestClient) -> TestClient:
    """Log in as a browser does."""
    answer = browser.post("/login", data={"token": TOKEN}, headers={"Origin": OWN})
    assert answer.status_code == 303
    return browser


def text_of(page: httpx.Response) -> str:
    """Return the page's text as people see it, roughly: without tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.text))
