"""The wire format of `docs/wire.md`, once more and plainly: hashlib and PyNaCl's documented interfaces, nothing else.

Each function takes what a vector gives as `input` and returns what it must `expect`; bytes are hex in both. The writer
of Avro data follows the Avro 1.12 specification, "Binary Encoding", and reads the schemas as JSON files.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from nacl.exceptions import BadSignatureError
from nacl.public import Box, PrivateKey, PublicKey
from nacl.secret import SecretBox
from nacl.signing import SigningKey, VerifyKey

from tests.reference.merkle_reference import split

Json = dict[str, Any]


def u(number: int, size: int) -> bytes:
    return number.to_bytes(size, "big")


def lp(data: bytes) -> bytes:
    return u(len(data), 4) + data


def digest(*parts: bytes) -> bytes:
    return sha256(b"".join(parts)).digest()


def tree(leaves: list[bytes]) -> bytes:
    """Return the RFC 6962 root over leaf hashes."""
    if len(leaves) < 2:
        return leaves[0] if leaves else digest()
    k = split(len(leaves))
    return digest(b"\x01", tree(leaves[:k]), tree(leaves[k:]))


def path(m: int, leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return b""
    k = split(len(leaves))
    return path(m, leaves[:k]) + tree(leaves[k:]) if m < k else path(m - k, leaves[k:]) + tree(leaves[:k])


def climb(m: int, n: int, leaf: bytes, hashes: list[bytes]) -> bytes:
    """Return the root that a path from leaf m of n leads to. Raises ValueError where its length is wrong."""
    if n == 1:
        if hashes:
            raise ValueError("too long")
        return leaf
    if not hashes:
        raise ValueError("too short")
    k, last = split(n), hashes[-1]
    if m < k:
        return digest(b"\x01", climb(m, k, leaf, hashes[:-1]), last)
    return digest(b"\x01", last, climb(m - k, n - k, leaf, hashes[:-1]))


# ---- one function for each kind of vector


def leaf(*, tag: str, genesis: str, topic: str, partition: int, schema_sha256: str, body: str) -> Json:
    parts = (b"\x00", tag.encode(), bytes.fromhex(genesis), lp(topic.encode()), u(partition, 4))
    return {"leaf": digest(*parts, bytes.fromhex(schema_sha256), lp(bytes.fromhex(body))).hex()}


def raw_digest(*, value: str) -> Json:
    return {"digest": digest(b"macaw/raw/v1\n", lp(bytes.fromhex(value))).hex()}


def proofs(*, seed: str, leaves: list[str]) -> Json:
    key, hashes = SigningKey(bytes.fromhex(seed)), [bytes.fromhex(text) for text in leaves]
    head = b"macaw/head/v1\n" + u(len(hashes), 4) + tree(hashes)
    signature = key.sign(head).signature
    headers = [signature + u(i, 4) + u(len(hashes), 4) + path(i, hashes) for i in range(len(hashes))]
    return {
        "public_key": key.verify_key.encode().hex(),
        "kid": digest(key.verify_key.encode()).hex(),
        "head": head.hex(),
        "proofs": [header.hex() for header in headers],
    }


def proof_check(*, public_key: str, leaf: str, proof: str) -> Json:
    header = bytes.fromhex(proof)
    index, size, rest = int.from_bytes(header[64:68], "big"), int.from_bytes(header[68:72], "big"), header[72:]
    if len(header) < 72 or not index < size <= 1024 or len(rest) % 32:
        return {"verifies": False}
    hashes = [rest[i : i + 32] for i in range(0, len(rest), 32)]
    try:
        root = climb(index, size, bytes.fromhex(leaf), hashes)
        VerifyKey(bytes.fromhex(public_key)).verify(b"macaw/head/v1\n" + u(size, 4) + root, header[:64])
    except (ValueError, BadSignatureError):
        return {"verifies": False}
    return {"verifies": True}


def genesis(*, tenant: str, datum: str, schema_sha256: str) -> Json:
    topic = f"macaw.{tenant}.intake"
    founding = leaf(
        tag="macaw/event/v1\n", genesis="00" * 32, topic=topic, partition=0, schema_sha256=schema_sha256, body=datum
    )
    return {"genesis": digest(bytes.fromhex(datum)).hex(), **founding}


def possession(*, seed: str, genesis: str, role: str, principal_id: str, x25519: str) -> Json:
    key = SigningKey(bytes.fromhex(seed))
    names = lp(role.encode()) + lp(principal_id.encode())
    keys = key.verify_key.encode() + bytes.fromhex(x25519)
    message = b"macaw/pop/v1\n" + bytes.fromhex(genesis) + names + keys
    return {"message": message.hex(), "signature": key.sign(message).signature.hex()}


def login(
    *, seed: str, genesis: str, bridge: str, token_sha256: str, x25519: str, nonce: str, expires_at: int, renews: bool
) -> Json:
    key, tag = SigningKey(bytes.fromhex(seed)), b"macaw/renewal/v1\n" if renews else b"macaw/login/v1\n"
    said = map(bytes.fromhex, (genesis, bridge, token_sha256, key.verify_key.encode().hex(), x25519, nonce))
    message = tag + b"".join(said) + u(expires_at, 8)
    return {"message": message.hex(), "signature": key.sign(message).signature.hex()}


def root_act(*, seed: str, genesis: str, root_epoch: int, act: str) -> Json:
    message = b"macaw/root/v1\n" + bytes.fromhex(genesis) + u(root_epoch, 8) + bytes.fromhex(act)
    return {"message": message.hex(), "signature": SigningKey(bytes.fromhex(seed)).sign(message).signature.hex()}


def payload_salt(*, event_leaf: str, event_salt: str) -> Json:
    return {"salt": digest(b"macaw/payload-salt/v1\n", bytes.fromhex(event_leaf), bytes.fromhex(event_salt))[:16].hex()}


def parameters_digest(*, salt: str, parameters: str) -> Json:
    return {"parameters_sha256": digest(b"macaw/parameters/v1\n", bytes.fromhex(salt), parameters.encode()).hex()}


def document_digest(*, salt: str, document_sha256: str) -> Json:
    return {"named": digest(b"macaw/document/v1\n", bytes.fromhex(salt), bytes.fromhex(document_sha256)).hex()}


def sealed(*, sender_secret: str, recipients: list[Json], content_key: str, nonces: list[str], payload: str) -> Json:
    sender, content = PrivateKey(bytes.fromhex(sender_secret)), bytes.fromhex(content_key)
    *wrapping, last = [bytes.fromhex(nonce) for nonce in nonces]
    header = sender.public_key.encode() + u(len(recipients), 1)
    for recipient, nonce in zip(recipients, wrapping, strict=True):
        box = Box(sender, PublicKey(bytes.fromhex(recipient["x25519"])))
        header += bytes.fromhex(recipient["kid"]) + nonce + box.encrypt(content, nonce).ciphertext
    body = bytes.fromhex(payload)
    header += last + SecretBox(content).encrypt(body, last).ciphertext
    return {"header": header.hex(), "payload_sha256": digest(body).hex()}


def body(*, salt: str, content: str) -> Json:
    held, text = bytes.fromhex(salt), content.encode()
    named = digest(b"macaw/body/v1\n", held, text)
    payload = named + u(0, 4) + held + text
    told = f'{{"$body":{{"digest":"{named.hex()}","size":{len(text)}}}}}'
    return {"object": told, "chunks": 1, "payload": payload.hex()}


def stream(*, event_leaf: str, salt: str, items: list[str]) -> Json:
    head, held = bytes.fromhex(event_leaf), bytes.fromhex(salt)
    payloads = [digest(head, u(at, 4), held, item.encode()) for at, item in enumerate(items)]
    return {"digest": digest(b"macaw/stream/v1\n", *payloads).hex()}


def audit_chain(*, genesis: str, schema_sha256: str, bodies: list[str]) -> Json:
    prev = digest(b"macaw/audit/v1\n", bytes.fromhex(genesis))
    prevs, leaves = [], []
    for body in bodies:
        prevs.append(prev.hex())
        prev = digest(b"\x00AUD1", bytes.fromhex(schema_sha256), bytes.fromhex(body))
        leaves.append(prev)
    return {"prev": prevs, "log_leaves": [item.hex() for item in leaves], "root": tree(leaves).hex()}


def outputs_root(*, leaves: list[str]) -> Json:
    return {"outputs": tree([bytes.fromhex(text) for text in leaves]).hex()}


def vault_link(*, genesis: str, scope: str, before: str, n: int, key: str, leaf: str) -> Json:
    parts = (lp(scope.encode()), bytes.fromhex(before), u(n, 8), lp(key.encode()), bytes.fromhex(leaf))
    return {"link": digest(b"macaw/vault/v1\n", bytes.fromhex(genesis), *parts).hex()}


def uuid7(*, unix_ms: int, random: str) -> Json:
    bits = int.from_bytes(bytes.fromhex(random)[:10], "big")
    a, b = bits >> 64 & 0xFFF, bits & (1 << 62) - 1
    return {"uuid": u(unix_ms << 80 | 0x7 << 76 | a << 64 | 0b10 << 62 | b, 16).hex()}


def keyed_partition(*, key: str) -> Json:
    return {"partition": int(key[-2:], 16) % 4}


KINDS = {
    f.__name__: f
    for f in (
        leaf, raw_digest, proofs, proof_check, genesis, possession, login, root_act, payload_salt, parameters_digest,
        body, stream,
        document_digest, sealed, audit_chain, outputs_root, vault_link, uuid7, keyed_partition,
    )
}  # fmt: skip


# ---- Avro


def zigzag(number: int) -> bytes:
    rest, out = (number << 1) ^ (number >> 63), b""
    while rest >> 7:
        out, rest = out + bytes([rest & 0x7F | 0x80]), rest >> 7
    return out + bytes([rest])


def _name_records(schema: Any, named: dict[str, Any]) -> None:
    """Note every record that a schema defines, by its name."""
    if isinstance(schema, dict) and schema["type"] == "record":
        named[f"{schema['namespace']}.{schema['name']}"] = schema
        for field in schema["fields"]:
            _name_records(field["type"], named)
    elif isinstance(schema, dict):
        _name_records(schema.get("items", schema["type"]), named)
    elif isinstance(schema, list):
        for branch in schema:
            _name_records(branch, named)


def avro(schema: Any, value: Any, named: dict[str, Any]) -> bytes:  # noqa: PLR0911
    """Return the datum of a value as the samples have it: bytes as hex, a branch of several as {name: value}."""
    if isinstance(schema, list):
        return _branch(schema, value, named)
    kind = schema["type"] if isinstance(schema, dict) else schema
    if kind == "record":
        named[f"{schema['namespace']}.{schema['name']}"] = schema
        return b"".join(avro(field["type"], value[field["name"]], named) for field in schema["fields"])
    if kind == "array":
        _name_records(schema["items"], named)  # an empty array too defines what it holds
        items = b"".join(avro(schema["items"], item, named) for item in value)
        return (zigzag(len(value)) + items if value else b"") + b"\x00"
    if kind in named:
        return avro(named[kind], value, named)
    if kind in ("string", "bytes"):
        data = value.encode() if kind == "string" else bytes.fromhex(value)
        return zigzag(len(data)) + data
    if kind == "boolean":
        return b"\x01" if value else b"\x00"
    return zigzag(value) if kind in ("int", "long") else avro(kind, value, named)


def _branch(branches: list[Any], value: Any, named: dict[str, Any]) -> bytes:
    if branches[0] == "null":
        return b"\x00" if value is None else b"\x02" + avro(branches[1], value, named)
    names = [b if isinstance(b, str) else f"{b['namespace']}.{b['name']}" for b in branches]
    for branch in branches:  # a name may be defined in a branch that is not taken
        _define(branch, named)
    ((name, inner),) = value.items()
    at = names.index(name)
    return zigzag(at) + avro(branches[at], inner, named)


def _define(schema: Any, named: dict[str, Any]) -> None:
    if isinstance(schema, list):
        for branch in schema:
            _define(branch, named)
    elif isinstance(schema, dict):
        if schema["type"] == "record":
            named[f"{schema['namespace']}.{schema['name']}"] = schema
            _define([field["type"] for field in schema["fields"]], named)
        else:
            _define(schema.get("items", schema["type"]), named)
