"""The monitor's keys, by which an archiver keeps records of others out of an archive.

An archive cannot be corrected, and without access rules any client can write to the topics of a log. So an archiver
takes only records that a monitor's key signed. Whether that key was valid at that entry is for the verdict to say.
"""

from __future__ import annotations

from collections.abc import Callable

from processors.evidence.archive.segment import Owner
from processors.evidence.audit_log import entry_place
from processors.proof.signing import MalformedProofError, Proof, SignatureError, VerifiedHeads
from schemas import codec


class MonitorKeys:
    """The public keys of a tenant's monitors, past and present: `find` returns that of a kid, else None."""

    def __init__(self, owner: Owner, find: Callable[[bytes], bytes | None]) -> None:
        self._owner, self._find = owner, find
        self._heads = VerifiedHeads()

    def signed_entry(self, value: bytes, kid: bytes, proof: Proof) -> bool:
        """Return True if one of these keys signed an audit record."""
        try:
            schema, datum = codec.unframe(value)
        except codec.SchemaError:
            return False
        owner = self._owner
        return self.signed(entry_place(owner.tenant, owner.genesis, schema.sha256).leaf(datum), kid, proof)

    def signed(self, leaf: bytes, kid: bytes, proof: Proof) -> bool:
        """Return True if one of these keys signed a leaf."""
        key = self._find(kid)
        if key is None:
            return False
        try:
            self._heads.verify(key, proof.head(leaf), proof.signature)
        except (MalformedProofError, SignatureError):
            return False
        return True
