"""Reading questions: one name for one call, properties that cannot mean two things, defaults that do not leak."""

import json
from pathlib import Path
from typing import Any

import pytest

from streams.authzen import limits
from streams.authzen.questions import MalformedRequestError, Semantic, read_batch, read_body, read_question
from tests.decide.asking import ALICE, QUESTION, READ, RECORD, Endpoint, decisions, standing_of

ANYTHING = {"policy_id": "role:clerk", "resources": ["**"]}
RESOURCE_INVALID = "RESOURCE_INVALID"


@pytest.fixture
def endpoint(tmp_path: Path) -> Endpoint:
    """One whose only subject may do whatever has a name."""
    standing = standing_of(tmp_path, [ANYTHING])
    return Endpoint(tmp_path, lambda: standing)


def asked(endpoint: Endpoint, resource: Any, action: Any = READ) -> tuple[bool, str]:
    found = endpoint.ask({"subject": ALICE, "action": action, "resource": resource})
    return found["decision"], found["context"]["reason"]


class TestNames:
    def test_a_resource_is_named_by_type_id_and_action(self) -> None:
        question = read_question(
            {
                "subject": {"type": "user", "id": "a"},
                "action": {"name": "PUT"},
                "resource": {"type": "route", "id": "/t/{x}"},
            }
        )

        assert question.resource_name() == "route:/t/{x}/PUT"

    def test_what_is_decided_is_what_a_call_of_that_name_would_be(self, tmp_path: Path) -> None:
        policy = {"policy_id": "role:clerk", "resources": ["tool:bank/transfer"]}
        standing = standing_of(tmp_path, [policy])
        endpoint = Endpoint(tmp_path, lambda: standing)

        assert asked(endpoint, {"type": "tool", "id": "bank"}, {"name": "transfer"}) == (True, "ALLOWED")
        assert asked(endpoint, {"type": "tool", "id": "bank"}, {"name": "drain"})[0] is False

    @pytest.mark.parametrize(
        ("resource", "action"),
        [
            ({"type": "doc", "id": "a"}, "b/read"),  # is the name of an id `a/b`
            ({"type": "doc", "id": "a"}, "b\\read"),
            ({"type": "doc", "id": "a"}, "b\uff0fread"),  # NFKC makes a slash of it
            ({"type": "doc", "id": "a"}, "b%2fread"),
            ({"type": "doc", "id": "a"}, "b%252fread"),
            ({"type": "doc", "id": "a"}, ".."),
            ({"type": "doc", "id": "a"}, "%2e%2e"),
            ({"type": "doc", "id": "a"}, ""),
            ({"type": "doc", "id": "a"}, "*"),
            ({"type": "doc", "id": "a"}, "re\u200bad"),
            ({"type": "doc", "id": "a"}, "read "),
            ({"type": "doc", "id": "a"}, "r" * 2000),
            ({"type": "doc", "id": ""}, "read"),
            ({"type": "doc", "id": "a/.."}, "read"),
            ({"type": "doc", "id": "a/"}, "read"),
            ({"type": "doc", "id": "a%2fb"}, "read"),
            ({"type": "doc", "id": "a*"}, "read"),
            ({"type": "doc", "id": "a" * 1100}, "read"),
            ({"type": "", "id": "a"}, "read"),
            ({"type": "doc:a", "id": "b"}, "read"),  # is the name of the type `doc` and the id `a:b`
            ({"type": "@acme/doc", "id": "a"}, "read"),  # of another tenant
            ({"type": "Doc", "id": "a"}, "read"),
            ({"type": "doc\n", "id": "a"}, "read"),
            ({"type": "d" * 33, "id": "a"}, "read"),
        ],
    )
    def test_what_could_be_read_as_another_name_is_denied(
        self, endpoint: Endpoint, resource: dict[str, str], action: str
    ) -> None:
        assert asked(endpoint, resource, {"name": action}) == (False, RESOURCE_INVALID)


