"""The other spellings of a path in a parameter, for denials (ADR 0016).

`/srv/../etc//passwd` and `/%65tc/passwd` are `/etc/passwd` to many a tool, so a denial of `/etc/*` tries them all:
decoded, with one kind of slash, without empty and dot segments, with climbing segments followed and not.
"""

import re
from collections.abc import Iterator

from processors.policy import limits
from processors.policy.patterns import SLASH_LOOKALIKES
from processors.text.forms import fold, is_stream_safe, percent_decoded

_SEPARATORS = frozenset({"/", "\\"}) | SLASH_LOOKALIKES
_AS_SLASH = dict.fromkeys(map(ord, _SEPARATORS), "/")
_SLASHES = re.compile("//+")
_NO_CONTROLS = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)])  # category Cc


def is_path(item: str) -> bool:
    """Return whether a text speaks of a path: it has a slash, of either kind."""
    return not _SEPARATORS.isdisjoint(fold(item))


def path_patterns(item: str) -> tuple[str, ...]:
    """Return an item in the spellings that `path_spellings` are held against: with slashes, and no two in a row."""
    slashed = item.translate(_AS_SLASH)
    return tuple(dict.fromkeys((slashed, _SLASHES.sub("/", slashed))))


def path_spellings(folded: str) -> tuple[str, ...] | None:
    """Return the paths that a folded text may mean: none if it is not a path, None if that cannot be told.

    Time and memory are linear in its length.
    """
    if "%" not in folded and _SEPARATORS.isdisjoint(folded):
        return ()  # what is no path in any spelling meets no path
    found: dict[str, None] = {}
    text = folded
    for _ in range(limits.DECODINGS_MAX + 1):
        found |= dict.fromkeys(_forms(text))
        if "%" not in text:
            break
        decoded = percent_decoded(text).decode(errors="replace")
        if decoded == text:
            break
        if not decoded.isascii() and not is_stream_safe(decoded):
            return None  # normalising it would take too long
        text = fold(decoded)
    else:
        return None  # what still changes could be anything
    return tuple(found)


def _forms(text: str) -> Iterator[str]:
    if "\0" in text:  # to some, a text ends here
        yield from _forms(text.partition("\0")[0])
    slashed = text.translate(_AS_SLASH).translate(_NO_CONTROLS)
    yield text
    yield slashed
    for climbs in (False, True):
        resolved = _resolved(slashed, climbs=climbs)
        yield resolved
        if slashed.endswith(("/", "/.", "/..")):  # a directory, which some write without the slash
            yield f"{resolved}/"


def _resolved(path: str, *, climbs: bool) -> str:
    """Return a path without empty segments and `.`, and without `..` where those are followed."""
    root = "/" if path.startswith("/") else ""
    segments: list[str] = []
    for segment in path.split("/"):
        if segment in {"", "."}:
            continue
        if climbs and segment == "..":
            if segments and segments[-1] != "..":
                segments.pop()
                continue
            if root:
                continue
        segments.append(segment)
    return root + "/".join(segments)
