"""`MACAWClient`: the class that programs for the original are written against, over the log of this project.

    client = MACAWClient(app_name="my-app")
    client.register()
    print(client.invoke_tool("tool:bank/get_balance", {}))

It has no rule of its own: each method is one of `producers`. docs/coming-from-macaw.md has the differences.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, Self

from macaw_client import attestations, discovery, exits, session
from macaw_client.agent import AgentView
from macaw_client.errors import CannotConnectError, NotRegisteredError, told_as_connecting, told_as_ours
from macaw_client.given import Given
from macaw_client.intents import declared_intent
from macaw_client.names import KNOWN, id_of_person, id_of_program, resource_of
from macaw_client.notes import Notes, event_of
from macaw_client.offers import Handler, OfferedTool, request_of, result_as_dict, tool_of, tools_of
from macaw_client.prompts import AuthenticatedText
from macaw_client.values import json_of
from producers.home.addresses import listens_at
from producers.home.home import Home
from schemas.records import SessionClosed
from schemas.words import Status

FLUSH_SECONDS = 2.0


class MACAWClient:
    """A program's, or with a token a person's, way to the log. Thread-safe; it does no I/O before `register`."""

    def __init__(
        self,
        app_name: str | None = None,
        app_version: str = "1.0.0",
        agent_type: str = "agent",
        user_name: str | None = None,
        iam_token: str | None = None,
        provider: str | None = None,
        service_account: str | None = None,
        intent_policy: Mapping[str, Any] | None = None,
        tools: Mapping[str, Any] | None = None,
        *,
        jwt_token: str | None = None,
        tenant: str | None = None,
        home: Home | None = None,
    ) -> None:
        """Describe a client; `iam_token` or `jwt_token`, which is the same, makes it a person's.

        `user_name` is a label: the token alone proves the person. `provider` names the mapping of claims where
        several fit. `tenant` and `home` are those of the configuration where they are not given.

        Raises:
            MisuseError: the arguments contradict each other, or one is missing.
            IntentError, ToolDescriptionError, TypeError: the intent or a tool is malformed.
        """
        self._given = Given.of(
            app_name=app_name,
            app_version=app_version,
            agent_type=agent_type,
            user_name=user_name,
            token=iam_token if iam_token is not None else jwt_token,
            is_doubled=iam_token is not None and jwt_token not in (None, iam_token),
            provider=provider,
            service_account=service_account,
        )
        self.intent_policy = declared_intent(intent_policy, self._given.app)
        self._tools = tools_of(tools)
        self._tenant, self._home = tenant, home
        self._lock = threading.RLock()  # of registering, unregistering and offering
        self._session: session.ClientSession | None = None
        self._notes: Notes | None = None
        self._lost: weakref.finalize[..., Any] | None = None  # what ends the session of a client that is lost
        self._agent_id = ""
        self.agent = AgentView()

    # --- facts

    @property
    def app_name(self) -> str:
        """The name of the program."""
        return self._given.app

    @property
    def app_version(self) -> str:
        """The version of the program, as it says itself."""
        return self._given.app_version

    @property
    def agent_type(self) -> str:
        """The kind of client, as it was asked for."""
        return self._given.agent_type

    @property
    def user_name(self) -> str | None:
        """The label of a person's client."""
        return self._given.user_name

    @property
    def agent_id(self) -> str:
        """The id by which others reach this client; empty before `register`."""
        return self._agent_id

    @property
    def registered(self) -> bool:
        """Whether the client is registered now."""
        return self._session is not None

    @property
    def public_key(self) -> bytes:
        """The public key of the session, 32 bytes; empty before `register`."""
        return b"" if self._session is None else self._session.client.connection.key.signing.public

    @property
    def tools(self) -> dict[str, dict[str, Any]]:
        """The tools of this client, by name: a copy."""
        return {name: one.as_entry() for name, one in list(self._tools.items())}

    @property
    def current_request_context(self) -> dict[str, Any]:
        """The call that this thread handles: `source_agent` and more; empty where it handles none."""
        return request_of(self)

    def __repr__(self) -> str:
        return f"<MACAWClient {self._agent_id or self._given.app!r}>"

    # --- its life

    def register(self) -> bool:
        """Open a session, and offer the tools; return True. A program's name is registered on its first use.

        Raises:
            CannotConnectError: there is no installation, broker, monitor or bridge; it is a ConnectionError.
            PermissionDenied: the token, the name or a tool was refused.
            InputError: the token is not one, or the name cannot be used.
        """
        with self._lock:
            if self._session is not None:
                return True
            with told_as_connecting():
                opened = self._open()
            self._take(opened)
            exits.end_at_exit(self)
            return True

    def _open(self) -> session.ClientSession:
        home = self._home or Home.find()
        home.tenant(self._tenant).genesis  # noqa: B018 - raises for a tenant that is not known here
        if not listens_at(home.bootstrap):
            raise CannotConnectError(
                f"Cannot connect to MACAW: Connection refused: no broker answers at {home.bootstrap}: run `macaw up`, "
                "or set MACAW_BOOTSTRAP_SERVERS"
            )
        given = self._given
        if given.token is None:
            return session.open_program(given.principal, given.app, self, self._tools, tenant=self._tenant, home=home)
        return session.open_person(
            given.token,
            given.user_name or "user",
            given.app,
            self,
            self._tools,
            provider=given.provider,
            tenant=self._tenant,
            home=home,
        )

    def _take(self, opened: session.ClientSession) -> None:
        given, session_id = self._given, opened.session_id
        if given.token is None:
            agent_id = id_of_program(given.principal, session_id)
        else:
            agent_id = id_of_person(given.user_name or "user", given.app, session_id)
        self._agent_id = KNOWN.remember(agent_id, session_id)
        self._session, self._notes = opened, Notes(opened.client)
        self._lost = weakref.finalize(self, exits.later, partial(_close, opened, self._notes))
        self._lost.atexit = False  # `exits` sees to that

    def unregister(self) -> None:
        """End the session, once its events are sent. Nothing happens on a client that is not registered."""
        with self._lock:
            opened, notes = self._session, self._notes
            self._session, self._notes = None, None
            exits.ended(self)
        if opened is None or notes is None:
            return
        if self._lost is not None:
            self._lost.detach()
        _close(opened, notes)

    def leave(self) -> list[Future[int]]:
        """Send the end of the session, at the end of the process; return the events on their way, and wait for none."""
        opened, notes = self._session, self._notes
        if opened is None or notes is None:
            return []
        return [*notes.on_their_way(), opened.client.connection.publisher.publish(SessionClosed(reason="exit"))]

    def __enter__(self) -> Self:
        self.register()
        return self

    def __exit__(self, *_: object) -> None:
        self.unregister()

    def _opened(self) -> session.ClientSession:
        """Return the session. Raises NotRegisteredError."""
        if self._session is None:
            raise NotRegisteredError("the client is not registered: call register() first")
        return self._session

    # --- calls and tools

    def invoke_tool(
        self,
        tool_name: str,
        parameters: Mapping[str, Any] | None = None,
        target_agent: str | None = None,
        stream: bool = False,  # noqa: FBT001, FBT002 - the signature of programs that exist
        intent_policy: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a tool and return its result as a dict, or with `stream` an iterator over its parts as they come.

        With `target_agent` that agent is called and no other. `intent_policy` narrows this call further. It waits for
        people where a policy asks for them.

        Raises:
            PermissionDenied: the log did not permit it; nothing ran.
            ToolNotFoundError, UnknownAgentError: there is no such tool or agent.
            ToolFailedError: the tool ran and failed, or it is not known whether it did.
            NoAnswerError: no answer came in time.
            TypeError, ValueError: a parameter is not JSON; nothing was sent.
        """
        opened = self._opened()
        given = json_of(dict(parameters or {}))
        intents = [one for one in (self.intent_policy, declared_intent(intent_policy, self._given.app)) if one]
        target = self._target(opened, tool_name, target_agent)
        with told_as_ours():
            result = opened.ask(
                resource_of(tool_name),
                given,
                target=target,
                intents=intents,
                has_prompts=self.agent.authenticate_prompts,
                is_stream=stream,
            )
        if stream:
            result.keep(self)
            return result
        return result_as_dict(result)

    def _target(self, opened: session.ClientSession, tool_name: str, target_agent: str | None) -> bytes | None:
        if target_agent is None:
            resource = resource_of(tool_name)
            own = tool_name in self._tools or any(one.resource == resource for one in list(self._tools.values()))
            return opened.session_id if own else None
        known = KNOWN.session_of(str(target_agent))
        return known if known is not None else discovery.target_of(target_agent, self._agents())

    def register_tool(
        self,
        name: str,
        handler: Handler,
        prompts: list[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Offer a tool, or put another handler in its place; return when others can call it.

        Raises:
            ToolDescriptionError, TypeError: it is malformed.
            PermissionDenied: the name is another program's, or not this one's to offer.
        """
        tool = tool_of(name, {"handler": handler, "prompts": prompts, "metadata": metadata})
        with self._lock:
            tools: dict[str, OfferedTool] = {**self._tools, name: tool}
            if self._session is not None:
                with told_as_ours():
                    self._session.offer(self, tools)
            self._tools = tools

    # --- discovery

    def _agents(self) -> list[dict[str, Any]]:
        with told_as_connecting():
            return self._opened().agents()

    def list_agents(self, agent_type: str | None = None) -> list[dict[str, Any]]:
        """Return the live agents and their tools, newest first; `app` keeps programs. Raises CannotConnectError."""
        return discovery.rows_of(self._agents(), agent_type)

    def get_agent_info(self, agent_id: str) -> dict[str, Any] | None:
        """Return one of `list_agents`, or this client; None if there is none. Raises CannotConnectError."""
        if agent_id == self._agent_id and not self._tools:
            return {
                "agent_id": agent_id,
                "agent_type": self.agent_type,
                "tools": {},
                "metadata": {},
                "intent_policy": {},
            }
        return discovery.row_of(self._agents(), agent_id, self._opened().declared)

    # --- vault, events, prompts

    def context_set(self, key: str, value: Any) -> None:
        """Put a JSON value into the vault of this session. Raises PermissionDenied, ValueTooLargeError."""
        with told_as_ours():
            self._opened().client.context_set(key, json_of(value, "value"))

    def context_get(self, key: str) -> Any:
        """Return a value of the vault, None if it is absent. Raises PermissionDenied, VaultForgedError."""
        with told_as_ours():
            return self._opened().client.context_get(key)

    def log_event(
        self,
        event_type: str,
        source: str | None = None,
        action: str | None = None,
        target: str | None = None,
        outcome: str | None = "success",
        signed: bool = False,  # noqa: FBT001, FBT002 - the signature of programs that exist
        category: str | None = "custom",
        metadata: Mapping[str, Any] | None = None,
    ) -> bool:
        """Write an event of the application to the log; return True. Long texts are cut, with their digest.

        Each event stands signed on the log. One with `signed` is waited for, until the log has accepted it; others are
        sent at `unregister`, or at the end of the process, at the latest.

        Raises:
            EventFormError: it has no type, or an unknown outcome.
            PermissionDenied, NoAnswerError: a signed event is not on the log.
        """
        self._opened()
        event = event_of(
            event_type,
            source=source or self._agent_id,
            action=action,
            target=target,
            outcome=outcome,
            signed=signed,
            category=category,
            metadata=metadata,
        )
        notes = self._notes
        if notes is None:
            raise NotRegisteredError("the client was unregistered meanwhile: nothing was sent")
        with told_as_ours():
            notes.write(event)
        return True

    def create_authenticated_prompt(
        self, prompt_text: str, metadata: Mapping[str, Any] | None = None
    ) -> AuthenticatedText:
        """Return a prompt of this session; it is a `str`. Nothing is sent."""
        return AuthenticatedText(prompt_text, self._opened().session_id, metadata)

    # --- approvals

    def list_attestations(self, status: str = Status.PENDING) -> list[dict[str, Any]]:
        """Return the requests that this principal may answer, with the exact parameters of each call as `value`.

        With `active` it returns the attestations of this session. Raises PermissionDenied, CallForgedError.
        """
        return attestations.requests_of(self._opened().client, status)

    def approve_attestation(self, attestation: Mapping[str, Any], reason: str = "") -> bool:
        """Approve a request of `list_attestations`; the approval is for the parameters that were shown.

        Raises:
            NotListedError, ParametersChangedError: it is another one than was listed; nothing was signed.
            PermissionDenied: the log did not take the answer.
        """
        return attestations.answer(self._opened().client, attestation, reason, approves=True)

    def deny_attestation(self, attestation: Mapping[str, Any], reason: str = "") -> bool:
        """Deny a request of `list_attestations`. Raises as `approve_attestation`."""
        return attestations.answer(self._opened().client, attestation, reason, approves=False)


def _close(opened: session.ClientSession, notes: Notes) -> None:
    notes.flush(FLUSH_SECONDS)
    opened.close()
