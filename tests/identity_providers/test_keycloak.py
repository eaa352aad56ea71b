"""Of Keycloak alone: logouts that it announces, groups, and organisations."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import Self
from urllib.parse import parse_qs

import pytest

from processors.identity.tokens.jose import parse_claims
from processors.identity.tokens.reasons import TokenReason, TokenRefusedError
from processors.identity.tokens.verify import verify_jws, verify_token
from streams.local.probe import LOOPBACK
from tests.identity_providers.flows import code_login
from tests.identity_providers.keycloak import Keycloak, KeycloakServer
from tests.identity_providers.provider import ProviderRefusedError, now_ms

LOGOUT_SECONDS = 20.0


class LogoutListener:
    """The back-channel logout endpoint of a client: it keeps the logout tokens that it gets."""

    def __init__(self) -> None:
        self.tokens: Queue[str] = Queue()
        got = self.tokens

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
                got.put(form["logout_token"][0])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """A test prints no requests."""

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self.url = f"http://{LOOPBACK}:{self._server.server_port}/logout"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(scope="module")
def listener() -> Iterator[LogoutListener]:
    with LogoutListener() as running:
        yield running


@pytest.fixture(scope="module")
def keycloak(keycloak_server: KeycloakServer, listener: LogoutListener) -> Iterator[Keycloak]:
    with Keycloak(keycloak_server, logout_urls={Keycloak.public_client_id: listener.url}) as running:
        yield running


def test_the_end_of_a_session_is_announced(keycloak: Keycloak, listener: LogoutListener) -> None:
    """The logout token is of this provider, names the session of the access token, and opens nothing itself."""
    answer = code_login(keycloak, "alice")
    access = verify_token(answer["access_token"], keycloak.rules(), keycloak.key_set(), now_ms())

    keycloak.end_sessions("alice")
    logout = listener.tokens.get(timeout=LOGOUT_SECONDS)

    claims = parse_claims(verify_jws(logout, keycloak.key_set(), frozenset({"RS256"})).payload)
    assert (claims["iss"], claims["aud"], claims["sub"]) == (keycloak.issuer, keycloak.public_client_id, access.subject)
    assert claims["sid"] == access.session is not None
    with pytest.raises(TokenRefusedError) as refused:
        verify_token(logout, keycloak.rules(), keycloak.key_set(), now_ms())
    assert refused.value.reason is TokenReason.TOKEN_TYPE
    form = {
        "grant_type": "refresh_token",
        "refresh_token": answer["refresh_token"],
        "client_id": keycloak.public_client_id,
    }
    with pytest.raises(ProviderRefusedError) as ended:
        keycloak.post("token_endpoint", form)
    assert ended.value.code == "invalid_grant"


def test_groups_and_organisations_are_claims_on_request(keycloak: Keycloak) -> None:
    answer = keycloak.password_grant("alice", scope="openid organizations")
    claims = verify_token(answer["access_token"], keycloak.rules(), keycloak.key_set(), now_ms()).claims

    assert claims["groups"] == ["/Analytics/Reporting"]
    assert claims["organizations"] == ["fintech-corp"]
