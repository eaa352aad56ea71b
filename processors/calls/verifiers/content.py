"""The verifiers that read texts: instructions to models, commands, personal data, and secrets.

Each runs where the tenant's settings name it, as `stamp` or as `deny`; of results, as `withhold`. A finding holds a
kind and a place, never the text. In arguments only texts that no person has signed are looked at for instructions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from processors.calls.verifiers.texts import Leaf
from processors.calls.verifiers.verifier import OFF, STAMP, Verification, VerifierView
from processors.content.hits import Hit
from processors.content.identity import OWN_SHA256
from processors.policy.errors import BodyUnseenError
from processors.policy.evaluation import spend
from processors.proof.jcs import JSONValue
from schemas.events.verdicts import VerifierFinding
from schemas.reasons import Reason
from schemas.words import Surface, VerifierOutcome

KINDS_MAX = 16  # in stamps

Find = Callable[[str], tuple[Hit, ...]]


@dataclass(frozen=True, slots=True)
class ContentVerifier:
    """A verifier of texts, by one detector. `units` and `byte_units` are the cost of a text and of each byte."""

    name: str
    priority: int
    reason: Reason
    detector: Callable[[], Find]  # loads the detector's tables at its first use
    units: int
    byte_units: int
    reads_signed: bool = True
    reads_decoded: bool = False  # catalogues: as detectors of attacks do, the other readings of a text too

    def should_verify(self, view: VerifierView) -> bool:
        """Return whether the tenant's settings ask for it on this surface."""
        return self._mode(view) != OFF

    def verify(self, view: VerifierView) -> Verification:
        """Look at all texts of the view. Raises BodyUnseenError, WorkExceededError."""
        before, mode, texts = view.work[0], self._mode(view), view.texts
        if texts.unseen and mode != STAMP:
            raise BodyUnseenError("a verifier looks at a text that travels beside the call")
        leaves = texts.leaves
        if not self.reads_signed:
            leaves = tuple(leaf for leaf in leaves if not leaf.is_signed)
        whole = sum(not leaf.is_word for leaf in leaves)
        spend(view.work, self.units * whole + self.byte_units * sum(leaf.size for leaf in leaves))
        find, findings = self.detector(), list[VerifierFinding]()
        matched = view.catalogues.get(self.name)
        for leaf in leaves:
            if hits := find(leaf.text):
                findings += [_finding(leaf, hit) for hit in hits]
            if matched is not None:
                found = matched.hits(leaf.text, view.work, decoded=self.reads_decoded)
                findings += [_finding(leaf, hit) for hit in found]
        cut = texts.is_truncated or texts.unseen > 0
        denies = mode != STAMP and (bool(findings) or (cut and view.denies_unread))
        kinds: list[JSONValue] = [*sorted({one.kind for one in findings})[:KINDS_MAX]]
        return Verification(
            self.name,
            self.priority,
            VerifierOutcome.DENY if denies else VerifierOutcome.PASS,
            self._reason_of(view, is_found=bool(findings)) if denies else "",
            tuple(findings),
            # A text that was not read to its end may hold anything.
            {"found": bool(findings) or cut, "count": len(findings), "kinds": kinds, "unread": cut or texts.opaque > 0},
            before - view.work[0],
            OWN_SHA256 if matched is None else matched.digest,
        )

    def _mode(self, view: VerifierView) -> str:
        return view.modes.get(self.name, OFF)

    def _reason_of(self, view: VerifierView, *, is_found: bool) -> str:
        if view.surface == Surface.RESULT:
            return str(Reason.RESULT_WITHHELD)
        return str(self.reason if is_found else Reason.TEXT_UNREAD)


def _finding(leaf: Leaf, hit: Hit) -> VerifierFinding:
    return VerifierFinding(kind=hit.kind, path=leaf.pointer, start=hit.start, end=hit.end)


@functools.cache
def _injection() -> Find:
    from processors.content import injection

    return injection.find


@functools.cache
def _commands() -> Find:
    from processors.content import commands

    return commands.find


@functools.cache
def _personal() -> Find:
    from processors.content import personal

    return personal.find


@functools.cache
def _secrets() -> Find:
    from processors.content import secret_tokens

    return secret_tokens.find


# Units of 50 ns. The dearest texts that were found take up to 2.3 times as long (docs/limitations.md).
PROMPT_INJECTION = ContentVerifier(
    "prompt_injection", 40, Reason.PROMPT_INJECTION, _injection, 2_000, 60, reads_signed=False, reads_decoded=True
)
COMMAND_INJECTION = ContentVerifier(
    "command_injection", 50, Reason.COMMAND_INJECTION, _commands, 4_000, 20, reads_decoded=True
)
PERSONAL_DATA = ContentVerifier("personal_data", 60, Reason.PERSONAL_DATA, _personal, 2_000, 60)
SECRETS = ContentVerifier("secrets", 65, Reason.SECRET_FOUND, _secrets, 1_000, 30)
EVERY = (PROMPT_INJECTION, COMMAND_INJECTION, PERSONAL_DATA, SECRETS)
