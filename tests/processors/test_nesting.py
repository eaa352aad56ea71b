"""No text of others goes deeper than its bound: a RecursionError would end the worker, and it is no decision."""

from __future__ import annotations

import inspect
import json
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from processors.effects import Output
from processors.intake.identify import Received
from processors.step import step
from schemas import codec
from schemas.events.workflow import (
    ApplicationEventLogged,
    AttestationSet,
    ContextWritten,
    DelegationGranted,
    StateQueried,
)
from schemas.records import AuditEntry, Body, InvocationRequested, PolicyPublished, Prompt
from tests.builders import invocation
from tests.workflow_world import CHECK, Workflow


def nested(kind: str, depth: int) -> str:
    """Return a JSON text with so many containers inside each other."""
    return {
        "arrays": "[" * depth + "]" * depth,
        "objects": '{"k":' * depth + "1" + "}" * depth,
        "both": '{"k":[' * (depth // 2) + "]}" * (depth // 2),
        "open": '{"k":[' * depth,
        "hidden": '{"\\"":"\\\\","k":' + "[" * depth + "]" * depth + "}",
    }[kind]


def carriers(text: str, depth: int) -> Iterator[tuple[str, str, Body]]:
    """Yield (name, who says it, body) of every place where a text of others is read."""
    yield "parameters", "bot", invocation(CHECK, text)
    yield "parameter", "bot", invocation(CHECK, '{"a":' + text + "}")
    yield "intent", "bot", invocation(CHECK, {}, intents=(text,))
    yield "prompt", "bot", invocation(CHECK, {"a": 1}, prompts=(Prompt(path="a", parent=None, policy=text),))
    yield "vault", "bot", ContextWritten(scope="session", key="k", value=text, ttl_ms=None, expected=None)
    yield "question", "bot", StateQueried(what="attestations", argument=text)
    scope = DelegationGranted(delegate="carl", parent=None, scope=text, expires_at=0, purpose="")
    yield "scope", "bot", scope
    texts = dict.fromkeys(("event_type", "source", "action", "target", "category"), "x")
    yield "metadata", "bot", ApplicationEventLogged(**texts, outcome="success", signed=False, metadata=text)
    yield "attestation", "desk", AttestationSet(session=bytes(32), key="k", value=text, one_time=False)
    yield "policy", "admin", PolicyPublished(documents=(text,), previous=(None,))
    brackets = "(" * depth + "a" + ")" * depth
    for condition in (brackets, "NOT " * depth + "a", "a IN " + "[" * depth + "1" + "]" * depth, "a" + "[0]" * depth):
        document = json.dumps({"policy_id": "role:x", "attestations": [f"k::{{{condition}}}"]})
        yield "condition", "admin", PolicyPublished(documents=(document,), previous=(None,))
        yield "own condition", "bot", invocation(CHECK, {}, intents=(document,))
    pattern = "(" * depth + "a" + ")" * depth
    document = json.dumps({"policy_id": "role:x", "constraints": {"parameters": {"**": {"a": {"pattern": pattern}}}}})
    yield "expression", "admin", PolicyPublished(documents=(document,), previous=(None,))


@contextmanager
def little_room(frames: int) -> Iterator[None]:
    """Let the interpreter's stack end so many frames ahead."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + frames)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


@pytest.mark.parametrize("kind", ["arrays", "objects", "both", "open", "hidden"])
def test_no_nesting_uses_up_the_stack(kind: str) -> None:
    """A RecursionError would end the worker: every text is refused by its depth before anything goes down into it."""
    world = Workflow.opened("deep")
    actors = {"bot": world.bot, "desk": world.desk, "admin": world.admin}
    for depth in (1, 16, 17, 32, 33, 34, 128, 129, 1000, 20_000):
        for name, by, body in carriers(nested(kind, depth), depth):
            value, headers = world.signed(body, actors[by])
            received = world.receive(value, headers)
            with little_room(450):
                outputs: list[Output] = step(world.tables, received, world.heads)
            entry: AuditEntry = codec.decode_as(AuditEntry, outputs[-1].value or b"")
            assert entry.fault is None, (name, depth)
            world.offset += 1


def test_what_is_no_record_at_all_is_an_entry() -> None:
    """A tombstone, bytes of any kind, headers twice or none: the step returns."""
    world = Workflow.opened("nothing")
    dice = random.Random("nothing")
    value, headers = world.signed(InvocationRequested(resource="", parameters="", intents=(), prompts=()), world.bot)
    mangle: list[Callable[[], tuple[bytes | None, Any]]] = [
        lambda: (None, []),
        lambda: (b"", headers),
        lambda: (dice.randbytes(dice.randrange(80)), headers),
        lambda: (value, headers * 2),
        lambda: (value, [(name, None) for name, _ in headers]),
        lambda: (value, [(name, dice.randbytes(dice.choice([0, 31, 32, 71, 72, 104]))) for name, _ in headers]),
        lambda: (value[: dice.randrange(len(value))], headers),
    ]
    for _ in range(200):
        given, with_headers = dice.choice(mangle)()
        outputs = step(world.tables, Received(0, world.offset, world.now, given, with_headers), world.heads)
        entry: AuditEntry = codec.decode_as(AuditEntry, outputs[-1].value or b"")
        assert (entry.outcome, entry.fault) == ("refused", None)
