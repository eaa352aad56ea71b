"""The model of `stackone-defender` as a verifier of results: it passes a result in which it sees no orders to a model.

A shipped example of a verifier of results:

    macaw verifier register stackone macaw.verifiers.stackone

then a rule `not_from` may say `"unless_cleared_by": "verifier:stackone"`. Needs the extra `stackone`, pinned: another
release has another model, and so other scores. The model is inside the package; nothing is fetched.

A result is one text: the texts and numbers of its JSON in their order, a line each, with those of its attestations; a
text that is JSON itself is read so too. Plain names of members are a second text. Each is cut into windows of tokens,
and the model sees one window at a time, without padding and in one thread. So the score of a text does not depend on
any other text. On another processor it may be another one.

A text is unread, and not passed, where the model would see less than a reader: beyond the bounds, or with words of
which it knows no part. Encodings, such as base64, are not decoded. docs/verifiers.md has more.
"""

from __future__ import annotations

import importlib.metadata
import math
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import onnxruntime
from stackone_defender.classifiers.onnx_classifier import get_default_model_path
from tokenizers import Encoding, Tokenizer

from macaw.security.verification.result import ToolResult, VerificationResult
from macaw.security.verification.verifier import ResultVerifier
from processors.proof import jcs

PASS_MAX = -60  # tenths of a logit; above it a result stays marked
UNREAD_SCORE = 1_000  # tenths; no window of the model has so many
WINDOW_TOKENS = 200  # of 256 that the model takes: a window that is cut within a word may have some more
STEP_TOKENS = 150  # so neighbours share 50 tokens
WINDOWS_MAX = 32  # of one text: 4,850 tokens, some 20 KB; at 20 to 100 ms each they fit a judgement's ten seconds
TEXT_CHARS_MAX = 64 * 1024  # before anything looks at it
UNKNOWN_CHARS_MAX = 32  # of one word of which the model knows no part; such as a word of more than 100 characters
UNKNOWN_RUN_MAX = 3  # words in a row of which it knows no part: another script
UNKNOWN_SHARE = 10  # at most a tenth of a window's tokens
WORDS_MAX, NAME_CHARS = 4, 40  # of a plain name
_MODEL, _TOKENIZER, _UNKNOWN = "model_quantized.onnx", "tokenizer.json", "[UNK]"
_MODEL_TOKENS_MAX = 256
_PACKAGES = ("stackone-defender", "onnxruntime", "tokenizers")


class Score(NamedTuple):
    """The highest score of a text's windows in tenths of a logit, rounded up, and how many windows there were."""

    score: int
    windows: int
    unread: bool


UNREAD = Score(UNREAD_SCORE, 0, unread=True)


class Defender(ResultVerifier):
    """Passes results whose text the model scores at most PASS_MAX. A subclass may set `resources` and `pass_max`."""

    prefix: ClassVar[str] = "stackone"
    stamps: ClassVar[dict[str, Any]] = {"score": UNREAD_SCORE, "windows": 0, "unread": True}
    resources: ClassVar[tuple[str, ...]] = ("tool:**",)
    pass_max: ClassVar[int] = PASS_MAX

    def __init__(self) -> None:
        super().__init__("Defender")
        self.scope.resource_patterns = list(self.resources)
        self.scope.compile_patterns()
        self.version = f"1 {model_version()} {self.pass_max}"  # type: ignore[misc] # of the files that are there
        self._model: Model | None = None  # once it is needed: a declaration needs none

    def should_verify(self, invocation: Any, context: Any = None) -> bool:  # noqa: ARG002 - the known signature
        """Return True: the log has asked, and reads patterns more widely."""
        return True

    def verify_result(self, result: ToolResult, context: Any = None) -> VerificationResult:  # noqa: ARG002 - as above
        """Return the score of a result; without a denial it is passed. One that was not read asks for people."""
        if self._model is None:
            self._model = Model()
        found = self._model.score_of([result.value, result.attestations])
        stamps = {"score": found.score, "windows": found.windows, "unread": found.unread}
        passed = found.unread or found.score <= self.pass_max
        return VerificationResult(success=passed, stamps=stamps, asks_people=found.unread)


