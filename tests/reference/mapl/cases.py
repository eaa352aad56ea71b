"""Case files (docs/mapl.md 15, and the README beside the vectors): from lines to worlds, calls and outcomes."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.reference.mapl.deciding import applied, evaluate
from tests.reference.mapl.fields import time_of
from tests.reference.mapl.publication import UNCHECKED, publish, withdraw
from tests.reference.mapl.refusals import RefusedError
from tests.reference.mapl.world import Call, Hop, Past, Record, Verdict, World

NOW_DEFAULT = "2026-03-02T15:00:00Z"
UNNAMED = "caller"
Line = dict[str, Any]
Evaluate = Callable[[World, Call], Verdict]


@dataclass
class CaseFile:
    sessions: dict[str, dict[str, object]] = field(default_factory=dict)
    sets: dict[str, list[object]] = field(default_factory=dict)
    cases: list[Line] = field(default_factory=list)


def load(path: Path) -> CaseFile:
    """A line with `expect` is a case, any other defines names. Names hold for the whole file, wherever they stand."""
    file = CaseFile()
    for text in path.read_text("utf-8").splitlines():
        line: dict[str, Any] = json.loads(text) if text.strip() else {"note": ""}
        if "expect" in line:
            file.cases.append(line)
        else:
            file.sessions |= line.get("sessions", {})
            if "set" in line:
                file.sets[line["set"]] = [*line.get("policies", []), *from_files(path.parent, line.get("files", []))]
    return file


def from_files(folder: Path, names: list[str]) -> Iterator[object]:
    for name in names:
        for found in sorted(folder.glob(name)):
            yield json.loads(found.read_text("utf-8"))


def outcomes(file: CaseFile, case: Line, *, evaluate: Evaluate = evaluate) -> list[list[str]]:
    """What a case gives, in the form of its `expect`; one item for each of `times`."""
    if "pattern" in case:
        return [pattern_outcome(file, case, evaluate)]
    if {"publish", "publish_raw", "withdraw"} & set(case):
        return [publication_outcome(file, case)]
    return [[verdict.outcome, verdict.reason] for verdict in verdicts(file, case, evaluate=evaluate)]


def verdicts(file: CaseFile, case: Line, *, evaluate: Evaluate = evaluate) -> list[Verdict]:
    """The same call at each of `times`, every decision's writes in place before the next."""
    world = world_of(file, case)
    given = []
    for moment in case.get("times", [case.get("now", NOW_DEFAULT)]):
        call = call_of(case, ms(moment))
        given.append(evaluate(world, call))
        world = applied(world, call, given[-1])
    return given


def ms(moment: object) -> int:
    return time_of(moment, "/now")


def policies_of(file: CaseFile, case: Line) -> dict[str, str]:
    """The set, and over it the case's own policies."""
    documents: list[object] = [*file.sets.get(str(case.get("set", "")), []), *case.get("policies", [])]
    texts = {}
    for document in documents:
        assert isinstance(document, dict)
        texts[str(document["policy_id"])] = json.dumps(document)
    return texts


def world_of(file: CaseFile, case: Line) -> World:
    if "set" in case and case["set"] not in file.sets:
        raise KeyError(f"no such set: {case['set']!r}")
    session = case.get("session")
    unnamed = {UNNAMED: session} if isinstance(session, dict) else {}
    get = case.get
    return World(
        policies=policies_of(file, case),
        subjects=file.sessions | unnamed,
        settings=get("settings", {}),
        attestations=[record_of(row) for row in get("attestations", [])],
        history=[past_of(row, signer_of(case)) for row in get("history", [])],
        open_requests=int(str(get("open_requests", 0))),
    )


def record_of(row: Line) -> Record:
    by = [(str(one["user"]), list(one["is"])) for one in row.get("by", [])]
    plain = {name: value for name, value in row.items() if name not in {"at", "by"}}
    return Record(at=ms(row["at"]), by=by, **plain)


def past_of(row: Line, session: str) -> Past:
    """An earlier allowed call. `result_at` is `at` unless it is given."""
    at = ms(row["at"])
    result_at = ms(row["result_at"]) if "result_at" in row else at
    params = row.get("params", {})
    result = row.get("result", "ok")
    return Past(str(row.get("session", session)), str(row["resource"]), params, at, result, result_at)


def signer_of(case: Line) -> str:
    """The last of the chain; of a bound call the first, who is the user."""
    names = subjects_of(case)
    return names[0] if case.get("bound") else names[-1]


def subjects_of(case: Line) -> list[str]:
    if "subjects" in case:
        return list(case["subjects"])
    session = case.get("session", UNNAMED)
    return [UNNAMED if isinstance(session, dict) else str(session)]


def call_of(case: Line, now: int) -> Call:
    get = case.get
    params = str(get("params_raw")) if "params_raw" in case else json.dumps(get("params", {}))
    intents = [str(case["intent"])] if "intent" in case else list(get("intents", []))
    asked_before = any(row.get("bound") for row in get("attestations", []))
    return Call(
        resource=str(case["resource"]),
        operation=get("operation"),
        now=now,
        subjects=subjects_of(case),
        params=params,
        intents=intents,
        prompts=list(get("prompts", [])),
        delegation=[hop_of(row) for row in get("delegation", [])],
        bound=bool(get("bound", False)),
        session=signer_of(case),
        chain_sessions=subjects_of(case),
        resumed=bool(get("resumed", asked_before)),
        requested=get("requested"),
        maskable=list(get("maskable", [])),
        trusted=get("trusted"),
    )


def hop_of(row: Line) -> Hop:
    return Hop(str(row["from"]), str(row["to"]), row["scope"], ms(row["expires"]), bool(row.get("revoked", False)))


def publication_outcome(file: CaseFile, case: Line) -> list[str]:
    store = policies_of(file, case)
    signer = str(case.get("signer", "admin"))
    previous = case.get("previous", UNCHECKED)
    try:
        if "withdraw" in case:
            withdraw(store, str(case["withdraw"]), previous=str(previous), signer=signer)
            return ["withdrawn"]
        offered = case["publish"] if isinstance(case.get("publish"), list) else [case.get("publish")]
        texts = [str(case["publish_raw"])] if "publish_raw" in case else [json.dumps(o) for o in offered]
        publish(store, texts, previous=None if previous == UNCHECKED else previous, signer=signer)
    except RefusedError as error:
        return ["refused", error.code]
    return ["published"]


def pattern_outcome(file: CaseFile, case: Line, evaluate: Evaluate) -> list[str]:
    """["yes" or "no" as a grant, the same as a restriction], both asked of `evaluate`."""
    caller: dict[str, dict[str, object]] = {UNNAMED: {"user": UNNAMED}}
    answers = []
    foreign = str(case["resource"]).split("/", 1)[0] + "/" if str(case["resource"]).startswith("@") else ""
    for resources, denied in (([case["pattern"]], []), ([foreign + "**"], [case["pattern"]])):
        policy = {"policy_id": f"user:{UNNAMED}", "resources": resources, "denied_resources": denied}
        world = World({f"user:{UNNAMED}": json.dumps(policy)}, caller)
        verdict = evaluate(world, Call(str(case["resource"]), ms(NOW_DEFAULT), [UNNAMED]))
        if verdict.reason == "RESOURCE_INVALID":
            return ["refused", verdict.reason]
        answers.append("yes" if (verdict.outcome == "allowed") is (denied == []) else "no")
    return answers
