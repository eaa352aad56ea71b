"""Playing case files of docs/mapl.md 15 against the engine: sets of documents, subjects, calls and expectations.

`Played` keeps what earlier calls of a case left behind, as the step would: buckets, cells, uses.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from processors.calls.parameters import MalformedParametersError, parse_parameters
from processors.policy.amounts import NOTHING
from processors.policy.call import Circumstances
from processors.policy.compiled import CompiledPolicy, compile_policy
from processors.policy.decide import decide, index_policies
from processors.policy.delegation import Hop, parse_scope
from processors.policy.documents import parse_policy
from processors.policy.errors import PolicyError, ResourceInvalidError
from processors.policy.evaluation import Approval, Approver, Cell, Lookups, Record, Session, Settings
from processors.policy.index import StoredPolicy
from processors.policy.patterns import operation_name, resource_name
from processors.policy.publication import check_publication, check_withdrawal
from processors.policy.resolve import Subject
from processors.policy.times import parse_time
from processors.policy.verdict import Verdict

NOW = "2026-03-02T15:00:00Z"
SESSION_MS = 3_600_000
Case = dict[str, Any]


@dataclass(slots=True)
class CaseFile:
    """A file's cases with the names they use."""

    sessions: dict[str, Case] = field(default_factory=dict)
    sets: dict[str, list[Case]] = field(default_factory=dict)
    cases: list[Case] = field(default_factory=list)


def read_cases(*paths: Path) -> CaseFile:
    """Read case files, one JSON object a line."""
    found = CaseFile()
    for line in (json.loads(line) for path in paths for line in path.read_text("utf-8").splitlines() if line.strip()):
        if "sessions" in line:
            found.sessions |= line["sessions"]
        elif "id" in line:
            found.cases.append(line)
        elif "set" in line:
            found.sets[line["set"]] = line["policies"]
    return found


def policies_of(documents: Sequence[Case]) -> dict[str, CompiledPolicy]:
    """Return documents as policies in force, those of the organisation among them."""
    parsed = [parse_policy(json.dumps(document).encode(), organisation=True) for document in documents]
    return {document.policy_id: compile_policy(document) for document in parsed}


def ms(text: str) -> int:
    """Return a time of a case in ms."""
    return parse_time(text, "")


def subject_of(session: Case) -> Subject:
    """Return the subject of a session of a case."""
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in session.items()}
    return Subject(**values)


# ---- decisions


@dataclass(slots=True)
class Attested:
    """The attestations of a case, with the uses that earlier calls made of them."""

    rows: Sequence[Case]
    waiting: int = 0
    used: dict[int, int] = field(default_factory=dict)

    def records(self, key: str) -> list[Record]:
        return [
            Record(
                position=at,
                set_at=ms(row["at"]),
                setter=row.get("setter", ""),
                expires_at=self._ends(row),
                max_uses=row.get("max_uses"),
                one_time=row.get("one_time", False),
                uses=self._uses(at, row),
                revoked=row.get("revoked", False),
            )
            for at, row in self._rows(key, external=False)
        ]

    def approvals(self, key: str) -> list[Approval]:
        return [
            Approval(
                position=at,
                at=ms(row["at"]),
                bound=row.get("bound", False),
                approvers=tuple(Approver(one["user"], frozenset(one["is"])) for one in row.get("by", ())),
                denied=row["status"] == "denied",
                revoked=row.get("revoked", False),
                uses=self._uses(at, row),
                expires_at=self._ends(row),
                max_uses=1 if row.get("one_time", False) else row.get("max_uses"),  # approvals have no other mark
            )
            for at, row in self._rows(key, external=True)
        ]

    def open_requests(self) -> int:
        return self.waiting

    def _rows(self, key: str, *, external: bool) -> Iterator[tuple[int, Case]]:
        found = ((at, row) for at, row in enumerate(self.rows) if row["key"] == key)
        return ((at, row) for at, row in found if ("status" in row) is external)

    def _uses(self, at: int, row: Case) -> int:
        return row.get("uses", 0) + self.used.get(at, 0)

    def _ends(self, row: Case) -> int | None:
        return ms(row["at"]) + 1000 * row["time_to_live"] if "time_to_live" in row else None


