"""The reference evaluator of docs/mapl.md: the conformance cases, the limits, what a verdict holds.

The same case files are what `macaw policy test` reads, and what the engine is run on.
"""

import dataclasses
import json
import unicodedata
from pathlib import Path

import pytest

from tests.reference.mapl import Call, Hop, Record, RefusedError, World, evaluate, parse_document, publish, sizes
from tests.reference.mapl.cases import CaseFile, call_of, load, ms, outcomes, verdicts, world_of
from tests.reference.mapl.chains import chain, current, merged_view
from tests.reference.mapl.codes import REASONS, REFUSALS
from tests.reference.mapl.delegation import grant_refusal
from tests.reference.mapl.explaining import explain
from tests.reference.mapl.text import UNICODE_VERSION
from tests.rows import every

pytestmark = pytest.mark.skipif(
    unicodedata.unidata_version != UNICODE_VERSION, reason="the reference needs the Unicode tables of the specification"
)

FOLDER = Path(__file__).resolve().parents[2] / "vectors" / "mapl"
FILES = {path.stem: load(path) for path in sorted(FOLDER.glob("*.jsonl"))}
ALL_CASES = [(name, case) for name, file in FILES.items() for case in file.cases]
NOW = ms("2026-03-02T15:00:00Z")
LATER = NOW + 3_600_000


def expected_of(case: dict[str, object]) -> list[object]:
    """The `expect` of a case as a list of outcomes."""
    expect = case["expect"]
    assert isinstance(expect, list)
    return expect if isinstance(expect[0], list) else [expect]


def test_every_case_comes_out_as_written() -> None:
    """Each line of the case files with an `expect`."""

    def holds(row: tuple[str, dict[str, object]]) -> None:
        name, case = row
        assert outcomes(FILES[name], case) == expected_of(case)

    every(ALL_CASES, lambda row: f"{row[0]}-{row[1]['id']}", holds)


def test_case_ids_are_unique_and_every_name_is_used_as_it_is_defined() -> None:
    """A case that was copied and forgotten would never be noticed otherwise."""
    ids = [case["id"] for _, case in ALL_CASES]

    assert len(set(ids)) == len(ids)
    assert len(FILES["conformance"].cases) == 97
    for name, case in ALL_CASES:
        assert "set" not in case or case["set"] in FILES[name].sets


def test_every_refusal_and_every_reason_has_a_case() -> None:
    """The lists of docs/mapl.md 1, 12 and 14, against what the case files expect."""
    met = {outcome[-1] for _, case in ALL_CASES for outcome in expected_of(case) if isinstance(outcome, list)}

    assert [code for code in (REFUSALS + REASONS).split() if code not in met] == []


def worked_example(name: str) -> tuple[World, Call]:
    file = FILES["conformance"]
    case = next(case for case in file.cases if case["id"] == name)
    return world_of(file, case), call_of(case, NOW)


def test_the_worked_example_finds_its_documents_and_its_grant() -> None:
    """Section 13's example: ids tried, found and absent, the branch, the grant and the deciding line."""
    world, call = worked_example("S02")

    explained = explain(world, call)
    [alice] = explained["subjects"]  # type: ignore[misc]
    [branch] = alice["branches"]

    assert explained["stage"] == 6
    assert alice["found"] == [
        "base:role:analyst", "restrict:org:fintech-corp", "restrict:bu:analytics", "restrict:team:reporting",
        "filter:clearance:standard",
    ]  # fmt: skip
    assert alice["absent"] == [
        "role:analyst", "company:FinTech Corp", "bu:Analytics", "team:Reporting", "user:alice@fintech.com",
        "app:analyzer", "tool:analyzer", "tool:analyzer/generate",
    ]  # fmt: skip
    assert (branch["branch"], branch["grant"]) == ("base:role:analyst", ["base:role:analyst"])
    assert {(line["via"], line["grants"]) for line in branch["policies"]} == {("lookup", True), ("lookup", False)}
    assert branch["failed"] == [
        (6, "PARAM_NOT_ALLOWED", "base:role:analyst", "/constraints/parameters/tool:*~1generate/model")
    ]


def test_the_chain_of_the_page_merges_to_its_numbers() -> None:
    """Section 5's table over the set `chain`: the least of every bound, denials united."""
    world, _ = worked_example("H01")

    view = merged_view(chain(world.policies, current(world.policies, "user:alice@fintech.com")))

    assert view["rate_limit"] == 2
    assert view["denied_resources"] == ["admin:**"]
    assert view["resources"] == [["tool:assistant/*"], ["llm:*", "tool:*"]]
    assert view["parameters"] == {
        ("tool:*/generate", "max_tokens"): {"max": 500},
        ("tool:*/generate", "model"): {"allowed_values": ["m1"]},
        ("tool:*/generate", "temperature"): {"max": 0.3},
    }


