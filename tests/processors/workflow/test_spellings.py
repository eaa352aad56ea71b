"""One person in several spellings: what forbids takes them for one, what allows takes them to the letter."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.policy.names import known_as
from tests.workflow_world import ANYTHING, PAY, Workflow

KEY = "board"
FULL = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
SPELLINGS = [
    str.upper, str.title, str.swapcase,
    lambda name: name.translate(FULL),
    lambda name: unicodedata.normalize("NFD", name),
    lambda name: f" {name}  ",
    lambda name: name.replace("a", "\u24d0").replace("o", "\u00ba"),
]  # fmt: skip
PEOPLE = ["carol", "carol doe", "josé", "weiß", "Ω"]
spelt = st.lists(st.sampled_from(SPELLINGS), min_size=1, max_size=3)


def in_turn(name: str, spellings) -> str:
    for spelling in spellings:
        name = spelling(name)
    return name


def test_spellings_are_more_than_one() -> None:
    """Else the tests below would compare a name with itself."""
    assert len({spelling("carol") for spelling in SPELLINGS}) == len(SPELLINGS) - 1  # NFD changes accents only
    assert len({known_as(spelling("carol")) for spelling in SPELLINGS}) == 1


def board(quorum: int = 2) -> Workflow:
    """Return a world in which a board must agree to each payment."""
    world = Workflow.opened()
    world.require(KEY, approval_criteria="role:manager", quorum=quorum, timeout=600)
    world.publish_policy({"policy_id": "role:manager", **ANYTHING})
    return world


@pytest.fixture
def world() -> Workflow:
    return board()


@settings(deadline=None, max_examples=60)
@given(name=st.sampled_from(PEOPLE), spellings=spelt, which=st.sampled_from(["user", "email", "mixed"]))
def test_no_spelling_makes_two_people_of_one(name, spellings, which) -> None:
    """Whether it is the user's name or the address that is known, or one as the other."""
    world = board()
    asked = world.pay()
    mail = f"{name}@x.example"
    first, other = {
        "user": ({"user": name}, {"user": in_turn(name, spellings)}),
        "email": ({"user": None, "email": mail}, {"user": None, "email": in_turn(mail, spellings)}),
        "mixed": ({"user": name}, {"user": "somebody else", "email": in_turn(name, spellings)}),
    }[which]
    one = world.person("one", "manager", **first)
    two = world.person("two", "manager", **other)

    assert world.approve(one, asked, KEY).says == ("accepted", "")
    world.is_refused("APPROVER_DUPLICATE", lambda: world.approve(two, asked, KEY))
    assert world.finals(asked.entry.event) == []


@settings(deadline=None, max_examples=60)
@given(name=st.sampled_from(PEOPLE), spellings=spelt, which=st.sampled_from(["user", "email", "principal"]))
def test_nobody_approves_a_call_of_their_own_in_another_spelling(name, spellings, which) -> None:
    """Neither in whose name an agent asks, nor whose agent it is."""
    world, mail = board(), f"{name}@x.example"
    alice = world.person("alice", "manager", user=name, email=mail)
    leaf = world.grant_to(alice, "bot").entry.event
    asked = world.pay(on_behalf_of=leaf)
    other = {
        "user": {"user": in_turn(name, spellings)},
        "email": {"user": "x", "email": in_turn(mail, spellings)},
        "principal": {"user": in_turn(alice.principal_id, spellings)},
    }[which]

    assert asked.says[0] == "pending"
    by = world.person("again", "manager", **other)
    world.is_refused("APPROVER_IS_REQUESTER", lambda: world.approve(by, asked, KEY))


@pytest.mark.parametrize("spelling", ["user:Alice", "user:\uff41lice", "USER:alice"])
def test_nobody_delegates_to_their_own_name_or_in_a_circle(world, spelling) -> None:
    """A name of the delegator in another spelling is no other party."""
    if spelling.startswith("user:"):
        world.person(spelling.removeprefix("user:"), "manager")
    alice = world.person("alice", "manager")
    world.is_refused("DELEGATION_SELF", lambda: world.grant_to(alice, spelling))

    first = world.grant_to(alice, "bot").entry.event
    refused = world.grant_to(world.bot, spelling, parent=first).says
    assert refused[1] == ("DELEGATION_CYCLE" if spelling.startswith("user:") else "UNKNOWN_PRINCIPAL")


@pytest.mark.parametrize(
    "document",
    [
        {"constraints": {"rate_limit": 1}},
        {"sequence": [{"id": "one", "when": PAY, "at_most": 1, "per": "user"}]},
        {"sequence": [{"id": "sum", "when": PAY, "sum": "amount", "max": 15, "per": "user"}]},
    ],
    ids=["rate", "count", "sum"],
)
def test_a_persons_limit_is_one_in_all_spellings(document) -> None:
    """Two identity providers may write one name in two ways: it has one bucket and one cell."""
    world = Workflow.opened()
    world.publish_policy({"policy_id": "role:manager", **ANYTHING, **document})
    outcomes = [world.pay(by=world.person(name, "manager")).says[0] for name in ("carol", "Carol", "\uff43arol", "bob")]

    assert outcomes == ["allowed", "denied", "denied", "allowed"]


def test_what_allows_is_to_the_letter(world) -> None:
    """A role, a user that criteria name, and a delegate are who they are called, and nobody who is spelt alike."""
    world.require(KEY, who="agent:exact", approval_criteria="user:dora", timeout=600)
    exact = world.open_session(world.register("agent", "exact"))
    asked = world.pay(by=exact)
    for by in (world.person("d1", "manager", user="Dora"), world.person("d2", "Manager", user="dor\u00e0")):
        world.is_refused("APPROVER_NOT_AUTHORIZED", lambda by=by: world.approve(by, asked, KEY))
    assert world.approve(world.person("dora"), asked, KEY).says == ("accepted", "")

    leaf = world.grant_to(world.person("erin", "manager"), "bot").entry.event
    world.register("agent", "bot2")
    assert world.pay(by=world.person("bot", "manager"), on_behalf_of=leaf).says == ("denied", "DELEGATION_BROKEN")
