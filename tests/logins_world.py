"""A world with an identity provider, a bridge that logs its persons in, and whatever either may say later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from processors.proof.signing import login_bytes
from schemas import limits
from schemas.events.attributes import NONE, Attributes
from schemas.events.logins import LoginEnded, LoginProof, LoginRefused, SessionRenewed
from schemas.events.providers import IdentityProviderDistrusted, IdentityProviderTrusted
from tests.builders import Actor, Folded, keys_of, noise
from tests.workflow_world import ANYTHING, Workflow
from tests.world import HOUR_MS, World

ACME = "https://login.acme.example"
ALICE = "user:alice@acme.example"
MINUTE_MS = 60_000
DAY_MS = limits.SESSION_TTL_MS_MAX
LOGIN, SUBJECT = noise("login"), noise("subject")


def trusted(issuer: str = ACME, **terms: Any) -> IdentityProviderTrusted:
    """Return the trust in a provider of persons."""
    fields = {
        "issuer": issuer, "kind": "keycloak", "subjects": "user", "name_pattern": "user:*",
        "attributes": Attributes(company="Acme", roles=("*",)), "audiences": ("macaw",), "algorithms": ("EdDSA",),
        "private_hosts": (), **terms,
    }  # fmt: skip
    return IdentityProviderTrusted(**fields)


def renewal_of(world: World, of: Actor, bridge: Actor, **other: Any) -> SessionRenewed:
    """Return a renewal that is in order unless `other` says otherwise; `said` is of the signed bytes."""
    said = {
        "genesis": world.genesis, "bridge": bridge.kid, "token_sha256": noise("next token"),
        "ed25519": of.keys.signing.public, "x25519": of.keys.sealing.public,
        "nonce": world.draw()[: limits.LOGIN_NONCE_BYTES], "expires_at": world.now + limits.LOGIN_MS,
        "is_renewal": True, **other.pop("said", {}),
    }  # fmt: skip
    row = world.tables.sessions.get(of.kid)
    words = {
        "principal_id": of.principal_id, "issuer": row.issuer if row else ACME, "actors": row.actors if row else (),
        "attributes": row.attributes if row else NONE, "subject_ref": (row and row.subject_ref) or SUBJECT,
    }  # fmt: skip
    fields = {
        **words, "session": of.kid, "ttl_ms": HOUR_MS, "token_sha256": said["token_sha256"],
        "login": LoginProof(nonce=said["nonce"], expires_at=said["expires_at"]),
        "possession": of.keys.signing.sign(login_bytes(**said)), **other,
    }  # fmt: skip
    return SessionRenewed(**fields)


def refused(world: Logins, act: Callable[[], Folded]) -> str:
    """Return the reason for which a record had no effect at all."""
    folded = world.nothing_changes(act)
    assert folded.says[0] == "refused", folded.says
    return folded.says[1]


class Logins(Workflow):
    """A workflow world whose bridge `gate` speaks for one provider."""

    gate: Actor

    @classmethod
    def opened(cls, name: str = "logins", **how: Any) -> Logins:
        """Return a world where alice may call anything once she has logged in."""
        world = super().opened(name, **how)
        assert isinstance(world, Logins)
        world.accepted(trusted(), world.admin)
        world.gate = world.bridge_for("gate")
        world.publish_policy({"policy_id": ALICE, **ANYTHING})
        return world

    def accepted(self, body: Any, by: Actor) -> Folded:
        """Send what must be accepted."""
        folded = self.send(body, by)
        assert folded.says == ("accepted", ""), folded.results
        return folded

    def bridge_for(self, name: str, *issuers: str, **more: Any) -> Actor:
        """Register a bridge for issuers."""
        return self.register("bridge", name, attributes=Attributes(issuers=issuers or (ACME,)), **more)

    def login(
        self, name: str = ALICE, *, by: Actor | None = None, roles: tuple[str, ...] = ("analyst",), **body: Any
    ) -> Actor:
        """Log a person in and return the session."""
        keys = keys_of(self.name, "login", self.draw())
        fields = {
            "issuer": ACME, "token_sha256": noise("token"), "login_ref": LOGIN, "subject_ref": SUBJECT,
            "attributes": Attributes(company="Acme", roles=roles, user=name.removeprefix("user:")), **body,
        }  # fmt: skip
        gate = by or self.gate
        self.accepted(self.provided_session(name, gate, keys=keys, **fields), gate)
        return Actor("session", name, keys)

    def renewal(self, of: Actor, *, by: Actor | None = None, **other: Any) -> SessionRenewed:
        """Return a renewal that is in order unless `other` says otherwise."""
        return renewal_of(self, of, by or self.gate, **other)

    def renew(self, of: Actor, *, by: Actor | None = None, **other: Any) -> Folded:
        """Renew a session."""
        return self.send(self.renewal(of, by=by, **other), by or self.gate)

    def logout(self, *, by: Actor | None = None, issuer: str = ACME, **refs: bytes | None) -> Folded:
        """Let the provider end a login or a subject."""
        return self.send(LoginEnded(issuer=issuer, reason="logout", **refs), by or self.gate)

    def refusals(self, *, by: Actor | None = None, **other: Any) -> Folded:
        """Let a bridge note refused logins."""
        fields = {"issuer": ACME, "reason": "TOKEN_EXPIRED", "login": noise("refused"), "count": 1, **other}
        return self.send(LoginRefused(**fields), by or self.gate)

    def distrust(self, *, end_sessions: bool = False) -> Folded:
        """Take the trust from the provider."""
        body = IdentityProviderDistrusted(issuer=ACME, end_sessions=end_sessions, reason="left")
        return self.accepted(body, self.admin)

    def ends(self, session: Actor) -> int:
        """Return the end of a session as its row has it."""
        return self.tables.sessions.rows[session.kid].expires_at
