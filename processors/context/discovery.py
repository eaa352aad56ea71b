"""Questions about the instances that offer tools, and the sign of life of one (docs/wire.md 11).

    agents      null, or `next`                        the instances that are there, in the order of their session ids
    agent       {"session": ID} or {"resource": NAME}  one instance with its declarations and the events that prove
                                                       them; of a resource the newest instance of its owner, or null
    presence    null                                   a sign of life of the asker's instance

Every session of the tenant may ask for these: policies judge the calls.
"""

from __future__ import annotations

import bisect
import re

from processors.context.vault import as_told
from processors.identity import offers
from processors.intake.identify import Signer
from processors.policy.errors import ResourceInvalidError
from processors.policy.evaluation import Work
from processors.policy.patterns import resource_name
from processors.proof.jcs import JSONValue
from processors.refusal import Refusal
from processors.state.groups import ALL
from processors.state.tables import Tables
from processors.text.characters import utf8_size
from schemas import limits
from schemas.events.tools import ToolDeclaration
from schemas.reasons import Reason
from schemas.rows import OfferRow
from schemas.words import Role

_DIGEST = re.compile(r"[0-9a-f]{64}")
_WANT_NEXT = "the argument is not null or the `next` of the page before"


def agents(tables: Tables, _: Signer, argument: JSONValue, __: Work) -> JSONValue:
    """Return a page of the instances that are there. Raises Refusal QUERY_INVALID."""
    if not (argument is None or (isinstance(argument, str) and _DIGEST.fullmatch(argument))):
        raise Refusal(Reason.QUERY_INVALID, _WANT_NEXT)
    keys = tables.offers.of(ALL)
    at = 0 if argument is None else bisect.bisect_right(keys, bytes.fromhex(argument))
    told: list[JSONValue] = []
    room = limits.QUERY_AGENTS_BYTES_MAX
    looked_at = keys[at : at + limits.QUERY_ROWS_MAX]
    for place, key in enumerate(looked_at):
        row = offers.live_offer(tables, key)
        if row is None:
            continue
        room -= sum(utf8_size(declared.resource) + 16 for declared in row.tools)
        if room < 0 and told:
            looked_at = looked_at[:place]  # the next page begins with this one
            break
        told.append(_brief(tables, key, row))
    rest = at + len(looked_at) < len(keys)
    return {"agents": told, "next": looked_at[-1].hex() if rest and looked_at else None}


def agent(tables: Tables, _: Signer, argument: JSONValue, __: Work) -> JSONValue:
    """Return one instance with its declarations and the events that prove them. Raises Refusal QUERY_INVALID."""
    match argument:
        case {"session": str() as session, **more} if not more and _DIGEST.fullmatch(session):
            found: bytes | None = bytes.fromhex(session)
        case {"resource": str() as resource, **more} if not more:
            found = _newest(tables, resource)
        case _:
            raise Refusal(Reason.QUERY_INVALID, 'the argument is not {"session": ID} or {"resource": NAME}')
    row = None if found is None else offers.live_offer(tables, found)
    if found is None or row is None:
        return {"agent": None}
    session_row = tables.sessions.rows[found]
    # The opening of a person's session has attributes that are not for everybody. The offer is proven without it: a
    # session id is the digest of the session's key.
    is_program = not session_row.issuer and session_row.role != Role.USER
    told: dict[str, JSONValue] = {
        **_brief(tables, found, row),
        "ed25519": session_row.ed25519.hex(),
        "declarations": [_declared(one) for one in row.tools],
        "offered": as_told(row.offered),
        "opened": as_told(session_row.opened) if is_program and session_row.opened is not None else None,
    }
    return {"agent": told}


def presence(tables: Tables, signer: Signer, argument: JSONValue, _: Work) -> JSONValue:
    """Note a sign of life of the asker's instance, and return until when it counts as there. Raises Refusal."""
    if argument is not None or tables.offers.get(signer.kid) is None:
        raise Refusal(Reason.QUERY_INVALID, "the argument is not null, or the session has offered nothing")
    return {"until": offers.stay(tables, signer.kid)}


def _newest(tables: Tables, resource: str) -> bytes | None:
    try:
        resource_name(resource)
    except ResourceInvalidError as exc:
        raise Refusal(Reason.RESOURCE_INVALID) from exc
    return offers.newest_of(tables, resource)


def _brief(tables: Tables, session_id: bytes, row: OfferRow) -> dict[str, JSONValue]:
    return {
        "session": session_id.hex(),
        "principal_id": row.principal_id,
        "role": str(tables.sessions.rows[session_id].role),
        "label": row.label,
        "since": row.since,
        "tools": [declared.resource for declared in row.tools],
    }


def _declared(declared: ToolDeclaration) -> JSONValue:
    return {
        "resource": declared.resource,
        "description": declared.description,
        "timeout_ms": declared.timeout_ms,
        "prompts": list(declared.prompts),
    }
