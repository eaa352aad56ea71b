"""Which texts of a call leave it: secrets always, the largest others until the rest fits."""

from __future__ import annotations

import pytest

from producers.client.beside import BodyPathError, moved_out
from producers.tools import collect_tools, tool
from producers.tools.registration import declared_by
from schemas import limits


def test_the_largest_texts_leave_first() -> None:
    """Until the rest fits, and no text that the tool does not take."""
    (declared,) = declared_by("app", collect_tools(Taking()))
    parameters = {"a": "a" * 3000, "b": "b" * 5000, "c": "c" * 9000, "d": "d"}
    moved = moved_out(parameters, declared, room=14_000)
    assert {one.content[:1] for one in moved.bodies} == {b"b"}
    assert moved.parameters["a"] == parameters["a"]
    assert moved.parameters["c"] == parameters["c"]
    assert "bbb" not in repr(moved)
    assert not moved_out(parameters, declared, room=20_000).bodies
    assert not moved_out(parameters, None).bodies


class Taking:
    @tool(bodies=("a", "b"), secrets=("s",))
    def put(self, a: str, b: str, c: str, d: str, s: str = "") -> None:
        """Take texts."""


def test_a_secret_leaves_however_small() -> None:
    """By the tool's declaration, or the caller's word; the rest stays as it is."""
    (declared,) = declared_by("app", collect_tools(Taking()))
    parameters = {"a": "a", "b": "b", "c": "c", "d": "d", "s": "hush"}
    assert [one.content for one in moved_out(parameters, declared).bodies] == [b"hush"]
    moved = moved_out(parameters, declared, secrets=["a"])
    assert {one.content for one in moved.bodies} == {b"hush", b"a"}
    assert b"hush" not in moved.canonical
    for path in ("c", "none", "*", "a.b"):
        with pytest.raises(BodyPathError):
            moved_out(parameters, declared, secrets=[path])


def test_a_call_has_no_more_bodies_than_the_log_takes() -> None:
    """Texts beyond the bound stay, and the log may refuse the call."""

    class Every:
        @tool(bodies=("*",))
        def put(self, texts: list[str]) -> None:
            """Take texts."""

    (declared,) = declared_by("app", collect_tools(Every()))
    moved = moved_out({"texts": ["x" * 9_000] * 40}, declared, room=1_000)
    assert len(moved.bodies) == limits.BODIES_PER_CALL_MAX
