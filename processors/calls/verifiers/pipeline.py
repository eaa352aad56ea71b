"""The pipeline: every verifier that applies, in the order of (priority, name), and one answer over all of them.

Texts are read first, because policies may ask for the stamps; the answers then stand in order, and the first denial is
the reason of the call. With `stop_on_first_failure` no verifier of texts runs after one that denied. A verifier that
breaks denies; one that would see a body beside the call denies BODY_UNSEEN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from processors.calls.verifiers.catalogue_rules import NO_CATALOGUES, Catalogues
from processors.calls.verifiers.content import EVERY as CONTENT
from processors.calls.verifiers.schema import SchemaVerifier, risks_of
from processors.calls.verifiers.texts import NO_TEXTS, Texts, bodies_of, texts_of
from processors.calls.verifiers.verifier import (
    CallVerifier,
    Modes,
    Verification,
    VerifierView,
    denies_unread,
    modes_of,
)
from processors.content import views
from processors.policy.errors import RULE_ERRORS, BodyUnseenError
from processors.policy.evaluation import Work
from processors.policy.paths import ParsedPath
from processors.proof.jcs import JSONValue
from processors.state.settings import DEFAULTS, TenantSettings
from schemas.events.verdicts import VerifierVerdict
from schemas.reasons import Reason
from schemas.words import Surface, VerifierOutcome

VERIFIERS: tuple[CallVerifier, ...] = tuple(
    sorted((*CONTENT, SchemaVerifier()), key=lambda one: (one.priority, one.name))
)

_READING = frozenset(one.name for one in CONTENT)
NO_MODES: Modes = {}
TOLD_MAX = 4  # findings in a detail
COUNT_WORST = 2**31 - 1
_WORST: Mapping[str, JSONValue] = {"found": True, "unread": True, "count": COUNT_WORST, "kinds": ["*"]}
_OFF: Mapping[str, JSONValue] = {one.name: {**_WORST, "off": True} for one in VERIFIERS}


class Verified(NamedTuple):
    """The answers of the verifiers of texts, in order, and the stamps for policies. `broke` names a failure.

    `asked` says that the tenant's settings, or the tool's schema, ask for stamps.
    """

    answers: tuple[Verification, ...] = ()
    stamps: Mapping[str, JSONValue] = _OFF
    asked: bool = False
    broke: str = ""


NOT_ASKED = Verified()


def verify(
    surface: Surface,
    resource: str,
    value: JSONValue,
    schema: str | None,
    settings: TenantSettings,
    work: Work,
    signed: Sequence[ParsedPath] = (),
    catalogues: Catalogues = NO_CATALOGUES,
) -> Verified:
    """Let the verifiers of texts look at a call's parameters, or at a result. Raises WorkExceededError."""
    modes = NO_MODES if settings is DEFAULTS else modes_of(settings, surface)
    if not modes and (schema is None or surface is Surface.RESULT):
        return NOT_ASKED
    view = VerifierView(surface, resource, value, NO_TEXTS, schema, modes, work, catalogues=catalogues)
    view = view._replace(texts=_wanted(view, signed), denies_unread=denies_unread(settings, surface))
    stops = settings.verifiers_stop_on_first_failure == "true"
    answers: list[Verification] = []
    stamps: dict[str, JSONValue] = dict(_OFF)
    broke = ""
    try:
        for one in VERIFIERS:
            if not one.should_verify(view):
                continue
            answer, failed = _asked(one, view)
            broke = broke or failed
            answers.append(answer)
            stamps[answer.verifier] = dict(answer.stamps)
            if answer.outcome is VerifierOutcome.DENY and stops:
                break
    finally:
        views.forget()  # no text of a call stays in memory for its sake
    if surface is Surface.ARGUMENTS and schema is not None:
        stamps["risk"] = risks_of(view)
    return Verified(tuple(answers), stamps, asked=True, broke=broke)


def _wanted(view: VerifierView, signed: Sequence[ParsedPath]) -> Texts:
    """Return the texts of a view, as far as a verifier that is on looks at them. Raises WorkExceededError."""
    if not view.modes:
        return NO_TEXTS  # the schema is there for the classes of risks alone
    if not _READING.isdisjoint(view.modes):
        return texts_of(view.value, view.work, signed)
    return bodies_of(view.value, view.work) if view.schema is not None else NO_TEXTS


def _asked(one: CallVerifier, view: VerifierView) -> tuple[Verification, str]:
    """Return the answer of one verifier, and the kind of its failure."""
    try:
        return one.verify(view), ""
    except BodyUnseenError:
        return _denies(one, Reason.BODY_UNSEEN), ""
    except RULE_ERRORS as exc:
        return _denies(one, Reason.INTERNAL_ERROR), type(exc).__name__


def _denies(one: CallVerifier, reason: Reason) -> Verification:
    return Verification(one.name, one.priority, VerifierOutcome.DENY, str(reason), stamps=_WORST)


def in_order(*parts: Sequence[Verification]) -> tuple[Verification, ...]:
    """Return answers in the order of the pipeline."""
    return tuple(sorted((one for part in parts for one in part), key=lambda one: (one.priority, one.verifier)))


def denial(answers: Sequence[Verification]) -> Verification | None:
    """Return the first answer that denies, None if none does."""
    return next((one for one in answers if one.outcome is VerifierOutcome.DENY), None)


def told(answer: Verification) -> str:
    """Return an answer for people: its verifier, and the kinds and places of some findings, never a text."""
    found = sorted({f"{one.kind} at {one.path or '/'}" for one in answer.findings})
    reason = (answer.reason,) if not found else ()
    return "; ".join((f"verifier {answer.verifier}", *reason, *found[:TOLD_MAX]))


def kinds_told(answer: Verification) -> str:
    """Return an answer for a caller: its verifier and kinds of findings. Places may be a sender's own words."""
    kinds = sorted({one.kind for one in answer.findings}) or [answer.reason]
    return f"verifier {answer.verifier}: {', '.join(kinds[:TOLD_MAX])}"


def recorded(answers: Sequence[Verification], surface: Surface) -> tuple[VerifierVerdict, ...]:
    """Return the answers as they stand on the log."""
    return tuple(one.recorded(surface) for one in answers)
