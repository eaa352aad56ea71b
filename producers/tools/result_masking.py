"""Masking in the host: secrets and personal data leave no tool, since they are replaced before a report is signed.

A host looks at the texts and member names of a result, of a failure, and of each item of a stream. A text that is
longer than a detector reads, or that comes after so many others, is replaced whole: nothing passes unread. The
detectors are given by the caller: a client's installation does not have their packages. Numbers are left as they are,
as the fold leaves them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from processors.content.hits import Hit
from processors.content.masking import blanked, token
from processors.proof import jcs
from processors.proof.jcs import JSONValue
from processors.text.characters import utf8_size
from processors.text.forms import nfc
from producers.tools.execution import Ended
from producers.tools.result_text import ERROR_CHARS_MAX
from schemas import limits
from schemas.words import Outcome

log = logging.getLogger(__name__)

TEXT_BYTES_MAX = 4096  # of one text: the detectors take no more, and the fold reads no further
BYTES_MAX = 256 * 1024  # of all texts of a result: 64 texts of that length, each at most 15 ms for each detector
NODES_MAX = 200_000  # values in a result; the fold looks at a tenth
TEXT_CHARS_MIN = 3  # no detector finds anything in less
UNREAD = token("unread")
_UNREAD_JSON = f'"{UNREAD}"'

Detector = Callable[[str], Sequence[Hit]]


class ResultMasking:
    """Masks everything that one host reports, with the detectors that its operator chose. Thread-safe."""

    def __init__(self, detectors: Sequence[Detector]) -> None:
        self._detectors = tuple(detectors)

    def applied(self, ended: Ended) -> Ended:
        """Return the end of a call as it may be reported: body masked, without attestations that hold such a text.

        An attestation cannot be masked, since policies compare its value: without it a rule that needs it denies.
        """
        room = limits.BODY_BYTES_MAX if ended.outcome == Outcome.OK else limits.RESULT_EVENT_BYTES_MAX
        body = self.masked_json(ended.body, room)
        if ended.outcome == Outcome.FAILED:
            body = _cut(body)
        kept = tuple(one for one in ended.attestations if self._is_clean(one.key) and self._is_clean_json(one.value))
        if len(kept) < len(ended.attestations):
            log.warning("%d attestations of a call hold a text that is masked here, and are left out of its report",
                        len(ended.attestations) - len(kept))  # fmt: skip
        return replace(ended, body=body, attestations=kept)

    def masked_json(self, text: str, room: int) -> str:
        """Return a result's JSON, masked, in at most `room` bytes: one that would take more is replaced whole."""
        try:
            value = jcs.parse_strict(text.encode(), depth_max=jcs.WRITTEN_DEPTH_MAX, nodes_max=NODES_MAX)
        except jcs.MalformedJSONError:  # too many values: there is no form in which each was looked at
            return _UNREAD_JSON
        said = jcs.canonical(_Masker(self._detectors).value(value)).decode()
        return said if utf8_size(said) <= room else _UNREAD_JSON

    def _is_clean(self, text: str) -> bool:
        return _Masker(self._detectors).text(text) == text

    def _is_clean_json(self, text: str) -> bool:
        return self.masked_json(text, limits.BODY_BYTES_MAX) == text


class _Masker:
    """One result: the bytes that may still be read, and the names that were looked at."""

    def __init__(self, detectors: Sequence[Detector]) -> None:
        self._detectors = detectors
        self._left = BYTES_MAX
        self._names: dict[str, str] = {}

    def value(self, value: JSONValue) -> JSONValue:
        """Return a value with every text masked. Requires a depth that the reader has bounded."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(one) for one in value]
        return self._object(value) if isinstance(value, dict) else value

    def text(self, text: str) -> str:
        """Return a text with each finding replaced, or the token for unread texts in place of all of it."""
        if len(text) < TEXT_CHARS_MIN:
            return text
        size = utf8_size(text)
        if size > min(TEXT_BYTES_MAX, self._left):
            return UNREAD
        self._left -= size
        return blanked(text, self._found)

    def _found(self, text: str) -> list[Hit]:
        return [hit for detector in self._detectors for hit in detector(text)]

    def _object(self, value: Mapping[str, JSONValue]) -> dict[str, JSONValue]:
        names = {name: self._name(name) for name in value}
        taken = {nfc(name) for name, said in names.items() if said == name}
        return {_free(said, name, taken): self.value(value[name]) for name, said in names.items()}

    def _name(self, name: str) -> str:
        if name not in self._names:  # rows of a table repeat their names
            self._names[name] = self.text(name)
        return self._names[name]


def _free(said: str, name: str, taken: set[str]) -> str:
    """Return a masked name, with a number where another member has it: no member is lost."""
    if said == name:
        return said
    found, number = said, 1
    while nfc(found) in taken:
        number += 1
        found = f"{said} {number}"
    taken.add(nfc(found))
    return found


def _cut(body: str) -> str:
    """Return the body of a failure with a text of the usual length: it is longer until it is masked."""
    value = jcs.parse_strict(body.encode(), nodes_max=NODES_MAX)
    error = value.get("error") if isinstance(value, dict) else None
    if not isinstance(error, str) or len(error) <= ERROR_CHARS_MAX:
        return body
    assert isinstance(value, dict)
    return jcs.canonical({**value, "error": f"{error[: ERROR_CHARS_MAX - 1]}…"}).decode()
