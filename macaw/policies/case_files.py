"""Case files of policies: JSON Lines that define names, calls and publications with their outcomes (docs/mapl.md 15).

Here they are read and checked for form; `cases` plays them. A fault of a file is an error with its line, and never a
failed case.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from macaw.policies.files import PolicyFilesError, policy_paths, read_text
from macaw.policies.json_places import SENTENCES
from processors.proof import jcs
from producers.home.files import FileError, read_file
from schemas.errors import InputError

Case = dict[str, Any]

FILE_BYTES_MAX = 64 * 1024 * 1024
LINE_BYTES_MAX = 4 * 1024 * 1024
_DEPTH_MAX, _NODES_MAX = 64, 1_000_000

_CALL = frozenset(
    {"session", "subjects", "bound", "resource", "operation", "params", "params_raw", "now", "times", "intent"}
    | {"intents", "prompts", "settings", "delegation", "attestations", "history", "open_requests", "resumed"}
    | {"requested", "trusted", "maskable"}
)
_OFFER = frozenset({"publish", "publish_raw", "withdraw", "previous", "signer"})
_MEMBERS = _CALL | _OFFER | {"id", "set", "policies", "expect", "note", "pattern"}


class CaseFileError(InputError):
    """A case file cannot be read or has a fault; the message has the file, the line and the fault."""


@dataclass(slots=True)
class CaseFile:
    """A file's cases with the names they use. A set is the exact texts of documents."""

    path: Path
    sessions: dict[str, Case] = field(default_factory=dict)
    sets: dict[str, list[bytes]] = field(default_factory=dict)
    cases: list[tuple[int, Case]] = field(default_factory=list)

    def session(self, value: object) -> Case:
        """Return the attributes of a session: `value` is its name, or the attributes. Raises CaseFileError."""
        if isinstance(value, dict):
            return value
        if not isinstance(value, str) or value not in self.sessions:
            raise CaseFileError(f"the session {value!r} is not defined: add it to `sessions` in a line before")
        return self.sessions[value]


def read_case_file(path: Path) -> CaseFile:
    """Return a file's cases.

    Raises:
        CaseFileError: the file cannot be read, or a line is neither a case nor a definition of names.
    """
    found = CaseFile(path)
    try:
        text = read_file(path, FILE_BYTES_MAX)
    except FileError as exc:
        raise CaseFileError(str(exc)) from exc
    ids: set[str] = set()
    for number, line in enumerate(text.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            _take(found, number, _object(line), ids)
        except (CaseFileError, PolicyFilesError) as exc:
            raise CaseFileError(f"{path}:{number}: {exc}") from exc
    return found


def document_text(document: object) -> bytes:
    """Return a document of a case as the text of a policy. Raises CaseFileError."""
    if not isinstance(document, dict):
        raise CaseFileError("a policy is not a JSON object")
    return json.dumps(document).encode()  # in the order of the case, because the first fault is reported


def _object(line: bytes) -> Case:
    if len(line) > LINE_BYTES_MAX:
        raise CaseFileError(f"the line is longer than {LINE_BYTES_MAX} bytes")
    try:
        value = jcs.parse_strict(line.strip(), depth_max=_DEPTH_MAX, nodes_max=_NODES_MAX)
    except jcs.MalformedJSONError as exc:
        raise CaseFileError(f"the line {SENTENCES.get(exc.cause, 'is not strict JSON')}") from exc
    if not isinstance(value, dict):
        raise CaseFileError("the line is not a JSON object")
    return value


def _take(found: CaseFile, number: int, line: Case, ids: set[str]) -> None:
    if "expect" in line:
        _check_case(line, ids)
        found.cases.append((number, line))
        return
    unknown = line.keys() - {"sessions", "set", "policies", "files", "note"}
    if unknown:
        raise CaseFileError(f"not a case, since `expect` is missing, and {min(unknown)!r} defines nothing")
    if "sessions" in line:
        sessions = line["sessions"]
        if not isinstance(sessions, dict) or not all(isinstance(one, dict) for one in sessions.values()):
            raise CaseFileError("`sessions` is not an object with the attributes of each session under its name")
        found.sessions |= sessions
    if "set" in line:
        found.sets[_text(line, "set")] = _set(found.path, line)


def _check_case(case: Case, ids: set[str]) -> None:
    name = _text(case, "id")
    if name in ids:
        raise CaseFileError(f"{name!r} is the id of two cases")
    ids.add(name)
    unknown = case.keys() - _MEMBERS
    if unknown:
        # A misspelt member would be passed over, and the case would test another thing.
        raise CaseFileError(f"a case has no member {min(unknown)!r}")
    if not case.keys() & {"resource", "publish", "publish_raw", "withdraw"}:
        raise CaseFileError("the case has none of `resource`, `publish`, `publish_raw` and `withdraw`: add one")
    if "params" in case and "params_raw" in case:
        raise CaseFileError("the case has `params` and `params_raw`: remove one of them")


def _set(path: Path, line: Case) -> list[bytes]:
    texts = [document_text(one) for one in _list(line, "policies")]
    for pattern in _list(line, "files"):
        if not isinstance(pattern, str) or Path(pattern).is_absolute() or not pattern:
            raise CaseFileError("`files` holds patterns of files, relative to the case file, as texts")
        places: Sequence[Path] = sorted(path.parent.glob(pattern))
        if not places:
            raise CaseFileError(f"{pattern!r} in `files` matches no file")
        texts += map(read_text, policy_paths(places))
    return texts


def _list(line: Case, name: str) -> list[object]:
    value = line.get(name, [])
    if not isinstance(value, list):
        raise CaseFileError(f"`{name}` is not an array")
    return value


def _text(line: Case, name: str) -> str:
    value = line.get(name)
    if not isinstance(value, str) or not value:
        raise CaseFileError(f"`{name}` is missing or not a text")
    return value
