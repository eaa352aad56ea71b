"""The verifier of parameters and results against the JSON schemas that their tool declares, with risk stamps.

A place in the schema may carry `x-macaw-risk`: the value there is classified (`processors/content/risks.py`), and the
class is stamped for policies. A value that cannot be read with certainty has the worst class.
"""

from __future__ import annotations

from processors.calls.verifiers.texts import pointer_of
from processors.calls.verifiers.verifier import OFF, SCHEMA_OF, Verification, VerifierView
from processors.content.identity import OWN_SHA256
from processors.policy.errors import BodyUnseenError
from processors.policy.evaluation import spend
from processors.proof.jcs import JSONValue
from schemas.events.verdicts import VerifierFinding
from schemas.reasons import Reason
from schemas.words import Surface, VerifierOutcome


class SchemaVerifier:
    """The verifier `parameters`, 70; of results, the declared output schema."""

    name = "parameters"
    priority = 70

    def should_verify(self, view: VerifierView) -> bool:
        """Return whether the tool declares a schema for this surface, and the tenant's settings ask for it."""
        return view.schema is not None and view.modes.get(SCHEMA_OF[view.surface], OFF) != OFF

    def verify(self, view: VerifierView) -> Verification:
        """Compare the value with the schema. Raises BodyUnseenError, WorkExceededError."""
        from processors.content.parameter_schemas import SchemaFault, compiled

        assert view.schema is not None
        if view.texts.unseen or view.texts.opaque:
            raise BodyUnseenError("the schema of a tool looks at a text that travels beside the call")
        before, schema = view.work[0], compiled(view.schema)
        spend(view.work, schema.units(view.value))
        faults: tuple[SchemaFault, ...] = ()
        if not schema.fits(view.value):
            spend(view.work, schema.fault_units(view.value))
            faults = schema.faults(view.value)
        findings = tuple(
            VerifierFinding(kind=f"schema.{one.keyword}", path=pointer_of(one.path), start=0, end=0) for one in faults
        )
        denies = bool(faults)
        reason = Reason.RESULT_WITHHELD if view.surface == Surface.RESULT else Reason.PARAMETERS_INVALID
        stamps: dict[str, JSONValue] = {"found": denies, "count": len(faults), "unread": False}
        return Verification(
            self.name,
            self.priority,
            VerifierOutcome.DENY if denies else VerifierOutcome.PASS,
            str(reason) if denies else "",
            findings,
            stamps,
            before - view.work[0],
            OWN_SHA256,
        )


def risks_of(view: VerifierView) -> dict[str, JSONValue]:
    """Return the stamps of the values at places that the tool's schema annotates. Raises WorkExceededError.

    Each text is paid before it is read, by its bytes (`processors/content/risk_places.py`).
    """
    if view.schema is None:
        return {}
    from processors.content.parameter_schemas import annotated_places
    from processors.content.risk_places import stamps_at

    return stamps_at(annotated_places(view.schema), view.value, lambda units: spend(view.work, units))
