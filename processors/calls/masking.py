"""Masking: the parameters of a call as its tool gets them, with the values blanked that policies name (docs/mapl.md 4).

Below a path that a policy masks, every finding of `personal_data` and `secrets`, the tenant's catalogues for them
included, is replaced by the fixed token of its kind. A value that cannot be replaced denies the call: nothing that a
policy wants blanked reaches the tool. The caller's event stays as it was signed; the decision lists what was changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from processors.calls import bodies, catalogues, requests
from processors.calls.call import Call
from processors.calls.denial import DeniedCall
from processors.calls.executor import Executor
from processors.calls.parameters import Parameters, parameters_of
from processors.calls.verifiers.content import PERSONAL_DATA, SECRETS, ContentVerifier
from processors.calls.verifiers.texts import BYTES_MAX, LEAVES_MAX, TEXT_BYTES_MAX, TEXT_CHARS_MIN, is_read
from processors.content.hits import Hit
from processors.content.mask_tokens import TOKENS
from processors.content.masking import blanked
from processors.policy.evaluation import Unseen, Work, spend
from processors.policy.limits import REACHED_VALUE_UNITS
from processors.policy.masks import Steps, covering, is_named
from processors.policy.paths import ANYWHERE
from processors.policy.verdict import Verdict
from processors.proof import jcs
from processors.proof.jcs import JSONValue
from processors.state.tables import Tables
from processors.text.characters import utf8_size
from schemas.reasons import Reason
from schemas.records import Change

MASKING: tuple[ContentVerifier, ...] = (PERSONAL_DATA, SECRETS)
_SCALARS = (str, int, float)


class Masked(NamedTuple):
    """The parameters that the tool gets, and where they differ from those that the caller signed."""

    parameters: Parameters
    changed: tuple[Change, ...] = ()


def masked(
    tables: Tables,
    asked: Call,
    parameters: Parameters,
    verdict: Verdict,
    executor: Executor | None,
    work: Work,
) -> Masked:
    """Return a call's parameters, masked as its policies ask. Requires bodies that were judged.

    A call that people were asked about must have the very form that they were shown.

    Raises:
        DeniedCall: BODY_UNSEEN for a text beside the call; TEXT_UNREAD for texts that are too long to be read;
            PARAM_NOT_MASKABLE for a number or the name of a member in which something is found; PARAMETERS_INVALID
            where the masked parameters do not fit the schema of the tool; APPROVAL_MISMATCH.
        WorkExceededError.
    """
    executed = _masked(tables, asked, parameters, verdict, executor, work) if verdict.masks else Masked(parameters)
    if any(row.parameters_sha256 != executed.parameters.sha256 for row in requests.asked_by(tables, asked.leaf)):
        told = "the policies mask the call otherwise than when people were asked"
        raise DeniedCall(Reason.APPROVAL_MISMATCH, told, verdict.policies)
    return executed


def _masked(
    tables: Tables, asked: Call, parameters: Parameters, verdict: Verdict, executor: Executor | None, work: Work
) -> Masked:
    masker = _Masker(tables, verdict, () if executor is None else executor.maskable_paths, work)
    texts = masker.texts(bodies.judged(asked.body.bodies, parameters, executor, work))
    if not texts:
        return Masked(parameters)
    value = bodies.with_leaves(parameters.value, texts)
    if executor is not None and executor.input_schema is not None:
        _check_schema(value, executor.input_schema, verdict, work)
    changed = tuple(Change(path=path, verifier=verifier) for path, verifier in sorted(masker.changed))
    return Masked(parameters_of(value), changed)


def _check_schema(value: dict[str, JSONValue], text: str, verdict: Verdict, work: Work) -> None:
    """Raise DeniedCall PARAMETERS_INVALID if masked parameters do not fit the schema of their tool."""
    from processors.content.parameter_schemas import compiled  # clients have no library for schemas

    schema = compiled(text)
    spend(work, schema.units(value))
    if not schema.fits(value):
        detail = "the masked parameters do not fit the schema of the tool"
        raise DeniedCall(Reason.PARAMETERS_INVALID, detail, verdict.policies)


class _Masker:
    """One call: the bytes that may still be read, and the changes so far."""

    def __init__(self, tables: Tables, verdict: Verdict, maskable: tuple[str, ...], work: Work) -> None:
        self._verdict = verdict
        self._maskable = maskable
        self._work = work
        self._left = BYTES_MAX
        self._texts_left = LEAVES_MAX
        self._catalogues = catalogues.in_force(tables)
        self.changed: set[tuple[str, str]] = set()

    def texts(self, judged: Mapping[str, JSONValue]) -> dict[Steps, JSONValue]:
        """Return the masked texts by their places: those that differ. Raises DeniedCall, WorkExceededError."""
        found: dict[Steps, JSONValue] = {}
        for steps, value, path in self._places(dict(judged), ()):
            if type(value) is Unseen:
                self._deny(Reason.BODY_UNSEEN, path, "a text that travels beside the call stands below a masked path")
            elif isinstance(value, str):
                text, verifiers = self._masked(value, path)
                if text != value:
                    found[steps] = text
                    declared = covering(self._maskable, steps)
                    assert declared is not None  # INVARIANT: policies judged that every place is maskable
                    self.changed |= {(declared, verifier) for verifier in verifiers}
            elif isinstance(value, _SCALARS) and not isinstance(value, bool):
                # A rule finds numbers by their digits; no token can stand for one, for its type would change.
                self._check(jcs.canonical(value).decode(), path, "a number")
        return found

    def _places(self, value: object, steps: Steps, below: str = "") -> Iterator[tuple[Steps, object, str]]:
        """Yield every scalar below a masked path, with that path, and look at the names of members."""
        spend(self._work, REACHED_VALUE_UNITS * (1 + (0 if below else len(self._verdict.masks))))
        path = below or next((one for one in self._verdict.masks if one == ANYWHERE or is_named(one, steps)), "")
        if isinstance(value, dict):
            for name, inner in value.items():
                if path and is_read(name):
                    self._check(name, path, "the name of a member")
                yield from self._places(inner, (*steps, name), path)
        elif isinstance(value, list):
            for at, inner in enumerate(value):
                yield from self._places(inner, (*steps, at), path)
        elif path:
            yield steps, value, path

    def _check(self, text: str, path: str, what: str) -> None:
        if self._masked(text, path)[0] != text:
            self._deny(Reason.PARAM_NOT_MASKABLE, path, f"{what} below it holds a value that no token can stand for")

    def _masked(self, text: str, path: str) -> tuple[str, set[str]]:
        """Return a text as the tool gets it, and the verifiers that found something. Raises DeniedCall."""
        if len(text) < TEXT_CHARS_MIN:
            return text, set()
        size = utf8_size(text)
        if size > min(TEXT_BYTES_MAX, self._left) or not self._texts_left:
            self._deny(Reason.TEXT_UNREAD, path, "more text stands below a masked path than verifiers read")
        self._left -= size
        self._texts_left -= 1
        verifiers: set[str] = set()
        return blanked(text, lambda one: self._found(one, verifiers)), verifiers

    def _found(self, text: str, verifiers: set[str]) -> list[Hit]:
        found: list[Hit] = []
        for one in MASKING:
            spend(self._work, one.units + one.byte_units * utf8_size(text))
            hits = list(one.detector()(text))
            if (own := self._catalogues.get(one.name)) is not None:
                hits += own.hits(text, self._work, decoded=False)
            if hits:
                verifiers.add(one.name)
            found += hits
        return found

    def _deny(self, reason: Reason, path: str, detail: str) -> None:
        policies = self._verdict.policies
        raise DeniedCall(reason, f"masked parameter {path}: {detail}", policies, f"parameter {path}")


assert {one.name for one in MASKING} == set(TOKENS)
