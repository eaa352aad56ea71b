"""The events of `registry.bin`, in order, with a bounded look at those that follow."""

from __future__ import annotations

import functools
from collections import deque
from itertools import islice
from typing import NamedTuple

from processors.evidence.folder_format import EVENT_RECORD_BYTES_MAX, FormatError, RegistryEvent, Source
from processors.proof.signing import kid_of
from schemas import codec
from schemas.events.keys import KeyRotated
from schemas.records import Event, PrincipalRegistered
from schemas.words import Role

AHEAD_MAX = 256  # events that are held while a key is looked for; an honest log has few until a monitor is registered


class RegistryEvents:
    """Reads `registry.bin` once. `broken` is the reason for which the file ends early."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._ahead: deque[_Held] = deque()
        self.broken = ""
        self._is_over = False

    @property
    def next(self) -> RegistryEvent | None:
        """The next event, None at the end and if the file is broken."""
        self._read(1)
        return self._ahead[0].event if self._ahead else None

    def take(self) -> None:
        """Go on to the event after the next one."""
        self._ahead.popleft()

    def monitor_key(self, kid: bytes, kind: type, index: int | None = None) -> bytes | None:
        """Return the Ed25519 key with this kid that an event to come brings for a monitor, None if none does.

        `kind` is the body that may bring it: KeyRotated or PrincipalRegistered. With `index` only the event of that
        entry counts. The event is not verified here.
        """
        self._read(AHEAD_MAX if index is None else 1)
        for one in islice(self._ahead, None if index is None else 1):
            offer = one.offer
            if offer is not None and (offer.kind, offer.kid) == (kind, kid) and index in {None, one.event.index}:
                return offer.key
        return None

    def _read(self, count: int) -> None:
        while len(self._ahead) < count and not self._is_over:
            try:
                record = self._source.record(EVENT_RECORD_BYTES_MAX)
                if record is not None:
                    self._ahead.append(_Held(RegistryEvent.parse(record)))
                    continue
            except (EOFError, FormatError) as exc:
                self.broken = str(exc)
            self._is_over = True


class _Offer(NamedTuple):
    """A key that an event offers for a monitor, by its own account: the type of the body, the kid, and the key."""

    kind: type
    kid: bytes
    key: bytes


class _Held:
    """An event that is held. It is decoded at the first look, and not again for each entry of a stretch."""

    def __init__(self, event: RegistryEvent) -> None:
        self.event = event

    @functools.cached_property
    def offer(self) -> _Offer | None:
        schema = codec.by_digest().get(self.event.event.schema_sha256)
        if schema is None or schema.name != f"{codec.NAMESPACE}.Event":
            return None
        try:
            event: Event = codec.decode(schema, self.event.event.body)
        except codec.SchemaError:
            return None
        body = event.body
        if not isinstance(body, (KeyRotated, PrincipalRegistered)):
            return None
        if isinstance(body, PrincipalRegistered) and body.role != Role.MONITOR:
            return None
        return _Offer(type(body), kid_of(body.key.ed25519), body.key.ed25519)
