"""The ways in which what others wrote can be wrong before any decision is taken.

PolicyError             a policy document      refused when it is published; the former version stays
ResourceInvalidError    the name of a resource the call is denied with RESOURCE_INVALID
AttributeInvalidError   a session attribute    the session is refused with ATTRIBUTE_INVALID
"""


class PolicyError(ValueError):
    """Say why a policy document is refused: a stable `code` (MAPL.md 1) and the JSON pointer to the place."""

    def __init__(self, code: str, pointer: str) -> None:
        super().__init__(f"{code} at {pointer!r}")
        self.code = code
        self.pointer = pointer


class ResourceInvalidError(ValueError):
    """Say that a text is no resource name (MAPL.md 2)."""


class AttributeInvalidError(ValueError):
    """Say which session attribute is of a wrong type, too long, or holds a character that is refused (MAPL.md 6)."""
