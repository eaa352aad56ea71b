r"""The context vault: values that a session, or several, keep on the log (docs/wire.md 9 and 11).

Each scope is a chain: n counts its accepted writes and deletes, and
h_n = SHA-256("macaw/vault/v1\n" ‖ genesis ‖ lp(scope) ‖ h_{n-1} ‖ u64 n ‖ lp(key) ‖ event leaf), h_0 = 32 zero bytes.
A key's version is the n of its last change and is never used again; 0 stands for an absent key. A reader that keeps the
last (n, h) of a scope notices if a later answer comes from an older state or from another history. Expiry changes no
chain.

The scope `session` is the signer's own: no policy need grant it, but a policy may deny it. Every other scope is shared,
and each operation on it is a resource, `vault:<scope>/<get|set|delete|list>/<key>`. A read is an event like any other.

A value comes with its writer's signed event and the event that opened the writer's session, so a reader need not trust
the monitor for it. A list of keys has no such proof: a reader can check only its (n, h).

A large value of the own scope travels beside the log as a body, sealed by the session to itself.
"""

from __future__ import annotations

import bisect
import json
from hashlib import sha256

import re2

from processors.calls import bodies, enforcement, shared_scopes, work
from processors.calls.grants import use_up
from processors.calls.judge import decide_call, ended_well, settle, told_of
from processors.calls.standing import Attested
from processors.effects import Effects
from processors.identity import delegations
from processors.identity.delegations import Chain
from processors.identity.logins import lasts_until
from processors.intake.identify import Signer
from processors.policy.errors import RULE_ERRORS
from processors.policy.evaluation import HIDDEN, new_work, to_pay
from processors.proof import jcs, signing
from processors.proof.jcs import JSONValue
from processors.refusal import Refusal
from processors.state.shares import check_room
from processors.state.tables import Tables
from processors.text.characters import is_plain_text
from schemas import limits
from schemas.events.workflow import ContextDeleted, ContextListed, ContextRead, ContextWritten
from schemas.reasons import Reason
from schemas.records import Event, SignedEvent
from schemas.rows import VaultRow, VaultScopeRow
from schemas.words import Outcome

VAULT_TAG = b"macaw/vault/v1\n"
OWN = "session"
NO_CHAIN = bytes(32)
_SHARED = re2.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

Operation = ContextWritten | ContextRead | ContextDeleted | ContextListed
_VERBS = {ContextWritten: "set", ContextRead: "get", ContextDeleted: "delete", ContextListed: "list"}


def chain_value(genesis: bytes, scope: str, before: bytes, n: int, key: str, leaf: bytes) -> bytes:
    """Return h_n of a scope, 32 bytes; `before` is h_{n-1}, `leaf` that of the event that makes change `n`."""
    parts = (
        signing.length_prefixed(scope.encode()),
        before,
        n.to_bytes(8, "big"),
        signing.length_prefixed(key.encode()),
        leaf,
    )
    return sha256(VAULT_TAG + genesis + b"".join(parts)).digest()


def scope_id(scope: str, session_id: bytes) -> str:
    """Return the id of a scope. A shared name holds no colon, so it cannot be that of a session's own scope.

    Raises:
        Refusal: VAULT_FORM.
    """
    if scope == OWN:
        return f"{OWN}:{session_id.hex()}"
    if not _SHARED.fullmatch(scope):
        want = "`scope` is `session`, or 1 to 64 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter or digit"
        raise Refusal(Reason.VAULT_FORM, want)
    return scope


def scope_key(scope: str) -> bytes:
    """Return the key of a scope's row."""
    return sha256(scope.encode()).digest()


def _row_key(scope: str, key: str) -> bytes:
    return scope_key(scope) + key.encode()  # in order of keys within a scope


def operate(tables: Tables, effects: Effects, signer: Signer, event: Event, body: Operation) -> None:
    """Carry out one operation and answer it, sealed to the signer.

    Raises:
        Refusal: VAULT_FORM, VALUE_TOO_LARGE, VERSION_CONFLICT, VAULT_ABSENT, LIMIT_EXCEEDED, or a policy's reason.
    """
    scope = scope_id(body.scope, signer.kid)
    _check_form(body)
    paid_by, chain = _check_allowed(tables, effects, signer, event, body)
    if body.scope != OWN and tables.heard.rows:
        _pass_on(tables, signer, chain, body, effects.claim.leaf)
    match body:
        case ContextWritten():
            told = _write(tables, effects, signer, scope, body, paid_by)
        case ContextRead():
            told = _read(tables, scope, body)
        case ContextDeleted():
            told = _delete(tables, effects, signer, scope, body, paid_by)
        case ContextListed():
            told = _list(tables, scope, body)
    row = tables.scopes.get(scope_key(scope))
    told |= {"scope": scope, "n": row.n if row else 0, "h": (row.h if row else NO_CHAIN).hex()}
    payload = effects.reply_payload(event.header.salt, told)
    work.note_answer(effects, signer.principal_id, told, payload)
    effects.reply(Outcome.ACCEPTED, payload=payload)


