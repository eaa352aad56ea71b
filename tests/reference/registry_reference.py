"""The registry once more, from `docs/wire.md` sections 2, 3 and 7 alone: who was who at an entry of the log.

It shares no line with the product but the plain functions of `wire_reference`. Schemas and their ids are read from
`schemas/published`, which the page names. What it leaves out of section 7 is said beside the rule.
"""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path
from typing import Any

from nacl import bindings
from nacl.exceptions import CryptoError

from tests.reference.avro_reference import NotAvroError, read_datum
from tests.reference.wire_reference import climb, digest, lp, proof_check, u

Json = dict[str, Any]
PUBLISHED = Path(__file__).parents[2] / "schemas" / "published"
SCHEMAS = {int(one.name[:5]): one.read_bytes() for one in PUBLISHED.glob("*.avsc")}
IDS = {digest(text): number for number, text in SCHEMAS.items()}
NAMES = {digest(one.read_bytes()): re.sub(r".*-|\.avsc$", "", one.name) for one in PUBLISHED.glob("*.avsc")}
EVENT = "macaw.v1.Event"
RECORD_MAX = 1_310_976
LINGER_MS = 370_000
PROGRAMS = {"agent", "service", "tool"}
ADMINS_ROLES = {"monitor", "enrolment", "bridge", "approver", "attester"} | PROGRAMS
ROLES = ADMINS_ROLES | {"root", "admin"}
MAY_SIGN = {
    "TenantFounded": {"admin"}, "AdminAdded": {"root"}, "PrincipalRegistered": {"admin", "enrolment"},
    "PrincipalRevoked": ROLES, "EngineActivated": {"admin"},
    "SessionOpened": PROGRAMS | {"bridge"}, "SessionClosed": {"session"}, "SessionRevoked": {"admin", "bridge"},
}  # fmt: skip
# The engines that a reader holds, each with its data by name: section 14.
Held = dict[int, dict[str, str]]
FIRST: Held = {1: {}}


class Refused(Exception):  # noqa: N818 - as the page says it
    """A reason of section 3 or 7."""


def raw(value: str) -> bytes:
    return bytes.fromhex(value)


def printable(text: str) -> bool:
    return all(c == " " or unicodedata.category(c)[0] not in "CZ" for c in text)


