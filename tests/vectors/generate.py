"""Write `docs/vectors`: what a second implementation of the wire format must meet, byte for byte.

Run as `python -m tests.vectors.generate`. Keys, times and nonces are fixed, schemas are named by their published id, so
a new run changes nothing; a new published schema adds its samples.
"""

from __future__ import annotations

import io
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import fastavro

from processors.calls import bodies
from processors.context import vault
from processors.evidence import audit_log
from processors.intake import identify
from processors.proof import authoring, jcs, merkle, sealing, signing
from processors.proof.sealing import SealingKey
from processors.proof.signing import Place, SigningKey
from schemas import codec, topics

FOLDER = Path(__file__).parents[2] / "docs" / "vectors"
WIRE = FOLDER / "wire.json"
SAMPLES = FOLDER / "published_samples.json"

EVENT_ID, AUDIT_ENTRY_ID = 1, 7  # the published schemas that the vectors were made with
Vector = dict[str, Any]


def fixed(word: str, size: int = 32) -> bytes:
    """Return bytes that anybody can make again from a word."""
    return sha256(f"macaw test vectors/{word}".encode()).digest()[:size]


def text(rows: list[Vector]) -> str:
    """Return vectors as they stand in a file."""
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


def vector(kind: str, desc: str, inputs: Vector, expect: Vector) -> Vector:
    return {"kind": kind, "desc": desc, "input": inputs, "expect": expect}


def datum_of(schema_id: int, value: Any) -> bytes:
    """Return the datum of plain data under a published schema, old or new."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, codec.published()[schema_id].parsed, value)
    return out.getvalue()


# ---- samples


def sample(schema: Any, at: str, *, full: bool, named: dict[str, Any]) -> Any:
    """Return plain data for a schema: with every option taken and two of each list, or with none."""
    if isinstance(schema, list):
        return sample(schema[1], at, full=full, named=named) if full else None
    kind = schema["type"] if isinstance(schema, dict) else schema
    if kind == "record":
        named[f"{schema['namespace']}.{schema['name']}"] = schema
        return {f["name"]: sample(f["type"], f"{at}.{f['name']}", full=full, named=named) for f in schema["fields"]}
    if kind == "array":
        both = [sample(schema["items"], f"{at}.{i}", full=full, named=named) for i in range(2)]  # names its records too
        return both if full else []
    number = int.from_bytes(fixed(at, 6), "big")
    primitives = {
        "string": f"{at} ä€𝄞" if full else "",
        "bytes": fixed(at) if full else b"",
        "boolean": full,
        "int": number % 2**31 if full else -1,
        "long": number if full else -(2**63),
    }
    return primitives[kind] if kind in primitives else sample(named[kind], at, full=full, named=named)


def shown(value: Any) -> Any:
    """Return plain data with bytes as hex and a chosen branch as {name: value}."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return {value[0]: shown(value[1])}
    if isinstance(value, list):
        return [shown(item) for item in value]
    return {name: shown(item) for name, item in value.items()} if isinstance(value, dict) else value


def samples_of(schema: codec.Schema) -> list[Vector]:
    """Return two samples of a schema, or of each body where it is the event's."""
    whole = json.loads(schema.text)
    body = next((f["type"] for f in whole["fields"] if f["name"] == "body" and isinstance(f["type"], list)), None)
    found = []
    for full in (True, False):
        for branch in body or [None]:
            named: dict[str, Any] = {}
            fields = [f for f in whole["fields"] if branch is None or f["name"] != "body"]
            value = sample({**whole, "fields": fields}, whole["name"], full=full, named=named)
            if branch is not None:
                _define(body, named)
                name = f"{branch['namespace']}.{branch['name']}"
                value["body"] = (name, sample(branch, branch["name"], full=full, named=named))
            datum = datum_of(schema.id, value)
            desc = f"{branch['name'] if branch else whole['name']}, {'everything set' if full else 'nothing set'}"
            row = {"id": schema.id, "schema": schema.name, "sha256": schema.sha256.hex(), "desc": desc}
            found.append({**row, "record": shown(value), "value": (schema.prefix + datum).hex()})
    return found


def _define(schema: Any, named: dict[str, Any]) -> None:
    for branch in schema:
        if isinstance(branch, dict) and branch["type"] == "record":
            named[f"{branch['namespace']}.{branch['name']}"] = branch
            _define([f["type"] for f in branch["fields"]], named)
        elif isinstance(branch, list):
            _define(branch, named)
        elif isinstance(branch, dict) and "items" in branch:
            _define([branch["items"]], named)


