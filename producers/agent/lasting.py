"""An agent that lives longer than a session: the next one offers the same tools before the present one ends.

with LastingAgent.connect("acme", "reporter", operations) as reporter:
    reporter.client.invoke("tool:bank/get_balance", {})
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Self

from producers.agent.agent import Agent
from producers.agent.offering import Operation
from producers.agent.running import running_call
from producers.client.client import Client
from producers.client.succession import Succession
from producers.home.home import Home
from producers.kafka.connection import SESSION_TTL_MS


class LastingAgent(AbstractContextManager["LastingAgent"]):
    """The agent of a program in its newest session. Thread-safe. Calls to the sessions before come to their end there.

    `agent`, `client` and `session_id` change with the session: ask for them anew with each call.
    """

    def __init__(self, first: Agent, connect: Callable[[Mapping[str, Operation] | None], Agent]) -> None:
        """Use `connect`."""
        self._operations: Mapping[str, Operation] | None = None
        self._succession = Succession(first, lambda: connect(self._operations))

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
        """Open the first session as `Agent.connect` does, each of `session_ttl_ms`. Raises as it."""
        connect = partial(Agent.connect, tenant, name, home=home, label=label, session_ttl_ms=session_ttl_ms)
        found = cls(connect(operations), connect)
        found._operations = operations
        return found

    @property
    def agent(self) -> Agent:
        """The agent in its newest session; within a handler, in the session that executes its call (`in_session`)."""
        running = running_call()
        own = None if running is None else self.in_session(running.executor)
        return self._newest if own is None else own

    @property
    def _newest(self) -> Agent:
        return self._succession.current

    @property
    def client(self) -> Client:
        """The caller's side of it."""
        return self.agent.client

    @property
    def session_id(self) -> bytes:
        """The id of the newest session, by which others name it as a target."""
        return self._newest.session_id

    def in_session(self, session_id: bytes) -> Agent | None:
        """Return the agent of one session, by which the handler of a call makes further calls; None once it is over.

        An agent of another session would not say within which call it calls.
        """
        return next((one for one in self._succession.every if one.session_id == session_id), None)

    @property
    def deaf(self) -> str:
        """The reason why its tools are not served any more; empty while they are."""
        return self._newest.deaf

    def offer(self, operations: Mapping[str, Operation]) -> None:
        """Offer these operations, in this session and in all that follow. Raises as `Agent.offer`."""
        with self._succession.changing:
            self._newest.offer(operations)
            self._operations = dict(operations)

    def close(self) -> None:
        """End the sessions, as `Agent.close`."""
        self._succession.close()

    def __exit__(self, *_: object) -> None:
        self.close()
