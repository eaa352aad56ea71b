"""Results that a verifier outside has passed: whether its verdict counts now (docs/mapl.md 14, `unless_cleared_by`).

A result is marked from the start. A verifier takes the mark away with `pass`, as long as that verdict has not expired,
its key is live, and the verifier still stands under the same prefix with the same catalogue, for this resource. Nothing
else takes it away: no verdict, another outcome, and a result with words that its program had heard itself are marked.
"""

from __future__ import annotations

from processors.calls.verifiers.outside import SCOPE_UNITS
from processors.identity import verifiers
from processors.identity.keys import is_live
from processors.identity.verifiers import StandingVerifier
from processors.policy.evaluation import Work, spend
from processors.policy.limits import REACHED_VALUE_UNITS
from processors.policy.patterns import resource_name
from processors.state.tables import Tables
from schemas.rows import HeardRow, ResultVerdict
from schemas.words import Surface, VerifierOutcome

_RESULT_KEY_BYTES = 64  # of a session and a call; a row that stands for several texts has another key


class Clearing:
    """The results that one verifier has passed, as seen by one rule of one call. Nothing is written meanwhile."""

    __slots__ = ("_in_scope", "_one", "_tables")

    def __init__(self, tables: Tables, prefix: str) -> None:
        """`prefix` names the verifier by its stamps; "" and a prefix without a verifier clear nothing."""
        standing = verifiers.standing(tables) if prefix else ()
        self._one = next((one for one in standing if one.declared.prefix == prefix), None)
        self._tables, self._in_scope = tables, dict[str, bool]()

    @property
    def may_clear(self) -> bool:
        """Whether a verifier stands under the prefix: without one nothing is looked at, and nothing is paid."""
        return self._one is not None

    def clears(self, key: bytes, row: HeardRow, work: Work) -> bool:
        """Return whether a heard text is a result that the verifier has passed. Raises WorkExceededError."""
        if self._one is None:
            return False
        spend(work, REACHED_VALUE_UNITS)
        if len(key) != _RESULT_KEY_BYTES or not row.reported:
            return False  # other texts than results, and rows that stand for more than one
        judged = self._tables.judged.get(row.source)
        if judged is None or not judged.own:
            return False
        counts = any(self._counts(self._one, given) for given in judged.verdicts)
        return counts and self._judges(self._one, judged.resource, work)

    def _counts(self, one: StandingVerifier, given: ResultVerdict) -> bool:
        if given.verifier != one.principal_id or given.outcome != VerifierOutcome.PASS:
            return False
        key = self._tables.keys.get(given.kid)
        fresh = self._tables.now < given.until and given.catalogue == one.declared.catalogue
        return fresh and key is not None and is_live(key, self._tables.now)

    def _judges(self, one: StandingVerifier, resource: str, work: Work) -> bool:
        found = self._in_scope.get(resource)
        if found is None:
            spend(work, (SCOPE_UNITS + len(resource)) * len(one.declared.resources))
            found = self._in_scope[resource] = one.judges(resource_name(resource), Surface.RESULT)
        return found
