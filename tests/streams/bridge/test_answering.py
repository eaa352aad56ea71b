"""Answers to logins, as every reader of the topic sees them: the persons do not show."""

from __future__ import annotations

from hashlib import sha256

import pytest

from processors.proof import sealing
from schemas import codec
from schemas.events.logins import LoginAnswer, LoginAnswered
from streams.bridge.answering import LoginAnswers
from tests.builders import keys_of

BRIDGE, MINE = keys_of("the bridge"), keys_of("mine")
ALICE = LoginAnswer(outcome="accepted", reason="", detail="", principal_id="user:alice", expires_at=1_764_450_000_000)
REFUSED = LoginAnswer(outcome="refused", reason="TOKEN_EXPIRED", detail="the token has expired; get a new token")


@pytest.mark.parametrize("answer", [ALICE, REFUSED], ids=["accepted", "refused"])
def test_a_reader_cannot_try_who_it_was(monkeypatch: pytest.MonkeyPatch, answer: LoginAnswer) -> None:
    """Each agent of the tenant reads the topic; the persons, the seconds and the reasons are few."""
    answers = LoginAnswers("127.0.0.1:1", tenant="acme", genesis=b"g" * 32, key=BRIDGE)
    found: list[tuple[bytes, bytes]] = []
    monkeypatch.setattr(
        answers, "_produce", lambda _, value, headers, __: found.append((value, dict(headers)["macaw-payload"]))
    )
    for _ in range(2):
        answers.give(MINE.kid, MINE.sealing.public, b"l" * 32, answer)
    bodies = [codec.decode_as(LoginAnswered, value) for value, _ in found]

    assert bodies[0].payload_sha256 != bodies[1].payload_sha256
    assert sha256(codec.frame(answer)).digest() not in {one.payload_sha256 for one in bodies}
    for body, (_, sealed) in zip(bodies, found, strict=True):  # the session's key alone opens it
        opened = MINE.open_sealed(sealed, BRIDGE.sealing.public, body.payload_sha256)
        assert codec.decode_as(LoginAnswer, opened[sealing.SALT_BYTES :]) == answer
