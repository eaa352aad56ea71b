"""The documents whose denials are told and not enforced, while one call is judged (docs/observe.md)."""

from typing import NamedTuple

from processors.policy.compiled import CompiledPolicy
from processors.policy.documents import ORGANISATION_PREFIX


class Lifted(NamedTuple):
    """The documents that restrict nothing: some by id, or every one, and then the call needs no grant either.

    Documents that came with the call are its senders' own words, and those of the organisation are no administrator's:
    neither is ever lifted. A lifted document still grants the resources that it lists.
    """

    policies: frozenset[str] = frozenset()
    everything: bool = False

    def __bool__(self) -> bool:
        """Return whether any document is lifted."""
        return self.everything or bool(self.policies)

    def lifts(self, policy: CompiledPolicy) -> bool:
        """Return whether a document restricts nothing."""
        if policy.document.inline or policy.policy_id.startswith(ORGANISATION_PREFIX):
            return False
        return self.everything or policy.policy_id in self.policies


NOTHING_LIFTED = Lifted()
