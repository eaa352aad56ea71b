"""Conditions on the resource's name that only another spelling of it would meet (ADR 0016)."""

from collections.abc import Callable

from processors.policy import limits
from processors.policy.evaluation import Evaluation, spend
from processors.policy.expressions import Operand, Path
from processors.text.characters import utf8_size

Condition = Callable[[Evaluation], bool | None]


def spelt_otherwise(condition: Condition, operand: Operand, meets: Callable[[str], bool], units: int = 1) -> Condition:
    """Return a condition on a part of the resource's name; unknown if only another spelling would meet it.

    Otherwise `deny::{tool.id == 'tool:bank/wire'}` would let `tool:bank/WIRE` pass (ADR 0016). Unknown protects under
    NOT too. `units` is the cost of a byte.
    """
    part = _PARTS.get(str(operand.steps[0])) if isinstance(operand, Path) and is_of_name(operand) else None
    if part is None:
        return condition

    def named(call: Evaluation) -> bool | None:
        found = condition(call)
        if found is not False:
            return found
        tenant = call.name.tenant
        spellings = [one for one in call.name.spellings if one.startswith(tenant)]
        spend(call.work, sum(limits.REGEX_UNITS + units * utf8_size(one) for one in spellings))
        return None if any(meets(part(one, tenant)) for one in spellings) else False

    return named


def is_of_name(path: Path) -> bool:
    """Return whether a path of a condition is a part of the resource's name."""
    return path.root == "tool" and str(path.steps[0]) in _PARTS


_PARTS: dict[str, Callable[[str, str], str]] = {
    "id": lambda name, _tenant: name,
    "app": lambda name, tenant: _rest(name, tenant).partition("/")[0] if "/" in _rest(name, tenant) else "",
    "op": lambda name, tenant: _rest(name, tenant).rpartition("/")[2],
}


def _rest(name: str, tenant: str) -> str:
    return name[len(tenant) :].partition(":")[2]
