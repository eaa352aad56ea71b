"""One tenant's fold as the loop drives it: records in, signed and sealed messages out.

The step decides; here its outputs get what only a worker has: signatures under the decision key, and sealing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import NamedTuple

from processors.intake import KID_HEADER, PROOF_HEADER, Received, read
from processors.outputs import Output
from processors.signing import SignatureError, SigningKey, VerifiedHeads, verify_signature
from processors.step import step
from processors.tables import Tables
from schemas import limits
from streams.sealing import Sealer
from streams.state_head import StateMac

Headers = list[tuple[str, bytes]]
Check = tuple[bytes, bytes, bytes]

PARALLEL_CHECKS_MIN = 96
CHUNK = 64  # libsodium gives up the GIL for each; smaller chunks cost more in hand-over than they save


class Message(NamedTuple):
    """A record as it is produced."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class DecisionKeyError(RuntimeError):
    """The worker's key is not the tenant's decision key any more."""


@dataclass(slots=True)
class TenantFold:
    """Tables of one tenant with the keys that sign and seal for it."""

    tables: Tables
    signing: SigningKey
    sealer: Sealer
    state: StateMac
    heads: VerifiedHeads = field(default_factory=VerifiedHeads)
    pool: Executor | None = None

    def fold(self, batch: Sequence[Received]) -> tuple[int, list[Output]]:
        """Fold records until the batch, its time or its outputs are used up; return how many, and their outputs."""
        self._check_ahead(batch)
        outputs: list[Output] = []
        size, folded = 0, 0
        until = time.monotonic() + limits.BATCH_MS_MAX / 1000
        for received in batch:
            if not self._may_sign():
                break
            new = step(self.tables, received, self.heads)
            received.claim = None  # an event may be large; nobody asks again
            outputs += new
            folded += 1
            for output in new:
                size += len(output.value or b"") + len(output.payload or b"")
            # The next record may add 64 expired calls and its own outputs: stop while there is room for those.
            full = len(outputs) > limits.BATCH_OUTPUTS_MAX - 80 or size > limits.BATCH_BYTES_MAX
            if full or time.monotonic() > until:
                break
        if not folded:
            raise DecisionKeyError(
                "the decision key is revoked or past its registration: nothing may be decided with it"
            )
        return folded, outputs

    def _may_sign(self) -> bool:
        """Whether the decision key is valid; before the founding there is no registry that could say."""
        row = self.tables.keys.get(self.signing.kid)
        if row is None:
            return not len(self.tables.tenant)
        return row.revoked_at is None and (row.expires_at is None or self.tables.now < row.expires_at)

    def _check_ahead(self, batch: Sequence[Received]) -> None:
        """Read a batch and check its signatures together: with more than a few, on every core.

        Only a cache of arithmetic: a head that is not remembered here is checked by the step itself.
        """
        tables, heads = self.tables, self.heads
        todo: dict[Check, None] = {}
        budget = limits.READ_AHEAD_BYTES_MAX
        for received in batch:
            budget -= len(received.value or b"")
            if budget < 0:
                break  # what decodes to much must not be held by the batch; the step reads it when its turn comes
            if received.claim is None:
                received.claim = read(tables, received)
            claim = received.claim
            row = tables.sessions.get(claim.kid or b"") or tables.keys.get(claim.kid or b"")
            if row is not None and claim.head:
                todo[row.ed25519, claim.head, claim.signature] = None
        checks = [item for item in todo if item not in heads]
        if self.pool is None or len(checks) < PARALLEL_CHECKS_MIN:
            good = _verified(checks)
        else:
            chunks = [checks[at : at + CHUNK] for at in range(0, len(checks), CHUNK)]
            good = [item for part in self.pool.map(_verified, chunks) for item in part]
        for item in good:
            heads.remember(*item)

    def messages(self, outputs: Sequence[Output]) -> list[Message]:
        """Return the outputs signed and sealed, in order, and after them the changed rows with their head."""
        proofs = self._proofs([o.leaf for o in outputs if o.leaf is not None])
        tenant = self.tables.tenant_id
        made = [Message(o.topic.of(tenant), o.partition, o.key, o.value, self._headers(o, proofs)) for o in outputs]
        made += [Message(*row, []) for row in self.state.rows_of(self.tables)]
        return made

    def _proofs(self, leaves: list[bytes]) -> dict[bytes, bytes]:
        proofs: dict[bytes, bytes] = {}
        for at in range(0, len(leaves), limits.HEAD_LEAVES_MAX):
            burst = leaves[at : at + limits.HEAD_LEAVES_MAX]
            proofs.update(zip(burst, self.signing.sign_leaves(burst), strict=True))
        return proofs

    def _headers(self, output: Output, proofs: dict[bytes, bytes]) -> Headers:
        headers: Headers = [*output.headers]
        if output.leaf is not None:
            headers += ((PROOF_HEADER, proofs[output.leaf]), (KID_HEADER, self.signing.kid))
        if output.payload is not None:
            headers.append(self.sealer.header(output))
        return headers

    def commit(self) -> None:
        """Keep what the committed transaction wrote."""
        self.tables.commit()
        self.state.commit()

    def rollback(self) -> None:
        """Forget what the aborted transaction would have written."""
        self.tables.rollback()
        self.state.rollback()


def _verified(checks: Sequence[Check]) -> list[Check]:
    """Return those that verify; the others are judged again, and refused, by the step."""
    good = []
    for public_key, head, signature in checks:
        try:
            verify_signature(public_key, head, signature)
        except SignatureError:
            continue
        good.append((public_key, head, signature))
    return good
