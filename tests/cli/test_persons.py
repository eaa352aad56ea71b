"""Persons from a file: their sessions, through the command line and a real log."""

import json
from pathlib import Path

import pytest

from macaw.cli import main
from macaw.installation.development import read_person
from macaw.installation.tenancy import publish_policies
from producers.client import Client, DeniedError
from producers.tools import tool
from streams.identity_files.subjects_file import FILE_BYTES_MAX, SubjectsFileError
from streams.local.choose import BrokerInfo
from tests.installation import installed

PERSONS = """
alice:
  company: FinTech Corp
  roles: [analyst]
bob: {user: robert, roles: []}
carol: {}
"""


class Reports:
    """A tool that a person uses."""

    @tool
    def read(self, name: str) -> str:
        """Read a report."""
        return f"report {name}"


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (None, "alice", "cannot read"),
        ("a: [", "alice", "is not YAML"),
        ("\x00", "alice", "is not YAML"),
        ("[" * 5000, "alice", "is not YAML"),
        ("- alice", "alice", "must be a mapping of subject ids"),
        ("bob: {}", "alice", "has no person 'alice'"),
        ("alice: {subject_types: [agent]}", "alice", "has no person 'alice'"),
        ("alice: {}\nAlice: {}", "alice", "one person twice: 'alice' and 'Alice'"),
        ("alice:", "alice", "must be a mapping of attributes; write `{}` for a subject without any"),
        ("alice: {}\nbob: {role: [admin]}", "alice", "bob: no attribute is called 'role'"),
        ("alice: {roles: ['*']}", "alice", "attribute roles is invalid"),
        ("alice: analyst", "alice", "must be a mapping of attributes"),
        ("alice: {roles: [1]}", "alice", "alice.roles: must be a text"),
        ("alice: {admin: no}", "alice", "alice.admin: must be a text"),
        ("alice: {1: a}", "alice", "not a text: put it into quotes, line 1"),
        ("bob: {}\nno: {}", "no", "not a text: put it into quotes, line 2"),
        ("1001: {}", "1001", "not a text: put it into quotes, line 1"),
        ("alice: {roles: [a]}\nbob: {}\nalice: {roles: [b]}", "bob", "names something twice, line 3"),
        ("alice: {roles: [a], roles: [b]}", "alice", "names something twice, line 1"),
        ("bob: {}\nalice: {roles: [a\n", "alice", "is not YAML, line"),
        ("alice: !!python/object/apply:os.system ['true']", "alice", "is not YAML"),
        ("# " + "x" * FILE_BYTES_MAX, "alice", "it is larger than"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_file_that_does_not_say_who_somebody_is(tmp_path: Path, text: str | None, name: str, message: str) -> None:
    """One sentence says what is wrong with it, and where."""
    path = tmp_path / "persons.yaml"
    if text is not None:
        path.write_text(text)

    with pytest.raises(SubjectsFileError, match=message):
        read_person(path, name)


def test_what_a_file_says_of_a_person(tmp_path: Path) -> None:
    """Attributes as they stand there; `user` is the name unless the file says otherwise."""
    path = tmp_path / "persons.yaml"
    path.write_text(PERSONS)

    assert read_person(path, "alice") == {"user": "alice", "company": "FinTech Corp", "roles": ["analyst"]}
    assert read_person(path, "bob") == {"user": "robert", "roles": []}
    assert read_person(path, "carol") == {"user": "carol"}


@pytest.mark.broker
def test_a_person_calls_with_the_session_that_was_opened(
    broker: BrokerInfo, tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`macaw dev session open` lets a person in; what they may do follows from the file's attributes."""
    (tmp_path / "persons.yaml").write_text(PERSONS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MACAW_HOME", str(tmp_path))
    with installed(broker, tmp_path, unique, development=True) as made, made.hosting("reports", Reports()):
        policy = {"policy_id": "role:analyst", "resources": ["tool:reports/*"]}
        publish_policies(made.home, made.folder, [json.dumps(policy)], {})
        for name in ("alice", "bob", "alice"):  # a second session takes the place of the first
            assert main(["dev", "session", "open", name, "--tenant", unique]) == 0

        with Client.for_person(unique, "alice", home=made.home) as alice:
            assert alice.invoke("tool:reports/read", {"name": "q3"}) == "report q3"
        with Client.for_person(unique, "bob", home=made.home) as bob, pytest.raises(DeniedError):
            bob.invoke("tool:reports/read", {"name": "q3"})

        capsys.readouterr()
        arguments = ["tool:reports/read", "--params", '{"name": "q4"}', "--tenant", unique]
        assert main(["invoke", *arguments, "--as", "user:alice"]) == 0
        assert json.loads(capsys.readouterr().out) == "report q4"
        assert main(["invoke", *arguments, "--as", "user:carol"]) == 1
        assert "macaw dev session open carol" in capsys.readouterr().err

        # Both sessions of alice end, the one whose key is gone too; bob's goes on.
        assert main(["session", "revoke", "--user", "alice", "--json", "--tenant", unique]) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["user"], len(told["revoked"])) == ("user:alice", 2)
        assert main(["invoke", *arguments, "--as", "user:alice"]) == 1
        assert "EXPIRED_SESSION" in capsys.readouterr().err
        assert main(["invoke", *arguments, "--as", "user:bob"]) == 1
        assert "EXPIRED_SESSION" not in capsys.readouterr().err
        assert main(["session", "revoke", "--user", "user:alice", "--tenant", unique]) == 0
        assert "no session of user:alice revoked" in capsys.readouterr().err


@pytest.mark.broker
def test_a_tenant_that_is_not_for_development_lets_nobody_in(
    broker: BrokerInfo, tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The refusal stands on the log, is told in one sentence, and leaves no session behind."""
    (tmp_path / "persons.yaml").write_text(PERSONS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MACAW_HOME", str(tmp_path))
    with installed(broker, tmp_path, unique) as made:
        assert main(["dev", "session", "open", "alice", "--tenant", unique]) == 1
        assert "NOT_DEVELOPMENT" in capsys.readouterr().err
        assert not made.folder.key_file("session", "alice").exists()
