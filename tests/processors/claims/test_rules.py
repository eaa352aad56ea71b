"""Paths, transforms, conditions and role filters, each with its values."""

from __future__ import annotations

from typing import Any

import pytest

from processors.identity.claims.conditions import ClaimComparison, ClaimCondition
from processors.identity.claims.errors import ClaimsMappingError
from processors.identity.claims.model import LoginDemands, ProviderMapping, RoleFilter
from processors.identity.claims.paths import EACH, ClaimPath
from processors.identity.claims.regexes import ClaimRegex
from processors.identity.claims.rules import RuleResult
from processors.identity.claims.transforms import ClaimTransform
from tests.processors.claims.mapped import NAME, mapped_by, rule, transform

# ---- paths


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("email", ("email",)),
        ("realm_access.roles", ("realm_access", "roles")),
        ("groups[0]", ("groups", 0)),
        ("groups[*]", ("groups", EACH)),
        ("a[*].b[2].c", ("a", EACH, "b", 2, "c")),
        ('["https://macaw.local/team"]', ("https://macaw.local/team",)),
        ("['a.b'].c", ("a.b", "c")),
        (r'a["q\"x\\"]', ("a", 'q"x\\')),
        ('["a b"]', ("a b",)),
        ("https://macaw.local/team", ("https://macaw.local/team",)),
        ("urn:acme:team", ("urn:acme:team",)),
        ("custom:dept", ("custom:dept",)),
        ("profile/team", ("profile/team",)),
        ("größe.ß", ("größe", "ß")),
    ],
)
def test_a_path_is_read(text: str, steps: tuple[Any, ...]) -> None:
    assert ClaimPath(text).steps == steps


LARGE = ClaimRegex("(?:ab){999}")
NOT_PATHS = (
    ["", "a ", " a", "a\u00a0", "a b", "a..b", ".a", "a.", "a.[0]", "a[0]b", "[x]", "a[", "a[*", "a[-1]", "a[12345]"],
    ["a*", "*", 'a["', 'a[""]', "a\u200b", "a\n", "a\ud800", "a" * 257, ".".join("a" * 17), "a'b", "\\a", "$.a b"],
)


@pytest.mark.parametrize("text", [*NOT_PATHS[0], *NOT_PATHS[1]])
def test_a_text_that_is_not_a_path_is_refused(text: str) -> None:
    with pytest.raises(ClaimsMappingError):
        ClaimPath(text)


CLAIMS: dict[str, Any] = {
    "a": {"b": "inner", "list": ["x", "y"], "none": None},
    "a.b": "one name",
    "objects": [{"name": "p"}, {"other": 1}, {"name": "q"}, 7],
    "matrix": [["m"], ["n"]],
    "empty": [],
    "gone": None,
    "text": "",
    "Team": "East",
}


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("a.b", ("inner",)),
        ('["a.b"]', ("one name",)),
        ("a.list[1]", ("y",)),
        ("a.list", ("x", "y")),
        ("a.list[*]", ("x", "y")),
        ("objects[*].name", ("p", "q")),
        ("matrix[*]", ("m", "n")),
        ("matrix[1]", ("n",)),
    ],
)
def test_a_path_leads_to_values(path: str, values: tuple[str, ...]) -> None:
    assert mapped_by(rule("groups", path), claims=CLAIMS).attributes.groups == values


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("team", "no 'team' in the token; there is 'Team'"),
        ("x", "no 'x' in the token"),
        ("x.y", "no 'x' in the token"),
        ("gone", "'gone' is null"),
        ("a.none", "'none' is null"),
        ("a.x", "no 'x' below step 1 of the path"),
        ("Team.x", "no object below step 1 of the path"),
        ("a.list[7]", "the list has 2 elements"),
        ("a[0]", "no list below step 1 of the path"),
        ("empty", "the list is empty"),
        ("empty[0]", "the list is empty"),
        ("empty[*]", "the list is empty"),
        ("text", "it is an empty text"),
        ("objects[*].x", "no object with the name 'x' below step 2 of the path"),
    ],
)
def test_a_missing_claim_is_skipped_and_the_report_says_why(path: str, why: str) -> None:
    mapped = mapped_by(rule("team", path), claims=CLAIMS)

    assert mapped.can_open
    assert (mapped.trace[0].result, mapped.trace[0].detail) == (RuleResult.MISSING, why)


