r"""Bodies: texts of a call, and results, that travel beside the log and are named on it by a digest (docs/wire.md 19).

In the parameters of a call `{"$body": {"digest": hex, "size": bytes}}` stands where the text stood, at a path that the
owner of the resource has declared. The digest is salted: SHA-256("macaw/body/v1\n" ‖ salt ‖ content). No rule sees the
content, so a rule that looks at it denies (`evaluation.Unseen`).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple, Protocol

from processors.calls.parameters import Parameters
from processors.policy.evaluation import HIDDEN, OPAQUE, Work, spend
from processors.policy.limits import KEY_NODE_UNITS
from processors.policy.parameter_checks import nodes_in
from processors.policy.paths import ANYWHERE, ParsedPath, leads_to, parse_path
from processors.proof import jcs
from processors.proof.jcs import JSONValue
from processors.refusal import Refusal
from processors.text.forms import nfc
from schemas import limits
from schemas.events.bodies import BodyReference
from schemas.reasons import Reason
from schemas.records import ResultReported
from schemas.words import Outcome

MEMBER = "$body"
BODY_TAG = b"macaw/body/v1\n"
STREAM_TAG = b"macaw/stream/v1\n"
SALT_BYTES, INDEX_BYTES = 16, 4
_IN_CANONICAL = b'"$body":'  # a text that holds these characters has them escaped
_HEX = frozenset("0123456789abcdef")

Steps = tuple[str | int, ...]  # the names and indexes that lead to a value


class TakesBodies(Protocol):
    """The declaration of an operation, as far as bodies go: a row of the log, or the operation's own declaration."""

    @property
    def body_paths(self) -> tuple[str, ...]:
        """The paths of texts that may travel beside a call; `*` is every text."""
        ...

    @property
    def opaque_paths(self) -> tuple[str, ...]:
        """Those of them for which rules may ask whether the text is there."""
        ...


class Placed(NamedTuple):
    """A body of a call, and its place in the parameters."""

    steps: Steps
    reference: BodyReference
    opaque: bool


def body_digest(salt: bytes, content: bytes) -> bytes:
    """Return the digest that names a body. Requires a salt of SALT_BYTES random bytes."""
    return sha256(BODY_TAG + salt + content).digest()


def stream_digest(payloads: Sequence[bytes]) -> bytes:
    """Return the digest of a stream from the digests of its chunks' payloads, in order."""
    return sha256(STREAM_TAG + b"".join(payloads)).digest()


def chunk_payload(body: bytes, index: int, salt: bytes, content: bytes) -> bytes:
    """Return the payload of a chunk, before it is sealed."""
    return body + index.to_bytes(INDEX_BYTES, "big") + salt + content


def chunk_count(size: int) -> int:
    """Return how many chunks a body of this size has; an empty one has one."""
    return max(1, -(-size // limits.BODY_CHUNK_BYTES))


def reference_to(salt: bytes, content: bytes) -> BodyReference:
    """Return the reference to a body."""
    return BodyReference(digest=body_digest(salt, content), size=len(content), chunks=chunk_count(len(content)))


def written(reference: BodyReference) -> dict[str, JSONValue]:
    """Return the object that stands in JSON in place of a body."""
    return {MEMBER: {"digest": reference.digest.hex(), "size": reference.size}}


# ---- parameters


def judged(
    references: Sequence[BodyReference], parameters: Parameters, takes: TakesBodies | None, work: Work
) -> dict[str, JSONValue]:
    """Return the parameters as rules see them: a body is `Unseen`.

    Raises:
        Refusal: BODY_REFERENCE, or LIMIT_EXCEEDED.
        WorkExceededError.
    """
    if not references and _IN_CANONICAL not in parameters.canonical:
        return parameters.value
    spend(work, KEY_NODE_UNITS * nodes_in(parameters.value))
    placed = placed_bodies(references, parameters.value, takes)
    return with_leaves(parameters.value, {one.steps: OPAQUE if one.opaque else HIDDEN for one in placed})


def placed_bodies(
    references: Sequence[BodyReference], value: Mapping[str, JSONValue], takes: TakesBodies | None
) -> tuple[Placed, ...]:
    """Return the bodies of a call by their places, having checked that parameters and list name the same ones.

    Raises:
        Refusal: BODY_REFERENCE if they do not, an object with the member `$body` is not a reference, or stands where
            the resource takes none; LIMIT_EXCEEDED.
    """
    _check_bounds(references)
    by_digest = {one.digest: one for one in references}
    if len(by_digest) < len(references):
        raise Refusal(Reason.BODY_REFERENCE, "`bodies` lists a body twice")
    placed = []
    for steps, found in _marked(dict(value), ()):
        reference = by_digest.pop(_digest_in(found), None)
        if reference is None or jcs.canonical(found) != jcs.canonical(written(reference)):
            raise Refusal(Reason.BODY_REFERENCE, "an object with the member `$body` is not a body that the call lists")
        if takes is None or not _leads_there(takes.body_paths, steps):
            raise Refusal(Reason.BODY_REFERENCE, "a body stands where the resource declares none")
        placed.append(Placed(steps, reference, _leads_there(takes.opaque_paths, steps)))
    if by_digest:
        raise Refusal(Reason.BODY_REFERENCE, "`bodies` lists a body that the parameters do not name")
    return tuple(placed)


def with_leaves(value: Mapping[str, JSONValue], leaves: Mapping[Steps, object]) -> dict[str, JSONValue]:
    """Return a copy of parameters with other values at some places; containers without one of them are shared."""
    inside = {steps[:count] for steps in leaves for count in range(len(steps))}

    def copied(one: JSONValue, steps: Steps) -> JSONValue:
        if steps in leaves:
            return leaves[steps]  # type: ignore[return-value]
        if steps not in inside:
            return one
        if isinstance(one, dict):
            return {name: copied(member, (*steps, name)) for name, member in one.items()}
        assert isinstance(one, list)  # INVARIANT: a place was found inside
        return [copied(item, (*steps, at)) for at, item in enumerate(one)]

    copy = copied(dict(value), ())
    assert isinstance(copy, dict)
    return copy


def texts_at(value: Mapping[str, JSONValue], takes: TakesBodies) -> Iterator[tuple[Steps, str, bool]]:
    """Yield (place, text, opaque) of every text that may travel beside a call."""
    for steps, found in _leaves(value, ()):
        if isinstance(found, str) and _leads_there(takes.body_paths, steps):
            yield steps, found, _leads_there(takes.opaque_paths, steps)


def holds_mark(value: JSONValue) -> bool:
    """Return True if an object with the member `$body` stands in a value: it would be taken for a body."""
    return next(_marked(value, ()), None) is not None


def _check_bounds(references: Sequence[BodyReference]) -> None:
    if len(references) > limits.BODIES_PER_CALL_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"a call has at most {limits.BODIES_PER_CALL_MAX} bodies")
    for one in references:
        _check_form(one, limits.BODY_BYTES_MAX, Reason.BODY_REFERENCE)
    if sum(one.size for one in references) > limits.BODY_CALL_BYTES_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"the bodies of a call have at most {limits.BODY_CALL_BYTES_MAX} bytes")