class Registry:
    """Section 7, at log time."""

    def __init__(self, tenant: str, origin: str, genesis: bytes, held: Held = FIRST) -> None:
        self.held, self.engine, self.data_ever = held, (1, {}), dict[str, str]()
        self.tenant, self.origin, self.genesis = tenant, origin, genesis
        self.keys: dict[bytes, Json] = {}
        self.sessions: dict[bytes, Json] = {}
        self.left: dict[bytes, Json] = {}
        self.principals: dict[str, Json] = {}
        self.resources: dict[str, str] = {}
        self.founding: Json | None = None
        self.now = 0

    def expire(self, now: int) -> None:
        self.now = max(self.now, now)
        due = sorted((one["ends"] + LINGER_MS, kid) for kid, one in self.sessions.items())
        for ends, kid in due[:64]:
            if ends <= self.now:
                self.left[kid] = self.sessions.pop(kid)

    def decides(self, founding: tuple[bytes, bytes, bytes] | None) -> bool:
        """True if the engine of the next entry is held; entry 0 comes with its founding event."""
        number, data = self.engine
        if founding is not None:
            claim = self.read(*founding)
            if claim["kind"] == "TenantFounded" and digest(claim["datum"]) == self.genesis:
                number, data = claim["body"].get("engine", 1), named(claim["body"].get("data", []))
        return number in self.held and (self.held[number] == data or (number == 1 and not data))

    # --- steps 1 to 4 of section 3

    def read(self, value: bytes, kid: bytes | None, proof: bytes | None) -> Json:
        """Return what a record claims, with the reason at which reading ended."""
        claim: Json = {"leaf": digest(b"macaw/raw/v1\n", lp(value)), "kind": "Undecodable", "id": None, "reason": None}
        claim["schema"] = None
        try:
            self._read(value, kid, proof, claim)
        except Refused as refused:
            claim["reason"] = refused.args[0]
        return claim

    def _read(self, value: bytes, kid: bytes | None, proof: bytes | None, claim: Json) -> None:
        if len(value) > RECORD_MAX - 256:
            raise Refused("OVERSIZED")
        if len(value) < 5 or value[0]:
            raise Refused("UNDECODABLE")
        text = SCHEMAS.get(int.from_bytes(value[1:5], "big"))
        if text is None or NAMES[digest(text)] != EVENT:
            raise Refused("UNKNOWN_SCHEMA")
        try:
            event, rest = read_datum(json.loads(text), value[5:])
        except NotAvroError:
            raise Refused("UNDECODABLE") from None
        if rest:
            raise Refused("TRAILING_BYTES")
        ((name, body),) = event["body"].items()
        header, kind = event["header"], name.rsplit(".", 1)[1]
        genesis = bytes(32) if kind == "TenantFounded" else self.genesis
        topic = lp(f"macaw.{self.tenant}.intake".encode())
        leaf = digest(b"\x00macaw/event/v1\n", genesis, topic, u(0, 4), digest(text), lp(value[5:]))
        claim |= {
            "leaf": leaf,
            "kind": kind,
            "header": header,
            "body": body,
            "schema": digest(text),
            "datum": value[5:],
        }
        sizes = {"event_id": 16, "salt": 16, "session_id": 32, "causation_id": 32, "on_behalf_of": 32}
        for field, size in sizes.items():
            if header[field] is not None and len(header[field]) != 2 * size:
                raise Refused("MALFORMED_HEADER")
        if len(header.get("traceparent") or "") > 256:
            raise Refused("MALFORMED_HEADER")
        claim["id"] = raw(header["event_id"])
        acts = {"InvocationRequested", "ContextWritten", "ContextRead", "ContextDeleted", "ContextListed"}
        if header.get("on_behalf_of") is not None and kind not in acts:
            raise Refused("NOT_SUPPORTED")
        if kid is None or proof is None:
            raise Refused("MALFORMED_PROOF")
        claim |= {"kid": kid, "proof": proof}
        self._check_form(leaf, proof)

    @staticmethod
    def _check_form(leaf: bytes, proof: bytes) -> None:
        index, size = (int.from_bytes(proof[at : at + 4], "big") for at in (64, 68))
        if size > 1024:
            raise Refused("HEAD_TOO_LARGE")
        hashes = [proof[at : at + 32] for at in range(72, len(proof), 32)]
        if not 72 <= len(proof) <= 72 + 320 or index >= size:
            raise Refused("MALFORMED_PROOF")
        try:
            climb(index, size, leaf, hashes)
        except ValueError:
            raise Refused("MALFORMED_PROOF") from None
        if len(proof) % 32 != 8:
            raise Refused("MALFORMED_PROOF")

    def signer(self, claim: Json) -> Json:
        """Return who signed, by steps 1 to 4. Raises Refused."""
        if claim["reason"] is not None:
            raise Refused(claim["reason"])
        kid, row = claim["kid"], self.sessions.get(claim["kid"])
        if row is not None:
            row = {**row, "role": "session", "session": row}
        else:
            row = self.keys.get(kid)
            if row is None:
                row = self._founder(claim)
            elif row["revoked"]:
                raise Refused("REVOKED_KEY")
            elif row["expires"] is not None and self.now >= row["expires"]:
                raise Refused("EXPIRED_KEY")
        if not verifies(row["ed25519"], claim["leaf"], claim["proof"]):
            raise Refused("BAD_SIGNATURE")
        return {**row, "kid": kid}

    def _founder(self, claim: Json) -> Json:
        body = claim["body"]
        if claim["kind"] != "TenantFounded" or self.founding or digest(raw(body["admin"]["ed25519"])) != claim["kid"]:
            raise Refused("UNKNOWN_KEY")
        if digest(claim["datum"]) != self.genesis:
            raise Refused("NOT_GENESIS")
        return {"role": "admin", "principal": body["admin"]["principal_id"], "ed25519": raw(body["admin"]["ed25519"])}

    # --- what changes it

    def fold(self, value: bytes, kid: bytes, proof: bytes, now: int) -> None:
        """Fold one event. Raises Refused."""
        claim = self.read(value, kid, proof)
        by = self.signer(claim)
        names_fit(claim, by)
        kind, body = claim["kind"], claim["body"]
        if by["role"] not in MAY_SIGN.get(kind, ()):
            raise Refused("WRONG_ROLE")
        self.now = now
        getattr(self, f"_{kind}")(by, body)

    def _TenantFounded(self, _: Json, body: Json) -> None:  # noqa: N802
        roots = [raw(key) for key in body["root_keys"]]
        pinned = f"{body['deployment']}/{body['tenant']}" == self.origin and body["tenant"] == self.tenant
        if self.founding or not pinned or not 1 <= body["root_threshold"] <= len(set(roots)) == len(roots) <= 16:
            raise Refused("NOT_GENESIS")
        self.founding = body
        for key in roots:
            good_point(key)
            self._enter("root", "root", key, self.genesis)
        for role in ("admin", "monitor"):
            self._offered(body[role], role, bytes(32))
            self._enter(role, body[role]["principal_id"], raw(body[role]["ed25519"]), self.genesis)
        self._name_data(body.get("data", []))
        self.engine = body.get("engine", 1), named(body.get("data", []))

    def _EngineActivated(self, _: Json, body: Json) -> None:  # noqa: N802
        if not 0 < len(body["reason"]) <= 1024:
            raise Refused("ENGINE_FORM")
        if body["engine"] <= self.engine[0]:
            raise Refused("ENGINE_NOT_NEWER")
        self._name_data(body["data"])
        self.engine = body["engine"], named(body["data"])

    def _name_data(self, data: list[Json]) -> None:
        names = [one["name"] for one in data]
        fits = all(re.fullmatch("[!-~]([ -~]{0,126}[!-~])?", name) for name in names)
        if len(data) > 64 or not fits or names != sorted(set(names)) or any(len(one["sha256"]) != 64 for one in data):
            raise Refused("ENGINE_FORM")
        if any(self.data_ever.get(one["name"], one["sha256"]) != one["sha256"] for one in data):
            raise Refused("ENGINE_DATA_CONFLICT")
        self.data_ever |= named(data)

    def _AdminAdded(self, _: Json, body: Json) -> None:  # noqa: N802
        assert self.founding is not None
        act, roots = raw(body["act"]), {digest(raw(key)): raw(key) for key in self.founding["root_keys"]}
        if NAMES.get(act[:32]) != "macaw.v1.AdminAddition":
            raise Refused("BAD_ROOT_SIGNATURES")
        message = b"macaw/root/v1\n" + self.genesis + u(0, 8) + act
        consents = [(raw(one["kid"]), raw(one["signature"])) for one in body["root_signatures"][:16]]
        good = {kid for kid, signature in consents if kid in roots and signed(roots[kid], message, signature)}
        if len(good) < self.founding["root_threshold"]:
            raise Refused("BAD_ROOT_SIGNATURES")
        offer = read_datum(json.loads(SCHEMAS[IDS[act[:32]]]), act[32:])[0]["admin"]
        self._offered(offer, "admin", self.genesis)
        self._enter("admin", offer["principal_id"], raw(offer["ed25519"]), self.genesis)

    def _PrincipalRegistered(self, by: Json, body: Json) -> None:  # noqa: N802 - attests and prompts are not looked at
        role, name, grant = body["role"], body["key"]["principal_id"], body["enrolment"]
        if role not in (ADMINS_ROLES if by["role"] == "admin" else PROGRAMS):
            raise Refused("WRONG_ROLE")
        if body["expires_at"] is not None and body["expires_at"] <= self.now:
            raise Refused("EXPIRED_KEY")
        attributes = body["attributes"]
        if by["role"] == "enrolment":
            self._by_enrolment(by, role, name)
        if (grant is not None) != (role == "enrolment"):
            raise Refused("NAME_INVALID")
        if role == "bridge" and attributes["issuers"] != ["urn:macaw:development"]:
            raise Refused("NOT_SUPPORTED")
        self._offered(body["key"], role, self.genesis)
        row = self._enter(role, name, raw(body["key"]["ed25519"]), by["kid"])
        row |= {"expires": body["expires_at"], "grant": grant, "attributes": attributes}
        self._declare(by, name, role, body["tools"])

    def _by_enrolment(self, by: Json, role: str, name: str) -> None:
        key, principal = self.keys[by["kid"]], self.principals.get(name)
        pattern = ".*".join(map(re.escape, key["grant"]["name_pattern"].split("*")))
        fits = re.fullmatch(pattern, name, re.DOTALL) and role in key["grant"]["roles"]
        theirs = principal is None or principal["by"] == by["kid"]
        if not fits or not theirs or key["enrolled"] >= key["grant"]["count_max"]:
            raise Refused("WRONG_ROLE")
        key["enrolled"] += 1

    def _declare(self, by: Json, name: str, role: str, tools: list[Json]) -> None:
        principal, names = self.principals[name], [one["resource"] for one in tools]
        if bool(tools) != (role == "tool") or len(set(names)) < len(names) or len(names) > 512:
            raise Refused("REGISTRATION_CONFLICT")
        if len(principal["kids"]) > 1 and principal["tools"] != tools:
            raise Refused("REGISTRATION_CONFLICT")
        for gone in [one["resource"] for one in principal["tools"] if one["resource"] not in names]:
            del self.resources[gone]
        for one in tools:
            resource = one["resource"]
            if by["role"] == "enrolment" and not resource.startswith(f"tool:{name}/"):
                raise Refused("RESOURCE_INVALID")
            if (
                self.resources.setdefault(resource, name) != name
                or not 0 < len(resource) <= 1024
                or not printable(resource)
            ):
                raise Refused("RESOURCE_TAKEN")
            if not 0 < one["timeout_ms"] <= 3_600_000:
                raise Refused("LIMIT_EXCEEDED")
        principal["tools"] = tools

    def _PrincipalRevoked(self, by: Json, body: Json) -> None:  # noqa: N802
        principal = self.principals.get(body["principal_id"])
        if by["role"] != "admin" and by["principal"] != body["principal_id"]:
            raise Refused("WRONG_PRINCIPAL")
        wanted = None if body["kid"] is None else raw(body["kid"])
        kids = [kid for kid in (principal["kids"] if principal else ()) if wanted in {None, kid}]
        if principal is None or not kids or principal["role"] == "root":
            raise Refused("UNKNOWN_PRINCIPAL")
        principal["kids"] = [kid for kid in principal["kids"] if kid not in kids]
        for kid in kids:
            self.keys[kid]["revoked"] = True
        for session in self.sessions.values():
            if session["by"] in kids and not session["revoked"]:
                session |= {"ends": min(session["ends"], self.now), "revoked": True}

    def _SessionOpened(self, by: Json, body: Json) -> None:  # noqa: N802
        name, claims = body["principal_id"], (body["attributes"], body["issuer"], body["token_sha256"])
        if by["role"] == "bridge":
            known = body["issuer"] in self.keys[by["kid"]]["attributes"]["issuers"]
            if not known or claims[2] is not None or claims[0] is None or not re.match("user:.", name):
                raise Refused("WRONG_ROLE")
            good_name(name)
        elif name != by["principal"] or claims != (None, None, None):
            raise Refused("WRONG_PRINCIPAL")
        if body["key"]["principal_id"] != name or not 0 < body["ttl_ms"] <= 86_400_000:
            raise Refused("SESSION_TTL")
        offered(body["key"], "session", self.genesis)
        ed25519 = raw(body["key"]["ed25519"])
        self._free(ed25519)
        expires = self.keys[by["kid"]]["expires"]
        ends = self.now + body["ttl_ms"] if expires is None else min(self.now + body["ttl_ms"], expires)
        row = {"principal": name, "ed25519": ed25519, "ends": ends, "by": by["kid"], "revoked": False}
        self.sessions[digest(ed25519)] = row

    def _SessionClosed(self, by: Json, _: Json) -> None:  # noqa: N802
        self.sessions[by["kid"]]["ends"] = min(by["session"]["ends"], self.now)

    def _SessionRevoked(self, by: Json, body: Json) -> None:  # noqa: N802
        row = self.sessions.get(raw(body["session"]))
        if row is None or row["revoked"] or (by["role"] == "bridge" and row["by"] != by["kid"]):
            raise Refused("UNKNOWN_SESSION")
        row |= {"ends": min(row["ends"], self.now), "revoked": True}

    def _offered(self, offer: Json, role: str, genesis: bytes) -> None:
        good_name(offer["principal_id"])
        if offer["principal_id"].startswith("user:"):
            raise Refused("NAME_INVALID")
        offered(offer, role, genesis)

    def _free(self, ed25519: bytes) -> None:
        if digest(ed25519) in self.keys or digest(ed25519) in self.sessions:
            raise Refused("KEY_TAKEN")

    def _enter(self, role: str, name: str, ed25519: bytes, by: bytes) -> Json:
        self._free(ed25519)
        principal = self.principals.setdefault(name, {"role": role, "by": by, "kids": [], "tools": []})
        live = [kid for kid in principal["kids"] if (self.keys[kid]["expires"] or 2**63) > self.now]
        if principal["role"] != role or len(live) >= 16:
            raise Refused("REGISTRATION_CONFLICT")
        kid = digest(ed25519)
        principal["kids"] = [*live, kid]
        row: Json = {"role": role, "principal": name, "ed25519": ed25519, "revoked": False, "expires": None}
        self.keys[kid] = row | {"grant": None, "attributes": {}, "enrolled": 0}
        return self.keys[kid]