def test_a_name_with_a_dot_that_was_not_quoted_is_told() -> None:
    mapped = mapped_by(rule("team", "acme.team"), claims={"acme.team": "East"})

    assert mapped.trace[0].detail == 'the token has one claim of this very name: write it as ["acme.team"]'


def test_the_first_claim_that_a_token_has_counts() -> None:
    both = {"org": "Acme", "companyName": "Acme Corp"}

    assert mapped_by(rule("company", "companyName", "org"), claims=both).attributes.company == "Acme Corp"
    assert mapped_by(rule("company", "companyName", "org"), claims={"org": "Acme"}).attributes.company == "Acme"


def test_the_first_rule_gives_a_text_and_every_rule_a_list() -> None:
    mapped = mapped_by(
        rule("team", "a"), rule("team", "b"), rule("groups", "a"), rule("groups", "b"), claims={"a": "1", "b": "2"}
    )

    assert (mapped.attributes.team, mapped.attributes.groups) == ("1", ("1", "2"))
    assert mapped.trace[1].result is RuleResult.LATER


def test_a_list_gives_a_text_its_first_element() -> None:
    mapped = mapped_by(rule("team", "groups"), claims={"groups": ["East", "*", "West"]})

    assert (mapped.attributes.team, mapped.trace[0].detail) == ("East", "the first of 3")


# ---- transforms


@pytest.mark.parametrize(
    ("claim", "transforms", "values"),
    [
        ("Ab", [transform("lower")], ("ab",)),
        ("straße", [transform("upper")], ("STRASSE",)),
        ("\u00a0 a \u3000", [transform("trim")], ("a",)),
        ("a,b,,c", [transform("split", ",")], ("a", "b", "c")),
        ("a, b", [transform("split", ","), transform("trim")], ("a", "b")),
        (["b", "a"], [transform("first")], ("b",)),
        (["a", "b"], [transform("join", "/")], ("a/b",)),
        (["a", "b"], [transform("prefix", "x-")], ("x-a", "x-b")),
        (["x-a", "b"], [transform("strip_prefix", "x-")], ("a",)),
        (["analysts", "other"], [transform("map", {"analysts": "analyst"})], ("analyst", "other")),
        (["app-a", "app-b", "c"], [transform("regex", ClaimRegex("app-(.+)"))], ("a", "b")),
        (["app-a", "xapp-b"], [transform("regex", ClaimRegex("app-.+"))], ("app-a",)),
        (["a:1", "b:2"], [transform("regex", ClaimRegex("(.+):(.+)", 2))], ("1", "2")),
        (["a:1"], [transform("regex", ClaimRegex("(?P<x>.+):(?P<y>.+)", "y"))], ("1",)),
        (["a"], [transform("regex", ClaimRegex("(x)?a"))], ()),
        (None, [transform("default", "guest")], ("guest",)),
        ("a", [transform("default", "guest")], ("a",)),
        ("x", [transform("strip_prefix", "y"), transform("default", "guest")], ("guest",)),
        ("CN=Staff,OU=Groups", [transform("regex", ClaimRegex("CN=([^,]+),.*")), transform("lower")], ("staff",)),
    ],
)
def test_a_transform_makes_of_texts(claim: Any, transforms: list[ClaimTransform], values: tuple[str, ...]) -> None:
    mapped = mapped_by(rule("groups", "claim", transforms=tuple(transforms)), claims={"claim": claim})

    assert mapped.attributes.groups == values
    assert mapped.can_open


def test_transforms_that_leave_nothing_are_told() -> None:
    mapped = mapped_by(rule("team", "claim", transforms=(transform("trim"),)), claims={"claim": "  "})

    assert mapped.trace[0].result is RuleResult.EMPTY
    assert mapped.attributes.team is None