class Played:
    """One case against the engine, on tables that its calls share."""

    def __init__(self, file: CaseFile, case: Case) -> None:
        self._file = file
        self._case = case
        documents = [*file.sets.get(case.get("set", ""), ()), *case.get("policies", ())]
        self.index = index_policies(policies_of(documents))
        self._buckets: dict[bytes, int] = {}
        self._cells: dict[bytes, Cell] = {}
        self._attested = Attested(case.get("attestations", ()), case.get("open_requests", 0))
        for past in case.get("history", ()):
            self._past(past)

    def outcomes(self) -> list[tuple[str, str]]:
        """Return (outcome, reason) of each call of the case, an allowed one's reason as the cases have it."""
        times = self._case.get("times") or [self._case.get("now", NOW)]
        return [self._told(ms(now)) for now in times]

    def expected(self) -> list[tuple[str, str]]:
        """Return what the case says of each of them."""
        expect = self._case["expect"]
        return [(one[0], one[1]) for one in (expect if "times" in self._case else [expect])]

    def _told(self, now: int) -> tuple[str, str]:
        verdict = self.verdict(now)
        return str(verdict.outcome), verdict.reason or "ALLOWED"

    def verdict(self, now: int) -> Verdict:
        """Decide the case's call and keep what it leaves behind."""
        case = self._case
        resource = case["resource"]
        if "operation" in case:
            resource = operation_name(resource, case["operation"])
        text = case["params_raw"] if "params_raw" in case else json.dumps(case.get("params", {}))
        verdict = self._decided(resource, text, now, self._session())
        self._leave(verdict)
        return verdict

    def _decided(self, resource: str, text: str, now: int, session: Session) -> Verdict:
        try:
            resource_name(resource)
            parameters = parse_parameters(text).value
        except ResourceInvalidError:
            return decide(self.index, self.subjects(), resource, {}, self.call(now, session))
        except MalformedParametersError:
            return Verdict("denied", "MALFORMED_PARAMETERS")  # type: ignore[arg-type]
        return decide(self.index, self.subjects(), resource, parameters, self.call(now, session))

    def call(self, now: int, session: Session) -> Circumstances:
        """Return the case's call at a time."""
        case = self._case
        inline = [*case.get("intents", ()), *([case["intent"]] if "intent" in case else ()), *case.get("prompts", ())]
        settings = case.get("settings", {})
        layers = settings.get("required_layers")
        return Circumstances(
            now=now,
            session=session,
            tables=Lookups(lambda key: self._buckets.get(key, 0), self._cells.get, self._attested),
            settings=Settings(settings.get("strict_parameters", False), None if layers is None else frozenset(layers)),
            intents=tuple(inline),
            hops=tuple(map(self._hop, case.get("delegation", ()))),
            bound=case.get("bound", False),
            trusted=tuple(case.get("trusted", ())),
            resumed=frozenset(case.get("requested", ())) if case.get("resumed") else None,
        )

    def subjects(self) -> Subject | list[Subject]:
        """Return the subjects of the case's call."""
        case = self._case
        if "subjects" in case:
            return [subject_of(self._file.sessions[name]) for name in case["subjects"]]
        session = case.get("session", {})
        return subject_of(self._file.sessions[session] if isinstance(session, str) else session)

    def _session(self, name: str = "this session") -> Session:
        hops = len(self._case.get("delegation", ()))
        ends = ms(self._case.get("now", NOW)) + SESSION_MS
        return Session(session_id=name, is_delegated=hops > 0, delegation_depth=hops, expires_at=ends)

    def _hop(self, hop: Case) -> Hop:
        names = {name: subject_of(session).principal for name, session in self._file.sessions.items()}
        return Hop(
            delegator=names[hop["from"]],
            delegate=names[hop["to"]],
            scope=parse_scope(json.dumps(hop["scope"]).encode()),
            expires_at=ms(hop["expires"]),
            revoked=hop.get("revoked", False),
        )

    def _past(self, past: Case) -> None:
        """Play an earlier call that was allowed, and what became of it."""
        session = self._session(past.get("session", "this session"))
        now = ms(past["at"])
        parameters = parse_parameters(json.dumps(past.get("params", {}))).value
        verdict = decide(self.index, self.subjects(), past["resource"], parameters, self.call(now, session))
        assert verdict.outcome == "allowed", verdict
        self._leave(verdict)
        if past.get("result", "ok") == "ok":
            for mark in verdict.effects.marks:
                self._cells[mark.key] = Cell(0, 1, NOTHING, now, 0)

    def _leave(self, verdict: Verdict) -> None:
        effects = verdict.effects
        self._buckets |= effects.buckets
        self._cells |= {write.key: write.cell for write in effects.cells}
        for use in effects.uses:
            self._attested.used[use.position] = self._attested.used.get(use.position, 0) + 1


# ---- publications


def published(file: CaseFile, case: Case) -> list[str]:
    """Return what a publication or withdrawal of a case comes to, as the cases have it."""
    in_force = {
        document["policy_id"]: StoredPolicy(document["policy_id"], digest_of(document), "", document.get("extends"))
        for document in file.sets.get(case.get("set", ""), ())
    }
    signer = case.get("signer", "admin")
    try:
        if "withdraw" in case:
            stored = in_force.get(case["withdraw"])
            check_withdrawal(in_force, case["withdraw"], stored.digest if stored else b"", signer=signer)
            return ["withdrawn"]
        texts = _texts(case)
        previous = case.get("previous") or [_previous(in_force, text) for text in texts]
        check_publication(in_force, texts, previous, signer=signer)
    except PolicyError as error:
        return ["refused", error.code]
    return ["published"]


def digest_of(document: Case) -> bytes:
    """Return the digest of a document of a set."""
    return parse_policy(json.dumps(document).encode(), organisation=True).digest


def _texts(case: Case) -> list[str]:
    if "publish_raw" in case:
        return [case["publish_raw"]]
    documents = case["publish"] if isinstance(case["publish"], list) else [case["publish"]]
    return [json.dumps(document) for document in documents]


def _previous(in_force: dict[str, StoredPolicy], text: str) -> bytes | None:
    try:
        stored = in_force.get(json.loads(text).get("policy_id"))
    except (ValueError, AttributeError, TypeError):
        return None
    return stored.digest if stored else None


def iso(now: int) -> str:
    """Return a time in ms as the cases write it."""
    return (datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=now)).isoformat().replace("+00:00", "Z")
