"""The directory of subjects: what it says of whom, and files that do not say it."""

from pathlib import Path

import pytest

from macaw.installation.development import read_person
from streams.authzen.directory import read_directory
from streams.identity_files.subjects_file import FILE_BYTES_MAX, SUBJECTS_MAX, SubjectsFileError

YAML = """
alice:
  company: FinTech Corp
  roles: [analyst]
bob: {user: robert, roles: [], subject_types: identity}
shopper: {subject_types: [agent, service], roles: [buyer]}
"""


def written(tmp_path: Path, text: str, name: str = "directory.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_what_a_file_says_of_subjects(tmp_path: Path) -> None:
    """Attributes as they stand there, under the types that it names; `user` is the id unless it says otherwise."""
    directory = read_directory(written(tmp_path, YAML))
    alice, bob = directory.find("user", "alice"), directory.find("identity", "bob")

    assert len(directory) == 4
    assert alice is not None
    assert (alice.user, alice.company, alice.roles, alice.type) == ("alice", "FinTech Corp", ("analyst",), "user")
    assert alice.principal == "user:alice"
    assert bob is not None
    assert (bob.user, bob.principal, bob.type) == ("robert", "user:robert", "user")
    assert directory.find("user", "bob") is None
    assert directory.find("identity", "alice") is None


def test_programs_are_no_persons(tmp_path: Path) -> None:
    directory = read_directory(written(tmp_path, YAML))
    agent, service = directory.find("agent", "shopper"), directory.find("service", "shopper")

    assert agent is not None
    assert (agent.agent, agent.service, agent.user, agent.principal) == ("shopper", None, None, "shopper")
    assert service is not None
    assert (service.agent, service.service, service.user) == (None, "shopper", None)


def test_json_says_the_same(tmp_path: Path) -> None:
    directory = read_directory(written(tmp_path, '{"alice": {"roles": ["analyst"]}}', "directory.json"))
    alice = directory.find("user", "alice")

    assert alice is not None
    assert alice.roles == ("analyst",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not YAML"),
        ("\x00", "is not YAML"),
        ("[" * 5000, "is not YAML"),
        ("when: 2026-13-45", "is not YAML"),
        ("alice: !!python/object/apply:os.system ['true']", "is not YAML"),
        ("- alice", "must be a mapping of subject ids"),
        ("", "must be a mapping of subject ids"),
        ("alice: analyst", "must be a mapping of attributes"),
        ("alice:", "must be a mapping of attributes"),
        ("1: {roles: []}", "not a text: put it into quotes, line 1"),
        ("'': {roles: []}", "want 1 to 256 printable"),
        ("'carol ': {}", "want 1 to 256 printable"),
        ("user:carol: {subject_types: [agent]}", "names that begin with user:"),
        ("carol: {}\nCarol: {}", "one person twice: 'carol' and 'Carol'"),
        ("alice: {roles: [1]}", "alice.roles: must be a text"),
        ("alice: {clearance: no}", "alice.clearance: must be a text"),
        ("alice: {role: [admin]}", "no attribute is called 'role'"),
        ("alice: {roles: ['*']}", "attribute roles is invalid"),
        ("alice: {user: [a, b]}", "user is not a text"),
        ("alice: {subject_types: []}", "alice.subject_types: must be 1 to"),
        ("alice: {subject_types: [user, user]}", "alice.subject_types: must be 1 to"),
        ("alice: {roles: [a]}\nalice: {roles: [b]}", "names something twice, line 2"),
        ("alice: {roles: [a], roles: [b]}", "names something twice, line 1"),
        ("alice: &a {roles: [a]}\nbob:\n  email: x\n  email: y", "names something twice, line 4"),
        ("alice: &a {roles: [a]}\nbob: {<<: *a}", "takes over other members with `<<`: write them out, line 2"),
        ("alice: {<<: {roles: [a], roles: [b]}}", "takes over other members with `<<`: write them out, line 1"),
        ("alice: {roles: !!timestamp x}", "is not YAML"),
        ("alice: {roles: !!float ''}", "is not YAML"),
        ("alice: {roles: !!bool maybe}", "is not YAML"),
        ("# " + "x" * FILE_BYTES_MAX, "is larger than"),
        ("\n".join(f"s{at}: {{}}" for at in range(SUBJECTS_MAX + 1)), "allowed are"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_file_that_does_not_say_who_somebody_is(tmp_path: Path, text: str, message: str) -> None:
    """One sentence has the fault and its place, and is the same where the file is read for a person's session."""
    path = written(tmp_path, text)

    for read in (read_directory, lambda path: read_person(path, "alice")):
        with pytest.raises(SubjectsFileError, match=message):
            read(path)


def test_a_small_file_does_not_become_a_large_one(tmp_path: Path) -> None:
    """Each line would take over ten times what the line before has."""
    lines = [f"a{at}: &a{at} {{<<: [{', '.join([f'*a{at - 1}'] * 10)}]}}" for at in range(1, 12)]
    path = written(tmp_path, "\n".join(["a0: &a0 {roles: [a]}", *lines]))

    with pytest.raises(SubjectsFileError, match="takes over other members"):
        read_directory(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"alice": {"roles": ["a"]}, "alice": {"roles": ["b"]}}', "is not strict JSON: duplicate"),
        ('{"alice": {"roles": ["a"], "roles": ["b"]}}', "is not strict JSON: duplicate"),
        ("alice: {}", "is not strict JSON: syntax"),
        ("[]", "must be a mapping of subject ids"),
        ('{"alice": {"roles": [null]}}', "alice.roles: must be a text"),
    ],
)
def test_a_json_file_that_does_not_say_who_somebody_is(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SubjectsFileError, match=message):
        read_directory(written(tmp_path, text, "directory.json"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SubjectsFileError, match="cannot read"):
        read_directory(tmp_path / "directory.yaml")
