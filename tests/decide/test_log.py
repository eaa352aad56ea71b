"""Answers from the policies in force on a tenant's log: as of which entry, and from the next one on."""

import json
import time
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from macaw.cli import main
from macaw.installation.tenancy import publish_policies, register_agent
from macaw.policies.followed import FollowedPolicies, PoliciesUnknownError
from macaw.policies.in_force import read_policies
from schemas.topics import INTAKE
from streams.authzen.answers import EvaluationResponse, answer
from streams.authzen.directory import read_directory
from streams.authzen.questions import read_question
from streams.authzen.standing import PoliciesStanding, Snapshot
from streams.local.choose import BrokerInfo
from tests.decide.asking import QUESTION
from tests.installation import Installation, installed
from tests.waiting import PATIENCE_SECONDS

READS = {"policy_id": "role:clerk", "resources": ["record:*/read"]}
NOTHING = {"policy_id": "role:clerk", "resources": ["record:*/list"]}


def publish(made: Installation, document: dict[str, object]) -> None:
    in_force = {i: p.digest for i, p in read_policies(made.home, made.folder).policies.items()}
    publish_policies(made.home, made.folder, [json.dumps(document)], in_force)


@pytest.mark.broker
def test_what_is_published_counts_from_then_on(
    broker: BrokerInfo, tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`as_of` grows with the log, and an answer is that of the policies as of that entry."""
    monkeypatch.setenv("MACAW_HOME", str(tmp_path))
    (tmp_path / "directory.yaml").write_text("alice: {roles: [clerk]}")
    directory = read_directory(tmp_path / "directory.yaml")

    def told(policies: PoliciesStanding) -> EvaluationResponse:
        now = time.time_ns() // 1_000_000
        return answer(Snapshot(policies=policies, directory=directory), read_question(QUESTION), now)

    with installed(broker, tmp_path, unique) as made, FollowedPolicies(made.home, made.folder) as followed:
        founded = followed.read()
        assert (told(founded).decision, told(founded).reason) == (False, "NO_POLICY")
        assert followed.read() is founded

        publish(made, READS)
        published = followed.read()
        assert told(published).decision is True
        in_force = read_policies(made.home, made.folder).policies["role:clerk"]
        assert told(published).as_of == in_force.audit_index
        assert told(published).consulted == (in_force.digest,)

        register_agent(made.home, made.folder, "shopper", attributes={})
        later = followed.read()
        assert later.index is published.index  # nothing was published, so nothing was read again
        assert later.as_of is not None
        assert later.as_of > in_force.audit_index
        assert later.now >= published.now

        publish(made, NOTHING)
        assert told(followed.read()).reason == "RESOURCE_NOT_ALLOWED"

        question = ["--subject", "alice", "--action", "list", "--resource", "record:1"]
        where = ["--directory", str(tmp_path / "directory.yaml"), "--tenant", unique]
        capsys.readouterr()
        assert main(["decide", *question, *where]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["context"]["as_of"] == followed.read().as_of


@pytest.mark.broker
def test_a_log_that_became_shorter_is_not_followed(broker: BrokerInfo, tmp_path: Path, unique: str) -> None:
    """Whoever can cut off its end could bring back a policy that was replaced."""
    with installed(broker, tmp_path, unique) as made, FollowedPolicies(made.home, made.folder) as followed:
        followed.read()
        followed._offset += 1000

        with pytest.raises(PoliciesUnknownError, match="but a later one was read before"):
            followed.read()


@pytest.mark.broker
@pytest.mark.real_broker("the embedded broker deletes no records")
def test_a_log_that_has_forgotten_a_document_is_not_answered_from(
    broker: BrokerInfo, tmp_path: Path, unique: str
) -> None:
    """What is kept no longer may forbid what the rest allows."""
    with installed(broker, tmp_path, unique) as made, FollowedPolicies(made.home, made.folder) as followed:
        publish(made, READS)
        publish(made, {"policy_id": "role:other"})
        with AdminClient({"bootstrap.servers": broker.bootstrap}) as admin:
            last = max(p.audit_index for p in read_policies(made.home, made.folder).policies.values())
            place = TopicPartition(INTAKE.of(unique), 0, last)
            admin.delete_records([place])[place].result(PATIENCE_SECONDS)

        with pytest.raises(PoliciesUnknownError, match="1 publications are older"):
            followed.read()
