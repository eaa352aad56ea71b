"""Rules of ATR (Agent Threat Rules) in JSON: a list of rules, each with conditions that are patterns.

Conditions of one rule count alone (`condition: any`). A rule whose conditions must hold together is left out, as are
drafts, deprecated rules, and conditions on other fields than texts. Patterns are matched without regard to case.
"""

from __future__ import annotations

import json
from typing import Any

import re2

from macaw.verifiers.importing.imported import ImportedRules, RuleCollector, RuleFileError

FORM = "atr"
_TEXTS = frozenset({"content", "user_input", "tool_response", "agent_output", "tool_args", "tool_input"})
_SILENT = frozenset({"draft", "deprecated"})
_CODE_POINT = re2.compile(r"\\u([0-9A-Fa-f]{4})")


def read_atr(text: str) -> ImportedRules:
    """Return the rules of a file. Raises RuleFileError."""
    found = RuleCollector(FORM)
    for number, document in enumerate(_documents(text), 1):
        found.count()
        _take(found, text, number, document)
    return found.imported()


def _documents(text: str) -> list[Any]:
    try:
        read = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except json.JSONDecodeError as exc:
        raise RuleFileError(f"the file is not JSON: {exc.msg}", exc.lineno) from exc
    except RecursionError as exc:
        raise RuleFileError("the file is not a list of rules: it is nested too deeply") from exc
    except RuleFileError:
        raise
    except ValueError as exc:  # a number of thousands of digits
        raise RuleFileError("the file holds a number that is too long") from exc
    if isinstance(read, dict):
        read = read.get("rules", [read])
    if not isinstance(read, list) or not read:
        raise RuleFileError("the file must hold a list of rules, or one rule")
    return read


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise RuleFileError(f"the member {name[:40]!r} stands twice in one object")
        found[name] = value
    return found


def _no_constant(name: str) -> None:
    raise RuleFileError(f"{name} is not a JSON value")


def _take(found: RuleCollector, text: str, number: int, document: Any) -> None:
    """Take the conditions of one rule. Raises RuleFileError for one that is not in ATR's form."""
    rule_id = document.get("id") if isinstance(document, dict) else None
    if not isinstance(rule_id, str) or not rule_id:
        raise RuleFileError(f"rule {number} has no `id`")
    detection = document.get("detection")
    conditions = detection.get("conditions") if isinstance(detection, dict) else None
    if not isinstance(conditions, list) or not conditions:
        raise _fault(text, rule_id, "`detection.conditions` must be a list of conditions")
    status, how = document.get("status", ""), detection.get("condition", "any")
    for name, value in (("status", status), ("detection.condition", how)):
        if not isinstance(value, str):
            raise _fault(text, rule_id, f"`{name}` must be a text")
    if status in _SILENT:
        found.leave_out(rule_id, f"its status is {status}")
        return
    if how != "any" and len(conditions) > 1:
        found.leave_out(rule_id, "its conditions must hold together")
        return
    kind = _kind(text, rule_id, document)
    for at, condition in enumerate(conditions):
        name = rule_id if len(conditions) == 1 else f"{rule_id}/{at}"
        fields = ("field", "operator", "value")
        given = [condition.get(one) for one in fields] if isinstance(condition, dict) else [None]
        if not all(isinstance(one, str) for one in given):
            raise _fault(text, rule_id, f"condition {at} must have the texts `field`, `operator` and `value`")
        _take_condition(found, name, kind, *given)


def _take_condition(found: RuleCollector, name: str, kind: str, field: str, operator: str, value: str) -> None:
    if field not in _TEXTS:
        found.leave_out(name, f"it looks at {field[:40]}, which is not the text of a call or a result")
    elif operator != "regex":
        found.leave_out(name, f"its operator is {operator[:40]}, want regex")
    else:
        found.take(name, kind, f"(?i){_CODE_POINT.sub(_CODE_POINT_TO, _whole(value))}")


_CODE_POINT_TO = r"\\x{\1}"


def _whole(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _kind(text: str, rule_id: str, document: dict[str, Any]) -> str:
    """Return the category of a rule's tags, `atr` where it has none."""
    tags = document.get("tags", {})
    category = tags.get("category", "atr") if isinstance(tags, dict) else None
    if not isinstance(category, str):
        raise _fault(text, rule_id, "`tags` must be an object, and `tags.category` a text")
    return category


def _fault(text: str, rule_id: str, why: str) -> RuleFileError:
    """Return the error of a rule, with the line on which its id first stands, unless it is written with escapes."""
    at = text.find(f'"{rule_id}"')
    return RuleFileError(f"rule {rule_id[:40]}: {why}", None if at < 0 else text.count("\n", 0, at) + 1)
