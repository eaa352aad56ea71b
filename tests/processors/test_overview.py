"""Questions of an administrator about limits and users: complete, paged, and for administrators alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from processors.state.bounds import SETTABLE, TenantLimits
from schemas import limits
from schemas.events.attributes import Attributes
from schemas.events.workflow import StateQueried
from tests.builders import Actor, Folded, keys_of
from tests.cast import Cast
from tests.tenancy import organised, set_limits
from tests.workflow_world import reply
from tests.world import World


def asked(world: World, by: Actor, what: str, argument: Any = None) -> Folded:
    return world.send(StateQueried(what=what, argument=json.dumps(argument)), by)


def told(world: World, what: str, argument: Any = None) -> Any:
    return reply(asked(world, world.admin, what, argument))


def log_in(world: World, bridge: Actor, name: str, **attributes: Any) -> None:
    keys = keys_of(world.name, name, world.draw())
    body = world.person_session(f"user:{name}", keys=keys, attributes=Attributes(user=name, **attributes))
    assert world.send(body, bridge).says == ("accepted", "")


@pytest.mark.parametrize("what", ["limits", "users"])
@pytest.mark.parametrize(
    "role", ["session", "approver", "agent", "tool", "bridge", "monitor", "enrolment", "organisation"]
)
def test_nobody_but_an_administrator_is_told(role, what):
    """A role that may ask at all has other questions, and every other may not ask."""
    cast = Cast()
    folded = asked(cast.world, cast.actors[role], what)
    want = "QUERY_INVALID" if role in {"session", "approver"} else "WRONG_ROLE"
    assert folded.says == ("refused", want)


@pytest.mark.parametrize(
    "what", ["attestations", "approvals", "invocation", "delegations", "effective_policy", "", "x"]
)
def test_an_administrator_asks_no_question_of_a_session(what):
    """It sees no call and no approval by asking the log."""
    world = World.founded()
    assert asked(world, world.admin, what).says == ("refused", "QUERY_INVALID")


def test_each_limit_is_told_with_its_use_its_value_and_its_span():
    """The use counts what counts for the limit: sessions by number and weight, and no document of an organisation."""
    world = World.founded(
        "used",
        bounds=TenantLimits(sessions=64, policies=64),
        organisation_key=keys_of("used", "organisation").signing.public,
    )
    world.open_session(world.register("agent", "bot"))
    world.publish_policy({"policy_id": "user:a"})
    organised(world, {"policy_id": "org:a"})
    set_limits(world, sessions=8)
    found = {one.pop("name"): one for one in told(world, "limits")["limits"]}

    assert set(found) == set(SETTABLE)
    assert found["sessions"] == {"used": 1, "limit": 8, "floor": 1, "standard": 64, "cap": 128}
    assert found["policies"]["used"] == 1
    assert found["session_bytes"]["used"] > 0
    assert asked(world, world.admin, "limits", "sessions").says == ("refused", "QUERY_INVALID")


def test_users_are_told_page_by_page_each_once_with_the_attributes_of_the_newest_login():
    """Two bridges, more persons than a page has, and one who logged in twice with other roles."""
    world = World.founded("users", bounds=TenantLimits(sessions=4000, persons=4000))
    bridges = [world.register("bridge", "one"), world.register("bridge", "two")]
    names = [f"p{n:03}" for n in range(limits.QUERY_USERS_MAX + 10)]
    for n, name in enumerate(names):
        log_in(world, bridges[n % 2], name, roles=("clerk",))
    world.advance(1000)
    log_in(world, bridges[0], "p001", roles=("lead",), company="Acme")

    first = told(world, "users")
    second = told(world, "users", first["next"])
    users = [*first["users"], *second["users"]]
    assert len(first["users"]) == limits.QUERY_USERS_MAX
    assert second["next"] is None
    assert [one["name"] for one in users] == [f"user:{name}" for name in names]
    assert users[1]["attributes"] == {"user": "p001", "roles": ["lead"], "company": "Acme"}
    assert (users[1]["bridge"], users[1]["login_at"], users[1]["is_open"]) == ("one", world.now, True)


@pytest.mark.parametrize("argument", ["user:ghost", "", 1, ["user:a"], "x" * 600, "\ud800"])
def test_a_page_that_begins_nowhere_is_refused(argument):
    """An argument that is the name of no person is no page's end."""
    world = World.founded()
    log_in(world, world.register("bridge", "one"), "a")
    assert asked(world, world.admin, "users", argument).says == ("refused", "QUERY_INVALID")


def test_one_tenants_administrator_is_told_of_no_other_tenants_users():
    """The same names, the same question: each log answers from its own tables, to its own key."""
    here, there = World.founded("here", tenant="acme"), World.founded("there", tenant="bolt")
    log_in(here, here.register("bridge", "one"), "ann")
    assert asked(there, here.admin, "users").says[1] == "UNKNOWN_KEY"
    assert [one["name"] for one in told(here, "users")["users"]] == ["user:ann"]
    assert told(there, "users")["users"] == []
