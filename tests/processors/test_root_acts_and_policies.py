"""What takes a threshold of root keys, and what an admin puts into force."""

from typing import Any

import pytest

from processors.proof import signing
from processors.state.bounds import TenantLimits
from schemas import codec, limits, topics
from schemas.events.keys import AdminAddition, RootSignature
from schemas.records import PolicyPublished
from tests.builders import Actor, Folded, keys_of, noise
from tests.world import Office, World


@pytest.fixture
def world() -> World:
    return World.founded()


def said(folded: Folded) -> str:
    """Return the reason of a refusal, having looked that nothing else came of it."""
    assert folded.entry.outcome == "refused"
    assert {output.topic for output in folded.outputs} <= {topics.RESULTS, topics.AUDIT}
    return folded.entry.reason


# ---- root acts


def addition(world: World, consents: list[Actor], **how: Any) -> Any:
    keys = how.pop("keys", None) or keys_of("second admin")
    return world.admin_addition(world.offer(keys, "admin", "second"), consents, **how)


@pytest.mark.parametrize(
    ("signers", "enough"),
    [([], False), ([0], False), ([0, 0], False), ([0, 0, 0, 0], False), ([0, 1], True), ([2, 0], True), ([1, 2], True),
     ([0, 1, 2], True), ([0, 0, 1], True)],
)  # fmt: skip
def test_two_of_three_root_keys_add_an_admin(world, signers, enough):
    """Distinct root keys count, in any order; one key that signs twice is one."""
    folded = world.send(addition(world, [world.roots[i] for i in signers]), world.roots[0])

    assert folded.says == (("accepted", "") if enough else ("refused", "BAD_ROOT_SIGNATURES"))
    assert (keys_of("second admin").kid in world.tables.keys.rows) is enough


def test_an_added_admin_is_an_admin(world):
    """Whom the root has added may do what the first admin may."""
    keys = keys_of("second admin")
    world.send(addition(world, world.roots[:2]), world.roots[2])
    second = Actor("admin", "second", keys)

    assert world.register("agent", "bot", by=second).principal_id == "bot"


def test_consents_of_others_than_root_keys_do_not_count(world):
    """An admin's, a monitor's or a stranger's signature is no consent, nor is a root key's under another kid."""
    stranger = Actor("root", "root", keys_of("stranger"))
    for consents in ([world.roots[0], world.admin], [world.roots[0], world.monitor], [world.roots[0], stranger]):
        assert said(world.send(addition(world, consents), world.roots[0])) == "BAD_ROOT_SIGNATURES"

    body = addition(world, [world.roots[0], world.roots[0]])
    first = body.root_signatures[0]
    forged = RootSignature(kid=world.roots[1].kid, signature=first.signature)
    replaced = type(body)(act=body.act, root_signatures=(first, forged))
    assert said(world.send(replaced, world.roots[0])) == "BAD_ROOT_SIGNATURES"


@pytest.mark.parametrize(
    "how", [{"genesis": noise("another tenant")}, {"genesis": signing.NO_GENESIS}, {"epoch": 1}], ids=str
)
def test_an_act_for_another_tenant_or_epoch_is_refused(world, how):
    """Root keys consent to one act in one tenant and one epoch."""
    assert said(world.send(addition(world, world.roots, **how), world.roots[0])) == "BAD_ROOT_SIGNATURES"


def test_consents_to_another_act_do_not_count(world):
    """A consent names the act, byte for byte."""
    good = addition(world, world.roots)
    other = addition(world, world.roots, keys=keys_of("evil"))
    spliced = type(good)(act=other.act, root_signatures=good.root_signatures)

    assert said(world.send(spliced, world.roots[0])) == "BAD_ROOT_SIGNATURES"


def consented(world: World, act: bytes) -> Any:
    message = signing.root_act_bytes(world.genesis, 0, act)
    signatures = [RootSignature(kid=r.kid, signature=r.keys.signing.sign(message)) for r in world.roots]
    return type(addition(world, []))(act=act, root_signatures=tuple(signatures))


