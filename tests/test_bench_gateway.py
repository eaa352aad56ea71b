"""What `python -m bench.gateway` makes of its turns and looks."""

from __future__ import annotations

import asyncio
import os

from bench import gateway


def test_the_ratio_is_of_one_round_and_a_figure_the_median_of_the_rounds() -> None:
    found = gateway.figures([(10.0, 15.0, 2.0), (20.0, 50.0, 4.0), (100.0, 120.0, 3.0)])

    assert found["gateway.call_p50_ms"] == 20.0
    assert found["gateway.through_p50_ms"] == 50.0
    assert found["gateway.server_p50_ms"] == 3.0
    assert found["gateway.added_ratio"] == 0.5


def test_growth_is_of_the_looks_after_the_first() -> None:
    assert gateway.growth([(100, 0), (200, 1000), (300, 1500), (400, 2000)]) == 5.0
    assert gateway.resident(os.getpid()) > 1_000_000


def test_a_caller_calls_again_until_the_time_is_over() -> None:
    took: list[float] = []

    asyncio.run(gateway.load(lambda: asyncio.sleep(0.01), 0.1, took))

    assert took
    assert all(one >= 5 for one in took)
