"""The verdicts that a verifier's host signs: the opinion of its judge, bound to the call or result that it was shown.

An opinion that is not as declared becomes `deny` with the worst stamps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from processors.calls.verifiers import outside
from processors.identity.verifiers import StandingVerifier
from processors.policy.stamped import is_stamp_name
from processors.proof import jcs
from processors.refusal import Refusal
from processors.text.characters import has_hidden, utf8_size
from producers.tools.asked_calls import AskedCall
from producers.tools.asked_results import AskedResult
from schemas import limits
from schemas.errors import UnavailableError
from schemas.events.verdicts import VerdictReported, VerifierFinding
from schemas.words import Surface, VerifierOutcome

HEADER_BYTES = 1024  # of a verdict: its header, with a long name, and its digests
PATH_CHARS_MAX = 256  # of a finding
LIFE_MS = 30_000  # of a verdict on a call, at most; its verifier may have declared less

Asked = AskedCall | AskedResult


class Opinion(NamedTuple):
    """A judge's answer: pass, deny or ask, every declared stamp, and places in the parameters or the result."""

    outcome: str
    stamps: Mapping[str, Any]
    findings: Sequence[VerifierFinding] = ()


Judge = Callable[[Asked], Opinion]


class JudgeFailedError(UnavailableError):
    """A judge raised, ended its process, or did not come back. `failure` is the class of its error, never its text."""

    def __init__(self, failure: str) -> None:
        super().__init__(failure)
        self.failure = failure


def verdict_of(
    one: StandingVerifier, asked: Asked, opinion: Opinion | None, *, failure: str, now_ms: int
) -> tuple[VerdictReported, str]:
    """Return the verdict to sign, and the failure of the judge, empty for none: then it is its opinion."""
    body = _body(one, asked, Opinion(VerifierOutcome.DENY, _worst(one)), now_ms)
    if failure:
        return body, failure
    try:
        if not isinstance(opinion, Opinion):
            return body, "NoOpinion"
        own = _body(one, asked, opinion, now_ms)
        flaw = "" if all(map(_is_plain, own.findings)) else "MalformedFinding"
        if not flaw:
            outside.stamps_of(one, own)
            flaw = "OversizedOpinion" if _size(own) > limits.VERDICT_EVENT_BYTES_MAX - HEADER_BYTES else ""
    except (Refusal, jcs.NotJSONError) as exc:
        return body, f"MalformedOpinion ({type(exc).__name__})"
    except BaseException as exc:  # noqa: BLE001 - its opinion is foreign too: any type in any place
        return body, type(exc).__name__
    return (body, flaw) if flaw else (own, "")


def _is_plain(finding: Any) -> bool:
    """Return whether a finding can be encoded and shown: a kind in the form of stamps' names, and a path of plain text.

    Its numbers are integers; the fold's own rules bound them.
    """
    if type(finding) is not VerifierFinding:
        return False
    texts, numbers = (finding.kind, finding.path), (finding.start, finding.end)
    if any(type(one) is not str for one in texts) or any(type(one) is not int for one in numbers):
        return False
    return is_stamp_name(finding.kind) and len(finding.path) <= PATH_CHARS_MAX and not has_hidden(finding.path)


def _size(body: VerdictReported) -> int:
    """Return about how many bytes a verdict takes beside its header and digests."""
    texts = (body.resource, body.stamps, *(text for one in body.findings for text in (one.kind, one.path)))
    return sum(map(utf8_size, texts))


def _worst(one: StandingVerifier) -> dict[str, Any]:
    return {name: value for name, value in one.worst.items() if name in one.types}


def _body(one: StandingVerifier, asked: Asked, opinion: Opinion, now_ms: int) -> VerdictReported:
    age = one.declared.max_age_ms
    if isinstance(asked, AskedCall):
        surface, digest, life = Surface.ARGUMENTS, asked.parameters_sha256, min(age, LIFE_MS)
    else:
        surface, digest, life = Surface.RESULT, asked.body_sha256, age
    return VerdictReported(
        call=asked.event_id,
        session=asked.session_id,
        resource=asked.resource,
        parameters_sha256=digest,
        surface=str(surface),
        catalogue=one.declared.catalogue,
        expires_at=now_ms + life,
        outcome=str(opinion.outcome),
        stamps=jcs.canonical(dict(opinion.stamps)).decode(),
        findings=tuple(opinion.findings),
    )
