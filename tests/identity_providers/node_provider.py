"""The certified provider `oidc-provider`, from npm: ES256 and EdDSA, access tokens by RFC 9068, and `act` (RFC 8693).

`node/server.mjs` is the server. It reads its settings again on SIGHUP, so a rotation needs no restart. Sessions and
refresh tokens are in its memory: a stop forgets them.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from streams.local.probe import LOOPBACK, find_free_port
from tests.identity_providers import node_home
from tests.identity_providers.process import ServerProcess
from tests.identity_providers.provider import (
    AUDIENCE,
    CLIENT,
    PUBLIC_CLIENT,
    REDIRECT_URI,
    WORKLOAD,
    IdentityProvider,
    Lifetime,
)
from tests.waiting import PATIENCE_SECONDS, wait_until

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"

MAPPING = """\
identity_providers:
  node:
    detection: {{iss: "{issuer}"}}
    mappings:
      subject_path: sub
      name_path: email
      email_path: email
      organization_path: org.name
      business_unit_path: org.unit
      team_path: org.team
      roles_path: roles
"""


class NodeProvider(IdentityProvider):
    """An `oidc-provider` with its settings in `folder`, which signs with ES256 or EdDSA."""

    kind: ClassVar[str] = "oidc-provider"
    token_types: ClassVar[frozenset[str]] = frozenset({"at+jwt"})
    lifetimes: ClassVar[Mapping[Lifetime, int]] = {Lifetime.SHORT: 2, Lifetime.USUAL: 300, Lifetime.LONG: 86_400}

    def __init__(self, folder: Path, algorithm: str = "ES256") -> None:
        super().__init__()
        self.algorithm = algorithm
        self._folder = folder
        self._port = find_free_port()
        self._server = ServerProcess(folder / "oidc-provider.log")
        self._keys = [_new_key(algorithm)]
        self._cookie_key = secrets.token_urlsafe(24)

    @property
    def issuer(self) -> str:
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def mapping_yaml(self) -> str:
        return MAPPING.format(issuer=self.issuer)

    def start(self) -> None:
        home = node_home.PACKAGES.prepare()
        self._folder.mkdir(parents=True, exist_ok=True)
        modules = self._folder / "node_modules"  # Node looks for packages beside the file that imports them
        if not modules.exists():
            modules.symlink_to(home / "node_modules")
            shutil.copy(node_home.SOURCE / "server.mjs", self._folder)
            shutil.copy(node_home.SOURCE / "package.json", self._folder)
        self._write()
        command = [str(shutil.which("node")), "server.mjs", "settings.json"]
        self._server.start(command, f"{self.issuer}/.well-known/openid-configuration", seconds=PATIENCE_SECONDS)

    def stop(self) -> None:
        self._server.stop()

    def rotate(self, *, keep_old: bool = True) -> None:
        self._keys = [_new_key(self.algorithm), *(self._keys if keep_old else [])]
        self._write()
        os.kill(self._server.pid, signal.SIGHUP)
        wanted = {key["kid"] for key in self._keys}
        wait_until(
            lambda: {key["kid"] for key in json.loads(self.key_set_bytes())["keys"]} == wanted,
            "the server did not read its settings again",
        )

    def exchange(self, subject_token: str, actor_token: str) -> str:
        """Exchange the token of a person for one that names the actor (`act`). Raises ProviderRefusedError."""
        form = {"subject_token": subject_token, "actor_token": actor_token}
        types = {"subject_token_type": ACCESS_TOKEN, "actor_token_type": ACCESS_TOKEN}
        return self.grant(EXCHANGE, form | types)["access_token"]

    def lifetime_form(self, lifetime: Lifetime) -> dict[str, str]:
        return {"lifetime": lifetime.value}

    def device_answers(self, *, deny: bool) -> dict[str, str]:
        return {"abort": "yes"} if deny else {}

    def _write(self) -> None:
        path = self._folder / "settings.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(self._settings()))

    def _settings(self) -> dict[str, object]:
        people = {
            person.name: {
                "password": person.password,
                "claims": {
                    "email": person.email,
                    "email_verified": True,
                    "org": {"name": person.company, "unit": person.business_unit, "team": person.team},
                    "roles": list(person.roles),
                },
            }
            for person in self.people.values()
        }
        return {
            "issuer": self.issuer,
            "port": self._port,
            "audience": AUDIENCE,
            "algorithm": self.algorithm,
            "keys": self._keys,
            "cookie_key": self._cookie_key,
            "redirect_uri": REDIRECT_URI,
            "client": {"id": CLIENT, "secret": self.client_secret},
            "public_client": {"id": PUBLIC_CLIENT},
            "workload": {"id": WORKLOAD, "secret": self.workload_secret},
            "lifetimes": {lifetime.value: seconds for lifetime, seconds in self.lifetimes.items()},
            "people": people,
        }


def _new_key(algorithm: str) -> dict[str, str]:
    """Return a new private key as a JWK (RFC 7517)."""
    named = {"kid": secrets.token_hex(8), "use": "sig", "alg": algorithm}
    if algorithm == "EdDSA":
        key = ed25519.Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        private = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        return named | {"kty": "OKP", "crv": "Ed25519", "x": _text(public), "d": _text(private)}
    numbers = ec.generate_private_key(ec.SECP256R1()).private_numbers()
    point = numbers.public_numbers
    x, y, d = (number.to_bytes(32, "big") for number in (point.x, point.y, numbers.private_value))
    return named | {"kty": "EC", "crv": "P-256", "x": _text(x), "y": _text(y), "d": _text(d)}


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
