"""Key sets come from the provider's metadata, under the terms of the trust; one fetch serves all that wait."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from types import SimpleNamespace
from typing import cast

import pytest

from processors.identity.tokens.key_sets import KeySet
from processors.identity.tokens.reasons import KeyReason
from schemas.rows import ProviderRow
from streams.bridge import key_cache
from streams.bridge.key_cache import KeyTerms, metadata_urls, terms_of
from streams.bridge.reasons import FetchError, FetchReason
from tests.streams.bridge.cached import GONE, NOT_FOUND, OAUTH, OPENID, Gate, World
from tests.streams.bridge.provider import PRIVATE, json_answer
from tests.waiting import PATIENCE_SECONDS


def test_keys_come_by_the_metadata_of_openid_connect(world: World) -> None:
    """Before the first fetch they are not known; afterwards they are, as a value."""
    assert world.cache.known(world.terms) is None

    loaded = world.load()

    assert world.cache.known(world.terms) is loaded
    assert [key.kid for key in loaded.usable] == ["one"]
    assert world.server.paths() == [OPENID, "/keys"]


def test_keys_come_by_the_metadata_of_oauth_where_the_others_are_missing(world: World) -> None:
    """RFC 8414, only after 404."""
    world.server.answers[OAUTH] = world.server.answers[OPENID]
    world.server.answers[OPENID] = GONE
    first = world.failure()
    world.clock.now += 60
    world.server.answers[OPENID] = NOT_FOUND

    assert (first.reason, first.detail) == (FetchReason.FETCH_STATUS, "metadata: status 503")
    assert [key.kid for key in world.load().usable] == ["one"]
    assert world.server.paths() == [OPENID, OPENID, OAUTH, "/keys"]


@pytest.mark.parametrize(
    ("issuer", "urls"),
    {
        "https://a.example": (f"https://a.example{OPENID}", f"https://a.example{OAUTH}"),
        "https://a.example/": (f"https://a.example{OPENID}", f"https://a.example{OAUTH}"),
        "https://a.example:1/b/c/": (f"https://a.example:1/b/c{OPENID}", f"https://a.example:1{OAUTH}/b/c"),
    }.items(),
)
def test_the_metadata_of_an_issuer_with_a_path_lie_where_the_standards_say(issuer: str, urls: tuple[str, str]) -> None:
    """OpenID Connect Discovery appends, RFC 8414 inserts; both drop one slash at the end."""
    assert metadata_urls(issuer) == urls


def test_terms_are_the_issuer_and_the_private_hosts_of_a_row() -> None:
    """Their order does not count."""
    row = cast("ProviderRow", SimpleNamespace(private_hosts=("b", "a")))

    assert terms_of("https://a.example", row) == KeyTerms("https://a.example", frozenset({"a", "b"}))


@pytest.mark.parametrize("name", ["another issuer", "a slash more", "no issuer", "no keys", "a number", "a page"])
def test_wrong_metadata_are_refused_and_no_keys_are_fetched(name: str, world: World) -> None:
    """The issuer is compared letter for letter; no message quotes the metadata."""
    right = {"issuer": world.server.issuer, "jwks_uri": world.server.url("/keys")}
    wrong, reason = {
        "another issuer": ({**right, "issuer": "https://evil.example"}, FetchReason.FETCH_ISSUER),
        "a slash more": ({**right, "issuer": f"{world.server.issuer}/"}, FetchReason.FETCH_ISSUER),
        "no issuer": ({"jwks_uri": right["jwks_uri"]}, FetchReason.FETCH_METADATA),
        "no keys": ({"issuer": right["issuer"]}, FetchReason.FETCH_METADATA),
        "a number": ({**right, "jwks_uri": 7}, FetchReason.FETCH_METADATA),
        "a page": ([], FetchReason.FETCH_NOT_JSON),
    }[name]
    world.server.answers[OPENID] = json_answer(wrong)
    failure = world.failure()

    assert failure.reason is reason
    assert "evil" not in str(failure)
    assert world.fetched() == 0


@pytest.mark.parametrize(
    ("address", "reason"),
    {
        "http://localhost:{port}/keys": FetchReason.FETCH_URL,
        "https://localhost:{port}/keys": FetchReason.FETCH_ADDRESS_PRIVATE,
        "https://10.0.0.7/keys": FetchReason.FETCH_ADDRESS_PRIVATE,
        "https://169.254.169.254/latest": FetchReason.FETCH_ADDRESS_PRIVATE,
        "https://[::ffff:7f00:1]:{port}/keys": FetchReason.FETCH_ADDRESS_PRIVATE,
        "file:///etc/passwd": FetchReason.FETCH_URL,
    }.items(),
)
def test_keys_at_a_private_host_that_the_trust_does_not_name_are_refused(
    address: str, reason: FetchReason, world: World
) -> None:
    """The metadata come from a private host that is named; that opens no other host."""
    address = address.format(port=world.server.port)
    world.server.answers[OPENID] = json_answer({"issuer": world.server.issuer, "jwks_uri": address})
    failure = world.failure()

    assert (failure.reason, failure.detail) == (reason, "key set")
    assert world.fetched() == 0


def test_keys_may_lie_at_another_host_of_the_trust(world: World) -> None:
    """As with Kubernetes, whose API server names its own address."""
    address = world.server.url("/keys").replace("127.0.0.1", "localhost")
    world.server.answers[OPENID] = json_answer({"issuer": world.server.issuer, "jwks_uri": address})
    terms = KeyTerms(world.server.issuer, PRIVATE | {"localhost"})

    assert world.cache.request(terms).result(PATIENCE_SECONDS).usable


def test_a_refused_key_set_has_its_own_reason(world: World) -> None:
    """The reasons of docs/identity.md for key sets."""
    world.server.answers["/keys"] = json_answer({"keys": "none"})

    assert world.failure().reason is KeyReason.KEY_SET_FORM


# ---- sharing


def test_one_fetch_serves_all_that_wait(world: World) -> None:
    """100 logins wait, some for a kid; the provider is asked once. A waiter cannot cancel for the others."""
    gate = Gate(cast("bytes", world.server.answers["/keys"]))
    world.server.answers["/keys"] = gate
    waiting: list[Future[KeySet]] = []
    threads = [
        threading.Thread(
            target=lambda n=n: waiting.append(
                world.cache.request(world.terms, unknown_kid="one" if n % 3 == 0 else None)
            )
        )
        for n in range(100)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gate.came.wait(PATIENCE_SECONDS)
    assert not any(future.cancel() for future in waiting)
    assert not any(future.done() for future in waiting)
    gate.opens.set()

    assert {future.result(PATIENCE_SECONDS).sha256 for future in waiting} == {world.load().sha256}
    assert (len(waiting), world.fetched()) == (100, 1)


def test_a_dead_issuer_delays_no_other_and_the_caller_waits_for_none(world: World) -> None:
    """More silent issuers than one thread could serve; each call returns at once."""
    gate = Gate(NOT_FOUND)
    for n in range(key_cache.THREADS_MAX - 1):
        world.server.answers[f"/dead{n}{OPENID}"] = gate
    dead = [
        world.cache.request(KeyTerms(world.server.url(f"/dead{n}"), PRIVATE)) for n in range(key_cache.THREADS_MAX - 1)
    ]

    assert world.load().usable
    assert not any(future.done() for future in dead)
    gate.opens.set()
    assert all(isinstance(future.exception(PATIENCE_SECONDS), FetchError) for future in dead)


def test_keys_that_came_under_other_terms_are_not_used(world: World) -> None:
    """An admin withdraws the private host: its keys are not known any more, and are not fetched either."""
    world.load()
    narrowed = KeyTerms(world.server.issuer)

    assert world.cache.known(narrowed) is None
    failure = world.cache.request(narrowed).exception(PATIENCE_SECONDS)
    assert isinstance(failure, FetchError)
    assert failure.reason is FetchReason.FETCH_URL
    assert world.fetched() == 1
