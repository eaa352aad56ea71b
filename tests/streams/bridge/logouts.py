"""Logouts as a test has them: a tenant `acme` with one bridge, keys that are there or not, and a log that answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas.events.logins import LoginEnded
from schemas.rows import ProviderRow
from streams.bridge.logout_desk import Voice
from tests.identity_tokens.minting import ISSUER, NOW_MS
from tests.streams.bridge.surroundings import IDENTITY, TRUST, Keys, Sent

TENANT = "acme"
PATH = f"/v1/tenants/{TENANT}/backchannel-logout"


@dataclass
class Heard(Keys):
    """The world around the endpoint. The log accepts at once, unless `is_silent`."""

    trusted: dict[str, ProviderRow] = field(default_factory=lambda: {ISSUER: TRUST})
    is_silent: bool = False
    said: list[Sent] = field(default_factory=list)

    def voices(self, tenant: str) -> list[Voice] | None:
        return [Voice(IDENTITY, self, self.publish)] if tenant == TENANT else None

    def row(self, issuer: str) -> ProviderRow | None:
        return self.trusted.get(issuer)

    def rows(self) -> Mapping[str, ProviderRow]:
        return self.trusted

    def publish(self, body: LoginEnded) -> Sent:
        self.said.append(Sent(body))
        if not self.is_silent:
            self.said[-1].end()
        return self.said[-1]


class Clock:
    """A clock that stands until a test moves it."""

    now = NOW_MS

    def __call__(self) -> int:
        return self.now