def test_the_merged_view_shows_the_tightest_of_everything() -> None:
    """Section 5's table, the rows that the chain above does not need."""
    one = {"timeout": 9, "time_to_live": 8, "max_uses": 3, "approval_criteria": "role:a"}
    other = {"timeout": 5, "time_to_live": 9, "one_time": True, "approval_criteria": "role:b", "quorum": 2}
    bodies: list[dict[str, object]] = [
        {"parameters": {"p": {"allowed_values": [1, 2], "required": True}}, "attestations": {"k": one}},
        {"parameters": {"p": [2, 3], "q": {"min": 2, "max": 9}}, "attestations": {"k": other}, "rate_limit": 9},
        {"parameters": {"q": {"range": [1, 12]}}, "rate_limit": 3, "audit_level": "full", "require_approval": True},
        {"audit_level": "minimal", "roles": ["r"]},
    ]
    windows = [("2026-01-01", "2026-03-01"), ("2026-02-01", "2026-04-01")]
    validity = [{"not_before": f"{a}T00:00:00Z", "not_after": f"{b}T00:00:00Z"} for a, b in windows]
    extra = [{"attestations": ["k"], "validity": window} for window in validity] + [{}, {}]
    texts = [json.dumps({"policy_id": "a:b", "constraints": c, **more}) for c, more in zip(bodies, extra, strict=True)]

    view = merged_view([parse_document(text) for text in texts])
    shown = view["attestations"]["k"]  # type: ignore[index]

    assert view["parameters"] == {
        ("**", "p"): {"allowed_values": [2], "required": True},
        ("**", "q"): {"min": 2, "max": 9},
    }
    assert shown["criteria"] == [(["role:a"], 1), (["role:b"], 2)]
    assert (shown["timeout"], shown["time_to_live"], shown["max_uses"], shown["one_time"]) == (5, 8, 3, True)
    assert view["validity"] == (ms("2026-02-01T00:00:00Z"), ms("2026-03-01T00:00:00Z"))
    assert (view["audit_level"], view["require_approval"], view["roles"]) == ("full", True, [["r"]])
    assert view["rate_limit"] == 3


def test_a_decision_says_which_line_decided_and_what_it_writes() -> None:
    """The deciding check and the writes: charges when pending too, uses only when allowed, nothing when denied."""
    world, call = worked_example("H01")
    tier, asking = worked_example("A02")
    flow = FILES["conformance"]
    once = next(case for case in flow.cases if case["id"] == "F02")

    allowed, pending = evaluate(world, call), evaluate(tier, asking)
    first, second = verdicts(flow, once)

    at = NOW * 1000
    assert allowed.writes == [
        ("charge", "alice@fintech.com", "bu:Analytics", at + 1_200_000),
        ("charge", "alice@fintech.com", "company:FinTech Corp", at + 600_000),
        ("charge", "alice@fintech.com", "user:alice@fintech.com", at + 30_000_000),
    ]
    assert pending.writes == [("request", "lead_ok", True, NOW + 120_000)]
    assert first.writes == [("use", 0)]
    assert second.writes == []
    assert second.check is not None
    assert (second.check.policy, second.check.at) == ("tool:b", "/attestations/0")


def test_a_caller_who_is_limited_is_told_how_long() -> None:
    """Section 9: retry_after_ms is rounded up."""
    file = FILES["conformance"]
    case = next(case for case in file.cases if case["id"] == "H05")

    assert [verdict.retry_after_ms for verdict in verdicts(file, case)] == [None, None, 1, None, 29_000]


EVE: dict[str, dict[str, object]] = {"eve": {"user": "eve"}}


def tool_x(**body: object) -> World:
    """A world of one document, that of the resource `tool:x`, which grants."""
    return World({"tool:x": json.dumps({"policy_id": "tool:x", "resources": ["**"], **body})}, EVE)


def test_of_several_records_the_least_precious_is_used() -> None:
    """Section 8: unlimited, then max_uses, then one_time; then earliest expiry; then lowest log position."""
    once, twice, free = Record("k", NOW, one_time=True), Record("k", NOW, max_uses=2), Record("k", NOW)
    soon = Record("k", NOW, time_to_live=60)
    world = tool_x(attestations=["k"])

    def used(*records: Record) -> object:
        return evaluate(dataclasses.replace(world, attestations=list(records)), Call("x", NOW, ["eve"])).writes

    assert used(once, twice, free, soon, soon) == [("use", 3)]
    assert used(once, twice) == [("use", 1)]
    assert used(once, free, free) == [("use", 1)]


