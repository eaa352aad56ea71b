"""One tenant's fold as the loop drives it: records in, signed and sealed messages out.

The step decides; here its outputs get what only a worker has: signatures under the decision key, and sealing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from processors.intake import KID_HEADER, PROOF_HEADER, Received
from processors.outputs import Output
from processors.signing import SigningKey, VerifiedHeads
from processors.step import step
from processors.tables import Tables
from schemas import limits
from streams.sealing import Sealer
from streams.state_head import StateMac

Headers = list[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Message:
    """A record as it is produced."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(slots=True)
class TenantFold:
    """Tables of one tenant with the keys that sign and seal for it."""

    tables: Tables
    signing: SigningKey
    sealer: Sealer
    state: StateMac
    heads: VerifiedHeads = field(default_factory=VerifiedHeads)

    def fold(self, batch: Sequence[Received]) -> tuple[int, list[Output]]:
        """Fold records until the batch, its time or its outputs are used up; return how many, and their outputs."""
        outputs: list[Output] = []
        size, folded = 0, 0
        until = time.monotonic() + limits.BATCH_MS_MAX / 1000
        for received in batch:
            new = step(self.tables, received, self.heads)
            outputs += new
            folded += 1
            size += sum(len(o.value or b"") + len(o.payload or b"") for o in new)
            # The next record may add 64 expired calls and its own outputs: stop while there is room for those.
            full = len(outputs) > limits.BATCH_OUTPUTS_MAX - 80 or size > limits.BATCH_BYTES_MAX
            if full or time.monotonic() > until:
                break
        return folded, outputs

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
