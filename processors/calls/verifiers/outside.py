"""Verdicts of verifiers outside the fold: read, bound to their call, and told in the words of the pipeline.

A verdict is an event of its verifier: stapled to the call, or reported while the call waits (`calls/awaiting.py`). It
counts if a live key of a declared verifier has signed it for this very call, in this form, and in time. A verdict that
is forged or misplaced denies a call that brings it. One that has run out, that rests on another catalogue, or that is
stapled to a call with people or a target that it could not name, counts as none: the stamps then have their worst
values, and so have those of verifiers that gave no verdict or judge other resources. No verdict lifts the denial of a
policy (docs/wire.md 22).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from processors.calls.denial import DeniedCall
from processors.calls.verifiers.verifier import Verification, VerifiedCall
from processors.effects import Recipients
from processors.identity import verifiers
from processors.identity.keys import is_live, live_keys
from processors.identity.verifiers import OUTCOME, StandingVerifier
from processors.intake.identify import event_place
from processors.policy.evaluation import Work, spend
from processors.policy.patterns import ResourceName, resource_name
from processors.proof import jcs, signing
from processors.proof.jcs import JSONValue
from processors.proof.signing import MalformedProofError, Proof, SignatureError
from processors.refusal import Refusal
from processors.state.tables import Tables
from processors.text.characters import is_plain_text, quoted, utf8_size
from schemas import codec, limits
from schemas.events.verdicts import VerdictReported, VerifierFinding
from schemas.reasons import Reason
from schemas.records import Event, Header, SignedEvent
from schemas.words import Outcome, Role, Surface, VerifierOutcome

VERDICT_UNITS = 5_000  # of 50 ns: one signature, and the reading of 8 KiB (measured: 8 of them take 2 ms)
SCOPE_UNITS = 20  # of a pattern of resources, at least; its texts are bounded
_ANSWERS = frozenset({VerifierOutcome.PASS, VerifierOutcome.DENY, VerifierOutcome.ASK})
_KIND_CHARS_MAX = 64
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz")
_KIND = _LETTERS | frozenset("0123456789_.-")
_PATH_CHARS_MAX = 160
_PLACE_MAX = 2**31 - 1


class BoundCall(NamedTuple):
    """A call as a verdict is bound to it. On the surface `result` the digest is that of the result's body."""

    event_id: bytes
    session_id: bytes
    resource: str
    parameters_sha256: bytes
    surface: Surface = Surface.ARGUMENTS


class Outside(NamedTuple):
    """The answers of the verifiers outside on one call, and the stamps of all of them.

    `unanswered` are the verifiers in scope without a verdict that counts; `counted` are the verdicts that count.
    """

    answers: tuple[Verification, ...] = ()
    stamps: Mapping[str, JSONValue] = {}
    unanswered: tuple[StandingVerifier, ...] = ()
    counted: tuple[SignedEvent, ...] = ()

    @property
    def lacks_required(self) -> bool:
        """Whether a required verifier has not answered."""
        return any(one.declared.required for one in self.unanswered)

    @property
    def asks(self) -> bool:
        """Whether a verifier asks for people."""
        return any(one.outcome is VerifierOutcome.ASK for one in self.answers)


NONE = Outside()


class _Read(NamedTuple):
    """A verdict with a good signature; `ended` is the reason why its key is not live."""

    verifier: StandingVerifier
    header: Header
    body: VerdictReported
    signed: SignedEvent
    ended: str


def judge(
    tables: Tables,
    asked: VerifiedCall,
    parameters_sha256: bytes,
    came: Sequence[SignedEvent],
    kept: Sequence[SignedEvent],
    work: Work,
) -> Outside:  # fmt: skip
    """Return the answers of the verifiers outside. `came` are stapled verdicts, `kept` those reported for the call.

    Raises:
        DeniedCall: a stapled verdict is forged, misplaced, malformed, or a second one of its verifier.
        WorkExceededError.
    """
    every = verifiers.standing(tables)
    if not every and not came:
        return NONE
    if len(came) > limits.VERDICTS_PER_CALL_MAX:
        raise DeniedCall(Reason.VERDICT_FORM, f"a call carries at most {limits.VERDICTS_PER_CALL_MAX} verdicts")
    name = resource_name(asked.body.resource)
    spend(work, sum(SCOPE_UNITS + len(name.text) for one in every for _ in one.declared.resources))
    call = BoundCall(asked.event.header.event_id, asked.session_id, asked.body.resource, parameters_sha256)
    given: dict[str, Verification] = {}
    counted: dict[str, SignedEvent] = {}
    stamps: dict[str, JSONValue] = {one.declared.prefix: dict(one.worst) for one in every}
    reported, whole = len(kept), names_whole(asked)
    for at, signed in enumerate((*kept, *came)):
        before, is_stapled = work[0], at >= reported
        spend(work, VERDICT_UNITS)
        try:
            read = read_signed(tables, signed)
            if is_stapled:
                _check_stapled(read)
            answer, stamped = _answered(tables, read, call, name, before - work[0], is_whole=whole or not is_stapled)
            prefix = read.verifier.declared.prefix
            if is_stapled and prefix in counted and counted[prefix] in came and _counts(answer):
                raise Refusal(Reason.VERDICT_DUPLICATE, f"two verdicts of {quoted(prefix)}")  # noqa: TRY301
        except Refusal as refusal:
            raise DeniedCall(refusal.reason, refusal.detail) from refusal
        if prefix in counted:
            continue  # a report, which is about this very call, goes before; and what does not count covers nothing
        given[prefix] = answer
        stamps[prefix] = stamped
        if _counts(answer):
            counted[prefix] = signed
    inside = [one for one in every if one.judges(name)]
    unanswered = tuple(one for one in inside if one.declared.prefix not in counted)
    answers = tuple(given.get(one.declared.prefix) or missing(one) for one in inside)
    return Outside(answers, stamps, unanswered, tuple(counted.values()))


