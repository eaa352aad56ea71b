"""A server process of a test: started on loopback, awaited by a request, and ended with its starter."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from streams.local import with_parent

TAIL_BYTES = 2_000
PAUSE_SECONDS = 0.05
STOP_SECONDS = 15.0


class ServerStartError(Exception):
    """A server ended while it started, or did not answer in time; the message has the end of its output."""


class ServerProcess:
    """A child process with its output in a file. `start` may be called again after `stop`."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self._child: subprocess.Popen[bytes] | None = None

    def start(
        self, command: Sequence[str], url: str, *, seconds: float, environ: Mapping[str, str] | None = None
    ) -> None:
        """Start the command, and wait until `url` answers 200. A running server stays as it is.

        Raises:
            ServerStartError: it ended, or did not answer within `seconds`.
        """
        if self._child is not None:
            return
        on_main = threading.current_thread() is threading.main_thread()
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                [*(with_parent.leash(signal.SIGTERM) if on_main else []), *command],
                cwd=self.log.parent,
                env={**os.environ, **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._await(self._child, url, time.monotonic() + seconds)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ask the process to end, and kill it if it does not. A second call is allowed."""
        child, self._child = self._child, None
        if child is None or child.poll() is not None:
            return
        child.terminate()
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    @property
    def pid(self) -> int:
        assert self._child is not None, "start the server first"
        return self._child.pid

    def _await(self, child: subprocess.Popen[bytes], url: str, deadline: float) -> None:
        with httpx.Client(timeout=5.0, trust_env=False) as http:
            while child.poll() is None and time.monotonic() < deadline:
                try:
                    if http.get(url).status_code == httpx.codes.OK:
                        return
                except httpx.TransportError:
                    pass  # not yet
                time.sleep(PAUSE_SECONDS)
        told = self.log.read_bytes()[-TAIL_BYTES:].decode("utf-8", "replace").strip()
        raise ServerStartError(f"{url} did not answer 200; the server printed: {told}")
