"""Calls that the gateway over HTTP holds, without a log: how each end is told, and that none holds a place for ever."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from macaw.gateway.http.calls import HeldCalls
from macaw.gateway.http.streaming import EventStream
from producers.client.kept_calls import Book
from producers.client.open_call import OpenCall
from producers.home.clock import LogClock
from producers.home.home import Home
from producers.home.keys import KeyPair
from producers.home.security import SecurityError
from producers.kafka.answers import Answer, Answers
from producers.kafka.appending import Appending
from producers.kafka.outcomes import FailedError
from producers.kafka.sent import Sent
from schemas.records import Result
from streams.http import HTTPRefusal

SECRET = "geheim"


class Quiet(Answers):
    """Who waits, without a consumer: a test says what comes."""

    def __init__(self) -> None:
        self._waiters: dict[bytes, Any] = {}
        self._lock = threading.Lock()
        self._hearing: Any = Quiet

    @staticmethod
    def reached() -> dict[int, int]:  # type: ignore[override]
        return dict.fromkeys(range(64), 0)

    @staticmethod
    def awaits(_: object) -> None:
        pass


@pytest.fixture
def sent() -> Iterator[Sent]:
    made = Sent(Quiet(), "tool:x/y")
    made._appended = Appending()
    yield made
    made.give_up()


def call_of(sent: Sent, base: Path) -> OpenCall:
    book = Book(Home(base, {}).tenant("acme"), KeyPair.generate(), "user:ann", in_memory=True)
    return OpenCall(sent, book, LogClock(), begins=False)


def hold(sent: Sent, base: Path, meanwhile: Any = None) -> tuple[HTTPRefusal | None, int, int]:
    """Hold a call for a moment; return its refusal, how often its end was told, and how many are under way then."""
    ended: list[int] = []

    async def play() -> tuple[HTTPRefusal | None, int, int]:
        calls = HeldCalls(lambda: ended.append(1))
        refused = None
        try:
            held = await calls.hold(call_of(sent, base), 0.2)
            if meanwhile is not None:
                meanwhile()
            answer = await held.wait(0.2)
            assert json.loads(bytes(answer.body))
        except HTTPRefusal as exc:
            refused = exc
        await asyncio.sleep(0.05)
        under_way = calls.under_way
        calls.close()
        return refused, len(ended), under_way

    return asyncio.run(play())


@pytest.mark.parametrize("is_drafted", [True, False])
def test_a_call_that_never_left_is_refused_and_holds_no_place(sent: Sent, tmp_path: Path, is_drafted: bool) -> None:
    """The brokers are away: nothing was sent, and nothing will be."""
    if is_drafted:
        sent.listen(bytes(16), b"e" * 32)

    refused, ended, under_way = hold(sent, tmp_path)

    assert refused is not None
    assert (refused.status_code, refused.code) == (503, "LOG_UNAVAILABLE")
    assert (ended, under_way) == (1, 0)
    assert sent._appended is not None
    assert sent._appended.cancelled()


def test_a_call_that_stands_on_the_log_is_listened_for(sent: Sent, tmp_path: Path) -> None:
    assert sent._appended is not None
    sent._appended.succeed(7)
    sent.listen(bytes(16), b"e" * 32)

    refused, ended, under_way = hold(sent, tmp_path)

    assert refused is not None
    assert (refused.status_code, refused.code, refused.more["call_id"]) == (504, "NO_ANSWER", "0" * 32)
    assert (ended, under_way) == (0, 1)


@pytest.mark.parametrize("is_on_log", [True, False])
def test_a_call_of_a_session_that_ends_is_not_told_as_never_sent(sent: Sent, tmp_path: Path, is_on_log: bool) -> None:
    """A program that hears "never sent" sends again: the tool would act twice."""
    assert sent._appended is not None
    if is_on_log:
        sent._appended.succeed(7)
    sent.listen(bytes(16), b"e" * 32)

    async def play() -> HTTPRefusal:
        calls = HeldCalls(lambda: None)
        held = await calls.hold(call_of(sent, tmp_path), 0.2)
        waiting = asyncio.ensure_future(held.wait(5.0))
        await asyncio.sleep(0)
        calls.close()
        with pytest.raises(HTTPRefusal) as refused:
            await waiting
        return refused.value

    refused = asyncio.run(play())
    told = (504, "NO_ANSWER") if is_on_log else (503, "LOG_UNAVAILABLE")  # it was taken back before it left
    assert (refused.status_code, refused.code, refused.more["call_id"]) == (*told, "0" * 32)


def test_a_call_that_is_begun_while_its_session_ends_holds_no_place(sent: Sent, tmp_path: Path) -> None:
    assert sent._appended is not None
    sent._appended.succeed(7)
    sent.listen(bytes(16), b"e" * 32)
    ended: list[int] = []

    async def play() -> None:
        calls = HeldCalls(lambda: ended.append(1))
        calls.close()
        held = await calls.hold(call_of(sent, tmp_path), 0.2)
        with pytest.raises(HTTPRefusal) as refused:
            await held.wait(5.0)
        assert refused.value.code == "NO_ANSWER"
        assert (calls.under_way, ended) == (0, [1])
        with pytest.raises(HTTPRefusal):
            calls.find("0" * 32)

    asyncio.run(play())


@pytest.mark.parametrize("kind", [RecursionError, MemoryError, RuntimeError, SecurityError])
def test_an_end_that_cannot_be_told_is_not_told_as_never_sent(
    sent: Sent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: type[Exception]
) -> None:
    async def fail(*_: object) -> None:
        raise kind(SECRET)

    monkeypatch.setattr(OpenCall, "finish_async", fail)
    assert sent._appended is not None
    sent._appended.succeed(7)
    sent.listen(bytes(16), b"e" * 32)
    refused, ended, _ = hold(sent, tmp_path)
    assert refused is not None
    assert (refused.status_code, refused.code, ended) == (504, "NO_ANSWER", 1)
    assert kind.__name__ in caplog.text
    assert SECRET not in caplog.text


def test_a_stream_that_fails_before_its_first_item_ends_as_one_that_fails_later(sent: Sent, tmp_path: Path) -> None:
    class Broken:
        answer = None

        def __next__(self) -> Any:
            raise FailedError("the tool failed")

    async def play() -> list[bytes]:
        with ThreadPoolExecutor(1) as pool:
            stream = EventStream(pool)
            stream._items, stream._call = Broken(), call_of(sent, tmp_path)  # type: ignore[assignment]
            await stream.first()
            return [line async for line in stream._lines()]

    lines = asyncio.run(play())
    assert [one.split(b"\n")[0] for one in lines] == [b"event: call", b"event: end"]
    assert b'"outcome": "failed"' in lines[-1]


@pytest.mark.parametrize("result", ["NaN", '"\\ud800"'])
def test_a_result_that_other_languages_cannot_read_is_told_as_such(sent: Sent, tmp_path: Path, result: str) -> None:
    fields = {"origin": "o", "audit_index": 1, "to": b"", "event_id": bytes(16), "reason": "", "detail": "", "at": 1}
    signed = Result(event=b"e" * 32, outcome="ok", **fields)  # type: ignore[arg-type]
    sent.listen(bytes(16), b"e" * 32)

    refused, ended, _ = hold(sent, tmp_path, lambda: sent.answer.set_result(Answer(signed, result)))

    assert refused is not None
    assert (refused.status_code, refused.code, ended) == (502, "RESULT_UNREADABLE", 1)
