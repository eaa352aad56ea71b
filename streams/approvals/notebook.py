"""The open questions of one approver and channel, in a file: a restart asks nothing twice and finds its messages again.

The file holds no parameters and no secret. It is a memory of messages, not evidence: an answer names the digest of its
call, and the log decides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from producers.home.files import FileError, read_private, replace_private
from producers.kafka.outcomes import MalformedReplyError
from schemas.errors import InstallationError
from streams.approvals.questions import CALLS_MAX, QUESTIONS_MAX, CallQuestion, waiting_in

FILE_BYTES_MAX = 32 * 1024 * 1024
END_CHARS_MAX = 600
_PLACE = re.compile(r"[0-9a-zA-Z.]{1,64}", re.ASCII)
_MEMBERS = ("request", "key", "parameters_sha256", "for_user", "for_agent", "resource", "open_until", "asked_at")
_MORE_MEMBERS = ("one_time", "scopes")


class NotebookError(InstallationError):
    """The file of open questions cannot be read or written; the message names it."""


@dataclass(slots=True)
class Open:
    """One open question: its place in the channel, and the known ends of its calls, in their order."""

    question: CallQuestion
    place: str | None = None
    ends: list[str | None] = field(default_factory=list)


class Notebook:
    """The file of open questions. Used under its owner's lock."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[Open]:
        """Return the questions that were open. Raises NotebookError."""
        try:
            value = json.loads(read_private(self._path, FILE_BYTES_MAX))
            found = _distinct([_open_in(one) for one in value[:QUESTIONS_MAX]])
        except FileError as exc:
            if exc.missing:
                return []
            raise NotebookError(str(exc)) from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, MalformedReplyError):
            raise NotebookError(
                f"{self._path} is damaged: remove it; questions that are open are then asked once more"
            ) from None

        return found

    def write(self, questions: Iterable[Open]) -> None:
        """Keep these questions. Raises NotebookError."""
        try:
            replace_private(self._path, json.dumps([_noted(one) for one in questions]).encode())
        except OSError as exc:
            raise NotebookError(f"cannot write {self._path}: {exc.strerror or type(exc).__name__}") from exc


def _noted(one: Open) -> dict[str, Any]:
    rows = [{name: call.row.get(name) for name in (*_MEMBERS, *_MORE_MEMBERS)} for call in one.question.calls]
    return {"place": one.place, "more": one.question.more, "ends": one.ends, "calls": rows}


def _open_in(value: Any) -> Open:
    calls: Sequence[Any] = value["calls"]
    ends, place, more = value["ends"], value["place"], value["more"]
    is_formed = 0 < len(calls) <= CALLS_MAX and len(ends) == len(calls) and type(more) is int and more >= 0
    is_place = place is None or (isinstance(place, str) and _PLACE.fullmatch(place))
    if not is_formed or not is_place or not all(one is None or _is_end(one) for one in ends):
        raise ValueError
    rows = [{name: one for name, one in row.items() if one is not None} for row in calls]
    return Open(CallQuestion(tuple(map(waiting_in, rows)), more), place, list(ends))


def _distinct(found: list[Open]) -> list[Open]:
    if len({one.question.question_id for one in found}) < len(found):
        raise ValueError
    return found


def _is_end(text: object) -> bool:
    """Return whether a text can be a call's end as this program writes it: short, and without a link or mention."""
    return isinstance(text, str) and len(text) <= END_CHARS_MAX and not {"<", ">"} & set(text)
