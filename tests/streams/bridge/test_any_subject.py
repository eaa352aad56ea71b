"""Subjects of every kind log in: persons of any name, two providers' persons of one name, workloads, and their actors.

The provider is a server on loopback with its metadata and its key set; its tokens are made here, so that they can say
anything. What is wrong with one is told by a code of its own, at the client and on the log.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from macaw.installation.providers import say_of_provider
from producers.client import Client, DeniedError
from producers.tools import tool
from schemas.events.attributes import Attributes
from schemas.events.logins import LoginRefused
from schemas.events.providers import IdentityProviderTrusted
from streams.identity_files.claims_file import FILE_NAME
from streams.local.choose import BrokerInfo
from tests.cli.commands import run
from tests.identity_tokens.minting import ABSENT, AUDIENCE, compact, header, public_jwk
from tests.streams.bridge.office import Office, opened
from tests.streams.bridge.provider import LOOPBACK, Provider, json_answer, serving
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.broker
WHOAMI = "tool:desk/balance"
NAMES = (
    *("ann+1@example.com", "Ann/ops", "DOMAIN\\ann", "a:b:c", "Ann Smith", "J\u00f6rg M\u00fcller", "\u5f20\u4f1f"),
    *("x" * 255, "auth0|5f7c8ec7"),
)
CI = "repo:acme/shop:ref:refs/heads/main"
POLICIES = [
    '{"policy_id": "company:Acme", "resources": ["tool:desk/*"]}',
    *(
        json.dumps({"policy_id": f"user:{name}", "resources": ["tool:desk/*"]})
        for name in NAMES
        if "\\" not in name and len(name) < 250  # the language's own bounds for ids (docs/mapl.md 1)
    ),
    json.dumps({"policy_id": "user:partner/Ann/ops", "resources": ["tool:desk/*"], "denied_resources": [WHOAMI]}),
    json.dumps({"policy_id": f"service:workload:ci/{CI}", "resources": ["tool:desk/*"]}),
    json.dumps({"policy_id": "service:workload:ci/deployer", "denied_resources": ["tool:desk/*"]}),
]


class Desk:
    """A tool."""

    @tool
    def balance(self) -> dict[str, str]:
        """Read the balance."""
        return {"balance": "12"}


@dataclass
class Minting:
    """A provider that signs whatever it is told to."""

    server: Provider
    trusted: dict[str, Any] = field(default_factory=dict)

    @property
    def issuer(self) -> str:
        return self.server.issuer

    def token(self, head: dict[str, Any] | None = None, **claims: Any) -> str:
        now = int(time.time())
        said = {"iss": self.issuer, "aud": AUDIENCE, "sub": "s", "iat": now - 1, "exp": now + 600, **claims}
        return compact(header(**(head or {})), {name: one for name, one in said.items() if one is not ABSENT})


@contextmanager
def minting(office: Office, **terms: Any) -> Iterator[Minting]:
    """Serve a provider, and let the tenant trust it."""
    with serving() as server:
        server.answers["/.well-known/openid-configuration"] = json_answer(
            {"issuer": server.issuer, "jwks_uri": server.url("/keys")}
        )
        server.answers["/keys"] = json_answer({"keys": [public_jwk("ES256")]})
        trust = IdentityProviderTrusted(
            issuer=server.issuer, kind="oidc", audiences=(AUDIENCE,), algorithms=("ES256",), private_hosts=(LOOPBACK,),
            **{"subjects": "user", "name_pattern": "user:*", "attributes": Attributes(company="Acme"), **terms},
        )  # fmt: skip
        say_of_provider(office.here.home, office.here.folder, trust)
        office.await_trust(server.issuer)
        yield Minting(server)


@pytest.fixture(scope="module")
def office(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    base = tmp_path_factory.mktemp("office")
    terms = {"namespace": "idp", "name_pattern": "user:idp/*"}
    with opened(broker, base, POLICIES, terms=terms, desk=Desk()) as made:
        (base / FILE_NAME).write_text("default:\n  mappings: {name_path: name, subject_path: sub}\n")
        yield made


@pytest.fixture(scope="module")
def persons(office: Office) -> Iterator[Minting]:
    with minting(office) as made:
        yield made


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_persons_are_who_their_provider_says(office: Office, persons: Minting, name: str) -> None:
    """Names as real providers give them, in policies and on the log; two providers' person of one name are two."""
    with office.login(persons.token(name=name)) as client:
        assert client.invoke(WHOAMI, {}) == {"balance": "12"}


def test_two_providers_persons_of_one_name_are_two(office: Office, persons: Minting) -> None:
    terms = {"namespace": "partner", "name_pattern": "user:partner/*"}
    with minting(office, **terms) as partner, office.login(partner.token(name="Ann/ops")) as theirs:
        with pytest.raises(DeniedError, match="RESOURCE_DENIED"):
            theirs.invoke(WHOAMI, {})
        with office.login(persons.token(name="Ann/ops")) as ours:
            assert ours.invoke(WHOAMI, {}) == {"balance": "12"}


