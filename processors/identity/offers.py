"""Tools that sessions offer: an instance of a program, or a person's, that is caller and tool at once.

A session offers operations with a key of its own, which opens the calls to them and signs their reports, and can do
nothing else. It ends with the session, or when the instance gives no sign of life for PRESENCE_MS.

A name belongs to the first principal that offers it, dead or alive, also after its revocation: no other inherits
it. A program offers names that meet the `offers` patterns of its registration. Sessions of persons and of workloads own
nothing: a call reaches their tools only where it names the session.
"""

from __future__ import annotations

from collections.abc import Iterable

from processors.identity import registry
from processors.identity.declarations import check_declaration, check_listed, own, resource_row
from processors.identity.sessions import lives
from processors.intake.identify import Signer
from processors.policy.globs import granting
from processors.policy.patterns import resource_name
from processors.proof import signing
from processors.refusal import Refusal
from processors.state.shares import check_room
from processors.state.tables import Tables
from schemas import limits
from schemas.events.tools import ToolDeclaration, ToolsOffered
from schemas.reasons import Reason
from schemas.records import SignedEvent
from schemas.rows import CallRow, OfferRow, PresenceRow, SessionRow
from schemas.words import Role


def offer(tables: Tables, signer: Signer, body: ToolsOffered, signed: SignedEvent) -> None:
    """Let a session offer these tools in the place of those that it offered before.

    `signed` is the event as it stood on intake: the proof of the offer's key and declarations for callers.

    Raises:
        Refusal: the key is taken, malformed or another one than before; a declaration does not hold; a name belongs to
            another principal, or the registration does not let the session offer it; NOT_SUPPORTED.
    """
    session = signer.session
    assert session is not None
    before = tables.offers.get(signer.kid)
    kid = signing.kid_of(body.key.ed25519)
    if before is not None and before.kid != kid:
        raise Refusal(Reason.OFFER_KEY, "a session keeps the key that it first offered tools with")
    if body.key.principal_id != session.principal_id:
        raise Refusal(Reason.WRONG_PRINCIPAL, "`key.principal_id` is not the principal of the session")
    registry.check_offer(body.key, Role.OFFER, tables.genesis)
    if before is None:
        registry.check_free(tables, body.key.ed25519)
    _check_label(session, body.label)
    _check_tools(tables, session, body.tools)
    row = OfferRow(
        principal_id=session.principal_id,
        kid=kid,
        ed25519=body.key.ed25519,
        x25519=body.key.x25519,
        tools=body.tools,
        label=body.label,
        offered=signed,
        since=tables.now if before is None else before.since,
        payer=session.payer,
    )
    tables.offers.put(signer.kid, row)


def stay(tables: Tables, session_id: bytes) -> int:
    """Note a sign of life of an instance; return until when it counts as there. Requires an offer of the session."""
    until = tables.now + limits.PRESENCE_MS
    tables.presence.put(session_id, PresenceRow(until=until))
    return until


def admit(tables: Tables, session_id: bytes) -> None:
    """Let an instance count as there, if the tables have room for it and its names. Raises Refusal LIMIT_EXCEEDED.

    Only the monitor calls it. Followers of the registry hear no later sign of life: a row of the first would be due for
    them alone, and delay others that have left on the log.

    The instances of a principal are bounded, because a look for the newest goes through all of them.
    """
    row = tables.offers.rows[session_id]
    check_room(tables.offers, row)
    stay(tables, session_id)
    alike = tables.offers.of(row.principal_id)
    if len(alike) > limits.OFFERS_PER_PRINCIPAL_MAX:
        most = limits.OFFERS_PER_PRINCIPAL_MAX
        raise Refusal(Reason.LIMIT_EXCEEDED, f"at most {most} sessions of a principal offer tools; close one first")
    if sum(live_offer(tables, one) is not None for one in alike) > limits.INSTANCES_PER_PRINCIPAL_MAX:
        most = limits.INSTANCES_PER_PRINCIPAL_MAX
        raise Refusal(Reason.LIMIT_EXCEEDED, f"at most {most} instances of a principal are there at once")
    for declared in row.tools:
        resource = resource_row(tables, declared.resource)
        if resource is not None and resource.principal_id == row.principal_id:
            check_room(tables.resources, resource)