def _check_form(one: BodyReference, size_max: int, reason: Reason) -> None:
    if len(one.digest) != limits.DIGEST_BYTES or not 0 <= one.size <= size_max or one.chunks != chunk_count(one.size):
        want = f"a body has a digest of {limits.DIGEST_BYTES} bytes, 0 to {size_max} bytes, and chunks of "
        raise Refusal(reason, f"{want}{limits.BODY_CHUNK_BYTES}")


def _marked(value: JSONValue, steps: Steps) -> Iterator[tuple[Steps, dict[str, JSONValue]]]:
    """Yield every object with the member `$body`, with its place; nothing inside one is looked at."""
    if isinstance(value, dict):
        if MEMBER in value:
            yield steps, value
            return
        for name, member in value.items():
            yield from _marked(member, (*steps, name))
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from _marked(item, (*steps, at))


def _leaves(value: object, steps: Steps) -> Iterator[tuple[Steps, object]]:
    if isinstance(value, Mapping):
        for name, member in value.items():
            yield from _leaves(member, (*steps, name))
    elif isinstance(value, list | tuple):
        for at, item in enumerate(value):
            yield from _leaves(item, (*steps, at))
    else:
        yield steps, value


def _digest_in(found: Mapping[str, JSONValue]) -> bytes:
    """Return the digest in an object with the member `$body`, empty if it has none."""
    inner = found[MEMBER]
    digest = inner.get("digest") if isinstance(inner, dict) else None
    return bytes.fromhex(digest) if isinstance(digest, str) and _is_hex(digest) else b""


def _is_hex(text: str) -> bool:
    return len(text) == 2 * limits.DIGEST_BYTES and _HEX.issuperset(text)


def _leads_there(paths: Sequence[str], steps: Steps) -> bool:
    return bool(steps) and any(path == ANYWHERE or leads_to(_parsed(path), steps) for path in paths)


@functools.lru_cache(maxsize=1024)
def _parsed(path: str) -> ParsedPath:
    return parse_path(nfc(path), "")


# ---- results


def result_reference(report: ResultReported) -> BodyReference | None:
    """Return the reference to a result that travels beside its report, None for one that stands in it.

    A result that holds an object with the member `$body` as its own data stands in a report that lists no bodies.
    Requires a report that the log has accepted.
    """
    return report.bodies[0] if report.bodies else None


def check_whole(references: Sequence[BodyReference], text: str, reason: Reason) -> None:
    """Check that a text is the object of the one body that stands for it. Raises Refusal with the reason."""
    if len(references) != 1:
        raise Refusal(reason, "one body stands for the whole")
    _check_form(references[0], limits.BODY_BYTES_MAX, reason)
    if text.encode("utf-8", "surrogatepass") != jcs.canonical(written(references[0])):
        raise Refusal(reason, "the text does not name the body that `bodies` lists")


def check_report(report: ResultReported) -> None:
    """Check the form of the bodies of a report. Raises Refusal MALFORMED_RESULT."""
    if report.bodies:
        if report.outcome != Outcome.OK or report.stream is not None:
            raise Refusal(Reason.MALFORMED_RESULT, "only the result of a call that ended well is a body")
        check_whole(report.bodies, report.body, Reason.MALFORMED_RESULT)
    if report.stream is not None:
        _check_stream(report.stream)


def _check_stream(stream: BodyReference) -> None:
    fits = 0 <= stream.size <= limits.STREAM_BYTES_MAX and 0 <= stream.chunks <= limits.STREAM_ITEMS_MAX
    if len(stream.digest) != limits.DIGEST_BYTES or not fits:
        raise Refusal(Reason.MALFORMED_RESULT, "`stream` has a digest of another size, or too many items or bytes")
