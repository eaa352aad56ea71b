"""Key sets are refreshed, kept through an outage, fetched for new kids, and end."""

from __future__ import annotations

import time
from concurrent.futures import wait as wait_for
from pathlib import Path
from typing import cast

import pytest

from producers.home.home import Home
from schemas import limits
from streams.bridge import key_cache
from streams.bridge.fetching import Fetcher
from streams.bridge.key_cache import KeyCache, KeyTerms
from streams.bridge.process import BridgeProcess
from streams.bridge.reasons import FetchError, FetchReason
from tests.streams.bridge.cached import GONE, NOT_FOUND, OPENID, Gate, World, world_of
from tests.streams.bridge.provider import PRIVATE, Provider, json_answer
from tests.waiting import PATIENCE_SECONDS

# ---- time


def test_a_rotated_key_comes_in_the_background(world: World) -> None:
    """After ten minutes the next look starts a fetch, and is answered at once by the set that is there."""
    world.load()
    world.publish("two")
    world.clock.now += key_cache.FRESH_SECONDS - 1
    early = world.kids()
    world.clock.now += 2
    during = world.kids()
    world.settle()

    assert (early, during, world.kids()) == (["one"], ["one"], ["two"])
    assert world.fetched() == 2


@pytest.mark.parametrize(("said", "fresh"), [(0, 300.0), (1200, 1200.0), (10**9 - 1, 3600.0)])
def test_max_age_counts_within_bounds(said: int, fresh: float, world: World) -> None:
    """Five minutes to an hour."""
    world.publish("one", max_age=said)
    world.load()
    world.clock.now += fresh - 1
    world.kids()
    world.settle()
    before = world.fetched()
    world.clock.now += 2
    world.kids()
    world.settle()

    assert (before, world.fetched()) == (1, 2)


def test_a_key_withdrawn_while_nobody_logged_in_is_not_used_unasked(world: World) -> None:
    """Hours later the old set is not known: the first login waits for the new one."""
    world.load()
    world.publish("two")
    world.clock.now += 5 * 3600

    assert world.kids() is None
    assert [key.kid for key in world.load().usable] == ["two"]


def test_an_old_failure_does_not_stand_for_a_fetch_that_was_tried(world: World) -> None:
    """The provider failed once in the morning; in the evening the first login still waits for the new set."""
    world.load()
    world.server.answers["/keys"] = GONE
    world.failure("two")
    world.publish("two")
    world.clock.now += 5 * 3600

    assert world.kids() is None
    assert [key.kid for key in world.load().usable] == ["two"]


def test_an_outage_is_bridged_by_the_last_good_set_up_to_the_hard_age(world: World) -> None:
    """A refused connection, a broken set: the last good one is used, with a fetch now and then. After a day it ends."""
    world.load()
    world.server.answers["/keys"] = GONE
    began = world.clock.now
    while world.clock.now + 4000 < began + key_cache.HARD_SECONDS:
        world.clock.now += 4000  # a login each hour: it waits for the fetch that fails, and is let in
        assert [key.kid for key in world.load().usable] == ["one"]
        assert world.kids() == ["one"]
    world.clock.now = began + key_cache.HARD_SECONDS

    assert world.kids() is None
    assert world.failure().reason is FetchReason.FETCH_STATUS
    world.publish("two")
    world.clock.now += key_cache.BACKOFF_SECONDS_MAX
    assert [key.kid for key in world.load().usable] == ["two"]


def test_a_shorter_hard_age_may_be_asked_for(server: Provider) -> None:
    """It counts from the last good fetch."""
    with world_of(server, hard_seconds=1000.0) as world:
        world.load()
        world.server.answers["/keys"] = GONE
        world.clock.now += 999
        assert world.load().usable
        world.clock.now += 1
        assert world.failure().reason is FetchReason.FETCH_STATUS


def test_a_dead_provider_is_left_alone_longer_each_time(world: World) -> None:
    """Requests meanwhile fail at once with the last reason; the pause is at most a minute."""
    world.server.answers[OPENID] = GONE
    asked = []
    for second in range(200):
        assert world.failure().reason is FetchReason.FETCH_STATUS
        if len(world.server.heads) > len(asked):
            asked.append(second)
        world.clock.now += 1

    assert asked == [0, 5, 15, 35, 75, 135, 195]