def names_whole(asked: VerifiedCall) -> bool:
    """Return whether a stapled verdict names all that a call is: it has no delegator, and no target is chosen.

    It names the session, resource and parameters, but no delegation, outer call, actor or target.
    """
    header = asked.event.header
    behind = header.on_behalf_of is not None or header.causation_id is not None or asked.session.actors
    return not behind and asked.body.target is None


def _counts(answer: Verification) -> bool:
    return answer.outcome is not VerifierOutcome.MISSING


def missing(one: StandingVerifier, reason: str = Reason.VERDICT_MISSING) -> Verification:
    """Return the answer of a verifier without a verdict that counts."""
    declared = one.declared
    return Verification(declared.prefix, declared.priority, VerifierOutcome.MISSING, str(reason))


def recipients_of(tables: Tables, asked: Sequence[StandingVerifier]) -> Recipients:
    """Return the live keys of some verifiers: those that may read the call."""
    return tuple(pair for one in asked for pair in live_keys(tables, one.principal_id))


def check(outside: Outside, outcome: str, *, is_approved: bool) -> None:
    """Check that all required verdicts are there, and that people approved an `ask`.

    `outcome` is that of the policies, `is_approved` says that an approval of people serves this call.

    Raises:
        DeniedCall: VERDICT_MISSING or VERIFIER_ASKS.
    """
    for one in outside.unanswered:
        if one.declared.required:
            told = f"verifier {one.declared.prefix}"
            raise DeniedCall(Reason.VERDICT_MISSING, told)
    if outside.asks and outcome == Outcome.ALLOWED and not is_approved:
        asks = next(one for one in outside.answers if one.outcome is VerifierOutcome.ASK)
        raise DeniedCall(Reason.VERIFIER_ASKS, f"verifier {asks.verifier}")


# ---- one verdict


def read_signed(tables: Tables, signed: SignedEvent) -> _Read:
    """Return a carried verdict with a good signature, by a key that is or was a verifier's.

    Raises:
        Refusal: VERDICT_FORM or VERDICT_UNSIGNED.
    """
    if max(len(signed.event), len(signed.proof)) > limits.VERDICT_EVENT_BYTES_MAX:
        raise Refusal(Reason.VERDICT_FORM, f"a verdict has at most {limits.VERDICT_EVENT_BYTES_MAX} bytes")
    try:
        schema, datum = codec.unframe(signed.event)
        event: Event = codec.decode_as(Event, signed.event)
    except codec.SchemaError as exc:
        raise Refusal(Reason.VERDICT_FORM, f"a verdict cannot be read: {exc}"[: limits.DETAIL_CHARS_MAX]) from exc
    body, header = event.body, event.header
    if not isinstance(body, VerdictReported):
        raise Refusal(Reason.VERDICT_FORM, f"a call carries verdicts, and not a {type(body).__name__}")
    row = tables.keys.get(signed.kid)
    if row is None or row.role != Role.VERIFIER:
        raise Refusal(Reason.VERDICT_UNSIGNED, "a verdict is signed by no verifier's key")
    try:
        proof = Proof.parse(signed.proof)
        signing.verify_signature(row.ed25519, proof.head(event_place(tables, schema).leaf(datum)), proof.signature)
    except (MalformedProofError, SignatureError) as exc:
        raise Refusal(Reason.VERDICT_UNSIGNED, "the signature of a verdict does not verify") from exc
    if header.principal_id != row.principal_id or header.session_id is not None or header.on_behalf_of is not None:
        raise Refusal(Reason.VERDICT_FORM, "the header of a verdict names its verifier alone")
    found = verifier_called(tables, row.principal_id)
    if is_live(row, tables.now):
        return _Read(found, header, body, signed, "")
    return _Read(found, header, body, signed, Reason.EXPIRED_KEY if row.revoked_at is None else Reason.REVOKED_KEY)


def verifier_called(tables: Tables, principal_id: str) -> StandingVerifier:
    """Return the verifier of a principal. Raises Refusal VERDICT_UNSIGNED if another has taken over its prefix."""
    for one in verifiers.standing(tables):
        if one.principal_id == principal_id:
            return one
    raise Refusal(Reason.VERDICT_UNSIGNED, "the verifier is not declared any more")


