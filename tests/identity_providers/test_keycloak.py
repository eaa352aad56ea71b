"""Of Keycloak alone: logouts that it announces, groups, organisations, and the exchange of tokens."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import Self
from urllib.parse import parse_qs

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from macaw.gateway.exchange import ExchangeError, ExchangeReason, ExchangeSettings, exchange
from processors.identity.tokens.jose import parse_claims, parse_compact
from processors.identity.tokens.reasons import TokenReason, TokenRefusedError
from processors.identity.tokens.verify import verify_jws, verify_token
from streams.bridge.fetching import Fetcher
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


@pytest.mark.parametrize("method", ["client_secret_basic", "private_key_jwt"])
def test_a_users_token_is_exchanged_for_one_of_another_audience(keycloak: Keycloak, method: str) -> None:
    """Standard token exchange: the gateway is the audience of the user's token, and its client may exchange it."""
    pem, certificate = _key_and_certificate()
    server, client = f"server-{method}", keycloak.audience
    keycloak.replace_client({"clientId": server, "secret": "unused"})
    how = {"client_secret_basic": "client-secret", "private_key_jwt": "client-jwt"}[method]
    mapper = {"included.client.audience": server, "access.token.claim": "true"}
    keycloak.replace_client(
        {
            "clientId": client,
            "secret": "gateway-secret",
            "clientAuthenticatorType": how,
            "attributes": {"standard.token.exchange.enabled": "true", "jwt.credential.certificate": certificate},
            "protocolMappers": [
                {"name": "to", "protocol": "openid-connect", "protocolMapper": "oidc-audience-mapper", "config": mapper}
            ],
        }
    )
    settings = ExchangeSettings(
        endpoint=keycloak.metadata["token_endpoint"],
        client_id=client,
        method=method,
        secret=pem if method == "private_key_jwt" else "gateway-secret",
        audience=server,
        private_hosts=(LOOPBACK,),
    )
    token = keycloak.token("alice")
    fetcher = Fetcher()

    found = exchange(fetcher, settings, token)

    claims = parse_claims(verify_jws(found.token, keycloak.key_set(), frozenset({"RS256"})).payload)
    assert claims["aud"] == server
    assert claims["sub"] == parse_claims(parse_compact(token).payload)["sub"]
    assert 0 < found.seconds <= 300
    for changed in ({"audience": "nobody"}, {"client_id": "nobody"}):
        with pytest.raises(ExchangeError) as refused:
            exchange(fetcher, replace(settings, **changed), token)
        assert refused.value.reason is ExchangeReason.EXCHANGE_REFUSED
    with pytest.raises(ExchangeError):
        exchange(fetcher, settings, token[:-8] + "AAAAAAAA")


def _key_and_certificate() -> tuple[str, str]:
    """Return a private key in PEM, and a certificate of it as Keycloak keeps the keys of clients."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    now = datetime.now(UTC)
    built = x509.CertificateBuilder(
        name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1)
    ).sign(key, hashes.SHA256())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return pem, base64.b64encode(built.public_bytes(Encoding.DER)).decode()
