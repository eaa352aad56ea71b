"""What a threshold of root keys decides, and what a thief of some of them, or of all, cannot."""

from typing import Any

import pytest

from processors.identity.roots import recovery_epoch
from processors.proof import signing
from schemas import limits
from schemas.events.keys import AdminRemoval, AdminRemoved, RootSignature
from tests.builders import Actor, Folded, act_bytes, keys_of, noise
from tests.processors.test_keys_have_a_life import follows, said
from tests.world import World


@pytest.fixture
def world() -> World:
    return World.founded("life", next_root_digests=tuple(keys_of("next", i).kid for i in range(3)))


def test_the_roots_remove_an_admin_and_all_that_it_could_sign(world):
    """One key or all; a thief who is admin cannot hold on."""
    world.send(world.admin_removal("admin", world.roots[:2]), world.roots[0])

    assert (
        said(world.send(world.publication({"policy_id": "user:a", "resources": ["**"]}), world.admin)) == "REVOKED_KEY"
    )
    assert said(world.send(world.admin_removal("admin", world.roots[:2]), world.roots[0])) == "UNKNOWN_PRINCIPAL"
    assert said(world.send(world.admin_removal("monitor", world.roots[:2]), world.roots[0])) == "UNKNOWN_PRINCIPAL"
    keys = keys_of("second")
    world.send(world.admin_addition(world.offer(keys, "admin", "second"), world.roots[:2]), world.roots[1])
    assert world.register("agent", "bot", by=Actor("admin", "second", keys))
    follows(world)


@pytest.mark.parametrize("signers", [[], [0], [0, 0]])
def test_too_few_roots_remove_nobody(world, signers):
    """The threshold holds for removals as for additions."""
    act = world.admin_removal("admin", [world.roots[i] for i in signers])
    assert said(world.send(act, world.roots[0])) == "BAD_ROOT_SIGNATURES"


def rotated(world: World, new: list[Any], by: list[Actor], **how: Any) -> Folded:
    submitter = how.pop("submitter", by[0] if by else world.roots[0])
    how.setdefault("next_digests", world.tables.tenant.rows[b"-"].next_root_digests)
    return world.send(world.root_rotation(new, by, **how), submitter)


def test_the_present_roots_name_others_and_old_acts_count_no_more(world):
    """One of three is lost: the two that are left stay, and a new one joins them."""
    old = world.admin_addition(world.offer(keys_of("later"), "admin", "later"), world.roots[:2])
    new = [world.roots[0].keys, world.roots[1].keys, keys_of("fresh root")]
    assert rotated(world, new, world.roots[:2], threshold=2).says == ("accepted", "")

    row = world.tables.tenant.rows[b"-"]
    assert (row.root_epoch, row.root_threshold, len(row.root_keys)) == (1, 2, 3)
    assert said(world.send(old, world.roots[0])) == "BAD_ROOT_SIGNATURES"
    assert said(world.send(world.admin_removal("admin", world.roots[:2], epoch=1), world.roots[2])) == "REVOKED_KEY"
    assert world.send(world.admin_removal("admin", world.roots[:2], epoch=1), world.roots[1]).says == ("accepted", "")
    follows(world)


def test_a_new_root_key_shows_that_it_is_held(world):
    """A key that did not sign is nobody's, and may be a typing mistake that locks the tenant."""
    new = keys_of("fresh root")
    good = world.root_rotation([new], world.roots[:2], next_digests=world.founding.next_root_digests)
    without = type(good)(act=good.act, root_signatures=good.root_signatures[:2])
    forged = type(good)(
        act=good.act, root_signatures=(*good.root_signatures[:2], RootSignature(kid=new.kid, signature=bytes(64)))
    )

    assert said(world.send(without, world.roots[0])) == "BAD_ROOT_SIGNATURES"
    assert said(world.send(forged, world.roots[0])) == "BAD_ROOT_SIGNATURES"


def test_a_thief_of_all_present_roots_is_put_out_by_the_next_ones(world):
    """Present keys change neither the commitment nor its threshold, and cannot outrun a recovery that was signed."""
    committed = world.founding.next_root_digests
    thief, again = ([keys_of(name, i) for i in range(3)] for name in ("thief", "thief again"))
    for digests in ((), tuple(keys_of("thief's next", i).kid for i in range(3)), committed[:2]):
        assert said(rotated(world, thief, world.roots, threshold=2, next_digests=digests)) == "BAD_ROOT_SIGNATURES"
    for threshold in (1, 3):
        assert said(rotated(world, thief, world.roots, threshold=threshold)) == "BAD_ROOT_SIGNATURES"
    nexts = [keys_of("next", i) for i in range(3)]
    owner = Actor("root", "root", nexts[0])
    further = tuple(keys_of("further", i).kid for i in range(2))
    recovery = world.root_rotation(nexts, [], threshold=2, next_digests=further, epoch=recovery_epoch(committed))
    for before, after in ((world.roots, thief), ([Actor("root", "root", keys) for keys in thief], again)):
        assert rotated(world, after, before, threshold=2).says == ("accepted", "")

    assert world.send(recovery, owner).says == ("accepted", "")
    late = world.admin_removal("admin", [Actor("root", "root", keys) for keys in again])
    assert said(world.send(late, owner)) == "BAD_ROOT_SIGNATURES"
    assert said(world.send(recovery, owner)) == "BAD_ROOT_SIGNATURES"  # the commitment that it stood under is gone
    assert world.tables.tenant.rows[b"-"].next_root_digests == further
    follows(world)


