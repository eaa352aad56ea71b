"""The address to which a browser brings the provider's answer: a port of 127.0.0.1, for one answer (RFC 8252 7.3).

Any program of this machine and any web page can send requests here. So only a request with the right `state` counts;
others are turned away, and do not end the wait. One thread serves all connections, each bounded in bytes and time:
browsers open some in advance and stay silent on them.
"""

from __future__ import annotations

import hmac
import os
import re
import selectors
import socket
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl

from producers.identity.errors import LoginCode, LoginError, LoginSettingsError

HOST = "127.0.0.1"
HEAD_BYTES_MAX = 16 * 1024
HEAD_SECONDS = 5.0
CONNECTIONS_MAX = 16
PARAMETERS_MAX = 32
_SLICE_SECONDS = 0.2  # after which a cancelled login is noticed
_REQUEST = re.compile(rb"GET ([!-~]+) HTTP/1\.[01]\r\n")

_SECURE = (
    "Content-Type: text/html; charset=utf-8\r\nCache-Control: no-store\r\nConnection: close\r\n"
    "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\nReferrer-Policy: no-referrer\r\n"
    "X-Content-Type-Options: nosniff\r\n"
)
_DONE = "The provider has answered. You may close this window and go back to the program."
_NOT_HERE = "This is not the answer that the program waits for."


@dataclass(slots=True, eq=False)
class _Visitor:
    sock: socket.socket
    until: float
    head: bytearray = field(default_factory=bytearray, repr=False)


class LoopbackRedirect:
    """A listener for one answer. Use it as a context manager; at its end the port is closed."""

    def __init__(self, path: str, port: int = 0) -> None:
        """Listen. Raises LoginSettingsError if the port is taken."""
        self._path = path
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if os.name == "posix":  # a port that was just used; elsewhere it would let another program share ours
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._listener.bind((HOST, port))
            self._listener.listen(CONNECTIONS_MAX)
        except OSError as exc:
            self._listener.close()
            raise LoginSettingsError(f"cannot listen on port {port} of {HOST}: {exc.strerror}; name another") from None
        self._listener.setblocking(False)
        self._visitors: set[_Visitor] = set()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)

    @property
    def redirect_uri(self) -> str:
        """The address that the provider sends the browser to."""
        return f"http://{HOST}:{self._listener.getsockname()[1]}{self._path}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        for visitor in list(self._visitors):
            self._leave(visitor)
        self._selector.close()
        self._listener.close()

    def wait(self, state: str, seconds: float, stop: threading.Event) -> dict[str, str]:
        """Return the parameters of the answer with this state, after telling the browser that it is done.

        Raises:
            LoginError: LOGIN_TIMED_OUT, LOGIN_CANCELLED after `stop`; ANSWER_FORGED if a parameter stands twice.
        """
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if stop.is_set():
                raise LoginError(LoginCode.LOGIN_CANCELLED, "the login was cancelled by the program")
            for key, _ in self._selector.select(min(left, _SLICE_SECONDS)):
                if key.data is None:
                    self._admit()
                elif key.data in self._visitors and (found := self._heard(key.data, state)) is not None:
                    return _once(found)
            for visitor in [one for one in self._visitors if one.until < time.monotonic()]:
                self._leave(visitor)
        raise LoginError(LoginCode.LOGIN_TIMED_OUT, f"no answer came within {seconds:g} s: begin the login again")

    def _admit(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:  # it has gone again
            return
        sock.setblocking(False)
        if len(self._visitors) >= CONNECTIONS_MAX:
            self._leave(min(self._visitors, key=lambda one: one.until))
        visitor = _Visitor(sock, time.monotonic() + HEAD_SECONDS)
        self._visitors.add(visitor)
        self._selector.register(sock, selectors.EVENT_READ, visitor)

    def _leave(self, visitor: _Visitor, answer: bytes = b"") -> None:
        self._selector.unregister(visitor.sock)
        self._visitors.discard(visitor)
        try:
            if answer:
                visitor.sock.send(answer)  # a page of a few hundred bytes fits into the buffer of the connection
                visitor.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the browser did not wait for the page; its request counts all the same
        finally:
            visitor.sock.close()

    def _heard(self, visitor: _Visitor, state: str) -> list[tuple[str, str]] | None:
        """Read on; return the parameters once the request is whole and the one that is waited for."""
        try:
            data = visitor.sock.recv(HEAD_BYTES_MAX)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        visitor.head += data
        if not data or len(visitor.head) > HEAD_BYTES_MAX:
            self._leave(visitor)
            return None
        if b"\r\n\r\n" not in visitor.head:
            return None
        found = self._parameters(bytes(visitor.head))
        states = [value for name, value in found or () if name == "state"]
        if found is None or len(states) != 1 or not hmac.compare_digest(states[0].encode(), state.encode()):
            self._leave(visitor, _page("404 Not Found", _NOT_HERE))
            return None
        self._leave(visitor, _page("200 OK", _DONE))
        return found

    def _parameters(self, head: bytes) -> list[tuple[str, str]] | None:
        request = _REQUEST.match(head)
        path, _, query = (request[1].decode("ascii") if request else "").partition("?")
        if path != self._path:
            return None
        try:
            return parse_qsl(query, keep_blank_values=True, max_num_fields=PARAMETERS_MAX, errors="strict")
        except ValueError:
            return None


def _once(found: list[tuple[str, str]]) -> dict[str, str]:
    if len(dict(found)) != len(found):
        raise LoginError(
            LoginCode.ANSWER_FORGED, "a parameter stands twice in the browser's answer (RFC 6749 3.1): log in again"
        )
    return dict(found)


def _page(status: str, text: str) -> bytes:
    body = f"<!doctype html><meta charset=utf-8><title>Login</title><p>{text}</p>\n"
    return f"HTTP/1.1 {status}\r\n{_SECURE}Content-Length: {len(body)}\r\n\r\n{body}".encode()