def test_a_person_of_any_name_works_at_a_terminal(
    office: Office, persons: Minting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    monkeypatch.setenv("MACAW_HOME", str(office.here.home.path.parent))
    of = ("--tenant", office.tenant)
    for name in NAMES[:7:3]:
        (tmp_path / "token").write_text(persons.token(name=name))
        assert run(capsys, "login", "--token-file", str(tmp_path / "token"), *of).status == 0
        assert json.loads(run(capsys, "invoke", WHOAMI, "--as", f"user:{name}", *of).out) == {"balance": "12"}
        assert run(capsys, "logout", "--as", f"user:{name}", *of).status == 0


def test_a_workload_acts_without_an_enrolment_key(office: Office) -> None:
    """A CI job's token opens a session of a service, with its own name and with what the trust fixes."""
    terms = {"subjects": "workload", "namespace": "ci", "name_pattern": "workload:ci/*"}
    (office.here.home.path.parent / FILE_NAME).rename(office.here.home.path.parent / "aside")
    try:
        with minting(office, **terms) as ci:
            with office.login(ci.token(sub=CI)) as job:
                assert job.invoke(WHOAMI, {}) == {"balance": "12"}
            with office.login(ci.token(sub=CI, act={"sub": "deployer"})) as job, pytest.raises(DeniedError):
                job.invoke(WHOAMI, {})  # the job may, and its actor may not
    finally:
        (office.here.home.path.parent / "aside").rename(office.here.home.path.parent / FILE_NAME)


DEFECTS: dict[str, Callable[[Minting], str]] = {
    "TOKEN_EXPIRED": lambda p: p.token(name="a", exp=int(time.time()) - 5),
    "TOKEN_NOT_YET": lambda p: p.token(name="a", nbf=int(time.time()) + 900),
    "TOKEN_AUDIENCE": lambda p: p.token(name="a", aud="another"),
    "TOKEN_PARTY": lambda p: p.token(name="a", aud=[AUDIENCE, "b"], azp="b"),
    "TOKEN_TIME_FORM": lambda p: p.token(name="a", exp=str(int(time.time()) + 600)),
    "TOKEN_SUBJECT": lambda p: p.token(name="a", sub=ABSENT),
    "TOKEN_IS_EVENT": lambda p: p.token(name="a", events={}),
    "TOKEN_TYPE": lambda p: p.token({"typ": "logout+jwt"}, name="a"),
    "TOKEN_KEY_UNKNOWN": lambda p: p.token({"kid": "another"}, name="a"),
    "TOKEN_ALGORITHM_FORBIDDEN": lambda p: p.token({"alg": "EdDSA"}, name="a"),
    "NAME_MISSING": lambda p: p.token(),
    "LOGIN_ISSUER": lambda p: p.token(name="a", act={"sub": "x", "iss": "https://stranger.example"}),
}


def test_each_defect_has_its_own_code_and_its_line_on_the_log(office: Office, persons: Minting) -> None:
    """With no part of the token; and several of one code are one line, with their count."""
    for code, spoilt in DEFECTS.items():
        assert office.refused(spoilt(persons)) == code

    def told() -> list[LoginRefused]:
        return [event.body for _, event in office.intake() if isinstance(event.body, LoginRefused)]

    wait_until(lambda: DEFECTS.keys() <= {one.reason for one in told()}, "a line for each defect", pause=0.5)
    assert {one.issuer for one in told()} <= {persons.issuer, None}


def test_a_key_set_on_a_private_address_is_not_followed(office: Office) -> None:
    """Only hosts that the trust names are asked; a redirect leads nowhere."""
    with minting(office, namespace="far", name_pattern="user:far/*") as far:
        far.server.answers["/keys"] = json_answer({}, "Location: http://169.254.169.254/latest")
        far.server.answers["/.well-known/openid-configuration"] = json_answer(
            {"issuer": far.issuer, "jwks_uri": "https://192.168.7.7/keys"}
        )
        assert office.refused(far.token(name="a")) == "FETCH_ADDRESS_PRIVATE"


def test_a_slow_provider_delays_nobody_else(office: Office, persons: Minting) -> None:
    """Its own people hear that it was slow; the others are in at once."""
    with minting(office, namespace="slow", name_pattern="user:slow/*") as slow:
        slow.server.answers["/keys"] = lambda _, ends: ends.wait(20) and None
        begun = time.monotonic()
        client = _Later(lambda: office.refused(slow.token(name="a")))
        office.login(persons.token(name="Ann/ops")).close()
        assert time.monotonic() - begun < 4
        assert client.result() == "FETCH_TOO_SLOW"


class _Later:
    """A call on a thread of its own."""

    def __init__(self, call: Callable[[], str]) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self._pool = ThreadPoolExecutor(1)
        self._future = self._pool.submit(call)

    def result(self) -> str:
        with self._pool:
            return self._future.result(PATIENCE_SECONDS)


def test_a_client_shows_no_token(office: Office, persons: Minting) -> None:
    token = persons.token(name="Ann/ops")
    with office.login(token) as client:
        shown = repr(vars(client)) + repr(client.connection) + repr(vars(client.connection))
    assert not any(part in shown for part in token.split("."))
    assert isinstance(client, Client)
