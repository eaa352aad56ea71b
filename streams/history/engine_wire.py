"""The messages between a replay and an engine host, over the two pipes of its process (docs/engines.md).

    message     u32 length ‖ u8 kind ‖ body               numbers are big-endian, the length is without itself

    replay to host
    HELLO       JSON: format, tenant, deployment, genesis, engine, data [{name, sha256}]
    ROW         lp(key) ‖ value                           a row of the state, as on the topic `state`
    TAIL        JSON: next_index, prev, now               the end of the state
    RECORD      a record of intake, see `pack_record`
    STATE       asks for the state

    host to replay
    READY       JSON: format
    OUTPUT      lp(topic) ‖ u32 partition ‖ opt(value)
    DONE        the record was folded; its outputs came before
    ELSEWHERE   another engine must decide the record; nothing has changed
    REFUSED     text: the ruling that the record names does not hold; nothing has changed
    ROW …, TAIL the state
    FAILED      text: the host cannot begin, or cannot go on

HELLO, every ROW and TAIL come first, and are answered by one READY. Then one question is open at a time: a RECORD is
answered by any number of OUTPUT and one of DONE, ELSEWHERE and REFUSED, a STATE by the state. `lp(x)` is u32 length
‖ x, `opt(x)` is 00 for none, else 01 ‖ lp(x).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from typing import Any, NamedTuple

from processors.intake.identify import Received, Ruling
from processors.proof.signing import length_prefixed as lp
from processors.state.tables import Tables
from schemas import limits
from schemas.errors import EvidenceError
from schemas.events.engines import EngineData

FORMAT = "macaw-engine/v1"
MESSAGE_BYTES_MAX = 2 * limits.OUTPUT_MESSAGE_BYTES_MAX  # an output, or a record of intake with its ruling
HEADERS_MAX = 1_000_000  # of one record: as many as the broker takes
LENGTH_BYTES = 4


class Kind(IntEnum):
    """The kind of a message."""

    HELLO = 1
    ROW = 2
    TAIL = 3
    RECORD = 4
    STATE = 5
    READY = 17
    FAILED = 18
    OUTPUT = 19
    DONE = 20
    ELSEWHERE = 21
    REFUSED = 22


class MessageError(EvidenceError):
    """The bytes on the pipe are not a message of this protocol."""


class Packet(NamedTuple):
    """One message."""

    kind: Kind
    body: bytes = b""


class Written(NamedTuple):
    """An output of the fold as far as a replay compares it: the topic's short name, its partition and the value."""

    topic: str
    partition: int
    value: bytes | None


def pack(kind: Kind, body: bytes = b"") -> bytes:
    """Return a message's bytes. Raises MessageError above MESSAGE_BYTES_MAX."""
    if len(body) >= MESSAGE_BYTES_MAX:
        raise MessageError(f"a message of {len(body)} bytes is too long, want at most {MESSAGE_BYTES_MAX - 1}")
    return (len(body) + 1).to_bytes(LENGTH_BYTES, "big") + bytes([kind]) + body


def read_message(read: Callable[[int], bytes]) -> Packet | None:
    """Return the next message, or None at the end. `read` returns exactly so many bytes, or fewer at the end.

    Raises:
        MessageError: the pipe ends inside a message, or the message is too long or of no known kind.
    """
    head = read(LENGTH_BYTES)
    if not head:
        return None
    length = int.from_bytes(head, "big")
    if len(head) < LENGTH_BYTES or not 0 < length <= MESSAGE_BYTES_MAX:
        raise MessageError(f"the pipe holds other bytes than messages: got a length of {length}")
    data = read(length)
    if len(data) < length:
        raise MessageError("the pipe ended inside a message")
    try:
        return Packet(Kind(data[0]), data[1:])
    except ValueError as exc:
        raise MessageError(f"got a message of kind {data[0]}, which is not known") from exc


def pack_json(kind: Kind, **members: Any) -> bytes:
    """Return a message whose body is JSON."""
    return pack(kind, json.dumps(members, sort_keys=True).encode())


def json_in(message: Packet) -> dict[str, Any]:
    """Return the members of a message. Raises MessageError."""
    try:
        found = json.loads(message.body)
    except (ValueError, RecursionError) as exc:
        raise MessageError(f"a message {message.kind.name} is not JSON") from exc
    if not isinstance(found, dict):
        raise MessageError(f"a message {message.kind.name} is not a JSON object")
    return found


