"""A speaker without a broker between: it asks the real rules, and may lie about what they answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from processors.proof import jcs
from producers.answers import Answer
from producers.control import Speaker
from producers.outcomes import RefusedError
from schemas import codec, limits, topics
from schemas.records import Body, ReplyPayload
from tests.builders import Actor
from tests.workflow_world import Workflow


class Asking(Speaker):
    """Speaks with a world; `before` may do something to it before each question, `answer` lie about its answers."""

    def __init__(
        self,
        world: Workflow,
        by: Actor,
        *,
        before: Callable[[int], object] = lambda _: None,
        answer: Callable[[int, Any], Any] = lambda _, told: told,
    ) -> None:
        self.__dict__.update(world=world, by=by, before=before, answer=answer, asked=0)

    def tell(self, body: Body, *, on_behalf_of: bytes | None = None, seconds: float = 0) -> Answer:
        """Fold the event, and return what the log answers; as `Speaker.tell`."""
        had = self.__dict__
        asked, had["asked"] = had["asked"], had["asked"] + 1
        had["before"](asked)
        folded = had["world"].send(body, had["by"], on_behalf_of=on_behalf_of)
        [result], [output] = folded.results, folded.of(topics.RESULTS)
        if result.outcome != "accepted":
            raise RefusedError(result.detail, reason=result.reason, answer=Answer(result))
        payload: ReplyPayload = codec.decode(codec.current("ReplyPayload"), output.payload or b"")
        told = had["answer"](asked, jcs.parse_strict(payload.body.encode(), nodes_max=limits.EVENT_BYTES_MAX))
        return Answer(result, jcs.canonical(told).decode())
