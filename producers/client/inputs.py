"""Ids and times that a caller gives, checked before anything is sent."""

from __future__ import annotations

import re

from schemas.errors import InputError

_DIGEST = re.compile(r"[0-9a-f]{64}")


class MalformedIdError(InputError):
    """The given text does not have the form of an id of its kind; nothing was sent."""


class MalformedTimeError(InputError):
    """The given time is outside the bounds of the log; nothing was sent."""


def milliseconds(seconds: float, *, at_most: int, what: str) -> int:
    """Return whole milliseconds, from one to `at_most`. Raises MalformedTimeError, whose message names `what`."""
    longest = at_most / 1000
    if not 0.001 <= seconds <= longest:  # so infinity and NaN are refused too
        raise MalformedTimeError(f"{what} must be 0.001 to {longest:.0f} seconds")
    return int(seconds * 1000)


def digest_of(text: str, what: str) -> bytes:
    """Return the 32 bytes of an id in hex. Raises MalformedIdError."""
    if not _DIGEST.fullmatch(text):
        raise MalformedIdError(f"{text[:80]!r} is not {what}: want 64 hexadecimal digits")
    return bytes.fromhex(text)
