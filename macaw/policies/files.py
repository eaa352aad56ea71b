"""Policies in files: read, checked as a publication of all of them would be, and every fault named.

A refusal is what the log would refuse; a warning is what is probably not meant. Of each document the first refusal is
told, as the log would tell it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from macaw.policies.json_places import TextPlace, fault_in, place_of
from macaw.policies.warnings import warnings_of
from processors.policy import limits
from processors.policy.compiled import compile_policy
from processors.policy.documents import ORGANISATION_PREFIX, PolicyDocument, parse_policy
from processors.policy.errors import PolicyError
from processors.policy.index import PolicyIndex, index_policies
from processors.policy.publication import ADMIN, ORGANISATION, InForce, PublicationError, check_publication
from producers.files import FileError, read_start
from schemas.errors import InputError

FILES_MAX = 10_000
_TAKEN_FOR_POLICIES = frozenset({".yaml", ".yml", ".jsonc", ".json5"})
START = TextPlace(1, 1)
_UNREAD = frozenset({"E_JSON", "E_JSON_DUPLICATE", "E_JSON_NUMBER"})  # what has no pointer, for nothing was read


class PolicyFilesError(InputError):
    """The files cannot be read, or are no policies that could be in force together; the message names the first."""


class Finding(NamedTuple):
    """What is wrong with a file, or probably not meant: a refusal or a warning, and where in the text it stands."""

    file: Path
    code: str
    pointer: str
    sentence: str
    is_refusal: bool
    line: int = 1
    column: int = 1


@dataclass(frozen=True, slots=True)
class Read:
    """A file that is a policy."""

    file: Path
    text: str
    document: PolicyDocument


def policy_paths(places: Iterable[Path]) -> list[Path]:
    """Return the files among `places`, and every `*.json` of the folders among them.

    Raises:
        PolicyFilesError: a folder holds none, or there are too many.
    """
    found: list[Path] = []
    for place in places:
        inside = sorted(place.glob("*.json")) if place.is_dir() else [place]
        if not inside:
            raise PolicyFilesError(f"{place} holds no *.json")
        if place.is_dir():
            _check_passed_over(place)
        found += inside
    if len(found) > FILES_MAX:
        raise PolicyFilesError(f"{len(found)} files, want at most {FILES_MAX}")
    return found


def _check_passed_over(folder: Path) -> None:
    """Raise PolicyFilesError for a file that somebody may take for a policy, and that is none here."""
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in _TAKEN_FOR_POLICIES:
            raise PolicyFilesError(f"{file} would be passed over: policies are *.json; rename it, or move it elsewhere")


def check_files(
    files: Sequence[Path], *, organisation: bool = False, in_force: Mapping[str, InForce] | None = None
) -> tuple[list[Read], list[Finding]]:
    """Return the files that could be published together, and every finding, file by file.

    `organisation` says that the organisation key would sign what is called `org:`; `in_force` is what a chain may
    lead to beside the files.

    Raises:
        PolicyFilesError: a file cannot be read.
    """
    read: list[Read] = []
    findings: list[Finding] = []
    for file in files:
        text = read_text(file)
        try:
            document = parse_policy(text, organisation=organisation)
        except PolicyError as error:
            findings.append(refusal(file, error, text))
            continue
        if any(one.document.policy_id == document.policy_id for one in read):
            findings.append(refusal(file, PolicyError("E_CONFLICT", "/policy_id"), text))
            continue
        read.append(Read(file, text.decode(), document))
    faults = dict(_chain_faults(read, in_force or {}))
    whole = [one for one in read if one.file not in faults]
    texts = {one.file: one.text.encode() for one in read}
    findings += [refusal(file, error, texts[file]) for file, error in faults.items()]
    by_id = {one.document.policy_id: one.document for one in read}
    for one in read:
        for warned in warnings_of(one.document, _ancestors(one.document, by_id)):
            place = place_of(texts[one.file], warned.pointer) or START
            findings.append(
                Finding(one.file, warned.code, warned.pointer, warned.sentence, False, place.line, place.column)
            )
    order = {file: at for at, file in enumerate(files)}
    return whole, sorted(findings, key=lambda one: (order[one.file], not one.is_refusal))


def read_documents(places: Iterable[Path], *, in_force: Mapping[str, InForce] | None = None) -> list[Read]:
    """Return the policies in files and folders, all of which could be in force together, `org:` ones included.

    Raises:
        PolicyFilesError: a file cannot be read or would be refused.
    """
    read, findings = check_files(policy_paths(places), organisation=True, in_force=in_force)
    fault = next((one for one in findings if one.is_refusal), None)
    if fault is not None:
        raise PolicyFilesError(f"{fault.file} is no policy: {words_of(fault)}")
    return read


def index_of(read: Iterable[Read]) -> PolicyIndex:
    """Return policies as if they were in force."""
    return index_policies({one.document.policy_id: compile_policy(one.document) for one in read})


def read_text(file: Path) -> bytes:
    """Return a file's bytes, one more than a document may have. Raises PolicyFilesError."""
    try:
        return read_start(file, limits.DOCUMENT_BYTES_MAX + 1)
    except FileError as exc:
        raise PolicyFilesError(str(exc)) from exc