def model_version() -> str:
    """Return the versions of the packages, and the digests of model and tokenizer."""
    folder = Path(get_default_model_path())
    digests = (sha256((folder / name).read_bytes()).hexdigest()[:16] for name in (_MODEL, _TOKENIZER))
    packages = (f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    return " ".join((*packages, *digests))


class ResultTexts(NamedTuple):
    """The texts of a result: its body, and the plain names of members in it, each once."""

    body: str
    names: str


def texts_of(value: Any) -> ResultTexts:
    """Return the texts of a JSON value, a line each in their order: texts, numbers and odd names; and plain names.

    The name of a member is plain if it is spelt like one of a schema. Such names stand apart, because they change the
    score of an innocent text behind them.
    """
    body: list[str] = []
    names: dict[str, None] = {}
    waiting: list[Any] = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            for name, inner in reversed(one.items()):
                waiting += (inner,) if _is_plain(name) else (inner, name)
            names |= dict.fromkeys(filter(_is_plain, one))
        elif isinstance(one, list):
            waiting += reversed(one)
        elif isinstance(one, str):
            inside = _json_in(one)
            if inside is None:
                body.append(one)
            else:
                waiting.append(inside)
        elif one is not None and not isinstance(one, bool):
            body.append(jcs.canonical(one).decode())
    return ResultTexts("\n".join(body), "\n".join(names))


def _is_plain(name: str) -> bool:
    words = name.split("_")
    return name.isascii() and name.replace("_", "a").isalnum() and len(words) <= WORDS_MAX and len(name) <= NAME_CHARS


def _json_in(text: str) -> Any:
    """Return the object or list that a text is, None for any other text."""
    if text.lstrip()[:1] not in {"{", "["} or len(text) > TEXT_CHARS_MAX:
        return None
    try:
        return jcs.parse_strict(text.encode())
    except (jcs.MalformedJSONError, UnicodeEncodeError):
        return None


class Model:
    """The model and its tokenizer, from the files of the package."""

    def __init__(self) -> None:
        onnxruntime.disable_telemetry_events()  # there is none in the pinned release; later ones report to their maker
        folder = Path(get_default_model_path())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(folder / _MODEL), options, providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER))
        self._tokenizer.no_truncation()  # the file asks for both, and a rest that is cut off would not be read
        self._tokenizer.no_padding()
        self._unknown = self._tokenizer.token_to_id(_UNKNOWN)

    def score_of(self, value: Any) -> Score:
        """Return the score of a JSON value: the higher one of its two texts."""
        body, names = map(self.score, texts_of(value))
        if body.unread or names.unread:
            return UNREAD
        return Score(max(body.score, names.score), body.windows + names.windows, unread=False)

    def score(self, text: str) -> Score:
        """Return the score of a text. An empty one has the lowest."""
        if len(text) > TEXT_CHARS_MAX:
            return UNREAD
        tokens = self._tokenizer.encode(text, add_special_tokens=False)
        starts = range(0, max(1, len(tokens.ids) - (WINDOW_TOKENS - STEP_TOKENS)), STEP_TOKENS)
        if len(starts) > WINDOWS_MAX or any(self._is_unknown(tokens, at) for at in starts):
            return UNREAD
        scores: list[int] = []
        for at in starts:
            places = tokens.offsets[at : at + WINDOW_TOKENS]
            window = self._tokenizer.encode(text[places[0][0] : places[-1][1]] if places else "")
            if len(window.ids) > _MODEL_TOKENS_MAX:
                return UNREAD
            scores.append(math.ceil(10 * self._logit(window)))
        return Score(max(scores), len(scores), unread=False)

    def _is_unknown(self, tokens: Encoding, at: int) -> bool:
        """Return whether the model knows too little of the window that begins at a token."""
        ids, places = tokens.ids[at : at + WINDOW_TOKENS], tokens.offsets[at : at + WINDOW_TOKENS]
        unknown, in_a_row = 0, 0
        for token, (start, end) in zip(ids, places, strict=True):
            in_a_row = in_a_row + 1 if token == self._unknown else 0
            if token == self._unknown:
                unknown += 1
                if end - start > UNKNOWN_CHARS_MAX or in_a_row > UNKNOWN_RUN_MAX:
                    return True
        return unknown * UNKNOWN_SHARE > len(ids)

    def _logit(self, window: Encoding) -> float:
        given = {
            "input_ids": np.array([window.ids], dtype=np.int64),
            "attention_mask": np.array([window.attention_mask], dtype=np.int64),
        }
        return float(self._session.run(None, given)[0][0][0])
