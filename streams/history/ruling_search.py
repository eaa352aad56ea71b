"""Rulings as a worker follows them: the judgement of one, and the search for one behind a record."""

from __future__ import annotations

from dataclasses import replace
from types import UnionType
from typing import Any

from processors.evidence import rulings
from processors.intake.identify import Received, Ruling
from processors.proof.signing import INTAKE_PARTITION, VerifiedHeads
from processors.refusal import MACHINE_FAULTS, Refusal
from processors.state.tables import Tables
from schemas import codec
from schemas.reasons import Reason
from schemas.records import Event
from streams.history.folded import readable
from streams.history.records import Records


def judged(tables: Tables, received: Received, heads: VerifiedHeads) -> rulings.Body:
    """Return the body of a record's ruling, and change nothing. Raises Refusal if the fold would not follow it."""
    mark = tables.savepoint()
    try:
        return rulings.follow(tables, received, heads).body
    except (Refusal, *MACHINE_FAULTS):
        raise
    except Exception as exc:  # any sender can append such an event; it must not end the worker
        raise Refusal(Reason.INTERNAL_ERROR, type(exc).__name__) from exc
    finally:
        tables.undo_to(mark)


def skipped(first: int, behind: int, ruling: Ruling) -> list[Received]:
    """Return placeholders for the records at offsets `first` to `behind` - 1, with the ruling that skips them."""
    return [Received(INTAKE_PARTITION, offset, 0, None, (), ruling) for offset in range(first, behind)]


class RulingSearch:
    """The search behind a record for a ruling of one kind on it. A later attempt goes on where the last one ended."""

    def __init__(self, tables: Tables, held: Received, kind: type | UnionType) -> None:
        """`tables` are those before the held record, and stay as they are; a placeholder will do for the record."""
        self._tables, self._held, self.kind = tables, held, kind
        self._heads = VerifiedHeads()
        self._position = held.offset

    @property
    def offset(self) -> int:
        """The offset of the held record."""
        return self._held.offset

    def next(self, intake: Records) -> Ruling | None:
        """Return the next event that is such a ruling, None if there is none up to the present end of intake."""
        for received in readable(intake, self._position):
            self._position = received.offset + 1
            if body_of(received, self.kind) is not None:
                ruling = Ruling(b"", received)
                try:
                    judged(self._tables, replace(self._held, ruling=ruling), self._heads)
                except Refusal:
                    continue
                return ruling
        return None


def body_of(received: Received, kind: type | UnionType) -> Any:
    """Return the body of an event by its own account, None if it is of another kind. Nothing is verified."""
    try:
        event: Event = codec.decode_as(Event, received.value or b"")
    except codec.SchemaError:
        return None
    return event.body if isinstance(event.body, kind) else None
