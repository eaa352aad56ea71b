"""A denial that can never match is told by `macaw policy validate` (ADR 0016)."""

import json
from typing import Any

import pytest

from macaw.policies.warnings import warnings_of
from processors.policy.documents import parse_policy


def codes(**members: Any) -> list[str]:
    """Return the codes that a document earns, with the places."""
    document = parse_policy(json.dumps({"policy_id": "role:a", **members}).encode())
    return [f"{one.code} {one.pointer}" for one in warnings_of(document)]


def test_the_reported_document_gets_a_warning_for_each_of_its_four_faults() -> None:
    """Braces, classes, an anchored expression, and case."""
    found = codes(
        resources=["tool:sh/**"],
        denied_resources=["tool:sh/{rm,dd}", "tool:sh/[rd]*"],
        attestations=["deny::{params.cmd MATCHES /rm -rf/}", "deny::{params.cmd MATCHES '*drop table*'}"],
    )
    assert found == [
        "W_ORDINARY /denied_resources/0",
        "W_ORDINARY /denied_resources/1",
        "W_REGEX_ANCHORED /attestations/0",
        "W_MATCHES_CASE /attestations/0",
        "W_MATCHES_CASE /attestations/1",
    ]


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("tool:sh/r?", "W_ORDINARY"),
        ("tool:sh/rm|tool:sh/dd", "W_ORDINARY"),
        ("data:../*", "W_NEVER"),
        ("data:a//b", "W_NEVER"),
        ("data:%2e%2e/*", "W_NEVER"),
        ("data:a%2fb", "W_NEVER"),
        ("data:a\u200bb", ""),  # folded, it is `ab`
        ("data:a\uff0fb", ""),  # folded, it is `a/b`
        ("TOOL:SH/*", ""),
        ("*.pem", ""),
        ("*credential*", ""),
        ("**", ""),
        ("data:**/x", ""),
        ("*:*", ""),
        ("https://*", ""),
        ("@acme/tool:*", ""),
        ("file:C:\\*", ""),
    ],
)
def test_a_pattern_that_meets_no_name(pattern: str, wanted: str) -> None:
    """In every place of a restriction; stars alone are no fault."""
    places: list[tuple[dict[str, Any], str]] = [
        ({"denied_resources": [pattern]}, "/denied_resources/0"),
        ({"constraints": {"denied_parameters": {pattern: {"a": [1]}}}}, "/constraints/denied_parameters/"),
        ({"constraints": {"allowed_parameters": {pattern: ["a"]}}}, "/constraints/allowed_parameters/"),
        ({"constraints": {"parameters": {pattern: {"a": [1]}}}}, "/constraints/parameters/"),
        ({"sequence": [{"id": "r", "when": pattern, "at_most": 1, "per": "user"}]}, "/sequence/0/when"),
    ]
    for members, place in places:
        found = [one for one in codes(**members) if "W_NO_DOMAIN" not in one]
        assert [one.startswith(f"{wanted} {place}") for one in found] == [True] * bool(wanted)


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ("params.c MATCHES /(?is).*rm -rf.*/", []),
        ("params.c MATCHES /(?is:.*rm.*)/", []),
        ("params.c MATCHES /(?i)[\\s\\S]*rm[\\s\\S]*/", []),
        ("params.c MATCHES /(?is).*(rm|dd).*/", []),
        ("params.c MATCHES /(?is).*rm.*|.*dd.*/", []),
        ("params.c MATCHES /(?is).*rm|dd.*/", ["W_REGEX_ANCHORED"]),
        ("params.c MATCHES /(?s).*rm.*/", ["W_MATCHES_CASE"]),
        ("params.c MATCHES /(?i).*rm.*/", ["W_REGEX_LINES"]),
        ("params.c MATCHES /.*[0-9]{16}/", ["W_REGEX_ANCHORED"]),
        ("params.c MATCHES /(?s).*\\d{16}.*/", []),
        ("params.c MATCHES '*4111*'", []),
        ("params.a == 1 AND (params.b == 2 OR params.c MATCHES /rm/)", ["W_REGEX_ANCHORED", "W_MATCHES_CASE"]),
        ("NOT params.c MATCHES /ls|cat/", []),  # an allow list
        ("NOT (NOT params.c MATCHES /ls/)", ["W_REGEX_ANCHORED", "W_MATCHES_CASE"]),
        ("tool.op MATCHES /rm/", []),  # names are written in one way
    ],
)
def test_an_expression_that_does_not_search(condition: str, wanted: list[str]) -> None:
    """Where it would have to come true to protect."""
    for key in ("deny", "approved"):
        assert [one.split()[0] for one in codes(attestations=[f"{key}::{{{condition}}}"])] == wanted


def test_a_choice_in_a_denied_item() -> None:
    """Where a lone bracket is only a bracket."""
    items = ["*{rm,dd}*", "[a-c]*", "*[", "a?c", "{}"]
    assert codes(constraints={"denied_parameters": {"**": {"c": items}}}) == [
        "W_ORDINARY /constraints/denied_parameters/**/c/0",
        "W_ORDINARY /constraints/denied_parameters/**/c/1",
    ]
