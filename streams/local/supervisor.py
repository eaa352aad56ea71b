"""Running the processes of one installation: start in order, restart a process that ends, stop in reverse order.

Each child has a session of its own, so that Ctrl-C in a terminal reaches only the supervisor. A child that ends
unasked, with an error or without, is started again after a pause, which doubles each time. If a child keeps ending at
once, the supervisor ends all of them, because a trust layer that runs in part would look as if it ran. No child
outlives the supervisor: if it is killed on Linux, the kernel ends its children.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from schemas.errors import StoppedError
from streams.local import with_parent

POLL_SECONDS = 0.05
LINE_BYTES_MAX = 8192
DRAIN_SECONDS = 2.0


class GaveUpError(StoppedError):
    """A child ended too often; all of them were stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A process that serves until SIGTERM. It is killed if it has not ended `stop_seconds` later."""

    name: str
    argv: Sequence[str]
    environ: Mapping[str, str] | None = None
    stop_seconds: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """The pauses before a restart: from `pause_seconds`, doubling, up to `pause_seconds_max`.

    A run shorter than `steady_seconds` is a fast failure; after `fast_failures_max` of them in a row all is ended.
    """

    pause_seconds: float = 0.5
    pause_seconds_max: float = 10.0
    steady_seconds: float = 30.0
    fast_failures_max: int = 5


class Supervisor:
    """Runs children until `stop`. Requires the main thread, because the kernel watches the thread that started a child.

    `say` gets a sentence for each start and end; `forward` gets the name of a child and each line that it prints.
    """

    def __init__(
        self,
        children: Sequence[Child],
        *,
        say: Callable[[str], None],
        forward: Callable[[str, str], None],
        patience: Patience | None = None,
    ) -> None:
        self._patience = patience or Patience()
        self._say = say
        self._running = [_Running(child, forward) for child in children]
        self._stopping = False

    def stop(self) -> None:
        """Ask `run` to stop the children and return. May be called from a signal handler or another thread."""
        self._stopping = True

    def run(self) -> None:
        """Run the children until `stop`.

        Raises:
            GaveUpError: a child ended too often. All are stopped when this is raised.
        """
        assert threading.current_thread() is threading.main_thread(), "children must be started by the main thread"
        try:
            while not self._stopping:
                for one in self._running:
                    self._tend(one)
                time.sleep(POLL_SECONDS)
        finally:
            for one in reversed(self._running):
                self._end(one)

    def _tend(self, one: _Running) -> None:
        """Start a child that is due, or take note of its end."""
        if self._stopping:
            return
        if one.process is None:
            if time.monotonic() >= one.start_at:
                one.start()
                self._say(f"{one.child.name} runs as process {one.pid}")
        elif (code := one.process.poll()) is not None:
            self._note_end(one, code)

    def _note_end(self, one: _Running, code: int) -> None:
        seconds = time.monotonic() - one.start_at
        one.reap()
        one.failures = 1 if seconds >= self._patience.steady_seconds else one.failures + 1
        if one.failures >= self._patience.fast_failures_max:
            raise GaveUpError(
                f"{one.child.name} ended {one.failures} times in a row, the last time {_ending(code)}; its last lines "
                "above say why"
            )
        pause = min(self._patience.pause_seconds * 2 ** (one.failures - 1), self._patience.pause_seconds_max)
        one.start_at = time.monotonic() + pause
        self._say(f"{one.child.name} ended {_ending(code)}; it starts again in {pause:g} s")

    def _end(self, one: _Running) -> None:
        if one.process is not None and not one.end():
            self._say(f"{one.child.name} did not end within {one.child.stop_seconds:g} s and was killed")


class _Running:
    """One child, with its process while it runs."""

    def __init__(self, child: Child, forward: Callable[[str, str], None]) -> None:
        self.child = child
        self.process: subprocess.Popen[bytes] | None = None
        self.pid = 0
        self.start_at = time.monotonic()
        self.failures = 0
        self._forward = forward
        self._reader: threading.Thread | None = None

    def start(self) -> None:
        """Start the process in a session of its own."""
        self.start_at = time.monotonic()
        self.process = subprocess.Popen(  # noqa: S603 - a list, given by the caller of this package
            [*with_parent.leash(signal.SIGTERM), *self.child.argv],
            env=None if self.child.environ is None else dict(self.child.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.pid = self.process.pid
        assert self.process.stdout is not None
        self._reader = threading.Thread(
            target=self._forward_lines, args=(self.process.stdout,), name=f"lines-{self.child.name}", daemon=True
        )
        self._reader.start()

    def end(self) -> bool:
        """Send SIGTERM, wait, then kill; return False if the process had to be killed."""
        assert self.process is not None
        self.process.terminate()
        self.process.send_signal(signal.SIGCONT)  # a frozen process does not handle SIGTERM
        try:
            self.process.wait(self.child.stop_seconds)
        except subprocess.TimeoutExpired:
            self.reap()
            return False
        self.reap()
        return True

    def reap(self) -> None:
        """End the process and all others of its session."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):  # the session is empty
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()
        assert self._reader is not None
        self._reader.join(DRAIN_SECONDS)
        self.process = None

    def _forward_lines(self, pipe: IO[bytes]) -> None:
        with pipe:
            # A very long line comes in pieces, so that it cannot fill the memory.
            while line := pipe.readline(LINE_BYTES_MAX):
                self._forward(self.child.name, line.decode("utf-8", "replace").rstrip("\r\n"))


def _ending(code: int) -> str:
    """Return in words how a process ended: its status, or its signal."""
    if code >= 0:
        return f"with status {code}"
    try:
        return f"by {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"
