"""A real provider ends logins, over its back channel, on a real log; and a stranger ends none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from macaw.installation.bridges import register_bridge
from macaw.installation.tenancy import publish_policies
from producers.client import Client, RefusedError
from schemas.events.attributes import Attributes
from schemas.events.logins import LoginEnded
from schemas.reasons import Reason
from streams.address import AddressError
from streams.bridge.logout_serving import LogoutDoor
from streams.identity_files.claims_file import FILE_NAME
from streams.local.choose import BrokerInfo
from streams.local.probe import LOOPBACK
from tests.identity_providers.keycloak import Keycloak, KeycloakServer
from tests.identity_providers.provider import AUDIENCE, CLIENT
from tests.identity_tokens.minting import ABSENT, claims, compact, header, logout_claims, public_jwk
from tests.installation import installed
from tests.streams.bridge.office import Office, serving
from tests.streams.bridge.provider import Provider, json_answer
from tests.streams.bridge.provider import serving as providing
from tests.streams.bridge.test_logging_in import Desk

pytestmark = pytest.mark.broker

POLICIES = ['{"policy_id": "company:FinTech Corp", "resources": ["tool:desk/*"]}']
BALANCE = {"balance": "12"}


@dataclass(frozen=True)
class Lab(Office):
    """An office whose provider tells of logouts, and a small provider that says whatever a test wants."""

    idp: Keycloak  # type: ignore[assignment]
    url: str
    lab: Provider

    def minted(self, **changes: Any) -> str:
        """Return an access token of the small provider."""
        now = time.time()
        said = {"iss": self.lab.issuer, "aud": AUDIENCE, "sub": "carol", "email": "carol", "org": "FinTech Corp"}
        return compact(header(), claims(**said | {"iat": now, "nbf": now, "exp": now + 300} | changes))

    def tell(self, *, tenant: str | None = None, **changes: Any) -> httpx.Response:
        """Send a logout token of the small provider."""
        now = time.time()
        said = {"iss": self.lab.issuer, "aud": AUDIENCE, "sub": "carol", "iat": now, "exp": now + 60}
        text = compact(header(typ="logout+jwt"), logout_claims(**said | {"jti": f"{now}"} | changes))
        url = self.url.replace(self.tenant, tenant or self.tenant)
        return httpx.post(url, data={"logout_token": text}, timeout=20, trust_env=False)

    def ends(self) -> list[LoginEnded]:
        return [event.body for _, event in self.intake() if isinstance(event.body, LoginEnded)]


@pytest.fixture(scope="module")
def office(
    broker: BrokerInfo, keycloak_server: KeycloakServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lab]:
    base, name, door = tmp_path_factory.mktemp("office"), f"logout-{time.time_ns() // 1_000_000}", LogoutDoor()
    url = f"{door.address.url}/v1/tenants/{name}/backchannel-logout"
    with ExitStack() as opened:
        idp = opened.enter_context(Keycloak(keycloak_server, logout_urls={CLIENT: url}))
        lab = opened.enter_context(providing())
        metadata = {"issuer": lab.issuer, "jwks_uri": lab.url("/keys")}
        lab.answers["/.well-known/openid-configuration"] = json_answer(metadata)
        lab.answers["/keys"] = json_answer({"keys": [public_jwk("ES256")]})
        here = opened.enter_context(installed(broker, base, name))
        mapping = f'providers:\n  "{lab.issuer}": {{org: company, email: user}}\n'
        (base / FILE_NAME).write_text(idp.mapping_yaml + mapping)
        made = Lab(here, idp, url, lab)
        made.trust(kind="keycloak", audiences=(AUDIENCE, CLIENT))
        made.trust(
            issuer=lab.issuer, namespace="lab", name_pattern="user:lab/*", attributes=Attributes(company="*"),
            algorithms=("ES256",), private_hosts=(LOOPBACK,),
        )  # fmt: skip
        register_bridge(here.home, here.folder)
        publish_policies(here.home, here.folder, POLICIES, {})
        opened.enter_context(here.hosting("desk", Desk()))
        opened.enter_context(serving(here, door))
        yield made


@contextmanager
def acting(office: Lab, *tokens: str) -> Iterator[list[Client]]:
    """Log in with each token, and let each session act."""
    with ExitStack() as opened:
        clients = [opened.enter_context(office.login(one)) for one in tokens]
        for one in clients:
            assert acts(one)
        yield clients


def acts(client: Client) -> bool:
    """Return True if a session may act, False if it has ended."""
    try:
        return bool(client.invoke("tool:desk/balance", {}) == BALANCE)
    except RefusedError as exc:
        if exc.reason != Reason.EXPIRED_SESSION:
            raise
        return False


def test_a_logout_at_the_provider_ends_that_login_alone(office: Lab) -> None:
    """Alice is logged in twice; she ends one at Keycloak, and the other one and Bob's go on."""
    office.idp.announce_sessions(on=True)
    first, second, bob = (office.idp.password_grant(one) for one in ("alice", "alice", "bob"))
    with acting(office, *(one["access_token"] for one in (first, second, bob))) as clients:
        answer = office.idp.http.post(
            office.idp.metadata["end_session_endpoint"],
            data={
                "refresh_token": first["refresh_token"],
                "client_id": CLIENT,
                "client_secret": office.idp.client_secret,
            },
        )
        assert answer.is_success

        assert [acts(one) for one in clients] == [False, True, True]