def test_one_stolen_next_key_recovers_nothing(world):
    """The threshold of the founding holds for the next keys, whatever the present ones do."""
    committed = world.founding.next_root_digests
    one = keys_of("next", 0)
    alone = world.root_rotation([one], [], threshold=1, next_digests=(), epoch=recovery_epoch(committed))
    mixed = world.root_rotation([one], world.roots[:1], threshold=1, next_digests=(), epoch=recovery_epoch(committed))
    for act in (alone, mixed):
        assert said(world.send(act, Actor("root", "root", one))) == "BAD_ROOT_SIGNATURES"


def test_an_act_counts_once(world):
    """One root key that never signed it could submit it again years later, when an admin of that name is back."""
    second = keys_of("second")
    add = world.admin_addition(world.offer(second, "admin", "second"), world.roots[:2])
    assert world.send(add, world.roots[0]).says == ("accepted", "")
    remove = world.admin_removal("second", world.roots[:2])
    assert world.send(remove, world.roots[0]).says == ("accepted", "")
    back = world.admin_addition(world.offer(keys_of("second again"), "admin", "second"), world.roots[:2])
    assert world.send(back, world.roots[0]).says == ("accepted", "")

    assert said(world.send(remove, world.roots[2])) == "BAD_ROOT_SIGNATURES"
    assert keys_of("second again").kid in world.tables.principals.rows[b"second"].kids
    follows(world)


def test_a_stranger_submits_no_recovery(world):
    """Only a key whose digest the log has may speak before it is registered, and only with its own rotation."""
    stranger = Actor("root", "root", keys_of("stranger"))
    assert said(rotated(world, [stranger.keys], [], submitter=stranger)) == "UNKNOWN_KEY"
    owner = Actor("root", "root", keys_of("next", 0))
    assert said(rotated(world, [stranger.keys], [], submitter=owner)) == "UNKNOWN_KEY"
    assert said(world.send(world.admin_removal("admin", [owner]), owner)) == "UNKNOWN_KEY"
    alone = rotated(world, [owner.keys], [], submitter=owner, next_digests=())
    assert said(alone) == "BAD_ROOT_SIGNATURES"  # one of three is below the threshold of two


@pytest.mark.parametrize(
    "how",
    [{"threshold": 0}, {"threshold": 2}, {"next_digests": (b"short",)}, {"next_digests": (noise("a"), noise("a"))},
     {"next_digests": (keys_of("next", 0).kid,)}],
    ids=str,
)  # fmt: skip
def test_a_rotation_of_no_form_changes_nothing(world, how):
    """A threshold nobody can meet, and a commitment to a key that is in use, would lock the tenant."""
    nexts = [keys_of("next", 0), keys_of("next", 1)] if "next_digests" in how else [keys_of("next", 0)]
    owner = Actor("root", "root", nexts[0])
    assert said(rotated(world, nexts, world.roots, submitter=owner, **how)) == "BAD_ROOT_SIGNATURES"
    assert world.tables.tenant.rows[b"-"].root_epoch == 0


@pytest.mark.parametrize(
    "digests", [(noise("a"),), (noise("a"), noise("a")), (b"x", b"y"), tuple(noise(str(i)) for i in range(17))], ids=len
)
def test_a_founding_commits_to_a_whole_threshold_or_to_nothing(digests):
    """A recovery that cannot reach the threshold would be a promise nobody can keep."""
    world = World("f", next_root_digests=digests)
    assert world.found().says == ("refused", "BAD_ROOT_SIGNATURES")


def test_a_rotation_is_not_played_back(world):
    """The epoch stands under every signature."""
    new = [keys_of("a"), keys_of("b")]
    digests = world.founding.next_root_digests
    first = world.root_rotation(new, world.roots[:2], threshold=2, next_digests=digests)
    assert world.send(first, world.roots[0]).says == ("accepted", "")
    held = [Actor("root", "root", keys) for keys in new]
    back = world.root_rotation([r.keys for r in world.roots], held, threshold=2, next_digests=digests)
    assert said(world.send(back, held[0])) == "KEY_TAKEN"  # a root key that was put out does not come back
    assert said(world.send(first, held[0])) == "BAD_ROOT_SIGNATURES"


def test_the_acts_of_the_roots_are_bounded():
    """Sixteen signatures for an act, and sixteen more for new roots."""
    assert limits.ROOT_KEYS_MAX == 16
    world = World.founded("b")
    act = world.root_rotation([keys_of("n")], world.roots[:2])
    junk = tuple(RootSignature(kid=noise(str(i)), signature=bytes(64)) for i in range(33))
    padded = type(act)(act=act.act, root_signatures=(*act.root_signatures, *junk))
    assert said(world.send(padded, world.roots[0])) == "BAD_ROOT_SIGNATURES"
    long = World.founded("c")
    data = act_bytes(AdminRemoval(principal_id="admin", kid=None, reason="x" * 60_000))
    message = signing.root_act_bytes(long.genesis, 0, data)
    consents = tuple(RootSignature(kid=r.kid, signature=r.keys.signing.sign(message)) for r in long.roots)
    assert said(long.send(AdminRemoved(act=data, root_signatures=consents), long.roots[0])) == "LIMIT_EXCEEDED"
