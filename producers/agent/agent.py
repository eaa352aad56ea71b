"""An agent that is caller and tool at once: one session of a program or a person, with tools of its own.

    with Agent.connect("acme", "reporter") as agent:
        agent.offer({"tool:reporter/sum": Operation(handler=lambda given: sum(given["values"]))})
        agent.client.invoke("tool:bank/get_balance", {})

The handler of an operation may call others: such a call names the one that is executed, so that everybody behind that
one must be allowed it too. An offer leaves with the session, and counts as gone a minute after its process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, Self, Unpack

from confluent_kafka import KafkaException

from producers.agent.offering import Operation
from producers.agent.running import running_call
from producers.agent.serving import Serving
from producers.client.calls import Invoking
from producers.client.client import Client, connect_with_key
from producers.client.streaming import ResultStream
from producers.home.clock import clock_ms
from producers.home.home import Home
from producers.home.keys import KeyPair
from producers.home.process import ForkedError
from producers.kafka.appending import PublishError
from producers.kafka.connection import SESSION_TTL_MS, ConnectError, rows_in
from producers.kafka.sent import Sent
from schemas.events.tools import ToolsOffered
from schemas.events.workflow import StateQueried
from schemas.records import SessionOpened
from schemas.words import Outcome, Role


class Agent(AbstractContextManager["Agent"]):
    """One session that calls, and may offer tools. Thread-safe. `client` is the caller's side of it."""

    def __init__(self, client: Client, *, label: str = "") -> None:
        """Offer tools in the session of `client`, which is closed with the agent. `label` is a name for people."""
        self.client, self.label = client, label
        self._connection = client.connection
        self._key = KeyPair.generate()
        self._serving: Serving | None = None

    @classmethod
    def connect(
        cls,
        tenant: str | None,
        name: str,
        operations: Mapping[str, Operation] | None = None,
        *,
        home: Home | None = None,
        label: str = "",
        session_ttl_ms: int = SESSION_TTL_MS,
    ) -> Self:
        """Open a session for a registered agent or service, and offer operations in it: one round trip in all.

        With `operations` of None nothing is offered, and others do not find the session.

        Raises:
            HomeError, KeyAccessError: the installation, tenant or key is not here.
            ConnectError: the brokers do not answer.
            RefusedError, NoAnswerError, PublishError: the session was not opened, or its tools are not offered.
        """
        registered, heads_path = connect_with_key(tenant, "agent", name, name, home)
        try:
            session, ends_at = registered.link.session_key(), clock_ms() + session_ttl_ms
            opening = registered.send(
                SessionOpened(
                    principal_id=name, key=session.offer(Role.SESSION, name, registered.genesis), ttl_ms=session_ttl_ms
                )
            )
            connection = registered.of_session(session)
        except BaseException:
            registered.close()
            raise
        client = Client(connection, heads_path=heads_path, ends_session=True, session_ends_at=ends_at)
        agent = cls(client, label=label)
        try:
            offering = None if operations is None else agent._send_offer(operations)
            registered.accepted(opening, "SessionOpened")
            if offering is not None:
                connection.accepted(offering, "ToolsOffered")
        except BaseException:
            agent.close()
            raise
        return agent

    @property
    def session_id(self) -> bytes:
        """The id of the session, by which others name it as a target."""
        return self.client.session_id

    @property
    def expires_at(self) -> int | None:
        """The end of the session in ms since the epoch, None where it is not known here."""
        return self.client.expires_at

    @property
    def public_key(self) -> bytes:
        """The public key that signs the reports of its tools."""
        return self._key.signing.public

    # --- tools

    def offer(self, operations: Mapping[str, Operation]) -> None:
        """Offer these operations, by resource, in the place of those before. Others can call them when it returns.

        Raises:
            OperationError: an operation cannot be declared; nothing was sent.
            ConnectError, RefusedError, NoAnswerError, PublishError, ForkedError: it is not offered, as far as is known.
        """
        self._connection.accepted(self._send_offer(operations), "ToolsOffered")

    def _send_offer(self, operations: Mapping[str, Operation]) -> Sent:
        connection = self._connection
        offered = dict(operations)
        body = ToolsOffered(
            tools=tuple(one.declared(resource) for resource, one in offered.items()),
            key=self._key.offer(Role.OFFER, connection.principal_id, connection.genesis),
            label=self.label,
        )
        if self._serving is None:
            self._serving = self._started()
        # Before the offer is known: a call may come with the first answer. Handlers that leave are kept until then.
        self._serving.operations = {**self._serving.operations, **offered}
        sent = connection.send(body)
        serving = self._serving

        def settle(done: Any) -> None:
            if not done.cancelled() and done.exception() is None and done.result().result.outcome == Outcome.ACCEPTED:
                serving.operations = offered

        sent.answer.add_done_callback(settle)
        return sent

    def _started(self) -> Serving:
        serving = Serving(self._connection, self._key)
        try:
            serving.start()
        except KafkaException as exc:
            raise ConnectError(f"the brokers do not say where the decisions end: {exc.args[0].str()}") from exc
        self._connection.link.pulse.join(self._give_sign_of_life)
        return serving

    def _give_sign_of_life(self) -> None:
        if self.deaf:
            return  # it executes nothing any more: callers go to others, or hear so
        with suppress(PublishError, ForkedError):  # closed meanwhile
            self._connection.send(StateQueried(what="presence", argument="null"))

    @property
    def deaf(self) -> str:
        """The reason why its tools are not served any more; empty while they are."""
        return "" if self._serving is None else self._serving.deaf

    # --- calls

    def invoke(self, resource: str, parameters: Mapping[str, Any], **how: Unpack[Invoking]) -> Any:
        """Ask for an operation as `Client.invoke` does; from within a handler of this agent, within its call."""
        return self.client.invoke(resource, parameters, **self._within(how))

    def stream(self, resource: str, parameters: Mapping[str, Any], **how: Unpack[Invoking]) -> ResultStream:
        """Ask for an operation and return its items as they come (`Client.stream`); within a call as `invoke`."""
        return self.client.stream(resource, parameters, **self._within(how))

    def _within(self, how: Invoking) -> Invoking:
        running = running_call()
        if running is not None and running.executor == self.session_id and "within" not in how:
            how["within"] = running.event
        return how

    # --- discovery

    def agents(self) -> list[dict[str, Any]]:
        """Return the instances that are there, the newest first. Raises as `Connection.query`."""
        found: Sequence[dict[str, Any]] = rows_in(self._connection.pages("agents"), "agents")
        return sorted(found, key=lambda one: (-one["since"], one["session"]))

    def agent(self, session_id: bytes) -> dict[str, Any] | None:
        """Return one instance with its declarations, None if it is not there. Raises as `Connection.query`."""
        told = self._connection.query("agent", {"session": session_id.hex()}).get("agent")
        return told if isinstance(told, dict) else None

    # --- the end

    def close(self) -> None:
        """End the session with all that it offers, and the connections. A call that runs here becomes unknown."""
        if self._serving is not None and not self._connection.is_elsewhere:
            self._connection.link.pulse.leave(self._give_sign_of_life)
            self._serving.close()
        self.client.close()

    def __exit__(self, *_: object) -> None:
        self.close()