def test_an_administrator_ends_all_logins_of_a_person(office: Lab) -> None:
    """Keycloak tells of one login alone while its client wants `sid`, and else of the person."""
    office.idp.announce_sessions(on=False)
    tokens = [office.token(one) for one in ("alice", "alice", "bob")]
    with acting(office, *tokens) as clients:
        office.idp.end_sessions("alice")

        assert [acts(one) for one in clients] == [False, False, True]


def test_a_logout_of_the_subject_alone_ends_all_of_theirs(office: Lab) -> None:
    tokens = [office.minted(sid="a"), office.minted(sid="b"), office.minted(), office.minted(sub="dave", email="dave")]
    with acting(office, *tokens) as clients:
        assert office.tell(sid=ABSENT).status_code == 200
        assert [acts(one) for one in clients] == [False, False, False, True]


def test_a_login_without_a_name_ends_with_each_logout_of_its_subject(office: Lab) -> None:
    """It may be the one that has ended; the login of another name is not."""
    tokens = [office.minted(sid="c"), office.minted(sid="d"), office.minted(), office.minted(sub="dave", email="dave")]
    with acting(office, *tokens) as clients:
        assert office.tell(sid="c").status_code == 200

        assert [acts(one) for one in clients] == [False, True, False, True]


def test_a_token_that_is_sent_again_writes_no_second_event(office: Lab) -> None:
    again = {"jti": "again", "sid": "e"}
    assert office.tell(**again).status_code == 200
    before = len(office.ends())
    assert office.tell(**again).status_code == 200
    assert len(office.ends()) == before


def test_a_stranger_ends_nothing(office: Lab) -> None:
    """Neither with an expired token, nor with one for another client, nor at another tenant."""
    with acting(office, office.minted(sid="f")) as [carol]:
        before, now = len(office.ends()), time.time()
        assert office.tell(sid="f", exp=now - 1).json()["reason"] == "TOKEN_EXPIRED"
        assert office.tell(sid="f", aud="another").json()["reason"] == "TOKEN_AUDIENCE"
        assert office.tell(sid="f", iss="https://evil.example").json()["reason"] == "LOGIN_ISSUER"
        assert office.tell(sid="f", tenant="another").status_code == 404
        assert (acts(carol), len(office.ends())) == (True, before)


def test_no_name_of_a_login_stands_on_the_log(office: Lab) -> None:
    office.tell(sid="a-name-of-a-login", sub="a-name-of-a-subject")
    assert not any(b"a-name-of" in value for value, _ in office.intake())


def test_a_port_that_is_taken_is_said(office: Lab) -> None:
    with pytest.raises(AddressError, match="nothing can listen"):
        LogoutDoor(port=int(office.url.split("/")[2].partition(":")[2]))
