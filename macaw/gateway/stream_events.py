"""Events of a session's streams, kept for a client that has lost its stream and comes back (`Last-Event-ID`).

Each session has a store of its own, which the SDK asks only for requests of the session's own user: no event can reach
another session. All stores are bounded: by count, bytes and age for a session, by bytes for a user and for all. Where
there is no room, the session's own oldest events give way, and a client that asks for them gets an empty stream.
"""

from __future__ import annotations

import time
import weakref
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp_types import JSONRPCError, JSONRPCMessage, JSONRPCResponse, jsonrpc_message_adapter

EVENTS_MAX: Final = 256  # of one session
SESSION_BYTES_MAX: Final = 1024 * 1024
USER_BYTES_MAX: Final = 8 * 1024 * 1024
TOTAL_BYTES_MAX: Final = 256 * 1024 * 1024
KEPT_SECONDS: Final = 300.0
SWEEP_SECONDS: Final = 30.0
_EVENT_BYTES: Final = 200  # beside the message itself


@dataclass(frozen=True, slots=True)
class _Kept:
    number: int
    stream: str
    until: float
    message: bytes | None = field(repr=False)  # None begins a stream
    is_last: bool = False  # the answer to the stream's request

    @property
    def size(self) -> int:
        return _EVENT_BYTES + len(self.message or b"")


@dataclass(slots=True, eq=False)
class _Held:
    """The events of one session; it outlives the session's store by nothing but their release."""

    user: str
    events: deque[_Kept] = field(default_factory=deque)
    size: int = 0


class EventShelf:
    """The bytes that all sessions hold. For one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds that never go back."""
        self.clock = clock
        self.size = 0
        self.of_user: Counter[str] = Counter()
        self._held: set[_Held] = set()
        self._swept_at = clock()

    def session(self, user: str) -> SessionEvents:
        """Return the store of a new session of a user. Its events go with it."""
        held = _Held(user)
        self._held.add(held)
        store = SessionEvents(self, held)
        weakref.finalize(store, self._release, held)
        return store

    def keep(self, held: _Held, event: _Kept) -> None:
        """Keep an event, as far as there is room."""
        self._sweep()
        while held.events and not self._has_room(held, event):
            self._drop_oldest(held)
        if self._has_room(held, event):
            held.events.append(event)
            self._count(held, event.size)

    def _has_room(self, held: _Held, event: _Kept) -> bool:
        return (
            len(held.events) < EVENTS_MAX
            and held.size + event.size <= SESSION_BYTES_MAX
            and self.of_user[held.user] + event.size <= USER_BYTES_MAX
            and self.size + event.size <= TOTAL_BYTES_MAX
        )

    def forget_old(self, held: _Held) -> None:
        """Drop the events of a session that are past their time."""
        now = self.clock()
        while held.events and held.events[0].until <= now:
            self._drop_oldest(held)

    def _sweep(self) -> None:
        if self.clock() >= self._swept_at + SWEEP_SECONDS:
            self._swept_at = self.clock()
            for one in self._held:
                self.forget_old(one)

    def _drop_oldest(self, held: _Held) -> None:
        self._count(held, -held.events.popleft().size)

    def _release(self, held: _Held) -> None:
        self._held.discard(held)
        held.events.clear()
        self._count(held, -held.size)

    def _count(self, held: _Held, change: int) -> None:
        held.size += change
        self.size += change
        self.of_user[held.user] += change
        if not self.of_user[held.user]:
            del self.of_user[held.user]


class SessionEvents(EventStore):
    """The store of one session, as the SDK asks for it."""

    def __init__(self, shelf: EventShelf, held: _Held) -> None:
        """Use `EventShelf.session`."""
        self._shelf, self._held, self._number = shelf, held, 0

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        """Keep a message of a stream, None for its beginning; return the id of the event."""
        self._number += 1
        data = None if message is None else message.model_dump_json(by_alias=True, exclude_unset=True).encode()
        is_last = isinstance(message, JSONRPCResponse | JSONRPCError)
        until = self._shelf.clock() + KEPT_SECONDS
        self._shelf.keep(self._held, _Kept(self._number, str(stream_id), until, data, is_last))
        return str(self._number)

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        """Send the later events of the same stream; return the stream if more can come, None if none can.

        Of an event that is not kept, or not any more, nothing is sent.
        """
        self._shelf.forget_old(self._held)
        last = next((one for one in self._held.events if str(one.number) == last_event_id), None)
        if last is None:
            return None
        later = [one for one in self._held.events if one.stream == last.stream and one.number > last.number]
        for one in later:
            if one.message is not None:
                message = jsonrpc_message_adapter.validate_json(one.message, by_name=False)
                await send_callback(EventMessage(message, str(one.number)))
        return None if (later or [last])[-1].is_last else last.stream
