"""Hosts and URLs: public or inside, allowed or not, and those that cannot be read with certainty.

A host is read only in its plain spelling: a name of ASCII labels, four decimal numbers, or an IPv6 address in brackets.
Percent escapes, user names, backslashes, IDNA, and numbers in other spellings (`127.1`, `0x7f.1`, `2130706433`) are
read differently by different libraries (RFC 3986 section 7.4), so they are the worst class.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import AddressValueError, IPv6Address
from typing import NamedTuple

import re2

from processors.content.risk_class import RiskClass, Stamps, worst
from processors.content.risk_options import as_texts, texts
from processors.proof.jcs import JSONValue

CHARS_MAX = 2048  # of a URL
COUNT_WORST = 10_000
_NAME_MAX = 253  # of a host name (RFC 1035 section 2.3.4)

_URL = re2.compile(r"^([A-Za-z][A-Za-z0-9+.-]{0,31})://([^/?#]*)([/?#].*)?$")
_AUTHORITY = re2.compile(r"^(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9.-]{1,253})(?::([1-9][0-9]{0,4}))?$")
_LABEL = re2.compile(r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")
_NUMERIC = re2.compile(r"^(?:[0-9]+|0x[0-9a-f]*)$")
_OCTET = re2.compile(r"^(?:0|[1-9][0-9]{0,2})$")
# Networks that are not the public internet: RFC 6890, 5735, 4193, 4291. First address, bits.
_INSIDE_4 = (
    ("0.0.0.0", 8),  # noqa: S104 - a network, not an address to bind
    ("10.0.0.0", 8), ("100.64.0.0", 10), ("127.0.0.0", 8), ("169.254.0.0", 16), ("172.16.0.0", 12),
    ("192.0.0.0", 24), ("192.0.2.0", 24), ("192.88.99.0", 24), ("192.168.0.0", 16), ("198.18.0.0", 15),
    ("198.51.100.0", 24), ("203.0.113.0", 24), ("224.0.0.0", 3),
)  # fmt: skip
_PUBLIC_6 = (0x2000 << 112, 3)  # the only public addresses
# Within it: Teredo, benchmarking, documentation, 6to4.
_INSIDE_6 = ((0x2001 << 112, 23), (0x20010DB8 << 96, 32), (0x2002 << 112, 16), (0x3FFF << 112, 20))
_SCHEMES = frozenset({"", "ftp", "ftps", "http", "https", "sftp", "ssh", "ws", "wss"})  # that a stamp names
_PORTS = frozenset({0, 80, 443})  # none, and those of HTTP
_INSIDE_NAMES = (
    "localhost", "local", "internal", "intranet", "corp", "home", "lan", "private", "arpa", "test", "invalid", "onion",
    "localdomain", "nip.io", "sslip.io", "xip.io", "lvh.me", "localtest.me", "vcap.me", "cluster", "svc", "consul",
)  # fmt: skip

WORST: Stamps = {
    "class": RiskClass.CRITICAL.value, "read": False, "count": COUNT_WORST, "scheme": "?", "odd_port": True,
    "inside": True, "address": True, "listed": False,
}  # fmt: skip


class HostRead(NamedTuple):
    """A host in its one spelling: `inside` a network that is not public, `address` for a number instead of a name."""

    name: str
    inside: bool
    address: bool


class _Place(NamedTuple):
    host: HostRead
    scheme: str
    port: int


def classify(value: JSONValue, options: Mapping[str, JSONValue]) -> Stamps:
    """Return the stamps of a host, a URL with `//`, or a list of 1 to 64 of them: those of the worst, stamp by stamp.

    Options: `hosts`, names that are allowed (`.example.com` also for all below it); `schemes`, default `https` only.
    Stamps: `class`, `read`, `count`, `scheme` (empty for a bare host; `?` for one that no table has, and for several),
    `odd_port` (one other than those of HTTP is named), `inside`, `address`, `listed`. None is a text of the caller.
    Never raises.
    """
    given = as_texts(value)
    places = [_place(one) for one in given] if given is not None else [None]
    read = [place for place in places if place is not None]
    if len(read) != len(places):
        return WORST
    allowed = tuple(one.lower() for one in texts(options, "hosts"))
    schemes = {"", *(texts(options, "schemes") or ("https",))}
    listed = all(_is_listed(place.host.name, allowed) for place in read)
    inside = any(place.host.inside for place in read)
    address = any(place.host.address for place in read)
    risks = [RiskClass.CRITICAL] if inside and not listed else []
    risks += [RiskClass.HIGH] if any(place.scheme not in schemes for place in read) or (address and not listed) else []
    risks += [] if listed else [RiskClass.HIGH if "hosts" in options else RiskClass.MEDIUM]
    found = {place.scheme for place in read}
    return {
        "class": worst(risks).value, "read": True, "count": len(read),
        "scheme": found.pop() if len(found) == 1 and found <= _SCHEMES else "?",
        "odd_port": any(place.port not in _PORTS for place in read), "inside": inside, "address": address,
        "listed": listed,
    }  # fmt: skip


def _is_listed(name: str, allowed: tuple[str, ...]) -> bool:
    return any(name == one or (one.startswith(".") and (name.endswith(one) or name == one[1:])) for one in allowed)


def _place(text: str) -> _Place | None:
    if len(text) > CHARS_MAX or not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        return None
    url = _URL.search(text)
    scheme, authority = (url.group(1).lower(), url.group(2)) if url else ("", text)
    parts = _AUTHORITY.search(authority)
    if parts is None:
        return None
    port = int(parts.group(2) or 0)
    host = read_host(parts.group(1))
    return None if host is None or port > 0xFFFF else _Place(host, scheme, port)


def read_host(text: str) -> HostRead | None:
    """Return a host in its one spelling, or None for one that libraries read differently. Never raises."""
    if not text.isascii() or len(text) > _NAME_MAX:
        return None
    name = text.lower()
    if name.startswith("["):
        return _address_6(name)
    labels = name.split(".")
    if _NUMERIC.search(labels[-1]):
        return _address_4(labels)
    if not all(_LABEL.search(label) and label[2:4] != "--" for label in labels):
        return None  # `xn--` and its like: IDNA (RFC 5890 section 2.3.1)
    inside = len(labels) == 1 or any(name == one or name.endswith(f".{one}") for one in _INSIDE_NAMES)
    return HostRead(name, inside, address=False)


def _address_4(labels: list[str]) -> HostRead | None:
    if len(labels) != 4 or not all(_OCTET.search(label) and int(label) < 256 for label in labels):
        return None
    number = _number_4(labels)
    inside = any(number >> (32 - bits) == _number_4(first.split(".")) >> (32 - bits) for first, bits in _INSIDE_4)
    return HostRead(".".join(labels), inside, address=True)


def _number_4(labels: list[str]) -> int:
    number = 0
    for label in labels:
        number = number << 8 | int(label)
    return number


def _address_6(name: str) -> HostRead | None:
    if not name.endswith("]"):
        return None
    try:
        number = int(IPv6Address(name[1:-1]))
    except AddressValueError:
        return None
    first, bits = _PUBLIC_6
    public = number >> (128 - bits) == first >> (128 - bits)
    inside = not public or any(number >> (128 - size) == start >> (128 - size) for start, size in _INSIDE_6)
    return HostRead(f"[{number:032x}]", inside, address=True)


def statement() -> JSONValue:
    """Return networks, names and bounds, for the catalogue's digest."""
    return [
        [[first, bits] for first, bits in _INSIDE_4], [[f"{start:032x}", size] for start, size in _INSIDE_6],
        list(_INSIDE_NAMES), [one.pattern for one in (_URL, _AUTHORITY, _LABEL, _NUMERIC, _OCTET)], CHARS_MAX,
        [*sorted(_SCHEMES)], [*sorted(_PORTS)],
    ]  # fmt: skip
