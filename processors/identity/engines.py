"""The life of a tenant's engine: the choice of the one for a record, and the activation of a later one.

    record     0 TenantFounded(engine=1)   1 …   2 EngineActivated(engine=2)   3 …
    decided by 1                           1     1                             2

An activation is judged by the engine before it, which cannot know the later one's needs: any higher number with well
formed data is accepted, whether an installation holds it or not. Otherwise two installations would judge it
differently. A tenant whose engine is not installed stops in front of its next record (`EngineMissingError`).
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from itertools import pairwise

from processors.intake.identify import Received
from processors.refusal import Refusal
from processors.state.engines import Engine
from processors.state.tables import SINGLETON, Tables
from processors.text.characters import quoted
from schemas import codec, limits
from schemas.events.engines import EngineActivated, EngineData
from schemas.reasons import Reason
from schemas.records import Event, TenantFounded
from schemas.rows import EngineDataRow

DIGEST_BYTES = 32


def engine_for(tables: Tables, received: Received) -> Engine:
    """Return the engine that decides a record, before anything of it is read.

    Raises:
        EngineMissingError: it is not installed; nothing has changed.
    """
    if not tables.tenant.rows and (founding := _founding_in(tables, received)) is not None:
        tables.decide_by(founding.engine, founding.data)
    return tables.engine


def _founding_in(tables: Tables, received: Received) -> TenantFounded | None:
    """Return the configured founding event, if the record is that."""
    value = received.value or b""
    if sha256(value[codec.FRAME_BYTES :]).digest() != tables.genesis:
        return None
    try:
        event: Event = codec.decode_as(Event, value)
    except codec.SchemaError:
        return None
    return event.body if isinstance(event.body, TenantFounded) else None


def begin(tables: Tables, body: TenantFounded) -> None:
    """Note the data of the founding engine. Raises Refusal ENGINE_FORM."""
    _name_data(tables, body.engine, body.data)


def activate(tables: Tables, body: EngineActivated) -> None:
    """Let another engine decide from the next record on.

    Raises:
        Refusal: ENGINE_FORM, ENGINE_NOT_NEWER, or ENGINE_DATA_CONFLICT if a name stands for other data on this log.
    """
    if not 0 < len(body.reason) <= limits.REASON_CHARS_MAX:
        raise Refusal(Reason.ENGINE_FORM, f"the reason must have 1 to {limits.REASON_CHARS_MAX} characters")
    row = tables.tenant.rows[SINGLETON]
    if body.engine <= row.engine:
        raise Refusal(Reason.ENGINE_NOT_NEWER, f"got engine {body.engine}, and engine {row.engine} decides now")
    if body.engine > row.engine + limits.ENGINE_AHEAD_MAX:
        raise Refusal(
            Reason.ENGINE_FORM, f"got engine {body.engine}, want at most {row.engine + limits.ENGINE_AHEAD_MAX}"
        )
    _name_data(tables, body.engine, body.data)
    tables.tenant.put(SINGLETON, replace(row, engine=body.engine, data=body.data))


def _name_data(tables: Tables, number: int, data: tuple[EngineData, ...]) -> None:
    """Check the data of an engine and note their names for ever. Raises Refusal."""
    _check_form(data)
    for one in data:
        known = tables.engine_data.get(one.name.encode())
        if known is None:
            tables.engine_data.put(one.name.encode(), EngineDataRow(sha256=one.sha256, since=number))
        elif known.sha256 != one.sha256:
            told = f"{quoted(one.name)} has had another digest since engine {known.since}"
            raise Refusal(Reason.ENGINE_DATA_CONFLICT, told)


def _check_form(data: tuple[EngineData, ...]) -> None:
    if len(data) > limits.ENGINE_DATA_MAX:
        raise Refusal(Reason.ENGINE_FORM, f"got {len(data)} data, want at most {limits.ENGINE_DATA_MAX}")
    for number, one in enumerate(data):
        is_printable = all(" " <= char <= "~" for char in one.name) and " " not in {one.name[:1], one.name[-1:]}
        if not is_printable or not 0 < len(one.name) <= limits.ENGINE_DATA_NAME_CHARS_MAX:
            want = f"1 to {limits.ENGINE_DATA_NAME_CHARS_MAX} printable ASCII characters"
            raise Refusal(Reason.ENGINE_FORM, f"the name of datum {number} does not have {want}")
        if len(one.sha256) != DIGEST_BYTES:
            raise Refusal(Reason.ENGINE_FORM, f"got a digest of {len(one.sha256)} bytes at datum {number}, want 32")
    for number, (one, after) in enumerate(pairwise(data)):
        if one.name >= after.name:
            raise Refusal(Reason.ENGINE_FORM, f"datum {number + 1} is not after datum {number} in order of names")
