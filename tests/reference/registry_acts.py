"""Root acts and rotations of the second registry, from `docs/wire.md` section 7 alone."""

from __future__ import annotations

import json

from tests.reference.avro_reference import read_datum
from tests.reference.registry_engines import FIRST, EngineRules, Held
from tests.reference.registry_parts import (
    IDS,
    NAMES,
    PROGRAMS,
    SCHEMAS,
    Json,
    Refused,
    good_name,
    good_point,
    offered,
    raw,
    signed,
)
from tests.reference.registry_providers import ProviderRules
from tests.reference.wire_reference import digest, u


class Acts(EngineRules, ProviderRules):
    """The part of a registry that changes its roots, admins and keys in place."""

    def __init__(self, tenant: str, origin: str, genesis: bytes, held: Held = FIRST) -> None:
        super().__init__(held)
        self.tenant, self.origin, self.genesis = tenant, origin, genesis
        self.keys: dict[bytes, Json] = {}
        self.providers: dict[str, Json] = {}
        self.sessions: dict[bytes, Json] = {}
        self.offers: dict[bytes, Json] = {}  # by kid
        self.left: dict[bytes, Json] = {}
        self.principals: dict[str, Json] = {}
        self.resources: dict[str, str] = {}
        self.founding: Json | None = None
        self.epoch = 0
        self.now = 0

    def decides(self) -> bool:
        """Whether a monitor key is live."""
        over = ((row["revoked"], row["expires"]) for row in self.keys.values() if row["role"] == "monitor")
        return any(not revoked and (expires is None or self.now < expires) for revoked, expires in over)

    def _AdminAdded(self, _: Json, body: Json) -> None:  # noqa: N802
        self._consented(body, self._roots())
        offer = self._act(raw(body["act"]), "AdminAddition")["admin"]
        known = self.principals.get(offer["principal_id"], {}).get("role")
        role = "organisation" if known == "organisation" else "admin"
        self._offered(offer, role, self.genesis)
        self._enter(role, offer["principal_id"], raw(offer["ed25519"]), self.genesis, offer["x25519"])
        self.epoch += 1

    def _AdminRemoved(self, _: Json, body: Json) -> None:  # noqa: N802
        self._consented(body, self._roots())
        act = self._act(raw(body["act"]), "AdminRemoval")
        kept = self.principals.get(act["principal_id"], {}).get("role") not in {"admin", "organisation"}
        if kept or len(act["reason"]) > 1024:
            raise Refused("UNKNOWN_PRINCIPAL")
        self._end(act["principal_id"], act["kid"])
        self.epoch += 1

    def _RootRotated(self, _: Json, body: Json) -> None:  # noqa: N802
        assert self.founding is not None
        act, present, was = self._act(raw(body["act"]), "RootRotation"), self._roots(), self.founding
        new = {digest(raw(key)): raw(key) for key in act["root_keys"]}
        committed, following = set(was["next_root_digests"]), act["next_root_digests"]
        fits = 1 <= act["root_threshold"] <= len(new) == len(act["root_keys"]) <= 16 and len(act["reason"]) <= 1024
        if following:
            fits = fits and act["root_threshold"] <= len(set(following)) == len(following) <= 16
            fits = fits and all(len(one) == 64 and raw(one) not in new for one in following)
        if not fits:
            raise Refused("BAD_ROOT_SIGNATURES")
        for key in new.values():
            good_point(key)
        again = int.from_bytes(digest(b"".join(map(raw, was["next_root_digests"])))[:8], "big") | 1 << 63
        good = self._good(body, new, 32, again)
        if sum(kid.hex() in committed for kid in good) < was["root_threshold"] or not set(new) <= good:
            good = self._good(body, present | new, 32)
            same = all(act[name] == was[name] for name in ("next_root_digests", "root_threshold"))
            few = len(good & set(present)) < was["root_threshold"]
            if few or not set(new) <= good or not (same or not committed):
                raise Refused("BAD_ROOT_SIGNATURES")
        for kid in set(present) - set(new):
            self.keys[kid]["revoked"] = True
        self.principals["root"]["kids"] = [kid for kid in self.principals["root"]["kids"] if kid in new]
        for kid, key in new.items():
            if kid not in present:
                self._enter("root", "root", key, self.genesis)
        self.founding, self.epoch = was | act, self.epoch + 1

    def _KeyRotated(self, by: Json, body: Json) -> None:  # noqa: N802
        kid, offer = raw(body["kid"]), body["key"]
        row = self.keys.get(kid)
        itself = kid == by["kid"] and by["role"] == "organisation"
        if kid == by["kid"] and row is not None and not itself:
            if (
                raw(offer["ed25519"]) != row["ed25519"]
                or offer["principal_id"] != row["principal"]
                or body["expires_at"] is not None
            ):
                raise Refused("WRONG_PRINCIPAL")
            if offer["x25519"] == row["x25519"]:
                raise Refused("KEY_TAKEN")
            self._offered(offer, row["role"], self.genesis)
            row["x25519"] = offer["x25519"]
            return
        over = row is None or row["revoked"] or (row["expires"] is not None and self.now >= row["expires"])
        above = row is None or row["role"] in PROGRAMS | {"root", "admin", "organisation"}
        if row is None or over or not (itself or (by["role"] == "admin" and not above)):
            raise Refused("WRONG_PRINCIPAL")
        if (
            offer["principal_id"] != row["principal"]
            or (2**63 if body["expires_at"] is None else body["expires_at"]) <= self.now
        ):
            raise Refused("WRONG_PRINCIPAL")
        self._offered(offer, row["role"], self.genesis)
        self._free(raw(offer["ed25519"]))
        following = digest(raw(offer["ed25519"]))
        new = {"ed25519": raw(offer["ed25519"]), "x25519": offer["x25519"], "expires": body["expires_at"]}
        self.keys[following] = row | new
        self.keys[kid] = row | {"expires": self.now}
        kids = self.principals[row["principal"]]["kids"]
        self.principals[row["principal"]]["kids"] = [following if one == kid else one for one in kids]

    def _roots(self) -> dict[bytes, bytes]:
        assert self.founding is not None
        return {digest(raw(key)): raw(key) for key in self.founding["root_keys"]}

    @staticmethod
    def _act(act: bytes, name: str) -> Json:
        if NAMES.get(act[:32]) != f"macaw.v1.{name}":
            raise Refused("BAD_ROOT_SIGNATURES")
        datum, rest = read_datum(json.loads(SCHEMAS[IDS[act[:32]]]), act[32:])
        if rest:
            raise Refused("UNDECODABLE")
        found: Json = datum
        return found

    def _good(self, body: Json, keys: dict[bytes, bytes], most: int = 16, epoch: int | None = None) -> set[bytes]:
        message = b"macaw/root/v1\n" + self.genesis + u(self.epoch if epoch is None else epoch, 8) + raw(body["act"])
        consents = [(raw(one["kid"]), raw(one["signature"])) for one in body["root_signatures"]]
        if len(consents) > most or any((len(kid), len(signature)) != (32, 64) for kid, signature in consents):
            raise Refused("BAD_ROOT_SIGNATURES")
        return {kid for kid, signature in consents if kid in keys and signed(keys[kid], message, signature)}

    def _consented(self, body: Json, keys: dict[bytes, bytes]) -> None:
        assert self.founding is not None
        if len(self._good(body, keys)) < self.founding["root_threshold"]:
            raise Refused("BAD_ROOT_SIGNATURES")

    def _end(self, name: str, kid: str | None) -> None:
        """Revoke keys of a principal, expired ones too, and the sessions that they opened."""
        kids = [k for k, row in self.keys.items() if row["principal"] == name and kid in {None, k.hex()}]
        kids = [k for k in kids if not self.keys[k]["revoked"]]
        if not kids:
            raise Refused("UNKNOWN_PRINCIPAL")
        self.principals[name]["kids"] = [k for k in self.principals[name]["kids"] if k not in kids]
        for k in kids:
            self.keys[k]["revoked"] = True
        for session in self.sessions.values():
            behind = {session["by"], session["renewed"] and session["renewed"][0]}
            if behind & set(kids) and not session["revoked"]:
                session |= {"ends": min(session["ends"], self.now), "revoked": True}

    def _offered(self, offer: Json, role: str, genesis: bytes) -> None:
        good_name(offer["principal_id"])
        if offer["principal_id"].startswith("user:"):
            raise Refused("NAME_INVALID")
        offered(offer, role, genesis)

    def _free(self, ed25519: bytes) -> None:
        if any(digest(ed25519) in known for known in (self.keys, self.sessions, self.offers)):
            raise Refused("KEY_TAKEN")

    def _enter(self, role: str, name: str, ed25519: bytes, by: bytes, x25519: str = "") -> Json:
        self._free(ed25519)
        principal = self.principals.setdefault(name, {"role": role, "by": by, "kids": [], "tools": []})
        live = [kid for kid in principal["kids"] if (self.keys[kid]["expires"] or 2**63) > self.now]
        if principal["role"] != role or len(live) >= 16:
            raise Refused("REGISTRATION_CONFLICT")
        kid = digest(ed25519)
        principal["kids"] = [*live, kid]
        row: Json = {
            "role": role,
            "principal": name,
            "ed25519": ed25519,
            "revoked": False,
            "expires": None,
            "x25519": x25519,
        }
        self.keys[kid] = row | {"grant": None, "attributes": {}, "enrolled": 0}
        return self.keys[kid]
