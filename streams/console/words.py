"""The values of pages as people read them. Text of agents is escaped by the templates, and drawn and cut here."""

from __future__ import annotations

from datetime import UTC, datetime

from processors.text.characters import is_plain_text

CUT_CHARS = 160
SPANS = {"5m": 5, "1h": 60, "24h": 24 * 60, "7d": 7 * 24 * 60, "30d": 30 * 24 * 60}  # minutes
SIGNS = {
    "allowed": "●", "denied": "✕", "pending": "◔", "ok": "●", "failed": "!", "unknown": "!",
}  # fmt: skip


def drawn(text: object, most: int = CUT_CHARS) -> str:
    """Return a text of an agent on one line: characters that do not show as code points, cut at `most`."""
    told = "".join(_drawn(one) for one in str(text)[: most + 1])
    return told if len(str(text)) <= most else f"{told[:most]}… ({len(str(text)):,} characters)"


def drawn_lines(text: str) -> str:
    """Return a text of several lines in full, its other characters that do not show as code points."""
    return "\n".join("".join(map(_drawn, line)) for line in text.split("\n"))


def _drawn(character: str) -> str:
    return character if is_plain_text(character) else f"⟨{ord(character):04X}⟩"


def time_of(ms: int | None) -> str:
    """Return a time in UTC, to the millisecond; a dash for none."""
    if ms is None:
        return "-"
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.") + f"{ms % 1000:03d}"


def clock_of(ms: int) -> str:
    """Return the time of day in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%H:%M:%S")


def machine_time(ms: int | None) -> str:
    """Return a time in the form of HTML's `datetime`."""
    return "" if ms is None else datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")


def short(digest: str) -> str:
    """Return a digest cut in the middle."""
    return digest if len(digest) <= 16 else f"{digest[:8]}…{digest[-6:]}"
