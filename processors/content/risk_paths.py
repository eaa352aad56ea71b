"""Paths of files: which are secret, which belong to the system, and which cannot be read with certainty."""

from __future__ import annotations

from collections.abc import Mapping

import re2

from processors.content.risk_class import RiskClass, Stamps, worst
from processors.content.risk_options import as_texts, texts
from processors.content.shell_rules import SECRET_PATH, SYSTEM_PATH
from processors.policy.patterns import SLASH_LOOKALIKES
from processors.proof.jcs import JSONValue
from processors.text.characters import is_plain_text
from processors.text.forms import is_stream_safe, nfkc

CHARS_MAX = 1024  # of a path
# Signs that a tool, a shell or a file system may give a meaning of its own.
_ODD = re2.compile(r"[\\~$*?\[\]{}|<>\"'`;&!:\x00-\x1f\x7f]|%[0-9A-Fa-f]{2}|%\w+%|^\s|\s$|^-")
_ODD_SEGMENTS = frozenset({"", ".", ".."})

WORST: Stamps = {
    "class": RiskClass.CRITICAL.value, "read": False, "absolute": True, "inside": False, "secret": True,
    "system": True, "hidden": True,
}  # fmt: skip


def classify(value: JSONValue, options: Mapping[str, JSONValue]) -> Stamps:
    """Return the stamps of a path or a list of 1 to 64 paths: those of the worst of them, stamp by stamp.

    Option `roots`: absolute paths of folders; `inside` says that every path lies in one of them, or that all are
    relative and no root is given. Stamps: `class`, `read`, `absolute`, `inside`, `secret`, `system`, `hidden`.
    Not read: percent escapes, `..`, `.` and empty segments, backslashes, `~`, variables, patterns, drives, characters
    that NFKC changes or that cannot be seen. Never raises.
    """
    paths = as_texts(value)
    if paths is None or not all(map(_is_read, paths)):
        return WORST
    roots = tuple(root.rstrip("/") for root in texts(options, "roots") if root.startswith("/") and _is_read(root))
    asked = "roots" in options
    absolute = any(path.startswith("/") for path in paths)
    inside = all(_is_inside(path, roots) for path in paths) if asked else not absolute
    secret = any(bool(SECRET_PATH.search(path)) for path in paths)
    system = any(bool(SYSTEM_PATH.search(path)) for path in paths)
    hidden = any(segment.startswith(".") for path in paths for segment in path.split("/"))
    risks = [RiskClass.LOW if inside else RiskClass.HIGH]
    risks += [RiskClass.CRITICAL] if secret else []
    risks += [RiskClass.HIGH] if system and not (asked and inside) else []
    risks += [RiskClass.MEDIUM] if hidden else []
    return {
        "class": worst(risks).value, "read": True, "absolute": absolute, "inside": inside, "secret": secret,
        "system": system, "hidden": hidden,
    }  # fmt: skip


def _is_read(path: str) -> bool:
    """Return True for a path that every tool reads alike."""
    if not path or len(path) > CHARS_MAX or not is_plain_text(path) or not is_stream_safe(path) or nfkc(path) != path:
        return False
    if _ODD.search(path) or not SLASH_LOOKALIKES.isdisjoint(path):
        return False
    segments = path.removeprefix("/").removesuffix("/").split("/") if path != "/" else []
    return not any(one in _ODD_SEGMENTS or one.endswith((".", " ")) or one.startswith(" ") for one in segments)


def _is_inside(path: str, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith(f"{root}/") for root in roots)


def statement() -> JSONValue:
    """Return patterns and bounds, for the catalogue's digest."""
    return [SECRET_PATH.pattern, SYSTEM_PATH.pattern, _ODD.pattern, sorted(SLASH_LOOKALIKES), CHARS_MAX]