def _check_stapled(read: _Read) -> None:
    if read.header.causation_id is not None:
        raise Refusal(Reason.VERDICT_MISMATCH, "a verdict that was reported for a call is stapled to none")


def _answered(
    tables: Tables, read: _Read, call: BoundCall, name: ResourceName, units: int, *, is_whole: bool
) -> tuple[Verification, JSONValue]:
    """Return the answer and the stamps of a verdict that is bound to a call; the worst where it does not count.

    Without `is_whole` the call is more than the verdict names, so it does not count: VERDICT_MISMATCH.

    Raises:
        Refusal: VERDICT_MISMATCH or VERDICT_FORM.
    """
    one, body = read.verifier, read.body
    check_bound(one, body, call, name)
    stamps = stamps_of(one, body)
    stale = Reason.VERDICT_STALE if stale_because(tables, one, read.header, body) else ""
    if reason := read.ended or stale or ("" if is_whole else Reason.VERDICT_MISMATCH):
        return missing(one, reason), dict(one.worst)
    outcome = VerifierOutcome(body.outcome)
    told = {VerifierOutcome.DENY: Reason.VERIFIER_DENIED, VerifierOutcome.ASK: Reason.VERIFIER_ASKS}.get(outcome, "")
    answer = Verification(
        one.declared.prefix, one.declared.priority, outcome, str(told), body.findings, stamps, units, body.catalogue
    )
    return answer, stamps


def check_bound(one: StandingVerifier, body: VerdictReported, call: BoundCall, name: ResourceName) -> None:
    """Check that a verdict is about a call or its result, and that its verifier judges such.

    Raises:
        Refusal: VERDICT_MISMATCH.
    """
    for field, is_same in (
        ("call", body.call == call.event_id),
        ("session", body.session == call.session_id),
        ("resource", body.resource == call.resource),
        ("parameters_sha256", body.parameters_sha256 == call.parameters_sha256),
        ("surface", body.surface == call.surface),
    ):
        if not is_same:
            raise Refusal(Reason.VERDICT_MISMATCH, f"`{field}` of a verdict is not that of the call")
    if not one.judges(name, call.surface):
        raise Refusal(Reason.VERDICT_MISMATCH, f"{quoted(one.declared.prefix)} does not judge this resource")


def stale_because(tables: Tables, one: StandingVerifier, header: Header, body: VerdictReported) -> str:
    """Return why a verdict does not count at this log time, under the registered catalogue; empty if it counts."""
    if body.catalogue != one.declared.catalogue:
        return "the verdict rests on another catalogue than its verifier has declared"
    if tables.now >= body.expires_at:
        return "the verdict has expired"
    age = tables.now - header.issued_at
    if not -limits.ISSUED_AHEAD_MS_MAX <= age < one.declared.max_age_ms:
        return f"the verdict was issued {age} ms ago, want less than {one.declared.max_age_ms}"
    return ""


def stamps_of(one: StandingVerifier, body: VerdictReported) -> dict[str, JSONValue]:
    """Return the stamps of a verdict, with its outcome as one more.

    Raises:
        Refusal: VERDICT_FORM for an outcome, a stamp or a finding that is not as declared.
    """
    if body.outcome not in _ANSWERS:
        raise Refusal(Reason.VERDICT_FORM, "`outcome` is pass, deny or ask")
    if utf8_size(body.stamps) > limits.STAMPS_BYTES_MAX:
        raise Refusal(Reason.VERDICT_FORM, f"`stamps` has at most {limits.STAMPS_BYTES_MAX} bytes")
    try:
        stamps = jcs.parse_strict(body.stamps.encode())
    except (jcs.MalformedJSONError, UnicodeEncodeError):
        raise Refusal(Reason.VERDICT_FORM, "`stamps` is not strict JSON") from None
    if not isinstance(stamps, dict) or stamps.keys() != one.types.keys():
        raise Refusal(Reason.VERDICT_FORM, f"`stamps` has exactly the stamps that {one.declared.prefix} declared")
    for name, value in stamps.items():
        if not verifiers.has_type(value, one.types[name]):
            raise Refusal(Reason.VERDICT_FORM, f"the stamp {name} has not the declared type {one.types[name]}")
    if len(body.findings) > limits.VERDICT_FINDINGS_MAX or not all(map(_is_finding, body.findings)):
        want = f"`findings` has at most {limits.VERDICT_FINDINGS_MAX} places, with kinds of 1 to 64 of a-z, 0-9, _.-"
        raise Refusal(Reason.VERDICT_FORM, want)
    return {**stamps, OUTCOME: body.outcome}


def _is_finding(one: VerifierFinding) -> bool:
    # Kind and path stand in the detail of a denial, which people read.
    named = 0 < len(one.kind) <= _KIND_CHARS_MAX and one.kind[0] in _LETTERS and _KIND.issuperset(one.kind)
    placed = len(one.path) <= _PATH_CHARS_MAX and is_plain_text(one.path)
    return named and placed and 0 <= one.start <= one.end <= _PLACE_MAX