def pack_hello(tables: Tables, engine: int, data: Iterable[EngineData]) -> bytes:
    """Return the first message: the log, and the engine that must decide."""
    told = [{"name": one.name, "sha256": one.sha256.hex()} for one in data]
    about = {"tenant": tables.tenant_id, "deployment": tables.deployment, "genesis": tables.genesis.hex()}
    return pack_json(Kind.HELLO, format=FORMAT, **about, engine=engine, data=told)


def pack_row(key: bytes, value: bytes) -> bytes:
    """Return a row of the state, key and value as on the topic `state`."""
    return pack(Kind.ROW, lp(key) + value)


def row_in(body: bytes) -> tuple[bytes, bytes]:
    """Return (key, value). Raises MessageError."""
    fields = _Fields(body)
    return fields.lp(), fields.rest()


def pack_output(written: Written) -> bytes:
    """Return an output."""
    return pack(Kind.OUTPUT, lp(written.topic.encode()) + written.partition.to_bytes(4, "big") + _opt(written.value))


def output_in(body: bytes) -> Written:
    """Return an output. Raises MessageError."""
    fields = _Fields(body)
    found = Written(fields.lp().decode("ascii", "replace"), fields.number(4), fields.opt())
    fields.end()
    return found


def pack_record(received: Received) -> bytes:
    """Return a record of intake.

    u32 partition ‖ u64 offset ‖ i64 append time in ms ‖ opt(value) ‖ u32 number of headers ‖ (lp(name) ‖ opt(value))… ‖
    00, or 01 ‖ lp(leaf of the ruling) ‖ the ruling's own record in this form
    """
    return pack(Kind.RECORD, b"".join(_record(received)))


def _record(received: Received) -> Iterator[bytes]:
    yield received.partition.to_bytes(4, "big") + received.offset.to_bytes(8, "big")
    yield received.appended_at.to_bytes(8, "big", signed=True)
    yield _opt(received.value)
    yield len(received.headers).to_bytes(4, "big")
    for name, value in received.headers:
        yield lp(name.encode("utf-8", "surrogatepass")) + _opt(value)
    if received.ruling is None:
        yield b"\0"
    else:
        yield b"\1" + lp(received.ruling.leaf)
        yield from _record(received.ruling.event)


def record_in(body: bytes) -> Received:
    """Return a record of intake. Raises MessageError."""
    fields = _Fields(body)
    found = _received(fields, may_be_ruled=True)
    fields.end()
    return found


def _received(fields: _Fields, *, may_be_ruled: bool) -> Received:
    partition, offset, appended_at = fields.number(4), fields.number(8), fields.number(8, signed=True)
    value, count = fields.opt(), fields.number(4)
    if count > HEADERS_MAX:
        raise MessageError(f"a record has {count} headers, want at most {HEADERS_MAX}")
    headers = [(fields.lp().decode("utf-8", "surrogatepass"), fields.opt()) for _ in range(count)]
    ruling = None
    if fields.number(1):
        if not may_be_ruled:
            raise MessageError("a ruling has a ruling")
        ruling = Ruling(fields.lp(), _received(fields, may_be_ruled=False))
    return Received(partition, offset, appended_at, value, headers, ruling)


def _opt(value: bytes | None) -> bytes:
    return b"\0" if value is None else b"\1" + lp(value)


class _Fields:
    """Reads the fields of a body, in order."""

    def __init__(self, body: bytes) -> None:
        self._body, self._at = body, 0

    def _take(self, size: int) -> bytes:
        found = self._body[self._at : self._at + size]
        if len(found) < size:
            raise MessageError("a message is too short for its fields")
        self._at += size
        return found

    def number(self, size: int, *, signed: bool = False) -> int:
        return int.from_bytes(self._take(size), "big", signed=signed)

    def lp(self) -> bytes:
        return self._take(self.number(4))

    def opt(self) -> bytes | None:
        return self.lp() if self.number(1) else None

    def rest(self) -> bytes:
        return self._take(len(self._body) - self._at)

    def end(self) -> None:
        if self._at < len(self._body):
            raise MessageError("a message goes on after its last field")
