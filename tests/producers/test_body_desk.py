"""Calls that wait for their bodies at a host: bounded for all together, and for each caller."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from processors.calls.bodies import reference_to, written
from producers.home.clock import clock_ms
from producers.home.keys import KeyPair
from producers.kafka.bodies import Bodies
from producers.tools import beside, item_stream
from producers.tools.admission import AdmittedCall
from producers.tools.beside import BodyDesk
from producers.tools.item_stream import ItemStream
from schemas.records import Decision
from tests.workflow_world import declared

TEXT = reference_to(bytes(16), b"text")


def call(caller: str, number: int) -> AdmittedCall:
    leaf = number.to_bytes(32, "big")
    decision = Decision(
        origin="d/t", audit_index=number, event=leaf, event_id=bytes(16), session_id=bytes(32), principal_id=caller,
        resource="tool:files/put", outcome="allowed", reason="", detail="", decided_at=clock_ms(), policies=(),
        changed=(), execute_before=clock_ms() + 60_000,
    )  # fmt: skip
    return AdmittedCall(decision, leaf, {"text": written(TEXT)}, caller, bodies=(TEXT,), issued_at=clock_ms())


@pytest.fixture
def desk() -> BodyDesk:
    return BodyDesk(Bodies("127.0.0.1:1", tenant="full"), KeyPair.generate())


def test_one_caller_cannot_fill_a_host_with_calls_whose_bodies_never_come(
    desk: BodyDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has up to 256 KiB of parameters in memory for a minute. A further one is told at once, others' are taken."""
    monkeypatch.setattr(beside, "WAITING_PER_CALLER_MAX", 3)
    monkeypatch.setattr(beside, "WAITING_MAX", 5)
    refused: list[str] = []

    def ask(caller: str, number: int) -> None:
        desk.fetch(
            call(caller, number),
            replace(declared("tool:files/put"), body_paths=("text",)),
            lambda _: None,
            lambda missing, why: refused.append(f"{missing.principal_id}: {why}"),
        )

    for number in range(4):
        ask("eve", number)
    assert refused == ["eve: too many calls wait for their bodies"]
    for number in range(4, 7):
        ask("bob", number)
    assert refused[1:] == ["bob: too many calls wait for their bodies"]
    desk.stop()


def test_one_caller_cannot_hold_the_memory_for_bodies_alone(desk: BodyDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its calls run for as long as they like. What waits for room stands in nobody's way."""
    monkeypatch.setattr(beside, "HELD_BYTES_MAX", 4 * TEXT.size)
    monkeypatch.setattr(beside, "HELD_PER_CALLER_MAX", 2 * TEXT.size)
    monkeypatch.setattr(beside, "FETCHERS", 0)
    for number, caller in enumerate(("eve", "eve", "eve", "bob")):
        desk.fetch(call(caller, number), declared("tool:files/put"), lambda _: None, lambda *_: None)
    taken = [one.call.principal_id for one in (desk._next(), desk._next(), desk._next()) if one is not None]
    assert taken == ["eve", "eve", "bob"]
    desk.release(call("eve", 0))
    last = desk._next()
    assert last is not None
    assert last.call.leaf == call("eve", 2).leaf


def test_a_call_that_has_ended_makes_room(desk: BodyDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here its operation declares no body, so it ends at the first look."""
    monkeypatch.setattr(beside, "WAITING_PER_CALLER_MAX", 1)
    for number in range(3):
        ended: list[str] = []
        desk.fetch(
            call("eve", number), declared("tool:files/put"), lambda _: None, lambda _, why, to=ended: to.append(why)
        )
        until = clock_ms() + 5000
        while not ended and clock_ms() < until:
            pass
        assert ended
        assert ended[0].startswith("BODY_REFERENCE")
    desk.close()


def test_streams_beyond_a_bound_take_no_consumer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A consumer has threads and buffers of its own: five hundred streams of one caller once took five hundred."""
    monkeypatch.setattr(item_stream, "_LISTENING", threading.BoundedSemaphore(1))
    bodies, made = Bodies("127.0.0.1:1", tenant="full"), threading.active_count()
    key, done = KeyPair.generate(), threading.Event()
    streams = [ItemStream(bodies, key, bytes(32), (bytes(32), key.sealing.public), clock_ms()) for _ in range(2)]
    assert item_stream._LISTENING.acquire(blocking=False)
    assert not streams[0].wait(done, 0.05)
    done.set()
    assert streams[1].wait(done, 0.05)
    assert threading.active_count() == made
    assert bodies._consumers.empty()
    item_stream._LISTENING.release()
    bodies.close()
