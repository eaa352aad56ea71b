"""Rules of gitleaks in TOML: `[[rules]]` with `id` and `regex`, in Go's syntax, which is RE2's.

A catalogue matches patterns alone. So the entropy, the allow lists, the keywords and the path of a rule are not
honoured, and each rule that has one of them is told: it finds more here than it does there.
"""

from __future__ import annotations

import tomllib
from typing import Any

import re2

from macaw.verifiers.importing.imported import ImportedRules, RuleCollector, RuleFileError

FORM = "gitleaks"
_LINE = re2.compile(r"at line ([0-9]+)")
_ALLOWED = ("allowlist", "allowlists")


def read_gitleaks(text: str) -> ImportedRules:
    """Return the rules of a file. Raises RuleFileError."""
    try:
        read = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        place = _LINE.search(str(exc).encode("utf-8", "replace").decode())
        line = text.count("\n") + 1 if place is None else int(place.group(1))  # none where the end comes too early
        raise RuleFileError(f"the file is not TOML: {exc}", line) from exc
    except (RecursionError, ValueError) as exc:  # nested arrays, a number of thousands of digits, half a surrogate pair
        raise RuleFileError("the file is not TOML: a value is nested too deeply, or cannot be read") from exc
    rules = read.get("rules")
    if not isinstance(rules, list) or not rules:
        raise RuleFileError("the file has no `[[rules]]`")
    found, lines = RuleCollector(FORM), _lines_of(text)
    for number, rule in enumerate(rules, 1):
        found.count()
        _take(found, lines, number, rule)
    if "extend" in read:
        found.alter("[extend]", "other files that it extends are not read")
    if any(name in read for name in _ALLOWED):
        found.alter("[allowlist]", "the allow list of the whole file is not honoured")
    return found.imported()


def _take(found: RuleCollector, lines: list[int], number: int, rule: Any) -> None:
    """Take one rule. Raises RuleFileError for one that is not in the form of gitleaks."""
    line = lines[number - 1] if number <= len(lines) else None
    rule_id = rule.get("id") if isinstance(rule, dict) else None
    if not isinstance(rule_id, str) or not rule_id:
        raise RuleFileError(f"rule {number} has no `id`", line)
    pattern = rule.get("regex")
    if pattern is None and "path" in rule:
        found.leave_out(rule_id, "it looks at the path of a file alone")
        return
    if not isinstance(pattern, str) or not pattern:
        raise RuleFileError(f"rule {rule_id[:40]}: `regex` must be a text", line)
    for why in _unhonoured(rule, pattern):
        found.alter(rule_id, why)
    found.take(rule_id, rule_id, pattern)


def _unhonoured(rule: dict[str, Any], pattern: str) -> list[str]:
    """Return the parts of a rule that narrow it, and are not honoured."""
    told = []
    if "entropy" in rule:
        told.append("its entropy is not honoured")
    if any(name in rule for name in _ALLOWED):
        told.append("its allow list is not honoured")
    if "path" in rule:
        told.append("its path is not honoured")
    keywords = rule.get("keywords")
    lowered = pattern.lower()
    if isinstance(keywords, list) and not any(isinstance(one, str) and one.lower() in lowered for one in keywords):
        told.append("its keywords are not honoured")
    return told


def _lines_of(text: str) -> list[int]:
    """Return the line of each `[[rules]]`."""
    return [line for line, one in enumerate(text.split("\n"), 1) if one.strip().startswith("[[rules]]")]
