"""Identity providers and logins in the second registry, from `docs/wire.md` sections 15 and 16 alone."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from tests.reference.mapl.text import fold
from tests.reference.registry_parts import Json, Refused, good_attributes, halves, printable, raw, signed
from tests.reference.wire_reference import u

KINDS = {"oidc", "keycloak", "okta", "azure", "google", "auth0"}
ALGORITHMS = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
READ = {"company", "business_unit", "team", "email", "clearance", "roles", "groups"}
NAMESPACE = "[a-z0-9][a-z0-9-]{0,39}"
HOST = r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\]"


def met(pattern: str, text: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None


def known_as(name: str) -> str:
    """Section 10: the fold with runs of blanks made one, without `user:` before it."""
    return " ".join(fold(name).split()).removeprefix("user:")


def prefix_of(provider: Json) -> str:
    space = "" if provider["namespace"] is None else provider["namespace"] + "/"
    return f"{provider['subjects']}:{space}"


class ProviderRules:
    """The part of a registry that knows which issuers are trusted."""

    providers: dict[str, Json]
    sessions: dict[bytes, Json]
    founding: Json | None
    genesis: bytes
    now: int

    def may_name(self, issuer: str | None) -> bool:
        """True if a bridge may speak for an issuer now."""
        if issuer == "urn:macaw:development":
            return bool(self.founding and self.founding["development"])
        return issuer in self.providers and not self.providers[issuer]["ended"]

    def _IdentityProviderTrusted(self, _: Json, body: Json) -> None:  # noqa: N802
        self._well_formed(body)
        known = self.providers.get(body["issuer"])
        if known is None and len(self.providers) >= 64:
            raise Refused("LIMIT_EXCEEDED")
        same = ("namespace", "subjects")
        if known is not None and any(known[name] != body[name] for name in same):
            raise Refused("PROVIDER_CONFLICT")
        others = (one for issuer, one in self.providers.items() if issuer != body["issuer"])
        if any(all(one[name] == body[name] for name in same) for one in others):
            raise Refused("PROVIDER_CONFLICT")
        self.providers[body["issuer"]] = {**body, "ended": False}

    def _IdentityProviderDistrusted(self, _: Json, body: Json) -> None:  # noqa: N802
        known = self.providers.get(body["issuer"])
        if known is None or (known["ended"] and not body["end_sessions"]):
            raise Refused("UNKNOWN_PROVIDER")
        if len(body["reason"]) > 1024:
            raise Refused("LIMIT_EXCEEDED")
        known["ended"] = True
        for row in self.sessions.values():
            if body["end_sessions"] and row["issuer"] == body["issuer"] and not row["revoked"]:
                row |= {"ends": min(row["ends"], self.now), "revoked": True}

    def _well_formed(self, body: Json) -> None:
        url = rf"(https?)://({HOST})(:[0-9]{{1,5}})?(/[^?#\\\s]*)?"
        found = re.fullmatch(url, body["issuer"])
        lists: dict[str, int] = {"audiences": 16, "algorithms": 10, "private_hosts": 16}
        good = (
            found is not None
            and len(body["issuer"]) <= 512
            and body["issuer"].isascii()
            and (found[1] == "https" or found[2] in body["private_hosts"])
            and body["kind"] in KINDS
            and body["subjects"] in {"user", "workload"}
            and (body["namespace"] is None or bool(re.fullmatch(NAMESPACE, body["namespace"])))
            and (body["namespace"] is not None or body["subjects"] == "user")
            and body["name_pattern"].startswith(prefix_of(body))
            and self._plain(body["name_pattern"], 512)
            and all(self._listed(body[name], most, name) for name, most in lists.items())
            and set(body["algorithms"]) <= ALGORITHMS
            and all(re.fullmatch(HOST, host) for host in body["private_hosts"])
            and all(self._bound(name, value) for name, value in body["attributes"].items())
        )
        if not good:
            raise Refused("PROVIDER_FORM")

    @staticmethod
    def _plain(text: str, most: int, stars: int | None = 8) -> bool:
        return 0 < len(text) <= most and printable(text) and (stars is None or text.count("*") <= stars)

    def _listed(self, texts: list[str], most: int, name: str) -> bool:
        fits = len(texts) <= most and len(set(texts)) == len(texts) and all(self._plain(one, 256) for one in texts)
        return fits and (bool(texts) or name == "private_hosts")

    def _bound(self, name: str, value: Any) -> bool:
        texts = [value] if isinstance(value, str) else value or []
        fits = len(texts) <= 64 and len(set(texts)) == len(texts)
        return value in (None, [], "") or (name in READ and fits and all(self._plain(one, 512) for one in texts))

    def provided(self, body: Json) -> None:
        """Check a session that a bridge opens for a principal of a provider. Raises Refused."""
        provider, name = self.providers[body["issuer"]], body["principal_id"]
        digests = (
            body["token_sha256"] or "",
            *(body[one] for one in ("login_ref", "subject_ref") if body[one] is not None),
        )
        if any(len(one) != 64 for one in digests):
            raise Refused("TOKEN_DIGEST")
        self._named(provider, name)
        good_attributes(body["attributes"])
        for field, value in body["attributes"].items():
            most = provider["attributes"][field]
            patterns = [most] if isinstance(most, str) else most or []
            given = [value] if isinstance(value, str) else value or []
            if field == "user":
                patterns = [name[5:].replace("*", "")] if name.startswith("user:") else []
            if not all(any(one and met(one, text) for one in patterns) for text in given):
                raise Refused("ATTRIBUTE_INVALID")
        actors, methods = body["actors"], body["methods"]
        if (
            len(actors) > 8
            or not all(self._anybodys(one, body["issuer"]) for one in actors)
            or len(set(map(known_as, [name, *actors]))) <= len(actors)
        ):
            raise Refused("ACTOR_INVALID")
        if (
            len(methods) > 16
            or len(set(methods)) < len(methods)
            or not all(self._plain(one, 64, None) for one in methods)
        ):
            raise Refused("LOGIN_METHODS")

    def _anybodys(self, name: str, issuer: str) -> bool:
        for own, provider in self.providers.items():
            if own != issuer and provider["subjects"] != "workload":
                continue
            try:
                self._named(provider, name)
            except Refused:
                continue
            if not provider["ended"]:
                return True
        return False

    @staticmethod
    def _named(provider: Json, name: str) -> None:
        start = prefix_of(provider)
        first, slash, _ = name[len(start) :].partition("/")
        clash = provider["namespace"] is None and slash and re.fullmatch(NAMESPACE, first)
        plain = (
            printable(name) and name == name.strip() and "*" not in name and unicodedata.normalize("NFC", name) == name
        )
        if not (name.startswith(start) and len(name) > len(start)) or clash or not plain or len(name) > 512:
            raise Refused("NAME_INVALID")
        if not met(provider["name_pattern"], name):
            raise Refused("WRONG_PRINCIPAL")

    def logged_in(self, body: Json, bridge: bytes) -> None:
        """Check the proof of a login at log time. Raises Refused."""
        login = body["login"]
        if login is None or len(login["nonce"]) != 32:
            raise Refused("LOGIN_PROOF")
        if not self.now < login["expires_at"] <= self.now + 120_000:
            raise Refused("LOGIN_EXPIRED")
        ed25519, x25519 = halves(body["key"])
        message = b"".join(
            (b"macaw/login/v1\n", self.genesis, bridge, raw(body["token_sha256"]), ed25519, x25519, raw(login["nonce"]))
        )
        if not signed(ed25519, message + u(login["expires_at"], 8), raw(body["key"]["possession"])):
            raise Refused("BAD_POSSESSION")
