"""How a key enters the registry: possession, names, attributes and bounds."""

import pytest

from processors.intake import authority
from processors.proof import signing
from processors.state.bounds import TenantLimits
from schemas import limits, topics
from schemas.events.attributes import Attributes
from tests.builders import Folded, keys_of, noise
from tests.cast import Cast
from tests.engines import NEWEST
from tests.world import World


@pytest.fixture
def world() -> World:
    return World.founded()


@pytest.fixture
def cast() -> Cast:
    return Cast(**NEWEST)


def said(folded: Folded) -> str:
    """Return the reason of a refusal, having looked that nothing else came of it."""
    assert folded.entry.outcome == "refused"
    assert {output.topic for output in folded.outputs} <= {topics.RESULTS, topics.AUDIT}
    return folded.entry.reason


def test_possession_is_proved_for_this_role_name_and_tenant(world):
    """A key offered under another role, name, tenant or sealing key than it signed for is refused."""
    keys = keys_of("newcomer")
    good = world.offer(keys, "agent", "newcomer")
    offers = {
        "role": world.offer(keys, "tool", "newcomer"),
        "name": world.offer(keys, "agent", "somebody", principal_id="newcomer"),
        "tenant": keys.offer("agent", "newcomer", noise("another genesis")),
        "founding": keys.offer("agent", "newcomer", signing.NO_GENESIS),
        "sealing": world.offer(keys, "agent", "newcomer", x25519=keys_of("other").sealing.public),
        "signing": world.offer(keys, "agent", "newcomer", ed25519=keys_of("other").signing.public),
        "empty": world.offer(keys, "agent", "newcomer", possession=b""),
        "zero": world.offer(keys, "agent", "newcomer", possession=bytes(64)),
    }
    for what, offer in offers.items():
        folded = world.send(world.registration("agent", "newcomer", offer=offer), world.admin)
        assert said(folded) == "BAD_POSSESSION", what

    assert world.send(world.registration("agent", "newcomer", offer=good), world.admin).says == ("accepted", "")


# The eight points whose order divides 8, and encodings of them that are not canonical.
SMALL_ORDER_ED25519 = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]
SMALL_ORDER_X25519 = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


@pytest.mark.parametrize("point", SMALL_ORDER_ED25519)
def test_a_signing_key_of_small_order_is_refused(world, point):
    """A key under which one signature fits many messages never enters the registry, nor opens a session."""
    offer = world.offer(keys_of("x"), "agent", "newcomer", ed25519=bytes.fromhex(point))
    agent = world.register("agent", "bot")

    assert said(world.send(world.registration("agent", "newcomer", offer=offer), world.admin)) == "BAD_KEY"
    key = world.offer(keys_of("x"), "session", "bot", ed25519=bytes.fromhex(point))
    assert said(world.send(world.session_of(agent, keys=keys_of("x"), key=key), agent)) == "BAD_KEY"


@pytest.mark.parametrize("point", SMALL_ORDER_X25519)
def test_a_sealing_key_of_small_order_is_refused(world, point):
    """A key to which everybody can open what is sealed is refused, although its owner signs for it."""
    keys, x25519 = keys_of("x"), bytes.fromhex(point)
    message = signing.possession_bytes(world.genesis, "agent", "newcomer", keys.signing.public, x25519)
    offer = world.offer(keys, "agent", "newcomer", x25519=x25519, possession=keys.signing.sign(message))

    assert said(world.send(world.registration("agent", "newcomer", offer=offer), world.admin)) == "BAD_KEY"


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
@pytest.mark.parametrize("half", ["ed25519", "x25519"])
def test_a_key_of_another_length_is_refused(world, half, length):
    """Both halves of an offer are 32 bytes, also where the owner signed for what it offers."""
    keys = keys_of("x")
    halves = {"ed25519": keys.signing.public, "x25519": keys.sealing.public}
    halves[half] = (halves[half] * 2)[:length]
    message = signing.possession_bytes(world.genesis, "agent", "newcomer", halves["ed25519"], halves["x25519"])
    offer = world.offer(keys, "agent", "newcomer", **halves, possession=keys.signing.sign(message))

    assert said(world.send(world.registration("agent", "newcomer", offer=offer), world.admin)) == "BAD_KEY"


@pytest.mark.parametrize("holder", sorted(authority.ROLES))
@pytest.mark.parametrize("wanted", ["agent", "tool", "monitor", "enrolment"])
def test_a_key_that_holds_one_role_can_hold_no_other(cast, holder, wanted):
    """One key, one role: a registered key, a root key or a session's is never registered again."""
    keys = cast.actors[holder].keys
    folded = cast.world.send(cast.world.registration(wanted, "newcomer", keys=keys), cast.world.admin)

    assert said(folded) == "KEY_TAKEN"


@pytest.mark.parametrize("holder", sorted(authority.ROLES))
def test_a_key_that_holds_a_role_is_no_session(cast, holder):
    """A session's key is fresh: no registered key, no root key, no other session's."""
    agent = cast.actors["agent"]
    folded = cast.world.send(cast.world.session_of(agent, keys=cast.actors[holder].keys), agent)

    assert said(folded) == "KEY_TAKEN"


