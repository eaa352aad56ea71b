"""A verifier's class as the log and the host know it: its declaration, and its answers."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from macaw.protocol.mcp_types import Invocation
from macaw.security.verification.result import ToolResult, VerificationResult
from macaw.security.verification.verifier import Verifier
from producers.tools.asked_calls import AskedCall
from producers.tools.asked_results import AskedResult
from producers.tools.importing import module_in
from producers.tools.opinions import Asked, Judge, Opinion
from schemas.errors import MisuseError
from schemas.events.verdicts import StampDeclaration, VerifierDeclaration, VerifierFinding
from schemas.words import StampType, Surface, VerifierOutcome

CATALOGUE_TAG = b"macaw/verifier-catalogue/v1\n"
EVERYTHING = ("**",)


class VerifierClassError(MisuseError):
    """A module, or a class in it, cannot be served as a verifier."""


def verifier_in(spec: str) -> Verifier:
    """Return the verifier of a module or file, or the one that `:ATTRIBUTE` names. Its class takes no arguments.

    Raises:
        ToolDeclarationError: there is no such module or file.
        VerifierClassError: it holds no verifier, or several.
    """
    module, attribute = module_in(spec)
    found = [getattr(module, attribute, None)] if attribute else _verifiers_of(vars(module), module.__name__)
    made = [one() if inspect.isclass(one) and issubclass(one, Verifier) else one for one in found]
    if len(made) != 1 or not isinstance(made[0], Verifier):
        raise VerifierClassError(f"{spec[:120]!r} holds {len(made)} verifiers, want one: name it as MODULE:CLASS")
    return made[0]


def _verifiers_of(names: dict[str, Any], module: str) -> list[Any]:
    return [
        one
        for one in names.values()
        if inspect.isclass(one)
        and issubclass(one, Verifier)
        and one.__module__ == module
        and not inspect.isabstract(one)
    ]


def declaration_of(verifier: Verifier) -> VerifierDeclaration:
    """Return the declaration to register. Raises VerifierClassError for a stamp that has no type of the log."""
    return VerifierDeclaration(
        prefix=prefix_of(verifier),
        priority=verifier.priority,
        surfaces=tuple(verifier.surfaces),
        resources=tuple(verifier.scope.resource_patterns) or EVERYTHING,
        stamps=tuple(_declared(name, worst) for name, worst in sorted(verifier.stamps.items())),
        catalogue=sha256(CATALOGUE_TAG + f"{prefix_of(verifier)} {verifier.version}".encode()).digest(),
        max_age_ms=int(verifier.max_age_seconds * 1000),
        required=verifier.required and Surface.ARGUMENTS in verifier.surfaces,
    )


def prefix_of(verifier: Verifier) -> str:
    """Return the prefix of a verifier's stamps: its own, or its name in lower case."""
    return verifier.prefix or re.sub(r"[^a-z0-9_]", "_", verifier.name.lower())


def _declared(name: str, worst: Any) -> StampDeclaration:
    kinds = {bool: StampType.BOOLEAN, int: StampType.INTEGER, str: StampType.TEXT, list: StampType.TEXTS}
    if type(worst) not in kinds:
        raise VerifierClassError(f"the stamp {name!r} is {worst!r}: want true or false, an integer, a text, or texts")
    return StampDeclaration(name=name, type=str(kinds[type(worst)]), worst=json.dumps(worst))


def judge_of(verifier: Verifier) -> Judge:
    """Return the judge of a host: a call or result in, the answer of `verify` or `verify_result` out.

    A result that the class does not look at is not passed. A stamp that `verify` does not give has
    its worst value, and so have all of a call that it does not look at. One that it puts into the parameters under the
    name of a declared stamp counts too: the call itself does not change.
    """
    check: Callable[[Invocation, Any], bool] = verifier.should_verify
    worst = dict(verifier.stamps)

    def judge_result(asked: AskedResult) -> Opinion:
        context = {"session_id": asked.session_id.hex()}
        if not check(Invocation(tool_name=asked.resource), context):
            return Opinion(VerifierOutcome.ASK, worst)
        shown = ToolResult(asked.resource, asked.outcome, asked.value, asked.attestations)
        result = verifier.verify_result(shown, context)
        return Opinion(_outcome(result), {**worst, **result.stamps}, _findings(result))

    def judge(call: Asked) -> Opinion:
        if not isinstance(call, AskedCall):
            return judge_result(call)
        before = set(call.parameters)
        invocation = Invocation(tool_name=call.resource, params=call.parameters)
        context = {"principal_id": call.principal_id, "subjects": call.subjects, "session_id": call.session_id.hex()}
        if not check(invocation, context):
            return Opinion(VerifierOutcome.PASS, worst)
        result = verifier.verify(invocation, context)
        put = {name: value for name, value in invocation.params.items() if name in worst and name not in before}
        return Opinion(_outcome(result), {**worst, **put, **result.stamps}, _findings(result))

    return judge


def judge_in(spec: str) -> Judge:
    """Return the judge of the verifier in a module or file: `verifier_in`, then `judge_of`."""
    return judge_of(verifier_in(spec))


def _outcome(result: VerificationResult) -> VerifierOutcome:
    if result.success is not True:
        return VerifierOutcome.DENY
    return VerifierOutcome.ASK if result.asks_people else VerifierOutcome.PASS


def _findings(result: VerificationResult) -> tuple[VerifierFinding, ...]:
    return tuple(VerifierFinding(kind=k, path=p, start=start, end=end) for k, p, start, end in result.findings)
