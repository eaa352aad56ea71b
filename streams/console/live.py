"""The live stream of the console: "something changed", at most once a second, for every open page.

A page asks again for its own address when it hears of a change, and puts the new parts in the place of the old ones. So
the stream has no content, and a page that missed an event has missed nothing.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, Callable

PACE_SECONDS = 1.0
BEAT_SECONDS = 15.0
STREAMS_MAX = 64
RETRY_MS = 2000


class Live:
    """Wakes the open streams of one event loop; `tell` may be called from any thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        # A stream that is never begun, because its client has gone, leaves with its event.
        self._changed: weakref.WeakSet[asyncio.Event] = weakref.WeakSet()
        self.is_stopped = False

    @property
    def is_full(self) -> bool:
        """Whether no further stream is served."""
        return len(self._changed) >= STREAMS_MAX

    def tell(self) -> None:
        """Wake every stream."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def stop(self) -> None:
        """End every stream."""
        self.is_stopped = True
        self.tell()

    def _wake(self) -> None:
        for one in list(self._changed):
            one.set()

    def stream(self, is_open: Callable[[], bool]) -> AsyncGenerator[bytes]:
        """Return the events of one page (WHATWG HTML, server-sent events), while its login `is_open`.

        The stream counts from this call on. Called in the event loop.
        """
        self._loop = asyncio.get_running_loop()
        changed = asyncio.Event()
        self._changed.add(changed)
        return self._events(changed, is_open)

    async def _events(self, changed: asyncio.Event, is_open: Callable[[], bool]) -> AsyncGenerator[bytes]:
        try:
            yield b"retry: %d\n\n" % RETRY_MS
            while not self.is_stopped:
                try:
                    await asyncio.wait_for(changed.wait(), BEAT_SECONDS)
                    told = b"event: changed\ndata: \n\n"
                except TimeoutError:
                    told = b": still here\n\n"
                if not is_open():
                    return
                yield told
                changed.clear()
                await asyncio.sleep(PACE_SECONDS)
        finally:
            self._changed.discard(changed)
