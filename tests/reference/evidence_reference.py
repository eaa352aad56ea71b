"""The verifier of evidence folders once more, from `docs/wire.md` section 8 alone: one verdict with its index."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.reference.avro_reference import NotAvroError, read_datum
from tests.reference.folder_reference import manifest_of, records, signed_event
from tests.reference.registry_engines import FIRST, Held
from tests.reference.registry_parts import EVENT, NAMES, SCHEMAS, Refused, names_fit, verifies
from tests.reference.registry_reference import Registry
from tests.reference.wire_reference import avro, digest, lp, u

Json = dict[str, Any]
ENTRY = "macaw.v1.AuditEntry"
DATA = ("entries.bin", "proofs.bin", "events.bin", "registry.bin")
TEXTS = {digest(text): text for text in SCHEMAS.values()}
ROOT_ACTS = {"AdminAdded", "AdminRemoved", "RootRotated"}
OF_SESSIONS = {"SessionOpened", "SessionRenewed", "SessionClosed", "SessionRevoked", "LoginEnded", "ToolsOffered"}
REGISTRY_KINDS = ROOT_ACTS | OF_SESSIONS | {
    "TenantFounded", "KeyRotated", "PrincipalRegistered", "PrincipalRevoked", "EngineActivated",
    "IdentityProviderTrusted", "IdentityProviderDistrusted"}  # fmt: skip
UNPROVEN = {"UNDECODABLE", "UNKNOWN_SCHEMA", "TRAILING_BYTES", "OVERSIZED", "MALFORMED_HEADER", "NOT_SUPPORTED",
            "MALFORMED_PROOF"}  # fmt: skip
RECORD_MAX = 1_310_976


class Verdict(Exception):  # noqa: N818 - a word on its way up
    """Code and index."""


def verdict_of(files: Mapping[str, bytes], genesis: bytes, held: Held = FIRST) -> tuple[str, int | None]:
    """Return (code, index) for a folder in memory."""
    try:
        Walk(files, genesis, held).run()
    except Verdict as found:
        return found.args
    return "UNWITNESSED", None


class Entry:
    """What stands at one position."""

    def __init__(self, index: int, data: bytes, proof: bytes | None, event: bytes | None) -> None:
        self.index, self.data, self.proof, self.event = index, data, proof, event
        self.leaf = digest(b"\x00", data)
        self.is_entry = data[:4] == b"AUD1" and len(data) >= 36
        self.schema = data[4:36]
        self.says = self._decoded()

    def _decoded(self) -> Json | None:
        if not self.is_entry or NAMES.get(self.schema) != ENTRY:
            return None
        schema = json.loads(TEXTS[self.schema])
        try:
            found, rest = read_datum(schema, self.data[36:])
        except NotAvroError:
            return None
        whole = not rest and avro(schema, found, {}) == self.data[36:]
        return found if whole and len(found["event"]) == len(found["outputs"]) == 64 else None


class Walk:
    """Steps 1 to 3 of section 8."""

    def __init__(self, files: Mapping[str, bytes], genesis: bytes, held: Held) -> None:
        self.files = files
        manifest = manifest_of(files["manifest.json"]) if {"manifest.json", *DATA} <= set(files) else None
        if manifest is None:
            raise Verdict("MALFORMED", None)
        if bytes.fromhex(manifest["genesis"]) != genesis:
            raise Verdict("SPLICE", None)
        self.manifest, self.genesis, self.tenant = manifest, genesis, manifest["tenant"]
        names = {f"schemas/{one.hex()}.avsc": one for one in TEXTS}
        self.schemas = {one for name, one in names.items() if files.get(name) == TEXTS[one]}
        self.used: set[bytes] = set()
        self.registry = Registry(self.tenant, manifest["origin"], genesis, held)
        self.last = (0, -1)
        self.awaited: tuple[bytes, int] | None = None
        (self.entries, self.ended), (self.proofs, self.proofs_ended), (self.events, self.events_ended) = (
            records(files[name], most) for name, most in zip(DATA, (65_535, 1024, RECORD_MAX), strict=False)
        )
        self.pending, self.registry_ended = records(files["registry.bin"], RECORD_MAX)
        self._cut_broken()

    def _cut_broken(self) -> None:
        for at, one in enumerate(self.pending):
            if signed_event(one[8:]) is None:
                self.pending, self.registry_ended = self.pending[:at], "cut"
                return

    def run(self) -> None:
        before: Entry | None = None
        for index, data in enumerate(self.entries):
            one = Entry(
                index, data, *(some[index] if index < len(some) else None for some in (self.proofs, self.events))
            )
            fault = self._misplaced(one)
            prev = before.leaf if before else digest(b"macaw/audit/v1\n", self.genesis)
            if fault is None and one.says is not None and one.says["prev"] != prev.hex():
                fork = before is not None and self._holds(before) and self._is_signed(one)
                raise Verdict("FORK" if fork else "BAD_LINK", index)
            if before is not None:
                self._settle(before)
            if fault is not None:
                twice = before is not None and before.says and one.says and one.says["index"] == before.says["index"]
                if twice and before is not None and one.leaf != before.leaf and self._is_signed(one):
                    raise Verdict("FORK", index)
                raise fault
            before = one
        if before is not None:
            self._settle(before)
        self._finish(before)

    def _misplaced(self, one: Entry) -> Verdict | None:
        if not one.is_entry:
            return None
        if not self._use(one.schema) or NAMES[one.schema] != ENTRY:
            return Verdict("SCHEMA_UNKNOWN", one.index)
        if one.says is not None and one.says["origin"] != self.manifest["origin"]:
            return Verdict("SPLICE", one.index)
        if one.says is not None and one.says["index"] != one.index:
            return Verdict("GAP" if one.says["index"] > one.index else "BAD_LINK", one.index)
        return None

    def _use(self, schema: bytes) -> bool:
        if schema in self.schemas:
            self.used.add(schema)
        return schema in self.schemas

    def _holds(self, one: Entry) -> bool:
        try:
            self._settle(one)
        except Verdict:
            return False
        return True

    def _is_signed(self, one: Entry) -> bool:
        try:
            self._check_signature(one)
            self._check_key(one)
        except Verdict:
            return False
        return True

    # --- settling

    def _settle(self, one: Entry) -> None:
        says, registry = one.says, self.registry
        if says is None:
            self._check_signature(one)
            raise Verdict("MALFORMED", one.index)
        first = self.pending[0][8:] if one.index == 0 and self.pending and self.pending[0][:8] == bytes(8) else b""
        if not registry.holds_engine(self._claim(first), self.genesis):
            raise Verdict("ENGINE_MISSING", one.index)
        registry.expire(says["now"])
        if first:
            self._fold(first, says["now"])
        self._check_signature(one)
        self._check_key(one)
        now, offset = self.last
        follows = says["now"] >= now and (says["offset"] > offset if one.index else says["offset"] == 0)
        if not follows or says["partition"]:
            raise Verdict("BAD_LINK", one.index)
        self.last = says["now"], says["offset"]
        self._check_registry(one, says, self._check_event(one, says))
        self._check_afterwards(one, says)

    def _claim(self, data: bytes) -> Json | None:
        found = signed_event(data)
        known = found if found is not None and found[0] in TEXTS else None
        return known and self.registry.read(self._framed(known[0], known[3]), *known[1:3])

    def _check_signature(self, one: Entry) -> None:
        kid = (one.proof or b"")[:32]
        row = self.registry.keys.get(kid) or self.registry.sessions.get(kid)
        topic = lp(f"macaw.{self.tenant}.audit".encode())
        leaf = digest(b"\x00macaw/audit-entry/v1\n", self.genesis, topic, u(0, 4), one.schema, lp(one.data[36:]))
        key = row["ed25519"] if row is not None else self._coming(one, kid)
        if not one.is_entry or key is None or not verifies(key, leaf, (one.proof or b"")[32:]):
            raise Verdict("BAD_SIG", one.index)

    def _check_key(self, one: Entry) -> None:
        assert one.proof is not None
        assert one.says is not None
        row = self.registry.keys.get(one.proof[:32])
        if row is None and one.proof[:32] not in self.registry.sessions:
            return  # to come: judged afterwards
        over = row is None or row["revoked"] or (row["expires"] is not None and one.says["now"] >= row["expires"])
        if row is None or over or row["role"] != "monitor":
            raise Verdict("KEY_NOT_VALID", one.index)

    def _coming(self, one: Entry, kid: bytes) -> bytes | None:
        """Return the key with this kid that an event to come brings for a monitor, if it may sign this entry."""
        rotates = self.registry.decides()
        for data in (self.pending[:1] if rotates else self.pending[:256]) if self.registry.founding else []:
            found = signed_event(data[8:])
            if found is None or found[0] not in TEXTS or NAMES[found[0]] != EVENT:
                continue
            claim = self.registry.read(self._framed(found[0], found[3]), found[1], found[2])
            wanted = "KeyRotated" if rotates else "PrincipalRegistered"
            if claim["kind"] != wanted or (rotates and data[:8] != one.index.to_bytes(8, "big")):
                continue
            key = bytes.fromhex(claim["body"]["key"]["ed25519"])
            if digest(key) == kid and claim["body"].get("role", "monitor") == "monitor":
                return key
        return None

    def _check_afterwards(self, one: Entry, says: Json) -> None:
        assert one.proof is not None
        kid = one.proof[:32]
        if self.awaited is None and kid not in self.registry.keys:
            self.awaited = kid, one.index
        if self.awaited is None:
            if says["kind"] == "KeyRotated" and says["outcome"] == "accepted":
                self._check_key(one)
            return
        expected, first = self.awaited
        remedies = ROOT_ACTS | {"PrincipalRegistered"}
        if kid != expected or (says["outcome"] not in {"refused", "skipped"} and says["kind"] not in remedies):
            raise Verdict("KEY_NOT_VALID", one.index)
        if self.registry.decides():
            self.awaited = None
            row = self.registry.keys.get(expected)
            over = row is None or row["revoked"] or (row["expires"] is not None and says["now"] >= row["expires"])
            if row is None or over or row["role"] != "monitor":
                raise Verdict("KEY_NOT_VALID", first)

    def _check_event(self, one: Entry, says: Json) -> tuple[bytes, bytes, bytes, bytes] | None:
        """Return the event where it is of kind 1."""
        if one.event is None:
            raise Verdict("PAYLOAD_MISSING", one.index)
        kind, rest = one.event[:1], one.event[1:]
        if one.event == b"\x00":
            return None
        if kind == b"\x02":
            claim = self.registry.read(rest, None, None)
            same = claim["leaf"].hex() == says["event"] and claim["kind"] == says["kind"]
            if says["kind"] == "Undecodable":
                same = digest(b"macaw/raw/v1\n", lp(rest)).hex() == says["event"]
            elif claim["schema"] is not None:
                self._need(one, claim)
                same = same and says["event_id"] == (claim["id"].hex() if claim["id"] else None)
            if not same or says["outcome"] != "refused" or says["reason"] not in UNPROVEN:
                raise Verdict("BAD_SIG", one.index)
            return None
        found = signed_event(rest) if kind == b"\x01" else None
        if found is None:
            raise Verdict("BAD_SIG", one.index)
        self._check_signed(one, says, found)
        return found

    def _check_signed(self, one: Entry, says: Json, found: tuple[bytes, bytes, bytes, bytes]) -> None:
        schema, kid, proof, datum = found
        if not self._use(schema):
            raise Verdict("SCHEMA_UNKNOWN", one.index)
        claim = self.registry.read(self._framed(schema, datum), kid, proof)
        claim.setdefault("kid", kid)
        by, reason = self._who(claim)
        if claim["schema"] is not None:
            self._need(one, claim)
        told = (claim["leaf"].hex(), claim["kind"], kid.hex(), claim["id"].hex() if claim["id"] else None)
        if told != (says["event"], says["kind"], says["event_kid"], says["event_id"]):
            raise Verdict("BAD_SIG", one.index)
        if reason is not None and (says["outcome"], says["reason"]) != ("refused", reason):
            raise Verdict("BAD_SIG", one.index)
        if says["outcome"] != "refused":
            assert by is not None
            try:
                names_fit(claim, by)
            except Refused:
                raise Verdict("BAD_SIG", one.index) from None
            if by.get("session") and says["now"] >= by["session"]["ends"]:
                raise Verdict("KEY_NOT_VALID", one.index)

    def _who(self, claim: Json) -> tuple[Json | None, str | None]:
        registry = self.registry
        try:
            return registry.signer(claim), None
        except Refused as refused:
            left = registry.left.get(claim["kid"])
            if refused.args[0] != "UNKNOWN_KEY" or left is None:
                return None, refused.args[0]
        known = registry.offers if "offered_by" in left else registry.sessions
        known[claim["kid"]] = left
        try:
            return registry.signer(claim), None
        except Refused as refused:
            return None, refused.args[0]
        finally:
            del known[claim["kid"]]

    def _need(self, one: Entry, claim: Json) -> None:
        """The schemas of an event are in the folder: its own, and that of an act inside."""
        act = bytes.fromhex(claim["body"]["act"])[:32] if claim["kind"] in ROOT_ACTS else b""
        if not all(self._use(schema) for schema in (claim["schema"], *([act] if act in TEXTS else []))):
            raise Verdict("SCHEMA_UNKNOWN", one.index)

    @staticmethod
    def _framed(schema: bytes, datum: bytes) -> bytes:
        number = next(number for number, text in SCHEMAS.items() if text == TEXTS[schema])
        return b"\x00" + u(number, 4) + datum

    # --- the registry, and the end

    def _check_registry(self, one: Entry, says: Json, signed: tuple[bytes, bytes, bytes, bytes] | None) -> None:
        index = int.from_bytes(self.pending[0][:8], "big") if self.pending else None
        needed = says["outcome"] == "accepted" and says["kind"] in REGISTRY_KINDS
        if index is not None and (index < one.index or (index == one.index and not needed)):
            raise Verdict("SPLICE", one.index)
        if not needed:
            return
        if signed is None and index != one.index and says["kind"] in OF_SESSIONS:
            return
        if index != one.index or signed is None:
            raise Verdict("PAYLOAD_MISSING", one.index)
        if signed_event(self.pending[0][8:]) != signed:
            raise Verdict("BAD_SIG", one.index)
        if one.index and not self._fold(self.pending[0][8:], says["now"]):
            raise Verdict("KEY_NOT_VALID", one.index)
        self.pending.pop(0)

    def _fold(self, data: bytes, now: int) -> bool:
        found = signed_event(data)
        if found is None or found[0] not in TEXTS or NAMES[found[0]] != EVENT:
            return False
        schema, kid, proof, datum = found
        try:
            self.registry.fold(self._framed(schema, datum), kid, proof, now)
        except Refused:
            return False
        return True

    def _finish(self, last: Entry | None) -> None:
        size, count = self.manifest["size"], len(self.entries)
        if self.ended == "cut":
            raise Verdict("TRUNCATED" if count < size else "MALFORMED", count)
        if self.ended == "long":
            raise Verdict("MALFORMED", count)
        if count != size:
            raise Verdict("TRUNCATED" if count < size else "MALFORMED", min(count, size))
        if self.registry_ended != "end" and not self.pending:
            raise Verdict("MALFORMED", size)
        if self.pending:
            raise Verdict("TRUNCATED" if int.from_bytes(self.pending[0][:8], "big") >= size else "SPLICE", size)
        if last is None or last.leaf.hex() != self.manifest["last"]:
            raise Verdict("BAD_LINK", size)
        for some, ended in ((self.proofs, self.proofs_ended), (self.events, self.events_ended)):
            if len(some) > size or ended != "end":
                raise Verdict("MALFORMED", size)
        want = {*DATA, *(f"schemas/{one.hex()}.avsc" for one in self.used)}
        if want != set(self.files) - {"manifest.json"} or want != set(self.manifest["files"]):
            raise Verdict("MALFORMED", None)
        if any(digest(self.files[name]).hex() != one for name, one in self.manifest["files"].items()):
            raise Verdict("MALFORMED", None)