def _pass_on(tables: Tables, signer: Signer, chain: Chain, body: Operation, leaf: bytes) -> None:
    """Let a shared scope taint its readers, and its writers taint it, for rules on where a value came from."""
    assert signer.session is not None
    if isinstance(body, ContextWritten):
        ends = limits.FOR_EVER_MS if body.ttl_ms is None else tables.now + body.ttl_ms
        shared_scopes.pass_to_scope(tables, signer.kid, signer.session, chain, body.scope, leaf, ends)
    elif not isinstance(body, ContextDeleted):
        shared_scopes.pass_from_scope(tables, signer.kid, signer.session, body.scope)


def _check_form(body: Operation) -> None:
    texts = (body.prefix, body.after) if isinstance(body, ContextListed) else (body.key,)
    for text in texts:
        # A key is the end of a resource's name, which people must be able to read.
        if not is_plain_text(text) or len(text.encode("utf-8", "surrogatepass")) > limits.VAULT_KEY_BYTES_MAX:
            raise Refusal(
                Reason.VAULT_FORM, f"a key has only visible characters and at most {limits.VAULT_KEY_BYTES_MAX} bytes"
            )
    if isinstance(body, ContextListed):
        if not 0 < body.limit <= limits.VAULT_LIST_MAX:
            raise Refusal(Reason.VAULT_FORM, f"`limit` is 1 to {limits.VAULT_LIST_MAX}")
        return
    if not body.key:
        raise Refusal(Reason.VAULT_FORM, "`key` is empty")
    if isinstance(body, ContextWritten):
        _check_written(body)


def _check_written(body: ContextWritten) -> None:
    if len(body.value.encode("utf-8", "surrogatepass")) > limits.VAULT_VALUE_BYTES_MAX:
        raise Refusal(Reason.VALUE_TOO_LARGE)
    if body.bodies:
        if body.scope != OWN:
            raise Refusal(Reason.VAULT_FORM, "only a value of the session's own scope may be a body: no other opens it")
        bodies.check_whole(body.bodies, body.value, Reason.VAULT_FORM)
    if body.ttl_ms is not None and not 0 < body.ttl_ms <= limits.VAULT_TTL_MS_MAX:
        raise Refusal(Reason.VAULT_FORM, f"`ttl_ms` is 1 to {limits.VAULT_TTL_MS_MAX}")


def _value(text: str) -> JSONValue:
    try:
        return jcs.parse_strict(text.encode("utf-8", "surrogatepass"))
    except jcs.MalformedJSONError as exc:
        raise Refusal(Reason.VAULT_FORM, f"`value` is not strict JSON: {exc.cause}") from exc


# ---- whether a policy allows it


def _check_allowed(
    tables: Tables, effects: Effects, signer: Signer, event: Event, body: Operation
) -> tuple[str, Chain]:
    """Judge the operation as a call on its resource, charge it, and return its payer and chain. Raises Refusal."""
    session = signer.session
    assert session is not None
    work.check_not_empty(tables, signer.principal_id)
    budget = new_work()
    chain: Chain = delegations.chain_of(tables, session, event.header.on_behalf_of)
    key = body.prefix if isinstance(body, ContextListed) else body.key
    parameters: dict[str, JSONValue] = {"key": key}
    if isinstance(body, ContextWritten):
        parameters["value"] = HIDDEN if body.bodies else _value(body.value)  # type: ignore[assignment]
    # A list without a prefix has an empty key, which no other operation has, so policies can tell them apart.
    resource = f"vault:{body.scope}/{_VERBS[type(body)]}/{key}"
    try:
        verdict = decide_call(
            tables,
            session,
            resource,
            parameters,
            session_id=signer.kid,
            chain=chain,
            attested=Attested(tables, signer.kid, chain, effects.claim.leaf),
            granted=body.scope == OWN and not chain.hops,  # the own scope needs no grant; denials hold
            work=budget,
        )
    except RULE_ERRORS as exc:
        raise Refusal(Reason.INTERNAL_ERROR, type(exc).__name__) from exc
    if verdict.outcome == Outcome.ALLOWED:
        if tables.enforcement.rows:
            enforcement.check_not_frozen(tables, (one.principal for one in chain.subjects), resource)
        paid_by = delegations.payer_of(session, chain)
        marks = settle(tables, verdict, signer.kid, paid_by)
        ended_well(tables, signer.kid, marks or b"", paid_by)
        use_up(tables, signer.kid, chain, verdict.effects.uses, event=effects.claim.leaf)
        return paid_by, chain
    work.note(effects, signer.principal_id, to_pay(budget))
    if verdict.outcome == Outcome.PENDING:
        want = "vault operations cannot wait for approval; get one first with a tool call"
        raise Refusal(Reason.APPROVAL_REQUIRED, want)
    raise Refusal(verdict.reason, told_of(verdict))


# ---- the operations


