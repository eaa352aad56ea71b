"""A service that acts for a person: its calls are signed by its own session, under a delegation from the person's.

The log judges each call by the policies of both, charges the rates of both, and names both in the decision, the person
first. The client of the service holds nothing of the person, so one client serves any number of persons at a time: the
delegation goes with each call. The context vault of a bound client is the person's, and speaks with the person's
session.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypedDict, Unpack, cast

from processors.policy.names import PERSON_PREFIX
from producers.client.calls import Asking, Calls, Invoking
from producers.client.open_call import ANSWER_SECONDS, OpenCall, Waiting
from producers.client.streaming import ResultStream
from producers.client.vault import VaultEntry
from producers.client.workflow import DELEGATION_SECONDS, OWN_SCOPE, Workflow
from producers.home.clock import clock_ms
from producers.kafka.answers import Answer
from producers.kafka.connection import Connection
from producers.kafka.outcomes import RefusedError
from producers.kafka.waiting import WaitingCall
from schemas.errors import MisuseError
from schemas.reasons import Reason

EVERYTHING = ("**",)
UNBOUND = "unbound"
_SESSION_OVER = frozenset({Reason.EXPIRED_SESSION, Reason.UNKNOWN_KEY})  # ended, or ended an hour ago

log = logging.getLogger(__name__)


class NotBindableError(MisuseError):
    """These two clients cannot be bound, or the call names a delegation beside the bound one; nothing was sent."""


class UnboundError(MisuseError):
    """The client is not bound to its user any more; nothing was sent."""


class Binding(TypedDict, total=False):
    """The scope and the time of the delegation that a binding is, as `Client.delegate` takes them.

    Without `resources` and `operations` it covers all that both may do. Without `expires_in` it ends after an hour, or
    with the person's session where that is known to end before.
    """

    resources: Sequence[str]
    operations: Sequence[str]
    conditions: Mapping[str, Any] | None
    expires_in: float | None
    purpose: str


class Bindable(Protocol):
    """A client, as a binding looks at it."""

    @property
    def connection(self) -> Connection:
        """Its connection."""

    @property
    def is_open(self) -> bool:
        """Whether it has a session that it has not ended."""


def check_bindable(service: Bindable, user: Bindable) -> None:
    """Raise NotBindableError unless a service or agent and a person of one tenant both have an open session."""
    ours, theirs = service.connection, user.connection
    if _is_person(ours):
        raise NotBindableError(
            f"{ours.principal_id} is a person, and only a service or agent acts for a user: call bind_to_user on the "
            "service's client"
        )
    if not _is_person(theirs):
        raise NotBindableError(
            f"{theirs.principal_id} is not a person: give the client of a person's session, as of Client.for_person"
        )
    for who, client in ((ours, service), (theirs, user)):
        if not client.is_open:
            raise NotBindableError(f"the client of {who.principal_id} has no open session: open one, then bind")
    if ours.genesis != theirs.genesis:
        raise NotBindableError(
            f"the service is of tenant {ours.tenant.tenant}, the user of {theirs.tenant.tenant}: connect the service "
            "to the user's tenant"
        )


def _is_person(connection: Connection) -> bool:
    return connection.principal_id.startswith(PERSON_PREFIX)


def granted(user: Workflow, to: str, session_ends_at: int | None, scope: Binding) -> str:
    """Let the person grant the delegation, and return its id. Raises as `Client.delegate`."""
    left = DELEGATION_SECONDS if session_ends_at is None else (session_ends_at - clock_ms()) / 1000
    narrowed = "resources" in scope or "operations" in scope
    given = scope.get("expires_in")
    return user.delegate(
        to,
        resources=scope.get("resources", () if narrowed else EVERYTHING),
        operations=scope.get("operations", ()),
        conditions=scope.get("conditions"),
        expires_in=max(0.001, min(DELEGATION_SECONDS, left)) if given is None else given,
        purpose=scope.get("purpose", ""),
    )


class BoundClient(AbstractContextManager["BoundClient"]):
    """Calls of a service for one person. Thread-safe. Leaving its block unbinds it.

    Each method raises UnboundError, a RuntimeError, once it is unbound, or its user's client was closed.
    """

    def __init__(self, service: Calls, user: Workflow, delegation: str, *, on_unbound: Callable[[BoundClient], None]):
        """Use `Client.bind_to_user`. `on_unbound` is called when the delegation is over."""
        self.service, self.user_client, self.delegation = service, user, delegation
        self._on_unbound, self._lock = on_unbound, threading.Lock()
        self._is_bound, self._is_over = True, False

    @property
    def is_bound(self) -> bool:
        """Whether it may still call."""
        return self._is_bound

    # --- calls, as of the service's client

    def invoke(self, resource: str, parameters: Mapping[str, Any], **how: Unpack[Invoking]) -> Any:
        """Call for the person and return the result. Raises as `Client.invoke`."""
        return self.service.invoke(resource, parameters, **self.under_delegation(how))

    def submit(self, resource: str, parameters: Mapping[str, Any], **how: Unpack[Asking]) -> Future[Answer]:
        """Call for the person and return the future of the answer, as `Client.submit`."""
        return self.service.submit(resource, parameters, **self.under_delegation(how))

    def stream(self, resource: str, parameters: Mapping[str, Any], **how: Unpack[Invoking]) -> ResultStream:
        """Call for the person and return the items as they come, as `Client.stream`."""
        return self.service.stream(resource, parameters, **self.under_delegation(how))

    def start(
        self, resource: str, parameters: Mapping[str, Any], *, seconds: float = ANSWER_SECONDS, **how: Unpack[Asking]
    ) -> WaitingCall | Answer:
        """Call for the person without waiting for people, as `Client.start`."""
        return self.service.start(resource, parameters, seconds=seconds, **self.under_delegation(how))

    def begin(
        self, resource: str, parameters: Mapping[str, Any], *, seconds: float | None = None, **how: Unpack[Asking]
    ) -> OpenCall:
        """Begin a call for the person, for `finish`, as `Client.begin`."""
        return self.service.begin(resource, parameters, seconds=seconds, **self.under_delegation(how))

    def finish(self, call: OpenCall, **how: Unpack[Waiting]) -> Any:
        """Wait for a call that was begun; also after `unbind`. Raises as `Client.finish`."""
        return self.service.finish(call, **how)

    def under_delegation(self, how: Invoking | Asking) -> Any:
        """Return the arguments of a call with the delegation. Raises UnboundError, NotBindableError."""
        self._check()
        if how.get("delegation") is not None:
            raise NotBindableError("a bound client calls under its own delegation: call with the service's client")
        return {**cast("dict[str, Any]", how), "delegation": self.delegation}

    # --- the person's context vault

    def context_set(
        self,
        key: str,
        value: Any,
        *,
        scope: str = OWN_SCOPE,
        ttl_seconds: float | None = None,
        expected: int | None = None,
    ) -> int:
        """Put a value as the person, as `Client.context_set`."""
        self._check()
        return self.user_client.context_set(key, value, scope=scope, ttl_seconds=ttl_seconds, expected=expected)

    def context_get(self, key: str, default: Any = None, *, scope: str = OWN_SCOPE) -> Any:
        """Return a value as the person, as `Client.context_get`."""
        self._check()
        return self.user_client.context_get(key, default, scope=scope)

    def context_entry(self, key: str, *, scope: str = OWN_SCOPE) -> VaultEntry:
        """Return a value with its version and author as the person, as `Client.context_entry`."""
        self._check()
        return self.user_client.context_entry(key, scope=scope)

    def context_delete(self, key: str, *, scope: str = OWN_SCOPE, expected: int | None = None) -> None:
        """Remove a value as the person, as `Client.context_delete`."""
        self._check()
        self.user_client.context_delete(key, scope=scope, expected=expected)

    def context_list(self, prefix: str = "", *, scope: str = OWN_SCOPE) -> list[tuple[str, int]]:
        """Return (key, version) of each value as the person, as `Client.context_list`."""
        self._check()
        return self.user_client.context_list(prefix, scope=scope)

    # --- the end

    def unbind(self) -> None:
        """End the binding: nothing is sent for the person from now on, and the delegation is revoked on the log.

        A call that stands on the log before the revocation is decided as before. If this raises, the client is unbound,
        and the delegation may live until it expires: call it once more. A session that has ended revokes nothing: if an
        admin or the provider ended it, the delegation is over too; else it expires with the session, or later if it was
        given a longer life.

        Raises:
            RefusedError, NoAnswerError, PublishError: it is not known that the delegation was revoked.
        """
        self._is_bound = False
        with self._lock:
            if self._is_over:
                return
            try:
                self.user_client.revoke_delegation(self.delegation, reason=UNBOUND)
            except RefusedError as exc:
                if exc.reason not in _SESSION_OVER:
                    raise
                log.info("the session of the user has ended before its delegation %s was revoked", self.delegation)
            self.note_end()

    def note_end(self) -> None:
        """Take note that the delegation was revoked elsewhere, as by the end of the person's client."""
        self._is_bound, self._is_over = False, True
        self._on_unbound(self)

    def _check(self) -> None:
        if not self._is_bound:
            raise UnboundError(
                "this client is not bound to its user any more: call bind_to_user on the service's client again, with "
                "an open session of the user"
            )

    def __exit__(self, *_: object) -> None:
        self.unbind()
