"""Hostile spellings are read alike by the engine and by the reference, which was written apart (ADR 0016)."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from processors.policy.errors import ResourceInvalidError
from processors.policy.patterns import grants, grants_a_spelling, resource_name, restricts
from tests.processors.policy.test_parameters import reason
from tests.processors.policy.test_spellings import PIECES
from tests.reference import mapl
from tests.reference.mapl import names

ITEMS = ["/etc/*", "*/passwd", "a\\b*", "files/?/x", "*etc*", "%2e*", "/", "*\u2215*", "//*"]
MEMBERS = ["files/*", "files/**", "*a*", "C:\\*", "*:*", "**/x.txt", "a\\**", "\u00e9*"]
PATTERNS = ["data:*", "data:**", "data:etc/*", "DATA:a/*", "*passwd", "data:a*"]


def theirs(constraints: dict[str, Any], value: str) -> str:
    """Return what the reference says of a parameter."""
    document = {"policy_id": "user:eve", "resources": ["**"], "constraints": constraints}
    world = mapl.World({"user:eve": json.dumps(document)}, {"eve": {"user": "eve"}})
    told: str = mapl.evaluate(world, mapl.Call("tool:x", 0, ["eve"], json.dumps({"v": value}))).reason
    return told


@given(PIECES, st.sampled_from(ITEMS))
def test_denied_texts(value: str, item: str) -> None:
    """Items with and without slashes."""
    constraints = {"denied_parameters": {"**": {"v": [item]}}}
    assert reason(constraints, {"v": value}) == theirs(constraints, value)


@given(st.sampled_from(["", "files/", "C:\\"]), PIECES, st.sampled_from(MEMBERS))
def test_allowed_texts(start: str, rest: str, member: str) -> None:
    """Members with stars, after a beginning that some of them have.

    The page speaks of no tenant's mark in values, and of no colon that begins a path.
    """
    constraints = {"parameters": {"**": {"v": [member]}}}
    if not {"@", ":"} & set(rest):
        assert reason(constraints, {"v": start + rest}) == theirs(constraints, start + rest)


@given(PIECES, st.sampled_from(PATTERNS))
def test_names_and_patterns(rest: str, pattern: str) -> None:
    """Which names there are, and what meets them in either position and in another spelling."""
    if ":" in rest:  # a colon that begins a path is only the engine's (test_edges.py)
        return
    try:
        theirs = names.name_of(f"data:{rest}")
    except names.InvalidResourceError:
        theirs = ""
    try:
        ours = resource_name(f"data:{rest}")
    except ResourceInvalidError:
        assert theirs == ""
        return
    assert ours.text == theirs
    assert (grants(pattern, ours), restricts(pattern, ours), grants_a_spelling(pattern, ours)) == (
        names.grants(pattern, theirs),
        names.restricts(pattern, theirs),
        names.grants_a_spelling(pattern, theirs),
    )
