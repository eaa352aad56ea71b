"""The case of `bench.policy` in two other engines: cedarpy, and Microsoft's Agent Governance Toolkit (AGT).

Both are optional (`pip install -c constraints.txt -e '.[bench]'`) and nothing else needs them. `DEVIATIONS` are calls
that our documents refuse. The more of them a peer lets pass, the less its policy is the same as ours.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any, NamedTuple

MISSING = "{name} is not installed, so it is not compared: pip install -c constraints.txt -e '.[bench]'"


class Request(NamedTuple):
    """One call. The peers do not look up time zones, so their caller gives the hour."""

    resource: str
    parameters: Mapping[str, Any]
    hour: int = 10


@dataclass(frozen=True)
class Peer:
    """Another engine with our case. `prepare` is the caller's work for each call, and is not timed."""

    name: str
    prepare: Callable[[Request], Any]
    allows: Callable[[Any], bool]


def installed(distribution: str) -> str | None:
    """Return the version of a distribution that is installed, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def peers(say: Callable[[str], object] = print) -> Iterator[Peer]:
    """Yield the installed peers; report each other one as not compared."""
    version = installed("cedarpy")
    if version:
        yield cedar(version)
    else:
        say(MISSING.format(name="cedarpy"))
    # The same evaluator comes in two distributions. The newer one requires an older cryptography than this project, so
    # it can only be measured in another environment.
    for distribution in ("agent-governance-toolkit-core", "agent-os-kernel"):
        version = installed(distribution)
        if version:
            yield agt(f"{distribution} {version}")
            return
    say(MISSING.format(name="AGT (agent-os-kernel)"))


# ---- calls that our documents refuse, each made by one change of a call that they allow

DEVIATIONS: Mapping[str, Mapping[str, Any]] = {
    "amount above its maximum": {"amount": 10_000_001},
    "amount below zero": {"amount": -1},
    "amount as text": {"amount": "5"},
    "currency that is not listed": {"currency": "CHF"},
    "currency absent, though required": {"currency": None},
    "urgent": {"urgent": True},
    "recipient that is not listed": {"to": "mallory"},
    "reference with another prefix": {"reference": "XX-1"},
    "invoice that begins with the pattern": {"invoice": "2041-0000001; drop"},
    "invoice with letters": {"invoice": "abcd-0000001"},
    "memo too long": {"memo": "x" * 201},
    "too many lines": {"lines": 41},
    "lines not whole": {"lines": 3.5},
    "six tags": {"tags": list("abcdef")},
    "due date as a number": {"due": 20410731},
}
"""Changes of parameters by name; None removes the parameter."""

ELSEWHERE: Mapping[str, dict[str, Any]] = {
    "tool that is denied": {"resource": "tool:bank/close_account"},
    "denied tool in other letters": {"resource": "tool:bank/ADMIN_reset"},
    "tool nobody grants": {"resource": "tool:mail/send"},
    "tool below the one granted": {"resource": "tool:bank/transfer/now"},
    "at night": {"hour": 3},
}
"""Changes of the rest of a request."""


def deviations(request: Request) -> Iterator[tuple[str, Request]]:
    """Yield the requests that our documents refuse, made from an allowed one."""
    for what, change in DEVIATIONS.items():
        changed = {name: value for name, value in (request.parameters | change).items() if value is not None}
        yield what, request._replace(parameters=changed)
    for what, place in ELSEWHERE.items():
        yield what, request._replace(**place)


# ---- Cedar

CEDAR = """
permit (principal in Role::"payer", action == Action::"call", resource)
when {
  (context.name like "tool:bank/*" || context.name like "tool:books/read*")
  && ["EUR", "USD", "GBP"].contains(context.currency)
  && context.cents >= 0 && context.cents <= 1000000000
  && context.invoice like "*-*"
  && context.urgent == false
  && context.due like "*"
};
forbid (principal, action, resource) when { context.name == "tool:bank/close_account" };
forbid (principal, action, resource)
when { context.name like "tool:bank/admin*" || context.name like "tool:payroll/*"
  || context.name like "tool:*/delete*" };
