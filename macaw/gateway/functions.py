"""Functions of this process that are run for calls: coroutines in one event loop of their own, others in threads.

A function may block, hang, raise anything, or end its thread: the gateway's own event loop goes on. A thread cannot be
stopped, so it is left when its call runs out of time. The caller pays for it: each has a share of those that run.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from producers.agent.callers import Callers
from producers.agent.threads import Threads
from schemas.errors import OutcomeError

FUNCTIONS_MAX: Final = 256  # threads, those that were left included
FUNCTIONS_OF_ONE_MAX: Final = 64  # functions of one caller that run, those that were left included
CLOSE_SECONDS: Final = 5.0

Lifespan = Callable[[], AbstractAsyncContextManager[Any]]


class FunctionEndedError(OutcomeError):
    """A function has raised an exception that would end a program."""


class Functions:
    """Runs the functions of one server. Thread-safe."""

    def __init__(self, name: str, *, own: str) -> None:
        """Start the event loop. The calls of the principal `own`, the server itself, have no share."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"functions-{name}", daemon=True)
        self._thread.start()
        self._threads = Threads(f"function-{name}", FUNCTIONS_MAX)
        self._callers = Callers(FUNCTIONS_OF_ONE_MAX, own=own)
        self._leave = asyncio.Event()
        self._life: Future[None] | None = None
        self.lifespan: Any = None  # the value that the lifespan has given

    def submit(self, doing: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Run a coroutine in the event loop of the functions, with the context of the caller."""
        return asyncio.run_coroutine_threadsafe(doing, self._loop)

    async def run(self, function: Callable[..., Any], arguments: Mapping[str, Any], principal_id: str) -> Any:
        """Run a function for a caller and return its value. Requires the event loop of the functions.

        Raises:
            BusyError: the caller has its share of functions that run, or there is no thread left.
            Exception: as the function does; FunctionEndedError in the place of an exception that is none.
        """
        if is_async(function):
            with self._callers.one_more(principal_id):
                try:
                    return await function(**arguments)
                except (SystemExit, KeyboardInterrupt) as exc:  # it would end the event loop of all functions
                    raise FunctionEndedError(f"{type(exc).__name__} ended the function") from exc
        return await self._in_thread(function, arguments, principal_id)

    async def _in_thread(self, function: Callable[..., Any], arguments: Mapping[str, Any], principal_id: str) -> Any:
        done: Future[Any] = Future()
        context = contextvars.copy_context()  # a function sees the call that it executes

        def work() -> None:
            if not done.set_running_or_notify_cancel():
                return
            try:
                with self._callers.one_more(principal_id):
                    done.set_result(context.run(function, **arguments))
            except Exception as exc:  # noqa: BLE001 - a function may raise what it likes: its caller gets it
                done.set_exception(exc if not isinstance(exc, StopIteration) else _ended(exc))
            except BaseException as exc:  # noqa: BLE001 - `sys.exit` ends a function, and neither thread nor loop
                done.set_exception(_ended(exc))

        self._threads.submit(work)
        return await asyncio.wrap_future(done)

    # --- the life of the server

    async def start(self, lifespan: Lifespan | None) -> None:
        """Enter the lifespan of the server, for as long as it serves. Raises as the lifespan does."""
        if lifespan is not None and self._life is None:
            entered: Future[Any] = Future()
            self._life = self.submit(self._live(lifespan, entered))
            self.lifespan = await asyncio.wrap_future(entered)

    async def _live(self, lifespan: Lifespan, entered: Future[Any]) -> None:
        try:
            async with lifespan() as value:
                entered.set_result(value)
                await self._leave.wait()
        except BaseException as exc:
            if not entered.done():
                entered.set_exception(exc if isinstance(exc, Exception) else _ended(exc))
            raise

    async def close(self) -> None:
        """Leave the lifespan, cancel the coroutines that run, and end the event loop. Threads that run are left."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(self.submit(self._ending())), CLOSE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join, CLOSE_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()

    async def _ending(self) -> None:
        self._leave.set()
        if self._life is not None:
            await asyncio.wait({asyncio.wrap_future(self._life)}, timeout=CLOSE_SECONDS / 2)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for one in others:
            one.cancel()
        if others:
            await asyncio.wait(others, timeout=CLOSE_SECONDS / 2)


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling a function gives a coroutine."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 - an object with an async `__call__`


def _ended(exc: BaseException) -> FunctionEndedError:
    return FunctionEndedError(f"{type(exc).__name__} ended the function")
