"""The interoperability scenario of the AuthZEN working group: its answers, from policies that know no user."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams.authzen.answers import answer
from streams.authzen.directory import read_directory
from streams.authzen.questions import read_question
from streams.authzen.standing import PoliciesStanding, Snapshot
from tests.decide.asking import EXAMPLE, Endpoint, example, index_in

ROWS: list[dict[str, Any]] = [
    json.loads(line) for line in (EXAMPLE / "authz_authzen.jsonl").read_text("utf-8").splitlines()
]
USERS: dict[str, dict[str, Any]] = yaml.safe_load((EXAMPLE / "directory.yaml").read_text("utf-8"))
MORTY = next(one for one, user in USERS.items() if user["email"].startswith("morty@"))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_the_published_decision_is_given(tmp_path: Path, row: dict[str, Any]) -> None:
    """Each of the 23 rows, over HTTP, is answered as the working group publishes it."""
    assert Endpoint(tmp_path, example).ask(row["request"])["decision"] is row["expected"]


def test_there_are_all_rows() -> None:
    """A file that was cut short must not pass."""
    assert len(ROWS) == 23
    assert {row["expected"] for row in ROWS} == {True, False}


def test_a_page_of_todos_is_asked_in_one_request(tmp_path: Path) -> None:
    """As the application asks, with an empty default resource: an editor changes his own only."""
    owners = ["rick@the-citadel.com", "morty@the-citadel.com"]
    evaluations = [
        {"resource": {"type": "todo", "id": str(at), "properties": {"ownerID": owner}}}
        for at, owner in enumerate(owners)
    ]
    subject = {"type": "user", "id": MORTY}
    request = {"subject": subject, "action": {"name": "can_update_todo"}, "resource": {}, "context": {}}

    answers = Endpoint(tmp_path, example).ask_all(request | {"evaluations": evaluations})

    assert [one["decision"] for one in answers] == [False, True]
    assert answers[0]["context"]["reason"] == "CONDITION_DENIED"


def test_no_policy_names_a_user() -> None:
    """Neither an id nor an address of the directory stands in a policy."""
    names = {name.lower() for one, user in USERS.items() for name in (one, user["email"], user["email"].split("@")[0])}
    for path in sorted((EXAMPLE / "policies").glob("*.json")):
        text = path.read_text("utf-8").lower()
        assert [name for name in names if name in text] == [], path.name


def test_the_role_decides_and_not_the_user(tmp_path: Path) -> None:
    """With everybody's roles exchanged, everybody has the rights of the other."""
    swapped = {"admin": "viewer", "evil_genius": "viewer", "editor": "viewer", "viewer": "editor"}
    users = {one: user | {"roles": sorted({swapped[role] for role in user["roles"]})} for one, user in USERS.items()}
    (tmp_path / "directory.json").write_text(json.dumps(users))
    standing = Snapshot(
        policies=PoliciesStanding(index=index_in(EXAMPLE / "policies")),
        directory=read_directory(tmp_path / "directory.json"),
    )
    allowed = {
        user["email"]: answer(
            standing,
            read_question(
                {
                    "subject": {"type": "user", "id": one},
                    "action": {"name": "can_create_todo"},
                    "resource": {"type": "todo", "id": "1"},
                }
            ),
            0,
        ).decision
        for one, user in USERS.items()
    }

    assert [email for email, decision in allowed.items() if decision] == ["beth@the-smiths.com", "jerry@the-smiths.com"]


@pytest.mark.parametrize(
    "properties", [{}, {"ownerID": None}, {"ownerID": ["morty@the-citadel.com"]}, {"ownerid": "x"}]
)
def test_without_a_usable_owner_nobody_is_one(tmp_path: Path, properties: dict[str, Any]) -> None:
    """What is unknown does not open a door."""
    question = {
        "subject": {"type": "user", "id": MORTY},
        "action": {"name": "can_delete_todo"},
        "resource": {"type": "todo", "id": "1", "properties": properties},
    }

    assert Endpoint(tmp_path, example).ask(question)["decision"] is False
