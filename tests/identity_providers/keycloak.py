"""Keycloak, from Maven Central: one server for all processes of a run, and a realm of its own for each fixture.

A fixture may do to its realm whatever it likes: rotate keys, end sessions, be down. Its issuer is a port of its own,
which leads to the server; `stop` closes that port, and the server behind it goes on for the other realms.
"""

from __future__ import annotations

import fcntl
import json
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from types import MappingProxyType
from typing import IO, Any, ClassVar, Final

import httpx
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from streams.local.probe import LOOPBACK, find_free_port, is_free
from tests.identity_providers import keycloak_home
from tests.identity_providers.forwarder import Forwarder
from tests.identity_providers.keycloak_home import ADMIN, KeycloakError, choose_home, locked
from tests.identity_providers.process import ServerProcess
from tests.identity_providers.provider import CLIENT, PUBLIC_CLIENT, IdentityProvider, Lifetime

REALM_FILE: Final = Path(__file__).with_name("keycloak_realm.json")
KEY_PROVIDER: Final = "org.keycloak.keys.KeyProvider"
RSA: Final = "rsa"
OTHERS_SECONDS_MAX: Final = 900.0
OTHERS_PAUSE_SECONDS: Final = 0.2
ADMIN_SECONDS: Final = 60.0
KEEP_TABLES: Final = "--spi-connections-jpa--quarkus--migration-strategy=manual"
"""The tables are of this version, so a start need not compare them: a second less."""

MAPPING = "built_in: [keycloak]\n"


@dataclass(frozen=True)
class KeycloakServer:
    """A running server, and its administrator."""

    port: int
    password: str = field(repr=False)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"


class Keycloak(IdentityProvider):
    """A realm of a running server. `logout_urls` are told of the ends of their clients' sessions.

    Its keys are the ids of the confidential and of the public client (OpenID Connect Back-Channel Logout 1.0, 2.2).
    """

    kind: ClassVar[str] = "keycloak"
    lifetimes: ClassVar[Mapping[Lifetime, int]] = {Lifetime.SHORT: 2, Lifetime.USUAL: 300, Lifetime.LONG: 86_400}

    def __init__(self, server: KeycloakServer, *, logout_urls: Mapping[str, str] = MappingProxyType({})) -> None:
        super().__init__()
        self.realm = f"macaw-{secrets.token_hex(4)}"
        self._server = server
        self._logout_urls = logout_urls
        self._port = Forwarder(find_free_port(), server.port)
        self._is_imported = False
        self._priority = 100

    @property
    def issuer(self) -> str:
        return f"http://{LOOPBACK}:{self._port.port}/realms/{self.realm}"

    @property
    def mapping_yaml(self) -> str:
        return MAPPING

    def start(self) -> None:
        if not self._is_imported:
            self._admin("POST", "", self._realm())
            self._is_imported = True
        self._port.open()

    def stop(self) -> None:
        self._port.close()

    def __exit__(self, *raised: object) -> None:
        self._admin("DELETE", f"/{self.realm}")
        super().__exit__(*raised)

    def rotate(self, *, keep_old: bool = True) -> None:
        """Add a key of a higher priority, which signs from now on; without `keep_old` the others are removed."""
        realm = self._admin("GET", f"/{self.realm}")
        assert isinstance(realm, dict)
        before = self._admin("GET", f"/{self.realm}/components?type={KEY_PROVIDER}")
        self._priority += 1
        key = _key_component(self._priority) | {"providerType": KEY_PROVIDER, "parentId": realm["id"]}
        self._admin("POST", f"/{self.realm}/components", key)
        for old in [] if keep_old else [one for one in before if one["providerId"] == RSA]:
            self._admin("DELETE", f"/{self.realm}/components/{old['id']}")

    def client_for(self, lifetime: Lifetime) -> str:
        return CLIENT if lifetime is Lifetime.USUAL else f"{CLIENT}-{lifetime.value}"

    def device_answers(self, *, deny: bool) -> dict[str, str]:
        return {"cancel": ""} if deny else {"accept": ""}

    def end_sessions(self, user: str) -> None:
        """End all sessions of a person, as an administrator does; clients with a logout URL are told."""
        [found] = self._admin("GET", f"/{self.realm}/users?exact=true&username={user}")
        self._admin("POST", f"/{self.realm}/users/{found['id']}/logout")

    def announce_sessions(self, *, on: bool) -> None:
        """Let logout tokens for the confidential client name the session (`sid`), or the person alone.

        Its setting is "Backchannel logout session required". With it Keycloak 26.5.1 sends one token when an
        administrator ends several sessions of a person, for one of them.
        """
        [client] = self._admin("GET", f"/{self.realm}/clients?clientId={CLIENT}")
        attributes = {**client["attributes"], "backchannel.logout.session.required": str(on).lower()}
        self._admin("PUT", f"/{self.realm}/clients/{client['id']}", {**client, "attributes": attributes})

    def replace_client(self, client: Mapping[str, object]) -> None:
        """Let the realm have a client as it is described, in the place of one with its id."""
        for before in self._admin("GET", f"/{self.realm}/clients?clientId={client['clientId']}"):
            self._admin("DELETE", f"/{self.realm}/clients/{before['id']}")
        self._admin("POST", f"/{self.realm}/clients", dict(client))

    def _realm(self) -> object:
        values = {
            "realm": self.realm,
            "secret": self.client_secret,
            "workload_secret": self.workload_secret,
            "logout_url": self._logout_urls.get(CLIENT, ""),
            "public_logout_url": self._logout_urls.get(PUBLIC_CLIENT, ""),
            **{name: person.password for name, person in self.people.items()},
        }
        realm = json.loads(Template(REALM_FILE.read_text()).substitute(values))
        realm["components"][KEY_PROVIDER].append(_key_component(self._priority))
        return realm

    def _admin(self, method: str, path: str, body: object = None) -> Any:
        """Ask the interface of administrators (Admin REST API), at the server itself, with a token for this request."""
        with httpx.Client(timeout=ADMIN_SECONDS, trust_env=False, base_url=self._server.url) as http:
            form = {"grant_type": "password", "client_id": "admin-cli", "username": ADMIN}
            token = http.post(
                "/realms/master/protocol/openid-connect/token", data=form | {"password": self._server.password}
            ).raise_for_status()
            bearer = {"Authorization": f"Bearer {token.json()['access_token']}"}
            answer = http.request(method, f"/admin/realms{path}", json=body, headers=bearer)
            if answer.is_error:
                raise KeycloakError(f"{method} of the realm: {answer.status_code} {answer.text[:300]}")
            return answer.json() if method == "GET" else {}


