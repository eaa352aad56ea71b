"""A verifier in processes of its own: one that hangs is killed, and the host goes on.

A thread cannot be stopped from outside. A module that never comes back would hold one for good, and one that computes
takes the time of all others. So each judgement runs in a process that has judged before, and that is ended when it is
late; a new one takes its place. The processes have no key.
"""

from __future__ import annotations

import multiprocessing
import queue
import signal
from collections.abc import Callable
from typing import Any

from producers.tools.opinions import Asked, Judge, JudgeFailedError, Opinion

START_SECONDS = 30.0  # of a process, in which the module is imported
_READY = "ready"


class JudgingProcesses:
    """Judges in a number of processes. Threads may call it; it is a judge of `VerifierHost`."""

    def __init__(self, judge_in: Callable[[str], Judge], spec: str, *, count: int, timeout_seconds: float) -> None:
        """Start the processes. Each makes its judge by `judge_in(spec)`; the function is found by its module's name."""
        self._made, self._timeout = (judge_in, spec), timeout_seconds
        self._idle: queue.SimpleQueue[_Judging] = queue.SimpleQueue()
        self._count = count
        for _ in range(count):
            self._idle.put(_Judging(*self._made))

    def __call__(self, asked: Asked) -> Opinion:
        """Return the opinion of the judge. Raises JudgeFailedError."""
        one = self._idle.get()
        try:
            opinion = one.judged(asked, self._timeout)
        except BaseException:
            if one.is_lost:
                one.end()
                one = _Judging(*self._made)
            raise
        finally:
            self._idle.put(one)
        return opinion

    def close(self) -> None:
        """End the processes that do not judge. The others end with this process, which does not wait for them."""
        for _ in range(self._count):
            try:
                self._idle.get_nowait().end()
            except queue.Empty:
                return


class _Judging:
    """One process and the pipe to it. It is lost once it has not answered: an answer could then be that of before."""

    def __init__(self, judge_in: Callable[[str], Judge], spec: str) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would have this process's threads' locks, and its keys
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(judge_in, spec, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._is_ready = self.is_lost = False

    def judged(self, asked: Asked, timeout_seconds: float) -> Opinion:
        self.is_lost = True
        try:
            if not self._is_ready:
                self._answer(START_SECONDS)
                self._is_ready = True
            self._pipe.send(asked)
            failure, opinion = self._answer(timeout_seconds)
        except (EOFError, OSError):
            raise JudgeFailedError("ProcessEnded") from None
        self.is_lost = False
        if failure:
            raise JudgeFailedError(failure)
        found: Opinion = opinion
        return found

    def _answer(self, seconds: float) -> Any:
        if not self._pipe.poll(seconds):
            raise JudgeFailedError("TimeoutError")
        return self._pipe.recv()

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _serve(judge_in: Callable[[str], Judge], spec: str, pipe: Any) -> None:
    """Judge the calls of a pipe until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the host's, which closes the pipe
    judge = judge_in(spec)
    pipe.send((_READY, None))
    while True:
        try:
            call = pipe.recv()
        except EOFError:
            return
        failure, opinion = "", None
        try:
            opinion = judge(call)
        except BaseException as exc:  # noqa: BLE001 - the judge is foreign code: whatever it does, the answer is deny
            failure = type(exc).__name__
        try:
            pipe.send((failure, opinion))
        except (OSError, EOFError):
            return
        except Exception as exc:  # noqa: BLE001 - an opinion with parts that cannot be sent
            pipe.send((type(exc).__name__, None))
