"""Texts without the marks of HTML (living standard, 13.2.5) and of quoted-printable (RFC 2045, 6.7; RFC 2047, 4.2)."""

from __future__ import annotations

from collections.abc import Iterator
from html.entities import html5

import re2

_TAG = re2.compile(r"(?s)<!--.*?-->|<[/!?A-Za-z][^<>]*>")
_ENTITY = re2.compile(r"&(?:#0*[0-9]{1,7}|#[xX]0*[0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});?")
_QUOTED = re2.compile(r"=\r?\n|(?:=[0-9A-Fa-f]{2})+")
_POINTS = 0x110000
_HALVES = range(0xD800, 0xE000)  # of surrogate pairs, which stand for no character


def is_marked(text: str) -> bool:
    """Return whether a text may hold a tag, an entity or a quoted byte."""
    return "<" in text or "&" in text or ("=" in text and _QUOTED.search(_encodable(text)) is not None)


def unmarked(text: str) -> Iterator[str]:
    """Yield a text with its entities decoded: without tags and comments, and with a blank in the place of each.

    A value may have a tag inside, and two values may have nothing else between them. Requires text without half
    surrogate pairs. Takes linear time.
    """
    if "<" not in text:
        if "&" in text:
            yield _ENTITY.sub(_decoded, text)
        return
    for blank in ("", " "):
        yield _ENTITY.sub(_decoded, _TAG.sub(blank, text))


def quoted_decoded(text: str) -> str:
    """Return a text with its quoted bytes decoded as UTF-8, and soft line breaks removed.

    Requires text without half surrogate pairs.
    """
    return str(_QUOTED.sub(_unquoted, text)) if "=" in text else text


def _unquoted(found: re2._Match) -> str:
    run = str(found.group())
    return "" if run.endswith("\n") else bytes.fromhex(run.replace("=", "")).decode("utf-8", "replace")


def _decoded(found: re2._Match) -> str:
    entity = str(found.group())
    if entity[1] != "#":
        return _named(entity)
    digits = entity[2:].removesuffix(";")
    point = int(digits[1:], 16) if digits[0] in "xX" else int(digits)
    return "\ufffd" if point >= _POINTS or point in _HALVES else chr(point)


def _named(entity: str) -> str:
    """Return the characters of a named entity; old names need no semicolon, and may stand before other letters."""
    name = entity[1:]
    if name in html5:
        return html5[name]
    for end in range(len(name) - 1, 1, -1):
        if name[:end] in html5:
            return html5[name[:end]] + name[end:]
    return entity


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
