r"""Signatures: the bytes that they cover, and their verification.

A signature is always over a tree head, so one signature can cover a burst of records:

    leaf      = SHA-256(00 ‖ tag ‖ genesis ‖ lp(topic) ‖ u32(partition) ‖ schema_sha256 ‖ lp(body))
    signature = Ed25519("macaw/head/v1\n" ‖ u32(size) ‖ root)

A record carries the header `macaw-proof` = signature ‖ u32 index ‖ u32 size ‖ path, and `macaw-kid` = SHA-256 of the
public key. A failed verification raises, so a caller cannot overlook it. Ed25519 is checked with libsodium, which is
strict about encodings, on keys that were checked at registration (ADR 0004).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple, Protocol

from nacl import bindings
from nacl.exceptions import BadSignatureError

from processors.proof import merkle
from schemas import limits
from schemas.errors import EvidenceError

PROOF_HEADER = "macaw-proof"
KID_HEADER = "macaw-kid"
INTAKE_PARTITION = 0

EVENT_TAG = b"macaw/event/v1\n"
DECISION_TAG = b"macaw/decision/v1\n"
RESULT_TAG = b"macaw/result/v1\n"
AUDIT_TAG = b"macaw/audit-entry/v1\n"
HEAD_TAG = b"macaw/head/v1\n"
POSSESSION_TAG = b"macaw/pop/v1\n"
ROOT_TAG = b"macaw/root/v1\n"
LOGIN_TAG = b"macaw/login/v1\n"
RENEWAL_TAG = b"macaw/renewal/v1\n"
LOGIN_ANSWER_TAG = b"macaw/login-answer/v1\n"

NO_GENESIS = bytes(32)  # of the founding event, whose digest is the genesis
PROOF_FIXED_BYTES = 72
KEY_BYTES = 32
SIGNATURE_BYTES = 64


class SignatureError(EvidenceError):
    """A signature does not verify, or its public key is not valid."""


class MalformedProofError(EvidenceError):
    """A `macaw-proof` or `macaw-kid` header is missing, doubled or of the wrong shape."""


def length_prefixed(data: bytes) -> bytes:
    """Return `data` after its length in 4 bytes, big-endian."""
    return len(data).to_bytes(4, "big") + data


def tagged_digest(tag: bytes, *parts: bytes) -> bytes:
    """Return SHA-256(tag ‖ lp(part) ‖ lp(part) …): a digest in a domain of its own."""
    return sha256(tag + b"".join(map(length_prefixed, parts))).digest()


def kid_of(public_key: bytes) -> bytes:
    """Return the key id: SHA-256 of the public key."""
    return sha256(public_key).digest()


@dataclass(frozen=True, slots=True)
class Place:
    """The part of a leaf before the body: tag, genesis, topic, partition and schema of a record."""

    prefix: bytes

    @classmethod
    def of(cls, tag: bytes, genesis: bytes, topic: str, partition: int, schema_sha256: bytes) -> Place:
        """Return the place of records of one schema on one partition."""
        name = topic.encode()
        return cls(b"\x00" + tag + genesis + length_prefixed(name) + partition.to_bytes(4, "big") + schema_sha256)

    def leaf(self, body: bytes) -> bytes:
        """Return the leaf of a record with this body."""
        return sha256(self.prefix + len(body).to_bytes(4, "big") + body).digest()


class Proof(NamedTuple):
    """A parsed `macaw-proof` header."""

    signature: bytes
    leaf_index: int
    size: int
    path: bytes

    @classmethod
    def parse(cls, header: bytes) -> Proof:
        """Read the header's fixed part; the path's length is checked when the root is computed.

        Raises:
            MalformedProofError: it is too short or too long, or the tree is empty or too large.
        """
        if not PROOF_FIXED_BYTES <= len(header) <= PROOF_FIXED_BYTES + 32 * limits.PROOF_PATH_MAX:
            raise MalformedProofError(f"the proof has {len(header)} bytes, want 72 and a path of at most 10 hashes")
        index, size = int.from_bytes(header[64:68], "big"), int.from_bytes(header[68:72], "big")
        if not index < size <= limits.HEAD_LEAVES_MAX:
            raise MalformedProofError(
                f"got index {index} of size {size}, want index < size <= {limits.HEAD_LEAVES_MAX}"
            )
        return cls(header[:64], index, size, header[72:])

    def head(self, leaf: bytes) -> bytes:
        """Return the signed bytes of the head that this proof leads to from `leaf`.

        Raises:
            MalformedProofError: the path is not exactly as long as index and size demand.
        """
        if self.size == 1 and not self.path:
            return head_bytes(1, leaf)
        try:
            return head_bytes(self.size, merkle.root_from_path(leaf, self.leaf_index, self.size, self.path))
        except merkle.ProofError as exc:
            raise MalformedProofError(str(exc)) from exc


def head_bytes(size: int, root: bytes) -> bytes:
    """Return the bytes to sign for a tree of `size` leaves with this root."""
    return HEAD_TAG + size.to_bytes(4, "big") + root


def verify_signature(public_key: bytes, message: bytes, signature: bytes) -> None:
    """Check one Ed25519 signature (RFC 8032) under a key that passed `check_public_key`.

    Raises:
        SignatureError: the signature does not verify, or a length is wrong.
    """
    if len(public_key) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        raise SignatureError(f"got key and signature of {len(public_key)} and {len(signature)} bytes, want 32 and 64")
    try:
        bindings.crypto_sign_open(signature + message, public_key)
    except BadSignatureError as exc:
        raise SignatureError("the signature does not verify") from exc


def check_public_key(public_key: bytes) -> None:
    """Check an Ed25519 public key before it is trusted: canonical, on the curve, in the prime-order subgroup.

    Raises:
        SignatureError: the key is not; with a key of small order one signature would fit many messages.
    """
    if len(public_key) != KEY_BYTES or not bindings.crypto_core_ed25519_is_valid_point(public_key):
        raise SignatureError("the public key is not 32 bytes of a canonical Ed25519 point of prime order")


class VerifiedHeads:
    """A bounded memory of heads with a verified signature, most recent last.

    It remembers arithmetic only: the caller checks each time that the key is valid now. An entry names key, head and
    signature, so a hit is worth exactly as much as a new `verify_signature`.
    """

    def __init__(self, capacity: int = limits.HEADS_REMEMBERED_MAX) -> None:
        self._known: OrderedDict[tuple[bytes, bytes, bytes], None] = OrderedDict()
        self._capacity = capacity

    def verify(self, public_key: bytes, head: bytes, signature: bytes) -> None:
        """Check a head's signature unless it is known.

        Raises:
            SignatureError: the signature does not verify.
        """
        item = (public_key, head, signature)
        if item not in self._known:
            verify_signature(public_key, head, signature)
            self._known[item] = None
            if len(self._known) > self._capacity:
                self._known.popitem(last=False)


class Signs(Protocol):
    """An Ed25519 key that signs, wherever its secret half is kept: in this process, or on a token that never shows it.

    `sign` may fail where a token was taken away; its error is not one of this package, and nothing is signed then.
    """

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        ...

    @property
    def kid(self) -> bytes:
        """The key id: SHA-256 of the public key."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of `message` (RFC 8032, Ed25519)."""
        ...

    def sign_leaves(self, leaves: Sequence[bytes]) -> list[bytes]:
        """Return the `macaw-proof` of each leaf under one signature. Requires 1 to 1024 leaves."""
        ...


