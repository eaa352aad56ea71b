"""A connection without a broker between: it asks the real rules, and may lie about their answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from processors.proof import jcs
from producers.home.home import TenantHome
from producers.kafka.answers import Answer
from producers.kafka.connection import Connection
from producers.kafka.outcomes import RefusedError
from schemas import codec, limits, topics
from schemas.records import Body, ReplyPayload
from tests.builders import Actor
from tests.workflow_world import Workflow


class Asking(Connection):
    """Asks a world; `before` may do something to it before each question, `answer` lie about its answers."""

    def __init__(
        self,
        world: Workflow,
        by: Actor,
        *,
        before: Callable[[int], object] = lambda _: None,
        answer: Callable[[int, Any], Any] = lambda _, told: told,
        registry: Any = None,
    ) -> None:
        self._world, self._by, self._before, self._lie, self._asked = world, by, before, answer, 0
        self.tenant, self.genesis, self._registry = TenantHome(world.tenant, Path()), world.genesis, registry
        self.key, self.principal_id = by.keys, by.principal_id

    @property
    def registry(self) -> Any:
        return self._registry

    def ask(self, body: Body, *, on_behalf_of: bytes | None = None, seconds: float = 0) -> Answer:
        """Fold the event, and return the log's answer; as `Connection.ask`."""
        asked = self._asked
        self._asked += 1
        self._before(asked)
        folded = self._world.send(body, self._by, on_behalf_of=on_behalf_of)
        result, output = folded.results[0], folded.of(topics.RESULTS)[0]  # an answer may end a call as well
        if result.outcome != "accepted":
            raise RefusedError(result.detail, reason=result.reason, answer=Answer(result))
        if not output.payload:
            return Answer(result)
        payload: ReplyPayload = codec.decode(codec.current("ReplyPayload"), output.payload or b"")
        told = self._lie(asked, jcs.parse_strict(payload.body.encode(), nodes_max=limits.EVENT_BYTES_MAX))
        return Answer(result, jcs.canonical(told).decode())
