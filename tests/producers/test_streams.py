"""Streams on a real broker: items as they come, an end that is signed, and everything that breaks one."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from confluent_kafka import Producer

from macaw.installation.tenancy import publish_policies, register_agent
from processors.proof.sealing import PAYLOAD_HEADER
from producers.client import (
    AsyncClient,
    Client,
    DeniedError,
    FailedError,
    NoAnswerError,
    StreamBrokenError,
    UnknownOutcomeError,
)
from producers.kafka.body_records import ChunkSealer
from producers.tools import ToolDeclarationError, collect_tools, tool
from producers.tools.item_stream import ItemStream
from producers.tools.registration import tool_key
from schemas import limits, topics
from streams.local.choose import BrokerInfo
from tests.builders import keys_of
from tests.installation import Installation, installed
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.broker

POLICY = {"policy_id": "role:reader", "resources": ["tool:news/*"], "denied_resources": ["tool:news/closed"]}


class News:
    """A tool that streams."""

    def __init__(self) -> None:
        self.go_on, self.left = threading.Event(), threading.Event()
        self.yielded = 0

    @tool(streams=True)
    def count(self, to: int) -> Iterator[dict[str, int]]:
        for number in range(to):
            yield {"number": number}

    @tool(streams=True)
    def stepwise(self) -> Iterator[str]:
        yield "first"
        assert self.go_on.wait(PATIENCE_SECONDS)
        yield "second"

    @tool(streams=True)
    def endless(self) -> Iterator[int]:
        try:
            while True:
                yield self.yielded
                self.yielded += 1
                time.sleep(0.01)
        finally:
            self.left.set()

    @tool(streams=True)
    def breaks(self) -> Iterator[int]:
        yield 1
        yield 2
        raise RuntimeError("the line is dead")

    @tool(streams=True)
    async def later(self, to: int) -> AsyncIterator[int]:
        for number in range(to):
            await asyncio.sleep(0)
            yield number

    @tool(streams=True)
    def large(self) -> Iterator[str]:
        yield "x" * (limits.STREAM_ITEM_BYTES_MAX - 2)
        yield "x" * limits.STREAM_ITEM_BYTES_MAX

    @tool(streams=True, timeout_seconds=1.0)
    def slow(self) -> Iterator[int]:
        yield 1
        time.sleep(3)
        yield 2

    @tool(streams=True)
    def closed(self) -> Iterator[int]:
        yield 1

    @tool
    def plain(self) -> str:
        return "one"


@pytest.fixture(scope="module")
def news() -> News:
    return News()


@pytest.fixture(scope="module")
def running(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory, news: News) -> Iterator[Installation]:
    tenant = f"t{secrets.token_hex(4)}"
    with installed(broker, tmp_path_factory.mktemp("home"), tenant) as here:
        register_agent(here.home, here.folder, "reader", attributes={"roles": ["reader"]})
        publish_policies(here.home, here.folder, [json.dumps(POLICY)], {})
        with here.hosting("news", news):
            yield here


@pytest.fixture(scope="module")
def client(running: Installation) -> Iterator[Client]:
    with Client.connect(running.folder.tenant, "reader", home=running.home) as connected:
        yield connected


@pytest.mark.parametrize("to", [0, 1, 300])
def test_every_item_comes_in_its_order(client: Client, to: int) -> None:
    """And the report counts them, signed by the tool."""
    with client.stream("tool:news/count", {"to": to}) as items:
        assert list(items) == [{"number": number} for number in range(to)]
    assert items.is_over
    assert items.answer is not None
    assert items.answer.stream is not None
    assert (items.answer.result.outcome, items.answer.stream.chunks) == ("ok", to)


def test_an_item_comes_before_the_next_one_is_there(client: Client, news: News) -> None:
    with client.stream("tool:news/stepwise", {}) as items:
        assert next(items) == "first"
        news.go_on.set()
        assert list(items) == ["second"]


def test_an_asynchronous_generator_streams_too(client: Client, running: Installation) -> None:
    """At either end."""
    assert list(client.stream("tool:news/later", {"to": 5})) == [0, 1, 2, 3, 4]

    async def read() -> list[Any]:
        async with await AsyncClient.connect(running.folder.tenant, "reader", home=running.home) as agent:
            return [item async for item in agent.stream("tool:news/later", {"to": 4})]

    assert asyncio.run(read()) == [0, 1, 2, 3]


def test_leaving_early_stops_the_tool(client: Client, news: News) -> None:
    """The generator is closed at its next item, and yields nothing more."""
    with client.stream("tool:news/endless", {}) as items:
        assert [next(items) for _ in range(3)] == [0, 1, 2]
    assert news.left.wait(PATIENCE_SECONDS)
    with pytest.raises(StopIteration):
        next(items)
    yielded = news.yielded
    time.sleep(0.3)
    assert news.yielded == yielded


def test_the_log_says_that_a_stream_was_stopped(client: Client, news: News) -> None:
    """The report counts the items so far; here the caller reads on to hear it."""
    items = client.stream("tool:news/endless", {})
    next(items)
    items._tell_to_stop()
    count = 1 + len(list(items))
    assert items.answer is not None
    assert items.answer.stream is not None
    assert (items.answer.result.outcome, items.answer.body) == ("ok", '{"cancelled":true}')
    assert items.answer.stream.chunks == count


def test_an_error_in_the_middle_is_an_error_after_the_items_before(client: Client) -> None:
    items = client.stream("tool:news/breaks", {})
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(FailedError, match="the line is dead"):
        next(items)
    with pytest.raises(StopIteration):
        next(items)


def test_a_denied_stream_is_denied(client: Client) -> None:
    with pytest.raises(DeniedError), client.stream("tool:news/closed", {}) as items:
        next(items)


def test_an_item_that_is_too_large_is_named(client: Client) -> None:
    first, second = client.stream("tool:news/large", {})
    assert len(first) == limits.STREAM_ITEM_BYTES_MAX - 2
    assert second["$unwritten"] == "str"


def test_a_stream_past_its_time_is_unknown(client: Client) -> None:
    """As any other call: its items so far have come."""
    items = client.stream("tool:news/slow", {})
    assert next(items) == 1
    with pytest.raises(UnknownOutcomeError):
        next(items)


def test_a_plain_tool_gives_its_one_result(client: Client) -> None:
    assert list(client.stream("tool:news/plain", {})) == ["one"]


def test_without_an_item_in_time_the_call_is_left(client: Client, news: News) -> None:
    news.go_on.clear()
    items = client.stream("tool:news/stepwise", {}, seconds=1.5)
    assert next(items) == "first"
    with pytest.raises(NoAnswerError):
        next(items)
    news.go_on.set()


# ---- attacks: whoever may write to the topic


class Writer:
    """Writes records under the key of a stream."""

    def __init__(self, running: Installation) -> None:
        self._producer = Producer({"bootstrap.servers": running.home.bootstrap})
        self._topic = topics.BODIES.of(running.folder.tenant)

    def put(self, event: bytes, value: bytes, header: bytes) -> None:
        headers: list[tuple[str, Any]] = [(PAYLOAD_HEADER, header)]
        partition = topics.keyed_partition(event)
        self._producer.produce(self._topic, value, key=event, partition=partition, headers=headers)
        assert self._producer.flush(PATIENCE_SECONDS) == 0


def test_items_of_a_stranger_are_passed_over(client: Client, running: Installation, news: News) -> None:
    """Sealed to the caller by a key that is not the tool's, and rubbish."""
    news.go_on.clear()
    items = client.stream("tool:news/stepwise", {})
    assert next(items) == "first"
    event, me = items._call.sent.event, client.connection.key
    stranger = ChunkSealer(keys_of("stranger"), [(me.kid, me.sealing.public)])
    for index in (0, 1, 2):
        Writer(running).put(event, *stranger.record(event, index, os.urandom(16), b'"forged"', is_last=False))
    Writer(running).put(event, b"rubbish", b"")
    news.go_on.set()
    assert list(items) == ["second"]


