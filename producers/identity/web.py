"""HTTP to an identity provider: https, or loopback; no redirect followed, no proxy; answers bounded in bytes and time.

A request carries a password, code or token, so it goes to the one address that the provider's metadata names, and no
error here shows more of the address than its host.
"""

from __future__ import annotations

import http.client
import io
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from ipaddress import ip_address
from typing import NamedTuple, NoReturn
from urllib.parse import SplitResult, urlencode, urlsplit

from producers.home.addresses import is_loopback_host
from producers.identity.errors import LoginSettingsError, ProviderUnavailableError

ANSWER_SECONDS = 10.0  # for all of it: the name, the connection, the request, the answer
ANSWER_BYTES_MAX = 256 * 1024
HEAD_BYTES_MAX = 64 * 1024
URL_CHARS_MAX = 2048
_URL = re.compile(r"[!-~]+")

JSONObject = Mapping[str, object]


class Reply(NamedTuple):
    """The status of an answer, and its body of at most ANSWER_BYTES_MAX bytes."""

    status: int
    body: bytes


def check_url(text: object, name: str) -> SplitResult:
    """Return the parts of an address to which a secret may go.

    Raises:
        LoginSettingsError: it is not an absolute https URL, or http of this machine; or it names a user or a fragment.
    """
    if not isinstance(text, str) or len(text) > URL_CHARS_MAX or _URL.fullmatch(text) is None:
        raise LoginSettingsError(f"{name} is not a URL of at most {URL_CHARS_MAX} visible ASCII characters")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise LoginSettingsError(f"{name} is not a URL: its host or port is malformed") from None
    if not host or parts.scheme not in {"https", "http"}:
        raise LoginSettingsError(f"{name} is not an address like https://login.example.com")
    if "@" in parts.netloc or "#" in text or "\\" in text:
        raise LoginSettingsError(f"{name} must not name a user, a fragment or a backslash")
    if parts.scheme == "http" and not is_loopback_host(host):
        raise LoginSettingsError(f"{name} is http to {host}: a secret is not sent in the clear, use https")
    return parts


def get(url: str, *, seconds: float = ANSWER_SECONDS) -> Reply:
    """Return the answer to a GET. Raises ProviderUnavailableError, LoginSettingsError."""
    return _exchange("GET", url, b"", {"Accept": "application/json"}, seconds)


def post_form(
    url: str, form: Mapping[str, str], headers: Mapping[str, str] | None = None, *, seconds: float = ANSWER_SECONDS
) -> Reply:
    """Return the answer to a form. Raises ProviderUnavailableError, LoginSettingsError."""
    body = urlencode(form, errors="surrogatepass").encode("ascii")
    kinds = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    return _exchange("POST", url, body, {**kinds, **(headers or {})}, seconds)