def test_a_pending_call_waits_for_its_most_impatient_requirement_and_no_longer_than_its_session() -> None:
    """Section 8: the deadline, and one request for each key."""
    metas = {key: {"approval_criteria": "role:lead", "timeout": seconds} for key, seconds in (("a", 60), ("b", 30))}
    call = Call("x", NOW, ["eve"])
    world = tool_x(attestations=["a", "b"], constraints={"attestations": metas})

    ending = evaluate(world, dataclasses.replace(call, session_expires=NOW + 7))

    assert evaluate(world, call).writes == [("request", "a", True, NOW + 30_000), ("request", "b", True, NOW + 30_000)]
    assert [write[-1] for write in ending.writes] == [NOW + 7, NOW + 7]


def test_what_is_counted_for_a_user_is_counted_over_sessions() -> None:
    """Section 14: the cell's owner is the session or the user."""
    rules = [{"id": per, "when": "**", "at_most": 5, "per": per} for per in ("session", "user")]

    verdict = evaluate(tool_x(sequence=rules), Call("x", NOW, ["eve"], session="s1"))

    owners = [("tool:x", "session", "session", "s1"), ("tool:x", "user", "user", "eve")]
    assert verdict.writes == [("cell", owner, 0, 1) for owner in owners]


@pytest.mark.parametrize(
    "policy", ['{"policy_id":"user:eve","extends":"gone"}', '{"policy_id":"user:eve","more":1}', "{"]
)
def test_a_current_document_that_is_broken_breaks_the_call(policy: str) -> None:
    """Section 5, met at run time: an older log, a withdrawn parent. Nobody is let through by it."""
    world = tool_x()

    assert evaluate(world, Call("x", NOW, ["eve"])).reason == "ALLOWED"
    world.policies["user:eve"] = policy
    assert evaluate(world, Call("x", NOW, ["eve"])).reason == "POLICY_BROKEN"


def test_a_name_has_a_thousand_and_twenty_four_code_points_at_most() -> None:
    """Section 2, counted with the domain."""
    reasons = [evaluate(tool_x(), Call("a" * n, NOW, ["eve"])).reason for n in (1019, 1020)]

    assert reasons == ["NO_POLICY", "RESOURCE_INVALID"]


@pytest.mark.parametrize("name", sizes.documents(0))
def test_a_document_may_be_as_large_as_a_limit_and_no_larger(name: str) -> None:
    """Section 1, limits: all of each, and one more."""
    parse_document(sizes.documents(0)[name])

    with pytest.raises(RefusedError, match="E_LIMIT"):
        parse_document(sizes.documents(1)[name])


@pytest.mark.parametrize("name", sizes.expressions(0))
def test_an_expression_may_be_as_large_as_a_limit_and_no_larger(name: str) -> None:
    """Section 1: 2048 characters, depth 32, 256 nodes."""
    fits, exceeds = (
        json.dumps({"policy_id": "a:b", "attestations": [f"k::{{{sizes.expressions(extra)[name]}}}"]})
        for extra in (0, 1)
    )
    parse_document(fits)

    with pytest.raises(RefusedError, match="E_EXPR_LIMIT"):
        parse_document(exceeds)


def family(count: int, *, root: dict[str, object] | None = None) -> dict[str, str]:
    """A chain of documents, d:0 the root."""
    documents = [{"policy_id": "d:0", **(root or {})}]
    documents += [{"policy_id": f"d:{i}", "extends": f"d:{i - 1}"} for i in range(1, count)]
    return {str(document["policy_id"]): json.dumps(document) for document in documents}


def test_a_chain_has_sixteen_documents_at_most_also_when_its_root_grows() -> None:
    """Section 5: refused at publication, for a new version of a parent too; met at run time the call is broken."""
    publish({}, list(family(16).values()))

    with pytest.raises(RefusedError, match="E_EXTENDS_DEPTH"):
        publish({}, list(family(17).values()))
    with pytest.raises(RefusedError, match="E_EXTENDS_DEPTH"):
        publish({**family(16), "d:x": '{"policy_id":"d:x"}'}, ['{"policy_id":"d:0","extends":"d:x"}'])
    world = World({**family(17), "tool:x": '{"policy_id":"tool:x","extends":"d:15"}'}, {"eve": {"user": "eve"}})
    assert evaluate(world, Call("tool:x", NOW, ["eve"])).reason == "POLICY_BROKEN"


