"""An engine host as a process of another interpreter: started, asked one question at a time, and bounded in time."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from processors.intake.identify import Received
from processors.refusal import Refusal
from schemas.errors import StoppedError
from streams.history.engine_wire import (
    FORMAT,
    Kind,
    MessageError,
    Packet,
    Written,
    json_in,
    output_in,
    pack,
    pack_record,
    read_message,
    row_in,
)

START_SECONDS = 60.0  # until READY: the interpreter loads, and restores the state
ANSWER_SECONDS = 60.0  # until the next message; one record takes milliseconds
END_SECONDS = 2.0
PIECE_BYTES = 1 << 16
ROWS_BYTES_MAX = 4 << 30  # of a state that is handed back
ERRORS_SHOWN_MAX = 400  # characters of the host's last words
INHERITED = ("PATH", "LANG", "LC_ALL", "TMPDIR", "HOME")  # no setting of this installation, and no secret


class HandoverError(StoppedError):
    """The interpreter of `--engine` does not do its part, so the log is not replayed any further."""

    code = "HANDOVER_FAILED"


def host_command(python: str) -> list[str]:
    """Return the command of an engine host: isolated, so that neither the folder here nor PYTHONPATH is imported."""
    return [python, "-I", "-m", "streams.history.engine_host"]


class EngineProcess:
    """A running host. Use it as a context manager: the process ends with it."""

    def __init__(self, command: Sequence[str], begin: Iterable[bytes]) -> None:
        """Start the host and hand it the messages of `begin`: HELLO, the rows and the tail. Raises HandoverError."""
        self._command = command
        try:
            self._child = subprocess.Popen(  # noqa: S603 - the interpreter that the operator named; no shell
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env={name: os.environ[name] for name in INHERITED if name in os.environ},
            )
        except OSError as exc:
            raise HandoverError(
                f"cannot start {command[0]}: {exc.strerror}; name a Python with macaw installed"
            ) from exc
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        assert self._child.stderr is not None
        self._in, self._out = self._child.stdin.fileno(), self._child.stdout.fileno()
        self._errors, self._said = self._child.stderr.fileno(), b""  # its last words
        os.set_blocking(self._in, False)
        self._ahead = bytearray()
        self._until = time.monotonic() + START_SECONDS
        try:
            for piece in begin:
                self._send(piece)
            ready = self._next(START_SECONDS)
            if ready.kind is not Kind.READY or json_in(ready).get("format") != FORMAT:
                raise self._failed(f"it does not speak {FORMAT}")
        except (HandoverError, MessageError):
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        for pipe in (self._child.stdin, self._child.stdout, self._child.stderr):
            if pipe is not None:
                pipe.close()
        try:
            self._child.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def fold(self, received: Received) -> list[Written] | None:
        """Return the outputs of one record, None if another engine must decide it.

        Raises:
            Refusal: the record names a ruling that does not hold.
            HandoverError: the host failed, or does not answer in time.
        """
        self._send(pack_record(received))
        outputs: list[Written] = []
        while (message := self._next()).kind is Kind.OUTPUT:
            outputs.append(output_in(message.body))
        if message.kind is Kind.REFUSED:
            raise Refusal(message.body.decode("utf-8", "replace"))
        if message.kind is Kind.ELSEWHERE:
            return None
        if message.kind is not Kind.DONE:
            raise self._failed(f"it answered a record with {message.kind.name}")
        return outputs

    def state(self) -> tuple[list[tuple[bytes, bytes]], Packet]:
        """Return the rows of the state and its tail. Raises HandoverError."""
        self._send(pack(Kind.STATE))
        rows, size = [], 0
        while (message := self._next()).kind is Kind.ROW:
            rows.append(row_in(message.body))
            size += len(message.body)
            if size > ROWS_BYTES_MAX:
                raise self._failed(f"it handed back more than {ROWS_BYTES_MAX} bytes of state")
        if message.kind is not Kind.TAIL:
            raise self._failed(f"it answered with {message.kind.name} when asked for its state")
        return rows, message

    # --- pipes

    def _send(self, data: bytes) -> None:
        rest = memoryview(data)
        self._until = time.monotonic() + ANSWER_SECONDS
        while rest:
            self._wait([], [self._in])
            try:
                rest = rest[os.write(self._in, rest[:PIECE_BYTES]) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._told_failure() from None

    def _next(self, seconds: float = ANSWER_SECONDS) -> Packet:
        self._until = time.monotonic() + seconds
        try:
            message = read_message(self._read)
        except MessageError as exc:
            raise self._failed(str(exc)) from exc
        if message is None:
            raise self._failed("it ended")
        if message.kind is Kind.FAILED:
            raise self._failed(message.body.decode("utf-8", "replace"))
        return message

    def _read(self, size: int) -> bytes:
        while len(self._ahead) < size:
            self._wait([self._out], [])
            piece = os.read(self._out, PIECE_BYTES)
            if not piece:
                break
            self._ahead += piece
        found = bytes(self._ahead[:size])
        del self._ahead[:size]
        return found

    def _wait(self, reading: list[int], writing: list[int]) -> None:
        """Wait until one of the pipes is ready, and keep the last words of the host beside them."""
        errors = [self._errors]
        while (left := self._until - time.monotonic()) > 0:
            ready, free, _ = select.select(reading + errors, writing, [], left)
            if self._errors in ready:
                said = os.read(self._errors, PIECE_BYTES)
                self._said = (self._said + said)[-ERRORS_SHOWN_MAX:]
                errors = errors if said else []
            if free or (ready and ready != [self._errors]):
                return
        self._child.kill()
        raise self._failed("it did not go on in time")

    def _told_failure(self) -> HandoverError:
        """Return the failure that the host told before it closed its input."""
        try:
            self._next()
        except HandoverError as told:
            return told
        return self._failed("it ended")

    def _failed(self, why: str) -> HandoverError:
        said = "".join(c if c.isprintable() else " " for c in self._said.decode("utf-8", "replace")).strip()
        more = f" ({said})" if said else ""
        return HandoverError(f"{self._command[0]} cannot decide for this replay: {why}{more}; see docs/engines.md")
