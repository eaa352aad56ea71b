"""The decision keys of one tenant on this worker, which sign and seal, and the choice of the key for each record.

A record's outputs are signed by a key that is live for it, at its log time:

    a call, a report, …                    the key that signed before
    KeyRotated of that key                 its successor, from the entry of this record on
    PrincipalRevoked of that key           that key, once more: this entry is how readers hear of the revocation
    no key lives, until another registers  the other key, for all entries of the stretch (`stretch.py`)

A worker without the key that must sign stops at that record; nothing is decided with another key. It stops too at a
record after which a key that it lacks is valid for longer than all that it has.
"""

from __future__ import annotations

import functools
import math
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from processors.effects import Output
from processors.identity.keys import decision_keys, is_live
from processors.intake.identify import Ruling
from processors.proof.sealing import KEY_BYTES, NONCE_BYTES, PAYLOAD_HEADER, Opens, seal
from processors.proof.signing import Signs
from processors.state.tables import Tables
from schemas import codec
from schemas.errors import InstallationError, StoppedError
from schemas.events.keys import KeyRotated
from schemas.records import AuditEntry
from schemas.words import Outcome

SHARED_KEYS_MAX = 16_384
_NAMED_MAX = 8  # keys in a message


class Keys(Protocol):
    """The secret halves of one decision key."""

    @property
    def signing(self) -> Signs: ...
    @property
    def sealing(self) -> Opens: ...


class DecisionKeyError(StoppedError):
    """The next record cannot be signed for. `wait`, if it is set, is a `stretch.Wait`."""

    code = "NO_DECISION_KEY"

    def __init__(self, why: str, wait: Any = None) -> None:
        super().__init__(why)
        self.told, self.wait = why, wait


class MissingKeyError(DecisionKeyError):
    """Decision keys of the tenant are live, and this worker has none of them. `wanted` are their kids."""

    code = "KEY_MISSING"

    def __init__(self, wanted: frozenset[bytes], held: Iterable[bytes], why: str = "", wait: Any = None) -> None:
        super().__init__(
            f"the tenant's live decision key is {_names(wanted)}, and this worker has {_names(held)}: copy the right "
            "file, monitor.key or monitor.KID.key, into the tenant's folder here; see `macaw key list --from-log`. If "
            "a thief of an administrator's key has made it, let the roots remove that administrator (`macaw admin "
            f"remove`). The partition goes on by itself{why}",
            wait,
        )
        self.wanted = wanted


def _names(kids: Iterable[bytes]) -> str:
    names = sorted(kid.hex()[:16] for kid in kids)
    more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
    return ", ".join(names[:_NAMED_MAX]) + more or "none"


class NoLiveKeyError(DecisionKeyError):
    """Every decision key of the tenant is revoked or expired."""

    def __init__(self, why: str = "", wait: Any = None) -> None:
        super().__init__(
            "every decision key of the tenant is revoked or expired: register another with `macaw key rotate monitor` "
            "where admin.key is, and have its file on this worker; the partition goes on by itself" + why,
            wait,
        )


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


@dataclass(frozen=True, slots=True)
class DecisionKey:
    """A key that signs and seals outputs."""

    signing: Signs
    sealer: Sealer

    @property
    def kid(self) -> bytes:
        return self.signing.kid


class Heir(NamedTuple):
    """The key that ends a stretch without a live key, and the intake offset of the record that registers it."""

    kid: bytes
    offset: int


class DecisionKeys:
    """The decision keys that this worker holds. They are loaded again when one is asked for that is not here."""

    def __init__(self, load: Callable[[], Iterable[Keys]]) -> None:
        """`load` returns the keys at hand; the first is the one to begin with, before the founding is folded."""
        self._load = load
        self._held: dict[bytes, DecisionKey] = {}
        self._first: DecisionKey | None = None
        self.reload()

    @classmethod
    def of(cls, *keys: Keys) -> DecisionKeys:
        """Return a ring that never changes."""
        return cls(functools.partial(tuple, keys))

    def reload(self) -> None:
        """Read the keys again, with the errors of `load`. A key that was here before keeps its sealer."""
        held, first = {}, None
        for one in self._load():
            key = self._held.get(one.signing.kid) or DecisionKey(one.signing, Sealer(one.sealing))
            held[key.kid] = key
            first = first or key
        self._held, self._first = held, first

    @property
    def first(self) -> DecisionKey:
        """The key to begin with. Raises NoLiveKeyError if there is none."""
        if self._first is None:
            raise NoLiveKeyError
        return self._first

    @property
    def kids(self) -> frozenset[bytes]:
        """The kids of the keys that are here."""
        return frozenset(self._held)

    def get(self, kid: bytes) -> DecisionKey | None:
        """Return the key with this kid, None if it is not here."""
        return self._held.get(kid)

    def newest(self, live: Sequence[bytes]) -> DecisionKey | None:
        """Return the last of the keys with these kids that is held; None if none is."""
        held = (self.get(kid) for kid in reversed(live))
        return next((key for key in held if key is not None), None)


