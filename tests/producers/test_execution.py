"""Functions that do what they like: each call has the end that its host knows, as soon as it is known."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from producers.tools import collect_tools, tool
from producers.tools.admission import AdmittedCall
from producers.tools.attesting import CallAttestations, Terms
from producers.tools.crew import Crew
from producers.tools.execution import FORKED_STATUS, Ended, Execution
from producers.tools.result_text import UNWRITTEN
from schemas import codec, limits, topics
from schemas.records import Decision
from tests.world import Office

LATER_MS = 2**52
RELEASE = threading.Event()


class HangingError(Exception):
    def __str__(self) -> str:
        RELEASE.wait(20)
        return "late"


class HangingRow(dict[str, int]):
    def items(self) -> Any:
        RELEASE.wait(20)
        return super().items()


def raising(error: BaseException) -> Callable[[], object]:
    def function() -> object:
        raise error

    return function


async def cancelled() -> None:
    raise asyncio.CancelledError


async def quitting() -> None:
    sys.exit(3)


async def leaving_a_thread() -> str:
    """Return, while a thread of the loop goes on: `asyncio.run` waits for it."""
    asyncio.get_running_loop().run_in_executor(None, RELEASE.wait, 20)
    await asyncio.sleep(0)
    return "done"


@pytest.fixture(scope="module")
def decision() -> Decision:
    [output] = Office.opened("execution").call().of(topics.DECISIONS)
    found = codec.decode_as(Decision, output.value or b"")
    return Decision(
        **{name: getattr(found, name) for name in found.__dataclass_fields__} | {"execute_before": LATER_MS}
    )


@pytest.fixture
def crew() -> Iterator[Crew]:
    RELEASE.clear()
    made = Crew("tool", 1)
    yield made
    RELEASE.set()
    made.stop()
    made.join()


@pytest.fixture
def end_of(decision: Decision, crew: Crew) -> Callable[..., Ended]:
    def end_of(function: Callable[..., object], *, seconds: float = 10, said: CallAttestations | None = None) -> Ended:
        def runs() -> object:
            return function()

        [found] = collect_tools(tool(timeout_seconds=seconds)(runs))
        call = AdmittedCall(decision, b"leaf", {}, "bot")
        return Execution(found, call, said or CallAttestations(())).end(crew)

    return end_of


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (raising(SystemExit(3)), "SystemExit: 3"),
        (raising(KeyboardInterrupt()), "KeyboardInterrupt: "),
        (raising(GeneratorExit()), "GeneratorExit: "),
        (raising(StopIteration(7)), "StopIteration: 7"),
        (raising(MemoryError()), "MemoryError: "),
        (raising(asyncio.CancelledError()), "CancelledError: "),
        (raising(RecursionError("deep")), "RecursionError: deep"),
        (sys.exit, "SystemExit: "),
        (cancelled, "CancelledError: "),
        (quitting, "SystemExit: 3"),
    ],
)
def test_whatever_a_function_raises_is_its_failure(
    end_of: Callable[..., Ended], function: Callable[[], object], error: str
) -> None:
    """At once, with its type; the host goes on."""
    ended = end_of(function)

    assert (ended.outcome, json.loads(ended.body)) == ("failed", {"error": error})
    assert end_of(lambda: 1) == Ended("ok", "1")


def test_an_error_whose_text_hangs_is_a_failure_still(end_of: Callable[..., Ended]) -> None:
    """Its type is known."""
    ended = end_of(raising(HangingError()), seconds=0.3)

    assert (ended.outcome, json.loads(ended.body)) == ("failed", {"error": "HangingError"})


def test_a_result_that_hangs_when_it_is_written_has_ended_well(end_of: Callable[..., Ended]) -> None:
    """The effect is there: nobody is told otherwise, and what was attested stands."""
    said = CallAttestations((), {"seen": Terms().attestation("seen")})
    ended = end_of(HangingRow, seconds=0.3, said=said)

    assert ended.outcome == "ok"
    assert json.loads(ended.body)["why"] == "writing it did not end in time"
    assert [one.key for one in ended.attestations] == ["seen"]
    assert "HangingRow" in ended.unwritten


def test_a_function_that_hangs_is_unknown(end_of: Callable[..., Ended]) -> None:
    """Its effect may still come."""
    assert end_of(lambda: RELEASE.wait(20), seconds=0.2).outcome == "unknown"


def test_a_coroutine_has_ended_when_it_returns(end_of: Callable[..., Ended]) -> None:
    """Not when the loop around it has: that may wait for threads."""
    began = time.monotonic()

    assert end_of(leaving_a_thread) == Ended("ok", '"done"')
    assert time.monotonic() - began < 5


def test_a_coroutine_that_a_plain_function_returns_is_run(end_of: Callable[..., Ended]) -> None:
    """As of a decorator that is not async itself; unstarted it would have had no effect."""
    assert end_of(lambda: leaving_a_thread()) == Ended("ok", '"done"')  # noqa: PLW0108 - it is no coroutine function


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_copy_of_the_process_that_comes_back_ends(end_of: Callable[..., Ended]) -> None:
    """It has no threads to serve with, and would report with the host's key."""
    ended = end_of(os.fork)
    child = json.loads(ended.body)

    assert ended.outcome == "ok"
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == FORKED_STATUS


def test_a_large_result_keeps_what_is_attested(end_of: Callable[..., Ended]) -> None:
    """It travels beside the report, up to the size of a body; above that its place is named."""
    keys = [f"key{n}" for n in range(16)]
    terms = Terms(value="x" * 4000)
    said = CallAttestations((), {key: terms.attestation(key) for key in keys})

    fits = end_of(lambda: "y" * (limits.BODY_BYTES_MAX - 2), said=said)
    is_too_large = end_of(lambda: "y" * limits.BODY_BYTES_MAX, said=said)

    assert (fits.outcome, fits.unwritten, len(fits.attestations)) == ("ok", "", 16)
    assert (is_too_large.outcome, json.loads(is_too_large.body)[UNWRITTEN]) == ("ok", "str")
    assert len(is_too_large.attestations) == 16


def test_what_goes_wrong_before_the_function_is_called_is_a_call_that_did_not_run(
    decision: Decision, crew: Crew
) -> None:
    """Wherever it was: it is known."""

    def plain(it: object) -> None: ...

    [found] = collect_tools(tool(plain))
    ended = Execution(replace(found, readers={}), AdmittedCall(decision, b"leaf", {"it": 1}, "bot")).end(crew)

    assert (ended.outcome, json.loads(ended.body)) == ("failed", {"error": "NOT_RUN: KeyError: 'it'"})
