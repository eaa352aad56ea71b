"""nanoidp, from PyPI: a provider that starts in a second, for every run of the tests.

It puts the attributes of a user into a claim of its own, `attributes`, and `extra` of a token request adds claims. It
signs with RS256 alone. Its management interface has no authentication, so a rotation of keys is one request.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from streams.local.probe import LOOPBACK, find_free_port
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
from tests.waiting import PATIENCE_SECONDS

KEPT_KEYS = 1
"""So many keys stay in the key set beside the one that signs."""

MAPPING = """\
identity_providers:
  nanoidp:
    detection: {{iss: "{issuer}"}}
    mappings:
      subject_path: sub
      name_path: attributes.email
      email_path: attributes.email
      organization_path: attributes.company
      business_unit_path: attributes.business_unit
      team_path: attributes.team
      roles_path: roles
"""


class NanoIdP(IdentityProvider):
    """A nanoidp with its settings and keys in `folder`. Its port stays the same over restarts."""

    kind: ClassVar[str] = "nanoidp"
    # It counts in minutes.
    lifetimes: ClassVar[Mapping[Lifetime, int]] = {Lifetime.SHORT: 60, Lifetime.USUAL: 300, Lifetime.LONG: 86_400}

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._port = find_free_port()
        self._server = ServerProcess(folder / "nanoidp.log")
        folder.mkdir(parents=True, exist_ok=True)
        # JSON is YAML.
        (folder / "settings.yaml").write_text(json.dumps(self._settings()))
        (folder / "users.yaml").write_text(json.dumps(self._users()))

    @property
    def issuer(self) -> str:
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def mapping_yaml(self) -> str:
        return MAPPING.format(issuer=self.issuer)

    def start(self) -> None:
        command = [sys.executable, "-m", "nanoidp", "--config", ".", "--strict-config"]
        self._server.start(command, f"{self.issuer}/.well-known/openid-configuration", seconds=PATIENCE_SECONDS)

    def stop(self) -> None:
        self._server.stop()

    def rotate(self, *, keep_old: bool = True) -> None:
        for _ in range(1 if keep_old else 1 + KEPT_KEYS):
            self.http.post(f"{self.issuer}/api/keys/rotate").raise_for_status()

    def lifetime_form(self, lifetime: Lifetime) -> dict[str, str]:
        return {"exp": str(self.lifetimes[lifetime] // 60)}

    def _settings(self) -> dict[str, object]:
        secret = {"client_secret": self.client_secret, "redirect_uris": [REDIRECT_URI]}
        public = {"token_endpoint_auth_method": "none", "redirect_uris": [REDIRECT_URI]}
        return {
            "config_version": 1,
            "server": {"host": LOOPBACK, "port": self._port},
            "oauth": {
                "issuer": self.issuer,  # it publishes what is written here, whatever port it listens on
                "audience": AUDIENCE,
                "token_expiry_minutes": self.lifetimes[Lifetime.USUAL] // 60,
                "refresh_token_rotation": True,
                "require_pkce": True,
                "clients": [
                    {"client_id": CLIENT, **secret},
                    {"client_id": PUBLIC_CLIENT, **public},
                    {"client_id": WORKLOAD, "client_secret": self.workload_secret},
                ],
            },
            "device_flow": {"polling_interval": 1},
            "jwt": {"keys_dir": "./keys", "max_previous_keys": KEPT_KEYS},
            "logging": {"level": "WARNING", "log_token_requests": False, "verbose_logging": False},
        }

    def _users(self) -> dict[str, object]:
        users = {
            person.name: {
                "password": person.password,
                "email": person.email,
                "roles": list(person.roles),
                "attributes": {
                    "email": person.email,
                    "company": person.company,
                    "business_unit": person.business_unit,
                    "team": person.team,
                },
            }
            for person in self.people.values()
        }
        return {"config_version": 1, "users": users}
