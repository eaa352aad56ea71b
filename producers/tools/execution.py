"""One call of a tool's function: run once, in a thread of its own, with a known end in every case.

A function may raise anything, return anything, hang, fork, or end its thread. Its effect cannot be taken back, so the
end is never lost: it is noted before it is written as JSON, because writing runs code of the function's own classes,
which may hang too.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from inspect import BoundArguments
from types import CoroutineType
from typing import Any, Protocol

from processors.proof import jcs
from producers.home.clock import clock_ms
from producers.tools.admission import AdmittedCall
from producers.tools.arguments import ToolArgumentError
from producers.tools.attesting import NOTHING, CallAttestations, attesting
from producers.tools.declaring import ToolFunction, bind_arguments, calling
from producers.tools.item_stream import ItemStream, StreamEnd
from producers.tools.result_text import ERROR_CHARS_MAX, exception_text, result_text, type_name, unwritable_result
from schemas import limits
from schemas.errors import OutcomeError
from schemas.events.bodies import BodyReference
from schemas.records import Attestation
from schemas.words import Outcome

REPORT_BYTES_MAX = limits.RESULT_EVENT_BYTES_MAX - 4096  # of a body with its attestations
FORKED_STATUS = 70


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call ended: outcome, body and attestations of its report, and the parts of the body without a JSON form."""

    outcome: str
    body: str
    attestations: tuple[Attestation, ...] = ()
    unwritten: str = ""
    bodies: tuple[BodyReference, ...] = ()
    stream: BodyReference | None = None


class ReportedFailureError(OutcomeError):
    """Raised by a tool's function that has failed, and has more to say of it than a text: any JSON, as its report."""

    def __init__(self, report: Mapping[str, Any]) -> None:
        super().__init__("the tool failed, and its report says how")
        self.report = report


def failed(error: str, **more: jcs.JSONValue) -> Ended:
    """Return the end of a call that had no effect, or that its function declared to have failed."""
    return Ended(Outcome.FAILED, jcs.canonical({"error": error, **more}).decode())


class Workers(Protocol):
    """Threads that run calls."""

    def submit(self, work: Callable[[], None]) -> None:
        """Let a thread run this."""

    def replace(self, work: Callable[[], None]) -> None:
        """Take note that this piece of work holds its thread."""


