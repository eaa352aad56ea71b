"""Conditions: what is read, what is refused with which code, and what is true, false or unknown."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from macaw.policies.case_tables import CaseAttestations
from processors.policy.conditions import compile_condition, unusable
from processors.policy.errors import PolicyError, WorkExceededError
from processors.policy.evaluation import Evaluation, Lookups, Record, Session, new_work
from processors.policy.expressions import parse_expression
from processors.policy.patterns import resource_name
from processors.policy.resolve import Subject

NOW = 1_772_463_600_000  # Monday 2026-03-02T15:00:00Z, ten in New York
PARAMS = {
    "n": 5, "f": 5.5, "s": "abc", "accent": "cafe\u0301", "t": True, "u": False, "z": None, "a": [1, "x",
    None], "o": {"k": [7, {"l": "y"}]},
    "e": [], "not": 1, "big": "x" * 5_000_000,
}  # fmt: skip
SUBJECT = Subject(user="ann", team="T", roles=("lead",), groups=("g",), type="user", principal="user:ann")


def call(resource: str = "tool:app/op") -> Evaluation:
    attested = CaseAttestations(
        [
            {"key": "seen", "at": "2026-03-02T14:59:00Z"},
            {"key": "spent", "at": "2026-03-02T14:59:00Z", "uses": 1, "one_time": True},
        ]
    )
    session = Session(session_id="5e", tenant="acme", app="bot", is_delegated=True, delegation_depth=2)
    return Evaluation(
        PARAMS, SUBJECT, resource_name(resource), NOW, session, Lookups(attestations=attested), new_work(), None
    )


def says(text: str, **how: str) -> bool | None:
    return compile_condition(parse_expression(text, "").expression)(call(**how))


def refusal(text: str) -> str:
    with pytest.raises(PolicyError) as raised:
        parse_expression(text, "/at")
    assert raised.value.pointer == "/at"
    return raised.value.code


TRUTHS = [
    # comparisons, and what they do not coerce
    ("params.n == 5", True), ("n == 5", True), ("n == 5.0", True), ("5 == n", True), ("n != 5", False),
    ("n < 5.5", True),
    ("5 < n", False), ("n >= 5", True), ("n == '5'", None), ("n == true", None), ("t == true", True),
    ("t != false", True),
    ("t == 1", None), ("s == 'abc'", True), ("s > 'abb'", True), ("s < 5", None), ("accent == 'caf\u00e9'", True),
    ("n == f", False), ("n < f", True), ("s == n", None), ("t < u", None), ("t == u", False), ("o == o", None),
    ("missing == 1", None), ("missing != 1", None), ("z == 1", None), ("a == 1", None),
    # null
    ("z == null", True), ("missing == null", True), ("n == null", False), ("n != null", True), ("null == z", True),
    ("o == null", False), ("o.k.x == null", True), ("a[9] != null", False),
    # paths
    ("o.k[0] == 7", True), ("o.k[1].l == 'y'", True), ("params.o.k[1].l == 'y'", True), ("a[0] == 1", True),
    ("o[0] == 1", None), ("s.x == 1", None), ("params.not == 1", True), ("params.params == 1", None),
    # IN
    ("s IN ('x', 'abc')", True), ("s in ['x', 'y']", False), ("n IN (1, 'a')", None), ("n IN (5, 'a')", True),
    ("missing IN (1)", None), ("z IN (1)", None), ("n IN a", None), ("o.k[0] IN a", None), ("params.n IN e", False),
    ("n IN o", None), ("'x' IN a", True), ("'lead' IN principal.roles", True), ("'x' IN principal.roles", False),
    ("t IN (1, true)", True), ("t IN (1)", None),
    # MATCHES
    ("s MATCHES 'a*'", True), ("s MATCHES 'a'", False), ("s MATCHES '?b?'", True), ("s matches 'A*'", False),
    ("s MATCHES /b/", False), ("s MATCHES /.b./", True), ("s MATCHES /(?i)A.*/", True), ("n MATCHES '*'", None),
    ("s MATCHES /a|abc/", True), ("principal.team MATCHES 'T'", True),
    # alone
    ("t", True), ("u", False), ("n", None), ("missing", None), ("context.is_delegated", True),
    # logic, as Kleene has it
    ("NOT t", False), ("not missing", None), ("NOT n == 5", False), ("t AND u", False), ("t and missing", None),
    ("u AND missing", False), ("missing AND u", False), ("t OR missing", True), ("missing OR t", True),
    ("u OR missing", None),
    ("u OR t AND u", False), ("(u OR t) AND t", True), ("NOT (u OR u) AND t", True), ("NOT u AND NOT u", True),
    ("NOT NOT t", True), ("u OR u OR t", True),
    # the caller, the call, the time
    ("principal.user == 'ann'", True), ("principal.user_id == 'ann'", True), ("principal.company == null", True),
    ("principal.has_role('lead')", True), ("principal.has_role('x')", False), ('principal.has_group("g")', True),
    ("principal.clearance == 'standard'", True), ("principal.roles[0] == 'lead'", True),
    ("principal.roles == null", False),
    ("context.session_id == '5e'", True), ("context.app == 'bot'", True), ("context.delegation_depth == 2", True),
    ("context.has_attestation('seen')", True), ("context.has_attestation('spent')", False),
    ("context.has_attestation('never')", False), ("context.source_agent == null", True),
    ("tool.id == 'tool:app/op'", True), ("tool.domain == 'tool'", True), ("tool.app == 'app'", True),
    ("tool.op == 'op'", True), ("tool.tenant == 'acme'", True),
    ("time.now == 1772463600", True), ("time.year == 2026 AND time.month == 3 AND time.day == 2", True),
    ("time.hour == 15", True), ("time.minute == 0", True), ("time.weekday == 1", True),
    ("time.date == '2026-03-02'", True),
    ("time.clock == '15:00'", True), ("time.hour('America/New_York') == 10", True), ("time.hour('+05:30') == 20", True),
    ("time.minute('+05:30') == 30", True), ("time.date('-14:59') == '2026-03-02'", True),
    ("time.hour('UTC') == 15", True),
    ("time.hour == '15'", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "truth"), TRUTHS)
def test_a_condition_is_true_false_or_unknown(text, truth):
    """The tables of docs/mapl.md 7; a value that cannot be told is unknown, never false."""
    assert says(text) is truth


REFUSED = [
    *((text, "E_EXPR_SYNTAX") for text in (
        "", " ", "(", ")", "()", "n", "n ==", "== 5", "n = 5", "n == 5 5", "n && t", "n || t", "!t", "1 < n < 5",
        "n == 5 AND",
        "AND t", "t t", "And t", "NOT", "n IN", "n IN 5", "n IN ()", "n IN (m)", "n IN (null)", "n IN (1,)",
        "n IN time.hour",
        "s MATCHES", "s MATCHES n", "s MATCHES 5", "5", "true", "'x'", "'x' MATCHES 'x'", "time.hour('UTC')", "s == 'x",
        "s == \"x'", "s == 'a\\n'", "s MATCHES /x", "n / 5", "n == 05", "n == 5.", "n == .5", "n == 5x", "n == -",
        "a[", "a[x]",
        "a[-1]", "a[1.5]", "a..b", "a.", ".a", "a.5", "n == 9007199254740993", "n == 1e999", "caf\u00e9 == 1",
        "n == \u20035",
        "principal.has_role()", "principal.has_role(lead)", "principal.has_role('a', 'b')",
        "principal.has_role('a') == true",
        "time.hour(5) == 1", "n;", "n == 5 # x", "in == 5", "null", "\x00",
    ) if text != "n"),
    *((text, "E_EXPR_NAME") for text in (
        "params", "params == 5", "principal", "principal == 'a'", "principal.name == 'a'", "principal.has_role",
        "context.x == 1",
        "tool.name == 'a'", "time.second == 1", "time", "principal.is('a')", "tool.id('x') == 1",
        "context.has_role('x')",
        "principal.user.x == 1", "tool.id[0] == 'x'", "principal[0] == 1", "time.zone('UTC') == 1",
    )),
    *((text, "E_EXPR_TYPE") for text in ("1 == 1", "'a' == 'b'", "5 IN (5)", "n < null", "t > true", "null <= n",
    "false >= t")),
    *((f"time.hour('{zone}') > 9", "E_EXPR_ZONE") for zone in (
        "EST", "CET", "GMT", "utc", "+15:00", "+5:30", "+05:60", "05:30", "Mars/Base", "America/new_york", "../UTC",
        "posix/UTC", "", "/",
    )),
    *((text, "E_EXPR_LIMIT") for text in (
        "n == 5" + " " * 2043, "(" * 33 + "t" + ")" * 33, "NOT " * 33 + "t", " OR ".join(["t"] * 129),
        f"n IN ({','.join('1' * 256)})",
    )),
    ("s MATCHES /(/", "E_REGEX"), ("s MATCHES /(?=a)/", "E_REGEX"), (f"s MATCHES /{'a' * 513}/", "E_LIMIT"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "code"), REFUSED, ids=lambda value: repr(value)[:50])
def test_what_is_no_condition_is_refused_with_its_code(text, code):
    """At publication, with the place of the requirement."""
    assert refusal(text) == code


def test_conditions_at_their_limits_are_read():
    """The longest, the deepest and the widest."""
    assert says("t" + " " * 2047) is True
    assert says("(" * 32 + "t" + ")" * 32) is True
    assert says(" OR ".join(["u"] * 126 + ["t"])) is True


def test_what_could_not_be_told_is_named():
    """For the explanation: the operands that no comparison can use, and what stands there."""
    expression = parse_expression("missing > 1 OR (NOT z == s AND a IN (1)) OR o MATCHES 'x'", "").expression

    assert unusable(expression, call()) == [
        ("params.missing", "absent"), ("params.z", "null"), ("params.a", "array"), ("params.o", "object"),
    ]  # fmt: skip


def test_a_condition_may_spend_only_so_much():
    """A large expression on a large text, over and over, is cut off by units, not by time."""
    condition = compile_condition(parse_expression("big MATCHES /(x+x+)+y/", "").expression)

    with pytest.raises(WorkExceededError):
        condition(call())


@settings(deadline=None)
@given(
    st.text("ntas '\"()[]<>=!/\\.,0129-ANDORINMATCHESandorinmatchestrueflsnull$", max_size=40) | st.text(max_size=20)
)
def test_only_its_own_refusal_escapes_for_any_text(text):
    """Any text is a condition with one of three truths, or a PolicyError."""
    try:
        parsed = parse_expression(text, "")
    except PolicyError:
        return

    assert compile_condition(parsed.expression)(call()) in {True, False, None}


def test_no_operand_has_an_effect():
    """Evaluation order cannot be observed: `has_attestation` consumes nothing."""
    condition = compile_condition(
        parse_expression("context.has_attestation('seen') AND context.has_attestation('seen')", "").expression
    )
    evaluation = call()

    assert [condition(evaluation) for _ in range(3)] == [True, True, True]
    assert isinstance(evaluation.tables.attestations.records("seen")[0], Record)
