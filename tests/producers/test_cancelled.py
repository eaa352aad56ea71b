"""Tasks that are cancelled while another thread works for them leave nothing behind, and lose no result."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from producers.client import AsyncClient, Client
from producers.client.cancelled import in_thread
from tests.installation import Installation
from tests.producers.test_leaving import PAY, Bank, running
from tests.waiting import PATIENCE_SECONDS, wait_until

__all__ = ["running"]


@contextmanager
def occupied() -> Iterator[ThreadPoolExecutor]:
    """Give a pool whose only thread is busy."""
    go = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(go.wait, PATIENCE_SECONDS)
        try:
            yield pool
        finally:
            go.set()


def test_work_that_nobody_takes_is_undone_by_its_thread() -> None:
    begun, go, undone = threading.Event(), threading.Event(), list[str | None]()

    def work() -> str:
        begun.set()
        go.wait(PATIENCE_SECONDS)
        return "made"

    async def ask() -> None:
        task = asyncio.create_task(in_thread(work, undone.append))
        await asyncio.to_thread(begun.wait, PATIENCE_SECONDS)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert undone == []
        go.set()

    asyncio.run(ask())
    assert undone == ["made"]


def test_work_that_was_never_begun_is_undone_without_a_result() -> None:
    undone: list[object] = []

    async def ask() -> None:
        asyncio.get_running_loop().set_default_executor(pool)
        task = asyncio.create_task(in_thread(lambda: pytest.fail("it was begun"), undone.append))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())

    with occupied() as pool:
        asyncio.run(ask())
    assert undone == [None]


@pytest.mark.broker
def test_a_client_that_comes_too_late_is_closed(running: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its session is ended, and its threads too."""
    made: list[Client] = []
    connect = Client.connect

    def noting(*given: Any, **named: Any) -> Client:
        made.append(connect(*given, **named))
        return made[-1]

    monkeypatch.setattr(Client, "connect", noting)

    async def ask() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(AsyncClient.connect(running.folder.tenant, "payer", home=running.home), 0.02)

    asyncio.run(ask())
    [client] = made
    wait_until(lambda: not client._connection.publisher.is_running)
    wait_until(lambda: client._connection.key.kid not in client._connection.link.hearing._listeners)


@pytest.mark.broker
def test_a_result_that_its_task_did_not_hear_can_be_fetched(running: Installation) -> None:
    """The answer has come, and is read in another thread: all of those are busy when the time is over."""

    async def ask() -> list[str]:
        async with await AsyncClient.connect(running.folder.tenant, "payer", home=running.home) as client:
            asyncio.get_running_loop().set_default_executor(pool)
            call = await client.begin(PAY, {"amount": 60})
            task = asyncio.create_task(client.finish(call))
            await asyncio.shield(asyncio.wrap_future(call.sent.answer))
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())
            return [one.event_id for one in client.left]

    with running.hosting("bank", bank := Bank()), occupied() as pool:
        [event_id] = asyncio.run(ask())
    assert Client.resume(running.folder.tenant, event_id, home=running.home, seconds=PATIENCE_SECONDS) == {"paid": 60}
    assert bank.paid == [60]
