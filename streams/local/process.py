"""Starting a broker as a child process, and making sure that it ends.

A broker gets a session of its own, so that Ctrl-C in a terminal reaches only its starter, which
stops the broker last. The end of the `with` block stops it; if there is none, the exit of the
interpreter does, and after a kill of the starter the kernel does. The child inherits the lock on
the data directory, so the lock is free only when both processes have ended.
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

    `port` 0 means a free port, which the broker keeps over restarts. With `die_with_parent` the
    kernel ends the broker when its starter dies; this needs Linux and the main thread, and is
    skipped without them.
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
        """Take note of the end. An end before the first answer is clean, because no client has written yet."""

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
        """The file of the process's output."""
        return self.data_dir / f"{self.name}.log"

    def start(self) -> BrokerInfo:
        """Start the broker and wait for its first answer. A running broker stays as it is.

        Raises:
            BrokerBusyError: another broker uses the data directory.
            BrokerStartError: the broker ended, or did not answer within `start_seconds`.
            BrokerError: the check of this kind of broker failed.
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
        """Send SIGTERM, wait `stop_seconds`, then send SIGKILL. A second call is allowed."""
        if self._child is not None:
            self._stopped(clean=self._end(self._child) or not self._has_answered)
            self._child = None
            atexit.unregister(self._stop_at_exit)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def restart(self) -> BrokerInfo:
        """Stop the broker if it runs, and start it with the same data and port."""
        self.stop()
        return self.start()

    def kill(self) -> None:
        """Send SIGKILL, as the kernel does when memory runs out. Requires `start()`.

        Data that the broker has written to its files is kept, unlike after a power cut.
        """
        assert self._child is not None, "start the broker first"
        self._child.kill()
        self._child.wait()

    def pause(self) -> None:
        """Freeze the process: connections stay open without answers. Requires `start()`."""
        os.kill(self.pid, signal.SIGSTOP)
        # A thread on another core may still answer for a moment: wait until all threads have stopped.
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let a frozen process go on. Requires `start()`."""
        os.kill(self.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _serve(self) -> BrokerInfo:
        # This is checked first, because another program on that port would answer instead of our broker.
        if self._port and not is_free(self._port):
            raise BrokerStartError(
                f"port {self._port} is in use: stop the program that listens there, or name another port"
            )
        # Another process may take a port that we found before the broker binds it; then another port is tried.
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
                    f"the {self.name} broker did not answer within {self.start_seconds:.0f} s: read {self.log_path}"
                )
        raise BrokerStartError(f"the {self.name} broker ended while starting; its output: {self._log_tail()}")

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
        # A forked child of this process that exits must not stop the broker.
        if os.getpid() == self._starter:
            self.stop()

    def _end(self, child: subprocess.Popen[bytes]) -> bool:
        """End the process; return True if it was alive, ended on SIGTERM and reported no failure."""
        if child.poll() is not None:
            return False
        child.terminate()
        child.send_signal(signal.SIGCONT)  # a frozen process does not handle SIGTERM
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
