"""The registry once more, from `docs/wire.md` sections 2, 3 and 7 alone: who was who at an entry of the log.

It shares no line with the product but the plain functions of `wire_reference`. Schemas and their ids are read from
`schemas/published`, which the page names. What it leaves out of section 7 is said beside the rule.
"""

from __future__ import annotations

import json
import re

from tests.reference.avro_reference import NotAvroError, read_datum
from tests.reference.registry_acts import Acts
from tests.reference.registry_logins import LoginRules
from tests.reference.registry_offers import OfferRules
from tests.reference.registry_parts import (
    ADMINS_ROLES,
    EVENT,
    LINGER_MS,
    NAMES,
    PROGRAMS,
    RECORD_MAX,
    ROLES,
    SCHEMAS,
    Json,
    Refused,
    good_name,
    good_point,
    names_fit,
    offered,
    printable,
    raw,
    verifies,
)
from tests.reference.wire_reference import climb, digest, lp, u

MAY_SIGN = {
    "TenantFounded": {"admin"}, "AdminAdded": {"root"}, "PrincipalRegistered": {"admin", "enrolment"},
    "PrincipalRevoked": ROLES - {"monitor"}, "EngineActivated": {"admin"}, "AdminRemoved": {"root"},
    "RootRotated": {"root"},
    "KeyRotated": ROLES - {"root", "monitor"},
    "IdentityProviderTrusted": {"admin"}, "IdentityProviderDistrusted": {"admin"},
    "SessionOpened": PROGRAMS | {"bridge"}, "SessionClosed": {"session"}, "SessionRevoked": {"admin", "bridge"},
    "SessionRenewed": {"bridge"}, "LoginEnded": {"bridge"}, "ToolsOffered": {"session"},
}  # fmt: skip

LATER: Json = {"login_ref": None, "subject_ref": None, "methods": [], "actors": [], "login": None}  # of SessionOpened


class Registry(OfferRules, LoginRules, Acts):
    """Section 7, at log time."""

    def expire(self, now: int) -> None:
        self.now = max(self.now, now)
        due = sorted((one["ends"] + LINGER_MS, kid) for kid, one in self.sessions.items())
        for ends, kid in due[:64]:
            if ends <= self.now:
                self.left[kid] = self.sessions.pop(kid)
                for key in [key for key, one in self.offers.items() if one["offered_by"] == kid.hex()]:
                    self.left[key] = self.offers.pop(key)

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
            if row is None and kid in self.offers:
                row = self.offers[kid]
            elif row is None:
                row = self._next_root(claim) if claim["kind"] == "RootRotated" else self._founder(claim)
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

    def _next_root(self, claim: Json) -> Json:
        act = raw(claim["body"]["act"])
        if self.founding is None or claim["kid"].hex() not in self.founding["next_root_digests"]:
            raise Refused("UNKNOWN_KEY")
        try:
            keys = self._act(act, "RootRotation")["root_keys"]
        except (Refused, NotAvroError):
            raise Refused("UNKNOWN_KEY") from None
        found = [raw(key) for key in keys if digest(raw(key)) == claim["kid"]]
        if not found:
            raise Refused("UNKNOWN_KEY")
        return {"role": "root", "principal": "root", "ed25519": found[0]}

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
        remedy = kind in {"AdminAdded", "AdminRemoved", "RootRotated"} or body.get("role") == "monitor"
        if self.founding is not None and not remedy and not self.decides():
            raise Refused("NO_DECISION_KEY")
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
        shared = body["organisation_key"]
        if shared is not None:
            good_point(raw(shared))
            if digest(raw(shared)).hex() in body["next_root_digests"]:
                raise Refused("BAD_ROOT_SIGNATURES")
            self._enter("organisation", "organisation", raw(shared), self.genesis)
        for role in ("admin", "monitor"):
            self._offered(body[role], role, bytes(32))
            self._enter(
                role, body[role]["principal_id"], raw(body[role]["ed25519"]), self.genesis, body[role]["x25519"]
            )
        self.found_with(body)

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
        named = [one for one in attributes["issuers"] if one != "*"]
        if role == "bridge" and not (attributes["issuers"] and all(map(self.may_name, named))):
            raise Refused("UNKNOWN_PROVIDER")
        self._offered(body["key"], role, self.genesis)
        row = self._enter(role, name, raw(body["key"]["ed25519"]), by["kid"], body["key"]["x25519"])
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
        if principal is None or principal["role"] == "root":
            raise Refused("UNKNOWN_PRINCIPAL")
        if principal["role"] == "organisation" and by["role"] != "organisation":
            raise Refused("WRONG_PRINCIPAL")
        self._end(body["principal_id"], body["kid"])

    def _SessionOpened(self, by: Json, body: Json) -> None:  # noqa: N802
        name, body = body["principal_id"], {**LATER, **body}
        of_token = any(body[field] not in (None, []) for field in ("token_sha256", *LATER))
        if by["role"] == "bridge":
            named = self.keys[by["kid"]]["attributes"]["issuers"]
            known = body["issuer"] in named or ("*" in named and body["issuer"] in self.providers)
            if not (known and self.may_name(body["issuer"])) or body["attributes"] is None:
                raise Refused("WRONG_ROLE")
            if body["issuer"] in self.providers:
                self.provided(body)
            elif of_token or not re.match("user:.", name):
                raise Refused("NOT_SUPPORTED")
            else:
                good_name(name)
        elif name != by["principal"] or of_token or (body["attributes"], body["issuer"]) != (None, None):
            raise Refused("WRONG_PRINCIPAL")
        if body["key"]["principal_id"] != name or not 0 < body["ttl_ms"] <= 86_400_000:
            raise Refused("SESSION_TTL")
        if body["issuer"] in self.providers:
            self.logged_in(body, by["kid"])
        else:
            offered(body["key"], "session", self.genesis)
        ed25519 = raw(body["key"]["ed25519"])
        self._free(ed25519)
        expires = self.keys[by["kid"]]["expires"]
        ends = self.now + body["ttl_ms"] if expires is None else min(self.now + body["ttl_ms"], expires)
        row = {"principal": name, "ed25519": ed25519, "ends": ends, "by": by["kid"], "revoked": False}
        row |= {"issuer": body["issuer"], "x25519": raw(body["key"]["x25519"]), "body": body}
        row |= {"opened": self.now, "refs": (body["login_ref"], body["subject_ref"]), "renewed": None}
        self.sessions[digest(ed25519)] = row

    def _SessionClosed(self, by: Json, _: Json) -> None:  # noqa: N802
        self.sessions[by["kid"]]["ends"] = min(by["session"]["ends"], self.now)

    def _SessionRevoked(self, by: Json, body: Json) -> None:  # noqa: N802
        row = self.sessions.get(raw(body["session"]))
        if (
            row is None
            or row["revoked"]
            or (by["role"] == "bridge" and self.keys[row["by"]]["principal"] != by["principal"])
        ):
            raise Refused("UNKNOWN_SESSION")
        row |= {"ends": min(row["ends"], self.now), "revoked": True}
