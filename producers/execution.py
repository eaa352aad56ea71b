"""One call of a tool's function: run once, in a thread of its own, and its end known whatever the function does.

A function may raise anything, return anything, hang, fork, or end its thread. The effect of it cannot be taken back, so
what is known of it is never lost: an end is noted before it is put into words, because that runs code of the function's
own classes, which may hang too.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from inspect import BoundArguments
from types import CoroutineType
from typing import Any

from processors.proof import jcs
from producers.admission import Call
from producers.attesting import NOTHING, Attestations, attesting
from producers.crew import Crew
from producers.reporting import told, type_name, unwritable, written
from producers.tools import ToolArgumentError, ToolFunction, bind_arguments, calling
from schemas import limits
from schemas.records import Attestation
from schemas.words import Outcome

REPORT_BYTES_MAX = limits.RESULT_EVENT_BYTES_MAX - 4096  # of a body and what is attested beside it
ATTESTATION_HEAD_BYTES = 64  # of one, beside its key and value
FORKED_STATUS = 70


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call ended: the outcome and body of its report, what it attests, and what of the body is not written."""

    outcome: str
    body: str
    attestations: tuple[Attestation, ...] = ()
    unwritten: str = ""


def failed(error: str, **more: jcs.JSONValue) -> Ended:
    """Return the end of a call that had no effect, or whose function says that it failed."""
    return Ended(Outcome.FAILED, jcs.canonical({"error": error, **more}).decode())


class Execution:
    """A call as the thread that runs it and the one that waits for it see it."""

    def __init__(
        self,
        tool: ToolFunction,
        call: Call,
        said: Attestations = NOTHING,
        *,
        on_begun: Callable[[], None] = lambda: None,
    ) -> None:
        self._tool, self._call, self._said, self._on_begun = tool, call, said, on_begun
        self._process = os.getpid()
        self._known: Ended | None = None  # stands until the end is put into words, and if it never is
        self._ended: Ended | None = None
        self._done, self._claim = threading.Event(), threading.Lock()

    def end(self, crew: Crew) -> Ended:
        """Run the call in a thread of the crew and return how it ended, at the latest after its time-out."""
        seconds = self._tool.timeout_seconds
        crew.submit(self._run)
        if not self._done.wait(seconds):
            if self._is_mine():
                return failed("TOO_LATE")  # it never left the queue, and does nothing when it does
            crew.replace(self._run)
        # A thread cannot be stopped: the effect may still come. Nobody can say, so nobody does.
        unknown = Ended(Outcome.UNKNOWN, jcs.canonical({"error": f"no end within {seconds:g} s"}).decode())
        return self._ended or self._known or unknown

    def _is_mine(self) -> bool:
        """Whether this thread is the first to ask: either the call is run, or it is said that it is not."""
        return self._claim.acquire(blocking=False)

    def _run(self) -> None:
        if not self._is_mine():
            return
        try:
            bound = self._prepared()
            if bound is not None:
                self._on_begun()
                with calling(self._call.decision.event.hex()), attesting(self._said):
                    self._execute(bound)
        finally:
            self._done.set()

    def _prepared(self) -> BoundArguments | None:
        """Return what to call the function with; None where it is not to be called, and that is the end."""
        if time.time_ns() // 1_000_000 >= (self._call.decision.execute_before or 0):
            self._ended = failed("TOO_LATE")
            return None
        try:
            return bind_arguments(self._tool, self._call.parameters)
        except ToolArgumentError as exc:
            self._ended = failed("BAD_ARGUMENTS", problems=[{"at": at, "why": why} for at, why in exc.problems])
        except BaseException as exc:  # noqa: BLE001 - whatever it was, the function has not run
            self._ended = failed(f"NOT_RUN: {told(exc)}")
        return None

    def _execute(self, bound: BoundArguments) -> None:
        try:
            returned = self._tool.function(*bound.args, **bound.kwargs)
            if type(returned) is CoroutineType:
                asyncio.run(self._awaited(returned))
            else:
                self._returned(returned)
        except BaseException as raised:  # noqa: BLE001 - a function may raise what it likes: that is its end
            self._raised(raised)

    async def _awaited(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Note the end inside the loop: what the loop itself does to end may take longer, or fail."""
        try:
            returned = await coroutine
        except BaseException as raised:  # noqa: BLE001 - as above
            self._raised(raised)
        else:
            self._returned(returned)

    def _returned(self, value: object) -> None:
        if self._has_ended():
            return
        attested = tuple(self._said.said.values())  # as it is now: threads of the function may still speak
        said = unwritable(value, "writing it did not end in time")
        self._known = Ended(Outcome.OK, said.text, attested, str(said))
        room = REPORT_BYTES_MAX - sum(
            len(one.key.encode()) + len(one.value.encode()) + ATTESTATION_HEAD_BYTES for one in attested
        )
        said = written(value, room)
        self._ended = Ended(Outcome.OK, said.text, attested, str(said))
        self._done.set()

    def _raised(self, raised: BaseException) -> None:
        if self._has_ended():
            return
        self._known = failed(type_name(raised).rpartition(".")[2])
        self._ended = failed(told(raised))
        self._done.set()

    def _has_ended(self) -> bool:
        """Whether the end was noted before. A copy of this process that a function made by `fork` ends here itself."""
        if os.getpid() != self._process:
            os._exit(FORKED_STATUS)  # it has no host: only the thread that forked is there
        return self._known is not None
