"""What a list shows is asked of the log once in a while for each caller, and a change is seen."""

from __future__ import annotations

import asyncio
from typing import Any

from macaw.gateway.known_names import KNOWN_SECONDS, KnownNames
from tests.gateway.open_log import caller_of

NAMES = ("tool:h/read", "tool:h/write")


class Log:
    """Answers as a policy would that allows some names, and counts the questions."""

    def __init__(self, *allowed: str) -> None:
        self.allowed, self.asked = set(allowed), []

    def callable(self, resources: Any) -> set[str]:
        self.asked.append(tuple(resources))
        return self.allowed & set(resources)


def calling(log: Log) -> Any:
    caller = caller_of("ann")
    caller.client.client.callable = log.callable
    return caller


def test_a_caller_that_may_not_do_all_is_remembered_too() -> None:
    async def play() -> None:
        log, names = Log("tool:h/read"), KnownNames()
        caller = calling(log)
        for _ in range(5):
            assert await names.callable(caller, NAMES) == {"tool:h/read"}
        assert log.asked == [NAMES]
        await names.callable(caller, [*NAMES, "mcp:h/resources/read"])
        assert log.asked == [NAMES, ("mcp:h/resources/read",)]

    asyncio.run(play())


def test_a_change_of_policies_or_a_freeze_is_seen_and_other_tools_at_once() -> None:
    async def play() -> None:
        now = [0.0]
        log, names = Log(*NAMES), KnownNames(lambda: now[0])
        caller = calling(log)
        assert await names.callable(caller, NAMES) == set(NAMES)
        log.allowed = {"tool:h/read"}
        now[0] += KNOWN_SECONDS
        assert await names.callable(caller, NAMES) == {"tool:h/read"}
        log.allowed = set()
        names.clear()
        assert await names.callable(caller, NAMES) == set()

    asyncio.run(play())


def test_two_sessions_of_one_principal_have_answers_of_their_own() -> None:
    """Their roles may differ: each came with a token of its own."""

    async def play() -> None:
        names = KnownNames()
        assert await names.callable(calling(Log("tool:h/read")), NAMES) == {"tool:h/read"}
        assert await names.callable(calling(Log()), NAMES) == set()

    asyncio.run(play())


def test_many_lists_of_one_caller_are_one_question() -> None:
    """Each question holds a thread that other users' calls want."""

    async def play() -> None:
        log, names = Log(*NAMES), KnownNames()
        caller = calling(log)
        found = await asyncio.gather(*(names.callable(caller, NAMES) for _ in range(50)))
        assert set(found) == {frozenset(NAMES)}
        assert log.asked == [NAMES]

    asyncio.run(play())