@pytest.mark.parametrize(
    "made",
    [
        lambda: transform("split"),
        lambda: transform("split", ""),
        lambda: transform("lower", "x"),
        lambda: transform("map"),
        lambda: transform("map", {"a": ""}),
        lambda: transform("map", {str(n): "x" for n in range(257)}),
        lambda: transform("regex"),
        lambda: transform("prefix", "x" * 257),
        lambda: transform("prefix", "\u202e"),
        lambda: ClaimRegex(""),
        lambda: ClaimRegex("("),
        lambda: ClaimRegex("(?=a)"),
        lambda: ClaimRegex(r"(a)\1"),
        lambda: ClaimRegex("a" * 513),
        lambda: ClaimRegex("((a{100}){100}){100}"),
        lambda: ClaimRegex("(a{90}){90}\\pL{90}"),
        lambda: ClaimRegex("a\ud800"),
        lambda: ClaimRegex("(a)", 2),
        lambda: ClaimRegex("(a)", -1),
        lambda: ClaimRegex("(?P<x>a)", "y"),
        lambda: rule("compny", "a"),
        lambda: rule("issuers", "a"),
        lambda: rule("team"),
        lambda: rule("team", *"abcdefghi"),
        lambda: rule("team", "a", transforms=(transform("trim"),) * 9),
        lambda: ProviderMapping(id="a", rules=()),
        lambda: ProviderMapping(id="a", rules=(NAME,) * 65),
        lambda: ProviderMapping(id="a", rules=(rule("subject", "sub"),)),
        lambda: ProviderMapping(id="", rules=(NAME,)),
        lambda: ProviderMapping(id="a", rules=(rule("team", "a", transforms=(transform("regex", LARGE),) * 8),) * 8),
        lambda: RoleFilter(allowed=tuple(map(str, range(257)))),
        lambda: LoginDemands(token_age_minutes_max=0),
        lambda: RoleFilter(allowed=("analyst",), names={"analysts": "analyst"}),
        lambda: RoleFilter(forbidden=("root",), names={"Root": "admin"}),
        lambda: ClaimCondition(claim=ClaimPath("a"), comparison=ClaimComparison.EQUALS),
        lambda: ClaimCondition(claim=ClaimPath("a"), comparison=ClaimComparison.MATCHES),
        lambda: ClaimCondition(claim=ClaimPath("a"), comparison=ClaimComparison.PRESENT, values=("x",)),
    ],
)
def test_a_part_of_a_mapping_that_cannot_be_meant_is_refused(made: Any) -> None:
    with pytest.raises(ClaimsMappingError):
        made()


# ---- conditions


def holds(comparison: str, operand: Any, **claims: Any) -> bool:
    given: dict[str, Any] = {"regex": operand} if isinstance(operand, ClaimRegex) else {"values": operand}
    if comparison == "present":
        given = {"is_present": operand}
    condition = ClaimCondition(claim=ClaimPath("hd"), comparison=ClaimComparison(comparison), **given)
    mapped = mapped_by(rule("team", "team", when=(condition,)), claims={"team": "East", **claims})
    assert mapped.trace[0].result is (RuleResult.MAPPED if mapped.attributes.team else RuleResult.UNMET)
    return mapped.attributes.team == "East"


