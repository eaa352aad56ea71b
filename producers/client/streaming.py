"""The items of a streaming tool, as they come: verified one by one, and as a whole at the end.

Each item is sealed to this session by a live key of the tool. The tool's signed report names their number and digest,
so items that are missing, added or exchanged are an error at the latest at the end. An item is given out before that.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from hashlib import sha256
from typing import Any, Self

from confluent_kafka import KafkaException

from processors.calls.bodies import SALT_BYTES, STREAM_TAG
from processors.proof import sealing
from processors.proof.sealing import SealingError
from producers.client.open_call import CallPatience, OpenCall, waited, waits
from producers.kafka.answers import Answer
from producers.kafka.bodies import Following
from producers.kafka.body_records import CANCEL_INDEX, ChunkSealer, opened_payload, payload_header
from producers.kafka.connection import Connection
from producers.kafka.consuming import UnreadableBatchError
from producers.kafka.outcomes import NoAnswerError, result_of
from producers.kafka.publisher import PublishError
from schemas import limits
from schemas.errors import EvidenceError
from schemas.events.bodies import BodyReference
from schemas.words import Outcome

LOOK_SECONDS = 0.05
LATE_SECONDS = 30.0  # for items after the report that counts them: they were sent before it
CLOSE_SECONDS = 10.0
KEYS_SECONDS = 5.0  # between looks for a new instance of the tool


class StreamBrokenError(EvidenceError):
    """The items of a stream are not those that the tool's report counts. Items that were given out may be forged."""


