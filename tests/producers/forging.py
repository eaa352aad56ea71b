"""Records as a monitor that lies would write them: signed by its own key, sealed by it, and untrue."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol

from confluent_kafka import TIMESTAMP_CREATE_TIME

from processors.effects import Output, output_place
from processors.proof import signing
from processors.proof.signing import KID_HEADER, PROOF_HEADER
from producers.home.keys import KeyPair
from producers.kafka.followed_topic import FollowedTopic
from producers.kafka.registry_view import RegistryView
from producers.kafka.sessions_view import SessionsView
from schemas import codec
from schemas.records import Decision, Result
from schemas.topics import REGISTRY, SESSIONS, Topic
from streams.worker.signing.decision_keys import Sealer
from tests.world import World


class HasWorld(Protocol):
    """An office, or whatever else stands in a world."""

    @property
    def world(self) -> World: ...


@dataclass
class Stored:
    """A record that stands on a topic, as a consumer hands it over."""

    output: Output

    def partition(self) -> int:
        return self.output.partition

    def key(self) -> bytes | None:
        return self.output.key

    def value(self) -> bytes | None:
        return self.output.value

    def timestamp(self) -> tuple[int, int]:
        return TIMESTAMP_CREATE_TIME, 0

    def headers(self) -> list[tuple[str, bytes]]:
        return list(self.output.headers)


class TwinTopic(FollowedTopic):
    """A topic that is followed, in memory: what the world's step wrote there, without a broker."""

    def __init__(self, world: World, topic: Topic, fold: Callable[[Any], None]) -> None:  # no consumer
        self.name, self._fold, self._world, self._topic = topic.of(world.tenant), fold, world, topic
        self._read = 0

    def refresh(self, *, seconds: float = 0) -> None:
        new, self._read = self._world.followed[self._read :], len(self._world.followed)
        for output in new:
            if output.topic is self._topic:
                self._fold(Stored(output))

    freshen = refresh

    def last_of(self, partition: int, keys: Collection[bytes], *, seconds: float) -> dict[bytes, Any]:
        there = [one for one in self._world.followed if one.topic is self._topic and one.partition == partition]
        return {one.key: Stored(one) for one in there if one.key is not None and one.key in keys}


class TwinRegistry(RegistryView):
    """The registry of a `World`, followed as from its topic."""

    def __init__(self, place: HasWorld) -> None:
        self._begin(place.world.fresh_tables())
        self._topic = TwinTopic(place.world, REGISTRY, self._fold)
        self.refresh()


class TwinSessions(SessionsView):
    """The sessions of a `World`, followed as from their topic."""

    def __init__(self, place: HasWorld, registry: RegistryView | None = None) -> None:
        self._begin(registry or TwinRegistry(place))
        self._topic = TwinTopic(place.world, SESSIONS, self._fold)


@dataclass
class Record:
    """A record as a consumer hands it over."""

    output: Output
    tenant: str
    signed_by: KeyPair
    sealed_by: KeyPair
    stamped: tuple[int, int] = (TIMESTAMP_CREATE_TIME, 0)

    def topic(self) -> str:
        return self.output.topic.of(self.tenant)

    def partition(self) -> int:
        return self.output.partition

    def offset(self) -> int:
        return 0

    def timestamp(self) -> tuple[int, int]:
        return self.stamped

    def key(self) -> bytes | None:
        return self.output.key

    def value(self) -> bytes | None:
        return self.output.value

    def headers(self) -> list[tuple[str, bytes]]:
        assert self.output.leaf is not None
        [proof] = self.signed_by.signing.sign_leaves([self.output.leaf])
        headers = [*self.output.headers, (PROOF_HEADER, proof), (KID_HEADER, self.signed_by.kid)]
        if self.output.payload is not None:
            headers.append(Sealer(self.sealed_by.sealing).header(self.output))
        return headers


def record_of(place: HasWorld, output: Output, *, signed_by: KeyPair | None = None) -> Record:
    key = signed_by or place.world.monitor.keys
    return Record(output, place.world.tenant, key, key)


def forged(place: HasWorld, output: Output, record: Decision | Result, payload: bytes | None = None) -> Record:
    """Another record in the place of an output, signed by the monitor."""
    name = type(record).__name__
    tag = signing.DECISION_TAG if isinstance(record, Decision) else signing.RESULT_TAG
    body = codec.encode(record)
    topic = output.topic.of(place.world.tenant)
    leaf = output_place(tag, place.world.tables.genesis, topic, output.partition, name).leaf(body)
    kept = output.payload if payload is None else payload
    return record_of(place, output._replace(value=codec.frame(record), leaf=leaf, payload=kept))
