"""What an adapter takes of the CPU for a call, beside the gate and the log: `python -m bench.adapters`.

The gate in here allows each call at once, so the figures are the adapters' own: reading, judging, wrapping, reporting.
Each call goes with and without the adapter by turns, in CPU time of the process; the figure is the difference of the
medians. Models are answered by a transport in memory, through the real SDK. A framework that is not here has no row.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from macaw.adapters.governed import Governing
from macaw.adapters.model_answers import ToolCall
from macaw.adapters.model_tools import GovernedTools
from macaw.adapters.tickets import HeldCall, Ticket

OUT = Path(__file__).parent / "out" / "adapters.json"
GOAL_MICROSECONDS = 200.0
ROUNDS, CALLS = 15, 40
STREAMED = 100  # items of a stream
WORDS = "Please look at the orders of this customer and say which of them can be paid back. " * 12  # 1 KiB


class OpenGate:
    """A gate that allows every call at once."""

    def offer(self, *_: Any, **__: Any) -> None:
        """Do nothing."""

    def run(self, _: str, __: Any, function: Callable[[], Any], **___: Any) -> Any:
        return function()

    @contextmanager
    def held(self, **_: Any) -> Iterator[HeldCall]:
        yield HeldCall(Ticket())


class Pair(NamedTuple):
    """The same work with the adapter and without it. `parts` of it are one figure's unit."""

    with_it: Callable[[], Any]
    without: Callable[[], Any]
    parts: int = 1


def refund(order: int, amount: float = 5.0) -> str:
    """Pay back an order."""
    return f"paid {amount} for order {order}"


def pairs(gate: Any) -> Iterator[tuple[str, Pair]]:
    governed = Governing(gate, app="shop")(refund)
    yield "governed.function", Pair(lambda: governed(7), lambda: refund(7))
    tools, call = GovernedTools(gate, [refund], app="shop"), ToolCall("a", "refund", '{"order": 7}')
    yield "model.tool_call", Pair(lambda: tools.answer([call]), lambda: refund(7))
    if find_spec("openai"):
        yield from _openai(gate)
    if find_spec("anthropic"):
        yield from _anthropic(gate)
    if find_spec("langchain"):
        yield "langchain.tool_call", _langchain(gate)


def _answering(body: bytes, kind: str) -> Any:
    import httpx2

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": kind}, content=body)

    return httpx2.Client(transport=httpx2.MockTransport(answer))


def _openai(gate: Any) -> Iterator[tuple[str, Pair]]:
    from openai import OpenAI

    from macaw.adapters.openai import governed_openai

    asking: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": WORDS}]}
    about = {"id": "c", "created": 1, "model": "m"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    choice = {"index": 0, "message": {"role": "assistant", "content": WORDS}, "finish_reason": "stop"}
    body = json.dumps({**about, "object": "chat.completion", "choices": [choice], "usage": usage}).encode()
    plain = OpenAI(api_key="none", base_url="http://model", http_client=_answering(body, "application/json"))
    client = governed_openai(gate, plain, app="shop")
    yield "openai.chat", Pair(*(lambda one=one: one.chat.completions.create(**asking) for one in (client, plain)))  # type: ignore[misc]

    deltas = [{"index": 0, "delta": {"content": word}, "finish_reason": None} for word in WORDS.split()[:STREAMED]]
    chunks = [{**about, "object": "chat.completion.chunk", "choices": [one]} for one in deltas]
    chunks.append({**chunks[0], "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    stream = "".join(f"data: {json.dumps(one)}\n\n" for one in chunks) + "data: [DONE]\n\n"
    streaming = _answering(stream.encode(), "text/event-stream")
    plain_too = OpenAI(api_key="none", base_url="http://model", http_client=streaming)
    other = governed_openai(gate, plain_too, app="shop")
    yield (
        "openai.chat.stream_item",
        Pair(
            *(lambda one=one: list(one.chat.completions.create(**asking, stream=True)) for one in (other, plain_too)),  # type: ignore[misc]
            parts=STREAMED,
        ),
    )


def _anthropic(gate: Any) -> Iterator[tuple[str, Pair]]:
    from anthropic import Anthropic

    from macaw.adapters.anthropic import governed_anthropic

    asking: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": WORDS}]}
    about = {"id": "m", "type": "message", "role": "assistant", "model": "m", "stop_sequence": None}
    usage = {"input_tokens": 1, "output_tokens": 1}
    content = [{"type": "text", "text": WORDS}]
    body = json.dumps({**about, "content": content, "stop_reason": "end_turn", "usage": usage}).encode()
    plain = Anthropic(api_key="none", base_url="http://model", http_client=_answering(body, "application/json"))
    client = governed_anthropic(gate, plain, app="shop")
    yield "anthropic.messages", Pair(*(lambda one=one: one.messages.create(**asking) for one in (client, plain)))  # type: ignore[misc]


def _langchain(gate: Any) -> Pair:
    from types import SimpleNamespace

    from langchain_core.messages import ToolMessage

    from macaw.adapters.langchain import governed_tools

    class Request(SimpleNamespace):
        def override(self, **members: Any) -> Request:
            return Request(**{**vars(self), **members})

    def handle(request: Any) -> Any:
        return ToolMessage(content=refund(**request.tool_call["args"]), tool_call_id=request.tool_call["id"])

    middleware = governed_tools(gate, app="shop")
    request = Request(tool_call={"name": "refund", "args": {"order": 7}, "id": "a"})
    return Pair(lambda: middleware.wrap_tool_call(request, handle), lambda: handle(request))


def measured(pair: Pair, *, rounds: int = ROUNDS, calls: int = CALLS) -> float:
    """Return the CPU time that the adapter adds to a call, in microseconds."""
    taken: tuple[list[float], list[float]] = ([], [])
    both = (pair.with_it, pair.without)
    for one in both:
        one()
    for _ in range(rounds):
        for kept, one in zip(taken, both, strict=True):
            began = time.process_time_ns()
            for _ in range(calls):
                one()
            kept.append((time.process_time_ns() - began) / calls / pair.parts / 1000)
    with_it, without = map(statistics.median, taken)
    return with_it - without


def shown(figures: Mapping[str, float]) -> Table:
    table = Table("adapter", "adds, µs of CPU", "goal")
    for name, value in figures.items():
        table.add_row(name, f"{value:.0f}", "met" if value <= GOAL_MICROSECONDS else f"missed: {GOAL_MICROSECONDS:.0f}")
    return table


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args(words)
    figures = {name: measured(pair, rounds=given.rounds) for name, pair in pairs(OpenGate())}
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=1) + "\n")
    Console().print(shown(figures))
    return int(max(figures.values()) > GOAL_MICROSECONDS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
