"""The parameters of a call: parsed once, strictly, and written once, canonically.

Policies see `value`, the tool host executes `canonical`, records name `sha256`. The three cannot disagree because
nothing else makes them. Rules about what a parameter may be never live here; they are policy's.

Specification: docs/wire.md 4.
"""

import hashlib
from typing import NamedTuple

from processors.proof import jcs
from schemas.errors import InputError


class Parameters(NamedTuple):
    """A call's parameters. INVARIANT: the three fields say the same, and nobody changes `value` in place."""

    value: dict[str, jcs.JSONValue]
    canonical: bytes
    sha256: bytes


class MalformedParametersError(InputError):
    """Say that a text is not the parameters of a call.

    `cause` is "object" where the text is JSON but no object, else a cause of `jcs.MalformedJSONError`.
    """

    def __init__(self, cause: str) -> None:
        super().__init__(f"malformed parameters: {cause}")
        self.cause = cause


def parse_parameters(text: str) -> Parameters:
    """Read the parameters of a call from their JSON text.

    Raises:
        MalformedParametersError: the text is not strict JSON within the limits, or not an object at the top.
    """
    try:
        value, canonical = jcs.parse_canonical(text.encode())
    except UnicodeEncodeError:
        raise MalformedParametersError("surrogate") from None
    except jcs.MalformedJSONError as error:
        raise MalformedParametersError(error.cause) from None
    if not isinstance(value, dict):
        raise MalformedParametersError("object")
    return Parameters(value=value, canonical=canonical, sha256=hashlib.sha256(canonical).digest())
