"""The address of an HTTP endpoint, and the host names that lead to it.

The endpoint itself speaks plain HTTP. On loopback no other machine can listen in. On any other host it needs a proxy in
front of it that ends TLS, and must know the proxy's `https` URL, because it does not accept a token in the clear.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from producers.home.addresses import is_loopback_host
from schemas.errors import InputError

LOOPBACK = "127.0.0.1"
_LOOPBACK_NAMES = frozenset({LOOPBACK, "localhost", "[::1]"})
_HOST_TEXT = r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?"
_HOST = re.compile(_HOST_TEXT)
_URL = re.compile(f"https://{_HOST_TEXT}/?")


class AddressError(InputError):
    """The host or the URL of an endpoint is not acceptable; the message names the option to set."""


@dataclass(frozen=True, slots=True)
class Address:
    """The URL of an endpoint, without a path, and the host names that lead to it, in lower case."""

    url: str
    names: frozenset[str]

    def is_ours(self, host: str) -> bool:
        """Return True if a `Host` header names this server; any port is accepted."""
        found = _HOST.fullmatch(host)
        return found is not None and found[1].lower() in self.names


ON_LOOPBACK = Address(f"http://{LOOPBACK}", _LOOPBACK_NAMES)


def address_of(host: str, port: int, url: str | None) -> Address:
    """Return the address of an endpoint that listens on a host and port; clients elsewhere call it by `url`.

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
    elif not is_loopback_host(host):
        raise AddressError(
            f"host {host} is not loopback, so a token would travel in the clear: put a proxy that ends TLS before this "
            "server and give the proxy's address with --url https://…"
        )


def _name(url: str) -> str:
    found = _URL.fullmatch(url)
    if found is None:
        raise AddressError(f"{url[:80]!r} is not https://NAME or https://NAME:PORT; a path after it is not allowed")
    return found[1].lower()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host.lower()
