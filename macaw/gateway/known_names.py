"""The names that each caller may call, as the log said a moment ago: for the lists that it is shown."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Final

from macaw.gateway.callers import Caller

KNOWN_SECONDS: Final = 2.0  # for which an answer is remembered: so long a change of policies, or a freeze, is not seen


class _Known:
    """The names that the log was asked for by one caller, each with its answer, until a time."""

    def __init__(self, until: float) -> None:
        self.until = until
        self.answers: dict[str, bool] = {}
        self.asking = asyncio.Lock()  # so that many lists of one caller are one question, in one thread


class KnownNames:
    """Answers of the log, by caller; two sessions of one principal may have different roles. For one event loop.

    A list is advice. Each call is decided by itself, so an answer that is old shows too much, or
    too little, and lets nothing run.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds that never go back."""
        self._clock = clock
        self._known: weakref.WeakKeyDictionary[Caller, _Known] = weakref.WeakKeyDictionary()

    def clear(self) -> None:
        """Forget all answers: other tools are served."""
        self._known.clear()

    async def callable(self, caller: Caller, resources: Sequence[str]) -> frozenset[str]:
        """Return which of these a caller may call at all. Raises MacawError where the log does not say it."""
        known = self._known.get(caller)
        if known is None or self._clock() >= known.until:
            known = self._known[caller] = _Known(self._clock() + KNOWN_SECONDS)
        async with known.asking:
            asked = [one for one in resources if one not in known.answers]
            if asked:
                told = await asyncio.to_thread(caller.client.client.callable, asked)
                known.answers |= {one: one in told for one in asked}
        return frozenset(one for one in resources if known.answers[one])
