"""A partition waits for a key file, for a live key of the tenant, or for the roots, if it cannot go on by itself.

A *stretch* is a run of records for which no decision key is live: all are revoked or expired. The rules refuse them
(`NO_DECISION_KEY`), but root acts and an admin's registration of a monitor key. The key that ends the stretch signs the
entries of all of it, so it must be known before the first of them is written. Therefore the stretch is folded ahead, on
a fold of its own that writes nothing, until a key lives; then it is folded for real.

    intake   41 the last key is revoked | 42 call | 43 call | 44 PrincipalRegistered(monitor, key B) | 45 call
    ahead    42, 43, 44: B lives; the heir is B, of offset 44
    for real 42 and 43 refused, 44 accepted, all three entries signed by B; 45 as usual

Memory stays bounded, because the fold ahead keeps rows only, and a later attempt goes on where this one ended.

An administrator's record may take the key or the engine from a worker: a *capture*, if a thief has signed it. The
worker does not write its entry, and looks behind it for the roots' removal of that administrator
(`processors.evidence.rulings`).
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from types import UnionType
from typing import Protocol

from processors.evidence import rulings
from processors.identity.keys import decision_keys
from processors.intake.identify import Received, Ruling
from processors.proof.signing import INTAKE_PARTITION, VerifiedHeads
from processors.refusal import Refusal
from processors.state.engines import EngineMissingError
from processors.state.marks import RecordMark
from processors.state.tables import Tables
from processors.step import step
from producers.home.clock import clock_ms
from producers.kafka.consuming import UnreadableBatchError
from schemas import limits
from schemas.events.rulings import RecordsSkipped, TimeAccepted
from streams.history.records import Records, present
from streams.history.ruling_search import RulingSearch, judged, skipped
from streams.worker.signing.decision_keys import DecisionKeyError, Heir, MissingKeyError, NoLiveKeyError, Signatory


class Wait(Protocol):
    """A partition's reason to wait."""

    def check(self, signatory: Signatory, intake: Records) -> None:
        """Check for the missing thing, and prepare a fresh fold's `signatory` to go on.

        Raises:
            MissingKeyError, NoLiveKeyError, EngineMissingError: it is still not there.
        """


class WantedKeys:
    """A partition waits until this worker has one of some keys."""

    def __init__(self, wanted: frozenset[bytes]) -> None:
        self._wanted = wanted

    def check(self, signatory: Signatory, _intake: Records) -> None:
        """Raise MissingKeyError while none of the keys is here."""
        if all(signatory.keys.get(kid) is None for kid in self._wanted):
            raise MissingKeyError(self._wanted, signatory.keys.kids, wait=self)


class Capture:
    """A partition waits at a record that takes the key or the engine from this worker.

    It goes on when that is here, or when the roots remove the record's signer.
    """

    def __init__(self, why: MissingKeyError | EngineMissingError, tables: Tables, received: Received) -> None:
        """`tables` are those before the record, and are given away."""
        self._why = why
        self._search = RulingSearch(tables, received, rulings.ByRoots)

    def check(self, signatory: Signatory, intake: Records) -> None:
        """Give the signatory the removal.

        Raises:
            MissingKeyError, EngineMissingError: there is none, and the key or engine is not here either.
        """
        why = self._why
        if isinstance(why, MissingKeyError) and any(signatory.keys.get(kid) for kid in why.wanted):
            return
        removal = self._search.next(intake)
        if removal is not None:
            signatory.removals.append(removal)
        elif isinstance(why, MissingKeyError):
            raise MissingKeyError(why.wanted, signatory.keys.kids, wait=self)
        else:
            raise why


