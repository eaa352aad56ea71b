"""The policy of a tool's owner, judged in the host before each execution.

The monitor decides by the tenant's policies. A host that was given a file of its owner judges every call once more, by
that file alone, so a monitor that lies, or whose key was stolen, cannot make the tool do what its owner forbids. The
host uses only what it has verified: the parameters that it would execute, its own clock, and the session that signed
the call, as its signed opening describes it. The names that a decision tells are not used.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from processors.identity.attributes import subject_of
from processors.policy.call import Circumstances
from processors.policy.compiled import compile_policy
from processors.policy.decide import decide
from processors.policy.documents import PolicyDocument
from processors.policy.evaluation import Session
from processors.policy.index import PolicyIndex, index_policies
from processors.policy.patterns import resource_name
from processors.policy.resolve import Layer, placement, resource_ids, spelt_ids
from processors.text.forms import fold
from producers.tools.admission import AdmittedCall
from producers.tools.execution import Ended, failed
from producers.tools.owner_rules import faults_of
from schemas.errors import InputError
from schemas.words import Outcome

log = logging.getLogger(__name__)

OWNER_DENIED = "OWNER_DENIED"


class OwnerPolicyError(InputError):
    """A document of a tool's owner cannot be judged in a host; `at` is its number, `pointer` the place in it."""

    def __init__(self, at: int, pointer: str, why: str) -> None:
        super().__init__(f"{why} (at {pointer!r} of document {at})")
        self.at, self.pointer, self.why = at, pointer, why


class OwnerPolicy:
    """The documents of one tool's owner, ready to be asked. Thread-safe."""

    def __init__(
        self, documents: Sequence[PolicyDocument], *, app: str, tenant: str, resources: Collection[str]
    ) -> None:
        """Take the documents for the operations `resources` of an app. Requires ids that differ, and whole chains.

        Raises:
            OwnerPolicyError: a rule needs what a host does not have, or a document concerns none of the operations.
        """
        _check(documents, resources)
        self._index: PolicyIndex = index_policies({one.policy_id: compile_policy(one) for one in documents})
        self._ids = {one.digest: one.policy_id for one in documents}
        self._app, self._tenant = app, tenant

    def refusal(self, call: AdmittedCall, now_ms: int) -> Ended | None:
        """Return the end of a call that the owner's documents do not allow, None for one that they allow.

        Raises:
            Refusal: the attributes of the session cannot be judged; the call must not be executed.
        """
        session = call.session
        if session is None:
            return failed(OWNER_DENIED, reason="NO_SESSION")
        subject = subject_of(session.attributes, session.role, session.principal_id)
        said = Session(session_id=call.decision.session_id.hex(), tenant=self._tenant, expires_at=session.expires_at)
        at = Circumstances(now=now_ms, session=said, owner=self._app)
        verdict = decide(self._index, subject, call.decision.resource, call.parameters, at)
        if verdict.outcome is Outcome.ALLOWED:
            return None
        policy = self._ids.get(verdict.deciding)  # without one, no document grants the call
        log.warning(
            "the call %s is not executed: %s by %s of the tool's owner, %s",
            *(call.decision.event.hex(), verdict.reason, policy or "the documents", verdict.detail or "no place"),
        )
        return failed(OWNER_DENIED, policy=policy, reason=verdict.reason, path=verdict.path)


def _check(documents: Sequence[PolicyDocument], resources: Collection[str]) -> None:
    parents = {one.extends for one in documents}
    found = {fold(policy_id) for resource in resources for policy_id in _ids_of(resource)}
    for at, one in enumerate(documents):
        for fault in faults_of(one):
            raise OwnerPolicyError(at, fault.pointer, fault.why)
        is_of_a_resource = placement(one.policy_id).layer is Layer.RESOURCE
        if is_of_a_resource and one.policy_id not in parents and fold(one.policy_id) not in found:
            why = f"{one.policy_id!r} concerns none of the tool's operations, so it would never be asked"
            raise OwnerPolicyError(at, "/policy_id", f"{why}; they are {', '.join(sorted(resources))[:200]}")


def _ids_of(resource: str) -> tuple[str, ...]:
    return (*resource_ids(resource), *spelt_ids(resource_name(resource)))
