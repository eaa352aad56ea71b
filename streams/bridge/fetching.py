"""Fetching one JSON document of an identity provider, from a network that may be hostile; a form may ask for it.

A provider's metadata names the address of its keys, so the provider chooses where this process connects to. Each fetch
therefore holds these rules, and a fault of any of them is one `FetchError`:

- The URL is strict, `https`, without user and fragment. `http` is for hosts that the tenant's trust names as private.
- The host is resolved once. Every address is judged by tables of ours (IANA's special-purpose registries), and the
  connection goes to one of the judged addresses, so a name that changes its address meanwhile (DNS rebinding) gains
  nothing. An address that is not public is refused, unless the trust names the host as private.
- TLS is verified against the system's trust store (OpenSSL's, so `SSL_CERT_FILE` counts), at least TLS 1.2.
- A redirect is refused, and so is every status but 200 and every coding of the content.
- Bytes and time are bounded: the bytes on the wire, the content, and one deadline from the resolution to the last byte.
- No proxy, cookie or credential of the environment is used.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar

import httpcore

from processors.proof.jcs import JSONValue, MalformedJSONError, parse_strict
from schemas import limits
from streams.bridge.addresses import Deadline, Location, Names, Resolve, place_of, resolve
from streams.bridge.reasons import FetchError, FetchReason

CONTENT_BYTES_MAX = limits.KEY_SET_BYTES_MAX
READ_BYTES = 16 * 1024
HEAD_BYTES_MAX = 48 * 1024  # preliminary answers included, and perhaps the first READ_BYTES of the body
WIRE_BYTES_MAX = 2 * CONTENT_BYTES_MAX  # of a body with the frames of its chunks
PARTS_MAX = 4096  # of a body: each chunk costs time in which nothing else in this process runs
FETCH_SECONDS = 5.0
DEPTH_MAX = 16

Connect = Callable[[str, int, float], socket.socket]
Headers = Sequence[tuple[str, str]]
T = TypeVar("T")

_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=\"?([0-9]{1,9})\"?(?=$|[\s,])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Document:
    """One JSON object as its server sent it, and as a value; `max_age_s` is that of `Cache-Control`, if it has one."""

    data: bytes = field(repr=False)
    value: dict[str, JSONValue] = field(repr=False)
    max_age_s: int | None


def connect(address: str, port: int, seconds: float) -> socket.socket:
    """Return a connection to an address, without another resolution. Raises OSError."""
    connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        connection.connect((address, port))
    except BaseException:
        connection.close()
        raise
    return connection


class Wire(httpcore.NetworkBackend, httpcore.NetworkStream):
    """One connection to judged addresses, within the deadline and the bounds of bytes. Its errors are FetchErrors."""

    def __init__(self, addresses: list[str], deadline: Deadline, connecting: Connect) -> None:
        self._addresses = addresses
        self._deadline = deadline
        self._connecting = connecting
        self._bytes_left = HEAD_BYTES_MAX
        self._socket: socket.socket | None = None
        self._is_interrupted = False

    def connect_tcp(
        self,
        host: str,  # noqa: ARG002 - it was resolved, and a name never reaches the socket
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the deadline counts
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        for count, address in enumerate(self._addresses):
            share = self._deadline.left() / (len(self._addresses) - count)
            try:
                self._hold(self._connecting(address, port, share))
            except OSError:
                continue
            return self
        self._deadline.left()
        raise FetchError(FetchReason.FETCH_UNREACHABLE)

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        assert self._socket is not None
        self._socket.settimeout(self._deadline.left())
        try:
            wrapped = ssl_context.wrap_socket(
                self._socket, server_hostname=server_hostname, do_handshake_on_connect=False
            )
            self._hold(wrapped)
            wrapped.do_handshake()
        except OSError as exc:
            raise _fault(exc, "handshake", FetchReason.FETCH_TLS) from None
        return self

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        assert self._socket is not None
        try:
            self._socket.settimeout(self._deadline.left())
            data = self._socket.recv(min(max_bytes, READ_BYTES))
        except OSError as exc:
            raise _fault(exc, "answer") from None
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            raise FetchError(FetchReason.FETCH_TOO_LARGE)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        assert self._socket is not None
        try:
            self._socket.settimeout(self._deadline.left())
            self._socket.sendall(buffer)
        except OSError as exc:
            raise _fault(exc, "request") from None

    def _hold(self, connection: socket.socket) -> None:
        """Use a new connection. It may have come while `interrupt` looked at the one before."""
        self._socket = connection
        if self._is_interrupted:
            raise FetchError(FetchReason.FETCH_STOPPED)

    def begin_body(self) -> None:
        """Let the body come, after the head."""
        self._bytes_left = WIRE_BYTES_MAX

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def interrupt(self) -> None:
        """End the connection from another thread: a read that waits returns."""
        self._is_interrupted = True
        if self._socket is not None:
            with suppress(OSError):  # it is not connected any more
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def _fault(exc: OSError, place: str, otherwise: FetchReason = FetchReason.FETCH_BROKEN) -> FetchError:
    if isinstance(exc, TimeoutError):
        return FetchError(FetchReason.FETCH_TOO_SLOW, place)
    if isinstance(exc, ssl.SSLCertVerificationError):
        return FetchError(FetchReason.FETCH_TLS, exc.verify_message.partition(",")[0])  # behind the comma is the host
    return FetchError(FetchReason.FETCH_TLS if isinstance(exc, ssl.SSLError) else otherwise, place)


class Fetcher:
    """Fetches documents, each on the thread of its caller. The arguments replace the network for tests."""

    def __init__(
        self, *, resolving: Resolve = resolve, connecting: Connect = connect, tls: ssl.SSLContext | None = None
    ) -> None:
        self._names = Names(resolving)
        self._connecting = connecting
        # httpcore's own context trusts certifi's authorities as well.
        self._tls = ssl.create_default_context() if tls is None else tls
        self._lock = threading.Lock()
        self._wires: set[Wire] = set()
        self._closed = threading.Event()

    def fetch(
        self,
        url: str,
        private_hosts: Collection[str],
        *,
        seconds: float = FETCH_SECONDS,
        form: bytes | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> Document:
        """Return the JSON object at a URL. Blocks for at most `seconds`, also if the server trickles.

        With `form`, a form as it goes over the wire, it is asked for by POST; `headers` are further ones.

        Raises:
            FetchError: every fault of the address, the network and the answer.
        """
        return self.over_wire(url, private_hosts, seconds, partial(self._ask, form=form, further=headers))

    def over_wire(
        self, url: str, private_hosts: Collection[str], seconds: float, ask: Callable[[Location, Wire], T]
    ) -> T:
        """Return what `ask` does with the place of a URL and a connection to one of its judged addresses.

        Raises:
            FetchError: a fault of the address or the network, or what `ask` raises.
        """
        deadline = Deadline(seconds)
        place = place_of(url, private_hosts)
        wire = Wire(self._names.judged(place, deadline), deadline, self._connecting)
        with self._lock:
            if self._closed.is_set():
                raise FetchError(FetchReason.FETCH_STOPPED)
            self._wires.add(wire)
        try:
            return ask(place, wire)
        except httpcore.ProtocolError:
            fault = FetchError(FetchReason.FETCH_BROKEN)
        except FetchError as exc:
            fault = exc
        finally:
            with self._lock:
                self._wires.discard(wire)
            wire.close()
        raise (FetchError(FetchReason.FETCH_STOPPED) if self._closed.is_set() else fault) from None

    def close(self) -> None:
        """End every fetch under way, and refuse further ones. Returns at once."""
        with self._lock:
            self._closed.set()
            for wire in self._wires:
                wire.interrupt()

    def _ask(
        self, place: Location, wire: Wire, form: bytes | None = None, further: Sequence[tuple[str, str]] = ()
    ) -> Document:
        headers = [("Accept", "application/json"), ("Accept-Encoding", "identity"), *further]
        if form is not None:
            headers += [("Content-Type", "application/x-www-form-urlencoded"), ("Content-Length", str(len(form)))]
        with self.exchange(place, wire, "GET" if form is None else "POST", headers, form) as answer:
            return _document(answer, wire)

    def exchange(
        self, place: Location, wire: Wire, method: str, headers: Headers, content: bytes | None = None
    ) -> AbstractContextManager[httpcore.Response]:
        """Send one request over a wire; the block reads the answer, whose body comes after `wire.begin_body`."""
        origin = httpcore.Origin(place.scheme.encode(), place.host.encode(), place.port)
        url = httpcore.URL(scheme=origin.scheme, host=origin.host, port=place.port, target=place.target.encode())
        fixed = [("Host", place.authority), *headers, ("Connection", "close"), ("User-Agent", "macaw")]
        connection = httpcore.HTTPConnection(origin, self._tls, network_backend=wire)
        return connection.stream(method, url, headers=fixed, content=content)


def _document(answer: httpcore.Response, wire: Wire) -> Document:
    """Read an answer. Raises FetchError."""
    if answer.status != HTTPStatus.OK:
        is_redirect = HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST
        reason = FetchReason.FETCH_REDIRECT if is_redirect else FetchReason.FETCH_STATUS
        raise FetchError(reason, f"status {answer.status}", status=answer.status)
    headers = [(name.lower(), value) for name, value in answer.headers]
    if any(name == b"content-encoding" and value.lower() not in {b"", b"identity"} for name, value in headers):
        raise FetchError(FetchReason.FETCH_ENCODED)
    if any(name == b"content-length" and int(value) > CONTENT_BYTES_MAX for name, value in headers):
        raise FetchError(FetchReason.FETCH_TOO_LARGE)
    wire.begin_body()
    data = bytearray()
    for count, part in enumerate(answer.iter_stream()):
        data += part
        if len(data) > CONTENT_BYTES_MAX or count >= PARTS_MAX:
            raise FetchError(FetchReason.FETCH_TOO_LARGE)
    cached = b",".join(value for name, value in headers if name == b"cache-control")
    ages = [int(age) for age in _MAX_AGE.findall(cached.decode("latin-1"))]
    return Document(bytes(data), _json_object(bytes(data)), min(ages, default=None))


def _json_object(data: bytes) -> dict[str, JSONValue]:
    # A body without a stated length may have been cut off; no part of an object is an object.
    try:
        value = parse_strict(data, depth_max=DEPTH_MAX)
    except MalformedJSONError as exc:
        raise FetchError(FetchReason.FETCH_NOT_JSON, exc.cause) from None
    if not isinstance(value, dict):
        raise FetchError(FetchReason.FETCH_NOT_JSON)
    return value
