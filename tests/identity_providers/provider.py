"""A real identity provider for a test: a server process on loopback, with two persons and three clients.

The three kinds (`nanoidp`, `keycloak`, `oidc-provider`) have this one interface. Their endpoints come from discovery,
and each knows the claims mapping that gives the same attributes for the same person.
"""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import ClassVar, Self

import httpx

from processors.identity.claims.model import ClaimsMapping
from processors.identity.tokens.key_sets import KeySet, parse_key_set
from processors.identity.tokens.rules import TokenRules
from streams.identity_files.claims_file import parse_claims
from tests.waiting import PATIENCE_SECONDS

AUDIENCE = "macaw"
CLIENT = "macaw-bridge"
"""A confidential client: all grants, the password grant too."""
PUBLIC_CLIENT = "macaw-cli"
"""A client without a secret, as a command line is: device flow, and authorization code with PKCE."""
WORKLOAD = "macaw-workload"
"""A confidential client with the client credentials grant alone."""
REDIRECT_URI = "http://127.0.0.1/callback"
"""Registered without a port: each provider takes any port of loopback (RFC 8252 7.3)."""

SECONDS = PATIENCE_SECONDS
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"


class Lifetime(Enum):
    """How long an access token lives. The seconds of each differ by provider: see `lifetimes`."""

    SHORT = "short"
    USUAL = "usual"
    LONG = "long"


@dataclass(frozen=True)
class Person:
    """A person at every provider; the password is made for this run."""

    name: str
    email: str
    company: str
    business_unit: str
    team: str
    roles: tuple[str, ...]
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12), repr=False)


def people() -> dict[str, Person]:
    """Return alice and bob, with new passwords."""
    both = (
        Person("alice", "alice@fintech.example", "FinTech Corp", "Analytics", "Reporting", ("analyst",)),
        Person("bob", "bob@fintech.example", "FinTech Corp", "Operations", "Payments", ("manager", "viewer")),
    )
    return {person.name: person for person in both}


class ProviderRefusedError(Exception):
    """A provider answered a request with an OAuth error. `code` is its `error` (RFC 6749 5.2)."""

    def __init__(self, status: int, answer: Mapping[str, object]) -> None:
        self.code = str(answer.get("error", ""))
        super().__init__(f"{status} {self.code}: {answer.get('error_description', '')}")


