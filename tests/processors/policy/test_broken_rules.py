"""A rule that breaks, or would cost too much, denies in the name of its document, at whichever stage it is asked."""

import json
from typing import Any, NoReturn

import pytest

from processors.policy import limits
from processors.policy.call import Circumstances
from processors.policy.decide import decide, index_policies
from processors.policy.documents import parse_policy
from processors.policy.evaluation import Lookups, Record
from processors.policy.resolve import Subject
from processors.policy.verdict import Verdict
from schemas.words import Stage
from tests.processors.policy.written import policies_of

EVE = Subject(user="eve")
GRANT = {"policy_id": "user:eve", "resources": ["**"]}
LONG = "a" * (limits.WORK_UNITS_MAX * 6 // 10)
HALF = "\ud800"  # of a pair: not to be encoded. What reads parameters refuses it


class Faulty:
    """Attestations that cannot be read, as if a row were damaged."""

    def records(self, key: str) -> list[Record]:
        raise KeyError(key)

    def approvals(self, key: str) -> NoReturn:
        raise KeyError(key)

    def open_requests(self) -> int:
        return 0


def damaged(key: bytes) -> NoReturn:
    raise KeyError(key)


FAULTY = Lookups(cells=damaged, attestations=Faulty())


def judged(rule: dict[str, Any], parameters: dict[str, Any]) -> tuple[Verdict, bytes]:
    """Return the verdict on a call and the digest of the document of the rule, which grants nothing itself."""
    document = {"policy_id": "org:rule", **rule}
    digest = parse_policy(json.dumps(document).encode(), organisation=True).digest
    return decide(
        index_policies(policies_of([GRANT, document])), EVE, "tool:x", parameters, Circumstances(tables=FAULTY)
    ), digest


TWICE = {"id": "r", "when": "tool:x", "after": {"resource": "tool:y", "same": [["s", "s"], ["s", "s"]]}}
COUNTED = {"id": "r", "when": "tool:x", "at_most": 1, "per": "session"}


@pytest.mark.parametrize(
    ("rule", "value", "stage", "reason"),
    [
        ({"constraints": {"parameters": {"**": {"s": {"pattern": "a|b"}}}}}, LONG, Stage.PARAMETERS, "LIMIT_EXCEEDED"),
        ({"constraints": {"parameters": {"**": {"s": {"pattern": "a|b"}}}}}, HALF, Stage.PARAMETERS, "INTERNAL_ERROR"),
        (
            {"constraints": {"denied_parameters": {"**": {"s": ["*x*", "*y*"]}}}},
            LONG,
            Stage.DENIED_PARAMETERS,
            "LIMIT_EXCEEDED",
        ),
        ({"attestations": ["deny::{s MATCHES /(b|c)*/}"]}, LONG, Stage.CONDITIONS, "LIMIT_EXCEEDED"),
        ({"attestations": ["deny::{s MATCHES /(b|c)*/}"]}, HALF, Stage.CONDITIONS, "INTERNAL_ERROR"),
        ({"sequence": [TWICE]}, LONG, Stage.SEQUENCE, "LIMIT_EXCEEDED"),
        ({"sequence": [COUNTED]}, "", Stage.SEQUENCE, "INTERNAL_ERROR"),
        ({"attestations": ["k::{s MATCHES /(b|c)*/}"]}, LONG, Stage.ATTESTATIONS, "LIMIT_EXCEEDED"),
        ({"attestations": ["k"]}, "", Stage.ATTESTATIONS, "INTERNAL_ERROR"),
    ],
)
def test_a_rule_that_cannot_be_asked_denies_in_its_own_name(
    rule: dict[str, Any], value: str, stage: Stage, reason: str
) -> None:
    """Never is it taken for one that has nothing to say; the parameter's value is not in the verdict."""
    verdict, digest = judged(rule, {"s": value})

    assert (verdict.outcome, verdict.reason, verdict.stage) == ("denied", reason, stage)
    assert verdict.deciding == digest
    assert verdict.effects == ((),) * 5
    assert len(verdict.detail) < 100


def test_a_value_that_cannot_be_written_down_is_equal_to_nothing() -> None:
    """It is none of those that are allowed, and may be one of those that are denied."""
    allowed, denied = ({"constraints": {kind: {"**": {"s": [[1]]}}}} for kind in ("parameters", "denied_parameters"))

    assert judged(allowed, {"s": [HALF]})[0].reason == "PARAM_NOT_ALLOWED"
    assert judged(denied, {"s": [HALF]})[0].reason == "PARAM_DENIED"