class TestProperties:
    """Parameters of the call are the properties of resource and action together."""

    @pytest.fixture
    def endpoint(self, tmp_path: Path) -> Endpoint:
        limited = ANYTHING | {"constraints": {"parameters": {"record:*/read": {"n": {"max": 5}, "é": {"max": 5}}}}}
        standing = standing_of(tmp_path, [limited])
        return Endpoint(tmp_path, lambda: standing)

    def test_both_are_parameters(self, endpoint: Endpoint) -> None:
        large = {"properties": {"n": 6}}

        assert asked(endpoint, RECORD | large) == (False, "PARAM_OUT_OF_RANGE")
        assert asked(endpoint, RECORD, READ | large) == (False, "PARAM_OUT_OF_RANGE")
        assert asked(endpoint, RECORD | {"properties": {"m": 6}}, READ | {"properties": {"n": 5}}) == (True, "ALLOWED")

    def test_those_of_the_subject_are_none_and_this_is_said(self, endpoint: Endpoint) -> None:
        """Who could name its own role would need no directory."""
        subject = ALICE | {"properties": {"n": 6, "roles": ["admin"]}}

        found = endpoint.ask(QUESTION | {"subject": subject, "context": {"n": 6}})

        assert found["decision"] is True
        assert found["context"]["ignored"] == ["context", "subject.properties"]

    @pytest.mark.parametrize(
        ("of_resource", "of_action"),
        [
            ({"n": 1}, {"n": 6}),
            ({"n": 6}, {"n": 1}),
            ({"n": 1}, {"n": True}),
            ({"n": None}, {"n": 1}),
            ({"n": 1}, {"n": "1"}),
        ],
    )
    def test_a_name_that_means_two_things_is_denied(self, endpoint: Endpoint, of_resource: Any, of_action: Any) -> None:
        found = asked(endpoint, RECORD | {"properties": of_resource}, READ | {"properties": of_action})

        assert found == (False, "PROPERTIES_CONFLICT")

    def test_a_name_that_means_the_same_twice_is_one(self, endpoint: Endpoint) -> None:
        assert asked(endpoint, RECORD | {"properties": {"n": 1}}, READ | {"properties": {"n": 1.0}}) == (
            True,
            "ALLOWED",
        )

    def test_two_spellings_of_one_name_are_a_conflict(self, endpoint: Endpoint) -> None:
        """Composed and decomposed: else one of the two values would pass unseen."""
        composed, decomposed = {"properties": {"\u00e9": 1}}, {"properties": {"e\u0301": 6}}

        assert asked(endpoint, RECORD | composed, READ | decomposed) == (False, "PROPERTIES_CONFLICT")
        assert asked(endpoint, RECORD | decomposed, READ | composed) == (False, "PROPERTIES_CONFLICT")

    def test_a_call_is_allowed_as_much_and_no_more(self, endpoint: Endpoint) -> None:
        """The bounds of a call's parameters, however deep a body may be."""
        deep: Any = 1
        for _ in range(32):
            deep = [deep]

        assert asked(endpoint, RECORD | {"properties": {"x": deep[0]}}) == (True, "ALLOWED")
        assert asked(endpoint, RECORD | {"properties": {"x": deep}}) == (False, "MALFORMED_PARAMETERS")
        assert asked(endpoint, RECORD | {"properties": {"x": [0] * 17_000}}) == (False, "MALFORMED_PARAMETERS")


class TestBodies:
    @pytest.mark.parametrize(
        ("text", "cause"),
        [
            (b'{"subject":1,"subject":2}', "duplicate"),
            (b'{"action":{"name":"a","na\\u006de":"b"}}', "duplicate"),
            ('{"r":{"\u00e9":1,"e\u0301":2}}'.encode(), "duplicate"),
            (b'{"n":NaN}', "syntax"),
            (b'{"n":9007199254740993}', "number"),
            (b'{"n":1e999}', "number"),
            (b'{"n":"\\ud800"}', "surrogate"),
            (b'{"n":"\xff"}', "utf8"),
            (b"\xef\xbb\xbf{}", "bom"),
            (b"{}{}", "trailing"),
            (b'{"n":' + b"[" * 60 + b"]" * 60 + b"}", "depth"),
            (b'{"n":' + b"[" * 100_000, "nodes"),
            (b'{"n":[' + b"0," * 40_000 + b"0]}", "nodes"),
            (b"[]", "object"),
        ],
    )
    def test_what_two_readers_could_read_differently_is_refused(self, text: bytes, cause: str) -> None:
        with pytest.raises(MalformedRequestError, match=cause):
            read_body(text)

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ({"evaluations": {}}, "evaluations: must be an array"),
            ({"evaluations": None}, "evaluations: must be an array"),
            ({"evaluations": [{}] * (limits.EVALUATIONS_MAX + 1)}, "evaluations: there are"),
            ({"evaluations": [{}], "options": []}, "options: must be an object"),
            (
                {"evaluations": [{}], "options": {"evaluations_semantic": "any"}},
                "options.evaluations_semantic: must be",
            ),
            (
                {"evaluations": [{}], "options": {"evaluations_semantic": None}},
                "options.evaluations_semantic: must be",
            ),
            (
                {"evaluations": [{}], "options": {"evaluations_semantic": []}},
                "options.evaluations_semantic: must be",
            ),
            ({"evaluations": [{}], "resource": "x"}, "resource: must be an object"),
            ({"options": {"evaluations_semantic": "any"}}, "options.evaluations_semantic: must be"),
        ],
    )
    def test_a_batch_that_is_not_well_put(self, body: Any, message: str) -> None:
        with pytest.raises(MalformedRequestError, match=message):
            read_batch(body)

    def test_as_many_evaluations_as_there_may_be(self, endpoint: Endpoint) -> None:
        request = {"subject": ALICE, "action": READ, "evaluations": [{"resource": RECORD}] * limits.EVALUATIONS_MAX}

        assert decisions(endpoint.ask_all(request)) == [True] * limits.EVALUATIONS_MAX

    def test_a_question_does_not_show_its_values(self) -> None:
        secret = {"properties": {"card": "4111111111111111"}}
        question = read_question(QUESTION | {"resource": RECORD | secret, "action": READ | secret})

        assert "4111" not in repr(question)
        assert "4111" not in repr(read_batch({"evaluations": [QUESTION | {"resource": RECORD | secret}]}))