def _check_label(session: SessionRow, label: str) -> None:
    if len(label) > limits.LABEL_CHARS_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"`label` has at most {limits.LABEL_CHARS_MAX} characters")
    if "@" in label and session.role != Role.USER:
        raise Refusal(Reason.NAME_INVALID, "`label` of a program has no `@`: that is how persons are told")


def _check_tools(tables: Tables, session: SessionRow, tools: tuple[ToolDeclaration, ...]) -> None:
    """Check the declarations of an offer, and give a program the names that are free. Raises Refusal."""
    if len(tools) > limits.TOOLS_PER_PRINCIPAL_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"a session offers at most {limits.TOOLS_PER_PRINCIPAL_MAX} operations")
    check_listed(tools)
    for declared in tools:
        check_declaration(declared)
        if declared.attests:
            raise Refusal(Reason.NOT_SUPPORTED, "an offered operation attests nothing; register a tool for that")
    if session.role == Role.USER or session.issuer:
        return
    allowed = tables.keys.rows[session.opened_by].attributes.offers
    for declared in tools:
        if not may_offer(tables, session.principal_id, allowed, declared.resource):
            raise Refusal(
                Reason.OFFER_NOT_ALLOWED, "a name does not meet the `offers` patterns of the principal's registration"
            )
        own(tables, session.principal_id, declared)


def may_offer(tables: Tables, owner: str, patterns: Iterable[str], resource: str) -> bool:
    """Return whether a program whose registration has these patterns may offer a name. Requires a resource's name."""
    under = _foreign_app(tables, owner, resource)
    return any(pattern.startswith(under) and granting(pattern)(resource) for pattern in patterns)


def _foreign_app(tables: Tables, owner: str, resource: str) -> str:
    """Return the beginning of a name that stands under another principal's, such as `tool:bank/`; else an empty text.

    Policies grant `tool:bank/*` for the operations of that one. A pattern lets others in only where it says so: `**`
    does not.
    """
    name = resource_name(resource)
    if name.app in (None, owner) or tables.principals.get(f"{name.app}".encode("utf-8", "surrogatepass")) is None:
        return ""
    return f"{name.tenant}{name.domain}:{name.app}/"


# ---- reading


def declared_by(row: OfferRow, resource: str) -> ToolDeclaration | None:
    """Return the declaration of an operation in an offer, None if it is not there."""
    return next((one for one in row.tools if one.resource == resource), None)


def live_offer(tables: Tables, session_id: bytes) -> OfferRow | None:
    """Return the offer of a session that lives, and with a recent sign of life of its instance."""
    row, presence = tables.offers.get(session_id), tables.presence.get(session_id)
    if row is None or presence is None or tables.now >= presence.until or not lives(tables, session_id):
        return None
    return row


def newest_of(tables: Tables, resource: str) -> bytes | None:
    """Return the newest live session of a resource's owner that offers it, None without one."""
    owned = resource_row(tables, resource)
    if owned is None:
        return None
    live = ((live_offer(tables, session_id), session_id) for session_id in tables.offers.of(owned.principal_id))
    newest_first = sorted(((row.since, one, row) for row, one in live if row is not None), reverse=True)
    return next((one for _, one, row in newest_first if declared_by(row, resource) is not None), None)


# ---- the end


def end(tables: Tables, session_ids: Iterable[bytes]) -> None:
    """Take back the offers of sessions that have ended: their instances count as gone from now on.

    Their open calls end as unknown with the next records, a few with each: one session may have 100,000.
    """
    for session_id in session_ids:
        row = tables.presence.get(session_id)
        if row is not None and row.until > tables.now:
            tables.presence.put(session_id, PresenceRow(until=tables.now))


def next_call_of(tables: Tables, session_id: bytes) -> bytes | None:
    """Return the decision of an open call to an instance that is gone, None if none is left."""
    found = tables.calls.of(("target", session_id))
    return found[-1] if found else None


def is_over(tables: Tables, call: CallRow) -> bool:
    """Return True if an open call can be executed and reported no more: its time is over, or its instance is gone.

    A few rows leave with each record, so such a row may still be here.
    """
    return tables.now >= call.unknown_at or (call.target is not None and live_offer(tables, call.target) is None)
