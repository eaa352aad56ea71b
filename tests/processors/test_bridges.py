"""Sessions of persons: a bridge says who somebody is, for its issuers, and where the tenant believes them."""

from typing import Any

import pytest

from processors.identity.issuers import DEVELOPMENT_ISSUER
from schemas.events.attributes import Attributes
from tests.builders import Actor, keys_of
from tests.world import HOUR_MS, World

KEYS = keys_of("a person's session")
ISSUERS = Attributes(issuers=(DEVELOPMENT_ISSUER,))


@pytest.fixture
def world() -> World:
    return World.founded()


@pytest.fixture
def bridge(world: World) -> Actor:
    return world.register("bridge", "the-bridge")


def test_a_person_acts_with_the_attributes_that_the_bridge_named(world, bridge):
    """Policies for a person's roles judge the calls of a session that a bridge opened."""
    world.register("tool", "calc")
    world.publish_policy({"policy_id": "role:analyst", "resources": ["tool:calc/*"]})
    assert world.send(world.person_session(keys=KEYS), bridge).says == ("accepted", "")
    alice = Actor("session", "user:alice", KEYS)

    assert world.call(alice, "tool:calc/run").says == ("allowed", "")
    assert world.call(alice, "tool:calc2/run").says[0] == "denied"
    [row] = world.tables.sessions.rows.values()
    assert (row.principal_id, row.role, row.opened_by) == ("user:alice", "user", bridge.kid)


def test_the_sessions_of_a_revoked_bridge_end_with_it(world, bridge):
    """Whoever was let in by a key that is not trusted any more is out."""
    world.send(world.person_session(keys=KEYS), bridge)
    world.revoke("the-bridge")

    assert world.call(Actor("session", "user:alice", KEYS), "tool:calc/run").says == ("refused", "EXPIRED_SESSION")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"issuer": None}, "WRONG_ROLE"),
        ({"issuer": "https://login.example"}, "WRONG_ROLE"),
        ({"attributes": None}, "ATTRIBUTE_INVALID"),
        ({"attributes": Attributes(roles=("*",))}, "ATTRIBUTE_INVALID"),
        ({"attributes": Attributes(groups=("e\u0301", "\u00e9"))}, "ATTRIBUTE_INVALID"),
        ({"attributes": Attributes(groups=tuple(map(str, range(257))))}, "ATTRIBUTE_INVALID"),
        ({"token_sha256": bytes(32)}, "NOT_SUPPORTED"),
        ({"login_ref": bytes(32)}, "NOT_SUPPORTED"),
        ({"ttl_ms": 0}, "SESSION_TTL"),
        ({"ttl_ms": 25 * HOUR_MS}, "SESSION_TTL"),
        ({"principal_id": "user:bob"}, "WRONG_PRINCIPAL"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bridge_says_what_it_may_and_no_more(world, bridge, wrong: dict[str, Any], reason):
    """A person's session needs its issuer, its attributes, and a key that was made for that person."""
    assert world.send(world.person_session(keys=KEYS, **wrong), bridge).says == ("refused", reason)
    assert not world.tables.sessions.rows


@pytest.mark.parametrize("name", ["the-bridge", "the-agent", "admin", "alice", "User:alice"])
def test_a_bridge_speaks_for_no_program(world, bridge, name):
    """A session of an agent, of the admin or of the bridge itself is not a bridge's to open."""
    world.register("agent", "the-agent")

    assert world.send(world.person_session(name, keys=KEYS), bridge).says == ("refused", "WRONG_PRINCIPAL")


@pytest.mark.parametrize("name", ["user:", "user: alice ", "user:a*", "user:a\nb", "user:" + "a" * 300, "user:e\u0301"])
def test_a_persons_name_is_printable_and_in_one_spelling(world, bridge, name):
    """What stands on the log as a person's name can be read, and nobody has two."""
    assert world.send(world.person_session(name, keys=KEYS), bridge).says == ("refused", "NAME_INVALID")


@pytest.mark.parametrize("role", ["agent", "service", "tool"])
def test_no_program_is_named_like_a_person(world, role):
    """A program that could take a person's name would be taken for the person on the log."""
    folded = world.send(world.registration(role, "user:alice"), world.admin)

    assert folded.says == ("refused", "NAME_INVALID")


@pytest.mark.parametrize(
    ("issuers", "reason"),
    [
        ((), "ATTRIBUTE_INVALID"),
        (("https://login.example",), "UNKNOWN_PROVIDER"),
        ((DEVELOPMENT_ISSUER, "x"), "UNKNOWN_PROVIDER"),
    ],
)
def test_a_bridge_is_registered_for_issuers_that_the_tenant_trusts(world, issuers, reason):
    """A bridge for another issuer would speak for a provider that no admin has chosen."""
    registration = world.registration("bridge", "the-bridge", attributes=Attributes(issuers=issuers))

    assert world.send(registration, world.admin).says == ("refused", reason)


def test_only_a_tenant_for_development_believes_a_file_of_persons():
    """In any other tenant a bridge for the file is refused at its registration."""
    world = World.founded(development=False)
    folded = world.send(world.registration("bridge", "the-bridge", attributes=ISSUERS), world.admin)

    assert folded.says == ("refused", "NOT_DEVELOPMENT")


def test_an_agent_cannot_open_a_persons_session(world):
    """Neither for a person nor with attributes of its own choice."""
    agent = world.register("agent", "bot")

    assert world.send(world.person_session(keys=KEYS), agent).says == ("refused", "WRONG_PRINCIPAL")
    own = world.session_of(agent, keys=KEYS, attributes=Attributes(roles=("analyst",)))
    assert world.send(own, agent).says == ("refused", "WRONG_ROLE")
