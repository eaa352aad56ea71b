"""Bodies of requests that anybody may send: one that trickles gives way to newer ones."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from starlette.requests import Request

from streams.http.refusals import CLOSE, HTTPRefusal


class PublicBodies:
    """The bodies that are still coming to the open endpoints of a front. One event loop uses it."""

    def __init__(self, seconds: float, most: int) -> None:
        """Give each body `seconds`; if `most` are coming, a further one ends the one that has come longest."""
        self._seconds, self._most = seconds, most
        self._reading: dict[asyncio.Timeout, None] = {}  # the longest first

    async def read(self, request: Request) -> bytes:
        """Return the body of a request. Raises HTTPRefusal 408."""
        loop = asyncio.get_running_loop()
        if len(self._reading) >= self._most:
            oldest = next(iter(self._reading))
            del self._reading[oldest]
            if not oldest.expired():
                oldest.reschedule(loop.time())
        try:
            async with asyncio.timeout(self._seconds) as bound:
                self._reading[bound] = None
                try:
                    return await request.body()
                finally:
                    self._reading.pop(bound, None)
        except TimeoutError:
            raise HTTPRefusal(
                HTTPStatus.REQUEST_TIMEOUT,
                "BODY_TOO_SLOW",
                f"the body did not come within {self._seconds:g} s, or newer requests came before its end",
                "send the body at once",
                headers=CLOSE,
            ) from None
