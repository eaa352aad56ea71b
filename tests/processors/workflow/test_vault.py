"""The vault: values that a session keeps on the log, in a chain that shows what was changed, and by nobody else."""

from hashlib import sha256

import pytest

from schemas import topics
from tests.workflow_world import ANYTHING, Workflow, forgotten, reply, told
from tests.world import HOUR_MS


@pytest.fixture
def world() -> Workflow:
    return Workflow.opened()


def linked(genesis: bytes, scope: str, changes: list[tuple[str, bytes]]) -> str:
    """Return h_n of a scope, by the words of docs/wire.md 9 alone: changes are (key, leaf of the event)."""

    def lp(part: bytes) -> bytes:
        return len(part).to_bytes(4, "big") + part

    h = b"\x00" * 32
    for n, (key, leaf) in enumerate(changes, 1):
        h = sha256(
            b"macaw/vault/v1\n" + genesis + lp(scope.encode()) + h + n.to_bytes(8, "big") + lp(key.encode()) + leaf
        ).digest()
    return h.hex()


def test_a_value_is_set_read_listed_and_deleted(world):
    """Each answer carries version, n and h; a read and a list change nothing."""
    set_first = reply(world.put(world.bot, "a", {"x": [1, None, "é"]}))
    assert (set_first["version"], set_first["n"]) == (1, 1)
    reply(world.put(world.bot, "b", 2))
    again = reply(world.put(world.bot, "a", "new"))
    assert (again["version"], again["n"]) == (3, 3)

    read = reply(world.nothing_changes(lambda: world.get(world.bot, "a")))
    assert (read["value"], read["version"], read["n"], read["author"]) == ("new", 3, 3, "bot")
    listed = reply(world.nothing_changes(lambda: world.keys_in(world.bot)))
    assert listed["keys"] == [{"key": "a", "version": 3}, {"key": "b", "version": 2}]
    gone = reply(world.drop(world.bot, "a"))
    assert (gone["version"], gone["n"]) == (0, 4)
    absent = reply(world.get(world.bot, "a"))
    assert (absent["value"], absent["version"], absent["n"]) == (None, 0, 4)


def test_any_json_comes_back_as_it_was(world):
    """Values are JSON, whatever they are."""
    for value in (None, True, 0, -1.5, 1e300, "", "\U0001f600", [], {}, {"a": {"b": [1, "2", None]}}):
        world.put(world.bot, "k", value)
        assert reply(world.get(world.bot, "k"))["value"] == value


def test_compare_and_set_loses_nothing(world):
    """Of two writers that read the same version the second is told, with the version that stands."""
    world.put(world.bot, "a", 1, expected=0)
    first = world.put(world.bot, "a", 2, expected=1)
    second = world.is_refused("VERSION_CONFLICT", lambda: world.put(world.bot, "a", 3, expected=1))

    assert (first.says, second.results[0].detail) == (("accepted", ""), "version=2")
    world.is_refused("VERSION_CONFLICT", lambda: world.drop(world.bot, "a", expected=1))
    assert reply(world.drop(world.bot, "a", expected=2))["n"] == 3
    world.is_refused("VERSION_CONFLICT", lambda: world.put(world.bot, "a", 3, expected=2))
    assert reply(world.put(world.bot, "a", 3, expected=0))["version"] == 4  # a version is never used again


def test_a_value_with_a_life_is_absent_after_it(world):
    """At its last millisecond it is there; then reads, lists and versions say absent, and the chain does not move."""
    world.put(world.bot, "a", 1, ttl_ms=1_000)
    before = reply(world.get(world.bot, "a"))
    world.advance(999)
    assert reply(world.get(world.bot, "a"))["value"] == 1
    ended = world.passes(1)

    assert len(forgotten(ended, topics.OPS_CONTEXT)) == 1
    read = reply(world.get(world.bot, "a"))
    assert (read["value"], read["version"], read["n"], read["h"]) == (None, 0, 1, before["h"])
    assert reply(world.keys_in(world.bot))["keys"] == []
    assert reply(world.put(world.bot, "a", 2, expected=0))["version"] == 2


@pytest.mark.parametrize("scope", ["session", "team"])
def test_the_chain_can_be_computed_by_anybody(world, scope):
    """h_n from the words of the design, over every accepted change and nothing else."""
    world.publish_policy({"policy_id": "agent:bot", "resources": ["vault:**"]})
    changes = []
    for folded, key in (
        (world.put(world.bot, "a", 1, scope), "a"),
        (world.put(world.bot, "é/b", 2, scope), "é/b"),
        (world.put(world.bot, "a", 3, scope, expected=9), None),
        (world.drop(world.bot, "a", scope), "a"),
        (world.get(world.bot, "é/b", scope), None),
        (world.put(world.bot, "a", 4, scope), "a"),
    ):
        if key is not None:
            changes.append((key, folded.entry.event))
            name = scope if scope != "session" else f"session:{world.bot.kid.hex()}"
            assert reply(folded)["scope"] == name
            assert reply(folded)["h"] == linked(world.genesis, name, changes)


