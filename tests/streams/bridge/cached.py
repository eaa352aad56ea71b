"""A cache of key sets with a provider on loopback, and a clock that a test moves."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from dataclasses import dataclass

from processors.identity.tokens.key_sets import KeySet
from streams.bridge.key_cache import KeyCache, KeyTerms
from streams.bridge.reasons import FetchError
from tests.identity_tokens.minting import public_jwk
from tests.streams.bridge.provider import PRIVATE, Provider, answer, json_answer
from tests.waiting import PATIENCE_SECONDS

OPENID = "/.well-known/openid-configuration"
OAUTH = "/.well-known/oauth-authorization-server"
NOT_FOUND = answer(b"no such page", status="404 Not Found")
GONE = answer(b"", status="503 Service Unavailable")


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Gate:
    """An answer that waits for the test."""

    def __init__(self, said: bytes) -> None:
        self.said = said
        self.came = threading.Event()
        self.opens = threading.Event()

    def __call__(self, connection: socket.socket, ends: threading.Event) -> None:
        self.came.set()
        while not self.opens.wait(0.01) and not ends.is_set():
            pass
        connection.sendall(self.said)


@dataclass
class World:
    server: Provider
    clock: Clock
    cache: KeyCache
    terms: KeyTerms

    def publish(self, *kids: str, max_age: int | None = None) -> None:
        """Let the provider publish the same key under these names."""
        headers = [] if max_age is None else [f"Cache-Control: max-age={max_age}"]
        keys = {"keys": [public_jwk("ES256", kid=kid) for kid in kids]}
        self.server.answers["/keys"] = json_answer(keys, *headers)

    def fetched(self) -> int:
        return self.server.paths().count("/keys")

    def load(self) -> KeySet:
        return self.cache.request(self.terms).result(PATIENCE_SECONDS)

    def failure(self, kid: str | None = None) -> FetchError:
        failure = self.cache.request(self.terms, unknown_kid=kid).exception(PATIENCE_SECONDS)
        assert isinstance(failure, FetchError)
        return failure

    def settle(self) -> None:
        """Wait until no fetch is under way."""
        with self.cache._changed:
            flights = [one.flight.loaded for one in self.cache._issuers.values() if one.flight is not None]
        wait_for(flights, PATIENCE_SECONDS)

    def kids(self) -> list[str | None] | None:
        known = self.cache.known(self.terms)
        return None if known is None else [key.kid for key in known.usable]


@contextmanager
def world_of(server: Provider, **options: float) -> Iterator[World]:
    clock = Clock()
    cache = KeyCache(clock=clock, **options)  # type: ignore[arg-type]
    server.answers.clear()
    server.answers[OPENID] = json_answer({"issuer": server.issuer, "jwks_uri": server.url("/keys")})
    server.heads.clear()
    world = World(server, clock, cache, KeyTerms(server.issuer, PRIVATE))
    world.publish("one")
    try:
        yield world
    finally:
        cache.close()
