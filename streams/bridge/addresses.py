"""Where a URL of an identity provider leads: a strict reader of URLs, and the addresses of a name, each judged.

An address that is not public is refused, unless the tenant's trust names the host as private: an address of this
machine, of the network around it or of a cloud's metadata would let a provider ask services that trust their network.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from streams.bridge.reasons import FetchError, FetchReason

# At a time. The system's resolver cannot be interrupted, so each may take a thread for minutes.
NAMES_RESOLVING_MAX = 32
ADDRESSES_TRIED_MAX = 4
URL_CHARS_MAX = 2048

Resolve = Callable[[str], list[str]]

_PATH = r"/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*"  # RFC 3986 3.3 and 3.4
_URL = re.compile(rf"(https?)://(\[[0-9A-Fa-f:.]{{2,45}}\]|[A-Za-z0-9._-]{{1,253}})(?::([0-9]{{1,5}}))?({_PATH})?")
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # such a last label is read as a number: 0x7f.1 is 127.0.0.1

# IANA's special-purpose registries (RFC 6890), as they stood in November 2026, without the blocks that are reachable
# from everywhere. Python's `is_private` and `is_global` differ between its versions.
_SPECIAL_4 = tuple(
    map(
        ip_network,
        ("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
         "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
         "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32"),  # the last: Azure gives it to the host of each machine
    )
)  # fmt: skip
_GLOBAL_6 = IPv6Network("2000::/3")  # all other blocks are reserved, local or multicast (RFC 4291 2.4)
_SPECIAL_6 = tuple(map(ip_network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))  # Teredo, …, 6to4
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052
_NOWHERE = tuple(map(ip_network, ("0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "::/128", "ff00::/8")))


def is_public(address: str) -> bool:
    """Return True if an IP address is reachable from everywhere.

    An IPv6 address with an IPv4 address in it (IPv4-mapped, RFC 4291; NAT64, RFC 6052) counts as that one. Addresses of
    6to4 and Teredo are not public: both are given up (RFC 7526), and lead to IPv4 addresses. Nor is another text.
    """
    found = _unwrapped(address)
    if isinstance(found, IPv4Address):
        return not any(found in block for block in _SPECIAL_4)
    return (
        found is not None
        and found.scope_id is None
        and found in _GLOBAL_6
        and not any(found in block for block in _SPECIAL_6)
    )


def _unwrapped(address: str) -> IPv4Address | IPv6Address | None:
    """Return an address, or the IPv4 address within it; None for another text."""
    found = _literal(address)
    if not isinstance(found, IPv6Address):
        return found
    if found in _NAT64:
        return IPv4Address(int(found) & 0xFFFFFFFF)
    return found.ipv4_mapped or found


def _literal(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Location:
    """The parts of a URL that was read strictly. `host` has no brackets, `authority` is for the header `Host`."""

    scheme: str
    host: str
    port: int
    target: str
    authority: str
    is_private: bool


def place_of(url: str, private_hosts: Collection[str]) -> Location:
    """Read a URL. Raises FetchError FETCH_URL."""
    found = _URL.fullmatch(url) if len(url) <= URL_CHARS_MAX else None
    if found is None:
        raise FetchError(FetchReason.FETCH_URL)
    scheme, name, port_text = found[1], _name_of(found[2]), found[3]
    port = int(port_text) if port_text else {"http": 80, "https": 443}[scheme]
    host = name.strip("[]")
    literal = _literal(host)
    if literal is None:
        is_strict = _NAME.fullmatch(host) is not None and not _NUMBER.fullmatch(host.rpartition(".")[2])
    else:
        is_strict = isinstance(literal, IPv6Address) == (name != host)
    is_private = name in {_name_of(one) for one in private_hosts}
    if not is_strict or not 0 < port < 2**16 or (scheme != "https" and not is_private):
        raise FetchError(FetchReason.FETCH_URL)
    return Location(scheme, host, port, found[4] or "/", f"{name}:{port}" if port_text else name, is_private)


def _name_of(host: str) -> str:
    """Return the one form of a host: lower case, and an IPv6 address in brackets in its short form."""
    found = _literal(host[1:-1]) if host.startswith("[") else None
    return f"[{found}]" if isinstance(found, IPv6Address) else host.lower()


def _is_nowhere(address: str) -> bool:
    found = _unwrapped(address)
    return found is None or any(found in block for block in _NOWHERE)


class Deadline:
    """The end of one fetch, by the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left, more than 0. Raises FetchError FETCH_TOO_SLOW."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise FetchError(FetchReason.FETCH_TOO_SLOW)
        return left


class Names:
    """Resolves names on threads that may be left behind. A name that hangs has one, however often it is asked for."""

    def __init__(self, resolving: Resolve) -> None:
        self._resolving = resolving
        self._lock = threading.Lock()
        self._asked: dict[str, Future[list[str]]] = {}

    def judged(self, place: Location, deadline: Deadline) -> list[str]:
        """Return the addresses to connect to. One bad address refuses them all.

        Raises:
            FetchError: FETCH_ADDRESS_PRIVATE, FETCH_ADDRESS_UNUSABLE, FETCH_UNRESOLVED, FETCH_TOO_SLOW or FETCH_BUSY.
        """
        found = [place.host] if _literal(place.host) is not None else self._resolved(place.host, deadline)
        if not found:
            raise FetchError(FetchReason.FETCH_UNRESOLVED)
        if not place.is_private and not all(is_public(one) for one in found):
            raise FetchError(FetchReason.FETCH_ADDRESS_PRIVATE)
        if any(_is_nowhere(one) for one in found):
            raise FetchError(FetchReason.FETCH_ADDRESS_UNUSABLE)
        return list(dict.fromkeys(found))[:ADDRESSES_TRIED_MAX]

    def _resolved(self, host: str, deadline: Deadline) -> list[str]:
        with self._lock:
            answer = self._asked.get(host)
            if answer is None:
                if len(self._asked) >= NAMES_RESOLVING_MAX:
                    raise FetchError(FetchReason.FETCH_BUSY, "resolutions")
                answer = Future()
                threading.Thread(target=self._resolve, args=(host, answer), name="resolve", daemon=True).start()
                self._asked[host] = answer
        try:
            return answer.result(deadline.left())
        except TimeoutError:
            raise FetchError(FetchReason.FETCH_TOO_SLOW, "resolution of the name") from None
        except OSError:
            raise FetchError(FetchReason.FETCH_UNRESOLVED) from None

    def _resolve(self, host: str, answer: Future[list[str]]) -> None:
        try:
            found = self._resolving(host)
        except BaseException as exc:  # noqa: BLE001 - it is raised where the answer is awaited
            self._forget(host)
            answer.set_exception(exc)
        else:
            self._forget(host)
            answer.set_result(found)

    def _forget(self, host: str) -> None:
        with self._lock:
            del self._asked[host]


def resolve(host: str) -> list[str]:
    """Return the addresses of a host, as the system resolves it. Blocks, perhaps for minutes. Raises OSError."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
