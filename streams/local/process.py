"""Starts a broker as a child process, and makes sure that it ends.

A broker gets a session of its own: Ctrl-C in a terminal reaches only its starter, which
stops it last. It is stopped by the `with` block, else when the interpreter exits, else by the
kernel when the starter is killed. The lock on the data directory is inherited by the child: it is
free only when both are gone.
"""

import atexit
import fcntl
import os
import signal
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final, Self

from streams.local import with_parent
from streams.local.info import BrokerBusyError, BrokerInfo, BrokerStartError
from streams.local.probe import LOOPBACK, await_answer, find_free_port, is_free

START_TRIES_MAX: Final = 3
LOG_TAIL_BYTES: Final = 2_000


class LocalBroker(ABC):
    """A broker on a loopback port with its data in a directory; a context manager.

    `port` 0 means a free one, which it then keeps over restarts. `die_with_parent` has the kernel
    end the broker with its starter; it needs Linux and the main thread and is skipped elsewhere.
    """

    name: ClassVar[str]
    start_seconds: ClassVar[float]
    stop_seconds: ClassVar[float]
    death_signal: ClassVar[signal.Signals]

    def __init__(self, data_dir: Path, port: int = 0, *, die_with_parent: bool = True) -> None:
        self.data_dir: Final = data_dir.absolute()
        self._port = port
        self._die_with_parent = die_with_parent
        self._child: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None
        self._starter = 0
        self._has_answered = False
        self._info: BrokerInfo | None = None

    @abstractmethod
    def _check(self) -> None:
        """Raise a `BrokerError` if this broker cannot or must not be started."""

    @abstractmethod
    def _command(self, port: int) -> Sequence[str]:
        """Write the settings of the broker, and return the command that starts it on this port."""

    @abstractmethod
    def _answered(self, bootstrap: str) -> BrokerInfo:
        """Finish the set-up of a broker that answers."""

    def _stopped(self, *, clean: bool) -> None:  # noqa: B027 - most brokers have nothing to note
        """Note how it ended. An end before the first answer is clean: no client had written to it."""

    @property
    def info(self) -> BrokerInfo:
        """Describe the running broker. Requires `start()`."""
        assert self._info is not None, "start the broker first"
        return self._info

    @property
    def pid(self) -> int:
        """The process id of the broker. Requires `start()`."""
        assert self._child is not None, "start the broker first"
        return self._child.pid

    @property
    def is_running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def log_path(self) -> Path:
        """Where the process prints."""
        return self.data_dir / f"{self.name}.log"

    def start(self) -> BrokerInfo:
        """Start it and wait for its first answer; a running one is left alone.

        Raises:
            BrokerBusyError: another broker uses the data directory.
            BrokerStartError: it ended, or was silent for `start_seconds`.
            BrokerError: more, by kind of broker.
        """
        if self.is_running:
            return self.info
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._acquire()
        try:
            self._check()
            self._info = self._serve()
        except BaseException:
            self.stop()
            raise
        return self._info

    def stop(self) -> None:
        """Ask it to end, wait, then insist. Stopping twice is allowed."""
        if self._child is not None:
            self._stopped(clean=self._end(self._child) or not self._has_answered)
            self._child = None
            atexit.unregister(self._stop_at_exit)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def restart(self) -> BrokerInfo:
        """Stop it if it runs, and start it on the same data and port."""
        self.stop()
        return self.start()

    def kill(self) -> None:
        """End it without a word, as the kernel does when memory runs out. Requires `start()`.

        Data that the broker had written to its files is safe, unlike after a power cut.
        """
        assert self._child is not None, "start the broker first"
        self._child.kill()
        self._child.wait()

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers. Requires `start()`."""
        os.kill(self.pid, signal.SIGSTOP)
        # A thread on another core answers on for a moment: wait until the last one stands still.
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let a frozen one go on. Requires `start()`."""
        os.kill(self.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _serve(self) -> BrokerInfo:
        # Asked first: another program that listens there would answer in the place of our broker.
        if self._port and not is_free(self._port):
            raise BrokerStartError(f"port {self._port} is in use: stop what listens there, or name another")
        # A port that we found can be taken before the broker binds it; a given one is given.
        tries = 1 if self._port else START_TRIES_MAX
        for _ in range(tries):
            port = self._port or find_free_port()
            bootstrap = f"{LOOPBACK}:{port}"
            self._spawn(self._command(port))
            if await_answer(bootstrap, seconds=self.start_seconds, is_alive=lambda: self.is_running):
                self._port = port
                self._has_answered = True
                return self._answered(bootstrap)
            if self.is_running:
                raise BrokerStartError(
                    f"{self.name} did not answer within {self.start_seconds:.0f} s: read {self.log_path}"
                )
        raise BrokerStartError(f"{self.name} ended while starting: {self._log_tail()}")

    def _spawn(self, command: Sequence[str]) -> None:
        assert self._lock is not None
        self._has_answered = False
        with self.log_path.open("ab") as log:
            self._child = subprocess.Popen(  # noqa: S603 - a list, built by this package
                [*self._leash(), *command],
                cwd=self.data_dir,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[self._lock],
            )
        self._starter = os.getpid()
        atexit.unregister(self._stop_at_exit)
        atexit.register(self._stop_at_exit)

    def _leash(self) -> list[str]:
        main_thread = threading.current_thread() is threading.main_thread()
        return with_parent.leash(self.death_signal) if self._die_with_parent and main_thread else []

    def _stop_at_exit(self) -> None:
        # A forked child of ours that exits must not take the broker with it.
        if os.getpid() == self._starter:
            self.stop()

    def _end(self, child: subprocess.Popen[bytes]) -> bool:
        """Return whether it was alive, ended when asked and reported no failure."""
        if child.poll() is not None:
            return False
        child.terminate()
        child.send_signal(signal.SIGCONT)  # a frozen one would not hear
        try:
            return child.wait(self.stop_seconds) in {0, -signal.SIGTERM, 128 + signal.SIGTERM}
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            return False

    def _acquire(self) -> None:
        if self._lock is not None:
            return
        path = self.data_dir / f"{self.name}.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise BrokerBusyError(
                f"another {self.name} broker uses {self.data_dir}: stop it, or choose another directory"
            ) from error
        self._lock = descriptor

    def _log_tail(self) -> str:
        tail = self.log_path.read_bytes()[-LOG_TAIL_BYTES:].decode("utf-8", "replace").strip()
        return f"{tail or 'it printed nothing'} ({self.log_path})"