class Signatory:
    """Chooses for each record of one tenant the key that signs its outputs."""

    def __init__(self, keys: DecisionKeys) -> None:
        self.keys = keys
        self.heir: Heir | None = None  # of the stretch without a live key that is being folded
        # Removals of administrators that stand further on. They are followed only where a record takes the key or the
        # engine from this worker (`stretch.py`).
        self.removals: list[Ruling] = []
        self.current: DecisionKey | None = None  # a key that was live after the last record
        self._before: Sequence[bytes] = ()  # the kids of the live keys before this record
        self._outlived: frozenset[bytes] = frozenset()  # see `check_outlived`, of the table of keys in this version
        self._keys_version: int | None = None

    def begin(self, tables: Tables) -> None:
        """Choose the key for the next record, as far as it is known before. Requires the state before it."""
        self._before = decision_keys(tables)
        if self._keys_version is None:
            self._outlived, self._keys_version = self._outliving(tables), tables.keys.version
        if self.current is None:
            self.current = self.keys.newest(self._before) if len(tables.tenant) else self.keys.first

    def sign_for(self, tables: Tables, offset: int, entry: bytes | None = None) -> DecisionKey:
        """Return the key that signs the outputs of the record at `offset`, which was just folded.

        Requires that `begin` was called before it was folded. `entry` is its audit entry as written: the key that a
        rotation brings may sign it, and any other record is signed by a key that was live before it.

        Raises:
            MissingKeyError: the key is not on this worker.
            NoLiveKeyError: no key is live.
        """
        current = self.current
        if current is not None:
            row = tables.keys.get(current.kid)
            if row is None and not len(tables.tenant):
                return current  # before the founding is folded there is no registry
            if row is not None and is_live(row, tables.now):
                return current
            self.current = None
            if row is not None and is_live(replace(row, revoked_at=None), tables.now):
                return current  # revoked by this very record, for the key was live before it
        live = decision_keys(tables)
        if live:
            kept = [kid for kid in live if kid in self._before]
            return self._live_one(live if not kept or _is_rotation(entry) else kept)
        if self.heir is not None and offset <= self.heir.offset and (key := self.keys.get(self.heir.kid)) is not None:
            return key
        raise NoLiveKeyError

    def check_outlived(self, tables: Tables) -> None:
        """Check that this record made no live key outlive all that this worker has; requires `sign_for`.

        Otherwise the worker would come to a record that it cannot sign for, and could not be helped there: the roots
        can undo a record only as long as its entry is not written.

        Raises:
            MissingKeyError: a key does, and did not before the record.
        """
        if self._keys_version == tables.keys.version:
            return
        outliving = self._outliving(tables)
        if not outliving <= self._outlived:
            try:
                self.keys.reload()
            except InstallationError as exc:
                raise MissingKeyError(outliving, self.keys.kids, f"; the key files cannot be read: {exc}") from exc
            outliving = self._outliving(tables)
            if not outliving <= self._outlived:
                raise MissingKeyError(outliving, self.keys.kids)
        self._outlived, self._keys_version = outliving, tables.keys.version

    def _outliving(self, tables: Tables) -> frozenset[bytes]:
        """Return the live keys that are not here and are valid for longer than all live keys that are."""
        ends = {kid: tables.keys.rows[kid].expires_at or math.inf for kid in decision_keys(tables)}
        last = max((end for kid, end in ends.items() if self.keys.get(kid) is not None), default=0)
        return frozenset(kid for kid, end in ends.items() if end > last and self.keys.get(kid) is None)

    def _live_one(self, live: Sequence[bytes]) -> DecisionKey:
        found = self.keys.newest(live)
        if found is None:
            try:
                self.keys.reload()
            except InstallationError as exc:
                why = f"; the key files cannot be read: {exc}"
                raise MissingKeyError(frozenset(live), self.keys.kids, why) from exc
            found = self.keys.newest(live)
        if found is None:
            raise MissingKeyError(frozenset(live), self.keys.kids)
        self.current, self._before = found, ()
        return found

    def forget(self) -> None:
        """Forget the choice, because the state went back to an earlier record."""
        self.current, self._before, self._keys_version = None, (), None


def _is_rotation(entry: bytes | None) -> bool:
    """Return True if a framed audit entry says that a key was rotated."""
    if entry is None:
        return False
    found: AuditEntry = codec.decode_as(AuditEntry, entry)
    return found.kind == KeyRotated.__name__ and found.outcome == Outcome.ACCEPTED