LAST_WITH_TEXTS = 67  # the last id under which they are such texts


def holds_texts(stored: Any) -> bool:
    """Whether a stored record holds attributes, or what an approval asks, as a JSON text: it is not read any more."""
    if isinstance(stored, list):
        return any(map(holds_texts, stored))
    if not isinstance(stored, dict):
        return False
    texts = [stored.get(name) for name in ("attributes", "required_by")]
    return any(isinstance(text, str) for text in texts) or any(map(holds_texts, stored.values()))


def published_samples() -> list[Vector]:
    """Return samples of every schema that was ever published."""
    return [row for schema in codec.published().values() for row in samples_of(schema)]


# ---- the wire


def leaves() -> list[Vector]:
    rows = []
    for tag, topic, partition in (
        (signing.EVENT_TAG, topics.INTAKE, 0),
        (signing.DECISION_TAG, topics.DECISIONS, 3),
        (signing.RESULT_TAG, topics.RESULTS, 2),
        (signing.AUDIT_TAG, topics.AUDIT, 0),
    ):
        parts = {"genesis": fixed("genesis"), "topic": topic.of("acme"), "partition": partition}
        schema, body = fixed("schema"), b"a body"
        leaf = Place.of(tag, **parts, schema_sha256=schema).leaf(body)
        inputs = {"tag": tag.decode(), **shown(parts), "schema_sha256": schema.hex(), "body": body.hex()}
        rows.append(vector("leaf", f"the leaf of a record on {topic.of('acme')}", inputs, {"leaf": leaf.hex()}))
    value = b"\x00\x00\x00\x00\x63 no such schema"
    expect = {"digest": identify.raw_digest(value).hex()}
    return [*rows, vector("raw_digest", "what stands for undecodable bytes", {"value": value.hex()}, expect)]


def bursts() -> list[Vector]:
    key = SigningKey.from_seed(fixed("signing key"))
    rows = []
    for size in (1, 5):
        hashes = [fixed(f"leaf {i}") for i in range(size)]
        expect = {
            "public_key": key.public.hex(),
            "kid": key.kid.hex(),
            "head": signing.head_bytes(size, merkle.root(hashes)).hex(),
            "proofs": [proof.hex() for proof in key.sign_leaves(hashes)],
        }
        inputs = {"seed": key.seed.hex(), "leaves": [item.hex() for item in hashes]}
        rows.append(vector("proofs", f"the proofs of a burst of {size} under one signature", inputs, expect))
    return rows


def proof_checks() -> list[Vector]:
    """Return one good proof of a burst of 5 and its corruptions by name."""
    key, other = (SigningKey.from_seed(fixed(word)) for word in ("signing key", "another key"))
    hashes = [fixed(f"leaf {i}") for i in range(5)]
    good = key.sign_leaves(hashes)[3]
    index, size = (lambda n: good[:64] + n.to_bytes(4, "big") + good[68:]), (lambda n: n.to_bytes(4, "big"))
    cases = {
        "as it was signed": (key, hashes[3], good),
        "another leaf of the burst": (key, hashes[2], good),
        "another key": (other, hashes[3], good),
        "index - 1": (key, hashes[3], index(2)),
        "index = size": (key, hashes[3], index(5)),
        "size + 1": (key, hashes[3], good[:68] + size(6) + good[72:]),
        "size 1025": (key, hashes[3], good[:68] + size(1025) + good[72:]),
        "path one hash short": (key, hashes[3], good[:-32]),
        "path one hash long": (key, hashes[3], good + bytes(32)),
        "path one byte long": (key, hashes[3], good + b"\x00"),
        "header cut": (key, hashes[3], good[:71]),
        "one bit of the signature": (key, hashes[3], bytes([good[0] ^ 1]) + good[1:]),
        "one bit of the path": (key, hashes[3], good[:-1] + bytes([good[-1] ^ 1])),
    }
    rows = []
    for desc, (signer, leaf, proof) in cases.items():
        inputs = {"public_key": signer.public.hex(), "leaf": leaf.hex(), "proof": proof.hex()}
        rows.append(vector("proof_check", desc, inputs, {"verifies": desc == "as it was signed"}))
    return rows


