"""The founding of a tenant: once, at offset zero, from the configured event."""

from hashlib import sha256

import pytest

from processors.proof import signing
from processors.state.tables import Tables
from schemas import codec
from tests.builders import keys_of, noise
from tests.processors.test_authority import said
from tests.world import World


@pytest.mark.parametrize("offset", [1, 2, 10**12])
def test_a_tenant_is_founded_at_offset_zero_only(offset):
    """The configured founding event anywhere else founds nothing."""
    world = World()
    (headers,) = world.sign([world.founding_draft], world.admin)
    folded = world.fold(world.founding_draft.value, headers, offset=offset)

    assert said(folded) == "NOT_GENESIS"
    assert not any(world.rows(without=["sequences"]).values())


def test_a_tenant_is_founded_once():
    """The founding event again is a duplicate, and another one is refused."""
    world = World.founded()
    before = world.rows(without=["sequences"])

    assert world.found().says == ("refused", "DUPLICATE")
    assert said(world.send(world.founding, world.admin)) == "NOT_GENESIS"
    assert world.rows(without=["sequences"]) == before


def test_a_founding_event_of_another_digest_is_refused():
    """What is not the configured event, byte for byte, founds nothing, even from the same admin key."""
    world = World()
    value, headers = world.signed(world.founding, world.admin)
    assert value != world.founding_draft.value

    assert said(world.fold(value, headers)) == "NOT_GENESIS"


def test_a_founding_event_signed_by_another_than_its_first_admin_is_refused():
    """Nobody else can submit the founding event, not even its monitor."""
    world = World()
    (headers,) = world.sign([world.founding_draft], world.monitor)

    assert world.fold(world.founding_draft.value, headers).says == ("refused", "UNKNOWN_KEY")
    assert not any(world.rows().values())


@pytest.mark.parametrize("served", [{"tenant": "acme", "deployment": "prod"}, {"tenant": "acmf", "deployment": "test"}])
def test_a_founding_event_that_names_another_place_is_refused(served):
    """Tenant and deployment inside the event are those that the monitor serves, even where the digest is configured."""
    world = World()
    tables = Tables(**served, genesis=world.genesis)
    draft = world.draft(world.founding, world.admin, place_tenant=served["tenant"])
    tables.genesis = sha256(draft.value[codec.FRAME_BYTES :]).digest()
    (headers,) = world.sign([draft], world.admin)

    assert said(world.fold_into(tables, world.receive(draft.value, headers))) == "NOT_GENESIS"
    assert not tables.tenant.rows


@pytest.mark.parametrize(
    ("founding", "reason"),
    [
        ({"root_threshold": 0}, "BAD_ROOT_SIGNATURES"),
        ({"root_threshold": -1}, "BAD_ROOT_SIGNATURES"),
        ({"root_threshold": 4}, "BAD_ROOT_SIGNATURES"),
        ({"root_keys": ()}, "BAD_ROOT_SIGNATURES"),
        ({"root_keys": (keys_of("r").signing.public,) * 3}, "BAD_ROOT_SIGNATURES"),
        ({"root_keys": tuple(keys_of("r", i).signing.public for i in range(17))}, "BAD_ROOT_SIGNATURES"),
        ({"root_keys": (bytes(32),), "root_threshold": 1}, "BAD_KEY"),
        ({"root_keys": (b"",), "root_threshold": 1}, "BAD_KEY"),
        ({"root_keys": (keys_of("founder", "admin").signing.public,), "root_threshold": 1}, "KEY_TAKEN"),
        ({"monitor": keys_of("founder", "admin").offer("monitor", "monitor", signing.NO_GENESIS)}, "KEY_TAKEN"),
        ({"monitor": keys_of("m").offer("monitor", "admin", signing.NO_GENESIS)}, "REGISTRATION_CONFLICT"),
        ({"monitor": keys_of("m").offer("monitor", "root", signing.NO_GENESIS)}, "REGISTRATION_CONFLICT"),
        ({"monitor": keys_of("m").offer("monitor", "", signing.NO_GENESIS)}, "NAME_INVALID"),
        ({"monitor": keys_of("m").offer("monitor", "m*", signing.NO_GENESIS)}, "NAME_INVALID"),
        ({"monitor": keys_of("m").offer("agent", "monitor", signing.NO_GENESIS)}, "BAD_POSSESSION"),
        ({"monitor": keys_of("m").offer("monitor", "monitor", noise("genesis"))}, "BAD_POSSESSION"),
    ],
)
def test_a_founding_event_that_contradicts_itself_founds_nothing(founding, reason):
    """Even under its own genesis a founding event with bad keys or an impossible threshold is refused whole."""
    threshold = {"root_threshold": founding.pop("root_threshold")} if "root_threshold" in founding else {}
    world = World("founder", **threshold, **founding)

    assert said(world.found()) == reason
    assert not any(world.rows(without=["sequences"]).values())
