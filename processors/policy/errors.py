"""Faults in the texts of others, found before any decision is taken.

PolicyError             a policy document      refused when it is published; the former version stays
PolicyBrokenError       a policy that applies  the call is denied with POLICY_BROKEN
ResourceInvalidError    the name of a resource the call is denied with RESOURCE_INVALID
AttributeInvalidError   a session attribute    the session is refused with ATTRIBUTE_INVALID
WorkExceededError       an evaluation          the call is denied with LIMIT_EXCEEDED
BodyUnseenError         a rule on a body       the call is denied with BODY_UNSEEN
"""

from processors.text.characters import quoted
from schemas.errors import InputError

# What a rule may raise: the call is denied INTERNAL_ERROR. Anything else is a failure of the machine, no decision.
RULE_ERRORS = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError)


class PolicyError(InputError):
    """Say why a policy document is refused: a stable `code` (docs/mapl.md 1) and the JSON pointer to the place.

    `want` names for people the types that may stand there, where another one does.
    """

    def __init__(self, code: str, pointer: str, want: str = "") -> None:
        super().__init__(f"{code} at {quoted(pointer)}")
        self.code = code
        self.pointer = pointer
        self.want = want


class PolicyBrokenError(InputError):
    """Say that a policy of the call cannot be honoured (docs/mapl.md 5): a broken chain or a faulty inline document."""


class BrokenChainError(PolicyBrokenError):
    """Say that the chain of a policy in force breaks at `parent`, which is gone, or leads in a circle or too far."""

    def __init__(self, parent: str) -> None:
        super().__init__(parent)
        self.parent = parent


class ResourceInvalidError(InputError):
    """Say that a text is not a resource name (docs/mapl.md 2)."""


class AttributeInvalidError(InputError):
    """Say which attribute has a wrong type, is too long, or holds a character that is refused (docs/mapl.md 6)."""


class WorkExceededError(Exception):
    """Say that a decision would cost more units than it may spend (docs/mapl.md 1 "Work").

    Each function that spends units may raise it. `decide` turns it into a verdict; elsewhere the step does.
    """


class BodyUnseenError(InputError):
    """Say that a rule would look at a value that travels beside the call (docs/mapl.md 3, "Bodies").

    As a ValueError it is one of RULE_ERRORS: where no handler knows it by name, the call is denied all the same.
    """
