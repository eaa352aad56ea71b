"""The life of a login in the second registry, from `docs/wire.md` section 17 alone."""

from __future__ import annotations

from tests.reference.registry_parts import Json, Refused, raw, signed
from tests.reference.registry_providers import ProviderRules
from tests.reference.wire_reference import u

DAY_MS = 86_400_000


class LoginRules(ProviderRules):
    """The part of a registry in which sessions are renewed, and end with their login."""

    genesis: bytes
    keys: dict[bytes, Json]

    def _speaks(self, by: Json, issuer: str) -> None:
        issuers = self.keys[by["kid"]]["attributes"]["issuers"]
        if issuer not in issuers and "*" not in issuers:
            raise Refused("WRONG_ROLE")

    def _SessionRenewed(self, by: Json, body: Json) -> None:  # noqa: N802
        row = self.sessions.get(raw(body["session"]))
        if row is None or row["revoked"]:
            raise Refused("UNKNOWN_SESSION")
        if row["issuer"] not in self.providers:
            raise Refused("UNKNOWN_PROVIDER")
        if self.keys[row["by"]]["principal"] != by["principal"]:
            raise Refused("WRONG_PRINCIPAL")
        self._speaks(by, row["issuer"])
        if self.now >= row["ends"]:
            raise Refused("EXPIRED_SESSION")
        same = ("principal_id", "issuer", "attributes", "actors", "subject_ref")
        if any(body[name] != row["body"][name] for name in same):
            raise Refused("LOGIN_CHANGED")
        if self.providers[row["issuer"]]["ended"]:
            raise Refused("UNKNOWN_PROVIDER")
        self.provided({**row["body"], "token_sha256": body["token_sha256"]})
        if not 0 < body["ttl_ms"] <= DAY_MS:
            raise Refused("SESSION_TTL")
        nonce, until = raw(body["login"]["nonce"]), body["login"]["expires_at"]
        fresh = self.now < until <= self.now + 120_000 and (row["renewed"] is None or row["renewed"][1] != nonce)
        if len(nonce) != 16 or not fresh:
            raise Refused("LOGIN_PROOF")
        said = b"macaw/renewal/v1\n" + self.genesis + by["kid"] + raw(body["token_sha256"])
        said += row["ed25519"] + row["x25519"] + nonce + u(until, 8)
        if not signed(row["ed25519"], said, raw(body["possession"])):
            raise Refused("LOGIN_PROOF")
        key_ends = self.keys[by["kid"]]["expires"]
        ends = min(self.now + body["ttl_ms"], row["opened"] + DAY_MS, *([] if key_ends is None else [key_ends]))
        if ends > row["ends"]:
            row |= {"ends": ends, "renewed": (by["kid"], nonce)}

    def _LoginEnded(self, by: Json, body: Json) -> None:  # noqa: N802
        self._speaks(by, body["issuer"])
        if body["issuer"] not in self.providers:
            raise Refused("UNKNOWN_PROVIDER")
        refs = body["login_ref"], body["subject_ref"]
        if refs == (None, None) or any(ref is not None and len(ref) != 64 for ref in refs):
            raise Refused("LOGIN_FORM")
        for row in self.sessions.values():
            fits = all(ref is None or ref == own for ref, own in zip(refs, row["refs"], strict=True))
            if row["issuer"] == body["issuer"] and fits and not row["revoked"]:
                row |= {"ends": min(row["ends"], self.now), "revoked": True}
