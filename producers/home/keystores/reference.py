"""The text of a key file whose secret halves lie elsewhere: the store that has them, and their public halves.

    {"macaw-key": 1, "store": "hsm", "ed25519": "…", "x25519": "…", "entry": "…"}

The file stays where a key in PEM would be, so that a name means a path with every store. It names no program and no
library to load: those stand in config.json.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from producers.home.keystores.pem import NotAPairError, Publics
from producers.home.keystores.settings import KEYRING

_PUBLIC = re.compile(r"[0-9a-f]{64}")
_VERSION = 1
ENTRY_CHARS_MAX = 1024


@dataclass(frozen=True, slots=True)
class Reference:
    """A store by its name, the pair's public halves, and the store's own name of the pair."""

    store: str
    publics: Publics
    entry: str

    @property
    def places(self) -> frozenset[str]:
        """What is removed when the pair is forgotten: the keyring's entry, or the ids of a token's two objects."""
        return frozenset({self.entry} if self.store == KEYRING else self.entry.lower().split(" "))

    def written(self) -> bytes:
        """Return the reference as the text of a key file."""
        content = {
            "macaw-key": _VERSION,
            "store": self.store,
            "ed25519": self.publics.ed25519.hex(),
            "x25519": self.publics.x25519.hex(),
            "entry": self.entry,
        }
        return json.dumps(content, indent=1).encode() + b"\n"

    @classmethod
    def read(cls, text: bytes) -> Reference:
        """Return the reference in a text. Raises NotAPairError."""
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or set(found) != {"macaw-key", "store", "ed25519", "x25519", "entry"}:
            raise NotAPairError("it must be a JSON object that names a store, two public keys and an entry")
        if found.pop("macaw-key") != _VERSION or not all(isinstance(value, str) for value in found.values()):
            raise NotAPairError("it is a reference of another version")
        halves = found["ed25519"], found["x25519"]
        if not all(map(_PUBLIC.fullmatch, halves)) or not 0 < len(found["entry"]) <= ENTRY_CHARS_MAX:
            raise NotAPairError("its public keys must be 64 hex digits each, and its entry a short text")
        return cls(found["store"], Publics(*map(bytes.fromhex, halves)), found["entry"])


def is_reference(text: bytes) -> bool:
    """True if the text is a reference rather than keys."""
    return text.startswith(b"{")
