"""`@governed`: a plain function, sync or async. The log must allow each call before the body runs.

    agent = Agent.connect("acme", "shop")
    governed = Governing(Gate(agent), app="shop")

    @governed
    def refund(order: int, amount: float = 0.0) -> str: ...

The call `refund(7)` asks for `tool:shop/refund` with `{"amount": 0.0, "order": 7}`: every parameter by its name, with
the defaults of the signature. A caller of the function gets PermissionDeniedError in its place.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar, cast, overload

from macaw.adapters.gate import Gate, GatePatience
from macaw.adapters.refusals import PermissionDeniedError
from processors.proof import jcs
from schemas.errors import MisuseError

P = ParamSpec("P")
R = TypeVar("R")

RECEIVERS = frozenset({"self", "cls"})


class GovernedError(MisuseError):
    """A function cannot be governed as it is: its parameters would not stand on the log by their names."""


class Governing:
    """The decorator of one gate. `app` is the name between `tool:` and the function's own."""

    def __init__(self, gate: Gate, *, app: str, patience: GatePatience | None = None) -> None:
        self._gate, self._app, self._patience = gate, app, patience

    @overload
    def __call__(self, function: Callable[P, R]) -> Callable[P, R]: ...

    @overload
    def __call__(self, *, name: str) -> Callable[[Callable[P, R]], Callable[P, R]]: ...

    def __call__(self, function: Callable[P, R] | None = None, *, name: str | None = None) -> Any:
        """Govern a function, under its own name or another one.

        Raises:
            GovernedError: it is a generator, or takes `*args`, or a receiver such as `self`.
        """
        if function is None:
            return lambda one: self._govern(one, name)
        return self._govern(function, name)

    def _govern(self, function: Callable[P, R], name: str | None) -> Callable[P, R]:
        called = str(name or getattr(function, "__name__", ""))
        signature = _signature_of(function, called)
        resource = f"tool:{self._app}/{called}"
        gate, patience = self._gate, self._patience

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def governed_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                given = _parameters(signature, args, kwargs)
                decided = _text(given)

                async def run() -> Any:
                    _check_same(given, decided)
                    return await function(*args, **kwargs)

                return await gate.run_async(resource, given, run, patience=patience)

            return cast("Callable[P, R]", governed_async)

        @functools.wraps(function)
        def governed(*args: P.args, **kwargs: P.kwargs) -> R:
            given = _parameters(signature, args, kwargs)
            decided = _text(given)

            def run() -> R:
                _check_same(given, decided)
                return function(*args, **kwargs)

            return gate.run(resource, given, run, patience=patience)

        return governed


def _signature_of(function: Callable[..., Any], name: str) -> inspect.Signature:
    """Return the signature by which parameters get their names. Raises GovernedError."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise GovernedError(f"{name} is a generator: its items would come after the outcome; return a list instead")
    if not name.isidentifier():
        raise GovernedError(f"{name!r} is not a function with a name: give `name=`, letters, digits and _")
    signature = inspect.signature(function)
    first = next(iter(signature.parameters), None)
    if first in RECEIVERS:
        raise GovernedError(f"{name} takes `{first}`, which cannot stand on the log: govern a function that calls it")
    for one in signature.parameters.values():
        if one.kind in {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
            raise GovernedError(f"{name} takes `{one}`: each parameter needs a name, so that policies can ask for it")
    return signature


def _parameters(signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return every parameter by its name, defaults included. Raises TypeError, as the call itself would."""
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


def _text(given: Mapping[str, Any]) -> bytes:
    """Return parameters as text, an empty one where they have no JSON form: the gate refuses those."""
    try:
        return jcs.canonical(dict(given))
    except (ValueError, TypeError, RecursionError):
        return b""


def _check_same(given: Mapping[str, Any], decided: bytes) -> None:
    """Raise PermissionDeniedError if an argument was changed while the log decided: it has not allowed that call."""
    if _text(given) != decided:
        raise PermissionDeniedError("the function was not run: an argument was changed while the call was decided")


__all__ = ["GovernedError", "Governing", "PermissionDeniedError"]
