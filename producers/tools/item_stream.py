"""The items of a streaming tool on their way to its caller, one sealed chunk each, and the caller's word to stop.

The chunks stand on `bodies` under the leaf of the call's event, which both sides know before anything is streamed. The
caller stops a stream with a record under the same key, sealed from its session to the tool.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from confluent_kafka import KafkaException

from processors.calls.bodies import SALT_BYTES, STREAM_TAG
from producers.home.keys import KeyPair
from producers.kafka.bodies import SEND_SECONDS, Bodies, Following, Upload
from producers.kafka.body_records import CANCEL_INDEX, ChunkSealer, opened_chunk
from producers.kafka.consuming import UnreadableBatchError
from producers.tools.result_text import result_text
from schemas import limits
from schemas.errors import MisuseError
from schemas.events.bodies import BodyReference

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.05  # between looks for the caller's word to stop
LISTENED_MAX = 64  # streams of a process whose callers are heard; each takes a consumer with some threads
STARTED_MS = 60_000  # before the call was issued: the clocks of its caller and of the brokers differ


_LISTENING = threading.BoundedSemaphore(LISTENED_MAX)


class StreamTooLargeError(MisuseError):
    """A tool has yielded more than a stream may hold."""


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """The end of a stream: its items so far, and the exception that broke it off, or the caller's word to stop."""

    reference: BodyReference
    raised: BaseException | None = None
    is_cancelled: bool = False


class ItemStream:
    """One stream of one call. One thread sends the items, another waits, and listens for the caller."""

    def __init__(
        self,
        bodies: Bodies,
        key: KeyPair,
        event: bytes,
        caller: tuple[bytes, bytes],
        issued_at: int,
        masked: Callable[[str, int], str] = lambda text, _room: text,
    ) -> None:
        """Stream under the leaf `event` to `caller`, the kid and X25519 key of its session.

        `masked` returns the JSON of an item as it may leave the tool, in at most so many bytes.
        """
        self._bodies, self._key, self._event, self._caller, self._issued_at = bodies, key, event, caller, issued_at
        self._masked = masked
        self._salt, self._hash = os.urandom(SALT_BYTES), sha256(STREAM_TAG)
        self._count, self._size = 0, 0
        self._stop, self._is_cancelled = threading.Event(), False

    # ---- sending, in the thread of the call

    def sent(self, returned: object) -> StreamEnd:
        """Send every item of a generator, an asynchronous one too, until its end or until it is stopped."""
        raised: BaseException | None = None
        try:
            sealer = ChunkSealer(self._key, [self._caller])
            with self._bodies.appending(limits.TOOL_TIMEOUT_MS_MAX / 1000 + SEND_SECONDS) as appending:
                raised = self._send_all(returned, sealer, appending)
        except BaseException as exc:  # noqa: BLE001 - the brokers, or the seal: the items so far are reported
            raised = raised or exc
        reference = BodyReference(digest=self._hash.digest(), size=self._size, chunks=self._count)
        return StreamEnd(reference, raised, self._is_cancelled)

    def _send_all(self, returned: Any, sealer: ChunkSealer, appending: Upload) -> BaseException | None:
        try:
            if isinstance(returned, AsyncIterator):
                asyncio.run(self._send_async(returned, sealer, appending))
            else:
                self._send_sync(returned, sealer, appending)
        except BaseException as exc:  # noqa: BLE001 - a function may raise what it likes: that is its end
            return exc
        return None

    def _send_sync(self, returned: Iterable[object], sealer: ChunkSealer, appending: Upload) -> None:
        items = iter(returned)
        try:
            for item in items:
                if self._stop.is_set():
                    break
                self._send(item, sealer, appending)
        finally:
            close = getattr(items, "close", None)
            if callable(close):
                close()

    async def _send_async(self, returned: Any, sealer: ChunkSealer, appending: Upload) -> None:
        try:
            async for item in returned:
                if self._stop.is_set():
                    break
                self._send(item, sealer, appending)
        finally:
            await returned.aclose()

    def _send(self, item: object, sealer: ChunkSealer, appending: Upload) -> None:
        text = result_text(item, limits.STREAM_ITEM_BYTES_MAX).text
        content = self._masked(text, limits.STREAM_ITEM_BYTES_MAX).encode()
        if self._count >= limits.STREAM_ITEMS_MAX or self._size + len(content) > limits.STREAM_BYTES_MAX:
            raise StreamTooLargeError(
                f"a stream has at most {limits.STREAM_ITEMS_MAX} items and {limits.STREAM_BYTES_MAX} bytes"
            )
        value, header, digest = sealer.sealed(self._event, self._count, self._salt, content)
        appending.put(self._event, value, header)
        self._hash.update(digest)
        self._count, self._size = self._count + 1, self._size + len(content)

    # ---- waiting, in the thread that reports

    def wait(self, done: threading.Event, seconds: float) -> bool:
        """Wait until the call is done, and stop its stream if the caller says so; False if it is not done in time.

        A stream that is not done in time is stopped too. Of very many at once only the first are heard.
        """
        until = time.monotonic() + seconds
        if not done.is_set() and _LISTENING.acquire(blocking=False):
            try:
                self._hear(done, until)
            finally:
                _LISTENING.release()
        is_done = done.wait(max(0.0, until - time.monotonic()))
        self._stop.set()
        return is_done

    def _hear(self, done: threading.Event, until: float) -> None:
        """Listen for the caller until the call is done, or has its time."""
        try:
            with self._bodies.following(self._event, self._issued_at - STARTED_MS) as following:
                while not done.wait(LOOK_SECONDS) and time.monotonic() < until:
                    self._listen(following)
        except (KafkaException, UnreadableBatchError) as exc:
            log.warning("the caller of %s cannot be heard, so it cannot stop the stream: %s", self._event.hex(), exc)

    def _listen(self, following: Following) -> None:
        for message in following.take(0.0):
            chunk = opened_chunk(message, self._event, self._key, self._caller[1])
            if chunk is not None and chunk.index == CANCEL_INDEX and not self._stop.is_set():
                self._is_cancelled = True
                self._stop.set()
