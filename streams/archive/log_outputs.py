"""The decisions and results of one audit entry after the other, gathered from their eight partitions.

Kafka keeps no order between partitions. The order in which a record caused its outputs stands in their proofs: outputs
are signed in that order, and the audit entry after them, at most 1,024 under one head.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Sequence
from typing import NamedTuple

from confluent_kafka import Consumer, Message, TopicPartition

from processors.evidence.archive.contents import output_leaf, outputs_root
from processors.evidence.archive.segment import OUTPUT_TOPICS, PARTITIONS, Owner, StoredOutput
from processors.evidence.archive.signers import MonitorKeys
from processors.proof.merkle import EMPTY_ROOT
from processors.proof.signing import KID_HEADER, PROOF_FIXED_BYTES, PROOF_HEADER, MalformedProofError, Proof
from producers.kafka.consuming import ReadPosition, ReadTimeoutError, headers_of, take
from schemas import codec
from schemas.records import AuditEntry
from streams.history.partitions import IDLE_SECONDS
from streams.history.set_aside import NOTHING, SetAside, offsets_of

Headers = Sequence[tuple[str, bytes | None]]
AHEAD_BYTES_MAX = 8 * 1024 * 1024  # of one partition that waits for the others
CLAIM_BYTES = 1024  # about what the objects of one waiting record take beside its bytes


class _Claimed(NamedTuple):
    """A record that says of itself that it is an output of an entry; of its headers only these two are kept."""

    stored: StoredOutput
    kid: bytes
    proof: Proof

    @property
    def place(self) -> tuple[int, int]:
        """Its topic and partition."""
        return self.stored.topic, self.stored.partition

    @property
    def size(self) -> int:
        """The bytes that it takes in memory."""
        return len(self.stored.value) + len(self.kid) + PROOF_FIXED_BYTES + len(self.proof.path) + CLAIM_BYTES


class OutputsReader:
    """The outputs of one tenant's log from some offsets on up to the present ends. Entries are asked for in order."""

    def __init__(
        self,
        consumer: Consumer,
        owner: Owner,
        keys: MonitorKeys,
        *,
        starts: Sequence[int],
        ends: Sequence[int],
        set_aside: SetAside = NOTHING,
    ) -> None:
        """`starts` and `ends` are offsets as in a segment's `next_offsets`. The consumer is assigned until `close`.

        Records that are `set_aside` are read past.
        """
        self._consumer, self._owner, self._keys = consumer, owner, keys
        self._origin = _varint_text(owner.origin)
        self._names = {topic.of(owner.tenant): kind for kind, topic in enumerate(OUTPUT_TOPICS)}
        self._claimed: dict[int, list[_Claimed]] = {}  # by audit index
        self._last = dict.fromkeys(PARTITIONS, -1)  # the audit index of each partition's last record
        self._sizes = dict.fromkeys(PARTITIONS, 0)  # bytes that wait, see `_Claimed.size`
        self._ends = {place: ends[at] for place, at in PARTITIONS.items()}
        self._aside = {(kind, at): offsets_of(set_aside, OUTPUT_TOPICS[kind], at) for kind, at in PARTITIONS}
        self._positions = {place: ReadPosition(starts[at]) for place, at in PARTITIONS.items()}
        self._paused: set[tuple[int, int]] = set()
        self._asked = 0  # records of earlier entries are not kept
        unread = [place for place in PARTITIONS if not self._is_read(place)]
        if unread:
            consumer.assign([self._partition(place, self._positions[place].offset) for place in unread])

    def of(self, entry: AuditEntry, head: bytes) -> tuple[StoredOutput, ...] | None:
        """Return the outputs of an entry in signed order, None if the topics do not have all of them.

        `head` is the signature in the entry's own proof.

        Raises:
            ReadTimeoutError: nothing came for IDLE_SECONDS.
        """
        self._asked = entry.index
        if entry.outputs == EMPTY_ROOT:
            self._forget(entry.index)
            return ()
        until = time.monotonic() + IDLE_SECONDS
        while (found := self._matching(entry, head)) is None:
            if self._has_all(entry.index):
                # A record of somebody else may stand between them: without access rules any client can write here.
                self._drop_foreign(entry.index)
                found = self._matching(entry, head)
                if found is not None or self._has_all(entry.index):
                    break
            if self._poll():
                until = time.monotonic() + IDLE_SECONDS
            elif time.monotonic() > until:
                raise ReadTimeoutError(f"the outputs of entry {entry.index} of {entry.origin} do not come")
        self._forget(entry.index)
        return found

    def close(self) -> None:
        """Let go of the partitions."""
        self._consumer.unassign()

    def _matching(self, entry: AuditEntry, head: bytes) -> tuple[StoredOutput, ...] | None:
        """Return the outputs that name an entry, if their root is that of the entry."""
        found = self._claimed.get(entry.index)
        if found is None:
            return None
        ordered = found if len(found) == 1 else sorted(found, key=functools.partial(_order, head))
        outputs = tuple(one.stored for one in ordered)
        return outputs if outputs_root(outputs, self._owner) == entry.outputs else None

    def _has_all(self, index: int) -> bool:
        """Return True if no further output of an entry can come."""
        return all(self._is_read(place) or last > index for place, last in self._last.items())

    def _is_read(self, place: tuple[int, int]) -> bool:
        return self._positions[place].offset >= self._ends[place]

    def _drop_foreign(self, index: int) -> None:
        """Drop records that claim this entry or a later one: those that no monitor signed, and second copies."""
        last, sizes = dict.fromkeys(PARTITIONS, -1), dict.fromkeys(PARTITIONS, 0)
        for at in sorted(self._claimed):
            kept = self._claimed[at] if at < index else self._signed_once(self._claimed[at])
            if kept:
                self._claimed[at] = kept
            else:
                del self._claimed[at]
            for one in kept:
                sizes[one.place] += one.size
                last[one.place] = at
        self._last, self._sizes = last, sizes

    def _signed_once(self, claimed: Sequence[_Claimed]) -> list[_Claimed]:
        """Return the records that a monitor signed; of equal ones in a partition the first, the rest are copies."""
        first: dict[tuple[tuple[int, int], bytes], _Claimed] = {}
        for one in claimed:
            leaf = output_leaf(one.stored, self._owner)
            if leaf is not None and (one.place, leaf) not in first and self._keys.signed(leaf, one.kid, one.proof):
                first[one.place, leaf] = one
        return list(first.values())

    def _forget(self, index: int) -> None:
        """Forget the outputs of an entry, and let partitions that waited go on."""
        for one in self._claimed.pop(index, ()):
            self._sizes[one.place] -= one.size
        for place in [p for p in self._paused if self._sizes[p] < AHEAD_BYTES_MAX // 2]:
            self._paused.discard(place)
            self._consumer.resume([self._partition(place)])

    def _poll(self) -> bool:
        """Take the records that have come; return False if none has."""
        if len(self._paused) == sum(not self._is_read(place) for place in PARTITIONS):
            self._consumer.resume([self._partition(place) for place in self._paused])  # nothing else can bring it
            self._paused.clear()
        messages = take(self._consumer, 512, 0.1)
        for message in messages:
            place = self._names[message.topic() or ""], message.partition() or 0
            if self._positions[place].note(message) and message.offset() not in self._aside[place]:
                self._keep(place, message)
        return bool(messages)

    def _keep(self, place: tuple[int, int], message: Message) -> None:
        value = message.value() or b""
        index = self._index_in(value)
        if index is None or index < self._asked:
            return
        kid, proof = proof_in(headers_of(message))
        if proof is None:
            return
        kind, partition = place
        one = _Claimed(StoredOutput(kind, partition, message.offset() or 0, value), kid, proof)
        self._claimed.setdefault(index, []).append(one)
        self._last[place] = index
        self._sizes[place] += one.size
        if self._sizes[place] > 4 * AHEAD_BYTES_MAX:  # no honest partition is so far ahead
            self._drop_foreign(self._asked)
        if self._sizes[place] > AHEAD_BYTES_MAX and place not in self._paused and not self._is_read(place):
            self._paused.add(place)
            self._consumer.pause([self._partition(place)])

    def _index_in(self, value: bytes) -> int | None:
        """Return the audit index in a decision or result of this log, None for another record."""
        schema_id = int.from_bytes(value[1:5], "big")
        if value[:1] != b"\0" or not _begins_with_index(schema_id) or not value.startswith(self._origin, 5):
            return None
        number = shift = 0
        for byte in value[5 + len(self._origin) : 15 + len(self._origin)]:
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number >> 1 if not number & 1 else None
            shift += 7
        return None

    def _partition(self, place: tuple[int, int], offset: int = -1001) -> TopicPartition:
        kind, partition = place
        return TopicPartition(OUTPUT_TOPICS[kind].of(self._owner.tenant), partition, offset)


def _order(head: bytes, one: _Claimed) -> tuple[bool, int]:
    """Return the place of an output in its entry: outputs under an earlier head than the entry's come first."""
    return one.proof.signature == head, one.proof.leaf_index


@functools.cache
def _begins_with_index(schema_id: int) -> bool:
    """Return True if the records of a schema begin with their origin and their audit index, as all do so far."""
    schema = codec.published().get(schema_id)
    if schema is None:
        return False
    fields = [field["name"] for field in json.loads(schema.text).get("fields", ())]
    return schema.name in {f"{codec.NAMESPACE}.{n}" for n in ("Decision", "Result")} and fields[:2] == [
        "origin",
        "audit_index",
    ]


def _varint_text(text: str) -> bytes:
    """Return a text as Avro writes it: its length as a zigzag varint, and its UTF-8."""
    data = text.encode()
    number, out = len(data) << 1, bytearray()
    while number > 0x7F:
        out.append((number & 0x7F) | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out) + data


def proof_in(headers: Headers) -> tuple[bytes, Proof | None]:
    """Return the kid and the proof in a record's headers; None unless there is exactly one well-formed proof."""
    kids = [value for name, value in headers if name == KID_HEADER]
    proofs = [value for name, value in headers if name == PROOF_HEADER]
    if len(kids) != 1 or len(proofs) != 1 or kids[0] is None or proofs[0] is None or len(kids[0]) != 32:
        return b"", None
    try:
        return kids[0], Proof.parse(proofs[0])
    except MalformedProofError:
        return b"", None
