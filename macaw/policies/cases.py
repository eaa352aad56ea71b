"""Playing case files against the engine: calls, publications and patterns, each with its expected outcome.

The traces of earlier calls of a case are kept as the step would keep them: buckets, cells, uses of attestations.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from macaw.policies.case_files import Case, CaseFile, CaseFileError, document_text, read_case_file
from macaw.policies.case_tables import CaseAttestations, ms
from macaw.policies.files import read_documents
from processors.calls.parameters import MalformedParametersError, parse_parameters
from processors.calls.standing import names_of
from processors.policy.amounts import NOTHING
from processors.policy.call import Circumstances
from processors.policy.compiled import compile_policy
from processors.policy.decide import decide
from processors.policy.delegation import Hop, parse_scope
from processors.policy.documents import PolicyDocument, parse_policy
from processors.policy.errors import AttributeInvalidError, PolicyError, ResourceInvalidError
from processors.policy.evaluation import Cell, Lookups, Session, Settings
from processors.policy.index import index_policies
from processors.policy.patterns import check_pattern, grants, operation_name, resource_name, restricts
from processors.policy.plan import Denial
from processors.policy.publication import check_publication, check_withdrawal
from processors.policy.resolve import Subject
from processors.policy.verdict import Verdict, denied
from processors.proof import jcs
from schemas.words import Outcome, Role, Stage

NOW = "2026-03-02T15:00:00Z"
SESSION_MS = 3_600_000
_BROKEN = denied(Denial(Stage.RESOLUTION, "DELEGATION_BROKEN"), ())
_MISTAKES = (KeyError, TypeError, ValueError, AttributeError, IndexError)  # raised by cases of a wrong form


@dataclass(frozen=True, slots=True)
class Played:
    """One case: its expected outcome, the outcome that was found, and the check that decided."""

    file: Path
    case_id: str
    expected: Any
    found: Any
    at: str = ""

    @property
    def passed(self) -> bool:
        """True if both are the same."""
        return bool(self.expected == self.found)


def play_files(paths: Iterable[Path], policies: Sequence[Path] = ()) -> list[Played]:
    """Play every case of some files. `policies` are in force where a case names neither a set nor policies.

    Raises:
        CaseFileError: a file or a case has a wrong form.
        PolicyFilesError: the policies cannot be read, or could not be in force together.
    """
    given = [one.document for one in read_documents(policies)] if policies else []
    files = [read_case_file(path) for path in paths]
    return [play_case(file, case, given, line=number) for file in files for number, case in file.cases]


def play_case(file: CaseFile, case: Case, given: Sequence[PolicyDocument] = (), *, line: int = 1) -> Played:
    """Play one case. `given` is in force where it names neither a set nor policies; `line` is for errors.

    Raises:
        CaseFileError: the case has a wrong form.
    """
    try:
        if "pattern" in case:
            return Played(file.path, case["id"], case["expect"], _pattern(case))
        in_force = documents_of(file, case, given)
        if "resource" in case:
            return _calls(file, case, in_force)
        return Played(file.path, case["id"], case["expect"], _offered(case, in_force))
    except CaseFileError as exc:
        raise CaseFileError(f"{file.path}:{line}: case {case['id']!r}: {exc}") from exc
    except _MISTAKES as exc:
        raise CaseFileError(
            f"{file.path}:{line}: case {case['id']!r} has a member of a wrong form ({type(exc).__name__})"
        ) from exc


def documents_of(file: CaseFile, case: Case, given: Sequence[PolicyDocument] = ()) -> dict[str, PolicyDocument]:
    """Return the policies in force by id: the set of the case, and over it the case's own policies.

    `given` stands in for the set of a case that names neither a set nor policies.

    Raises:
        CaseFileError: no such set is defined, or a policy would be refused.
    """
    if "set" in case:
        if case["set"] not in file.sets:
            raise CaseFileError(f"the set {case['set']!r} is not defined: add a line with `set` before")
        texts = file.sets[case["set"]]
        base = [_document(text) for text in texts]
    else:
        base = [] if "policies" in case else list(given)
    own = [_document(document_text(one)) for one in case.get("policies", ())]
    return {one.policy_id: one for one in (*base, *own)}


def _document(text: bytes) -> PolicyDocument:
    try:
        return parse_policy(text, organisation=True)
    except PolicyError as exc:
        raise CaseFileError(f"a policy in force would be refused: {exc}") from exc


def _pattern(case: Case) -> list[str]:
    try:
        check_pattern(case["pattern"], "")
        name = resource_name(case["resource"])
    except ResourceInvalidError:
        return [Outcome.REFUSED, "RESOURCE_INVALID"]
    except PolicyError as exc:
        return [Outcome.REFUSED, exc.code]
    return ["yes" if meets(case["pattern"], name) else "no" for meets in (grants, restricts)]


# ---- calls


def _calls(file: CaseFile, case: Case, in_force: Mapping[str, PolicyDocument]) -> Played:
    try:
        run = CaseRun(file, case, in_force)
    except _HistoryError as exc:
        return Played(file.path, case["id"], case["expect"], ["not reached"], str(exc))
    times = case["times"] if "times" in case else [case.get("now", NOW)]
    verdicts = [run.decided(ms(now)) for now in times]
    found = [[str(one.outcome), one.reason or "ALLOWED"] for one in verdicts]
    by_digest = {one.digest: policy_id for policy_id, one in in_force.items()}
    places = (f"{by_digest.get(one.deciding, '')} {one.detail}".strip() for one in verdicts)
    at = "; ".join(dict.fromkeys(place for place in places if place))
    return Played(file.path, case["id"], case["expect"], found if "times" in case else found[0], at)


class _HistoryError(Exception):
    """An earlier call of a case, which counts as allowed, is not allowed."""


class CaseRun:
    """The calls of one case, on tables that they share."""

    def __init__(self, file: CaseFile, case: Case, in_force: Mapping[str, PolicyDocument]) -> None:
        self._file = file
        self._case = case
        self.index = index_policies({policy_id: compile_policy(one) for policy_id, one in in_force.items()})
        self._buckets: dict[bytes, int] = {}
        self._cells: dict[bytes, Cell] = {}
        self._attested = CaseAttestations(case.get("attestations", ()), self._users(), case.get("open_requests", 0))
        self._resumed = self._keys_asked_for()
        for past in case.get("history", ()):
            self._play_past(past)

    def decided(self, now: int) -> Verdict:
        """Decide the case's call at `now`, in ms, and keep its traces."""
        case = self._case
        resource = operation_name(case["resource"], case["operation"]) if "operation" in case else case["resource"]
        text = case["params_raw"] if "params_raw" in case else jcs.canonical(case.get("params", {})).decode()
        verdict = self._verdict(resource, text, now)
        self._leave(verdict)
        return verdict

    def _verdict(self, resource: str, text: str, now: int) -> Verdict:
        try:
            resource_name(resource)
        except ResourceInvalidError:
            return decide(self.index, (), resource, {})  # denies with RESOURCE_INVALID
        try:
            subjects = self.subjects()
        except AttributeInvalidError:
            return denied(Denial(Stage.RESOLUTION, "ATTRIBUTE_INVALID"), ())
        try:
            parameters = parse_parameters(text).value
        except MalformedParametersError:
            return denied(Denial(Stage.RESOLUTION, "MALFORMED_PARAMETERS"), ())
        try:
            call = self.call(now)
        except PolicyError:  # such a scope cannot be granted, so the chain leads to no grant
            return _BROKEN
        if not isinstance(subjects, Subject) and len(subjects) > 1 and not call.hops:
            return _BROKEN  # several subjects without a chain from one to the other
        return decide(self.index, subjects, resource, parameters, call)

    def subjects(self) -> Subject | list[Subject]:
        """Return the subject of the call, or those of its chain. Raises CaseFileError, AttributeInvalidError."""
        case, file = self._case, self._file
        if "subjects" in case:
            return [subject_of(file.session(name)) for name in case["subjects"]]
        return subject_of(file.session(case.get("session", {})))

    def _users(self) -> frozenset[str]:
        """Return the names of the requesters: approvals of their own do not count."""
        try:
            subjects = self.subjects()
        except AttributeInvalidError:
            return frozenset()
        listed = [subjects] if isinstance(subjects, Subject) else subjects
        return frozenset().union(*map(names_of, listed))

    def call(self, now: int, session: str = "this session") -> Circumstances:
        """Return the call at `now`, in ms. Raises PolicyError for a scope that could not have been granted."""
        case = self._case
        inline = [*case.get("intents", ()), *([case["intent"]] if "intent" in case else ()), *case.get("prompts", ())]
        settings = case.get("settings", {})
        layers = settings.get("required_layers")
        return Circumstances(
            now=now,
            session=self._session(session),
            tables=Lookups(lambda key: self._buckets.get(key, 0), self._cells.get, self._attested),
            settings=Settings(settings.get("strict_parameters", False), None if layers is None else frozenset(layers)),
            intents=tuple(inline),
            hops=tuple(map(self._hop, case.get("delegation", ()))),
            bound=case.get("bound", False),
            trusted=tuple(case.get("trusted", ())),
            maskable=tuple(case.get("maskable", ())),
            resumed=self._resumed,
        )

    def _keys_asked_for(self) -> Collection[str] | None:
        case = self._case
        bound = any(one.get("bound", False) for one in case.get("attestations", ()))
        if not case.get("resumed", bound):
            return None
        if "requested" in case:
            return frozenset(case["requested"])
        documents = (entry.policy.document for entry in self.index.by_id.values())
        return frozenset(one.key for document in documents for one in document.requirements if one.external)

    def _session(self, name: str) -> Session:
        hops = len(self._case.get("delegation", ()))
        ends = ms(self._case.get("now", NOW)) + SESSION_MS
        return Session(session_id=name, is_delegated=hops > 0, delegation_depth=hops, expires_at=ends, lasts_until=ends)

    def _hop(self, hop: Case) -> Hop:
        return Hop(
            delegator=subject_of(self._file.session(hop["from"])).principal,
            delegate=subject_of(self._file.session(hop["to"])).principal,
            scope=parse_scope(jcs.canonical(hop["scope"])),
            expires_at=ms(hop["expires"]),
            revoked=hop.get("revoked", False),
        )

    def _play_past(self, past: Case) -> None:
        """Play an earlier call that was allowed, and its result."""
        now = ms(past["at"])
        parameters = parse_parameters(jcs.canonical(past.get("params", {})).decode()).value
        call = self.call(now, past.get("session", "this session"))._replace(resumed=None)
        verdict = decide(self.index, self.subjects(), past["resource"], parameters, call)
        if verdict.outcome is not Outcome.ALLOWED:
            raise _HistoryError(f"the earlier call of {past['resource']!r} is {verdict.outcome}: {verdict.reason}")
        self._leave(verdict)
        if past.get("result", Outcome.OK) == Outcome.OK:
            ended = ms(past["result_at"]) if "result_at" in past else now
            self._cells |= {mark.key: Cell(0, 1, NOTHING, ended, 2**62) for mark in verdict.effects.marks}

    def _leave(self, verdict: Verdict) -> None:
        effects = verdict.effects
        self._buckets |= effects.buckets
        self._cells |= {write.key: write.cell for write in effects.cells}
        self._attested.count(effects.uses)


