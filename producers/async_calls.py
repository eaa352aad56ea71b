"""The calling methods of a client for asyncio: no call blocks the event loop. Each is as its twin in `calls`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, Unpack

from producers.answers import Answer
from producers.calling import ANSWER_SECONDS, OpenCall, waits
from producers.calls import Asking, Calls, Give, OnPending
from producers.waiting import WaitingCall


class AsyncCalls:
    """The same for asyncio; each raises as its twin."""

    _calling: Calls

    async def submit(
        self, resource: str, parameters: Mapping[str, Any], **how: Unpack[Asking]
    ) -> asyncio.Future[Answer]:
        """Ask for an operation and return the future of its answer, as `Client.submit`."""
        return asyncio.wrap_future((await self.begin(resource, parameters, **how)).sent.answer)

    async def invoke(
        self,
        resource: str,
        parameters: Mapping[str, Any],
        *,
        seconds: float = ANSWER_SECONDS,
        approval_seconds: float | None = None,
        on_pending: OnPending | None = None,
        **how: Unpack[Asking],
    ) -> Any:
        """Ask for an operation and return its result, as `Client.invoke`. `on_pending` is called in the event loop."""
        call = await self.begin(resource, parameters, seconds=seconds, **how)
        return await self.finish(call, seconds=seconds, approval_seconds=approval_seconds, on_pending=on_pending)

    async def start(
        self,
        resource: str,
        parameters: Mapping[str, Any],
        *,
        seconds: float = ANSWER_SECONDS,
        **how: Unpack[Asking],
    ) -> WaitingCall | Answer:
        """Ask without waiting for people, as `Client.start`."""
        return await asyncio.to_thread(partial(self._calling.start, resource, parameters, seconds=seconds, **how))

    async def begin(
        self, resource: str, parameters: Mapping[str, Any], *, seconds: float | None = None, **how: Unpack[Asking]
    ) -> OpenCall:
        """Ask for an operation and return what waits for its answers, as `Client.begin`."""
        calling = self._calling
        begin = partial(calling.begin, resource, parameters, seconds=seconds, **how)
        known = how.get("prompts") is not None or calling._control.registry.knows(resource)  # noqa: SLF001 - its twin
        return begin() if known else await asyncio.to_thread(begin)

    async def finish(
        self,
        call: OpenCall,
        *,
        seconds: float = ANSWER_SECONDS,
        approval_seconds: float | None = None,
        on_pending: OnPending | None = None,
        give: Give | None = None,
    ) -> Any:
        """Wait for a call that was begun, as `Client.finish`. A task that is cancelled leaves it among `left`.

        `give` is called in another thread.
        """
        try:
            answer = self._calling._timed(call, await call.first_async(seconds))  # noqa: SLF001 - its twin
            if waits(answer):
                kept = await asyncio.to_thread(call.keep, answer)
                if on_pending is not None:
                    on_pending(kept)
                answer = await call.last_async(kept, seconds, approval_seconds)
        except BaseException:
            call.leave()
            raise
        return await asyncio.to_thread(self._calling._given, call, answer, give)  # noqa: SLF001 - its twin

    @property
    def left(self) -> list[WaitingCall]:
        """How to come back to each call that was left, as `Client.left`."""
        return self._calling.left

    async def leave(self) -> list[WaitingCall]:
        """Stop waiting for every call, as `Client.leave`."""
        return await asyncio.to_thread(self._calling.leave)
