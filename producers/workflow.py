"""What a session can do beside calling: approve, remember, delegate, note. The twins for asyncio stand below.

Every method raises RefusedError with the log's reason, NoAnswerError and PublishError; what else it raises it says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from processors.proof import jcs
from producers import approving, delegating
from producers.approving import ShownCall
from producers.context import ContextVault, VaultEntry
from producers.control import Speaker
from producers.heads import LogRollbackError
from producers.outcomes import milliseconds
from producers.prompting import AuthenticatedPrompt, create_prompt
from schemas import limits
from schemas.records import SessionClosed
from schemas.words import NotedOutcome, Outcome, Status
from schemas.workflow import ApplicationEventLogged

OWN_SCOPE = "session"
DELEGATION_SECONDS = 3600.0


class Workflow:
    """The workflow methods of a client."""

    _speaker: Speaker
    _desk: approving.Desk
    _vault: ContextVault
    _session_id: bytes
    _principal_id: str

    # --- approvals

    def list_attestations(self, status: str = Status.PENDING) -> list[dict[str, Any]]:
        """Return the requests that this person may answer (`pending`), or what this session was attested (`active`).

        Raises:
            ValueError: another status.
        """
        if status not in {Status.PENDING, Status.ACTIVE}:
            raise ValueError(f"got status {status[:40]!r}, want pending or active")
        return (approving.pending_requests if status == Status.PENDING else approving.own_attestations)(self._speaker)

    def show_call(self, request: str) -> ShownCall:
        """Return a call that waits, as its caller signed it.

        Raises:
            CallForgedError: it is told otherwise than its caller signed it.
            ParametersChangedError: another digest is asked for than that of its parameters.
        """
        return approving.show_call(self._desk, request)

    def approve_attestation(self, attestation: Mapping[str, Any], *, reason: str = "") -> bool:
        """Say yes to a listed request: once the exact parameters were fetched, and have the digest that was listed.

        Raises:
            ParametersChangedError: they have not; nothing was signed.
        """
        return approving.approve(self._desk, attestation, reason).result.outcome == Outcome.ACCEPTED

    def deny_attestation(self, attestation: Mapping[str, Any], *, reason: str = "") -> bool:
        """Say no to a listed request; raises as `approve_attestation`."""
        return approving.deny(self._desk, attestation, reason).result.outcome == Outcome.ACCEPTED

    # --- the context vault: each raises VaultRollbackError where what is told contradicts what was told before

    def context_set(
        self,
        key: str,
        value: Any,
        *,
        scope: str = OWN_SCOPE,
        ttl_seconds: float | None = None,
        expected: int | None = None,
    ) -> int:
        """Put a JSON value and return its version. With `expected` only in place of that version; 0 stands for none.

        Raises:
            ValueTooLargeError: it has more than 64 KiB; it was not sent.
            MalformedTimeError: it shall live for no time, or too long; it was not sent.
        """
        ttl_ms = (
            None if ttl_seconds is None else milliseconds(ttl_seconds, at_most=limits.VAULT_TTL_MS_MAX, what="a life")
        )
        return self._vault.set(key, value, scope=scope, ttl_ms=ttl_ms, expected=expected)

    def context_get(self, key: str, default: Any = None, *, scope: str = OWN_SCOPE) -> Any:
        """Return a value, `default` where there is none. Raises VaultForgedError."""
        entry = self.context_entry(key, scope=scope)
        return entry.value if entry.version else default

    def context_entry(self, key: str, *, scope: str = OWN_SCOPE) -> VaultEntry:
        """Return a value with its version and author, version 0 where there is none. Raises VaultForgedError."""
        return self._vault.entry(key, scope=scope)

    def context_delete(self, key: str, *, scope: str = OWN_SCOPE, expected: int | None = None) -> None:
        """Remove a value. Raises RefusedError VAULT_ABSENT where there is none."""
        self._vault.delete(key, scope=scope, expected=expected)

    def context_list(self, prefix: str = "", *, scope: str = OWN_SCOPE) -> list[tuple[str, int]]:
        """Return (key, version) of every key with a prefix: the log's word, which a value read by its key proves."""
        return self._vault.keys(prefix, scope=scope)

    def export_heads(self) -> dict[str, Any]:
        """Return what was seen of the vault, as JSON: for `import_heads` of a later client, here or elsewhere."""
        return self._vault.heads.export(own=f"{OWN_SCOPE}:{self._session_id.hex()}")

    def import_heads(self, heads: Mapping[str, Any]) -> None:
        """Add what another client has seen: from now on a log that was set back before that is noticed.

        Raises:
            HeadsError: it is not what `export_heads` gave, or is of another founding of the tenant.
            VaultRollbackError: it contradicts what was seen here.
        """
        self._vault.heads.take(heads)

    @property
    def rollback(self) -> LogRollbackError | None:
        """What was noticed of a log that was set back, None for nothing: whoever acts on it decides what to do."""
        return self._speaker.answers.rollback

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
        """Let another principal do some of what this one may, for so many seconds; return the delegation's id.

        Raises:
            PolicyError: the scope is malformed, or names neither resources nor operations.
            MalformedTimeError: it shall hold for no time, or for more than a year and a day.
        """
        scope = delegating.scope_text(resources, operations, conditions)
        return delegating.grant(self._speaker, to, scope, expires_in=expires_in, purpose=purpose, parent=parent)

    def revoke_delegation(self, delegation: str, *, reason: str = "") -> None:
        """End a delegation, and every one under it."""
        delegating.revoke(self._speaker, delegation, reason)

    def list_delegations(self) -> dict[str, list[dict[str, Any]]]:
        """Return the delegations that this principal has `granted` and `received`."""
        return delegating.listed(self._speaker)

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
        return create_prompt(self._session_id, path, value, policy, parent)

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
        """Note on the log what an application did, and return the event's id. `source` is its principal.

        Raises:
            ValueError: the metadata is no JSON.
        """
        body = ApplicationEventLogged(
            event_type=event_type,
            source=self._principal_id if source is None else source,
            action=action or "",
            target=target or "",
            outcome=outcome,
            category=category,
            signed=signed,
            metadata=jcs.canonical(dict(metadata or {})).decode(),
        )
        return self._speaker.tell(body).result.event_id.hex()

    def close_session(self, *, reason: str = "closed") -> None:
        """End the session on the log, now; calls of it that wait are over, and nothing it signs later is heard."""
        self._speaker.tell(SessionClosed(reason=reason))