class Stretch:
    """A partition waits until a key ends the stretch without a live key, and until this worker has that key."""

    def __init__(self, tables: Tables, position: int) -> None:
        """`tables` are restored to intake offset `position`, have no live decision key, and are given away."""
        self._tables = tables
        self._heads = VerifiedHeads()
        self._position = position
        self._heirs: frozenset[bytes] = frozenset()
        self._removals: list[Ruling] = []
        self._search: RulingSearch | None = None  # behind the record at which it stands
        self._why = ""

    def check(self, signatory: Signatory, intake: Records) -> None:
        """Fold ahead, and make the key that ends the stretch the heir.

        Raises:
            NoLiveKeyError: intake holds no such record yet.
            MissingKeyError: it does, and this worker does not have that key.
        """
        self._why = ""
        while not self._heirs:
            if not self._advance(signatory, intake):
                raise NoLiveKeyError(self._why, self)
        kid = min(self._heirs)
        if signatory.keys.get(kid) is None:
            raise MissingKeyError(self._heirs, signatory.keys.kids, wait=self)
        signatory.heir = Heir(kid, self._position - 1)
        signatory.removals += self._removals

    def _advance(self, signatory: Signatory, intake: Records) -> bool:
        """Fold ahead until a key lives, or a ruling was looked for; False if nothing more can be folded now.

        Raises:
            MissingKeyError: a key lives, and neither is it here, nor do the roots remove the admin behind it.
        """
        try:
            for received in present(intake.read(self._position)):
                if received.appended_at > clock_ms() + limits.LOG_AHEAD_MS_MAX:
                    return self._fold_ruled(received, TimeAccepted, signatory, intake)
                if self._fold(received, signatory, intake) or self._heirs:
                    return True
        except UnreadableBatchError as exc:
            return self._skip(exc, intake)
        return False

    def _fold(self, received: Received, signatory: Signatory, intake: Records) -> bool:
        """Fold a record, by the roots' removal of its signer if it registers a key that is not here.

        Return True if intake was searched for that, which ends a reading.

        Raises:
            MissingKeyError: there is no such removal; nothing has changed.
        """
        mark = RecordMark.of(self._tables)
        step(self._tables, received, self._heads)
        lacking = self._lacking(signatory)
        if lacking:
            mark.go_back(self._tables)
            removal = self._removal_of(received, intake)
            if removal is None:
                raise MissingKeyError(lacking, signatory.keys.kids, wait=self)
            step(self._tables, replace(received, ruling=removal), self._heads)
        self._end(received.offset)
        return bool(lacking)

    def _removal_of(self, received: Received, intake: Records) -> Ruling | None:
        """Return the removal of a record's signer. One may undo many records, and is searched for once."""
        for known in self._removals:
            with contextlib.suppress(Refusal):
                judged(self._tables, replace(received, ruling=known), self._heads)
                return known
        found = self._find(received, rulings.ByRoots, intake)
        if found is not None:
            self._removals.append(found)
        return found

    def _fold_ruled(self, received: Received, kind: type, signatory: Signatory, intake: Records) -> bool:
        ruling = self._find(received, kind, intake)
        mark = RecordMark.of(self._tables)
        if ruling is not None:
            step(self._tables, replace(received, ruling=ruling), self._heads)
        if ruling is None or self._lacking(signatory):  # a record has one ruling: this one waits for the clock
            mark.go_back(self._tables)
            self._why = f"; the record at offset {received.offset} is ahead of this worker's clock"
            return False
        self._end(received.offset)
        return True

    def _lacking(self, signatory: Signatory) -> frozenset[bytes]:
        """Return the keys that live now, if the one that would be the heir is not here; else none."""
        live = frozenset(decision_keys(self._tables))
        return live if live and signatory.keys.get(min(live)) is None else frozenset()

    def _skip(self, unreadable: UnreadableBatchError, intake: Records) -> bool:
        """Fold ahead past a batch that cannot be read, if a ruling skips it; True if one does."""
        first = max(unreadable.offset, self._position)
        ruling = self._find(Received(INTAKE_PARTITION, first, 0, None, ()), RecordsSkipped, intake)
        if ruling is None:
            self._why = f"; nothing from offset {first} of intake on can be read: {unreadable}"
            return False
        body = judged(self._tables, Received(INTAKE_PARTITION, first, 0, None, (), ruling), self._heads)
        assert isinstance(body, RecordsSkipped)
        for received in skipped(first, min(body.last + 1, intake.behind(first)), ruling):
            step(self._tables, received, self._heads)
            self._end(received.offset)
        return True

    def _find(self, held: Received, kind: type | UnionType, intake: Records) -> Ruling | None:
        search = self._search
        if search is None or (search.offset, search.kind) != (held.offset, kind):
            search = self._search = RulingSearch(self._tables, held, kind)
        return search.next(intake)

    def _end(self, offset: int) -> None:
        self._tables.commit()
        self._position = offset + 1
        self._heirs = frozenset(decision_keys(self._tables))


class LookAhead:
    """A partition stopped at a record that no key lives for, and looks ahead from the state before it.

    In that state a key may still live: log time passes its end with the record.
    """

    def check(self, _signatory: Signatory, _intake: Records) -> None:
        """Do nothing: the state is needed first."""


def check_next(tables: Tables, signatory: Signatory, position: int, wait: Wait | None) -> None:
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


def wait_at(received: Received, why: DecisionKeyError | EngineMissingError, tables: Tables) -> Wait:
    """Return the wait of a partition that stopped at a record. `tables` are those before it, and are given away."""
    if isinstance(why, NoLiveKeyError):
        return LookAhead()
    assert isinstance(why, MissingKeyError | EngineMissingError)
    return Capture(why, tables, received)