def test_the_dead_providers_of_one_tenant_take_nothing_from_another(world: World, tmp_path: Path) -> None:
    """One process serves all tenants of an installation: with one cache 64 other issuers threw this one's keys out."""
    process = BridgeProcess(Home(tmp_path, {}))
    mine, theirs = process.keys_of("mine"), process.keys_of("theirs")
    try:
        mine.request(world.terms).result(PATIENCE_SECONDS)
        dead = [theirs.request(KeyTerms(f"https://127.0.0.1/{n}")) for n in range(limits.PROVIDERS_MAX)]
        assert all(isinstance(one.exception(PATIENCE_SECONDS), FetchError) for one in dead)

        assert mine.known(world.terms) is not None
        assert process.keys_of("mine") is mine
    finally:
        mine.close()
        theirs.close()


def test_an_error_that_is_told_again_is_another_object(world: World) -> None:
    """One object would collect the frames of all that raise it, and what stands in them."""
    world.server.answers["/keys"] = GONE
    first, second = world.failure(), world.failure()
    (issuer,) = world.cache._issuers.values()

    assert str(first) == str(second) == str(issuer.failure)
    assert len({id(first), id(second), id(issuer.failure)}) == 3
    assert issuer.failure is not None
    assert issuer.failure.__traceback__ is None


# ---- unknown kids


def test_a_new_key_is_fetched_for_the_first_token_that_names_it(world: World) -> None:
    """Also right after a fetch: a rotation does not wait."""
    world.load()
    world.publish("one", "two")
    found = world.cache.request(world.terms, unknown_kid="two").result(PATIENCE_SECONDS)

    assert [key.kid for key in found.usable] == ["one", "two"]
    assert world.cache.request(world.terms, unknown_kid="two").result(0) is found
    assert world.fetched() == 2


def test_a_storm_of_invented_kids_costs_one_fetch_in_ten_seconds(world: World) -> None:
    """Each is answered with the newest set, and known kids are judged without a wait."""
    world.load()
    for second in range(30):
        for n in range(50):
            future = world.cache.request(world.terms, unknown_kid=f"invented {second} {n}")
            assert world.kids() == ["one"]  # a fetch may be under way
        assert [key.kid for key in future.result(PATIENCE_SECONDS).usable] == ["one"]
        world.settle()
        world.clock.now += 1

    assert world.fetched() == 1 + 3
    (issuer,) = world.cache._issuers.values()
    assert len(issuer.unknown) <= key_cache.UNKNOWN_KIDS_MAX


def test_a_kid_that_was_just_shown_to_be_unknown_causes_no_fetch(world: World) -> None:
    """For half a minute; another kid does after ten seconds. One that no key set can have never does."""
    world.load()
    counts = []
    for kid, wait in [("old", 11), ("old", 11), ("other", 11), ("k" * 257, 0), ("old", 0)]:
        world.cache.request(world.terms, unknown_kid=kid).result(PATIENCE_SECONDS)
        counts.append(world.fetched() - 1)
        world.clock.now += wait

    assert counts == [1, 1, 2, 2, 3]


def test_a_kid_that_came_during_a_fetch_is_not_taken_for_unknown(world: World) -> None:
    """The set may have been read before the key was published, so the next token with it has the set fetched again."""
    world.load()
    gate = Gate(cast("bytes", world.server.answers["/keys"]))
    world.server.answers["/keys"] = gate
    world.cache.request(world.terms, unknown_kid="first")
    assert gate.came.wait(PATIENCE_SECONDS)
    during = world.cache.request(world.terms, unknown_kid="two")
    gate.opens.set()
    assert [key.kid for key in during.result(PATIENCE_SECONDS).usable] == ["one"]
    world.settle()
    world.publish("two")
    world.clock.now += key_cache.KID_SECONDS

    assert [key.kid for key in world.cache.request(world.terms, unknown_kid="two").result(PATIENCE_SECONDS).usable] == [
        "two"
    ]


