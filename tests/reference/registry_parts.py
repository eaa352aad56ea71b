"""What the second registry is made of: names, keys, offers and schemas, from `docs/wire.md` alone."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Any

from nacl import bindings
from nacl.exceptions import CryptoError

from tests.reference.wire_reference import digest, lp, proof_check

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
ROLES = ADMINS_ROLES | {"root", "admin", "organisation"}


class Refused(Exception):  # noqa: N818 - as the page says it
    """A reason of section 3 or 7."""


def raw(value: str) -> bytes:
    return bytes.fromhex(value)


def printable(text: str) -> bool:
    return all(c == " " or unicodedata.category(c)[0] not in "CZ" for c in text)


def names_fit(claim: Json, by: Json) -> None:
    session = claim["header"]["session_id"]
    own = by["kid"].hex() if by.get("session") else by.get("offered_by")
    if claim["header"]["principal_id"] != by["principal"] or session != own:
        raise Refused("WRONG_PRINCIPAL")


def good_name(name: str) -> None:
    normal = unicodedata.normalize("NFC", name) == name
    if not 0 < len(name) <= 256 or not printable(name) or name != name.strip(" ") or "*" in name or not normal:
        raise Refused("NAME_INVALID")


READ_BY_POLICIES = ("user", "company", "business_unit", "team", "email", "clearance", "roles", "groups")


def good_attributes(attributes: Json) -> None:
    listed = {name: [value] if isinstance(value, str) else value or [] for name, value in attributes.items()}
    texts = [text for some in listed.values() for text in some]
    marks = [text for text in texts if re.search("m{31}", "".join(unicodedata.category(c)[0].lower() for c in text))]
    odd = [text for n in READ_BY_POLICIES for text in listed[n] if "*" in text or any(map(_hidden, text))]
    twice = [n for n, some in listed.items() if len({unicodedata.normalize("NFC", one) for one in some}) < len(some)]
    large = sum(len(text.encode()) + 4 for text in texts) > 16 * 1024
    if marks or odd or twice or large or len(listed["roles"]) > 64 or len(listed["groups"]) > 256:
        raise Refused("ATTRIBUTE_INVALID")


def _hidden(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cf", "Cs"}


def good_point(key: bytes) -> None:
    if len(key) != 32 or not bindings.crypto_core_ed25519_is_valid_point(key):
        raise Refused("BAD_KEY")


def offered(offer: Json, role: str, genesis: bytes) -> None:
    ed25519, x25519 = halves(offer)
    names = lp(role.encode()) + lp(offer["principal_id"].encode())
    if not signed(ed25519, b"macaw/pop/v1\n" + genesis + names + ed25519 + x25519, raw(offer["possession"])):
        raise Refused("BAD_POSSESSION")


def halves(offer: Json) -> tuple[bytes, bytes]:
    ed25519, x25519 = raw(offer["ed25519"]), raw(offer["x25519"])
    good_point(ed25519)
    try:
        bindings.crypto_scalarmult(bytes([1] * 32), x25519 if len(x25519) == 32 else b"")
    except (CryptoError, TypeError, ValueError):
        raise Refused("BAD_KEY") from None
    return ed25519, x25519


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
