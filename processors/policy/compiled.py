"""A policy made ready to be asked: placed in its layer, its parameter constraints turned into closures.

Must never live here: which policies apply, or what a refusal leads to.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from processors import jcs
from processors.jcs import JSONValue
from processors.policy import limits
from processors.policy.documents import ParameterConstraint, PolicyDocument
from processors.policy.resolve import Layer, placement
from processors.policy.text import nfc, nfc_value

Test = Callable[[Mapping[str, JSONValue]], str]

_NULL = b"null"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterCheck:
    """A constraint as a test: given parameters whose names are in NFC it returns a reason to deny, or "" to pass."""

    opkey: str
    pointer: str
    test: Test


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CompiledPolicy:
    """A policy in force. Compared by identity, which `compile_policy` keeps to one for each digest it remembers."""

    policy_id: str
    digest: bytes
    layer: Layer
    grants: bool
    role: str | None
    resources: tuple[str, ...]
    denied_resources: tuple[str, ...]
    checks: tuple[ParameterCheck, ...]


@lru_cache(maxsize=limits.CACHED_POLICIES_MAX)
def compile_policy(document: PolicyDocument) -> CompiledPolicy:
    """Return the policy ready to be asked; the same object for the same digest while it is remembered."""
    place = placement(document.policy_id)
    return CompiledPolicy(
        policy_id=document.policy_id,
        digest=document.digest,
        layer=place.layer,
        grants=place.grants,
        role=place.role,
        resources=document.resources,
        denied_resources=document.denied_resources,
        checks=tuple(_check(constraint) for constraint in document.parameters),
    )


def _check(constraint: ParameterConstraint) -> ParameterCheck:
    path, required = constraint.path, constraint.required
    allowed = None if constraint.allowed is None else frozenset(map(_equality_key, constraint.allowed))
    null_passes = allowed is not None and _NULL in allowed

    def test(parameters: Mapping[str, JSONValue]) -> str:
        if path not in parameters:
            return "PARAM_REQUIRED" if required else ""
        value = parameters[path]
        if value is None:
            if required:
                return "PARAM_REQUIRED"
            return "" if null_passes else "PARAM_TYPE"
        return "" if allowed is None or _equality_key(value) in allowed else "PARAM_NOT_ALLOWED"

    return ParameterCheck(opkey=constraint.opkey, pointer=constraint.pointer, test=test)


def _equality_key(value: JSONValue) -> str | bytes:
    """Return what equal JSON values share and no others: a text in NFC, or the canonical bytes of anything else."""
    if isinstance(value, str):
        return nfc(value) if jcs.is_stream_safe(value) else b""
    if type(value) is int:  # the bytes that follow anyway, sooner
        return b"%d" % value
    try:
        written = jcs.canonical(value)
        return jcs.canonical(nfc_value(value)) if jcs.is_stream_safe(written.decode()) else b""
    except jcs.NotJSONError:
        return b""  # equal to nothing that a policy can hold
