"""Bodies on a real broker: a reader gets what the sender published, and passes over everything else on the topic."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from processors.proof.sealing import PAYLOAD_HEADER
from producers.home.keys import KeyPair
from producers.kafka.bodies import Bodies, BodyMissingError, Wanted
from producers.kafka.body_records import ChunkSealer, Gathering, Outgoing, opened_chunk
from producers.kafka.publisher import PublishError
from schemas import codec, limits
from schemas.events.bodies import BodyChunk
from schemas.topics import BODIES, KEYED_PARTITIONS, keyed_partition
from streams.local.choose import BrokerInfo
from tests.builders import keys_of
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.broker

SENDER, READER, OTHER = keys_of("sender"), keys_of("reader"), keys_of("other")
CONTENT = secrets.token_bytes(2 * limits.BODY_CHUNK_BYTES + 7)


class Desk:
    """One topic of bodies."""

    def __init__(self, bootstrap: str, tenant: str) -> None:
        self.bodies = Bodies(bootstrap, tenant=tenant)
        self._producer = Producer({"bootstrap.servers": bootstrap, "message.max.bytes": 4_000_000})
        self._topic = BODIES.of(tenant)

    def put(self, body: bytes, value: bytes, header: bytes) -> None:
        """Append any record at all, as whoever may write to the topic can."""
        headers: list[tuple[str, Any]] = [(PAYLOAD_HEADER, header)]
        self._producer.produce(self._topic, value, key=body, partition=keyed_partition(body), headers=headers)
        assert self._producer.flush(PATIENCE_SECONDS) == 0

    def fetch(self, *bodies: Outgoing, sender: KeyPair = SENDER, key: KeyPair = READER) -> dict[bytes, bytes]:
        references = tuple(one.reference for one in bodies)
        now_ms = int(time.time() * 1000)
        wanted = Wanted(references=references, key=key, sender=sender.sealing.public, since_ms=now_ms)
        return self.bodies.fetch(wanted, seconds=0.3)


@pytest.fixture(scope="module")
def desk(broker: BrokerInfo) -> Iterator[Desk]:
    tenant = f"t{secrets.token_hex(4)}"
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    topic = NewTopic(BODIES.of(tenant), KEYED_PARTITIONS, 1, config=BODIES.config())
    for made in admin.create_topics([topic]).values():
        made.result(PATIENCE_SECONDS)
    found = Desk(broker.bootstrap, tenant)
    yield found
    found.bodies.close()


def to(*readers: KeyPair) -> list[tuple[bytes, bytes]]:
    return [(one.kid, one.sealing.public) for one in readers]


def chunks(body: Outgoing, sender: KeyPair = SENDER, reader: KeyPair = READER) -> list[tuple[bytes, bytes]]:
    return list(ChunkSealer(sender, to(reader)).records(body))


@pytest.mark.parametrize("size", [0, 1, limits.BODY_CHUNK_BYTES, limits.BODY_CHUNK_BYTES + 1, 5_000_000])
def test_what_is_fetched_is_what_was_sent(desk: Desk, size: int) -> None:
    """By each of its readers, and by nobody else."""
    body = Outgoing.of(secrets.token_bytes(size))
    desk.bodies.send([body], SENDER, to(READER, OTHER))

    for reader in (READER, OTHER):
        assert desk.fetch(body, key=reader) == {body.reference.digest: body.content}
    with pytest.raises(BodyMissingError, match=body.reference.digest.hex()):
        desk.fetch(body, key=keys_of("a third"))


def test_several_bodies_come_together(desk: Desk) -> None:
    """Over all partitions."""
    bodies = [Outgoing.of(b"%d" % at) for at in range(limits.BODIES_PER_CALL_MAX)]
    desk.bodies.send(bodies, SENDER, to(READER))
    assert desk.fetch(*bodies) == {one.reference.digest: one.content for one in bodies}


def test_a_body_that_comes_late_is_waited_for(desk: Desk) -> None:
    body = Outgoing.of(CONTENT)
    first, *others = chunks(body)
    desk.put(body.reference.digest, *first)
    with pytest.raises(BodyMissingError):
        desk.fetch(body)
    for one in others:
        desk.put(body.reference.digest, *one)
    assert desk.fetch(body) == {body.reference.digest: CONTENT}


def test_the_body_of_another_sender_is_none(desk: Desk) -> None:
    """Swapped by whoever may write to the topic: it does not open as the named sender's."""
    body = Outgoing.of(CONTENT)
    desk.bodies.send([body], OTHER, to(READER))
    with pytest.raises(BodyMissingError):
        desk.fetch(body)


