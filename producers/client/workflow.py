"""The methods of a session beside calling: approvals, the vault, delegations, prompts and notes.

Every method raises RefusedError with the log's reason, NoAnswerError and PublishError; further errors are named in
each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from processors.proof import jcs
from producers.client import approvals, delegations
from producers.client.approvals import Answered, Narrow, ShownCall
from producers.client.inputs import milliseconds
from producers.client.prompts import AuthenticatedPrompt, create_prompt
from producers.client.vault import ContextVault, VaultEntry
from producers.home.clock import clock_ms
from producers.home.heads import LogRollbackError
from producers.kafka.connection import Connection
from schemas import limits
from schemas.events.workflow import (
    ApplicationEventLogged,
    DelegationGranted,
    DelegationRevoked,
)
from schemas.records import SessionClosed
from schemas.words import NotedOutcome, Status

OWN_SCOPE = "session"
DELEGATION_SECONDS = 3600.0


class Workflow:
    """The workflow methods of a client."""

    def __init__(self, connection: Connection) -> None:
        """Speak with the connection of an open session, or of a registered approver."""
        self._connection = connection
        self._vault = ContextVault(connection)

    # --- approvals

    def list_attestations(self, status: str = Status.PENDING) -> list[dict[str, Any]]:
        """Return the requests that this person may answer (`pending`), or this session's attestations (`active`).

        Raises:
            ValueError: another status.
        """
        if status not in {Status.PENDING, Status.ACTIVE}:
            raise ValueError(f"got status {status[:40]!r}, want pending or active")
        return (approvals.pending_requests if status == Status.PENDING else approvals.own_attestations)(
            self._connection
        )

    def show_call(self, request: str) -> ShownCall:
        """Return a call that waits, as its caller signed it.

        Raises:
            CallForgedError: the log's reply differs from the call that its caller signed.
            ParametersChangedError: the request names another digest than that of the parameters.
        """
        return approvals.show_call(self._connection, request)

    def approve_attestation(
        self,
        attestation: Mapping[str, Any],
        *,
        reason: str = "",
        once: bool = False,
        for_seconds: float | None = None,
        uses: int | None = None,
        said_by: str | None = None,
    ) -> bool:
        """Approve a listed request, once the exact parameters were fetched and have the listed digest.

        `once`, `for_seconds` and `uses` make an approval narrower than its policies, as `scopes` of the request offer.
        A registered approver passes on the answer of a person with `said_by`, for example `user:carol`.

        Raises:
            ParametersChangedError: they have another digest; nothing was signed.
            ScopeError: the request does not offer the scope; nothing was signed.
        """
        return approvals.approve_request(
            self._connection, attestation, reason, said_by, once=once, for_seconds=for_seconds, uses=uses
        )

    def deny_attestation(self, attestation: Mapping[str, Any], *, reason: str = "", said_by: str | None = None) -> bool:
        """Deny a listed request; raises as `approve_attestation`."""
        return approvals.deny_request(self._connection, attestation, reason, said_by)

    def approve_all(
        self,
        attestations: Sequence[Mapping[str, Any]],
        *,
        reason: str = "",
        said_by: str | None = None,
        **narrow: Unpack[Narrow],
    ) -> list[Answered]:
        """Approve several listed requests, at most 50, each with an event of its own; return the outcome of each.

        Each call is fetched again, as by `approve_attestation`; one that fails does not stop the others.

        Raises:
            ScopeError: there are too many, or one stands twice; nothing was signed.
        """
        return approvals.answer_each(
            attestations, lambda one: approvals.approve_request(self._connection, one, reason, said_by, **narrow)
        )

    def deny_all(
        self, attestations: Sequence[Mapping[str, Any]], *, reason: str = "", said_by: str | None = None
    ) -> list[Answered]:
        """Deny several listed requests, as `approve_all` approves them."""
        return approvals.answer_each(
            attestations, lambda one: approvals.deny_request(self._connection, one, reason, said_by)
        )

    # --- the context vault: each raises VaultRollbackError if an answer contradicts an earlier one

    def context_set(
        self,
        key: str,
        value: Any,
        *,
        scope: str = OWN_SCOPE,
        ttl_seconds: float | None = None,
        expected: int | None = None,
    ) -> int:
        """Put a JSON value and return its version. With `expected` only in place of that version; 0 means absent.

        Raises:
            ValueTooLargeError: it has more than 64 KiB; it was not sent.
            MalformedTimeError: `ttl_seconds` is not a time that the vault takes; it was not sent.
        """
        ttl_ms = (
            None
            if ttl_seconds is None
            else milliseconds(ttl_seconds, at_most=limits.VAULT_TTL_MS_MAX, what="a value's life")
        )
        return self._vault.set(key, value, scope=scope, ttl_ms=ttl_ms, expected=expected)

    def context_get(self, key: str, default: Any = None, *, scope: str = OWN_SCOPE) -> Any:
        """Return a value, `default` if it is absent. Raises VaultForgedError."""
        entry = self.context_entry(key, scope=scope)
        return entry.value if entry.version else default

    def context_entry(self, key: str, *, scope: str = OWN_SCOPE) -> VaultEntry:
        """Return a value with its version and author, version 0 if it is absent. Raises VaultForgedError."""
        return self._vault.entry(key, scope=scope)

    def context_delete(self, key: str, *, scope: str = OWN_SCOPE, expected: int | None = None) -> None:
        """Remove a value. Raises RefusedError VAULT_ABSENT if it is absent."""
        self._vault.delete(key, scope=scope, expected=expected)

    def context_list(self, prefix: str = "", *, scope: str = OWN_SCOPE) -> list[tuple[str, int]]:
        """Return (key, version) of every key with a prefix. The list is not proven; a value read by its key is."""
        return self._vault.keys(prefix, scope=scope)

    def export_heads(self) -> dict[str, Any]:
        """Return the heads of the vault that this client has seen, as JSON for `import_heads`, here or elsewhere."""
        return self._vault.heads.export(own=f"{OWN_SCOPE}:{self._connection.key.kid.hex()}")

    def import_heads(self, heads: Mapping[str, Any]) -> None:
        """Add the heads that another client has seen: a log that was set back before them is noticed from now on.

        Raises:
            HeadsError: `heads` are not those of `export_heads`, or are of another founding of the tenant.
            VaultRollbackError: they contradict the heads of this client.
        """
        self._vault.heads.take(heads)

    @property
    def rollback(self) -> LogRollbackError | None:
        """The error for a log that was set back, if that was noticed in an answer to a call, else None."""
        return self._connection.answers.rollback

    # --- delegations

    def delegate(
        self,
        to: str,
        *,
        resources: Sequence[str] = (),
        operations: Sequence[str] = (),
        conditions: Mapping[str, Any] | None = None,
        expires_in: float = DELEGATION_SECONDS,
        purpose: str = "",
        parent: str | None = None,
    ) -> str:
        """Let another principal use some of this one's rights for `expires_in` seconds; return the delegation's id.

        Raises:
            PolicyError: the scope is malformed, or names neither resources nor operations.
            MalformedTimeError: `expires_in` is not a time of at most a year and a day; nothing was sent.
            RefusedError: DELEGATION_SELF, _CYCLE, _DEPTH, _EXPIRED, _PARENT, UNKNOWN_PRINCIPAL or LIMIT_EXCEEDED.
        """
        scope = delegations.scope_text(resources, operations, conditions)
        life_ms = milliseconds(expires_in, at_most=limits.DELEGATION_MS_MAX, what="a delegation's life")
        body = DelegationGranted(
            delegate=to,
            parent=None if parent is None else delegations.delegation_id(parent),
            scope=scope,
            expires_at=clock_ms() + life_ms,
            purpose=purpose,
        )
        return self._connection.ask(body).result.event.hex()

    def revoke_delegation(self, delegation: str, *, reason: str = "") -> None:
        """End a delegation, and every one under it. Raises RefusedError DELEGATION_UNKNOWN, WRONG_PRINCIPAL."""
        self._connection.ask(DelegationRevoked(delegation=delegations.delegation_id(delegation), reason=reason))

    def list_delegations(self) -> dict[str, list[dict[str, Any]]]:
        """Return the delegations that this principal has `granted` and `received`."""
        return delegations.list_delegations(self._connection)

    # --- prompts, notes, the end

    def create_prompt(
        self,
        path: str,
        value: Any,
        *,
        policy: Mapping[str, Any] | None = None,
        parent: AuthenticatedPrompt | bytes | None = None,
    ) -> AuthenticatedPrompt:
        """Return an authenticated prompt of this session, for `invoke`; nothing is sent."""
        return create_prompt(self._connection.key.kid, path, value, policy, parent)

    def log_event(
        self,
        event_type: str,
        *,
        source: str | None = None,
        action: str | None = None,
        target: str | None = None,
        outcome: str = NotedOutcome.SUCCESS,
        signed: bool = False,
        category: str = "custom",
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """Write an event of the application to the log and return its id. `source` is this principal if not given.

        Raises:
            ValueError: the metadata is not JSON.
        """
        body = ApplicationEventLogged(
            event_type=event_type,
            source=self._connection.principal_id if source is None else source,
            action=action or "",
            target=target or "",
            outcome=outcome,
            category=category,
            signed=signed,
            metadata=jcs.canonical(dict(metadata or {})).decode(),
        )
        return self._connection.ask(body).result.event_id.hex()

    def close_session(self, *, reason: str = "closed") -> None:
        """End the session on the log, now; its waiting calls are over, and events that it signs later are refused."""
        self._connection.ask(SessionClosed(reason=reason))
