"""What the certification scenario of the specification asks of a decision point: Basic, Batch and Discovery.

Its fixture gives a role with the subject. Here the directory says who is what, and it says the same.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from streams.address import address_of
from streams.authzen.api import EVALUATION, EVALUATIONS, METADATA
from tests.decide.asking import Endpoint, decisions, standing_of

SUBJECTS = {"alice": {"roles": ["clerk"]}, "bob": {"roles": ["admin"]}}
POLICIES = [
    {
        "policy_id": "role:clerk",
        "resources": ["record:*/read", "record:*/write", "record:*/delete"],
        "attestations": ["deny::{tool.op == 'write' AND params.status != null AND params.status == 'archived'}"],
        "constraints": {"parameters": {"record:*/delete": {"soft": {"allowed_values": [True], "required": True}}}},
    },
    {
        "policy_id": "role:admin",
        "resources": ["record:*/read", "record:*/write"],
        "constraints": {
            "parameters": {"record:*/write": {"status": {"allowed_values": ["archived"], "required": True}}}
        },
    },
]
ALICE, BOB = {"type": "user", "id": "alice"}, {"type": "user", "id": "bob"}
READ, WRITE = {"name": "read"}, {"name": "write"}
ONE, TWO = {"type": "record", "id": "record-1"}, {"type": "record", "id": "record-2"}
ACTIVE, ARCHIVED = {"properties": {"status": "active"}}, {"properties": {"status": "archived"}}
ADMIN = {"properties": {"role": "admin"}}


@pytest.fixture
def endpoint(tmp_path: Path) -> Endpoint:
    standing = standing_of(tmp_path, POLICIES, SUBJECTS)
    return Endpoint(tmp_path, lambda: standing)


@pytest.mark.parametrize(
    ("subject", "action", "resource", "expected"),
    [
        (ALICE, READ, ONE, True),
        (ALICE, WRITE, ONE, True),
        (BOB, READ, ONE, True),
        (BOB, WRITE, ONE, False),
        (ALICE, WRITE, TWO | ARCHIVED, False),
        (BOB | ADMIN, WRITE, TWO | ARCHIVED, True),
        (ALICE, {"name": "delete", "properties": {"soft": True}}, ONE, True),
        (ALICE, {"name": "delete", "properties": {"soft": False}}, ONE, False),
    ],
)
def test_the_eight_rules_of_the_fixture(
    endpoint: Endpoint, subject: Any, action: Any, resource: Any, expected: bool
) -> None:
    question = {"subject": subject, "action": action, "resource": resource}

    for _ in range(3):  # asking changes nothing
        assert endpoint.ask(question)["decision"] is expected
    assert endpoint.ask(question | {"context": {"time": "2025-06-27T18:03-07:00"}})["decision"] is expected


def test_members_that_the_specification_does_not_know_are_ignored(endpoint: Endpoint) -> None:
    more = {"foo": "bar", "futureField": {"nested": True}}
    assert endpoint.ask({"subject": ALICE, "action": READ, "resource": ONE, **more})["decision"] is True
    subject = ALICE | {"properties": {"department": "Sales", "role": "manager"}, "x": 1}
    action = READ | {"properties": {"method": "GET"}, "x": 1}
    resource = ONE | {"properties": {"status": "active", "owner": "bob"}, "x": 1}
    assert endpoint.ask({"subject": subject, "action": action, "resource": resource})["decision"] is True


@pytest.mark.parametrize("path", [EVALUATION, EVALUATIONS])
@pytest.mark.parametrize(
    ("request_", "member"),
    [
        ({"action": READ, "resource": ONE}, "subject"),
        ({"subject": ALICE, "resource": ONE}, "action"),
        ({"subject": ALICE, "action": READ}, "resource"),
        ({"subject": {"id": "alice"}, "action": READ, "resource": ONE}, "subject.type"),
        ({"subject": {"type": "user"}, "action": READ, "resource": ONE}, "subject.id"),
        ({"subject": ALICE, "action": {}, "resource": ONE}, "action.name"),
        ({"subject": ALICE, "action": READ, "resource": {"id": "record-1"}}, "resource.type"),
        ({"subject": ALICE, "action": READ, "resource": {"type": "record"}}, "resource.id"),
        ({"subject": "alice", "action": READ, "resource": ONE}, "subject"),
        ({"subject": ALICE, "action": {"name": 123}, "resource": ONE}, "action.name"),
        ({"subject": ALICE, "action": READ, "resource": ONE | {"id": None}}, "resource.id"),
        ({"subject": ALICE, "action": READ, "resource": ONE | {"properties": []}}, "resource.properties"),
        ({"subject": ALICE, "action": READ | {"properties": None}, "resource": ONE}, "action.properties"),
        ({"subject": ALICE | {"properties": "x"}, "action": READ, "resource": ONE}, "subject.properties"),
        ({"subject": ALICE, "action": READ, "resource": ONE, "context": 5}, "context"),
    ],
)
def test_what_is_missing_or_of_a_wrong_type_is_named(
    endpoint: Endpoint, path: str, request_: dict[str, Any], member: str
) -> None:
    response = endpoint.send(json.dumps(request_).encode(), path)

    assert response.status_code == 400
    assert response.json()["error"].startswith(f"{member}: ")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b'"x"', b"{} x"])
def test_a_body_that_is_no_json_object(endpoint: Endpoint, text: bytes) -> None:
    for path in (EVALUATION, EVALUATIONS):
        assert endpoint.send(text, path).status_code == 400


def test_a_request_is_answered_under_its_id(endpoint: Endpoint) -> None:
    text = json.dumps({"subject": ALICE, "action": READ, "resource": ONE}).encode()
    headers = [("Authorization", "Bearer " + "a" * 43), ("Content-Type", "application/json; charset=utf-8")]

    assert "x-request-id" not in endpoint.send(text, headers=headers).headers
    named = [*headers, ("X-Request-ID", "bfe9eb29-ab87")]
    assert endpoint.send(text, headers=named).headers["x-request-id"] == "bfe9eb29-ab87"
    assert endpoint.send(b"{", headers=named).headers["x-request-id"] == "bfe9eb29-ab87"


class TestBatch:
    def test_answers_come_in_the_order_of_the_questions(self, endpoint: Endpoint) -> None:
        request = {"subject": BOB, "resource": ONE, "evaluations": [{"action": READ}, {"action": WRITE}]}

        assert decisions(endpoint.ask_all(request)) == [True, False]

    def test_without_defaults(self, endpoint: Endpoint) -> None:
        evaluations = [
            {"subject": ALICE, "action": READ, "resource": ONE},
            {"subject": BOB, "action": WRITE, "resource": ONE},
        ]

        assert decisions(endpoint.ask_all({"evaluations": evaluations})) == [True, False]

    def test_properties_are_judged_for_each(self, endpoint: Endpoint) -> None:
        by_resource = {
            "subject": ALICE,
            "action": WRITE,
            "evaluations": [{"resource": ONE | ACTIVE}, {"resource": TWO | ARCHIVED}],
        }
        by_subject = {
            "action": WRITE,
            "resource": TWO | ARCHIVED,
            "evaluations": [{"subject": ALICE}, {"subject": BOB | ADMIN}],
        }

        assert decisions(endpoint.ask_all(by_resource)) == [True, False]
        assert decisions(endpoint.ask_all(by_subject)) == [False, True]

    def test_a_context_may_be_shared_or_replaced(self, endpoint: Endpoint) -> None:
        shared = {"subject": ALICE, "action": READ, "context": {"time": "2025-06-27T18:03-07:00"}}
        evaluations = [{"resource": ONE}, {"resource": TWO, "context": {"source": "batch-override"}}]

        assert decisions(endpoint.ask_all(shared | {"evaluations": evaluations})) == [True, True]

    def test_a_type_that_an_entity_lacks_is_that_of_the_default(self, endpoint: Endpoint) -> None:
        request = {
            "subject": ALICE,
            "action": WRITE,
            "resource": {"type": "record"},
            "evaluations": [{"resource": {"id": "record-1"} | ACTIVE}, {"resource": TWO | ARCHIVED}],
        }

        assert decisions(endpoint.ask_all(request)) == [True, False]

    def test_a_malformed_evaluation_is_denied_for_itself(self, endpoint: Endpoint) -> None:
        request = {"subject": ALICE, "action": READ, "evaluations": [{"resource": ONE}, {}, 5, {"resource": ONE}]}

        answers = endpoint.ask_all(request)

        assert decisions(answers) == [True, False, False, True]
        assert answers[1]["context"]["reason"] == "MALFORMED_REQUEST"
        assert answers[1]["context"]["error"] == {"status": 400, "message": "resource: is missing"}

    @pytest.mark.parametrize("more", [{}, {"evaluations": []}])
    def test_without_evaluations_it_is_one_question(self, endpoint: Endpoint, more: dict[str, Any]) -> None:
        text = json.dumps({"subject": ALICE, "action": READ, "resource": ONE, **more}).encode()

        response = endpoint.send(text, EVALUATIONS)

        assert response.status_code == 200
        assert response.json()["decision"] is True
        assert "evaluations" not in response.json()


def test_the_metadata_lead_to_what_there_is(endpoint: Endpoint) -> None:
    """Named by an https URL; the endpoints of searches are absent, so nobody asks for one."""
    endpoint.address = address_of("127.0.0.1", 4711, "https://pdp.example.com/")

    response = endpoint.send(path=METADATA, method="GET", headers=[("Host", "pdp.example.com")])

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "policy_decision_point": "https://pdp.example.com",
        "access_evaluation_endpoint": "https://pdp.example.com/access/v1/evaluation",
        "access_evaluations_endpoint": "https://pdp.example.com/access/v1/evaluations",
    }