def json_object(body: bytes, host: str) -> JSONObject:
    """Return the object that an answer holds. Raises ProviderUnavailableError; nothing of the answer is quoted."""
    try:
        found = json.loads(body, object_pairs_hook=_once, parse_constant=_not_json)
    except (ValueError, RecursionError):
        raise ProviderUnavailableError(
            f"the answer of {host} is not JSON: is this the address of the identity provider?"
        ) from None
    if not isinstance(found, dict):
        raise ProviderUnavailableError(f"the answer of {host} is not a JSON object")
    return found


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _not_json(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _exchange(method: str, url: str, body: bytes, headers: Mapping[str, str], seconds: float) -> Reply:
    parts = check_url(url, "the address of the provider")
    host, deadline = str(parts.hostname), _Deadline(seconds)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        with _connected(parts, deadline) as sock:
            connection = http.client.HTTPConnection(host, parts.port)
            connection.sock = _BoundedSocket(sock, deadline)  # it has the three methods that are used
            connection.putrequest(method, target, skip_host=True)
            connection.putheader("Host", parts.netloc)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.putheader("Connection", "close")
            if method == "POST":
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            with connection.getresponse() as response:
                found = response.read(ANSWER_BYTES_MAX + 1)
                status = response.status
    except TimeoutError:
        raise ProviderUnavailableError(f"{host} has not answered within {seconds:g} s: try again later") from None
    except ssl.SSLError as exc:
        raise ProviderUnavailableError(
            f"no secure connection to {host}: {exc.reason or type(exc).__name__}; see its certificate"
        ) from None
    except (OSError, ValueError, http.client.HTTPException) as exc:
        # The text of an error of HTTP may quote the answer or the request.
        why = exc.strerror if isinstance(exc, OSError) and exc.strerror else type(exc).__name__
        raise ProviderUnavailableError(f"{host} cannot be reached, or does not speak HTTP: {why}") from None
    if len(found) > ANSWER_BYTES_MAX:
        raise ProviderUnavailableError(f"{host} answers with more than {ANSWER_BYTES_MAX} bytes")
    if 300 <= status < 400:
        raise ProviderUnavailableError(
            f"{host} answers with a redirect ({status}), which is not followed: name the provider's own address"
        )
    return Reply(status, found)


class _Deadline:
    """The end of one exchange."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left. Raises TimeoutError at the end."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _BoundedSocket:
    """The three methods that `http.client` uses of a socket. Each waits until the deadline only, all together.

    `close` does nothing, because the answer is read after it; the opener closes the socket.
    """

    def __init__(self, sock: socket.socket, deadline: _Deadline) -> None:
        self._sock, self._deadline = sock, deadline

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(self._deadline.left())
        self._sock.sendall(data)

    def makefile(self, _: str) -> io.BufferedReader:
        return io.BufferedReader(_BoundedReads(self._sock, self._deadline))

    def close(self) -> None:
        """Leave the socket to its opener."""


class _BoundedReads(io.RawIOBase):
    """Arriving bytes, up to a deadline and a count: a trickle of one byte a second ends as silence does."""

    def __init__(self, sock: socket.socket, deadline: _Deadline) -> None:
        self._sock, self._deadline, self._bytes = sock, deadline, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override] # as BufferedReader calls it
        self._sock.settimeout(self._deadline.left())
        count = self._sock.recv_into(buffer)
        self._bytes += count
        if self._bytes > ANSWER_BYTES_MAX + HEAD_BYTES_MAX:
            raise OSError(None, f"its answer has more than {ANSWER_BYTES_MAX} bytes")
        return count


def _connected(parts: SplitResult, deadline: _Deadline) -> socket.socket:
    host = str(parts.hostname)
    addresses = _addresses(host, parts.port or {"https": 443, "http": 80}[parts.scheme], deadline)
    if parts.scheme == "http" and not all(ip_address(one[0].split("%")[0]).is_loopback for _, one in addresses):
        raise OSError(None, "its name does not lead to this machine, and http is for this machine only")
    failure: OSError = OSError(None, "its name has no address")
    for place, (family, address) in enumerate(addresses):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(deadline.left() / (len(addresses) - place))
            sock.connect(address)
            if parts.scheme == "https":
                sock.settimeout(deadline.left())
                return ssl.create_default_context().wrap_socket(sock, server_hostname=host)
        except ssl.SSLError:
            sock.close()
            raise
        except OSError as exc:
            sock.close()
            failure = exc
        else:
            return sock
    raise failure


def _addresses(host: str, port: int, deadline: _Deadline) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
    """Return the addresses of a host. The resolver has no deadline, so it runs on a thread that may be left."""
    answer: Future[list[tuple[socket.AddressFamily, tuple[str, int]]]] = Future()

    def run() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answer.set_result([(one[0], one[4]) for one in found])  # type: ignore[misc] # the address of either family
        except BaseException as exc:  # noqa: BLE001 - the asking thread raises it
            answer.set_exception(exc)

    threading.Thread(target=run, name="identity-resolver", daemon=True).start()
    return answer.result(deadline.left())
