"""A model and its tools until the model is finished: ask, run its tool calls, tell it the results, ask again; bounded.

    finished = CHAT.run(client, tools, model="gpt-5", messages=[{"role": "user", "content": "refund order 7"}])

`client` is a governed one, so each question is a governed call, and `tools` let each tool call be one. A denial is told
to the model in the place of the tool's result. Programs with a loop of their own take `offered`, `answers` and
`answers_async`.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple

from macaw.adapters.model_answers import JSONObject, ModelAnswer, read_answer
from macaw.adapters.model_requests import ModelEndpoint
from macaw.adapters.model_streams import Assembly
from macaw.adapters.model_tools import GovernedTools, ModelTool, ToolAnswer
from macaw.adapters.model_transport import check_governed
from macaw.adapters.refusals import RoundsExceededError, UngovernableRequestError

OnEvent = Callable[[Any], object]


class Finished(NamedTuple):
    """A run that has come to its end: the last words of the model, its whole last answer, and all that was said.

    `ended` is the provider's word for the end: `stop`, or `length` where the answer was cut off.
    """

    text: str
    ended: str
    answer: JSONObject
    messages: list[JSONObject]
    rounds: int


class Rounds(ABC):
    """Runs over one endpoint of one SDK."""

    endpoint: ModelEndpoint
    history: str  # the member of a request with all that was said

    # --- one endpoint

    @abstractmethod
    def create(self, client: Any) -> Callable[..., Any]:
        """Return the function of the SDK that asks the model."""

    @abstractmethod
    def described(self, tool: ModelTool) -> JSONObject:
        """Return a tool as the endpoint takes it."""

    @abstractmethod
    def said(self, whole: JSONObject) -> list[JSONObject]:
        """Return the model's answer as it is said back to it."""

    @abstractmethod
    def told(self, answers: Sequence[ToolAnswer]) -> list[JSONObject]:
        """Return the results of tools as the model is told them."""

    # --- a loop of the program's own

    def offered(self, tools: GovernedTools) -> list[JSONObject]:
        """Return the tools for `tools=` of a request."""
        return [self.described(one) for one in tools.offered]

    def answers(self, tools: GovernedTools, answer: Any) -> list[JSONObject]:
        """Run the tool calls of an answer of the SDK, and return the messages with their results, if any.

        Raises:
            UngovernableRequestError: it has several choices, or is no answer.
        """
        read = self.read(_plain(answer))
        return self.told(tools.answer(read.calls, is_whole=read.is_whole)) if read.calls else []

    async def answers_async(self, tools: GovernedTools, answer: Any) -> list[JSONObject]:
        """Return as `answers`."""
        read = self.read(_plain(answer))
        return self.told(await tools.answer_async(read.calls, is_whole=read.is_whole)) if read.calls else []

    def read(self, whole: JSONObject) -> ModelAnswer:
        """Return an answer that one history can go on with. Raises UngovernableRequestError."""
        choices = whole.get("choices")
        if isinstance(choices, list) and len(choices) > 1:
            raise UngovernableRequestError("the answer has several choices, and no call of it was run: leave out n")
        return read_answer(self.endpoint.form, whole)

    # --- our loop

    def run(self, client: Any, tools: GovernedTools, *, on_event: OnEvent | None = None, **request: Any) -> Finished:
        """Ask until the model asks for no tool any more.

        `request` has the arguments of the SDK, without `tools` and `stream`.
        With `on_event` answers are streamed, and it gets each event of the SDK as it comes.

        Raises:
            PermissionDeniedError, ResultUnconfirmedError: the log did not allow a question, or withholds its answer.
            RoundsExceededError: the bounds of `tools` are used up.
            UngovernableRequestError: the client is not governed, or the request cannot be decided or played in rounds.
        """
        check_governed(client)
        run = _Run(self, tools, request)
        create = self.create(client)
        while True:
            run.begin_round()
            if on_event is None:
                whole = _plain(create(**run.request))
            else:
                assembly = Assembly(self.endpoint.form)
                with closing(create(**run.request, stream=True)) as stream:
                    for event in stream:
                        on_event(event)
                        assembly.feed(_plain(event))
                whole = assembly.whole
            answer = run.take(whole)
            if not answer.calls:
                return run.finished(answer, whole)
            run.tell(tools.answer(answer.calls, is_whole=answer.is_whole))

    async def run_async(
        self, client: Any, tools: GovernedTools, *, on_event: OnEvent | None = None, **request: Any
    ) -> Finished:
        """Run as `run`, with an async client. `on_event` is called in the event loop."""
        check_governed(client)
        run = _Run(self, tools, request)
        create = self.create(client)
        while True:
            run.begin_round()
            if on_event is None:
                whole = _plain(await create(**run.request))
            else:
                assembly = Assembly(self.endpoint.form)
                stream = await create(**run.request, stream=True)
                async with stream:
                    async for event in stream:
                        on_event(event)
                        assembly.feed(_plain(event))
                whole = assembly.whole
            answer = run.take(whole)
            if not answer.calls:
                return run.finished(answer, whole)
            run.tell(await tools.answer_async(answer.calls, is_whole=answer.is_whole))


class _Run:
    """One run under way."""

    def __init__(self, rounds: Rounds, tools: GovernedTools, request: Mapping[str, Any]) -> None:
        if "stream" in request:
            raise UngovernableRequestError("a run streams if it has on_event: leave out stream")
        if request.get("n") not in (None, 1):
            raise UngovernableRequestError("a run follows one answer: leave out n")
        self._rounds, self._bounds, self._count = rounds, tools.bounds, 0
        self._until = time.monotonic() + tools.bounds.seconds
        said = request.get(rounds.history) or []
        self._messages = [{"role": "user", "content": said}] if isinstance(said, str) else [dict(one) for one in said]
        self._given = {**request, **({"tools": rounds.offered(tools)} if tools.offered else {})}

    @property
    def request(self) -> dict[str, Any]:
        """The next question."""
        return {**self._given, self._rounds.history: list(self._messages)}

    def begin_round(self) -> None:
        """Raise RoundsExceededError if there is no room for another question."""
        if self._count >= self._bounds.rounds:
            raise RoundsExceededError(f"the model has not come to an end in {self._bounds.rounds} rounds")
        if time.monotonic() > self._until:
            raise RoundsExceededError(f"the model has not come to an end in {self._bounds.seconds:g} s")
        self._count += 1

    def take(self, whole: JSONObject) -> ModelAnswer:
        """Take the model's answer. In the last round its tool calls would not be heard any more: they are not run."""
        answer = self._rounds.read(whole)
        self._messages += self._rounds.said(whole)
        if answer.calls:
            last = self._count >= self._bounds.rounds or time.monotonic() > self._until
            if last:
                raise RoundsExceededError(
                    f"the model has not come to an end in {self._count} rounds; its last {len(answer.calls)} tool calls"
                    " were not run"
                )
        return answer

    def tell(self, answers: Sequence[ToolAnswer]) -> None:
        """Add the results of tools to the history."""
        self._messages += self._rounds.told(answers)

    def finished(self, answer: ModelAnswer, whole: JSONObject) -> Finished:
        """Return the end of the run."""
        return Finished("\n".join(answer.texts), answer.ended, whole, self._messages, self._count)


def _plain(value: Any) -> JSONObject:
    """Return an object of an SDK as JSON, as the provider wrote it."""
    plain = value.to_dict(mode="json", warnings=False) if hasattr(value, "to_dict") else value
    if not isinstance(plain, dict):
        raise UngovernableRequestError(f"{type(value).__name__} is no answer of a model")
    return plain