def _key_component(priority: int) -> dict[str, object]:
    """Return a key for RS256, made here: Keycloak takes seconds of a core for one."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    config = {"priority": [str(priority)], "algorithm": ["RS256"], "privateKey": [pem]}
    return {"name": f"rsa-{priority}", "providerId": RSA, "config": config}


@contextmanager
def shared_server(folder: Path) -> Iterator[KeycloakServer]:
    """One server for all processes that name this folder. The first starts it, and stops it after the last has left."""
    state, users = folder / "keycloak.json", folder / "keycloak.users"
    owned: ServerProcess | None = None
    with users.open("w") as using:
        with locked(folder / "keycloak.lock"):
            if not state.exists() or is_free(json.loads(state.read_text())["port"]):  # or its starter was killed
                owned, port = _start(folder / f"keycloak-{secrets.token_hex(4)}")
                state.write_text(json.dumps({"port": port}))
            fcntl.flock(using, fcntl.LOCK_SH)
        port = json.loads(state.read_text())["port"]
        try:
            yield KeycloakServer(port, keycloak_home.admin_password(choose_home()))
        finally:
            fcntl.flock(using, fcntl.LOCK_UN)
            if owned is not None:
                _stop_last(owned, folder, state, users)


def _start(folder: Path) -> tuple[ServerProcess, int]:
    home = keycloak_home.copy_home(keycloak_home.prepare(choose_home()), folder)
    port = find_free_port()
    server = ServerProcess(folder / "keycloak.log")
    command = [*keycloak_home.java_command(home), *keycloak_home.start_arguments(port), KEEP_TABLES]
    server.start(command, keycloak_home.ready_url(port), seconds=keycloak_home.START_SECONDS_MAX)
    return server, port


def _stop_last(server: ServerProcess, folder: Path, state: Path, users: Path) -> None:
    """Stop a server when no process uses it any more."""
    deadline = time.monotonic() + OTHERS_SECONDS_MAX
    with users.open("w") as others:
        while not _stop_if_last(server, folder, state, others, is_late=time.monotonic() > deadline):
            time.sleep(OTHERS_PAUSE_SECONDS)


def _stop_if_last(server: ServerProcess, folder: Path, state: Path, others: IO[str], *, is_late: bool) -> bool:
    with locked(folder / "keycloak.lock"):
        try:
            fcntl.flock(others, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not is_late:
                return False
        state.unlink(missing_ok=True)
        server.stop()
        return True
