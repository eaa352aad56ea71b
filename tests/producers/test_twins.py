"""`AsyncClient` is the same for asyncio: every public name of the one, with the same parameters, on the other."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from producers.client import AsyncClient, Client
from producers.workflow import Workflow

WAITS_FOR_NOTHING = {"create_prompt", "export_heads", "import_heads", "left", "session_id"}


def public(cls: type) -> dict[str, Any]:
    return {name: inspect.getattr_static(cls, name) for name in dir(cls) if not name.startswith("_")}


def function_of(member: Any) -> Any:
    return member.__func__ if isinstance(member, classmethod) else member


def test_each_has_what_the_other_has() -> None:
    """`docs/tools.md` promises that both have the same names."""
    assert set(public(AsyncClient)) == set(public(Client))
    assert public(Workflow).keys() < public(Client).keys()


@pytest.mark.parametrize("name", sorted(public(Client)))
def test_both_take_the_same(name: str) -> None:
    """Parameters, their kinds and their defaults; a coroutine wherever there is something to wait for."""
    ours, theirs = public(Client)[name], public(AsyncClient)[name]
    assert type(ours) is type(theirs)
    if isinstance(ours, property):
        return
    ours, theirs = function_of(ours), function_of(theirs)
    assert list(inspect.signature(theirs).parameters.values()) == list(inspect.signature(ours).parameters.values())
    assert inspect.iscoroutinefunction(theirs) == (name not in WAITS_FOR_NOTHING)


def test_both_are_left_by_a_block() -> None:
    """`with` and `async with`."""
    assert hasattr(Client, "__enter__")
    assert hasattr(AsyncClient, "__aenter__")
