"""The parameters of a call: parsed once, strictly, and written once, canonically.

Policies see `value`, the tool host executes `canonical`, records name `sha256`. The three cannot disagree, because
only this module makes them. Rules on the values of parameters never live here; policies have them.

Specification: docs/wire.md 4.
"""

import hashlib
from typing import NamedTuple

from processors.proof import jcs
from schemas import limits
from schemas.errors import InputError


class Parameters(NamedTuple):
    """A call's parameters. INVARIANT: the three fields agree, and `value` is never changed in place."""

    value: dict[str, jcs.JSONValue]
    canonical: bytes
    sha256: bytes


class MalformedParametersError(InputError):
    """The parameters of a call are not one strict JSON object.

    `cause` is "object" if the text is JSON but not an object, else a cause of `jcs.MalformedJSONError`.
    """

    def __init__(self, cause: str) -> None:
        super().__init__(f"the parameters are not one strict JSON object: {cause}")
        self.cause = cause


def parse_parameters(text: str) -> Parameters:
    """Read the parameters of a call from their JSON text.

    Raises:
        MalformedParametersError: the text is not strict JSON within the limits, or not an object at the top.
    """
    try:
        value, canonical = jcs.parse_canonical(text.encode(), nodes_max=limits.PARAMETERS_NODES_MAX)
    except UnicodeEncodeError:
        raise MalformedParametersError("surrogate") from None
    except jcs.MalformedJSONError as error:
        raise MalformedParametersError(error.cause) from None
    if not isinstance(value, dict):
        raise MalformedParametersError("object")
    return Parameters(value=value, canonical=canonical, sha256=hashlib.sha256(canonical).digest())


def parameters_of(value: dict[str, jcs.JSONValue]) -> Parameters:
    """Return parameters that were parsed, and in which some texts are others now."""
    canonical = jcs.canonical(value)
    return Parameters(value=value, canonical=canonical, sha256=hashlib.sha256(canonical).digest())
