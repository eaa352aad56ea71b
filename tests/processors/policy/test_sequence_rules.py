"""Rules over several calls: the calls that count, for whom and how long, and malformed rules (docs/mapl.md 14)."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

import pytest

from processors.policy import limits
from processors.policy.amounts import NOTHING
from processors.policy.call import Circumstances
from processors.policy.decide import decide, index_policies
from processors.policy.documents import parse_inline, parse_policy
from processors.policy.errors import PolicyError
from processors.policy.evaluation import Cell, Lookups, Session
from processors.policy.index import PolicyIndex
from processors.policy.insight.explain import explain
from processors.policy.resolve import Subject
from processors.policy.verdict import Verdict
from tests.processors.policy.written import policies_of

EVE = Subject(user="eve")
BOB = Subject(user="bob")
SESSION_ENDS = 5_000_000
DAY_MS = 86_400_000
UNSAFE = "\u0301" * 40  # too many marks on one letter: not normalised, so equal to nothing


def ruled(*rules: dict[str, Any]) -> PolicyIndex:
    """Return policies where all may do everything, but for these rules."""
    named = [{"id": f"r{at}", **rule} for at, rule in enumerate(rules)]
    everybody = [{"policy_id": f"user:{name}", "resources": ["**"]} for name in ("eve", "bob", "s")]
    return index_policies(policies_of([*everybody, {"policy_id": "org:rules", "sequence": named}]))


@dataclass(slots=True)
class Past:
    """Calls one after the other, on the cells that they leave behind, as a step keeps them."""

    index: PolicyIndex
    cells: dict[bytes, Cell] = field(default_factory=dict)
    last: Verdict | None = None

    def call(
        self,
        resource: str,
        parameters: dict[str, Any] | None = None,
        *,
        now: int = 0,
        who: Subject = EVE,
        session: str = "s",
        chain: tuple[str, ...] = (),
    ) -> str:
        """Return the reason of one call, which ends well at once if it is allowed."""
        verdict = decide(self.index, who, resource, parameters or {}, self.asked(now, session, chain))
        self.last = verdict
        for key, cell, _ in verdict.effects.cells:
            self.cells[key] = cell
        for mark in verdict.effects.marks:
            until = SESSION_ENDS if mark.within_ms is None else now + mark.within_ms
            self.cells[mark.key] = Cell(0, 1, NOTHING, now, until)
        return verdict.reason

    def asked(self, now: int = 0, session: str = "s", chain: tuple[str, ...] = ()) -> Circumstances:
        """Return a call at a time. What is over is not there any more."""
        alive = {key: cell for key, cell in self.cells.items() if now < cell.until}
        signed_by = Session(session_id=session, expires_at=SESSION_ENDS, lasts_until=SESSION_ENDS, chain=chain)
        return Circumstances(now=now, session=signed_by, tables=Lookups(cells=alive.get))

    def left(self) -> list[Cell]:
        """Return the cells that the last call left."""
        assert self.last is not None
        return [cell for _, cell, _ in self.last.effects.cells]


# ---- counts and sums


def test_calls_are_counted_for_a_session_or_for_a_user() -> None:
    """The one goes on where the other begins anew."""
    by_session = Past(ruled({"when": "tool:x", "at_most": 1, "per": "session"}))
    assert [by_session.call("tool:x", session=one) for one in ("s", "s", "t")] == ["", "SEQUENCE_LIMIT", ""]
    assert by_session.call("tool:x", who=BOB) == "SEQUENCE_LIMIT"

    by_user = Past(ruled({"when": "tool:x", "at_most": 1, "per": "user"}))
    assert [by_user.call("tool:x", session=one) for one in ("s", "t")] == ["", "SEQUENCE_LIMIT"]
    assert by_user.call("tool:x", who=BOB) == ""


def test_a_user_who_is_called_like_a_session_is_not_counted_with_it() -> None:
    """A rule that counted sessions and now counts users begins anew."""
    past = Past(ruled({"when": "tool:x", "at_most": 1, "per": "session"}))
    assert past.call("tool:x", session="s") == ""
    past.index = ruled({"when": "tool:x", "at_most": 1, "per": "user"})

    assert past.call("tool:x", who=Subject(user="s"), session="t") == ""


@pytest.mark.parametrize(
    ("more", "until"),
    [
        ({"per": "session"}, SESSION_ENDS),
        ({"per": "session", "window": 60}, 60_000),
        ({"per": "session", "window": "day"}, SESSION_ENDS),
        ({"per": "user", "window": 60}, 60_000),
        ({"per": "user", "window": "day"}, DAY_MS),
    ],
)
def test_a_count_is_kept_until_it_says_nothing_any_more(more: dict[str, Any], until: int) -> None:
    """The end of its window or of its session, what comes first; not a moment less, or it would be forgotten."""
    past = Past(ruled({"when": "tool:x", "at_most": 1, **more}))
    assert past.call("tool:x", now=7) == ""
    assert [cell.until for cell in past.left()] == [until]

    assert past.call("tool:x", now=until - 1) == "SEQUENCE_LIMIT"
    assert past.call("tool:x", now=until) == ""


def test_a_count_that_nothing_ends_is_kept_as_long_as_there_is_time() -> None:
    """Longer than any session, as a number of 64 bits."""
    past = Past(ruled({"when": "tool:x", "at_most": 1, "per": "user"}))
    assert past.call("tool:x") == ""

    assert 2**53 < past.left()[0].until < 2**63
    assert past.call("tool:x", now=2**53) == "SEQUENCE_LIMIT"


@pytest.mark.parametrize(
    "amount", [-0.5, -1, -1e300, True, "1", None, [1], [5, -1], [1, "1"], [], float("inf"), 11, [6, 5]]
)
def test_a_sum_takes_no_amount_that_is_none_or_gives_back(amount: object) -> None:
    """Else what was spent could be had again; absent is no amount either."""
    path = "n[*]" if isinstance(amount, list) and amount != [1] else "n"
    past = Past(ruled({"when": "tool:x", "sum": path, "max": 10, "per": "session"}))

    assert past.call("tool:x", {"n": amount}) == "SEQUENCE_TOTAL"
    assert past.call("tool:x") == "SEQUENCE_TOTAL"
    assert past.cells == {}


def test_a_sum_is_spent_to_its_end() -> None:
    """Several values at once, nothing, and the last of it."""
    past = Past(ruled({"when": "tool:x", "sum": "n[*]", "max": 10, "per": "session"}))

    assert [past.call("tool:x", {"n": one}) for one in ([6, 0.5], [0], [3.5], [0.1], [0])] == [
        *("", "", "", "SEQUENCE_TOTAL", "")
    ]


# ---- after


AFTER = {"when": "tool:pay", "after": {"resource": "tool:ask", "same": [["to", "who"], ["n", "n"]]}}


@pytest.mark.parametrize(
    ("asked", "paid", "expected"),
    [
        ({"who": "a", "n": 1}, {"to": "a", "n": 1.0}, ""),
        ({"who": "a", "n": 1}, {"to": "a", "n": 2}, "SEQUENCE_MISSING"),
        ({"who": "a", "n": 1}, {"to": "b", "n": 1}, "SEQUENCE_MISSING"),
        ({"who": "a"}, {"to": "a"}, "SEQUENCE_MISSING"),
        ({}, {}, "SEQUENCE_MISSING"),
        ({"who": UNSAFE, "n": 1}, {"to": UNSAFE, "n": 1}, "SEQUENCE_MISSING"),
        ({"who": None, "n": 1}, {"to": None, "n": 1}, ""),
    ],
)
def test_the_earlier_call_had_the_same_values(asked: dict[str, Any], paid: dict[str, Any], expected: str) -> None:
    """What is absent in both is not the same, nor what cannot be compared; that call is allowed none the less."""
    past = Past(ruled(AFTER))
    assert past.call("tool:pay", paid) == "SEQUENCE_MISSING"
    assert past.call("tool:ask", asked) == ""

    assert past.call("tool:pay", paid) == expected
    assert past.call("tool:pay", paid, session="t") == "SEQUENCE_MISSING"


def test_a_path_through_another_type_is_not_the_same_as_itself() -> None:
    """On neither side: nothing was compared."""
    past = Past(ruled({"when": "tool:pay", "after": {"resource": "tool:ask", "same": [["a.b", "a.b"]]}}))

    assert past.call("tool:ask", {"a": 5}) == ""
    assert past.call("tool:pay", {"a": 5}) == "SEQUENCE_MISSING"
    assert past.cells == {}


def test_values_cost_as_much_as_they_are_long() -> None:
    """A rule cannot be made to write down more than a decision may spend."""
    long = "a" * (limits.WORK_UNITS_MAX * 6 // 10 // limits.KEY_BYTE_UNITS)
    twice = {"when": "tool:pay", "after": {"resource": "tool:ask", "same": [["a", "a"], ["a", "a"]]}}

    assert Past(ruled(twice)).call("tool:pay", {"a": long}) == "LIMIT_EXCEEDED"
    assert Past(ruled(twice)).call("tool:pay", {"a": long[: len(long) // 2]}) == "SEQUENCE_MISSING"


# ---- taint


def test_a_taint_of_any_session_of_the_chain_counts() -> None:
    """The own session need not be tainted, nor all others."""
    past = Past(ruled({"when": "tool:mail", "tainted_by": "tool:web"}))
    assert past.call("tool:web", session="root") == ""

    assert past.call("tool:mail", session="s", chain=("root", "middle", "s")) == "SEQUENCE_TAINT"
    assert past.call("tool:mail", session="root") == "SEQUENCE_TAINT"
    assert past.call("tool:mail", session="s", chain=("middle", "s")) == ""


def test_a_session_is_tainted_once() -> None:
    """Until it ends; a second such call has nothing to write."""
    past = Past(ruled({"when": "tool:mail", "tainted_by": "tool:web"}))
    assert past.call("tool:web") == ""
    assert [cell.until for cell in past.left()] == [SESSION_ENDS]

    assert past.call("tool:web", now=1) == ""
    assert past.left() == []


# ---- explained


def test_an_explanation_says_whether_a_rule_was_asked() -> None:
    """It passes, does not apply, or requires an attestation now."""
    past = Past(
        ruled(
            {"when": "tool:x", "at_most": 1, "per": "session"},
            {"when": "tool:x", "at_most": 1, "per": "session", "if": "params.n > 5"},
            {"when": "tool:x", "tainted_by": "tool:web", "require": "checked"},
        )
    )
    assert past.call("tool:web") == ""

    told = explain(past.index, EVE, "tool:x", {"n": 1}, past.asked())["checks"]
    assert isinstance(told, list)
    results = {one["at"]: one["result"] for one in told if isinstance(one, dict)}

    assert [results[f"/sequence/{at}"] for at in range(3)] == ["pass", "not required", "requires checked"]


# ---- what is no rule


COUNTED = {"id": "r", "when": "tool:x", "at_most": 1, "per": "session"}
SUMMED = {"id": "r", "when": "tool:x", "sum": "n", "max": 1, "per": "session"}
AFTERWARDS = {"id": "r", "when": "tool:x"}


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        (COUNTED, ""),
        (COUNTED | {"id": "r" * 128}, ""),
        (COUNTED | {"id": "r" * 129}, "E_LIMIT at '/sequence/0/id'"),
        (COUNTED | {"id": ""}, "E_SEQUENCE at '/sequence/0/id'"),
        (COUNTED | {"max": 5}, "E_SEQUENCE at '/sequence/0/max'"),
        (COUNTED | {"most": 5}, "E_UNKNOWN_FIELD at '/sequence/0/most'"),
        (COUNTED | {"window": 1}, ""),
        (COUNTED | {"window": 0}, "E_SEQUENCE at '/sequence/0/window'"),
        (SUMMED, ""),
        ({name: value for name, value in SUMMED.items() if name != "max"}, "E_SEQUENCE at '/sequence/0'"),
        (AFTERWARDS | {"after": {"resource": "tool:y"}}, ""),
        (AFTERWARDS | {"after": {}}, "E_SEQUENCE at '/sequence/0/after'"),
        (AFTERWARDS | {"after": {"resource": "tool:y", "sames": []}}, "E_UNKNOWN_FIELD at '/sequence/0/after/sames'"),
        (AFTERWARDS | {"after": {"resource": "tool:y", "same": [["a"]]}}, "E_SEQUENCE at '/sequence/0/after/same/0'"),
        (
            AFTERWARDS | {"after": {"resource": "tool:y", "same": [["a", "b"], ["a", "b", "c"]]}},
            "E_LIMIT at '/sequence/0/after/same/1'",
        ),
        (AFTERWARDS | {"after": {"resource": "tool:y", "within": 0}}, "E_SEQUENCE at '/sequence/0/after/within'"),
    ],
)
def test_a_rule_that_cannot_be_honoured_is_no_rule(rule: dict[str, Any], fault: str) -> None:
    """What is missing, misspelt or of another kind of rule is never left out."""
    text = json.dumps({"policy_id": "tool:x", "sequence": [rule]}).encode()
    if not fault:
        assert len(parse_policy(text).sequence) == 1
        return
    with pytest.raises(PolicyError, match=f"^{re.escape(fault)}$"):
        parse_policy(text)


def test_a_rule_without_a_condition_neither_costs_nor_earns_an_expression() -> None:
    """What comes with a call may hold so many regular expressions, whatever rules stand beside them."""

    def reason(count: int) -> str:
        matched = {f"p{at}": {"pattern": "a"} for at in range(count)}
        intent = {"sequence": [COUNTED], "constraints": {"parameters": {"**": matched}}}
        return decide(ruled(), EVE, "tool:x", {}, Circumstances(intents=(json.dumps(intent),))).reason

    assert reason(limits.INLINE_REGEXES_MAX) == ""
    assert reason(limits.INLINE_REGEXES_MAX + 1) == "POLICY_BROKEN"


@pytest.mark.parametrize("kind", [{"at_most": 1}, {"sum": "n", "max": 5}])
def test_what_comes_with_a_call_counts_for_a_user_in_a_window_only(kind: dict[str, Any]) -> None:
    """Nothing would end what it remembers. In a window, or for a session, it leaves with the session at the latest."""
    rule = {"id": "r", "when": "**", "per": "user", **kind}
    with pytest.raises(PolicyError, match="E_SEQUENCE at '/sequence/0'"):
        parse_inline(json.dumps({"sequence": [rule]}).encode())

    for more in ({"window": "day"}, {"per": "session"}):
        (read,) = parse_inline(json.dumps({"sequence": [rule | more]}).encode()).sequence
        assert read.inline