class IdentityProvider(ABC):
    """A provider. It is a context manager: it runs inside the `with` block, and can be stopped and started there."""

    kind: ClassVar[str]
    lifetimes: ClassVar[Mapping[Lifetime, int]]
    """The seconds of each lifetime of an access token."""
    algorithm: str = "RS256"
    token_types: ClassVar[frozenset[str]] = frozenset({"jwt"})

    def __init__(self) -> None:
        self.people = people()
        self.client_secret = secrets.token_urlsafe(24)
        self.workload_secret = secrets.token_urlsafe(24)
        self.http = httpx.Client(timeout=SECONDS, trust_env=False)

    audience: ClassVar[str] = AUDIENCE
    client_id: ClassVar[str] = CLIENT
    public_client_id: ClassVar[str] = PUBLIC_CLIENT
    workload_id: ClassVar[str] = WORKLOAD

    @property
    @abstractmethod
    def issuer(self) -> str:
        """The issuer, as in its tokens and in its metadata."""

    @abstractmethod
    def start(self) -> None:
        """Start the server, and wait for its metadata. Keys, persons and the address stay as before."""

    @abstractmethod
    def stop(self) -> None:
        """Stop the server: connections are refused from now on."""

    @abstractmethod
    def rotate(self, *, keep_old: bool = True) -> None:
        """Sign with a new key from now on. The key before stays in the key set, or leaves it without `keep_old`."""

    @property
    @abstractmethod
    def mapping_yaml(self) -> str:
        """The claims mapping for its tokens, as a file of an installation says it."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.http.close()

    def __repr__(self) -> str:
        return f"{self.kind} at {self.issuer}"

    @property
    def mapping(self) -> ClaimsMapping:
        return parse_claims(self.mapping_yaml.encode())

    @cached_property
    def metadata(self) -> Mapping[str, str]:
        """The metadata by discovery (OpenID Connect Discovery 1.0, 4)."""
        answer = self.http.get(f"{self.issuer}/.well-known/openid-configuration")
        answer.raise_for_status()
        found: dict[str, str] = answer.json()
        assert found["issuer"] == self.issuer
        return found

    def key_set_bytes(self) -> bytes:
        """The key set as the provider publishes it now."""
        answer = self.http.get(self.metadata["jwks_uri"])
        answer.raise_for_status()
        return answer.content

    def key_set(self) -> KeySet:
        return parse_key_set(self.key_set_bytes())

    def rules(self) -> TokenRules:
        """The rules for its access tokens."""
        return TokenRules(
            issuer=self.issuer,
            audiences=frozenset({AUDIENCE}),
            algorithms=frozenset({self.algorithm}),
            types=self.token_types,
        )

    def token(self, user: str, *, lifetime: Lifetime = Lifetime.USUAL) -> str:
        """An access token of a person, by the password grant (RFC 6749 4.3)."""
        return self.password_grant(user, lifetime=lifetime)["access_token"]

    def password_grant(
        self, user: str, *, scope: str = "openid", lifetime: Lifetime = Lifetime.USUAL
    ) -> dict[str, str]:
        """The whole answer to a password grant, with the refresh and the identity token."""
        form = {"username": user, "password": self.people[user].password, "scope": scope}
        return self.grant("password", form | self.lifetime_form(lifetime), client=self.client_for(lifetime))

    def client_token(self) -> str:
        """An access token of the workload itself, by client credentials (RFC 6749 4.4)."""
        auth = (self.workload_id, self.workload_secret)
        return self.grant("client_credentials", {}, auth=auth)["access_token"]

    def refresh(self, refresh_token: str) -> dict[str, str]:
        """Exchange a refresh token of the confidential client (RFC 6749 6)."""
        return self.grant("refresh_token", {"refresh_token": refresh_token})

    def login_answers(self, user: str) -> dict[str, str]:
        """What a person enters on the provider's pages, by the names of the fields."""
        return {"username": user, "password": self.people[user].password}

    def device_answers(self, *, deny: bool) -> dict[str, str]:
        """The buttons by which a person accepts or denies a device, by their names."""
        return {"action": "deny" if deny else "authorize"}

    def lifetime_form(self, lifetime: Lifetime) -> dict[str, str]:
        """Fields of a token request that ask for this lifetime."""
        return {}

    def client_for(self, lifetime: Lifetime) -> str:
        """The confidential client whose tokens have this lifetime; the secret of all is one."""
        return self.client_id

    def grant(
        self,
        grant_type: str,
        form: Mapping[str, str],
        *,
        client: str | None = None,
        auth: tuple[str, str] | None = None,
        is_public: bool = False,
    ) -> dict[str, str]:
        """Ask the token endpoint, as the confidential client unless told otherwise. Raises ProviderRefusedError."""
        credentials = None if is_public else auth or (client or self.client_id, self.client_secret)
        named = {"client_id": self.public_client_id} if is_public else {}
        return self.post("token_endpoint", {"grant_type": grant_type, **named, **form}, auth=credentials)

    def post(self, endpoint: str, form: Mapping[str, str], auth: tuple[str, str] | None = None) -> dict[str, str]:
        """Post a form to an endpoint of the metadata. Raises ProviderRefusedError."""
        answer = self.http.post(self.metadata[endpoint], data=dict(form), auth=auth or httpx.USE_CLIENT_DEFAULT)
        if answer.is_error:
            raise ProviderRefusedError(answer.status_code, answer.json())
        found: dict[str, str] = answer.json()
        return found


def now_ms() -> int:
    return time.time_ns() // 1_000_000