def test_a_stranger_cannot_stop_a_stream(client: Client, running: Installation, news: News) -> None:
    """Nor can another agent: the word to stop is sealed by the caller's own session."""
    news.go_on.clear()
    items = client.stream("tool:news/stepwise", {})
    assert next(items) == "first"
    event = items._call.sent.event
    stranger = ChunkSealer(keys_of("stranger"), client.connection.registry.readers_of("tool:news/stepwise"))
    Writer(running).put(event, *stranger.record(event, 2**31 - 1, os.urandom(16), b"", is_last=True))
    time.sleep(0.5)
    news.go_on.set()
    assert list(items) == ["second"]


@pytest.mark.parametrize("attack", ["gap", "more", "other", "repeated"])
def test_items_that_are_not_those_of_the_report_break_the_stream(
    client: Client, running: Installation, news: News, attack: str
) -> None:
    """Even from the tool's own key, as of another instance that lies; a repeated item changes nothing."""
    news.go_on.clear()
    items = client.stream("tool:news/stepwise", {})
    assert next(items) == "first"
    event, me = items._call.sent.event, client.connection.key
    sealer = ChunkSealer(tool_key(running.folder, "news"), [(me.kid, me.sealing.public)])
    index = {"gap": 5, "more": 1, "other": 1, "repeated": 0}[attack]
    Writer(running).put(event, *sealer.record(event, index, os.urandom(16), b'"forged"', is_last=False))
    time.sleep(0.3)
    news.go_on.set()
    if attack == "repeated":
        assert list(items) == ["second"]
        return
    with pytest.raises(StreamBrokenError):
        list(items)


# ---- declarations


def test_a_generator_must_say_that_it_streams() -> None:
    """Else its one result would be a generator, which has no JSON form; and no stream is begun again."""

    class Odd:
        @tool
        def items(self) -> Iterator[int]:
            yield 1

    class Twice:
        @tool(streams=True, idempotent=True)
        def items(self) -> Iterator[int]:
            yield 1

    for source in (Odd(), Twice()):
        with pytest.raises(ToolDeclarationError):
            collect_tools(source)


def test_a_stream_is_bounded(running: Installation, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """In items and in bytes: it breaks off there, and says so."""
    monkeypatch.setattr(limits, "STREAM_ITEMS_MAX", 3)
    me, key = client.connection.key, tool_key(running.folder, "news")
    stream = ItemStream(client.connection.link.bodies, key, os.urandom(32), (me.kid, me.sealing.public), 0)
    end = stream.sent(iter(range(10)))
    assert (end.reference.chunks, type(end.raised).__name__) == (3, "StreamTooLargeError")