def subject_of(session: Case) -> Subject:
    """Return the subject of a session of a case. Raises CaseFileError, AttributeInvalidError."""
    try:
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in session.items()}
        return Subject(**values)
    except TypeError as exc:
        raise CaseFileError(f"a session has no such attribute: {sorted(session)}") from exc


# ---- publications


def _offered(case: Case, in_force: Mapping[str, PolicyDocument]) -> list[str]:
    signer = case.get("signer", Role.ADMIN)
    try:
        if "withdraw" in case:
            stored = in_force.get(case["withdraw"])
            check_withdrawal(in_force, case["withdraw"], stored.digest if stored else b"", signer=signer)
            return ["withdrawn"]
        texts = _texts(case)
        if "previous" in case:
            previous = [bytes.fromhex(one) if isinstance(one, str) else None for one in case["previous"]]
        else:
            previous = [_previous(in_force, text) for text in texts]
        check_publication(in_force, texts, previous, signer=signer)
    except PolicyError as error:
        return [Outcome.REFUSED, error.code]
    return ["published"]


def _texts(case: Case) -> list[str]:
    if "publish_raw" in case:
        return [str(case["publish_raw"])]
    documents = case["publish"] if isinstance(case["publish"], list) else [case["publish"]]
    return [document_text(document).decode() for document in documents]


def _previous(in_force: Mapping[str, PolicyDocument], text: str) -> bytes | None:
    try:
        stored = in_force.get(parse_policy(text.encode(), organisation=True).policy_id)
    except (PolicyError, UnicodeEncodeError):
        return None  # such a text is refused anyway
    return stored.digest if stored else None
