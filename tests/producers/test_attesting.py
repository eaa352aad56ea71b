"""What tools declare that they attest, and what a running call may say."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from producers.tools import ToolDeclarationError, collect_tools, tool
from producers.tools.attesting import AttestationError, CallAttestations, Terms, attesting, context
from schemas import limits


def declared(**marks: Any) -> Any:
    @tool(**marks)
    def step(prompt: str, more: dict[str, str] | None = None) -> None:
        """Do nothing."""

    [found] = collect_tools(step)
    return found


def test_a_declaration_lists_what_may_be_said_and_what_is_said_for_it() -> None:
    """Keys said automatically need not be listed twice."""
    found = declared(
        attests=("checked", "step.*"), auto_attest={"checked": {}, "mailed": {"one_time": True}}, prompts="prompt"
    )

    assert found.attests == ("checked", "step.*", "mailed")
    assert found.auto_attest["mailed"] == Terms(one_time=True)
    assert found.prompts == ("prompt",)
    assert declared(prompts=("more.text", "more[0]")).prompts == ("more.text", "more[0]")


@pytest.mark.parametrize(
    ("marks", "named"),
    [
        ({"attests": ("phishing_resistant",)}, "phishing_resistant"),
        ({"attests": ("macaw.root",)}, "macaw.root"),
        ({"attests": ("",)}, "attestation key"),
        ({"attests": ("a\n",)}, "attestation key"),
        ({"auto_attest": {"deny": {}}}, "attestation key"),
        ({"auto_attest": {"a b::c": {}}}, "attestation key"),
        ({"auto_attest": {"k": {"colour": 1}}}, "colour"),
        ({"auto_attest": {"k": {"max_uses": 0}}}, "max_uses"),
        ({"auto_attest": {"k": {"max_uses": True}}}, "max_uses"),
        ({"auto_attest": {"k": {"max_uses": 2, "one_time": True}}}, "max_uses"),
        ({"auto_attest": {"k": {"ttl_seconds": 0}}}, "life"),
        ({"auto_attest": {"k": {"ttl_seconds": float("inf")}}}, "life"),
        ({"auto_attest": {"k": {"value": {1, 2}}}}, "not JSON"),
        ({"auto_attest": {"k": {"value": "x" * limits.ATTESTATION_VALUE_BYTES_MAX}}}, "more than 4096 bytes"),
        ({"auto_attest": {f"k{n}": {} for n in range(limits.ATTESTATIONS_PER_REPORT_MAX + 1)}}, "at most 16"),
        ({"prompts": ("absent",)}, "absent"),
    ],
)
def test_a_declaration_that_the_log_would_refuse_is_named_at_once(marks: dict[str, Any], named: str) -> None:
    """The author hears it when the tool is loaded, not the caller when it runs."""
    with pytest.raises(ToolDeclarationError, match=named):
        declared(**marks)


def test_only_a_running_call_attests() -> None:
    """Elsewhere, a thread of the tool's own included, there is nobody to speak for."""
    with pytest.raises(LookupError, match="no tool call"):
        context.attestations.set("checked", True)
    raised: list[Exception] = []

    def elsewhere() -> None:
        try:
            context.attestations.set("checked", True)
        except LookupError as exc:
            raised.append(exc)

    with attesting(CallAttestations(("checked",))):
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert len(raised) == 1


def test_what_is_said_again_replaces_what_was_said() -> None:
    """Also what is said automatically."""
    said = CallAttestations(("checked", "step.*"), {"checked": Terms().attestation("checked")})
    with attesting(said):
        context.attestations.set("checked", [1], one_time=True)
        context.attestations.set("step.2", None, max_uses=3, time_to_live=1.5)

    one, other = said.said.values()
    assert (one.key, one.value, one.one_time, one.max_uses, one.ttl_ms) == ("checked", "[1]", True, None, None)
    assert (other.key, other.value, other.one_time, other.max_uses, other.ttl_ms) == ("step.2", "null", False, 3, 1500)


@pytest.mark.parametrize(
    "say",
    [
        lambda: context.attestations.set("other", True),
        lambda: context.attestations.set("checked", object()),
        lambda: context.attestations.set("checked", True, max_uses=0),
        lambda: [context.attestations.set(f"step.{n}", n) for n in range(17)],
    ],
)
def test_what_the_log_would_refuse_is_refused_where_it_is_said(say: Callable[[], object]) -> None:
    """The tool's own function gets the error."""
    with attesting(CallAttestations(("checked", "step.*"))), pytest.raises(AttestationError):
        say()
