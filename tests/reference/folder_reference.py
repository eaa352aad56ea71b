"""The files of an evidence folder, read as `docs/wire.md` section 8 says."""

from __future__ import annotations

import json
import re

from tests.reference.registry_parts import Json

DIGEST = re.compile(r"[0-9a-f]{64}")


def records(data: bytes, most: int) -> tuple[list[bytes], str]:
    """Return the records of a file, and how it ended: `end`, `cut` inside a record, or `long` before one."""
    found, at = [], 0
    while at < len(data):
        size, left = int.from_bytes(data[at : at + 4], "big"), len(data) - at
        if left >= 4 and size > most:
            return found, "long"
        if left < 4 or left < 4 + size:
            return found, "cut"
        found.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return found, "end"


def signed_event(data: bytes) -> tuple[bytes, bytes, bytes, bytes] | None:
    """Return (schema, kid, proof, datum), None for another form."""
    schema, kid, rest, fields = data[:32], data[32:64], data[64:], []
    for _ in range(2):
        end = 4 + int.from_bytes(rest[:4], "big")
        if len(rest) < 4 or len(rest) < end:
            return None
        fields.append(rest[4:end])
        rest = rest[end:]
    return None if rest else (schema, kid, fields[0], fields[1])


def manifest_of(text: bytes) -> Json | None:
    """Return the manifest, None where its text has another form."""
    try:
        found = json.loads(text) if len(text) <= 65_536 else None
    except (ValueError, RecursionError):
        return None
    want = {"format", "origin", "tenant", "genesis", "size", "last", "files"}
    if not isinstance(found, dict) or set(found) != want or found["format"] != "macaw-evidence/v1":
        return None
    texts = isinstance(found["origin"], str) and isinstance(found["tenant"], str) and isinstance(found["files"], dict)
    if not texts or type(found["size"]) is not int or found["size"] < 1:
        return None
    digests = [found["genesis"], found["last"], *found["files"].values()]
    if not all(isinstance(one, str) and DIGEST.fullmatch(one) for one in digests):
        return None
    plain = json.dumps(found, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    tenant = found["tenant"]
    named = re.fullmatch(r"[a-z][a-z0-9-]{1,39}", tenant) and tenant != "ops" and found["origin"].endswith("/" + tenant)
    return found if plain == text and named else None
