"""Addresses of networks and mail: IPv4, IPv6 and MAC by a reading of our own, and e-mail by its shape."""

from __future__ import annotations

import re2

from processors.content.hits import Hit

_HEX = frozenset(b"0123456789abcdefABCDEF")
_LETTER = r"A-Za-z0-9\x{C0}-\x{24F}\x{370}-\x{52F}"  # with the letters of Latin, Greek and Cyrillic (RFC 6531)
_LOCAL_MAX = 64  # octets before the `@` (RFC 5321, 4.5.3.1.1)
_EMAIL = re2.compile(
    rf"[{_LETTER}_][{_LETTER}._%+'&~-]*@(?:[{_LETTER}][{_LETTER}-]*\.)+(?:xn--[A-Za-z0-9-]+|[A-Za-z\x{{C0}}-\x{{24F}}\x{{370}}-\x{{52F}}]{{2,24}})".encode()
)
_V4 = re2.compile(rb"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}")
_V6 = re2.compile(rb"[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:]*")
_MAC = re2.compile(rb"[0-9A-Fa-f]{2}(?:(?::[0-9A-Fa-f]{2}){5}|(?:-[0-9A-Fa-f]{2}){5})")
_MAC_DOTTED = re2.compile(rb"[0-9a-fA-F]{4}\.[0-9a-fA-F]{4}\.[0-9a-fA-F]{4}")
_SCHEME = re2.compile(rb"://[^\s/]*$")


def emails(data: bytes) -> list[Hit]:
    """Return addresses of mail, with places in bytes. Not one: the user of a URL, and of `host:path`."""
    if b"@" not in data:
        return []
    return [
        Hit("personal.email", match.start(), match.end(), "email")
        for match in _EMAIL.finditer(data)
        if match.group().index(b"@") <= _LOCAL_MAX
        and _SCHEME.search(data[max(0, match.start() - 128) : match.start()]) is None
        and not (data[match.end() : match.end() + 1] == b":" and data[match.end() + 1 : match.end() + 2].strip())
    ]


def hosts(data: bytes) -> list[Hit]:
    """Return IPv4, IPv6 and MAC addresses, with places in bytes."""
    hits = []
    if data.count(b".") >= 3:
        hits += [
            Hit("personal.ip", match.start(), match.end(), "ipv4")
            for match in _V4.finditer(data)
            if _is_v4(match.group()) and stands_alone(data, match.start(), match.end(), b".")
        ]
    if data.count(b":") >= 2:
        hits += [
            Hit("personal.ip", start, end, "ipv6")
            for start, end in map(_v6_place, _V6.finditer(data))
            if _is_v6_at(data, start, end)
        ]
    for pattern in (_MAC, _MAC_DOTTED):
        hits += [
            Hit("personal.mac", match.start(), match.end(), "mac")
            for match in pattern.finditer(data)
            if _is_mac(match.group()) and stands_alone(data, match.start(), match.end(), b":-.")
        ]
    return hits


def stands_alone(data: bytes, start: int, end: int, signs: bytes) -> bool:
    """Return True if no ASCII letter, digit or `_` touches the place, nor one behind a sign that joins it."""
    one, two = data[max(0, start - 1) : start], data[max(0, start - 2) : max(0, start - 1)]
    if one.isalnum() or one == b"_" or (one and one in signs and two.isalnum()):
        return False
    one, two = data[end : end + 1], data[end + 1 : end + 2]
    return not (one.isalnum() or one == b"_" or (one and one in signs and two.isalnum()))


def is_v6(text: bytes) -> bool:
    """Return True for an address of RFC 4291, 2.2: eight groups, `::` once for zeros, the last two as IPv4."""
    if b"." in text:
        head, _, tail = text.rpartition(b":")
        # Behind `::`, one of its colons went into the partition.
        if not _is_v4(tail):
            return False
        text = head + b":0:0"
    if text.count(b"::") > 1 or b":::" in text:
        return False
    left, gap, right = text.partition(b"::")
    groups = [group for side in (left, right) if side for group in side.split(b":")]
    if any(not 1 <= len(group) <= 4 or any(one not in _HEX for one in group) for group in groups):
        return False
    return len(groups) <= 7 if gap else len(groups) == 8


def _is_v4(text: bytes) -> bool:
    parts = text.split(b".")
    return len(parts) == 4 and all(
        part.isdigit() and int(part) <= 255 and (len(part) == 1 or part[:1] != b"0") for part in parts
    )


def _is_mac(text: bytes) -> bool:
    """Return True if the address names a device: it is not all zeros or ones, and a dotted one holds a letter."""
    plain = text.translate(None, b":-.").lower()
    return plain not in {b"0" * 12, b"f" * 12} and (b"." not in text or not plain.isdigit())


def _v6_place(match: re2._Match) -> tuple[int, int]:
    """Return the place of a candidate without the colon of a sentence behind it."""
    text = match.group()
    return match.start(), match.end() - (text.endswith(b":") and not text.endswith(b"::"))


def _is_v6_at(data: bytes, start: int, end: int) -> bool:
    """Return True for an address that is not a piece of a program, as in `x[::2]` and `x[1::2]`."""
    text = data[start:end]
    if not is_v6(text) or not any(48 <= one <= 57 for one in text) or not stands_alone(data, start, end, b"."):
        return False
    if sum(one in _HEX for one in text) >= 4:
        return True
    return text == b"::1" and data[max(0, start - 1) : start] != b"["
