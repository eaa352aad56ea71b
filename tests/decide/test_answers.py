"""Advice: what an answer says, and that asking leaves nothing behind."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from processors.policy.evaluation import Approval, Lookups, Record, Settings
from streams.authzen.answers import answer
from streams.authzen.questions import read_question
from streams.authzen.standing import Snapshot
from tests.decide.asking import CLERK, NOW, QUESTION, Endpoint, standing_of


class Unwritable(dict[bytes, int]):
    """Buckets that note which were looked at, and cannot be written to."""

    def __init__(self, rows: dict[bytes, int]) -> None:
        super().__init__(rows)
        self.asked: list[bytes] = []

    def arrival(self, key: bytes) -> int:
        self.asked.append(key)
        return self.get(key, 0)

    def __setitem__(self, key: bytes, value: int) -> None:
        raise AssertionError("a question was charged")


@dataclass
class Attested:
    """One record that serves one call, and nobody's approval."""

    found: Sequence[Record] = ()
    asked: list[str] = field(default_factory=list)

    def records(self, key: str) -> Sequence[Record]:
        self.asked.append(key)
        return self.found

    def approvals(self, key: str) -> Sequence[Approval]:
        self.asked.append(key)
        return ()

    def open_requests(self) -> int:
        return 0


def told(standing: Snapshot, now: int = NOW) -> dict[str, Any]:
    return answer(standing, read_question(QUESTION), now).as_json()


def looking_at(standing: Snapshot, **views: Any) -> Snapshot:
    return replace(standing, policies=replace(standing.policies, tables=Lookups(**views)))


class TestAnswer:
    def test_it_says_on_what_it_stands(self, tmp_path: Path) -> None:
        standing = standing_of(tmp_path, [CLERK])
        digest = standing.policies.index.by_id["role:clerk"].digest.hex()

        assert told(standing) == {
            "decision": True,
            "context": {
                "reason": "ALLOWED",
                "advisory": True,
                "as_of": None,
                "policy": None,
                "policies": [digest],
            },
        }

    def test_of_a_log_it_names_the_entry(self, tmp_path: Path) -> None:
        standing = standing_of(tmp_path, [CLERK])
        standing = replace(standing, policies=replace(standing.policies, as_of=41))

        assert told(standing)["context"]["as_of"] == 41
        assert answer(standing, read_question(QUESTION | {"subject": {"type": "user", "id": "x"}}), NOW).as_of == 41

    def test_a_denial_names_the_document_that_decided_and_no_text_of_it(self, tmp_path: Path) -> None:
        limited = CLERK | {"constraints": {"parameters": {"record:*/read": {"n": {"allowed_values": ["guarded"]}}}}}
        standing = standing_of(tmp_path, [limited])
        question = QUESTION | {"resource": QUESTION["resource"] | {"properties": {"n": "s3cret"}}}

        found = answer(standing, read_question(question), NOW).as_json()

        assert found["decision"] is False
        context: Any = found["context"]
        assert (context["reason"], context["path"]) == ("PARAM_NOT_ALLOWED", "n")
        assert context["policy"] == standing.policies.index.by_id["role:clerk"].digest.hex()
        assert "guarded" not in str(found)
        assert "s3cret" not in str(found)

    @pytest.mark.parametrize(
        "subject",
        [{"type": "user", "id": "mallory"}, {"type": "agent", "id": "alice"}, {"type": "user", "id": "ALICE"}],
    )
    def test_who_is_not_in_the_directory_is_denied(self, tmp_path: Path, subject: dict[str, str]) -> None:
        everybody = {"policy_id": "record:record-1", "resources": ["**"]}

        found = answer(standing_of(tmp_path, [everybody]), read_question(QUESTION | {"subject": subject}), NOW)

        assert (found.decision, found.reason) == (False, "SUBJECT_UNKNOWN")

    def test_a_program_is_judged_as_one(self, tmp_path: Path) -> None:
        standing = standing_of(tmp_path, [{"policy_id": "agent:shopper", "resources": ["record:*/read"]}])
        question = QUESTION | {"subject": {"type": "agent", "id": "shopper"}}

        assert answer(standing, read_question(question), NOW).decision is True

    def test_the_settings_of_the_tenant_count(self, tmp_path: Path) -> None:
        standing = standing_of(tmp_path, [CLERK])
        strict = replace(standing.policies, settings=Settings(required_layers=frozenset({"team"})))

        assert told(replace(standing, policies=strict))["context"]["reason"] == "LAYER_MISSING"

    def test_time_is_now_and_never_before_the_log(self, tmp_path: Path) -> None:
        ended = CLERK | {"validity": {"not_after": "2027-01-15T08:00:00Z"}}  # NOW
        standing = standing_of(tmp_path, [ended])

        assert told(standing, NOW - 1)["decision"] is True
        assert told(standing, NOW)["context"]["reason"] == "POLICY_EXPIRED"
        ahead = replace(standing, policies=replace(standing.policies, now=NOW))
        assert told(ahead, NOW - 1)["context"]["reason"] == "POLICY_EXPIRED"