def _standing(tables: Tables, scope: str, key: str) -> VaultRow | None:
    row = tables.vault.get(_row_key(scope, key))
    return None if row is None or tables.now >= row.until else row


def _check_version(row: VaultRow | None, expected: int | None) -> None:
    version = row.version if row is not None else 0
    if expected is not None and expected != version:
        raise Refusal(Reason.VERSION_CONFLICT, f"version={version}")


def _write(
    tables: Tables, effects: Effects, signer: Signer, scope: str, body: ContextWritten, paid_by: str
) -> dict[str, JSONValue]:
    row = _standing(tables, scope, body.key)
    _check_version(row, body.expected)
    n, before = _advance(tables, effects, signer, scope, body.key, paid_by)
    ends = limits.FOR_EVER_MS if body.ttl_ms is None else tables.now + body.ttl_ms
    assert signer.session is not None
    if body.scope == OWN:
        ends = min(ends, lasts_until(signer.session))
    new = VaultRow(
        scope=scope,
        key=body.key,
        value=body.value,
        version=n,
        set_at=tables.now,
        author=signer.principal_id,
        until=ends,
        written=effects.signed_event(),
        opened=signer.session.opened,
        before=before,
        payer=paid_by,
    )
    tables.vault.put(_row_key(scope, body.key), new)
    check_room(tables.vault, new)
    return {"key": body.key, "version": n}


def _proof(row: VaultRow) -> dict[str, JSONValue]:
    """Return the proof of a value: its writer's signed event, and the event that opened the writer's session."""
    if row.written is None or row.opened is None or row.before is None:
        return {}  # a row of an older version, without the proof: readers refuse the value
    return {"written": as_told(row.written), "opened": as_told(row.opened), "before": row.before.hex()}


def as_told(signed: SignedEvent) -> dict[str, JSONValue]:
    """Return a signed event as replies have it."""
    return {"event": signed.event.hex(), "proof": signed.proof.hex(), "kid": signed.kid.hex()}


def _read(tables: Tables, scope: str, body: ContextRead) -> dict[str, JSONValue]:
    row = _standing(tables, scope, body.key)
    if row is None:
        return {"key": body.key, "version": 0, "value": None}
    told: dict[str, JSONValue] = {"key": body.key, "version": row.version}
    return told | {"value": json.loads(row.value), "author": row.author} | _proof(row)


def _delete(
    tables: Tables, effects: Effects, signer: Signer, scope: str, body: ContextDeleted, paid_by: str
) -> dict[str, JSONValue]:
    row = _standing(tables, scope, body.key)
    _check_version(row, body.expected)
    if row is None:
        raise Refusal(Reason.VAULT_ABSENT)
    _advance(tables, effects, signer, scope, body.key, paid_by)
    tables.vault.delete(_row_key(scope, body.key))
    if body.scope != OWN and tables.heard.rows and not tables.vault.of(scope):
        shared_scopes.emptied(tables, scope)
    return {"key": body.key, "version": 0}


def _list(tables: Tables, scope: str, body: ContextListed) -> dict[str, JSONValue]:
    """Return a page of keys, in order, without expired rows that have not left yet.

    If it meets too many expired rows, the page ends early, and its `next` is the key after which the next page begins.
    """
    keys, head = tables.vault.of(scope), scope_key(scope)
    prefix = head + body.prefix.encode()
    at = max(
        bisect.bisect_left(keys, prefix), bisect.bisect_right(keys, head + body.after.encode()) if body.after else 0
    )
    found: list[JSONValue] = []
    told: dict[str, JSONValue] = {"prefix": body.prefix, "keys": found, "more": False}
    end = at + 4 * limits.VAULT_LIST_MAX
    for row_key in keys[at:end]:
        if not row_key.startswith(prefix):
            break
        row = tables.vault.rows[row_key]
        if tables.now >= row.until:
            continue
        if len(found) >= body.limit:
            told["more"] = True
            break
        found.append({"key": row.key, "version": row.version})
    else:
        if end < len(keys):
            told |= {"more": True, "next": tables.vault.rows[keys[end - 1]].key}
    return told


def _advance(tables: Tables, effects: Effects, signer: Signer, scope: str, key: str, paid_by: str) -> tuple[int, bytes]:
    """Add a link to the scope's chain; return its n, and the h of the link before. Raises Refusal LIMIT_EXCEEDED."""
    row = tables.scopes.get(scope_key(scope))
    n, before = (row.n, row.h) if row is not None else (0, NO_CHAIN)
    assert signer.session is not None
    own = scope.startswith(f"{OWN}:")
    h = chain_value(tables.genesis, scope, before, n + 1, key, effects.claim.leaf)
    until = lasts_until(signer.session) if own else limits.FOR_EVER_MS
    # The writer of the first link pays for the chain for good, since a chain never begins anew.
    head = VaultScopeRow(name=scope, n=n + 1, h=h, until=until, payer=paid_by if row is None else row.payer)
    tables.scopes.put(scope_key(scope), head)
    if row is None:
        check_room(tables.scopes, head)
    return n + 1, before
