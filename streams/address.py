"""Where an endpoint listens, and by which names it is called.

It speaks plain HTTP. On loopback nobody listens in; anywhere else it must stand behind something that ends TLS, and is
told that one's address: a token is not taken in the clear.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from schemas.errors import InputError

LOOPBACK = "127.0.0.1"
_LOOPBACK_NAMES = frozenset({LOOPBACK, "localhost", "[::1]"})
_HOST_TEXT = r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?"
_HOST = re.compile(_HOST_TEXT)
_URL = re.compile(f"https://{_HOST_TEXT}/?")


class AddressError(InputError):
    """The endpoint must not listen there, or must not be called so; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Address:
    """The URL by which it is called, without a path, and the names that lead to it."""

    url: str
    names: frozenset[str]

    def is_ours(self, host: str) -> bool:
        """Return whether a `Host` header names this server, on whatever port."""
        found = _HOST.fullmatch(host)
        return found is not None and found[1].lower() in self.names


ON_LOOPBACK = Address(f"http://{LOOPBACK}", _LOOPBACK_NAMES)


def address_of(host: str, port: int, url: str | None) -> Address:
    """Return the address of an endpoint that listens on a host and port and is called by `url` from elsewhere.

    Raises:
        AddressError: the host is not loopback and no `https` URL is given, or the URL has a path or more.
    """
    if url is None:
        check_listen(host, url)
        return Address(f"http://{_bracketed(host)}:{port}", _LOOPBACK_NAMES | {_bracketed(host)})
    check_listen(host, url)
    return Address(url.rstrip("/"), _LOOPBACK_NAMES | {_name(url)})


def check_listen(host: str, url: str | None) -> None:
    """Raise AddressError as `address_of` would, before there is a port."""
    if url is not None:
        _name(url)
    elif not _is_loopback(host):
        raise AddressError(
            f"on {host} a token would be taken in the clear: put something before it that ends TLS, and say its "
            "address with --url https://…"
        )


def _name(url: str) -> str:
    found = _URL.fullmatch(url)
    if found is None:
        raise AddressError(f"{url[:80]!r}: want https://NAME or https://NAME:PORT, and nothing behind it")
    return found[1].lower()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host.lower()


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