def refusal(file: Path, error: PolicyError, text: bytes) -> Finding:
    """Return a refusal as a finding, with its place in the text."""
    sentence = REFUSALS.get(error.code, "refused")
    if error.want:
        sentence = f"want {error.want}"
    place = fault_in(text) if error.code in _UNREAD else place_of(text, error.pointer)
    line, column, pointer = place or START
    return Finding(file, error.code, error.pointer or pointer, sentence, True, line, column)


def words_of(one: Finding) -> str:
    """Return a finding as the end of a sentence: code, place, and what it is."""
    return f"{one.code} in line {one.line}, column {one.column}, at {one.pointer!r}: {one.sentence}"


def _chain_faults(read: Sequence[Read], in_force: Mapping[str, InForce]) -> Iterable[tuple[Path, PolicyError]]:
    """Yield what is wrong with a document that only all of them together show."""
    others: dict[str, InForce] = {**in_force, **{one.document.policy_id: one.document for one in read}}
    children: dict[str, list[str]] = {}
    for policy_id, version in others.items():
        if version.extends is not None:
            children.setdefault(version.extends, []).append(policy_id)
    for one in read:
        shared = one.document.policy_id.startswith(ORGANISATION_PREFIX)
        signer = ORGANISATION if shared else ADMIN
        try:
            check_publication(others, [one.text], [one.document.digest], signer=signer, children=children)
        except PublicationError as error:
            yield one.file, error


def _ancestors(document: PolicyDocument, by_id: Mapping[str, PolicyDocument]) -> list[PolicyDocument]:
    found: list[PolicyDocument] = []
    parent = by_id.get(document.extends or "")
    while parent is not None and parent not in found and len(found) < limits.EXTENDS_DEPTH_MAX:
        found.append(parent)
        parent = by_id.get(parent.extends or "")
    return found


# What each code says, for people and for programs that show rules to people.
REFUSALS: Mapping[str, str] = {
    "E_JSON": "no strict JSON",
    "E_JSON_DUPLICATE": "a member stands twice in one object",
    "E_JSON_NUMBER": "a number that a double does not hold exactly: write ids beyond 2^53 as texts",
    "E_TEXT": "a character that no document may hold",
    "E_LIMIT": "larger than a bound of the language",
    "E_TYPE": "another type is wanted here",
    "E_UNKNOWN_FIELD": "the language knows no such member",
    "E_POLICY_ID": "no id, or one that cannot be looked up",
    "E_PREFIX_RESERVED": "ids that begin so are not this signer's",
    "E_SIGNER": "this key may not sign such a policy",
    "E_EXTENDS_UNKNOWN": "no such parent: publish it before or together with this one",
    "E_EXTENDS_CYCLE": "the chain of parents leads back to where it began",
    "E_EXTENDS_DEPTH": "the chain of parents is longer than 16 documents",
    "E_DEPENDENTS": "other policies extend it: withdraw those first, or publish them without `extends`",
    "E_PATTERN": "no pattern: empty, with blanks around it, control characters or too many stars",
    "E_PARAM_FORM": "neither an operation with parameters below it, nor a parameter",
    "E_PARAM_PATH": "no path: write `a`, `a.b`, `a[0]` or `a[*].b`",
    "E_SPEC_EMPTY": "asks nothing of the parameter",
    "E_SPEC_CONFLICT": "keywords that no value can meet together",
    "E_ENUM_EMPTY": "an empty list would permit no value",
    "E_REGEX": "no regular expression of RE2, or too large",
    "E_RATE": "want 1 to 1000000 calls a minute",
    "E_TIME": "no RFC 3339 time with seconds and a zone",
    "E_VALIDITY_EMPTY": "ends before it begins",
    "E_EXPR_SYNTAX": "the condition does not read",
    "E_EXPR_NAME": "the condition names what does not exist",
    "E_EXPR_TYPE": "the condition compares what cannot be compared",
    "E_EXPR_ZONE": "no time zone: write 'Europe/Berlin' or '+01:00'",
    "E_EXPR_LIMIT": "the condition is too long or too deep",
    "E_ATT_KEY": "no key of an attestation",
    "E_ATT_FORM": "want an array of `key` or `key::{condition}`",
    "E_ATT_RESERVED": "`deny` is what nothing can satisfy",
    "E_ATT_CRITERIA": "who may approve is missing or malformed",
    "E_ATT_QUORUM": "want 1 to 16 people",
    "E_ATT_USES": "uses that contradict each other",
    "E_SEQUENCE": "no rule over several calls",
    "E_CONFLICT": "another version is in force, or two files have this id",
}
