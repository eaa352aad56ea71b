"""An intent of a program for the original: members that describe are dropped, bare tools are meant by full name too."""

from __future__ import annotations

import pytest

from macaw_client.intents import IntentError, declared_intent


@pytest.mark.parametrize("given", [None, {}, {"purpose": "x", "roots": ["/data"], "provided_capabilities": [{}] * 999}])
def test_an_intent_that_only_describes_narrows_nothing(given: dict[str, object] | None) -> None:
    assert declared_intent(given, "desk") is None


def test_a_bare_tool_is_meant_by_its_full_name_too() -> None:
    """Read literally, each call of the original's own examples would be denied."""
    given = {
        "resources": ["tool:calculator", "tool:other/x", "tool:*"],
        "denied_resources": ["tool:rm"],
        "constraints": {"parameters": {"tool:calculator": {"n": {"max": 3}}}},
    }

    assert declared_intent(given, "desk") == {
        "resources": ["tool:calculator", "tool:desk/calculator", "tool:other/x", "tool:*", "tool:desk/*"],
        "denied_resources": ["tool:rm", "tool:desk/rm"],
        "constraints": {
            "parameters": {"tool:calculator": {"n": {"max": 3}}, "tool:desk/calculator": {"n": {"max": 3}}}
        },
    }
    assert given["resources"] == ["tool:calculator", "tool:other/x", "tool:*"]


@pytest.mark.parametrize(
    "given", [{"allowed_tools": ["a"]}, {"extends": "skill:x"}, {"resources": "tool:x"}, ["tool:x"]]
)
def test_an_intent_that_is_not_understood_is_refused(given: object) -> None:
    """It would narrow less than its author believes."""
    with pytest.raises(IntentError):
        declared_intent(given, "desk")  # type: ignore[arg-type]