def identities() -> list[Vector]:
    schema = codec.published()[EVENT_ID]
    row = next(r for r in samples_of(schema) if r["desc"].startswith("TenantFounded"))
    datum = bytes.fromhex(row["value"])[codec.FRAME_BYTES :]
    place = Place.of(signing.EVENT_TAG, signing.NO_GENESIS, topics.INTAKE.of("acme"), 0, schema.sha256)
    founded = vector(
        "genesis",
        "the genesis is the digest of the founding datum; its own leaf has zeros for a genesis",
        {"tenant": "acme", "datum": datum.hex(), "schema_sha256": schema.sha256.hex()},
        {"genesis": sha256(datum).hexdigest(), "leaf": place.leaf(datum).hex()},
    )
    key, x25519, genesis = SigningKey.from_seed(fixed("agent")), fixed("x25519"), fixed("genesis")
    claimed = signing.possession_bytes(genesis, "agent", "bot ä", key.public, x25519)
    possession = vector(
        "possession",
        "what a new key signs, for its role, name and tenant",
        {
            "seed": key.seed.hex(),
            "genesis": genesis.hex(),
            "role": "agent",
            "principal_id": "bot ä",
            "x25519": x25519.hex(),
        },
        {"message": claimed.hex(), "signature": key.sign(claimed).hex()},
    )
    act = b"an act"
    message = signing.root_act_bytes(genesis, 2, act)
    root = vector(
        "root_act",
        "what a root key signs for a root act",
        {"seed": key.seed.hex(), "genesis": genesis.hex(), "root_epoch": 2, "act": act.hex()},
        {"message": message.hex(), "signature": key.sign(message).hex()},
    )
    return [founded, possession, *logins(), root]


def logins() -> list[Vector]:
    key, x25519, ends_at = SigningKey.from_seed(fixed("session")), fixed("x25519"), 1_800_000_060_000
    genesis, bridge, token, nonce = fixed("genesis"), fixed("bridge"), fixed("token"), fixed("nonce", 16)
    rows = []
    for renews in (False, True):
        message = signing.login_bytes(
            genesis,
            bridge,
            token,
            ed25519=key.public,
            x25519=x25519,
            nonce=nonce,
            expires_at=ends_at,
            is_renewal=renews,
        )
        inputs = {"genesis": genesis, "bridge": bridge, "token_sha256": token, "x25519": x25519, "nonce": nonce}
        asked: dict[str, Any] = {"seed": key.seed.hex(), **{name: value.hex() for name, value in inputs.items()}}
        asked |= {"expires_at": ends_at, "renews": renews}
        desc = "the key of a session signs its " + ("renewal" if renews else "login")
        rows.append(vector("login", desc, asked, {"message": message.hex(), "signature": key.sign(message).hex()}))
    return rows


def payloads() -> list[Vector]:
    leaf, salt = fixed("event leaf"), fixed("event salt", 16)
    salted = vector(
        "payload_salt",
        "the salt of a payload comes from its event",
        {"event_leaf": leaf.hex(), "event_salt": salt.hex()},
        {"salt": sealing.payload_salt(leaf, salt).hex()},
    )
    salt, text, document = fixed("payload salt", 16), '{"amount":12.5,"to":"bob"}', fixed("document")
    named = [
        vector(
            "parameters_digest",
            "what a decision says of a call's parameters",
            {"salt": salt.hex(), "parameters": text},
            {"parameters_sha256": sealing.parameters_digest(salt, text.encode()).hex()},
        ),
        vector(
            "document_digest",
            "what a decision says of a document that came with the call",
            {"salt": salt.hex(), "document_sha256": document.hex()},
            {"named": sealing.document_digest(salt, document).hex()},
        ),
    ]
    sender = SealingKey.from_secret(fixed("monitor"))
    keys = [SealingKey.from_secret(fixed(f"instance {i}")) for i in range(2)]
    kids = [fixed(f"kid {i}") for i in range(2)]
    nonces = [fixed(f"nonce {i}", 24) for i in range(3)]
    payload = b"what the tool must execute"
    header = sealing.seal(
        payload,
        sender.public,
        [(kid, sender.shared_with(key.public)) for kid, key in zip(kids, keys, strict=True)],
        content_key=fixed("content key"),
        nonces=b"".join(nonces),
    )
    recipients = [{"kid": kid.hex(), "x25519": key.public.hex()} for kid, key in zip(kids, keys, strict=True)]
    inputs = {
        "sender_secret": sender.secret.hex(), "recipients": recipients, "content_key": fixed("content key").hex(),
        "nonces": [nonce.hex() for nonce in nonces], "payload": payload.hex(),
    }  # fmt: skip
    expect = {"header": header.hex(), "payload_sha256": sha256(payload).hexdigest()}
    return [salted, *named, vector("sealed", "a payload sealed to two instances", inputs, expect)]


