r"""Texts from agents in a message to people: hidden characters escaped, nothing that Slack would read as its markup.

Such a text stands in a code span, where Slack makes neither links nor mentions. `&`, `<` and `>` are escaped as Slack's
documentation asks ("Formatting text for app surfaces"), and a backtick, which would end the span, as `\u0060`.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from processors.text.characters import is_plain_text

NAME_CHARS_MAX = 200
PARAMETERS_CHARS_MAX = 1000
_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})
_MARKUP = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "`": "\\u0060"}


def plain(text: str) -> str:
    r"""Return a text with every hidden or misleading character as `\u…`."""
    return "".join(c if is_plain_text(c) else c.encode("unicode_escape").decode("ascii") for c in text)


def code(text: str, chars_max: int = NAME_CHARS_MAX) -> str:
    """Return a text as a code span of Slack of at most `chars_max` characters and a few words.

    A longer text is cut, and the span says by how much.
    """
    shown, found = plain(text), ""
    for place, character in enumerate(shown):
        if len(found) + len(_MARKUP.get(character, character)) > chars_max:
            return f"`{found}… and {len(shown) - place} more characters`"
        found += _MARKUP.get(character, character)
    return f"`{found or ' '}`"


def code_block(parameters: Mapping[str, Any]) -> str | None:
    """Return parameters as a block of code, None if they cannot be shown as `line_of` says."""
    escaped = _escaped(line_of(parameters) or "")
    return f"```{escaped}```" if 0 < len(escaped) <= PARAMETERS_CHARS_MAX else None


def line_of(parameters: Mapping[str, Any]) -> str | None:
    """Return parameters as JSON on one line; None if people would read other ones.

    A part of long ones would mislead. In a line with letters from right to left (UAX 9) numbers and names that stand
    between these change places: a person would read one member's amount at another.
    """
    text = plain_json(parameters)
    is_one_way = text.isascii() or not any(unicodedata.bidirectional(one) in _RIGHT_TO_LEFT for one in text)
    return text if len(text) <= PARAMETERS_CHARS_MAX and is_one_way else None


def plain_json(value: Any) -> str:
    r"""Return JSON on one line in which hidden and misleading characters stand as `\u…`."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if is_plain_text(c) else json.dumps(c)[1:-1] for c in text)


def utc(ms: int) -> str:
    """Return a time of the log for people, in whole seconds."""
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _escaped(text: str) -> str:
    return "".join(_MARKUP.get(c, c) for c in text)
