"""A partition waits for a key file, or for a live key of the tenant, if its next record cannot be signed for.

A *stretch* is a run of records for which no decision key is live: all are revoked or expired. The rules refuse them
(`NO_DECISION_KEY`), but root acts and an admin's registration of a monitor key. The key that ends the stretch signs the
entries of all of it, so it must be known before the first of them is written. Therefore the stretch is folded ahead, on
a fold of its own that writes nothing, until a key lives; then it is folded for real.

    intake   41 the last key is revoked | 42 call | 43 call | 44 PrincipalRegistered(monitor, key B) | 45 call
    ahead    42, 43, 44: B lives; the heir is B, of offset 44
    for real 42 and 43 refused, 44 accepted, all three entries signed by B; 45 as usual

Memory stays bounded, because the fold ahead keeps rows only, and a later attempt goes on where this one ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from processors.identity.keys import decision_keys
from processors.intake.identify import Received
from processors.proof.signing import VerifiedHeads
from processors.refusal import Refusal
from processors.state.tables import Tables
from processors.step import step
from producers.home.clock import clock_ms
from producers.kafka.consuming import UnreadableBatchError
from schemas import limits
from streams.worker.signing.decision_keys import (
    DecisionKeyError,
    Heir,
    MissingKeyError,
    NoLiveKeyError,
    Signatory,
)

ReadIntake = Callable[[int], Iterator[Received]]  # the records of intake from an offset to its present end


class KeyWait(Protocol):
    """A partition's reason to wait for a key."""

    def check(self, signatory: Signatory, read: ReadIntake) -> None:
        """Check for the keys that sign the next records, and prepare a fresh fold's `signatory`.

        Raises:
            MissingKeyError, NoLiveKeyError: it is still not there.
        """


class WantedKeys:
    """A partition waits until this worker has one of some keys."""

    def __init__(self, wanted: frozenset[bytes]) -> None:
        self._wanted = wanted

    def check(self, signatory: Signatory, _read: ReadIntake) -> None:
        """Raise MissingKeyError while none of the keys is here."""
        if all(signatory.keys.get(kid) is None for kid in self._wanted):
            raise MissingKeyError(self._wanted, signatory.keys.kids, wait=self)


class Stretch:
    """A partition waits until a key ends the stretch without a live key, and until this worker has that key."""

    def __init__(self, tables: Tables, position: int) -> None:
        """`tables` are restored to intake offset `position`, have no live decision key, and are given away."""
        self._tables = tables
        self._heads = VerifiedHeads()
        self._position = position
        self._heirs: frozenset[bytes] = frozenset()
        self._why = ""

    def check(self, signatory: Signatory, read: ReadIntake) -> None:
        """Fold ahead, and make the key that ends the stretch the heir.

        Raises:
            NoLiveKeyError: intake holds no such record yet.
            MissingKeyError: it does, and this worker does not have that key.
        """
        if not self._heirs:
            self._advance(read)
        if not self._heirs:
            raise NoLiveKeyError(self._why, self)
        kid = min(self._heirs)
        if signatory.keys.get(kid) is None:
            raise MissingKeyError(self._heirs, signatory.keys.kids, wait=self)
        signatory.heir = Heir(kid, self._position - 1)

    def _advance(self, read: ReadIntake) -> None:
        tables = self._tables
        self._why = ""
        try:
            for received in read(self._position):
                if received.appended_at > clock_ms() + limits.LOG_AHEAD_MS_MAX:
                    self._why = f"; the record at offset {received.offset} is ahead of this worker's clock"
                    return
                step(tables, received, self._heads)
                tables.commit()
                self._position = received.offset + 1
                if live := decision_keys(tables):
                    self._heirs = frozenset(live)
                    return
        except (UnreadableBatchError, Refusal) as exc:
            self._why = f"; nothing after offset {self._position} of intake can be read: {exc}"


class LookAhead:
    """A partition stopped at a record that no key lives for, and looks ahead from the state before it.

    In that state a key may still live: log time passes its end with the record.
    """

    def check(self, _signatory: Signatory, _read: ReadIntake) -> None:
        """Do nothing: the state is needed first."""


def check_next(tables: Tables, signatory: Signatory, position: int, wait: KeyWait | None) -> None:
    """Raise MissingKeyError or NoLiveKeyError if restored tables cannot be signed for from `position` on.

    `wait` is the partition's wait so far. Without this check a worker would tell so only when the next record comes.
    """
    if not len(tables.tenant):
        return
    if isinstance(wait, LookAhead):
        raise NoLiveKeyError(wait=Stretch(tables, position))
    live = decision_keys(tables)
    if live and signatory.keys.newest(live) is None:
        raise MissingKeyError(frozenset(live), signatory.keys.kids, wait=WantedKeys(frozenset(live)))
    if not live and signatory.heir is None:
        raise NoLiveKeyError(wait=Stretch(tables, position))


def wait_for(why: DecisionKeyError) -> KeyWait:
    """Return the wait of a partition that stopped at this error."""
    if why.wait is not None:
        found: KeyWait = why.wait
        return found
    return WantedKeys(why.wanted) if isinstance(why, MissingKeyError) else LookAhead()
