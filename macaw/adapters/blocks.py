"""Blocks that ask a broker at their beginning, for asyncio: they are entered in another thread."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


@contextlib.asynccontextmanager
async def in_thread(block: contextlib.AbstractContextManager[T]) -> AsyncIterator[T]:
    """Enter and leave a block in another thread: both may ask a broker. A task that is cancelled leaves it, too."""
    entering = asyncio.ensure_future(asyncio.to_thread(block.__enter__))
    try:
        entered = await asyncio.shield(entering)
    except asyncio.CancelledError:
        entering.add_done_callback(partial(_leave_late, block))
        raise
    try:
        yield entered
    finally:
        block.__exit__(None, None, None)


def _leave_late(block: contextlib.AbstractContextManager[Any], entered: asyncio.Future[Any]) -> None:
    if not entered.cancelled() and entered.exception() is None:
        block.__exit__(None, None, None)
