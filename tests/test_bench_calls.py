"""What `python -m bench.calls` makes of its turns, and how it reads a process's CPU time."""

import os
import time
from pathlib import Path

import pytest

from bench import calls
from bench.call_part import load


def turn(p50: float, count: int = 100, **spent: float) -> dict[str, float]:
    cpu = {"client": 1.0, "host": 2.0, "monitor": 3.0, "broker": 4.0, "others": 0.1} | spent
    return {"calls": count, "seconds": 2.0, "p50_ms": p50, "p99_ms": 2 * p50} | cpu


def test_a_ratio_is_of_one_round_and_a_figure_the_median_of_the_rounds() -> None:
    taken = {("now", at): [turn(at * slow, host=slow) for slow in (1.0, 5.0, 2.0)] for at in calls.AT}
    echoes = {at: [turn(at * slow / 4) for slow in (1.0, 5.0, 2.0)] for at in calls.AT}

    found = calls.figures("now", taken, echoes)
    assert [found[f"call.{at}.p50_ratio"] for at in calls.AT] == [4.0, 4.0, 4.0]
    assert found["call.8.p50_of_alone"] == 8.0
    assert found["call.64.per_s"] == 50.0
    assert found["call.cpu_us.host"] == 2.0
    assert calls.GOALS.keys() <= found.keys()


def test_the_callers_call_again_until_the_time_is_over() -> None:
    told = load(lambda: time.sleep(0.01), 4, 0.2)

    assert told["calls"] >= 20
    assert 10 <= told["p50_ms"] <= told["p99_ms"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_the_cpu_time_of_a_process_is_its_own() -> None:
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    assert abs(calls.cpu_seconds(os.getpid()) - time.process_time()) < 0.1
