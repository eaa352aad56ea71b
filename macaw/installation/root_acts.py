"""Acts of the root keys, as files that custodians sign on their own machines.

    {"macaw-root-act": 1, "says": "…", "tenant": "acme", "genesis": "…", "epoch": 0, "kind": "AdminAdded",
     "act": base64, "signatures": [{"kid": hex, "signature": hex}]}

`says` is for people with the file open. It is not believed: every command says it again from `act`,
which is the only part that is signed, with the genesis and the epoch. Each act that counts ends its epoch, so it
cannot count twice; a recovery by next root keys has an epoch of its own (`processors/identity/roots.py`).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from processors.proof import signing
from processors.proof.signing import SignatureError, Signs, kid_of
from producers.home.files import read_file, replace_private
from schemas import codec
from schemas.errors import InputError
from schemas.events.keys import (
    AdminAdded,
    AdminAddition,
    AdminRemoval,
    AdminRemoved,
    RootAct,
    RootRotated,
    RootRotation,
    RootSignature,
)
from schemas.limits import ROOT_KEYS_MAX

VERSION = 1
BYTES_MAX = 256 * 1024
BODIES: dict[str, tuple[type[RootAct], type]] = {
    "AdminAdded": (AdminAdded, AdminAddition),
    "AdminRemoved": (AdminRemoved, AdminRemoval),
    "RootRotated": (RootRotated, RootRotation),
}
Act = AdminAddition | AdminRemoval | RootRotation


class RootActError(InputError):
    """A file is not a root act, or not one of this tenant; the message names the file and the fault."""


@dataclass(frozen=True, slots=True)
class RootActFile:
    """A root act with the signatures that it has so far."""

    tenant: str
    genesis: bytes
    epoch: int
    kind: str
    act: bytes
    signatures: tuple[RootSignature, ...] = ()

    @classmethod
    def of(cls, act: Act, *, tenant: str, genesis: bytes, epoch: int) -> RootActFile:
        """Return an act without signatures."""
        [kind] = [name for name, (_, inner) in BODIES.items() if isinstance(act, inner)]
        schema = codec.current(type(act).__name__)
        return cls(tenant, genesis, epoch, kind, schema.sha256 + codec.encode(act))

    @property
    def content(self) -> Act:
        """The act itself. Raises RootActError if it does not decode as its kind."""
        schema = codec.current(BODIES[self.kind][1].__name__)
        if self.act[:32] != schema.sha256:
            raise RootActError(f"the act is not a {schema.name}, or was made by another version: make it anew")
        try:
            act: Act = codec.decode(schema, self.act[32:])
        except codec.SchemaError as exc:
            raise RootActError(f"the act does not decode: {exc}") from exc
        return act

    @property
    def body(self) -> RootAct:
        """The body of the event that submits the act."""
        return BODIES[self.kind][0](act=self.act, root_signatures=self.signatures)

    @property
    def message(self) -> bytes:
        """The bytes that root keys sign."""
        return signing.root_act_bytes(self.genesis, self.epoch, self.act)

    def says(self) -> str:
        """Return the act in words, from the bytes that are signed. Raises RootActError."""
        match self.content:
            case AdminAddition(admin=admin):
                return f"add the key {kid_of(admin.ed25519).hex()[:16]} for the administrator {admin.principal_id!r}"
            case AdminRemoval(principal_id=name, kid=kid, reason=reason):
                which = "every key" if kid is None else f"the key {kid.hex()[:16]}"
                return f"remove {which} of the administrator {name!r}, because: {reason!r}"
            case RootRotation() as act:
                return (
                    f"make {_listed(map(kid_of, act.root_keys))} the root keys, of which {act.root_threshold} must "
                    f"sign an act, and commit to {_listed(act.next_root_digests)} as the next ones, because: "
                    f"{act.reason!r}"
                )

    def signed(self, keys: Iterable[Signs]) -> RootActFile:
        """Return the act with the signatures of these keys added."""
        more = {key.kid: RootSignature(kid=key.kid, signature=key.sign(self.message)) for key in keys}
        return replace(self, signatures=_merged((*self.signatures, *more.values())))

    def merged(self, others: Iterable[RootActFile]) -> RootActFile:
        """Return the act with the signatures of all copies. Raises RootActError if one is another act."""
        signatures = self.signatures
        for other in others:
            if other.message != self.message:
                raise RootActError("the files are not copies of one act: one file holds another act, or another epoch")
            signatures = (*signatures, *other.signatures)
        return replace(self, signatures=_merged(signatures))

    def only_good(self, keys: Iterable[bytes]) -> RootActFile:
        """Return the act with the signatures that verify under these public keys, one of each key."""
        by_kid = {kid_of(key): key for key in keys}
        good: dict[bytes, RootSignature] = {}
        for one in self.signatures:
            if (key := by_kid.get(one.kid)) is not None:
                with contextlib.suppress(SignatureError):
                    signing.verify_signature(key, self.message, one.signature)
                    good[one.kid] = one
        return replace(self, signatures=tuple(good.values()))

    @property
    def signers(self) -> frozenset[bytes]:
        """The kids under the signatures."""
        return frozenset(one.kid for one in self.signatures)

    def save(self, path: Path) -> None:
        """Write the act to a file, in the place of an earlier one. Raises OSError, RootActError."""
        value = {
            "macaw-root-act": VERSION,
            "says": self.says(),
            "tenant": self.tenant,
            "genesis": self.genesis.hex(),
            "epoch": self.epoch,
            "kind": self.kind,
            "act": base64.b64encode(self.act).decode(),
            "signatures": [{"kid": one.kid.hex(), "signature": one.signature.hex()} for one in self.signatures],
        }
        replace_private(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())

    @classmethod
    def load(cls, path: Path) -> RootActFile:
        """Read an act. Raises FileError, RootActError."""
        data = read_file(path, BYTES_MAX)
        try:
            value = json.loads(data)
            if value["macaw-root-act"] != VERSION or value["kind"] not in BODIES:
                raise RootActError(f"{path} is not a root act that this version knows")
            signatures = tuple(
                RootSignature(kid=_bytes(one["kid"], 32), signature=_bytes(one["signature"], 64))
                for one in value["signatures"]
            )
            epoch = value["epoch"]
            if not isinstance(epoch, int) or not 0 <= epoch < 2**64 or len(signatures) > 4 * ROOT_KEYS_MAX:
                raise RootActError(f"{path} is not a root act: its epoch or its signatures are out of bounds")
            act = base64.b64decode(value["act"], validate=True)
            found = cls(str(value["tenant"]), _bytes(value["genesis"], 32), epoch, value["kind"], act, signatures)
        except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as exc:
            if isinstance(exc, RootActError):
                raise
            raise RootActError(f"{path} is not a root act: {type(exc).__name__}") from exc
        found.says()
        return found


def _merged(signatures: Iterable[RootSignature]) -> tuple[RootSignature, ...]:
    return tuple(dict.fromkeys(signatures))


def _bytes(text: str, size: int) -> bytes:
    data = bytes.fromhex(text)
    if len(data) != size:
        raise ValueError(f"want {size} bytes")
    return data


def _listed(kids: Iterable[bytes]) -> str:
    return ", ".join(kid.hex()[:16] for kid in kids) or "none"