def test_chunks_of_another_body_are_passed_over(desk: Desk) -> None:
    """Sealed by the right sender to the right reader, and put under another digest, or replayed from another call."""
    theirs, ours = Outgoing.of(b"x" * len(CONTENT)), Outgoing.of(CONTENT)
    for value, header in chunks(theirs):
        said: BodyChunk = codec.decode_as(BodyChunk, value)
        desk.put(ours.reference.digest, value, header)
        desk.put(ours.reference.digest, codec.frame(replace(said, body=ours.reference.digest)), header)
    with pytest.raises(BodyMissingError):
        desk.fetch(ours)
    desk.bodies.send([ours], SENDER, to(READER))
    assert desk.fetch(ours) == {ours.reference.digest: CONTENT}


def test_a_repeated_or_reordered_chunk_changes_nothing(desk: Desk) -> None:
    """The index that counts is inside the seal."""
    body = Outgoing.of(CONTENT)
    for value, header in [*reversed(chunks(body)), *chunks(body)]:
        said: BodyChunk = codec.decode_as(BodyChunk, value)
        desk.put(body.reference.digest, codec.frame(replace(said, index=0)), header)
    assert desk.fetch(body) == {body.reference.digest: CONTENT}


def test_rubbish_under_the_digest_is_passed_over(desk: Desk) -> None:
    """No record of any content stops a reader."""
    body = Outgoing.of(CONTENT)
    (value, header), *_ = chunks(body)
    for one in [(b"", b""), (value, b""), (value, header[:100]), (value[:-1], header), (value, header + b"x")]:
        desk.put(body.reference.digest, *one)
    desk.bodies.send([body], SENDER, to(READER))
    assert desk.fetch(body) == {body.reference.digest: CONTENT}


@pytest.mark.parametrize("change", [{"size": len(CONTENT) - 1}, {"size": len(CONTENT) + 1}, {"digest": b"d" * 32}])
def test_a_body_that_is_not_as_it_was_named_is_missing(desk: Desk, change: dict[str, Any]) -> None:
    """A lying size, or a digest of something else: the sender has sealed it, and it does not count."""
    body = Outgoing.of(CONTENT)
    named = replace(body, reference=replace(body.reference, **change))
    sealer = ChunkSealer(SENDER, to(READER))
    for index, content in enumerate(body.chunks()):
        value, header = sealer.record(named.reference.digest, index, body.salt, content, is_last=False)
        desk.put(named.reference.digest, value, header)
    with pytest.raises(BodyMissingError):
        desk.fetch(named)


def test_a_chunk_shows_nothing_of_its_content(desk: Desk) -> None:
    """Nor a digest that could be found by trial: the salt is inside each payload."""
    body, same = Outgoing.of(b"yes"), Outgoing.of(b"yes")
    assert body.reference.digest != same.reference.digest
    ((value, header),), ((other, _),) = chunks(body), chunks(same)
    first, second = (codec.decode_as(BodyChunk, one) for one in (value, other))
    assert first.payload_sha256 != second.payload_sha256
    assert b"yes" not in value + header
    assert "yes" not in repr(body)


def test_a_body_cannot_be_sent_to_nobody(desk: Desk) -> None:
    with pytest.raises(PublishError) as failed:
        desk.bodies.send([Outgoing.of(b"x")], SENDER, [])
    assert failed.value.never_sent


def test_a_gathering_holds_no_more_than_its_size() -> None:
    """Chunks of other sizes, and behind the last, are dropped at once."""
    body = Outgoing.of(CONTENT)
    gathering = Gathering(body.reference)
    for index, content in ((0, b"short"), (3, CONTENT[:7]), (2, CONTENT[: limits.BODY_CHUNK_BYTES])):
        value, header = ChunkSealer(SENDER, to(READER)).record(
            body.reference.digest, index, body.salt, content, is_last=False
        )
        opened = opened_chunk(Record(value, header), body.reference.digest, READER, SENDER.sealing.public)
        assert opened is not None
        gathering.take(opened)
    assert not gathering.is_whole
    assert gathering._found == {}


class Record:
    """A record as the library gives it."""

    def __init__(self, value: bytes, header: bytes) -> None:
        self._value, self._header = value, header

    def value(self) -> bytes:
        return self._value

    def headers(self) -> list[tuple[str, bytes]]:
        return [(PAYLOAD_HEADER, self._header)]
