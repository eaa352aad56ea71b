"""The gate's socket: in the tenant's folder, for this user alone; one request and one answer for each connection."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from macaw.hooks import thin
from macaw.hooks.desk import HookVerdict
from schemas.errors import InstallationError

log = logging.getLogger(__name__)

CONNECTIONS_MAX = 64  # tool uses at once; one more waits until its hook gives up, and is denied
REQUEST_SECONDS = 10.0
REQUEST_BYTES_MAX = 2 * thin.INPUT_BYTES_MAX  # escapes may double what the agent wrote
IDLE_SECONDS = 1800.0
PAUSE_SECONDS = 0.5


class SocketError(InstallationError):
    """The socket of the gate cannot be made; the message names the place."""


def listening(place: Path) -> socket.socket:
    """Return a socket that listens at `place`, which only this user can reach. Requires the lock of the gate.

    Raises:
        SocketError: the folder is another user's or open to others, or the socket cannot be made.
    """
    place.parent.mkdir(mode=0o700, exist_ok=True)
    found = place.parent.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise SocketError(f"{place.parent} must be this user's alone: run `chmod 700` on it")
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before, mask = os.open(".", os.O_RDONLY | os.O_DIRECTORY), os.umask(0o177)
    try:
        os.chdir(place.parent)  # the path of a socket has 107 bytes at most
        Path(place.name).unlink(missing_ok=True)
        made.bind(place.name)
        made.listen(CONNECTIONS_MAX)
    except OSError as exc:
        made.close()
        raise SocketError(f"cannot listen at {place}: {exc.strerror}") from exc
    finally:
        os.umask(mask)
        os.fchdir(before)
        os.close(before)
    return made


class GateServer:
    """Answers hooks until it is stopped, or no hook has asked for IDLE_SECONDS."""

    def __init__(
        self, answering: Callable[[Mapping[str, Any]], HookVerdict], *, idle_seconds: float = IDLE_SECONDS
    ) -> None:
        self._answering, self._idle_seconds = answering, idle_seconds
        self._stopped = threading.Event()
        self._room = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._last = time.monotonic()

    def stop(self) -> None:
        """Let `run` end. A signal handler may call it."""
        self._stopped.set()

    def run(self, listener: socket.socket) -> None:
        """Answer connections of `listener`, each in a thread of its own."""
        listener.settimeout(PAUSE_SECONDS)
        while not self._stopped.is_set():
            if time.monotonic() - self._last > self._idle_seconds:
                return
            if not self._room.acquire(timeout=PAUSE_SECONDS):
                continue
            try:
                made, _ = listener.accept()
            except TimeoutError:
                self._room.release()
                continue
            self._last = time.monotonic()
            threading.Thread(target=self._serve, args=(made,), name="hook", daemon=True).start()

    def _serve(self, made: socket.socket) -> None:
        try:
            with made:
                made.settimeout(REQUEST_SECONDS)
                thin.check_peer(made)
                request = _request(made)
                if request.get("stop") is True:
                    self.stop()
                    return
                told = self._answering(request)
                verdict = thin.ALLOW if told.allowed else thin.DENY
                made.sendall(json.dumps({"v": thin.PROTOCOL, "verdict": verdict, "reason": told.reason}).encode())
        except Exception:  # a hook without an answer denies; the gate serves others
            log.exception("a request of a hook could not be answered")
        finally:
            self._last = time.monotonic()
            self._room.release()


def _request(made: socket.socket) -> dict[str, Any]:
    """Return a request, read until its sender ends it. Raises ValueError, OSError."""
    parts, size, until = [], 0, time.monotonic() + REQUEST_SECONDS
    while part := made.recv(64 * 1024):
        parts.append(part)
        size += len(part)
        if size > REQUEST_BYTES_MAX or time.monotonic() > until:
            raise ValueError("a request of a hook is too long, or too slow")
    request = json.loads(b"".join(parts))
    if not isinstance(request, dict) or request.get("v") != thin.PROTOCOL:
        raise ValueError("a request of a hook has another form: the hook is of another version")
    return request


def ask_to_stop(place: Path) -> bool:
    """Ask the gate at `place` to end, and wait until it has; return False if none serves there.

    Raises:
        SocketError: the socket is not this user's alone.
    """
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        with thin.connected(place) as gate:
            gate.sendall(json.dumps({"v": thin.PROTOCOL, "stop": True}).encode())
            gate.shutdown(socket.SHUT_WR)
            gate.recv(1)
    except thin.BrokenGateError as exc:
        raise SocketError(str(exc)) from exc
    except (FileNotFoundError, ConnectionError):
        return False
    finally:
        os.fchdir(here)
        os.close(here)
    return True


def remove(place: Path) -> None:
    """Remove the socket of a gate that has ended."""
    with contextlib.suppress(OSError):
        place.unlink()
