"""An argument that changes while people are asked about the call: what runs is what was decided, or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from macaw.adapters.governed import Governing
from macaw.adapters.refusals import PermissionDeniedError


class _SlowGate:
    """A gate that allows every call, after `meanwhile`."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self._meanwhile = meanwhile

    def run(self, _: str, __: Any, function: Callable[[], Any], **___: Any) -> Any:
        self._meanwhile()
        return function()

    async def run_async(self, _: str, __: Any, function: Callable[[], Awaitable[Any]], **___: Any) -> Any:
        self._meanwhile()
        return await function()


@pytest.mark.parametrize("is_async", [False, True])
def test_a_function_does_not_run_with_arguments_that_nobody_decided(is_async: bool) -> None:
    paid: list[Any] = []
    order = {"to": ["ann"]}
    governed = Governing(_SlowGate(lambda: order["to"].append("eve")), app="shop")  # type: ignore[arg-type]

    @governed
    def pay(order: dict[str, Any]) -> None:
        paid.append(order)

    @governed(name="pay")
    async def pay_later(order: dict[str, Any]) -> None:
        paid.append(order)

    with pytest.raises(PermissionDeniedError, match="an argument was changed"):
        asyncio.run(pay_later(order)) if is_async else pay(order)  # type: ignore[func-returns-value,arg-type]
    assert paid == []
    quiet = Governing(_SlowGate(lambda: None), app="shop")  # type: ignore[arg-type]
    quiet(pay.__wrapped__)(order)  # type: ignore[attr-defined]
    assert paid == [order]