def named(data: list[Json]) -> dict[str, str]:
    return {one["name"]: one["sha256"] for one in data}


def names_fit(claim: Json, by: Json) -> None:
    session = claim["header"]["session_id"]
    own = by["kid"].hex() if by.get("session") else None
    if claim["header"]["principal_id"] != by["principal"] or session != own:
        raise Refused("WRONG_PRINCIPAL")


def good_name(name: str) -> None:
    normal = unicodedata.normalize("NFC", name) == name
    if not 0 < len(name) <= 256 or not printable(name) or name != name.strip(" ") or "*" in name or not normal:
        raise Refused("NAME_INVALID")


def good_point(key: bytes) -> None:
    if len(key) != 32 or not bindings.crypto_core_ed25519_is_valid_point(key):
        raise Refused("BAD_KEY")


def offered(offer: Json, role: str, genesis: bytes) -> None:
    ed25519, x25519 = raw(offer["ed25519"]), raw(offer["x25519"])
    good_point(ed25519)
    try:
        bindings.crypto_scalarmult(bytes([1] * 32), x25519 if len(x25519) == 32 else b"")
    except (CryptoError, TypeError, ValueError):
        raise Refused("BAD_KEY") from None
    names = lp(role.encode()) + lp(offer["principal_id"].encode())
    if not signed(ed25519, b"macaw/pop/v1\n" + genesis + names + ed25519 + x25519, raw(offer["possession"])):
        raise Refused("BAD_POSSESSION")


def signed(ed25519: bytes, message: bytes, signature: bytes) -> bool:
    try:
        return len(signature) == 64 and bindings.crypto_sign_open(signature + message, ed25519) == message
    except (CryptoError, ValueError, TypeError):
        return False


def verifies(ed25519: bytes, leaf: bytes, proof: bytes) -> bool:
    try:
        found: bool = proof_check(public_key=ed25519.hex(), leaf=leaf.hex(), proof=proof.hex())["verifies"]
    except (ValueError, TypeError):
        return False
    return found