def test_a_revoked_key_is_never_registered_again(world):
    """A revoked key stays taken, under its old role and any other."""
    agent = world.register("agent", "leaver")
    world.revoke("leaver")

    for role in ("agent", "tool"):
        folded = world.send(
            world.registration(role, "leaver" if role == "agent" else "new", keys=agent.keys), world.admin
        )
        assert said(folded) == "KEY_TAKEN"


@pytest.mark.parametrize("taken", ["root", "admin", "monitor", "the-tool", "the-enrolment"])
def test_a_name_keeps_its_role(cast, taken):
    """An agent cannot be registered under the name of a principal of another role."""
    folded = cast.world.send(cast.world.registration("agent", taken), cast.world.admin)

    assert said(folded) == "REGISTRATION_CONFLICT"


def test_a_name_keeps_its_role_even_after_all_its_keys_are_revoked(world):
    """What a name stood for in the log does not change."""
    world.register("agent", "leaver")
    world.revoke("leaver")

    assert said(world.send(world.registration("tool", "leaver"), world.admin)) == "REGISTRATION_CONFLICT"
    assert world.send(world.registration("agent", "leaver"), world.admin).says == ("accepted", "")


@pytest.mark.parametrize(
    "name",
    ["", " ", "a ", " a", "a\n", "a\x00", "a\u200b", "*", "a*", "x" * 257, "\u212aYC-bot",
     *(f"b{hidden}ot" for hidden in "\u034f\ufe0f\U000e0100\u3164\u1160\uffa0\u17b4\u180b\u2065\u2800\u00ad"),
     "user:carol", "User:carol", "\uff55ser:carol", "user\uff1acarol", "u\u017fer:carol", "USER:", "tool:bank",
     "\U0001d42dool:x", "Workload:x"],
)  # fmt: skip
def test_a_name_that_could_be_mistaken_is_refused(world, name):
    """Names are 1 to 256 characters that show, without outer blanks or asterisks, and no person's in any spelling."""
    assert said(world.send(world.registration("agent", name), world.admin)) == "NAME_INVALID"


@pytest.mark.parametrize(
    "attributes",
    [Attributes(user="a*"), Attributes(user="a\0"), Attributes(clearance="a\u200b"), Attributes(roles=("a", "*")),
     Attributes(user="x" * limits.ATTRIBUTES_BYTES_MAX), Attributes(subjects=("",) * limits.ATTRIBUTES_BYTES_MAX)],
)  # fmt: skip
def test_attributes_that_no_policy_can_read_are_refused(world, attributes):
    """Attributes are texts that cannot be taken for patterns, and not too much of them."""
    folded = world.send(world.registration("agent", "newcomer", attributes=attributes), world.admin)

    assert said(folded) == "ATTRIBUTE_INVALID"


@pytest.mark.parametrize("ahead", [0, -1, -10_000])
def test_a_registration_that_ends_before_it_begins_is_refused(world, ahead):
    """An expiry lies after log time."""
    body = world.registration("agent", "newcomer", expires_at=world.now + ahead)

    assert said(world.send(body, world.admin)) == "EXPIRED_KEY"


def test_a_principal_has_at_most_sixteen_live_keys(world):
    """The seventeenth live instance is refused, until one of them is revoked."""
    keys = [world.register("agent", "fleet") for _ in range(limits.INSTANCE_KEYS_MAX)]

    assert said(world.send(world.registration("agent", "fleet"), world.admin)) == "LIMIT_EXCEEDED"
    world.revoke("fleet", kid=keys[3].kid)
    world.register("agent", "fleet")
    assert said(world.send(world.registration("agent", "fleet"), world.admin)) == "LIMIT_EXCEEDED"


def test_an_expired_instance_makes_room_for_another(world):
    """Only live keys count: a fleet whose keys expire can be renewed for ever."""
    for _ in range(3):
        for _ in range(limits.INSTANCE_KEYS_MAX):
            world.register("agent", "fleet", expires_at=world.now + 1000)
        assert said(world.send(world.registration("agent", "fleet"), world.admin)) == "LIMIT_EXCEEDED"
        world.advance(1000)
    assert len(world.tables.principals.rows[b"fleet"].kids) == limits.INSTANCE_KEYS_MAX


def test_a_tenant_has_at_most_as_many_keys_as_its_limit():
    """The registry is bounded, and the bound is a refusal."""
    world = World.founded(bounds=TenantLimits(keys=1))  # what was founded counts for nobody
    world.register("agent", "first")

    assert said(world.send(world.registration("agent", "second"), world.admin)) == "LIMIT_EXCEEDED"


@pytest.mark.parametrize("like", ["Bot", "BOT", "\uff42ot", "b\u014dt"])
@pytest.mark.parametrize("role", ["agent", "tool", "approver"])
def test_no_two_names_differ_in_their_spelling_only(world, like, role):
    """Or denials, limits and people would be fooled; an accent makes another letter, and another name."""
    world.register("agent", "bot")
    world.revoke("bot")
    folded = world.send(world.registration(role, like), world.admin)

    assert folded.says == (("accepted", "") if like == "b\u014dt" else ("refused", "REGISTRATION_CONFLICT"))
