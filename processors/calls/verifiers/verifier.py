"""A verifier, the view of a call or result that it gets, and its answer (docs/verifiers.md).

A verifier in the fold is a pure function of its view. It only narrows: no answer allows a call that a policy denies.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from processors.calls.verifiers.catalogue_rules import NO_CATALOGUES, Catalogues
from processors.calls.verifiers.texts import Texts
from processors.policy.evaluation import Work
from processors.proof.jcs import JSONValue
from processors.state.settings import SETTINGS, TenantSettings, value_of
from schemas.events.verdicts import VerifierFinding, VerifierVerdict
from schemas.records import Event, InvocationRequested
from schemas.rows import SessionRow
from schemas.words import Surface, VerifierOutcome

OFF, STAMP = "off", "stamp"  # modes of a verifier; any other one denies, or withholds
FINDINGS_MAX = 8  # of one verifier on the log; the stamps count all


Modes = Mapping[str, str]
_PARTS = {Surface.ARGUMENTS: "verifiers.", Surface.RESULT: "results."}
SCHEMA_OF = {Surface.ARGUMENTS: "parameters", Surface.RESULT: "output_schema"}  # the setting of the schema's verifier


@functools.lru_cache(maxsize=1024)
def modes_of(settings: TenantSettings, surface: Surface) -> Modes:
    """Return the mode of each verifier that is not off on a surface, by the last part of its setting's name."""
    part = _PARTS[surface]
    told = {name.removeprefix(part): value_of(settings, name) for name in SETTINGS if name.startswith(part)}
    for name in ("stop_on_first_failure", "unread"):
        told.pop(name, None)
    return {name: mode for name, mode in told.items() if mode != OFF}


def denies_unread(settings: TenantSettings, surface: Surface) -> bool:
    """Return whether a verifier that denies also denies a text that it has not read to its end."""
    return value_of(settings, f"{_PARTS[surface]}unread") in {"deny", "withhold"}


class VerifierView(NamedTuple):
    """A call, or a result, as verifiers see it.

    `value` are the parameters, or the result. `texts` are empty where no verifier that is on reads them. `schema` is
    the JSON schema that the tool declares for it. `modes` are those of the verifiers that the tenant's settings ask
    for. `work` is the rest of the call's budget.
    `denies_unread` says that a rest that was not read is no better than a finding. `catalogues` are the tenant's.
    """

    surface: Surface
    resource: str
    value: JSONValue
    texts: Texts
    schema: str | None
    modes: Modes
    work: Work
    denies_unread: bool = True
    catalogues: Catalogues = NO_CATALOGUES


class VerifiedCall(Protocol):
    """A call, as far as verifiers look at it: the operation that is asked for, and the session that asks."""

    @property
    def body(self) -> InvocationRequested:
        """The operation and its parameters."""
        ...

    @property
    def session(self) -> SessionRow:
        """The session, as it stands."""
        ...

    @property
    def event(self) -> Event:
        """Its event."""
        ...

    @property
    def session_id(self) -> bytes:
        """The session's id."""
        ...


class Verification(NamedTuple):
    """The answer of one verifier: outcome, reason code for a denial, findings, and stamps under its own name."""

    verifier: str
    priority: int
    outcome: VerifierOutcome
    reason: str = ""
    findings: tuple[VerifierFinding, ...] = ()
    stamps: Mapping[str, JSONValue] = {}
    work: int = 0
    catalogue: bytes | None = None

    def recorded(self, surface: Surface) -> VerifierVerdict:
        """Return the answer as it stands on the log."""
        return VerifierVerdict(
            verifier=self.verifier,
            priority=self.priority,
            surface=str(surface),
            outcome=str(self.outcome),
            reason=self.reason,
            catalogue=self.catalogue,
            findings=self.findings[:FINDINGS_MAX],
            work=self.work,
        )


class CallVerifier(Protocol):
    """A verifier of calls and results. The pipeline runs them in the order of (priority, name)."""

    @property
    def name(self) -> str:
        """The name: also of its settings and its stamps."""
        ...

    @property
    def priority(self) -> int:
        """The place in the order; a lower one comes first."""
        ...

    def should_verify(self, view: VerifierView) -> bool:
        """Return whether the tenant's settings ask for it, and the view has something to look at."""
        ...

    def verify(self, view: VerifierView) -> Verification:
        """Look at a view.

        Raises:
            BodyUnseenError: a text that it must see travels beside the call.
            WorkExceededError: the rest of the call's budget does not suffice.
        """
        ...
