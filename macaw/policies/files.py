"""Policies in files and folders: read, and checked as if all of them were published together.

A refusal names a fault for which the log would refuse the document; a warning names a rule that its author probably
did not mean. Of each document only the first refusal is reported, as on the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from macaw.policies.json_places import TextPlace, fault_in, place_of
from macaw.policies.schema import field_names
from macaw.policies.warnings import warnings_of
from processors.policy import limits as language_limits
from processors.policy.compiled import compile_policy
from processors.policy.documents import ORGANISATION_PREFIX, PolicyDocument, parse_policy
from processors.policy.errors import PolicyError
from processors.policy.index import PolicyIndex, index_policies
from processors.policy.publication import ADMIN, ORGANISATION, InForce, PublicationError, check_publication
from producers.home.files import FileError, read_start
from schemas import limits
from schemas.errors import InputError

_TAKEN_FOR_POLICIES = frozenset({".yaml", ".yml", ".jsonc", ".json5"})
START = TextPlace(1, 1)
_FIELD_CHARS_MAX = 80  # of a field's name in a message
_UNREAD = frozenset({"E_JSON", "E_JSON_DUPLICATE", "E_JSON_NUMBER"})  # codes without a pointer: nothing was read


class PolicyFilesError(InputError):
    """A file cannot be read or would be refused; the message names it, the place and the code."""


class Finding(NamedTuple):
    """A refusal of a file or a warning about it, with its place in the text: line and column, both from 1."""

    file: Path
    code: str
    pointer: str
    sentence: str
    is_refusal: bool
    line: int = 1
    column: int = 1


@dataclass(frozen=True, slots=True)
class Read:
    """A file that was read, and the policy in it."""

    file: Path
    text: str
    document: PolicyDocument


def policy_paths(places: Iterable[Path]) -> list[Path]:
    """Return the files among `places`, and every `*.json` of the folders among them, in order.

    Raises:
        PolicyFilesError: a folder has no `*.json` or has another file for policies, or there are too many files.
    """
    found: list[Path] = []
    for place in places:
        inside = sorted(place.glob("*.json")) if place.is_dir() else [place]
        if not inside:
            raise PolicyFilesError(f"{place} holds no policies: put *.json files into it, or name another folder")
        if place.is_dir():
            _check_passed_over(place)
        found += inside
    most = limits.LIMIT_CAP_TIMES * limits.POLICIES_MAX
    if len(found) > most:
        raise PolicyFilesError(f"{len(found)} files of policies, and a tenant has at most {most}")
    return found


def _check_passed_over(folder: Path) -> None:
    """Raise PolicyFilesError for a file that people could take for a policy although its name is not `*.json`."""
    for file in sorted(folder.iterdir()):
        suffix = file.suffix.lower()
        if suffix in _TAKEN_FOR_POLICIES or (suffix == ".json" and file.suffix != suffix):
            raise PolicyFilesError(f"{file} would be passed over: policies are *.json; rename it, or move it elsewhere")


def check_files(
    files: Sequence[Path], *, organisation: bool = False, in_force: Mapping[str, InForce] | None = None
) -> tuple[list[Read], list[Finding]]:
    """Return the files that could be published together, and every finding, file by file.

    `organisation` means that the organisation key would sign documents with an id that begins with `org:`; `in_force`
    are further documents that one of the files may extend.

    Raises:
        PolicyFilesError: a file cannot be read.
    """
    read, findings = _parse_files(files, organisation=organisation)
    broken = list(_chain_findings(read, in_force or {}))
    findings += broken
    refused = {one.file for one in broken}
    by_id = {one.document.policy_id: one.document for one in read}
    for one in read:
        for warned in warnings_of(one.document, _ancestors(one.document, by_id)):
            place = place_of(one.text.encode(), warned.pointer) or START
            findings.append(
                Finding(one.file, warned.code, warned.pointer, warned.sentence, False, place.line, place.column)
            )
    order = {file: at for at, file in enumerate(files)}
    whole = [one for one in read if one.file not in refused]
    return whole, sorted(findings, key=lambda one: (order[one.file], not one.is_refusal))


def read_documents(
    places: Iterable[Path],
    *,
    organisation: bool = True,
    in_force: Mapping[str, InForce] | None = None,
    parents_elsewhere: bool = False,
) -> list[Read]:
    """Return the policies in files and folders, all of which could be in force together.

    With `parents_elsewhere` a document may extend one that is neither among them nor in `in_force`.

    Raises:
        PolicyFilesError: a file cannot be read or would be refused.
    """
    read, findings = _parse_files(policy_paths(places), organisation=organisation)
    findings += _chain_findings(read, in_force or {})
    for one in findings:
        if not (parents_elsewhere and one.code == "E_EXTENDS_UNKNOWN"):
            raise PolicyFilesError(f"{one.file} is refused: {words_of(one)}")
    return read


def index_of(read: Iterable[Read]) -> PolicyIndex:
    """Return policies as if they were in force."""
    return index_policies({one.document.policy_id: compile_policy(one.document) for one in read})


def read_text(file: Path) -> bytes:
    """Return the bytes of a file; of a file that is too large, one byte more than a document may have.

    Raises:
        PolicyFilesError: it cannot be read.
    """
    try:
        return read_start(file, language_limits.DOCUMENT_BYTES_MAX + 1)
    except FileError as exc:
        raise PolicyFilesError(str(exc)) from exc


def _parse_files(files: Iterable[Path], *, organisation: bool) -> tuple[list[Read], list[Finding]]:
    """Return the files that are policies by themselves, one for each id, and a refusal for each of the others."""
    read: dict[str, Read] = {}
    findings: list[Finding] = []
    for file in files:
        text = read_text(file)
        try:
            document = parse_policy(text, organisation=organisation)
            if document.policy_id in read:
                raise PolicyError("E_CONFLICT", "/policy_id")  # noqa: TRY301 - one more reason to refuse this file
        except PolicyError as error:
            findings.append(_refusal(file, error, text))
            continue
        read[document.policy_id] = Read(file, text.decode(), document)
    return list(read.values()), findings


def _refusal(file: Path, error: PolicyError, text: bytes) -> Finding:
    """Return a refusal as a finding, with its place in the text."""
    sentence = REFUSALS.get(error.code, "refused")
    if error.want:
        sentence = f"the value has another type: want {error.want}"
    elif error.code == "E_UNKNOWN_FIELD":
        sentence = _unknown_field(error.pointer)
    place = fault_in(text) if error.code in _UNREAD else place_of(text, error.pointer)
    line, column, pointer = place or START
    return Finding(file, error.code, error.pointer or pointer, sentence, True, line, column)


def _unknown_field(pointer: str) -> str:
    """Return the sentence about a field that the language does not have, with the nearest one that it has."""
    name = pointer.rpartition("/")[2].replace("~1", "/").replace("~0", "~")
    fields = field_names()
    if name in fields:
        return f"unknown field `{name}` at this place: it belongs to another object"
    nearest = get_close_matches(name[:_FIELD_CHARS_MAX], sorted(fields), n=1)
    return f"unknown field `{name[:_FIELD_CHARS_MAX]}`" + (f": did you mean `{nearest[0]}`?" if nearest else "")


def words_of(one: Finding) -> str:
    """Return a finding as the end of a sentence: code, place and fault."""
    return f"{one.code} in line {one.line}, column {one.column}, at {one.pointer!r}: {one.sentence}"


def _chain_findings(read: Sequence[Read], in_force: Mapping[str, InForce]) -> Iterator[Finding]:
    """Yield the faults of a document in the chain of its parents, which show only together with the others."""
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
            yield _refusal(one.file, error, one.text.encode())


def _ancestors(document: PolicyDocument, by_id: Mapping[str, PolicyDocument]) -> list[PolicyDocument]:
    found: list[PolicyDocument] = []
    parent = by_id.get(document.extends or "")
    while parent is not None and parent not in found and len(found) < language_limits.EXTENDS_DEPTH_MAX:
        found.append(parent)
        parent = by_id.get(parent.extends or "")
    return found


# Each code of a refusal in words, for people and for programs that show rules to people.
REFUSALS: Mapping[str, str] = {
    "E_JSON": "not strict JSON",
    "E_JSON_DUPLICATE": "a member stands twice in one object",
    "E_JSON_NUMBER": "a double does not hold this number exactly: write ids beyond 2^53 as texts",
    "E_TEXT": "the text has a character that is not allowed in a document",
    "E_LIMIT": "the value is larger than a bound of the language",
    "E_TYPE": "the value has another type than the language wants here",
    "E_UNKNOWN_FIELD": "unknown field",
    "E_POLICY_ID": "the id is missing, or no look-up can find it",
    "E_PREFIX_RESERVED": "another signer publishes ids with this prefix",
    "E_SIGNER": "this key may not sign such a policy",
    "E_EXTENDS_UNKNOWN": "the parent is not in force: publish it before this policy, or together with it",
    "E_EXTENDS_CYCLE": "the chain of parents leads back to where it began",
    "E_EXTENDS_DEPTH": "the chain of parents is longer than 16 documents",
    "E_DEPENDENTS": "other policies extend it: withdraw those first, or publish them without `extends`",
    "E_PATTERN": "not a pattern: it is empty, or has blanks around it, control characters or too many stars",
    "E_PARAM_FORM": "neither an operation with parameters below it, nor a parameter",
    "E_PARAM_PATH": "not a path: write `a`, `a.b`, `a[0]` or `a[*].b`",
    "E_SPEC_EMPTY": "the rule is empty: it does not constrain the parameter",
    "E_SPEC_CONFLICT": "no value can meet these keywords together",
    "E_ENUM_EMPTY": "an empty list would permit no value",
    "E_REGEX": "not a regular expression of RE2, or too large",
    "E_RATE": "the rate is not a whole number of 1 to 1000000 calls a minute",
    "E_TIME": "not an RFC 3339 time with seconds and a zone, like 2026-03-02T15:00:00Z",
    "E_VALIDITY_EMPTY": "the period ends before it begins",
    "E_EXPR_SYNTAX": "the condition has a syntax error",
    "E_EXPR_NAME": "the condition uses a name that does not exist",
    "E_EXPR_TYPE": "the condition compares values of types that cannot be compared",
    "E_EXPR_ZONE": "not a time zone: write 'Europe/Berlin' or '+01:00'",
    "E_EXPR_LIMIT": "the condition is too long or too deep",
    "E_ATT_KEY": "not a key of an attestation",
    "E_ATT_FORM": "not an array of `key` or `key::{condition}`",
    "E_ATT_RESERVED": "`deny` is reserved: no attestation can have this key",
    "E_ATT_CRITERIA": "`approval_criteria` is missing or malformed: name the approvers",
    "E_ATT_QUORUM": "the quorum is not 1 to 16 people",
    "E_ATT_USES": "the limits on uses contradict each other",
    "E_SEQUENCE": "not a rule over several calls",
    "E_CONFLICT": "another version is in force, or two files have this id",
}
