"""The JSON schemas of a host: parameters and results that do not fit are told, whatever the monitor let through."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from processors.content.parameter_schemas import compiled
from producers.tools.admission import AdmittedCall
from producers.tools.declared_schemas import TOO_LARGE, DeclaredSchemas, OperationSchemas
from producers.tools.execution import Ended, failed
from schemas import codec, topics
from schemas.events.bodies import BodyReference
from schemas.records import Decision
from tests.world import Office

PARAMETERS = {
    "type": "object",
    "properties": {"amount": {"type": "number", "maximum": 1000}},
    "required": ["amount"],
    "additionalProperties": False,
}
RESULT = {"type": "object", "properties": {"paid": {"type": "number"}}, "required": ["paid"]}


@pytest.fixture(scope="module")
def call() -> AdmittedCall:
    [output] = Office.opened("schemas").call().of(topics.DECISIONS)
    return AdmittedCall(codec.decode_as(Decision, output.value or b""), b"leaf", {"amount": 1}, "bot")


@pytest.fixture(scope="module")
def schemas() -> DeclaredSchemas:
    pair = OperationSchemas(*(compiled(json.dumps(one)) for one in (PARAMETERS, RESULT)))
    return DeclaredSchemas({"tool:calc/run": pair})


def problems(ended: Ended | None, error: str) -> Any:
    assert ended is not None
    body = json.loads(ended.body)
    assert (ended.outcome, body["error"]) == ("failed", error)
    return body["problems"]


def test_parameters_that_fit_are_executed(call: AdmittedCall, schemas: DeclaredSchemas) -> None:
    assert schemas.refusal(call) is None


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({"amount": 5000}, [{"at": "/amount", "why": "maximum"}]),
        ({}, [{"at": "", "why": "required"}]),
        ({"amount": 1, "thief": 1}, [{"at": "", "why": "additionalProperties"}]),
    ],
)
def test_a_fault_is_told_with_its_place_and_never_its_value(
    call: AdmittedCall, schemas: DeclaredSchemas, parameters: Any, found: Any
) -> None:
    assert problems(schemas.refusal(replace(call, parameters=parameters)), "PARAMETERS_INVALID") == found


def test_an_operation_without_a_schema_is_not_compared(call: AdmittedCall, schemas: DeclaredSchemas) -> None:
    other = replace(call, decision=replace(call.decision, resource="tool:calc/walk"), parameters={})

    assert schemas.refusal(other) is None
    assert schemas.checked(other, Ended("ok", "[]")) == Ended("ok", "[]")


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ('{"paid":1}', None),
        ('{"paid":"1"}', [{"at": "/paid", "why": "type"}]),
        ("null", [{"at": "", "why": "type"}]),
        ('{"$unwritten":"bytes","at":"","why":"it has no JSON form"}', [{"at": "", "why": "required"}]),
        (f"[{'0,' * 1_000_000}0]", [{"at": "", "why": TOO_LARGE}]),
    ],
)
def test_a_result_that_does_not_fit_is_not_passed_on(
    call: AdmittedCall, schemas: DeclaredSchemas, body: str, found: Any
) -> None:
    ended = Ended("ok", body)
    checked = schemas.checked(call, ended)

    if found is None:
        assert checked is ended
    else:
        assert problems(checked, "RESULT_INVALID") == found


@pytest.mark.parametrize(
    "ended",
    [
        failed("it broke"),
        Ended("unknown", "{}"),
        Ended("ok", "null", stream=BodyReference(digest=bytes(32), size=0, chunks=0)),
    ],
)
def test_only_results_are_compared(call: AdmittedCall, schemas: DeclaredSchemas, ended: Ended) -> None:
    assert schemas.checked(call, ended) is ended


def test_work_without_bound_is_refused(call: AdmittedCall) -> None:
    class Dear:
        def units(self, value: Any) -> int:
            return 10**12

        def faults(self, value: Any) -> Any:
            pytest.fail("judged")

    schemas = DeclaredSchemas({"tool:calc/run": OperationSchemas(Dear(), Dear())})

    assert problems(schemas.refusal(call), "PARAMETERS_INVALID") == [{"at": "", "why": TOO_LARGE}]
    assert problems(schemas.checked(call, Ended("ok", "1")), "RESULT_INVALID") == [{"at": "", "why": TOO_LARGE}]