def test_a_session_has_its_own_scope(world):
    """Another session of the same agent sees nothing of it, and changes nothing in it."""
    other = world.open_session(world.agent)
    world.put(world.bot, "a", 1)

    assert reply(world.get(other, "a"))["version"] == 0
    assert reply(world.keys_in(other)) == {
        "keys": [], "more": False, "prefix": "", "scope": f"session:{other.kid.hex()}", "n": 0, "h": bytes(32).hex(),
    }  # fmt: skip
    world.is_refused("VAULT_ABSENT", lambda: world.drop(other, "a"))
    foreign = f"session:{world.bot.kid.hex()}"
    world.is_refused("VAULT_FORM", lambda: world.get(other, "a", foreign))
    world.is_refused("VAULT_FORM", lambda: world.put(other, "a", 2, foreign))
    assert reply(world.get(world.bot, "a"))["value"] == 1


def test_a_sessions_values_leave_with_it(world):
    """At its end no row of it is left."""
    session = world.open_session(world.agent, ttl_ms=2 * HOUR_MS)
    world.put(session, "a", 1)
    world.put(session, "b", 1, ttl_ms=9 * HOUR_MS)
    world.passes(2 * HOUR_MS)

    assert (len(world.tables.vault), len(world.tables.scopes)) == (0, 0)


def test_a_shared_scope_is_what_policy_allows_of_it(world):
    """Each operation on each key is a resource; without a grant there is none."""
    nobody = world.open_session(world.register("agent", "nobody"))
    world.publish_policy({"policy_id": "agent:bot", "resources": ["vault:team/get/*", "vault:team/set/pub*"]})

    world.is_refused("NO_POLICY", lambda: world.get(nobody, "a", "team"))
    world.is_refused("RESOURCE_NOT_ALLOWED", lambda: world.put(world.bot, "secret", 1, "team"))
    assert reply(world.put(world.bot, "public", 1, "team"))["version"] == 1
    assert reply(world.get(world.bot, "public", "team"))["value"] == 1
    world.is_refused("RESOURCE_NOT_ALLOWED", lambda: world.drop(world.bot, "public", "team"))
    world.is_refused("RESOURCE_NOT_ALLOWED", lambda: world.keys_in(world.bot, "team"))
    world.is_refused("RESOURCE_NOT_ALLOWED", lambda: world.get(world.bot, "public", "other"))


def test_two_sessions_share_a_shared_scope(world):
    """What one wrote the other reads, with its author; the scope outlives both."""
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING}, {"policy_id": "agent:other", **ANYTHING})
    other = world.open_session(world.register("agent", "other"))
    world.put(world.bot, "a", 1, "team")
    world.put(other, "a", 2, "team", expected=1)

    read = reply(world.get(world.bot, "a", "team"))
    assert (read["value"], read["version"], read["author"]) == (2, 2, "other")
    world.passes(3 * HOUR_MS)
    third = world.open_session(world.agent)
    assert reply(world.get(third, "a", "team"))["version"] == 2


def test_a_policy_may_deny_a_session_its_own_scope(world):
    """No grant is needed for one's own memory, but a denial counts."""
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING, "denied_resources": ["vault:session/set/secret*"]})

    world.is_refused("RESOURCE_DENIED", lambda: world.put(world.bot, "secret-plan", 1))
    assert world.put(world.bot, "plan", 1).says == ("accepted", "")


def test_a_list_is_paged_in_order(world):
    """A page at a time, by prefix and after a key."""
    for key in ("b2", "a1", "b1", "b3", "c"):
        world.put(world.bot, key, 0)

    first = reply(world.keys_in(world.bot, prefix="b", limit=2))
    assert ([one["key"] for one in first["keys"]], first["more"]) == (["b1", "b2"], True)
    second = reply(world.keys_in(world.bot, prefix="b", after="b2", limit=2))
    assert ([one["key"] for one in second["keys"]], second["more"]) == (["b3"], False)
    assert reply(world.keys_in(world.bot, prefix="b", after="a"))["keys"][0]["key"] == "b1"


def test_views_are_told_of_keys_and_never_of_values(world):
    """What goes to the read path holds no value."""
    written = world.put(world.bot, "a", "a very secret value")

    [change] = told(written, topics.OPS_CONTEXT)
    assert (change.key, change.status, change.version, change.principal_id) == ("a", "set", 1, "bot")
    outputs = [one for one in written.outputs if one.topic is not topics.RESULTS]
    assert all(b"secret" not in (one.value or b"") for one in outputs)
    [answer] = written.of(topics.RESULTS)
    assert answer.recipients == ((world.bot.kid, world.bot.keys.sealing.public),)