class ResultStream(Iterator[Any], AbstractContextManager["ResultStream"]):
    """The items of one call. One thread reads them; leaving its block, or `close`, stops the tool."""

    def __init__(self, connection: Connection, call: OpenCall, patience: CallPatience) -> None:
        """Follow a call that was begun. It is left after `patience.seconds` without an item or an answer."""
        self._connection, self._call, self._patience = connection, call, patience
        self._ready: deque[Any] = deque()
        self._count, self._size, self._hash = 0, 0, sha256(STREAM_TAG)
        self._senders: frozenset[bytes] = frozenset()
        self._sender = b""
        self._looked_at = -KEYS_SECONDS
        self._until = time.monotonic() + waited(patience.seconds)
        self._late_until = 0.0
        self._is_over = self._is_left = False
        self._pending = call.sent.pending  # the next answer that says that the call waits
        self._following: Following | None = None
        self._opened = ExitStack()
        self.answer: Answer | None = None  # the final one, once the stream has ended

    def __next__(self) -> Any:
        """Return the next item.

        Raises:
            StopIteration: the tool has ended the stream, and every item of it was given out.
            FailedError: the tool broke off; the items before were given out.
            StreamBrokenError: the items are not those that the tool's report names.
            DeniedError, RefusedError, UnknownOutcomeError, NoAnswerError, PublishError: as `Client.invoke`.
        """
        try:
            while not self._ready and not self._is_over and not self._is_left:
                self._advance()
        except (KafkaException, UnreadableBatchError) as exc:
            self._end()
            raise NoAnswerError(f"the items of the stream cannot be read: {exc}") from exc
        except BaseException:
            self._end()
            raise
        if not self._ready:
            raise StopIteration
        return self._ready.popleft()

    @property
    def is_over(self) -> bool:
        """Whether no further item comes: the stream has ended, or was closed."""
        return self._is_over

    def leave(self) -> None:
        """Let the thread that waits for an item come back within a moment, as at the end; `close` then ends the stream.

        Any thread may call it.
        """
        self._is_left = True

    def close(self) -> None:
        """End the stream: if the tool has not, it is told to stop, and reports that it was. Raises nothing."""
        if not self._is_over:
            with suppress(PublishError, SealingError):
                self._tell_to_stop()
            self._call.sent.give_up()
        self._ready.clear()
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _end(self) -> None:
        self._is_over = True
        self._opened.close()

    # ---- reading

    def _advance(self) -> None:
        """Read on until something has come, or the call has ended. Raises as `__next__`."""
        sent = self._call.sent
        if self._following is None:
            if sent.event:
                since = sent.sent_ms - limits.BODY_UPLOAD_MS
                bodies = self._connection.link.bodies
                self._following = self._opened.enter_context(bodies.following(sent.event, since))
            elif not sent.answer.done():
                time.sleep(LOOK_SECONDS / 10)
        before = self._count
        for message in self._following.take(LOOK_SECONDS) if self._following is not None else ():
            self._take(message)
        if self._count > before:
            self._until = time.monotonic() + waited(self._patience.seconds)
        elif sent.answer.done():
            self._finish(sent.answer.result())
        elif self._pending.done() and not self._pending.cancelled():
            told, self._pending = self._pending.result(), self._pending.later
            self._wait_for_others(told)
        elif time.monotonic() > self._until:
            self._call.first(0.0)  # its error says how it stands, and the call is left
            raise NoAnswerError("no item and no answer came in time", event_id=self._call.event_id)

    def _wait_for_others(self, answer: Answer) -> None:
        if waits(answer):
            kept = self._call.keep(answer)
            self._patience.note_pending(kept)
            self._until = time.monotonic() + self._call.patience_for(kept, self._patience)

    def _take(self, message: Any) -> None:
        """Take the next item from a record; other records are passed over. Raises StreamBrokenError."""
        header = payload_header(message)
        sender = self._sender_of(header)
        if not sender:
            return
        chunk = opened_payload(message, header, self._call.sent.event, self._connection.key, sender)
        if chunk is None or chunk.index == CANCEL_INDEX:
            return
        if chunk.index < self._count:
            return  # repeated by anybody who may write to the topic
        if chunk.index > self._count:
            raise StreamBrokenError(f"item {self._count} of the stream is missing: item {chunk.index} came")
        try:
            item = json.loads(chunk.content)
        except (ValueError, RecursionError) as exc:
            raise StreamBrokenError(f"item {chunk.index} of the stream is not JSON") from exc
        self._sender = sender
        self._hash.update(chunk.payload_sha256)
        self._count, self._size = self._count + 1, self._size + len(chunk.content)
        self._ready.append(item)

    def _sender_of(self, header: bytes) -> bytes:
        """Return the X25519 key that sealed a record if it is the stream's: of the first item, or of the tool."""
        sender = header[: sealing.KEY_BYTES]
        if self._sender:
            return sender if sender == self._sender else b""
        if sender not in self._senders and time.monotonic() - self._looked_at > KEYS_SECONDS:
            self._looked_at = time.monotonic()
            self._senders = frozenset(x25519 for _, x25519 in self._readers())
        return sender if sender in self._senders else b""

    def _readers(self) -> tuple[tuple[bytes, bytes], ...]:
        offered = self._call.sent.offered
        return self._connection.registry.readers_of(self._call.resource) if offered is None else offered.recipients

    # ---- the end

    def _finish(self, answer: Answer) -> None:
        """End the stream by its report, once every item has come. Raises as `__next__`."""
        stream = answer.stream
        if stream is not None and self._count < stream.chunks:
            self._late_until = self._late_until or time.monotonic() + LATE_SECONDS
            if time.monotonic() < self._late_until:
                return
        self.answer = answer
        self._call.end(answer)
        if stream is not None and not self._fits(stream):
            raise StreamBrokenError(
                f"the tool's report counts {stream.chunks} items of {stream.size} bytes, and its digest is not that of "
                f"the {self._count} items of {self._size} bytes that came"
            )
        if stream is None and self._count and answer.result.outcome in {Outcome.OK, Outcome.FAILED}:
            raise StreamBrokenError("items came, and the tool's report tells of none")
        result = result_of(answer)
        if stream is None and answer.result.outcome == Outcome.OK:
            self._ready.append(result)  # a tool that does not stream: its one result
        self._end()

    def _fits(self, stream: BodyReference) -> bool:
        return (self._count, self._size, self._hash.digest()) == (stream.chunks, stream.size, stream.digest)

    def _tell_to_stop(self) -> None:
        """Send the tool the word to stop. Raises PublishError, SealingError."""
        event = self._call.sent.event
        if not event:
            return  # it is taken back
        sealer = ChunkSealer(self._connection.key, self._readers())
        value, header = sealer.record(event, CANCEL_INDEX, os.urandom(SALT_BYTES), b"", is_last=True)
        with self._connection.link.bodies.appending(CLOSE_SECONDS) as appending:
            appending.put(event, value, header)
