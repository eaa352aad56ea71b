r"""Chunks of bodies as records of `bodies`: sealed by their sender to their readers, and opened again.

    payload of a chunk = body's digest ‖ u32 index ‖ salt (16 bytes) ‖ content of the chunk

The record shows the digest and the index too, but it is not signed: only the inside of the seal counts. The salt is one
for all chunks of a body, and makes `payload_sha256` of each of them as secret as the content.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from processors.calls.bodies import INDEX_BYTES, SALT_BYTES, body_digest, chunk_payload, reference_to
from processors.proof import sealing
from processors.proof.sealing import NONCE_BYTES, SealingError
from producers.home.keys import KeyPair
from producers.kafka.consuming import headers_of
from schemas import codec, limits
from schemas.events.bodies import BodyChunk, BodyReference

Recipients = Sequence[tuple[bytes, bytes]]  # the kid and the X25519 key of each reader, 1 to 16

CANCEL_INDEX = 2**31 - 1  # of a caller's record under the key of a stream: the tool is to stop it
_HEAD_BYTES = limits.DIGEST_BYTES + INDEX_BYTES + SALT_BYTES


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A body before it is sent. Its repr shows its digest only."""

    reference: BodyReference
    salt: bytes = field(repr=False)
    content: bytes = field(repr=False)

    @classmethod
    def of(cls, content: bytes) -> Outgoing:
        """Return a body with a fresh salt. Two bodies of one content have different digests."""
        salt = os.urandom(SALT_BYTES)
        return cls(reference_to(salt, content), salt, content)

    def chunks(self) -> Iterator[bytes]:
        """Yield the content of each chunk."""
        for index in range(self.reference.chunks):
            yield self.content[index * limits.BODY_CHUNK_BYTES : (index + 1) * limits.BODY_CHUNK_BYTES]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk that was opened: it stands under this digest and index by its sender's word."""

    index: int
    salt: bytes = field(repr=False)
    content: bytes = field(repr=False)
    payload_sha256: bytes


class ChunkSealer:
    """Seals chunks from one key to some readers."""

    def __init__(self, key: KeyPair, recipients: Recipients) -> None:
        """Derive the key shared with each reader once. Raises SealingError where one is not usable."""
        self._sender = key
        self._recipients = [(kid, key.sealing.shared_with(x25519)) for kid, x25519 in recipients]

    def record(self, body: bytes, index: int, salt: bytes, content: bytes, *, is_last: bool) -> tuple[bytes, bytes]:
        """Return the value and the payload header of one chunk. Raises SealingError without 1 to 16 readers."""
        value, header, _ = self.sealed(body, index, salt, content, is_last=is_last)
        return value, header

    def sealed(
        self, body: bytes, index: int, salt: bytes, content: bytes, *, is_last: bool = False
    ) -> tuple[bytes, bytes, bytes]:
        """Return the value, the payload header and the payload's digest of one chunk. Raises as `record`."""
        payload = chunk_payload(body, index, salt, content)
        header = sealing.seal(
            payload,
            self._sender.sealing.public,
            self._recipients,
            content_key=os.urandom(sealing.KEY_BYTES),
            nonces=os.urandom((len(self._recipients) + 1) * NONCE_BYTES),
        )
        digest = sha256(payload).digest()
        chunk = BodyChunk(body=body, session_id=self._sender.kid, index=index, is_last=is_last, payload_sha256=digest)
        return codec.frame(chunk), header, digest

    def records(self, one: Outgoing) -> Iterator[tuple[bytes, bytes]]:
        """Yield the value and the payload header of each chunk of a body. Raises SealingError."""
        last = one.reference.chunks - 1
        for index, content in enumerate(one.chunks()):
            yield self.record(one.reference.digest, index, one.salt, content, is_last=index == last)


def opened_chunk(message: Any, body: bytes, key: KeyPair, sender: bytes) -> Chunk | None:
    """Return the chunk of a body in a record, None if it is not one that `sender` sealed to `key` for this body.

    Anybody who may write to the topic can put a record there: one that does not hold is passed over in silence.
    """
    return opened_payload(message, payload_header(message), body, key, sender)


def payload_header(message: Any) -> bytes:
    """Return the one payload header of a record, empty where it has none or several. To be called once for a record."""
    sealed = [value for name, value in headers_of(message) if name == sealing.PAYLOAD_HEADER]
    return sealed[0] or b"" if len(sealed) == 1 else b""


def opened_payload(message: Any, header: bytes, body: bytes, key: KeyPair, sender: bytes) -> Chunk | None:
    """Return the same as `opened_chunk`, for a record whose payload header was read before."""
    try:
        said: BodyChunk = codec.decode_as(BodyChunk, message.value() or b"")
        payload = key.open_sealed(header, sender, said.payload_sha256)
    except (codec.SchemaError, SealingError):
        return None
    if len(payload) < _HEAD_BYTES or payload[: limits.DIGEST_BYTES] != body:
        return None
    index = int.from_bytes(payload[limits.DIGEST_BYTES :][:INDEX_BYTES], "big")
    salt = payload[_HEAD_BYTES - SALT_BYTES : _HEAD_BYTES]
    return Chunk(index, salt, payload[_HEAD_BYTES:], said.payload_sha256)


class Gathering:
    """The chunks of one body as they come, in any order and any number of times. Holds no more than the body's size."""

    def __init__(self, reference: BodyReference) -> None:
        self._reference = reference
        self._found: dict[int, Chunk] = {}

    def take(self, chunk: Chunk) -> None:
        """Take a chunk, unless it has another size than it must have, or came before."""
        last = self._reference.chunks - 1
        rest = self._reference.size - last * limits.BODY_CHUNK_BYTES
        if 0 <= chunk.index <= last and len(chunk.content) == (
            rest if chunk.index == last else limits.BODY_CHUNK_BYTES
        ):
            self._found.setdefault(chunk.index, chunk)

    @property
    def is_whole(self) -> bool:
        """Whether every chunk has come."""
        return len(self._found) == self._reference.chunks

    def content(self) -> bytes | None:
        """Return the content, None if it does not have the digest that the reference names. Requires all chunks."""
        chunks = [self._found[index] for index in range(self._reference.chunks)]
        content = b"".join(one.content for one in chunks)
        return content if body_digest(chunks[0].salt, content) == self._reference.digest else None