def beside() -> list[Vector]:
    """Return vectors of bodies and streams."""
    salt, content, leaf = fixed("body salt", 16), "a text, é", fixed("event leaf")
    reference = bodies.reference_to(salt, content.encode())
    body = vector(
        "body",
        "a text that travels beside its call: its digest, its object, and the payload of its one chunk",
        {"salt": salt.hex(), "content": content},
        {
            "object": jcs.canonical(bodies.written(reference)).decode(),
            "chunks": reference.chunks,
            "payload": bodies.chunk_payload(reference.digest, 0, salt, content.encode()).hex(),
        },
    )
    items = ['{"number":1}', '"two"']
    payloads = [bodies.chunk_payload(leaf, at, salt, item.encode()) for at, item in enumerate(items)]
    stream = vector(
        "stream",
        "two items of a stream, and the digest in its report",
        {"event_leaf": leaf.hex(), "salt": salt.hex(), "items": items},
        {"digest": bodies.stream_digest([sha256(one).digest() for one in payloads]).hex()},
    )
    return [body, stream]


def logs() -> list[Vector]:
    schema, genesis = codec.published()[AUDIT_ENTRY_ID], fixed("genesis")
    prev = sha256(b"macaw/audit/v1\n" + genesis).digest()
    entries, prevs, hashes = [], [], []
    for index in range(3):
        entry = sample(json.loads(schema.text), f"entry {index}", full=index != 1, named={})
        body = datum_of(schema.id, {**entry, "index": index, "offset": index, "prev": prev})
        entries.append(body)
        prevs.append(prev)
        prev = audit_log.log_leaf(schema.sha256, body)
        hashes.append(prev)
    chain = vector(
        "audit_chain",
        "three entries: each names the log leaf of the one before, and the leaves are a tree",
        {"genesis": genesis.hex(), "schema_sha256": schema.sha256.hex(), "bodies": shown(entries)},
        {"prev": shown(prevs), "log_leaves": shown(hashes), "root": merkle.root(hashes).hex()},
    )
    roots = []
    for size in (0, 1, 3):
        leaves = [fixed(f"output {i}") for i in range(size)]
        expect = {"outputs": merkle.root(leaves).hex()}
        roots.append(vector("outputs_root", f"the root over {size} outputs", {"leaves": shown(leaves)}, expect))
    scope, key, leaf, before = "team", "plan/é", fixed("event leaf"), fixed("link before")
    link = vector(
        "vault_link",
        "the link of a change of the vault",
        {"genesis": genesis.hex(), "scope": scope, "before": before.hex(), "n": 7, "key": key, "leaf": leaf.hex()},
        {"link": vault.chain_value(genesis, scope, before, 7, key, leaf).hex()},
    )
    return [chain, *roots, link]


def numbers() -> list[Vector]:
    rows = []
    for unix_ms, random in (
        (0x017F22E279B0, bytes.fromhex("0cc3d8c4dc0c0c07398f")),
        (2**48 - 1, b"\xff" * 10),
        (0, bytes(10)),
    ):
        expect = {"uuid": authoring.uuid7(unix_ms, random).hex()}
        rows.append(vector("uuid7", "an event id", {"unix_ms": unix_ms, "random": random.hex()}, expect))
    for last in (0, 3, 4, 255):
        key = fixed("key", 31) + bytes([last])
        expect = {"partition": topics.keyed_partition(key)}
        rows.append(vector("keyed_partition", "the last byte of the key, modulo 4", {"key": key.hex()}, expect))
    return rows


def wire() -> list[Vector]:
    """Return every vector of the wire format."""
    return [*leaves(), *bursts(), *proof_checks(), *identities(), *payloads(), *beside(), *logs(), *numbers()]


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    WIRE.write_text(text(wire()), "utf-8")
    SAMPLES.write_text(text(published_samples()), "utf-8")


if __name__ == "__main__":
    main()
