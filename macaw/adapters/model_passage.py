"""One answer of a model on its way through the transport: bounded, summed up, and reported at its end."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

from macaw.adapters.model_answers import failure_text, read_answer, summary_of
from macaw.adapters.model_requests import Contents, ModelRequest
from macaw.adapters.model_streams import Assembly, EventReader, ProviderFailedError, StreamEvent, StreamFaultError
from macaw.adapters.refusals import AnswerTooLargeError, ModelExchangeError, StreamLeftError
from macaw.adapters.tickets import HeldCall, Reported
from schemas.errors import MacawError

ANSWER_BYTES_MAX = 64 * 1024 * 1024  # of one answer, whole or streamed


class AnswerBound:
    """The bytes and the time that one answer may take."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._until, self._size = seconds, time.monotonic() + seconds, 0

    def count(self, chunk: bytes) -> None:
        """Take note of bytes. Raises AnswerTooLargeError."""
        self._size += len(chunk)
        if self._size > ANSWER_BYTES_MAX:
            raise AnswerTooLargeError(f"the model's answer has more than {ANSWER_BYTES_MAX} bytes")
        if time.monotonic() > self._until:
            raise AnswerTooLargeError(f"the model's answer takes more than {self._seconds:g} s")


class Passage(AnswerBound):
    """An answer on its way: bounded, summed up, and reported at its end."""

    def __init__(self, asked: ModelRequest, contents: Contents, seconds: float, held: HeldCall, library: Any) -> None:
        super().__init__(seconds)
        self._asked, self._contents, self._held, self._library = asked, contents, held, library
        self._digest = hashlib.sha256()
        self._events, self._assembly = EventReader(), Assembly(asked.endpoint.form)
        self._fault = ""

    def count(self, chunk: bytes) -> None:
        """Take note of bytes. Raises AnswerTooLargeError."""
        super().count(chunk)
        self._digest.update(chunk)

    def is_whole_after(self, chunk: bytes) -> bool:
        """Take bytes of a stream; return True if the answer is at its end.

        Raises:
            AnswerTooLargeError, RemoteProtocolError of the library: these bytes must not reach the program.
        """
        self.count(chunk)
        if self._fault:
            raise self._broken(self._fault)
        try:
            events = self._events.feed(chunk)
            for number, event in enumerate(events, 1):
                self._take(event, is_last=number == len(events))
        except StreamFaultError as exc:
            raise self._broken(str(exc)) from exc
        return self._assembly.is_done and not self._fault

    def _take(self, event: StreamEvent, *, is_last: bool) -> None:
        try:
            self._assembly.take(event)
        except ProviderFailedError as exc:
            if not is_last:  # a program could go on with what comes after it
                raise
            self._fault = str(exc)  # the SDK reads it, too, and tells more of it

    def end_stream(self) -> None:
        """Report a stream at the end of its bytes. Raises RemoteProtocolError of the library if it is not whole."""
        if self._fault or not self._assembly.at_end():
            raise self._broken(self._fault or "the stream ended before the model's answer did")
        try:
            self._report(self._assembly.whole)
        except StreamFaultError as exc:
            raise self._broken(str(exc)) from exc

    def end_of(self, exc: BaseException) -> BaseException:
        """Return how an answer ended, for the log, that the program left or that broke off.

        The words of an exception of the HTTP library may quote a header, in which the key is: the log has its kind.
        """
        if isinstance(exc, MacawError):
            return exc
        if self._fault:
            return ModelExchangeError(self._fault)
        if isinstance(exc, GeneratorExit):
            return StreamLeftError()
        return ModelExchangeError(type(exc).__name__) if isinstance(exc, Exception) else exc

    def _broken(self, fault: str) -> Exception:
        """Return the error of the library for an answer that is not as it should be."""
        self._fault = fault
        error: Exception = self._library.RemoteProtocolError(fault)
        return error

    def end_body(self, status: int, body: bytes) -> None:
        """Report an answer that came at once. Raises RemoteProtocolError of the library if it is not JSON."""
        if not 200 <= status < 300:
            self._held.report(failure_text(status, body), _as_failure)
            return
        try:
            whole = json.loads(body)
        except (ValueError, RecursionError):
            whole = None
        if not isinstance(whole, dict):
            raise self._broken("the model's answer is not a JSON object")
        self._report(whole)

    def _report(self, whole: dict[str, Any]) -> None:
        try:
            answer = read_answer(self._asked.endpoint.form, whole)
        except RecursionError as exc:
            raise self._broken("the model's answer is nested too deeply") from exc
        self._held.report(summary_of(answer, self._asked.tools, self._digest, self._contents))


def _as_failure(value: Any) -> Reported:
    return Reported(value, is_failure=True)