def test_one_event_carries_sixty_four_documents_at_most() -> None:
    """Section 1: 1 to 64 documents."""
    texts = [json.dumps({"policy_id": f"a:{i}"}) for i in range(65)]

    assert len(publish({}, texts[:64])) == 64
    for wrong in (texts, []):
        with pytest.raises(RefusedError, match="E_LIMIT"):
            publish({}, wrong)


def test_a_decision_that_costs_too_much_is_denied() -> None:
    """Section 1, work: program size times bytes, counted until a check decides."""
    world = tool_x(constraints={"parameters": {"s": {"pattern": "(a{50}){6}b?|.*"}}})

    verdicts_of = [evaluate(world, Call("x", NOW, ["eve"], json.dumps({"s": "a" * n}))) for n in (1000, 200_000)]

    assert [verdict.reason for verdict in verdicts_of] == ["ALLOWED", "LIMIT_EXCEEDED"]


@pytest.mark.parametrize("name", sizes.inline(0))
def test_inline_documents_have_their_own_limits(name: str) -> None:
    """Section 1: what a caller sends along is small."""
    fits, exceeds = (Call("x", NOW, ["eve"], intents=sizes.inline(extra)[name]) for extra in (0, 1))

    assert evaluate(tool_x(), fits).reason != "POLICY_BROKEN"
    assert evaluate(tool_x(), exceeds).reason == "POLICY_BROKEN"


def test_attributes_that_could_be_patterns_make_no_session() -> None:
    """Section 6: another type, control or format characters, or a star; too many roles."""
    for attributes in ({"user": 5}, {"user": "a*"}, {"roles": ["a\u200b"]}, {"roles": [str(i) for i in range(65)]}):
        world = World({}, {"eve": attributes})
        assert evaluate(world, Call("tool:x", NOW, ["eve"])).reason == "ATTRIBUTE_INVALID"


def hop(delegator: str, delegate: str, *, scope: object = None, expires: int = LATER, revoked: bool = False) -> Hop:
    return Hop(delegator, delegate, scope or {"resources": ["**"]}, expires, revoked)


@pytest.mark.parametrize(
    ("hops", "refusal"),
    [
        ([hop(str(i), str(i + 1)) for i in range(8)], None),
        ([hop("a", "a")], "DELEGATION_SELF"),
        ([hop("a", "b"), hop("b", "a")], "DELEGATION_CYCLE"),
        ([hop(str(i), str(i + 1)) for i in range(9)], "DELEGATION_DEPTH"),
        ([hop("a", "b", expires=NOW)], "DELEGATION_EXPIRED"),
        ([hop("a", "b"), hop("b", "c", expires=LATER + 1)], "DELEGATION_EXPIRED"),
        ([hop("a", "b"), hop("x", "c")], "DELEGATION_PARENT"),
        ([hop("a", "b", revoked=True), hop("b", "c")], "DELEGATION_PARENT"),
        ([hop("a", "b", scope={"resources": []})], "DELEGATION_FORM"),
        ([hop("a", "b", scope={"resources": ["**"], "more": 1})], "DELEGATION_FORM"),
        ([hop("a", "b", scope={"conditions": {"max_amount": 5}})], "DELEGATION_FORM"),
    ],
)
def test_a_delegation_is_refused_when_it_is_granted(hops: list[Hop], refusal: str | None) -> None:
    """Section 11, refusals at grant."""
    assert grant_refusal(hops, NOW) == refusal


def test_a_chain_of_more_than_eight_hops_is_refused_at_use() -> None:
    """Section 12: a hop that should never have been granted."""
    names = [str(i) for i in range(10)]
    chained = [hop(names[i], names[i + 1]) for i in range(9)]
    world = World({"tool:x": '{"policy_id":"tool:x","resources":["**"]}'}, {name: {"user": name} for name in names})

    assert evaluate(world, Call("x", NOW, names, delegation=chained)).reason == "DELEGATION_DEPTH"
    assert evaluate(world, Call("x", NOW, names[:9], delegation=chained[:8])).reason == "ALLOWED"


def test_a_case_file_may_keep_its_policies_beside_it(tmp_path: Path) -> None:
    """The README of the vectors: `files` names documents relative to the case file."""
    (tmp_path / "x.json").write_text('{"policy_id": "tool:x", "resources": ["tool:x"]}')
    lines = [
        {"set": "mine", "files": ["*.json"]},
        {"id": "1", "set": "mine", "session": {"user": "u"}, "resource": "x"},
    ]
    lines[1]["expect"] = ["allowed", "ALLOWED"]
    (tmp_path / "cases.jsonl").write_text("\n".join(json.dumps(line) for line in lines))

    file: CaseFile = load(tmp_path / "cases.jsonl")

    assert outcomes(file, file.cases[0]) == [["allowed", "ALLOWED"]]
