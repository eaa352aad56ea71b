"""The floor: the number of signatures that one thread of this CPU verifies strictly in a second, without other work."""

from __future__ import annotations

import os
import time

from nacl import bindings

from processors.proof.signing import SigningKey, head_bytes

HEADS = 64


class Floor:
    """Samples the rate of strict Ed25519 verification over tree heads (50 bytes)."""

    def __init__(self) -> None:
        key = SigningKey.from_seed(os.urandom(32))
        heads = [head_bytes(1, os.urandom(32)) for _ in range(HEADS)]
        self._key = key.public
        self._signed = [key.sign(head) + head for head in heads]
        self.samples: list[float] = []

    def sample(self, seconds: float) -> float:
        """Return verifications per CPU-second, measured for about `seconds` of CPU time."""
        verify, key, count = bindings.crypto_sign_open, self._key, 0
        begin = time.thread_time()
        while (spent := time.thread_time() - begin) < seconds:
            for signed in self._signed:
                verify(signed, key)
            count += HEADS
        self.samples.append(count / spent)
        return count / spent