class Execution:
    """A call, shared by the thread that runs it and the one that waits for it."""

    def __init__(
        self,
        tool: ToolFunction,
        call: AdmittedCall,
        said: CallAttestations = NOTHING,
        *,
        on_begun: Callable[[], None] = lambda: None,
        around: Callable[[], AbstractContextManager[object]] = nullcontext,
        items: ItemStream | None = None,
        refusal: Callable[[], Ended | None] = lambda: None,
        error_chars: int = ERROR_CHARS_MAX,
    ) -> None:
        """Run a tool's function for a call, within `around`. With `items` it yields, and each item goes there.

        `refusal` is asked in the thread of the call, when it is about to run: an end that it returns is the call's.
        `error_chars` bounds the text of an exception.
        """
        self._tool, self._call, self._said, self._on_begun = tool, call, said, on_begun
        self._around, self._items = around, items
        self._refusal, self._error_chars = refusal, error_chars
        self._process = os.getpid()
        self._known: Ended | None = None  # the end until its text is written, and if it never is
        self._ended: Ended | None = None
        self._done, self._claim = threading.Event(), threading.Lock()
        self._turned = threading.Event()  # it is done, or its items begin

    def end(self, crew: Workers) -> Ended:
        """Run the call in a thread of the crew and return how it ended, at the latest after its time-out."""
        seconds = self._tool.timeout_seconds
        until = time.monotonic() + seconds
        crew.submit(self._run)
        if not self._is_done_until(until):
            if self._is_mine():
                return failed("TOO_LATE")  # it never left the queue, and does nothing when it does
            crew.replace(self._run)
        # A thread cannot be stopped, and the effect may still come: the outcome is unknown.
        unknown = Ended(Outcome.UNKNOWN, jcs.canonical({"error": f"no end within {seconds:g} s"}).decode())
        return self._ended or self._known or unknown

    def _is_done_until(self, until: float) -> bool:
        """Wait for the end; once items come, also for the caller's word to stop them."""
        self._turned.wait(max(0.0, until - time.monotonic()))
        left = max(0.0, until - time.monotonic())
        if self._items is None or self._done.is_set() or not self._turned.is_set():
            return self._done.wait(left)
        return self._items.wait(self._done, left)

    def _finish(self) -> None:
        self._done.set()
        self._turned.set()

    def _is_mine(self) -> bool:
        """Return True for the first thread that asks. It decides whether the call is run, or reported as not run."""
        return self._claim.acquire(blocking=False)

    def _run(self) -> None:
        if not self._is_mine():
            return
        try:
            bound = self._prepared()
            if bound is not None:
                self._on_begun()
                with calling(self._call.decision.event.hex()), attesting(self._said), self._around():
                    self._execute(bound)
        finally:
            self._finish()

    def _prepared(self) -> BoundArguments | None:
        """Return the arguments for the function; None if it must not be called, and the end is noted."""
        if clock_ms() >= (self._call.decision.execute_before or 0):
            self._ended = failed("TOO_LATE")
            return None
        try:
            self._ended = self._refusal()  # first: reading arguments may run code of the tool's own classes
            if self._ended is None:
                return bind_arguments(self._tool, self._call.parameters)
        except ToolArgumentError as exc:
            self._ended = failed("BAD_ARGUMENTS", problems=[{"at": at, "why": why} for at, why in exc.problems])
        except BaseException as exc:  # noqa: BLE001 - whatever it was, the function has not run
            self._ended = failed(f"NOT_RUN: {self._text_of(exc)}")
        return None

    def _execute(self, bound: BoundArguments) -> None:
        try:
            returned = self._tool.function(*bound.args, **bound.kwargs)
            if self._items is not None and isinstance(returned, Iterator | AsyncIterator):
                self._turned.set()
                self._streamed(self._items.sent(returned))
            elif type(returned) is CoroutineType:
                asyncio.run(self._awaited(returned))
            else:
                self._returned(returned)
        except BaseException as raised:  # noqa: BLE001 - a function may raise what it likes: that is its end
            self._raised(raised)

    async def _awaited(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Note the end inside the loop: the loop's own ending may take longer, or fail."""
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
        said = unwritable_result(value, "writing it did not end in time")
        self._known = Ended(Outcome.OK, said.text, attested, str(said))
        said = result_text(value, limits.BODY_BYTES_MAX)  # a large one travels beside the report
        self._ended = Ended(Outcome.OK, said.text, attested, str(said))
        self._finish()

    def _streamed(self, end: StreamEnd) -> None:
        """Note the end of a stream, with the count and the digest of its items, also of one that broke off."""
        if self._has_ended():
            return
        if end.raised is not None:
            self._known = failed(self._text_of(end.raised))
            self._ended = replace(self._known, stream=end.reference)
        else:
            body = jcs.canonical({"cancelled": True} if end.is_cancelled else None).decode()
            self._known = Ended(Outcome.OK, body, tuple(self._said.said.values()), stream=end.reference)
            self._ended = self._known
        self._finish()

    def _raised(self, raised: BaseException) -> None:
        if self._has_ended():
            return
        self._known = failed(type_name(raised).rpartition(".")[2])
        if isinstance(raised, ReportedFailureError):
            said = result_text(raised.report, REPORT_BYTES_MAX)
            self._ended = Ended(Outcome.FAILED, said.text, unwritten=str(said))
        else:
            self._ended = failed(self._text_of(raised))
        self._finish()

    def _text_of(self, raised: BaseException) -> str:
        return exception_text(raised, self._error_chars)

    def _has_ended(self) -> bool:
        """Whether the end was noted before. In a copy of this process that the function made by `fork`, exit."""
        if os.getpid() != self._process:
            os._exit(FORKED_STATUS)  # it has no host: only the thread that forked is there
        return self._known is not None
