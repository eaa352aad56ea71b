"""The console's questions over a large store: `python -m bench.console [--calls 1000000]`.

A store is filled with made-up decisions and outcomes of thirty days, and each question of a page is asked several
times. Wanted: the overview and a filter over 10^6 calls within a second each.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from producers.home.clock import clock_ms
from schemas.records import Decision, Result
from schemas.words import Outcome
from streams.console.questions import CallsAsked, Questions
from streams.console.store import KEPT_MS, CallStore

BATCH = 1000
TIMES = 5
REASONS = ("NO_POLICY", "PARAM_NOT_ALLOWED", "RATE_EXCEEDED", "RESOURCE_NOT_ALLOWED")


def records_of(calls: int, now: int) -> Iterator[Decision | Result]:
    """Yield a decision and, if it allows, an outcome for each call, evenly over thirty days."""
    chance = random.Random(1)
    index = 0
    for number in range(calls):
        is_denied = chance.random() < 0.1
        at = now - KEPT_MS + 60_000 + number * (KEPT_MS - 60_000) // calls
        index += 1
        decision = Decision(
            origin="bench/acme", audit_index=index, event=number.to_bytes(32), event_id=number.to_bytes(16),
            session_id=chance.randrange(500).to_bytes(32), principal_id=f"agent-{chance.randrange(200)}",
            resource=f"tool:app/{chance.randrange(100)}", outcome=Outcome.DENIED if is_denied else Outcome.ALLOWED,
            reason=chance.choice(REASONS) if is_denied else "", detail=f"/constraints/{number}" if is_denied else "",
            decided_at=at, policies=(bytes(32),), changed=(),
        )  # fmt: skip
        yield decision
        if not is_denied:
            index += 1
            yield Result(
                origin="bench/acme", audit_index=index, to=bytes(32), event=decision.event,
                event_id=decision.event_id, outcome=Outcome.OK, reason="", detail="", at=at + 7,
            )  # fmt: skip


def fill(store: CallStore, calls: int, now: int) -> float:
    """Fill the store, and return the seconds that it took."""
    begin, batch = time.monotonic(), list[Decision | Result]()
    for record in records_of(calls, now):
        batch.append(record)
        if len(batch) == BATCH:
            store.put(batch, {})
            batch = []
    store.put(batch, {})
    return time.monotonic() - begin


def best(ask: Callable[[], object]) -> tuple[float, float]:
    """Return the median and the longest time of a question, in ms."""
    times = []
    for _ in range(TIMES):
        begin = time.monotonic()
        ask()
        times.append(1000 * (time.monotonic() - begin))
    return sorted(times)[TIMES // 2], max(times)


def main() -> None:
    """Print the times of each question."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000)
    calls = parser.parse_args().calls
    now = clock_ms()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "calls.sqlite"
        store = CallStore(path, bytes(32))
        seconds = fill(store, calls, now)
        size = path.stat().st_size / 1e6
        print(f"{calls:,} calls stored in {seconds:.1f} s, {calls / seconds:,.0f} a second, {size:.0f} MB")
        questions = Questions(path)
        asked = {
            "overview, 1 hour": lambda: questions.overview(now - 3_600_000, now),
            "overview, 30 days": lambda: questions.overview(now - KEPT_MS, now),
            "calls, newest": lambda: questions.calls(CallsAsked(filters={})),
            "calls, by outcome": lambda: questions.calls(CallsAsked(filters={"outcome": Outcome.DENIED})),
            "calls, by principal and reason": lambda: questions.calls(
                CallsAsked(filters={"principal": "agent-7", "reason": REASONS[0]})
            ),
            "calls, text that fits nothing": lambda: questions.calls(CallsAsked(filters={}, text="nowhere")),
        }
        for name, ask in asked.items():
            print("{:32} median {:7.1f} ms, longest {:7.1f} ms".format(name, *best(ask)))
        store.close()


if __name__ == "__main__":
    main()
