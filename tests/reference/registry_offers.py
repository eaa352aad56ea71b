"""The tools that sessions offer, in the second registry, from `docs/wire.md` section 20 alone."""

from __future__ import annotations

import re

from tests.reference.registry_parts import Json, Refused, offered, raw
from tests.reference.wire_reference import digest


class OfferRules:
    """The part of a registry in which sessions offer tools with a key of their own."""

    genesis: bytes
    keys: dict[bytes, Json]
    sessions: dict[bytes, Json]
    offers: dict[bytes, Json]
    resources: dict[str, str]

    def _ToolsOffered(self, by: Json, body: Json) -> None:  # noqa: N802
        offer, session = body["key"], by["kid"].hex()
        ed25519 = raw(offer["ed25519"])
        before = [kid for kid, one in self.offers.items() if one["offered_by"] == session]
        if before and before != [digest(ed25519)]:
            raise Refused("OFFER_KEY")
        if offer["principal_id"] != by["principal"]:
            raise Refused("WRONG_PRINCIPAL")
        offered(offer, "offer", self.genesis)
        if not before and any(digest(ed25519) in known for known in (self.keys, self.sessions, self.offers)):
            raise Refused("KEY_TAKEN")
        self._names(by, body["tools"])
        row = {"role": "offer", "principal": by["principal"], "ed25519": ed25519, "offered_by": session}
        self.offers[digest(ed25519)] = row

    def _names(self, by: Json, tools: list[Json]) -> None:
        opener = self.keys[by["session"]["by"]]
        if opener["role"] not in {"agent", "service"}:
            return
        names = [tool["resource"] for tool in tools]
        patterns = opener["attributes"].get("offers", ())
        for name in names:
            if not any(re.fullmatch(_expression(pattern), name) for pattern in patterns):
                raise Refused("OFFER_NOT_ALLOWED")
            if self.resources.setdefault(name, by["principal"]) != by["principal"]:
                raise Refused("RESOURCE_TAKEN")


def _expression(pattern: str) -> str:
    """`*` stops at `/` and `:`, `**` does not."""
    parts = re.split(r"(\*+)", pattern)
    return "".join({"*": "[^/:]*"}.get(one, ".*") if one.startswith("*") else re.escape(one) for one in parts)