class AsyncWorkflow:
    """The same for asyncio: each waits in a thread, and raises as its twin."""

    _workflow: Workflow

    async def list_attestations(self, status: str = Status.PENDING) -> list[dict[str, Any]]:
        """Return as `Workflow.list_attestations`."""
        return await asyncio.to_thread(self._workflow.list_attestations, status)

    async def show_call(self, request: str) -> ShownCall:
        """Return as `Workflow.show_call`."""
        return await asyncio.to_thread(self._workflow.show_call, request)

    async def approve_attestation(self, attestation: Mapping[str, Any], *, reason: str = "") -> bool:
        """Say yes, as `Workflow.approve_attestation`."""
        return await asyncio.to_thread(self._workflow.approve_attestation, attestation, reason=reason)

    async def deny_attestation(self, attestation: Mapping[str, Any], *, reason: str = "") -> bool:
        """Say no, as `Workflow.deny_attestation`."""
        return await asyncio.to_thread(self._workflow.deny_attestation, attestation, reason=reason)

    async def context_set(
        self,
        key: str,
        value: Any,
        *,
        scope: str = OWN_SCOPE,
        ttl_seconds: float | None = None,
        expected: int | None = None,
    ) -> int:
        """Put a value, as `Workflow.context_set`."""
        return await asyncio.to_thread(
            self._workflow.context_set, key, value, scope=scope, ttl_seconds=ttl_seconds, expected=expected
        )

    async def context_get(self, key: str, default: Any = None, *, scope: str = OWN_SCOPE) -> Any:
        """Return as `Workflow.context_get`."""
        return await asyncio.to_thread(self._workflow.context_get, key, default, scope=scope)

    async def context_entry(self, key: str, *, scope: str = OWN_SCOPE) -> VaultEntry:
        """Return as `Workflow.context_entry`."""
        return await asyncio.to_thread(self._workflow.context_entry, key, scope=scope)

    async def context_delete(self, key: str, *, scope: str = OWN_SCOPE, expected: int | None = None) -> None:
        """Remove a value, as `Workflow.context_delete`."""
        await asyncio.to_thread(self._workflow.context_delete, key, scope=scope, expected=expected)

    async def context_list(self, prefix: str = "", *, scope: str = OWN_SCOPE) -> list[tuple[str, int]]:
        """Return as `Workflow.context_list`."""
        return await asyncio.to_thread(self._workflow.context_list, prefix, scope=scope)

    def export_heads(self) -> dict[str, Any]:
        """Return as `Workflow.export_heads`; it waits for nothing."""
        return self._workflow.export_heads()

    def import_heads(self, heads: Mapping[str, Any]) -> None:
        """Add as `Workflow.import_heads`; it waits for nothing."""
        self._workflow.import_heads(heads)

    @property
    def rollback(self) -> LogRollbackError | None:
        """As `Workflow.rollback`."""
        return self._workflow.rollback

    async def delegate(
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
        """Delegate, as `Workflow.delegate`."""
        return await asyncio.to_thread(
            self._workflow.delegate,
            to,
            resources=resources,
            operations=operations,
            conditions=conditions,
            expires_in=expires_in,
            purpose=purpose,
            parent=parent,
        )

    async def revoke_delegation(self, delegation: str, *, reason: str = "") -> None:
        """End a delegation, as `Workflow.revoke_delegation`."""
        await asyncio.to_thread(self._workflow.revoke_delegation, delegation, reason=reason)

    async def list_delegations(self) -> dict[str, list[dict[str, Any]]]:
        """Return as `Workflow.list_delegations`."""
        return await asyncio.to_thread(self._workflow.list_delegations)

    def create_prompt(
        self,
        path: str,
        value: Any,
        *,
        policy: Mapping[str, Any] | None = None,
        parent: AuthenticatedPrompt | bytes | None = None,
    ) -> AuthenticatedPrompt:
        """Return as `Workflow.create_prompt`; it waits for nothing."""
        return self._workflow.create_prompt(path, value, policy=policy, parent=parent)

    async def log_event(
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
        """Note an event, as `Workflow.log_event`."""
        return await asyncio.to_thread(
            self._workflow.log_event,
            event_type,
            source=source,
            action=action,
            target=target,
            outcome=outcome,
            signed=signed,
            category=category,
            metadata=metadata,
        )

    async def close_session(self, *, reason: str = "closed") -> None:
        """End the session, as `Workflow.close_session`."""
        await asyncio.to_thread(self._workflow.close_session, reason=reason)
