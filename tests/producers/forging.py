"""Records as a monitor that lies would write them: signed by its own key, sealed by it, and untrue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from confluent_kafka import TIMESTAMP_CREATE_TIME

from processors.effects import Output, output_place
from processors.proof import signing
from processors.proof.signing import KID_HEADER, PROOF_HEADER
from producers.home.keys import KeyPair
from producers.kafka.registry_view import RegistryView
from schemas import codec
from schemas.records import Decision, Result
from streams.worker.signing.decision_keys import Sealer
from tests.world import World


class HasWorld(Protocol):
    """An office, or whatever else stands in a world."""

    @property
    def world(self) -> World: ...


class TwinRegistry(RegistryView):
    """The registry of a `World`, in memory: the same rows that following the topic gives, without a broker."""

    def __init__(self, place: HasWorld) -> None:  # no topic to read
        self._tables = place.world.tables
        self._rotated = {}

    def refresh(self, *, seconds: float = 0) -> None:
        """There is nothing to read on."""


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
