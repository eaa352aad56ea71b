"""Identity providers in the second registry, from `docs/wire.md` section 15 alone."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from tests.reference.registry_parts import Json, Refused, printable

KINDS = {"oidc", "keycloak", "okta", "azure", "google", "auth0"}
ALGORITHMS = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
READ = {"company", "business_unit", "team", "email", "clearance", "roles", "groups"}
NAMESPACE = "[a-z0-9][a-z0-9-]{0,39}"
HOST = r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\]"


def met(pattern: str, text: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None


def prefix_of(provider: Json) -> str:
    space = "" if provider["namespace"] is None else provider["namespace"] + "/"
    return f"{provider['subjects']}:{space}"


class ProviderRules:
    """The part of a registry that knows which issuers are trusted."""

    providers: dict[str, Json]
    sessions: dict[bytes, Json]
    founding: Json | None
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
    def _plain(text: str, most: int) -> bool:
        return 0 < len(text) <= most and printable(text) and text.count("*") <= 8

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
        digests = body["token_sha256"], body.get("login_ref") or "00" * 32
        if any(one is None or len(one) != 64 for one in digests):
            raise Refused("TOKEN_DIGEST")
        start = prefix_of(provider)
        first, slash, _ = name[len(start) :].partition("/")
        clash = provider["namespace"] is None and slash and re.fullmatch(NAMESPACE, first)
        plain = (
            printable(name) and name == name.strip() and "*" not in name and unicodedata.normalize("NFC", name) == name
        )
        if not (name.startswith(start) and len(name) > len(start)) or clash or not plain or len(name) > 512:
            raise Refused("NAME_INVALID")
        if not met(provider["name_pattern"], name) or provider["subjects"] != "user":
            raise Refused("WRONG_PRINCIPAL")
        for field, value in body["attributes"].items():
            most = provider["attributes"][field]
            patterns = [most] if isinstance(most, str) else most or []
            given = [value] if isinstance(value, str) else value or []
            if field == "user":
                patterns = [name.removeprefix("user:").replace("*", "")]
            if not all(any(one and met(one, text) for one in patterns) for text in given):
                raise Refused("ATTRIBUTE_INVALID")
