"""What `python -m bench.adapters` makes of its turns."""

from __future__ import annotations

from bench import adapters


def test_the_figure_is_what_the_adapter_adds_for_each_part() -> None:
    work = adapters.Pair(lambda: sum(range(20_000)), lambda: None)

    assert (
        adapters.measured(work, rounds=3, calls=3) > adapters.measured(work._replace(parts=10), rounds=3, calls=3) > 0
    )


def test_each_pair_does_the_same_with_the_adapter_and_without() -> None:
    found = dict(adapters.pairs(adapters.OpenGate()))

    assert {"governed.function", "model.tool_call", "openai.chat", "openai.chat.stream_item"} <= set(found)
    assert found["governed.function"].with_it() == found["governed.function"].without() == "paid 5.0 for order 7"
    (answer,) = found["model.tool_call"].with_it()
    assert answer.text == "paid 5.0 for order 7"
    for name in ("openai.chat", "openai.chat.stream_item"):
        assert found[name].with_it() == found[name].without()