def test_kids_that_wait_for_a_thread_are_bounded(world: World) -> None:
    """Every thread is busy with a dead provider; a storm comes meanwhile."""
    world.load()
    gate = Gate(NOT_FOUND)
    for n in range(key_cache.THREADS_MAX):
        world.server.answers[f"/dead{n}{OPENID}"] = gate
        world.cache.request(KeyTerms(world.server.url(f"/dead{n}"), PRIVATE))
    storm = [world.cache.request(world.terms, unknown_kid=f"invented {n}") for n in range(500)]
    flight = world.cache._issuers[world.terms].flight

    assert flight is not None
    assert len(flight.kids) <= key_cache.UNKNOWN_KIDS_MAX
    assert len(set(map(id, storm))) == 1
    gate.opens.set()
    assert [key.kid for key in storm[0].result(PATIENCE_SECONDS).usable] == ["one"]


def test_a_fetch_for_a_kid_that_fails_says_so_and_known_keys_stay(world: World) -> None:
    """Another login waits for the same fetch without a kid, and gets the last good set."""
    world.load()
    gate = Gate(GONE)
    world.server.answers["/keys"] = gate
    for_kid = world.cache.request(world.terms, unknown_kid="two")
    world.clock.now += key_cache.FRESH_SECONDS + key_cache.GRACE_SECONDS
    plain = world.cache.request(world.terms)
    gate.opens.set()

    failure = for_kid.exception(PATIENCE_SECONDS)
    assert isinstance(failure, FetchError)
    assert failure.reason is FetchReason.FETCH_STATUS
    assert [key.kid for key in plain.result(PATIENCE_SECONDS).usable] == ["one"]
    assert world.kids() == ["one"]
    assert world.failure("three").reason is FetchReason.FETCH_STATUS  # at once, the provider is left alone
    assert world.fetched() == 2


# ---- bounds and the end


def test_the_least_recently_used_issuer_goes_first(server: Provider) -> None:
    """An issuer whose fetch is under way is never evicted: if all are, a further one is refused."""
    with world_of(server, issuers_max=2) as world:
        gate = Gate(NOT_FOUND)
        others = [KeyTerms(server.url(f"/{n}"), PRIVATE) for n in range(3)]
        for n, other in enumerate(others):
            path = f"/{n}"
            server.answers[f"{path}{OPENID}"] = json_answer({"issuer": other.issuer, "jwks_uri": server.url("/keys")})
        for terms in (others[0], world.terms, others[1]):
            world.cache.known(others[0])
            world.cache.request(terms).result(PATIENCE_SECONDS)
        kept = [world.cache.known(terms) is not None for terms in (others[0], world.terms, others[1])]
        assert kept == [True, False, True]

        server.answers["/a" + OPENID] = server.answers["/b" + OPENID] = gate
        slow = [world.cache.request(KeyTerms(server.url(path), PRIVATE)) for path in ("/a", "/b")]
        assert world.failure().reason is FetchReason.FETCH_BUSY
        gate.opens.set()
        wait_for(slow, PATIENCE_SECONDS)


def test_close_ends_every_wait_within_a_second(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Fetches under way and queued ones; nothing is known or fetched afterwards."""
    world.load()
    gate = Gate(NOT_FOUND)
    count = key_cache.THREADS_MAX + 2
    for n in range(count):
        world.server.answers[f"/{n}{OPENID}"] = gate
    waiting = [world.cache.request(KeyTerms(world.server.url(f"/{n}"), PRIVATE)) for n in range(count)]
    assert gate.came.wait(PATIENCE_SECONDS)
    began = time.monotonic()
    world.cache.close()
    took = time.monotonic() - began

    failures = [future.exception(0) for future in waiting]
    assert {cast("FetchError", failure).reason for failure in failures} == {FetchReason.FETCH_STOPPED}
    assert took < 1.0
    assert world.cache.known(world.terms) is None
    assert world.failure().reason is FetchReason.FETCH_STOPPED
    for thread in world.cache._threads:
        thread.join(key_cache.FETCH_SECONDS / 2)  # not by their own deadline
        assert not thread.is_alive()
    assert caplog.records == []


def test_an_unforeseen_error_ends_the_wait_and_not_the_thread(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The log names the class of the error alone."""

    def broken(host: str) -> list[str]:
        raise ZeroDivisionError("s3cr3t")

    cache = KeyCache(fetcher=Fetcher(resolving=broken))
    failures = [cache.request(KeyTerms(f"https://{n}.example")).exception(PATIENCE_SECONDS) for n in range(3)]
    cache.close()

    assert [cast("FetchError", one).reason for one in failures] == [FetchReason.FETCH_FAILED] * 3
    assert "ZeroDivisionError" in caplog.text
    assert "s3cr3t" not in caplog.text