class TestDefaults:
    def test_properties_of_a_default_do_not_leak_into_another_resource(self, tmp_path: Path) -> None:
        """An owner who was meant for one document must not be taken for that of another."""
        policy = {
            "policy_id": "role:clerk",
            "resources": ["record:*/read"],
            "constraints": {
                "parameters": {"record:*/read": {"owner": {"allowed_values": ["alice"], "required": True}}}
            },
        }
        standing = standing_of(tmp_path, [policy])
        owned = RECORD | {"properties": {"owner": "alice"}}
        request = {
            "subject": ALICE,
            "action": READ,
            "resource": owned,
            "evaluations": [{}, {"resource": {"id": "record-2"}}, {"resource": {"id": "2", "properties": {}}}],
        }

        answers = Endpoint(tmp_path, lambda: standing).ask_all(request)

        assert decisions(answers) == [True, False, False]
        assert {one["context"]["reason"] for one in answers[1:]} == {"PARAM_REQUIRED"}

    def test_a_member_of_a_wrong_type_is_not_replaced_by_the_default(self, endpoint: Endpoint) -> None:
        request = {"subject": ALICE, "action": READ, "resource": RECORD}
        evaluations = [{"resource": None}, {"resource": {"id": None}}, {"subject": {"id": 5}}, {"action": "read"}]

        answers = endpoint.ask_all(request | {"evaluations": evaluations})

        assert decisions(answers) == [False] * 4
        assert [one["context"]["error"]["message"].partition(":")[0] for one in answers] == [
            "resource",
            "resource.id",
            "subject.id",
            "action",
        ]


READS = {"resource": RECORD}
WRITES = {"resource": RECORD, "action": {"name": "write"}}
BROKEN: dict[str, Any] = {"resource": 1}


class TestSemantics:
    @pytest.mark.parametrize(
        ("semantic", "evaluations", "expected"),
        [
            (None, [READS, WRITES, READS], [True, False, True]),
            ("execute_all", [WRITES, READS, BROKEN], [False, True, False]),
            ("deny_on_first_deny", [READS, WRITES, READS], [True, False]),
            ("deny_on_first_deny", [READS, BROKEN, READS], [True, False]),
            ("deny_on_first_deny", [READS, READS], [True, True]),
            ("permit_on_first_permit", [WRITES, BROKEN, READS, READS], [False, False, True]),
            ("permit_on_first_permit", [READS, WRITES], [True]),
            ("permit_on_first_permit", [WRITES, WRITES], [False, False]),
        ],
    )
    def test_after_which_answer_a_batch_ends(
        self, tmp_path: Path, semantic: str | None, evaluations: list[Any], expected: list[bool]
    ) -> None:
        standing = standing_of(tmp_path, [{"policy_id": "role:clerk", "resources": ["record:*/read"]}])
        request = {"subject": ALICE, "action": READ, "evaluations": evaluations}
        options = {"options": {"evaluations_semantic": semantic, "another": 1}} if semantic else {}

        assert decisions(Endpoint(tmp_path, lambda: standing).ask_all(request | options)) == expected

    def test_there_are_three(self) -> None:
        assert json.dumps(list(Semantic)) == '["execute_all", "deny_on_first_deny", "permit_on_first_permit"]'


@pytest.mark.parametrize("more", [{"context": None}, {"options": None}])
def test_null_is_what_was_left_out(more: dict[str, Any]) -> None:
    """A nil map of a client in Go is written so; in place of what must be there it is refused."""
    body = {
        "subject": {"type": "user", "id": "alice"},
        "action": {"name": "pay"},
        "resource": {"type": "tool", "id": "bank"},
    }

    assert read_question({**body, **more}) == read_question(body)
    [question] = read_batch({"evaluations": [{**body, **more}], "context": None, "options": None}).questions()  # type: ignore[union-attr]
    assert question == read_question(body)
    for name in body:
        with pytest.raises(MalformedRequestError, match=f"{name}: must be an object"):
            read_question({**body, name: None})
