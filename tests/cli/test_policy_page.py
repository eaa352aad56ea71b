"""`docs/policy.md` and `docs/policy.schema.json`: every example runs, and the schema takes what the log takes."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from macaw.cli import main
from macaw.policies.schema import page, schema
from processors.policy.documents import parse_policy
from processors.policy.errors import PolicyError

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "policy.md").read_text("utf-8")
VECTORS = ROOT / "tests" / "vectors" / "mapl"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_every_example_of_the_page_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its documents could be published together without a warning, and its cases pass under them."""
    policies = tmp_path / "policies"
    policies.mkdir()
    for at, text in enumerate(blocks("json")):
        (policies / f"{at}.json").write_text(text)
    (tmp_path / "cases.jsonl").write_text("".join(blocks("jsonl")))

    assert main(["policy", "validate", str(policies), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["findings"] == []
    status = main(["policy", "test", str(tmp_path / "cases.jsonl"), "--policies", str(policies), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert [one for one in told["results"] if not one["passed"]] == []
    assert status == 0
    assert told["cases"] >= 15


def test_the_schema_is_the_one_that_the_engine_makes() -> None:
    """`python -m macaw.policies.schema` was run after the bounds changed."""
    assert (ROOT / "docs" / "policy.schema.json").read_text("utf-8") == page()


def offered() -> list[Any]:
    """Return every document of the case files that stands there as JSON."""
    found: list[Any] = []
    for path in sorted(VECTORS.glob("*.jsonl")):
        for line in map(json.loads, filter(str.strip, path.read_text("utf-8").splitlines())):
            found += line.get("policies", [])
            publish = line.get("publish", [])
            found += publish if isinstance(publish, list) else [publish]
    return found


def test_the_schema_takes_what_the_log_takes() -> None:
    """No document that could be published is marked by an editor; some that could not be are."""
    taken, refused = [], []
    for document in offered():
        try:
            parse_policy(json.dumps(document).encode(), organisation=True)
        except (PolicyError, UnicodeEncodeError):
            refused.append(document)
        else:
            taken.append(document)

    assert len(taken) > 100
    assert [one for one in taken if not meets(one, schema())] == []
    assert sum(not meets(one, schema()) for one in refused) > len(refused) // 3


def places() -> list[tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]]:
    """Return each kind of object in a policy: where its schema stands, and a document with such an object in it."""
    parameter = lambda one: {"constraints": {"parameters": {"tool:a/b": {"x": one}}}}  # noqa: E731
    return [
        ("", lambda one: one),
        ("validity", lambda one: {"validity": one}),
        ("constraints", lambda one: {"constraints": one}),
        ("$spec", parameter),
        ("$meta", lambda one: {"constraints": {"attestations": {"k": one}}}),
        ("$rule", lambda one: {"sequence": [{"id": "a", "when": "tool:a/b", **one}]}),
    ]


def members_at(where: str) -> set[str]:
    """Return the members that the schema offers there."""
    found = schema()
    if where.startswith("$"):
        found = found["$defs"][where[1:]]
    elif where:
        found = found["properties"][where]
    found = next((part for part in found.get("anyOf", []) if "properties" in part), found)
    return set(found["properties"])


@pytest.mark.parametrize(("where", "put"), places())
def test_the_schema_offers_no_member_that_the_log_does_not_know(
    where: str, put: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """The parser and the schema are written apart, so each name is held against the parser."""

    def code(member: str) -> str:
        with pytest.raises(PolicyError) as raised:
            parse_policy(json.dumps({"policy_id": "role:a", **put({member: None})}).encode(), organisation=True)
        return raised.value.code

    assert members_at(where)
    assert {member: code(member) for member in members_at(where) if code(member) == "E_UNKNOWN_FIELD"} == {}
    assert code("unheard_of") == "E_UNKNOWN_FIELD"


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"policy_id": "a", "resource": ["**"]},
        {"policy_id": "a", "resources": None},
        {"policy_id": "a", "constraints": {"rate_limit": 0}},
        {"policy_id": "a", "constraints": {"rate_limit": "10"}},
        {"policy_id": "a", "constraints": {"parameters": {"tool:*": {"n": {"maximum": 5}}}}},
        {"policy_id": "a", "attestations": {"k": True}},
        {"policy_id": "a", "sequence": [{"id": "a", "when": "**"}]},
    ],
)
def test_what_an_editor_marks(document: Any) -> None:
    """The usual slips are found while one writes."""
    assert not meets(document, schema())


# ---- as much of JSON Schema as ours uses

TYPES: dict[str, Any] = {"object": dict, "array": list, "string": str, "boolean": bool}


def meets(value: Any, one: dict[str, Any], root: dict[str, Any] | None = None) -> bool:
    """Return whether a value meets a schema."""
    root = root or one
    if "$ref" in one:
        return meets(value, root["$defs"][one["$ref"].rpartition("/")[2]], root)
    unions = (sum(meets(value, part, root) for part in one["anyOf"]) >= 1 if "anyOf" in one else True) and (
        sum(meets(value, part, root) for part in one["oneOf"]) == 1 if "oneOf" in one else True
    )
    named = value in one.get("enum", [value]) and value == one.get("const", value)
    return unions and named and of_type(value, one) and within(value, one, root)


def of_type(value: Any, one: dict[str, Any]) -> bool:
    kind = one.get("type")
    if kind in {"integer", "number"}:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and (kind == "number" or float(value).is_integer())
    return kind is None or isinstance(value, TYPES[kind])


def within(value: Any, one: dict[str, Any], root: dict[str, Any]) -> bool:
    if isinstance(value, dict):
        return members_meet(value, one, root)
    if isinstance(value, list):
        fits = one.get("minItems", 0) <= len(value) <= one.get("maxItems", len(value))
        return fits and all(meets(item, one.get("items", {}), root) for item in value)
    if isinstance(value, str):
        fits = one.get("minLength", 0) <= len(value) <= one.get("maxLength", len(value))
        return fits and re.search(one.get("pattern", ""), value, re.DOTALL) is not None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return bool(one.get("minimum", value) <= value <= one.get("maximum", value))
    return True


def members_meet(value: dict[str, Any], one: dict[str, Any], root: dict[str, Any]) -> bool:
    other, known = one.get("additionalProperties", {}), one.get("properties", {})
    if not set(one.get("required", [])) <= value.keys():
        return False
    if not one.get("minProperties", 0) <= len(value) <= one.get("maxProperties", len(value)):
        return False
    if any(
        name in value and not set(needed) <= value.keys() for name, needed in one.get("dependentRequired", {}).items()
    ):
        return False
    names = one.get("propertyNames", {})
    return all(
        meets(name, names, root)
        and (meets(item, known[name], root) if name in known else other is not False and meets(item, other, root))
        for name, item in value.items()
    )
