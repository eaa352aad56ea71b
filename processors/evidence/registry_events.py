"""The events of `registry.bin`, in order, with a bounded look at those that follow."""

from __future__ import annotations

from collections import deque

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
        self._ahead: deque[RegistryEvent] = deque()
        self.broken = ""
        self._is_over = False

    @property
    def next(self) -> RegistryEvent | None:
        """The next event, None at the end and if the file is broken."""
        self._read(1)
        return self._ahead[0] if self._ahead else None

    def take(self) -> None:
        """Go on to the event after the next one."""
        self._ahead.popleft()

    def monitor_key(self, kid: bytes, kind: type, index: int | None = None) -> bytes | None:
        """Return the Ed25519 key with this kid that an event to come brings for a monitor, None if none does.

        `kind` is the body that may bring it: KeyRotated or PrincipalRegistered. With `index` only the event of that
        entry counts. The event is not verified here.
        """
        if index is not None:
            found = self.next
            return None if found is None or found.index != index else _brings(found, kid, kind)
        self._read(AHEAD_MAX)
        return next((key for one in self._ahead if (key := _brings(one, kid, kind)) is not None), None)

    def _read(self, count: int) -> None:
        while len(self._ahead) < count and not self._is_over:
            try:
                record = self._source.record(EVENT_RECORD_BYTES_MAX)
                if record is not None:
                    self._ahead.append(RegistryEvent.parse(record))
                    continue
            except (EOFError, FormatError) as exc:
                self.broken = str(exc)
            self._is_over = True


def _brings(one: RegistryEvent, kid: bytes, kind: type) -> bytes | None:
    """Return the key with this kid if the event offers it for a monitor, by its own account."""
    schema = codec.by_digest().get(one.event.schema_sha256)
    if schema is None or schema.name != f"{codec.NAMESPACE}.Event":
        return None
    try:
        event: Event = codec.decode(schema, one.event.body)
    except codec.SchemaError:
        return None
    body = event.body
    if not isinstance(body, kind) or not isinstance(body, (KeyRotated, PrincipalRegistered)):
        return None
    if isinstance(body, PrincipalRegistered) and body.role != Role.MONITOR:
        return None
    return body.key.ed25519 if kid_of(body.key.ed25519) == kid else None
