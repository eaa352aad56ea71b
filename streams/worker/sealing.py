"""Sealing the payloads of outputs. The content key and the nonces are random, and come from here."""

from __future__ import annotations

import os
from collections import OrderedDict

from processors.effects import Output
from processors.proof.sealing import KEY_BYTES, NONCE_BYTES, PAYLOAD_HEADER, Opens, seal

SHARED_KEYS_MAX = 16_384


class Sealer:
    """Seals with one sender key. Keeps the keys shared with the last SHARED_KEYS_MAX recipients."""

    def __init__(self, key: Opens) -> None:
        self._key = key
        self._shared: OrderedDict[bytes, bytes] = OrderedDict()

    def header(self, output: Output) -> tuple[str, bytes]:
        """Return the `macaw-payload` header of an output. Requires that the output has a payload.

        Raises:
            SealingError: the output has no recipients.
        """
        assert output.payload is not None
        recipients = [(kid, self._shared_with(x25519)) for kid, x25519 in output.recipients]
        random = os.urandom(KEY_BYTES + NONCE_BYTES * (len(recipients) + 1))
        sealed = seal(
            output.payload, self._key.public, recipients, content_key=random[:KEY_BYTES], nonces=random[KEY_BYTES:]
        )
        return PAYLOAD_HEADER, sealed

    def _shared_with(self, x25519: bytes) -> bytes:
        shared = self._shared.get(x25519)
        if shared is None:
            shared = self._shared[x25519] = self._key.shared_with(x25519)
            if len(self._shared) > SHARED_KEYS_MAX:
                self._shared.popitem(last=False)
        return shared