def test_an_act_that_is_no_addition_of_an_admin_is_refused(world):
    """What the root keys signed must be whole and of the right kind, however many they are."""
    kind = codec.current("AdminAddition").sha256
    datum = codec.encode(AdminAddition(admin=world.offer(keys_of("second"), "admin", "second")))

    assert said(world.send(consented(world, b""), world.roots[0])) == "BAD_ROOT_SIGNATURES"
    assert said(world.send(consented(world, noise("other schema") + datum), world.roots[0])) == "BAD_ROOT_SIGNATURES"
    assert said(world.send(consented(world, kind), world.roots[0])) == "UNDECODABLE"
    assert said(world.send(consented(world, kind + datum + b"\x00"), world.roots[0])) == "UNDECODABLE"
    assert world.send(consented(world, kind + datum), world.roots[0]).says == ("accepted", "")


def test_the_root_adds_no_admin_without_possession_and_no_taken_key(world):
    """An added admin proves its key for the role of admin; an act that was done is not done again."""
    as_agent = world.admin_addition(world.offer(keys_of("a"), "agent", "second"), world.roots)
    assert said(world.send(as_agent, world.roots[0])) == "BAD_POSSESSION"
    taken = world.admin_addition(world.offer(world.monitor.keys, "admin", "second"), world.roots)
    assert said(world.send(taken, world.roots[0])) == "KEY_TAKEN"
    act = addition(world, world.roots)
    assert world.send(act, world.roots[0]).says == ("accepted", "")
    assert said(world.send(act, world.roots[1])) == "BAD_ROOT_SIGNATURES"  # an act that counted has ended its epoch


@pytest.mark.parametrize("name", ["", " second", "second\n", "second*"])
def test_the_root_adds_no_admin_whose_name_could_be_mistaken(world, name):
    """The rule for names holds for admins too."""
    act = world.admin_addition(world.offer(keys_of("second"), "admin", name), world.roots)

    assert said(world.send(act, world.roots[0])) == "NAME_INVALID"


def test_signatures_beyond_the_sixteenth_are_not_read(world):
    """A root act costs at most sixteen checks, whatever stands in it."""
    good = addition(world, world.roots)
    junk = tuple(RootSignature(kid=world.roots[0].kid, signature=bytes(64)) for _ in range(limits.ROOT_KEYS_MAX))
    padded = type(good)(act=good.act, root_signatures=junk + good.root_signatures)

    assert said(world.send(padded, world.roots[0])) == "BAD_ROOT_SIGNATURES"


# ---- policies


def test_a_policy_replaces_only_the_version_it_names():
    """Publishing over another version than the one in force is a conflict, and nothing of the event takes effect."""
    office = Office.opened()
    world = office.world
    stale = world.publication({"policy_id": "agent:bot", "resources": ["tool:a"]})
    world.publish_policy({"policy_id": "agent:bot", "resources": ["tool:b"]})
    before = world.rows(without=["sequences"])

    assert said(world.send(stale, world.admin)) == "E_CONFLICT"
    first = world.publication({"policy_id": "user:x", "resources": []}, {"policy_id": "user:x", "resources": ["a"]})
    assert said(world.send(first, world.admin)) == "E_CONFLICT"
    half = world.publication({"policy_id": "user:x", "resources": []}, {"policy_id": "user:y", "nonsense": 1})
    assert said(world.send(half, world.admin)).startswith("E_")
    assert world.rows(without=["sequences"]) == before


@pytest.mark.parametrize(
    "body",
    [
        PolicyPublished(documents=(), previous=()),
        PolicyPublished(documents=("{}",), previous=()),
        PolicyPublished(documents=(), previous=(None,)),
        PolicyPublished(documents=("{}",) * 65, previous=(None,) * 65),
    ],
    ids=["none", "no-previous", "no-document", "sixty-five"],
)
def test_a_publication_out_of_shape_is_refused(world, body):
    """One to 64 documents, and a former digest or null for each."""
    assert said(world.send(body, world.admin)) == "LIMIT_EXCEEDED"


def test_a_tenant_has_at_most_as_many_policies_as_its_limit():
    """Policies are bounded; what exceeds the bound takes no effect at all."""
    world = World.founded(bounds=TenantLimits(policies=2))
    documents = [{"policy_id": f"user:{i}", "resources": []} for i in range(3)]

    assert said(world.send(world.publication(*documents), world.admin)) == "LIMIT_EXCEEDED"
    assert not world.tables.policies.rows
    world.publish_policy(*documents[:2])


def test_an_admin_does_not_speak_for_the_organisation(world):
    """Restrictions of the organisation are signed with the key named at founding, which no admin holds."""
    folded = world.send(world.publication({"policy_id": "org:base", "resources": ["**"]}), world.admin)

    assert said(folded).startswith("E_")