class TestPeeking:
    def test_a_rate_limit_is_looked_at_and_not_charged(self, tmp_path: Path) -> None:
        """More questions than calls would be let through; and a bucket that is full denies, with when to come back."""
        standing = standing_of(tmp_path, [CLERK | {"constraints": {"rate_limit": 2}}])
        empty = Unwritable({})
        asked = [told(looking_at(standing, buckets=empty.arrival)) for _ in range(10)]
        assert {one["decision"] for one in asked} == {True}
        [key] = set(empty.asked)

        full = Unwritable({key: (NOW + 31_000) * 1000})
        limited = [told(looking_at(standing, buckets=full.arrival)) for _ in range(3)]

        assert limited[0] == limited[1] == limited[2]
        assert limited[0]["decision"] is False
        assert limited[0]["context"]["reason"] == "RATE_LIMITED"
        assert limited[0]["context"]["retry_after_ms"] == 1000
        assert full == {key: (NOW + 31_000) * 1000}

    def test_buckets_are_those_of_the_caller_on_the_log(self, tmp_path: Path) -> None:
        """A person's session is charged as `user:…`, whatever id an application has for it."""
        subjects = {"alice": {"user": "alice@x.org", "roles": ["clerk"]}}
        standing = standing_of(tmp_path, [CLERK | {"constraints": {"rate_limit": 2}}], subjects)
        buckets = Unwritable({})

        told(looking_at(standing, buckets=buckets.arrival))

        assert buckets.asked == [b"user:alice@x.org\x00role:clerk"]

    def test_what_serves_one_call_is_not_used_up(self, tmp_path: Path) -> None:
        once = CLERK | {"attestations": ["checked"], "constraints": {"attestations": {"checked": {"one_time": True}}}}
        standing = standing_of(tmp_path, [once])
        attested = Attested([Record(position=1, set_at=NOW - 1, one_time=True)])

        for _ in range(3):
            assert told(looking_at(standing, attestations=attested))["decision"] is True
        assert attested.asked == ["checked"] * 3
        used = Attested([Record(position=1, set_at=NOW - 1, one_time=True, uses=1)])
        assert told(looking_at(standing, attestations=used))["context"]["reason"] == "ATTESTATION_CONSUMED"
        assert told(standing)["context"]["reason"] == "ATTESTATION_MISSING"

    def test_what_waits_for_people_is_not_allowed(self, tmp_path: Path) -> None:
        """Nobody is asked either: there is no call yet that anybody could approve."""
        meta = {"ok": {"approval_criteria": "role:lead", "timeout": 60}}
        standing = standing_of(tmp_path, [CLERK | {"attestations": ["ok"], "constraints": {"attestations": meta}}])

        found = told(standing)

        assert (found["decision"], found["context"]["reason"]) == (False, "APPROVAL_PENDING")


def test_over_http_a_question_changes_nothing(tmp_path: Path) -> None:
    """The same question has the same answer, byte for byte, as often as it is asked."""
    standing = standing_of(tmp_path, [CLERK | {"constraints": {"rate_limit": 1}}])
    endpoint = Endpoint(tmp_path, lambda: standing)

    assert len({str(endpoint.ask(QUESTION)) for _ in range(5)}) == 1
    assert endpoint.ask(QUESTION)["decision"] is True
