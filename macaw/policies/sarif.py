"""Findings on policy files as SARIF 2.1.0 (OASIS), for code review: rule ids are the codes of the language."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from macaw.policies.files import REFUSALS, Finding
from macaw.policies.warnings import WARNINGS

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def sarif(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the SARIF log of one run."""
    codes = list(dict.fromkeys(one.code for one in findings))
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "macaw",
                        "version": version("macaw-streams"),
                        "rules": [_rule(code) for code in codes],
                    }
                },
                "results": [_result(one, codes.index(one.code)) for one in findings],
                "columnKind": "unicodeCodePoints",
            }
        ],
    }


def _rule(code: str) -> dict[str, Any]:
    text = REFUSALS.get(code) or WARNINGS.get(code) or code
    return {
        "id": code,
        "shortDescription": {"text": text},
        "defaultConfiguration": {"level": "warning" if code in WARNINGS else "error"},
    }


def _result(one: Finding, rule: int) -> dict[str, Any]:
    location: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": _uri(one.file)},
            "region": {"startLine": one.line, "startColumn": one.column},
        }
    }
    if one.pointer:
        location["logicalLocations"] = [{"fullyQualifiedName": one.pointer, "kind": "member"}]
    return {
        "ruleId": one.code,
        "ruleIndex": rule,
        "level": "error" if one.is_refusal else "warning",
        "message": {"text": f"{one.sentence}: {one.pointer or 'the whole document'}"},
        "locations": [location],
    }


def _uri(file: Path) -> str:
    """Return a URI reference: relative files stay relative, as a review shows them."""
    return file.as_uri() if file.is_absolute() else quote(file.as_posix())