forbid (principal, action, resource)
unless { context has reference && (context.reference like "TX-*" || context.reference like "RF-*") };
forbid (principal, action, resource) unless { context.hour >= 9 && context.hour < 18 };
forbid (principal == User::"ann", action, resource)
unless { context has to && ["alice", "bob", "carol"].contains(context.to) };
forbid (principal, action, resource == Tool::"tool:bank/transfer")
unless { context has lines && context.lines <= 40 };
"""


def cedar(version: str) -> Peer:
    """Return Cedar as a peer; its policies and entities are parsed once."""
    import cedarpy

    policies = cedarpy.PolicySet.from_str(CEDAR)
    ann = {"uid": {"type": "User", "id": "ann"}, "attrs": {}, "parents": [{"type": "Role", "id": "payer"}]}
    entities = cedarpy.Entities.from_json_str(json.dumps([ann]))

    def prepare(request: Request) -> dict[str, Any]:
        values = dict(request.parameters)
        amount = values.pop("amount")
        # Cedar has whole numbers, and decimals at a higher cost; other values are given as text.
        cents = round(amount * 100) if isinstance(amount, int | float) else amount
        values = {name: str(value) if isinstance(value, float) else value for name, value in values.items()}
        return {
            "principal": {"type": "User", "id": "ann"},
            "action": {"type": "Action", "id": "call"},
            "resource": {"type": "Tool", "id": request.resource},
            "context": {**values, "cents": cents, "name": request.resource, "hour": request.hour},
        }

    def allows(request: dict[str, Any]) -> bool:
        return bool(cedarpy.is_authorized(request, policies, entities).allowed)

    return Peer(f"cedarpy {version}", prepare, allows)


# ---- AGT

AGT: Mapping[str, list[tuple[str, str, Any]]] = {
    "role:payer": [
        ("role", "not_in", ["payer"]),
        ("tool", "matches", "^tool:bank/close_account$"),
        ("currency", "not_in", ["EUR", "USD", "GBP"]),
        ("amount", "lt", 0),
        ("amount", "gt", 10_000_000),
        ("invoice", "matches", "^(?![0-9]{4}-[0-9]{7}$)"),
        ("urgent", "eq", True),
        ("memo", "matches", "^(?s:.){201}"),
    ],
    "company:acme": [
        ("tool", "matches", "^tool:bank/admin|^tool:payroll/|^tool:.*/delete"),
        ("reference", "matches", "^(?!TX-|RF-)"),
    ],
    "restrict:bu:treasury": [("hour", "lt", 9), ("hour", "gte", 18)],
    "user:ann@acme.example": [("to", "not_in", ["alice", "bob", "carol"])],
    "tool:bank/transfer": [("lines", "gt", 40)],
}
"""The denials by document. A rule has one condition, and the first rule that matches decides."""

AGT_GRANT = ("tool", "matches", "^tool:bank/[^/]*$|^tool:books/read[^/]*$")


def agt(name: str) -> Peer:
    """Return AGT's evaluator with five documents: the denials come before the one grant, and the default is to deny."""
    from agent_os.policies import PolicyEvaluator
    from agent_os.policies.schema import PolicyDocument

    logging.getLogger("agent_os").setLevel(logging.CRITICAL)  # a failed comparison is a refusal, not an error to log

    def rule(at: int, condition: tuple[str, str, Any], action: str, priority: int) -> dict[str, Any]:
        field, operator, value = condition
        condition_of = {"field": field, "operator": operator, "value": value}
        return {"name": f"{action}-{at}-{field}", "condition": condition_of, "action": action, "priority": priority}

    rules = {one: [rule(at, each, "deny", 100) for at, each in enumerate(held)] for one, held in AGT.items()}
    rules["role:payer"].append(rule(99, AGT_GRANT, "allow", 1))
    evaluator = PolicyEvaluator(
        [
            PolicyDocument.model_validate({"name": one, "rules": held, "defaults": {"action": "deny"}})
            for one, held in rules.items()
        ]
    )

    def prepare(request: Request) -> dict[str, Any]:
        return {**request.parameters, "tool": request.resource, "hour": request.hour, "role": "payer"}

    def allows(context: dict[str, Any]) -> bool:
        return bool(evaluator.evaluate(context).allowed)

    return Peer(name, prepare, allows)