@pytest.mark.parametrize(
    ("comparison", "operand", "value", "does_hold"),
    [
        ("equals", ("acme.example",), "acme.example", True),
        ("equals", ("acme.example",), "ACME.example", False),
        ("equals", ("a", "b"), "b", True),
        ("equals", ("a",), ["x", "a"], True),
        ("equals", (True,), True, True),
        ("equals", (True,), "true", False),
        ("equals", (True,), 1, False),
        ("equals", (1,), 1, True),
        ("equals", (1,), 1.5, False),
        ("equals", ("a",), {"a": 1}, False),
        ("not_equals", ("guest",), "staff", True),
        ("not_equals", ("guest",), "guest", False),
        ("not_equals", ("guest",), "GUEST", False),
        ("not_equals", ("guest",), "gu\u200best", False),
        ("not_equals", ("guest",), "\uff47uest", False),
        ("not_equals", ("guest",), " guest ", False),
        ("not_equals", ("guest",), ["staff", "Guest"], False),
        ("not_equals", ("guest",), ["staff", "team"], True),
        ("not_equals", ("true",), True, False),
        ("not_equals", (5,), "5", False),
        ("not_equals", ("guest",), {"x": 1}, False),
        ("not_equals", ("guest",), 1.5, False),
        ("not_equals", ("guest",), "x" * 5000, False),
        ("not_equals", ("guest",), "e" + "\u0301" * 40, False),
        ("not_equals", ("guest",), 2**64, True),
        ("matches", ClaimRegex(r".*\.acme\.example"), "a.acme.example", True),
        ("matches", ClaimRegex("acme"), "xacme", False),
        ("matches", ClaimRegex("acme"), ["x", "acme"], True),
        ("matches", ClaimRegex(".*"), "\ud800", False),
        ("matches", ClaimRegex(".*"), 5, False),
        ("present", True, "x", True),
        ("present", True, [], False),
        ("present", False, "x", False),
    ],
)
def test_a_condition_holds_or_not(comparison: str, operand: Any, value: Any, does_hold: bool) -> None:
    assert holds(comparison, operand, hd=value) is does_hold


@pytest.mark.parametrize("comparison", ["equals", "not_equals", "matches", "present"])
@pytest.mark.parametrize("claims", [{}, {"hd": None}])
def test_no_condition_on_a_missing_claim_holds_but_its_absence(comparison: str, claims: dict[str, Any]) -> None:
    operand: Any = {"matches": ClaimRegex(".*"), "present": True}.get(comparison, ("x",))

    assert not holds(comparison, operand, **claims)
    assert holds("present", False, **claims)


def test_all_conditions_must_hold() -> None:
    both = tuple(
        ClaimCondition(claim=ClaimPath(name), comparison=ClaimComparison.EQUALS, values=(True,)) for name in ("a", "b")
    )
    ruled = rule("team", "team", when=both)

    assert mapped_by(ruled, claims={"team": "East", "a": True, "b": True}).attributes.team == "East"
    unmet = mapped_by(ruled, claims={"team": "East", "a": True, "b": False})
    assert (unmet.trace[0].result, unmet.trace[0].detail) == (RuleResult.UNMET, "`b` does not meet `equals`")
    assert unmet.trace[0].values == ()


# ---- roles


@pytest.mark.parametrize(
    ("roles", "given", "passed"),
    [
        (RoleFilter(), ["any", "b"], ("any", "b")),
        (RoleFilter(allowed=()), ["any"], ()),
        (RoleFilter(allowed=("analyst",)), ["Analyst", "analyst"], ("analyst",)),
        (RoleFilter(allowed=("analyst",), is_case_sensitive=False), ["ANALYST", "Analyst"], ("analyst",)),
        (
            RoleFilter(allowed=("analyst",), is_case_sensitive=False),
            ["analy\u017ft", "analyst\u200d"[:7]],
            ("analyst",),
        ),
        (RoleFilter(allowed=("größe",), is_case_sensitive=False), ["GRÖSSE", "GRÖßE"], ("größe",)),
        (RoleFilter(allowed=("analysts",), names={"analysts": "analyst"}), ["analysts", "analyst"], ("analyst",)),
        (RoleFilter(names={"admins": "admin"}), ["admins", "other"], ("admin", "other")),
        (RoleFilter(forbidden=("root",)), ["ROOT", "\uff52oot", "roots"], ("roots",)),
    ],
)
def test_roles_pass_a_filter(roles: RoleFilter, given: list[str], passed: tuple[str, ...]) -> None:
    mapped = mapped_by(rule("roles", "r"), roles=roles, claims={"r": given})

    assert mapped.attributes.roles == passed
    assert set(mapped.trace[0].dropped) <= set(given)
