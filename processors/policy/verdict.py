"""The answer to one call, as a value: the decision, and its consequences."""

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from processors.policy.attestations import Request, Use
from processors.policy.plan import Denial
from processors.policy.sequences import Mark, Write
from schemas.words import Outcome, Stage

T = TypeVar("T")


RANK = {Outcome.DENIED: 0, Outcome.PENDING: 1, Outcome.ALLOWED: 2}


Charges = tuple[tuple[bytes, int], ...]


class Consequences(NamedTuple):
    """The changes of a decision. The fold applies all of them, exactly once, or none.

    `buckets` are (key, arrival time); `marks` are written when the call has ended well, the rest at once.
    """

    buckets: Charges = ()
    cells: tuple[Write, ...] = ()
    marks: tuple[Mark, ...] = ()
    uses: tuple[Use, ...] = ()
    requests: tuple[Request, ...] = ()


NO_EFFECTS = Consequences()


class Verdict(NamedTuple):
    """The answer to one call, with no parameter value in it.

    `outcome` is one of those in RANK. `reason` is a code of docs/mapl.md 12, empty if allowed. `detail` is the JSON
    pointer of the deciding check, in the document whose digest is `deciding`. `policies` are the sorted digests of all
    documents that were consulted. The caller may be told outcome, reason, `path` and `retry_after_ms`; nothing else.
    `masks` are the paths, sorted, below which the call must be masked before its tool gets it: unless it is denied.
    """

    outcome: Outcome
    reason: str = ""
    detail: str = ""
    policies: tuple[bytes, ...] = ()
    deciding: bytes = b""
    stage: Stage = Stage.OUTCOME
    path: str = ""
    retry_after_ms: int | None = None
    branch: str = ""
    effects: Consequences = NO_EFFECTS
    masks: tuple[str, ...] = ()


def denied(refusal: Denial, policies: tuple[bytes, ...], *, branch: str = "") -> Verdict:
    """Return the verdict of a refusal."""
    stage, reason, detail, deciding, path = refusal
    return Verdict(Outcome.DENIED, reason, detail, policies, deciding, stage, path, None, branch)


def lowest(verdicts: list[Verdict]) -> Verdict:
    """Return the verdict on a call with several subjects: each must pass, so the lowest outcome, then stage, counts.

    A call charges for all of them.
    """
    if all(one is verdicts[0] for one in verdicts):  # judged alike, and once
        return verdicts[0]
    every = {one.policies for one in verdicts}
    policies = every.pop() if len(every) == 1 else tuple(sorted({digest for one in every for digest in one}))
    answer = min(verdicts, key=lambda one: (RANK[one.outcome], one.stage))  # the first of equals: subject order
    if answer.outcome is Outcome.DENIED:
        return answer._replace(policies=policies)
    answer = answer._replace(masks=tuple(sorted({path for one in verdicts for path in one.masks})))
    effects = [one.effects for one in verdicts]
    if not any(map(any, effects)):
        return answer._replace(policies=policies)
    together = Consequences(
        buckets=_union(one.buckets for one in effects),
        cells=_union(one.cells for one in effects),
        marks=_union(one.marks for one in effects),
        uses=_union(one.uses for one in effects),
        requests=_union(one.requests for one in effects),
    )
    if answer.outcome is Outcome.PENDING:
        together = together._replace(cells=(), marks=(), uses=())
    return answer._replace(policies=policies, effects=together)


def _union(parts: Iterable[tuple[T, ...]]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(one for part in parts for one in part))
