"""Questions whose answer has more rows than a page: every row is told once, and nobody pages in another's list."""

import json

import pytest

from processors.calls.attestations import record_id
from schemas import limits
from schemas.events.workflow import DelegationGranted, StateQueried
from tests.workflow_world import CHECK, Workflow, attests, reply
from tests.world import HOUR_MS

PAGE = limits.QUERY_DELEGATIONS_MAX
ATTESTATIONS = limits.QUERY_ROWS_MAX


@pytest.fixture
def world() -> Workflow:
    return Workflow.opened()


def pages_of(world: Workflow, by, what: str, argument: object = None) -> list[dict]:
    """Ask, and on with each `next`."""
    found = [reply(world.nothing_changes(lambda: world.ask(by, what, argument)))]
    while found[-1]["next"] is not None:
        assert len(found) < 10
        found.append(reply(world.ask(by, what, found[-1]["next"])))
    return found


def ids(pages: list[dict], name: str, of: str) -> list[str]:
    return [one[of] for page in pages for one in page[name]]


def attested(world: Workflow, session, count: int) -> set[str]:
    """Let the desk attest so many keys into a session, and return their ids."""
    for begin in range(0, count, limits.ATTESTATIONS_PER_REPORT_MAX):
        numbers = range(begin, min(begin + limits.ATTESTATIONS_PER_REPORT_MAX, count))
        told = world.ran(session, CHECK, *(attests(f"checked.{n}") for n in numbers))
        assert told.says[0] == "accepted"
    return {record_id(session.kid, f"checked.{n}", CHECK).hex() for n in range(count)}


def test_every_delegation_of_both_lists_is_told_once(world):
    """A page holds so many rows of both together, and ends with null where nothing follows."""
    alice, bea = world.person("alice"), world.person("bea")
    given = {world.grant_to(alice, "user:bea").entry.event.hex() for _ in range(PAGE - 20)}
    got = {world.grant_to(bea, "user:alice").entry.event.hex() for _ in range(PAGE + 30)}
    world.grant_to(bea, "bot")

    pages = pages_of(world, alice, "delegations")

    assert [len(page["granted"]) + len(page["received"]) for page in pages] == [PAGE, PAGE, 10]
    granted, received = (ids(pages, name, "delegation") for name in ("granted", "received"))
    assert (set(granted), len(granted)) == (given, len(given))
    assert (set(received), len(received)) == (got, len(got))


@pytest.mark.parametrize("granted", [0, 1, PAGE])
def test_a_list_that_fits_a_page_has_no_next(world, granted):
    """Up to the last row that fits."""
    alice = world.person("alice")
    for _ in range(granted):
        world.grant_to(alice, "bot")
    attested(world, world.bot, granted * ATTESTATIONS // PAGE)

    [page] = pages_of(world, alice, "delegations")
    assert (len(page["granted"]), page["received"]) == (granted, [])
    [page] = pages_of(world, world.bot, "attestations")
    assert len(page["attestations"]) == granted * ATTESTATIONS // PAGE


def test_nobody_can_make_a_list_too_large_to_be_told(world):
    """Scopes and purposes that grow when they are told: an attacker grants as many as a page holds, and more."""
    alice, eve = world.person("alice"), world.person("eve")
    tickets = ",".join(["1e15"] * 1600)
    scope = f'{{"operations":["a"],"conditions":{{"ticket_ids":[[{tickets}]]}}}}'
    for _ in range(PAGE + 1):
        ends = world.now + HOUR_MS
        fat = DelegationGranted(delegate="user:alice", parent=None, scope=scope, expires_at=ends, purpose="\x01" * 1024)
        assert world.send(fat, eve).says == ("accepted", "")

    pages = pages_of(world, alice, "delegations")
    assert [len(page["received"]) for page in pages] == [PAGE, 1]
    assert len(json.dumps(pages[1])) * PAGE > limits.OUTPUT_PAYLOAD_BYTES_MAX / 2


def test_nobody_pages_from_what_is_not_theirs(world):
    """A stranger's row, an unknown one and one that has left are refused alike: the answer tells nothing of them."""
    alice, eve = world.person("alice", ttl_ms=10 * HOUR_MS), world.person("eve", ttl_ms=10 * HOUR_MS)
    foreign = world.grant_to(alice, "bot", life_ms=4 * HOUR_MS).entry.event.hex()
    left = world.grant_to(eve, "bot", life_ms=1_000).entry.event.hex()
    assert reply(world.ask(eve, "delegations", left))["next"] is None
    world.passes(HOUR_MS)

    details = {
        world.is_refused("QUERY_INVALID", lambda place=place: world.ask(eve, "delegations", place)).results[0].detail
        for place in (foreign, left, "00" * 32)
    }
    assert len(details) == 1


@pytest.mark.parametrize(
    "argument",
    [
        0, True, [], {}, "", "00" * 31, "00" * 33, "AB" * 32, "xyz", {"granted": None, "received": None},
        {"after": "00" * 32}, " " + "00" * 32, "00" * 32 + "\n",
    ],
)  # fmt: skip
def test_a_place_in_delegations_is_a_digest(world, argument):
    """QUERY_INVALID for everything else."""
    world.is_refused("QUERY_INVALID", lambda: world.ask(world.bot, "delegations", argument))


def test_every_attestation_is_told_once(world):
    """All of a session, or those of one key; `next` goes on with what was asked."""
    expected = attested(world, world.bot, ATTESTATIONS + 20)
    pages = pages_of(world, world.bot, "attestations")

    assert [len(page["attestations"]) for page in pages] == [ATTESTATIONS, 20]
    assert sorted(ids(pages, "attestations", "id")) == sorted(expected)
    [page] = pages_of(world, world.bot, "attestations", "checked.7")
    assert ids([page], "attestations", "key") == ["checked.7"]


def test_a_place_in_attestations_is_ones_own_and_of_the_key_that_was_asked(world):
    """Ids of records can be computed by anybody: whether one stands in another's session is not told."""
    other = world.open_session(world.agent)
    world.ran(world.bot, CHECK, attests("checked.a"), attests("checked.b"))
    mine = record_id(world.bot.kid, "checked.a", CHECK).hex()

    told = reply(world.ask(world.bot, "attestations", {"key": None, "after": mine}))
    assert ids([told], "attestations", "id") in ([], [record_id(world.bot.kid, "checked.b", CHECK).hex()])
    assert reply(world.ask(world.bot, "attestations", {"key": "checked.a", "after": mine}))["attestations"] == []
    details = {
        world.is_refused("QUERY_INVALID", lambda by=by, place=place: world.ask(by, "attestations", place))
        .results[0]
        .detail
        for by, place in (
            (world.bot, {"key": "checked.b", "after": mine}),
            (other, {"key": None, "after": mine}),
            (other, {"key": None, "after": record_id(world.bot.kid, "checked.none", CHECK).hex()}),
        )
    }
    assert len(details) == 1


@pytest.mark.parametrize(
    "argument",
    [
        1, False, [], {}, {"after": "00" * 32}, {"key": None}, {"key": None, "after": None},
        {"key": 1, "after": "00" * 32}, {"key": "k", "after": "00"}, {"key": "k", "after": "AB" * 32},
        {"key": None, "after": "00" * 32, "more": 1},
    ],
)  # fmt: skip
def test_a_place_in_attestations_is_well_formed(world, argument):
    """QUERY_INVALID for everything that no page has ended with."""
    world.refuses("QUERY_INVALID", StateQueried(what="attestations", argument=json.dumps(argument)), world.bot)
