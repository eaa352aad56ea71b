"""The session behind a client: this one module knows how it is opened, and by which classes calls and tools go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from macaw_client.errors import ToolNotFoundError
from macaw_client.names import KNOWN, id_of, is_callback, label_of_person, label_of_program, namespaced
from macaw_client.offers import OfferedTool, handled
from macaw_client.streams import ResultParts
from macaw_client.values import SECRET_PATHS, covered, uncovered
from producers.agent.agent import Agent
from producers.agent.offering import Operation
from producers.agent.running import running_call
from producers.client import Client, DeniedError, NoReceiverError, RefusedError
from producers.client.enrolling import enrol_program
from producers.home.home import Home
from schemas import limits
from schemas.reasons import Reason
from schemas.words import Role

INVOKE_SECONDS = 630.0  # a model or a person behind a tool may take ten minutes
SESSION_TTL_MS = limits.SESSION_TTL_MS_MAX
FOUND_MAX = 10_000


_NOT_THIS_NAME = frozenset({Reason.RESOURCE_TAKEN, Reason.OFFER_NOT_ALLOWED})


@dataclass(frozen=True, slots=True)
class Naming:
    """The names under which a client offers its tools; `app` is None for a person: a person owns no name.

    A name without an app before it belongs to the first program that offers it. A program that comes later, or that may
    not offer it, offers all such tools below its own name (`is_moved`); so it does with callbacks at all times.
    """

    app: str | None
    is_moved: bool

    def name(self, resource: str) -> str:
        """Return the name of a resource on the log."""
        if self.app is None or not (self.is_moved or is_callback(resource)):
            return resource
        return namespaced(resource, self.app) or resource

    @property
    def is_last(self) -> bool:
        """Whether there is no other naming to try."""
        return self.app is None or self.is_moved

    def following(self) -> Iterator[Naming]:
        """Yield this naming, and the one to try after it."""
        yield self
        if not self.is_last:
            yield Naming(self.app, is_moved=True)


class ClientSession:
    """The open session of one client. Thread-safe."""

    def __init__(self, agent: Agent, naming: Naming) -> None:
        self._agent, self._naming = agent, naming
        self.client = agent.client
        self._found: dict[tuple[bytes, str], str] = {}  # the names of resources at other instances

    @property
    def session_id(self) -> bytes:
        """The id of the session."""
        return self._agent.session_id

    def ask(
        self,
        resource: str,
        parameters: Mapping[str, Any],
        *,
        target: bytes | None,
        intents: Sequence[Mapping[str, Any]],
        has_prompts: bool,
        is_stream: bool,
    ) -> Any:
        """Return the result of a call of one instance, or without `target` of any that offers it.

        With `is_stream` it returns the parts of the result, once the first one is there. Without `has_prompts` no
        parameter goes as an authenticated prompt. Raises as `Agent.invoke`; ToolNotFoundError.
        """
        parameters, secrets = covered(parameters)
        how: Any = {"target": target, "intents": intents, "seconds": INVOKE_SECONDS, "secrets": secrets}
        if not has_prompts:
            how["prompts"] = ()

        def asked() -> Any:
            name = resource if target is None else self._name_at(resource, target)
            if is_stream:
                return ResultParts(self._agent.stream(name, parameters, **how))
            return self._agent.invoke(name, parameters, **how)

        try:
            return asked()
        except (DeniedError, NoReceiverError, ToolNotFoundError) as exc:
            known = target is not None and self._found.pop((target, resource), None) is not None
            if exc.reason != Reason.TOOL_UNAVAILABLE or not known:
                raise
        return asked()  # it offers the tool under another name meanwhile, or not at all; nothing has run

    def offer(self, owner: object, tools: Mapping[str, OfferedTool]) -> None:
        """Offer exactly these tools for the client `owner`; return when others can call them. Raises as `Agent`."""
        for naming in self._naming.following():
            try:
                self._agent.offer(_operations(owner, tools, naming))
            except RefusedError as exc:
                if exc.reason not in _NOT_THIS_NAME or naming.is_last:
                    raise
            else:
                self._naming = naming
                return

    def _name_at(self, resource: str, target: bytes) -> str:
        """Return the name under which the instance `target` offers a resource; the given one where it does not.

        It is the name itself, or the one below the name of the instance's program. Raises as `Agent.agent`.
        """
        if target == self.session_id:
            return self._naming.name(resource)
        if namespaced(resource, "") is None:
            return resource
        key = (target, resource)
        if key not in self._found:
            told = self._agent.agent(target) or {}
            offered = {str(one["resource"]) for one in told.get("declarations", ())}
            below = namespaced(resource, str(told.get("principal_id", "")))
            if not offered or (resource not in offered and below not in offered):
                return resource  # the log says so, in a decision
            while len(self._found) >= FOUND_MAX:
                self._found.pop(next(iter(self._found)), None)
            self._found[key] = resource if resource in offered else str(below)
        return self._found[key]

    def agents(self) -> list[dict[str, Any]]:
        """Return the instances that are there, newest first, and the hosts of registered tools.

        Each has `principal`, `session` (bytes, None for a host), `label`, `since` and `tools`. Raises as `Agent`.
        """
        instances = [
            {
                "principal": one["principal_id"],
                "session": bytes.fromhex(one["session"]),
                "label": one["label"],
                "since": one["since"],
                "tools": {resource: {} for resource in one["tools"]},
            }
            for one in self._agent.agents()
        ]
        hosts = [
            {**one, "principal": one["agent_id"], "session": None, "label": "", "since": one["registered_at"]}
            for one in self.client.list_agents(Role.TOOL)
        ]
        return sorted([*instances, *hosts], key=lambda one: -one["since"])

    def declared(self, session_id: bytes) -> dict[str, Any]:
        """Return the declarations of an instance, by resource; nothing where it is not there. Raises as `Agent`."""
        found = self._agent.agent(session_id) or {}
        return {one["resource"]: one for one in found.get("declarations", ())}

    def close(self) -> None:
        """End the session."""
        self._agent.close()


def open_program(
    name: str, app: str, owner: object, tools: Mapping[str, OfferedTool], *, tenant: str | None, home: Home
) -> ClientSession:
    """Open the session of a program, which is registered on its first use, with its tools.

    Raises as `enrol_program` and `Agent.connect`.
    """
    folder = home.tenant(tenant)
    enrol_program(home, folder, name)
    first = Naming(name, is_moved=False)
    for naming in first.following():
        offered = _operations(owner, tools, naming) or None
        label = label_of_program(app)
        try:
            agent = Agent.connect(folder.tenant, name, offered, home=home, label=label, session_ttl_ms=SESSION_TTL_MS)
        except RefusedError as exc:
            if exc.reason not in _NOT_THIS_NAME or naming.is_last:
                raise
        else:
            return ClientSession(agent, naming)
    raise AssertionError("the last naming returns or raises")


def open_person(
    token: str,
    user: str,
    app: str,
    owner: object,
    tools: Mapping[str, OfferedTool],
    *,
    provider: str | None,
    tenant: str | None,
    home: Home,
) -> ClientSession:
    """Open the session of a person with a token of their provider, with its tools.

    Raises as `Client.login` and `Agent.offer`.
    """
    agent = Agent(Client.login(tenant, token, home=home, provider=provider), label=label_of_person(user, app))
    if tools:
        try:
            agent.offer(_operations(owner, tools, _OF_A_PERSON))
        except BaseException:
            agent.close()
            raise
    return ClientSession(agent, _OF_A_PERSON)


_OF_A_PERSON = Naming(None, is_moved=False)


def _operations(owner: object, tools: Mapping[str, OfferedTool], naming: Naming) -> dict[str, Operation]:
    return {
        naming.name(one.resource): Operation(
            handler=partial(_handle, owner, one),
            description=one.description,
            prompts=one.prompts,
            secrets=(*SECRET_PATHS, *one.secrets),
        )
        for one in tools.values()
    }


def _handle(owner: object, tool: OfferedTool, parameters: dict[str, Any]) -> Any:
    """Run a handler for the call that this thread executes."""
    call = running_call()
    context: dict[str, Any] = {}
    if call is not None:
        context = {
            "source_agent": KNOWN.remember(id_of(call.principal_id, call.source), call.source),
            "principal": call.principal_id,
            "subjects": list(call.subjects),
            "tool_name": tool.name,
        }
    return handled(owner, tool.handler, uncovered(parameters), context)