class OneSignature:
    """The part that every signing key has in common: one signature over a tree of leaves."""

    __slots__ = ()

    def sign_leaves(self: Signs, leaves: Sequence[bytes]) -> list[bytes]:
        """Return the `macaw-proof` of each leaf under one signature. Requires 1 to 1024 leaves."""
        size = len(leaves)
        assert 0 < size <= limits.HEAD_LEAVES_MAX
        tree = merkle.levels(leaves)
        signature = self.sign(head_bytes(size, tree[-1][0]))
        tail = size.to_bytes(4, "big")
        return [signature + i.to_bytes(4, "big") + tail + path for i, path in enumerate(merkle.paths(tree))]


@dataclass(frozen=True, slots=True, repr=False)
class SigningKey(OneSignature):
    """An Ed25519 private key in this process. Its repr shows the public half only."""

    seed: bytes
    public: bytes
    kid: bytes
    secret: bytes

    @classmethod
    def from_seed(cls, seed: bytes) -> SigningKey:
        """Return the key pair of a 32-byte seed (RFC 8032, section 5.1.5)."""
        public, secret = bindings.crypto_sign_seed_keypair(seed)
        return cls(seed, public, kid_of(public), secret)

    def __repr__(self) -> str:
        return f"SigningKey({self.kid.hex()[:16]}…)"

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of `message`."""
        return bindings.crypto_sign(message, self.secret)[:SIGNATURE_BYTES]


def possession_bytes(genesis: bytes, role: str, principal_id: str, ed25519: bytes, x25519: bytes) -> bytes:
    """Return the bytes that a new key signs to prove possession, for this role, principal and tenant only."""
    return (
        POSSESSION_TAG
        + genesis
        + length_prefixed(role.encode())
        + length_prefixed(principal_id.encode())
        + ed25519
        + x25519
    )


def root_act_bytes(genesis: bytes, root_epoch: int, act: bytes) -> bytes:
    """Return the bytes that root keys sign for a root act."""
    return ROOT_TAG + genesis + root_epoch.to_bytes(8, "big") + act


def login_bytes(
    genesis: bytes,
    bridge: bytes,
    token_sha256: bytes,
    *,
    ed25519: bytes,
    x25519: bytes,
    nonce: bytes,
    expires_at: int,
    is_renewal: bool = False,
) -> bytes:
    """Return the bytes that a session key signs to log in: with this token, at this bridge, once, in this tenant.

    `bridge` is the kid of the bridge's key, `expires_at` the end of the login (ms since the epoch). A renewal has a
    tag of its own, so that it opens no session. Requires digests and keys of 32 bytes, and a nonce of 16.
    """
    tag = RENEWAL_TAG if is_renewal else LOGIN_TAG
    return tag + genesis + bridge + token_sha256 + ed25519 + x25519 + nonce + expires_at.to_bytes(8, "big")
