"""Texts of a call that travel beside it: which ones, and to whom. The log gets their digests only."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from processors.calls.bodies import TakesBodies, holds_mark, texts_at, with_leaves, written
from processors.policy.errors import PolicyError
from processors.policy.evaluation import new_work
from processors.policy.paths import leads_to, parse_path, reached
from processors.proof import jcs
from processors.text.forms import nfc
from producers.kafka.body_records import Outgoing, Recipients
from schemas import limits
from schemas.errors import InputError
from schemas.reasons import Reason

_MARKED = b'"$body":'


class BodyPathError(InputError):
    """A secret of a call, or an object with the member `$body`, cannot be sent as it stands; nothing was sent."""


class NoReceiverError(BodyPathError):
    """A call has a secret, and no live tool would receive it; nothing was sent. `reason` is TOOL_UNAVAILABLE."""

    reason = str(Reason.TOOL_UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Destination:
    """The receiver of a call: its declaration, and the way to the kid and X25519 key of each of its live instances."""

    takes: TakesBodies
    recipients: Callable[[], Recipients]


@dataclass(frozen=True, slots=True)
class Moved:
    """The parameters of a call as the log gets them, and the bodies that travel beside it. Its repr shows no value."""

    parameters: Mapping[str, Any]
    canonical: bytes
    bodies: tuple[Outgoing, ...] = ()

    def __repr__(self) -> str:
        return f"Moved({len(self.canonical)} bytes, {len(self.bodies)} bodies)"


def moved_out(
    parameters: Mapping[str, Any],
    takes: TakesBodies | None,
    *,
    secrets: Collection[str] = (),
    room: int = limits.BODY_PARAMETERS_BYTES,
) -> Moved:
    """Return parameters without their secrets, and without their largest texts until they have at most `room` bytes.

    Secret are the texts at the paths in `secrets`, and those at paths that the declaration calls opaque. Only texts at
    declared paths are moved, so the rest may be larger still, and the log may refuse it.

    Raises:
        BodyPathError: the receiver declares no body at a secret's path, or no text is there; or an object of the
            caller's own has the member `$body`.
        ValueError: the parameters are not JSON that the log would take.
    """
    canonical = jcs.canonical(dict(parameters))
    if _MARKED in canonical and holds_mark(dict(parameters)):
        raise BodyPathError("an object with the member `$body` would be taken for a body: give it another name")
    if takes is None or not takes.body_paths:
        if secrets:
            raise BodyPathError("the tool declares no bodies, so it takes no secrets; nothing was sent")
        return Moved(parameters, canonical)
    texts = {steps: (text, opaque) for steps, text, opaque in texts_at(parameters, takes)}
    chosen = {steps for steps, (_, opaque) in texts.items() if opaque}
    for path in secrets:
        chosen |= _places_of(path, parameters, texts)
    size = len(canonical) - sum(_saved(texts[steps][0]) for steps in chosen)
    sizes = {steps: len(text.encode()) for steps, (text, _) in texts.items()}
    total = sum(sizes[steps] for steps in chosen)
    for steps in sorted(texts.keys() - chosen, key=lambda one: -sizes[one]):
        fits = total + sizes[steps] <= limits.BODY_CALL_BYTES_MAX and sizes[steps] <= limits.BODY_BYTES_MAX
        if size <= room or len(chosen) >= limits.BODIES_PER_CALL_MAX:
            break
        if fits and _saved(texts[steps][0]) > 0:
            chosen.add(steps)
            size, total = size - _saved(texts[steps][0]), total + sizes[steps]
    if not chosen:
        return Moved(parameters, canonical)
    bodies = {steps: Outgoing.of(texts[steps][0].encode()) for steps in chosen}
    wire = with_leaves(parameters, {steps: written(one.reference) for steps, one in bodies.items()})
    return Moved(wire, jcs.canonical(wire), tuple(bodies.values()))


def check_no_secret(parameters: Mapping[str, Any], known: TakesBodies | None, secrets: Collection[str]) -> None:
    """Raise NoReceiverError if a call without a receiver has a secret: one that it names, or one that was declared.

    It would go to the log in the clear, and for nothing.
    """
    if secrets or (known is not None and any(opaque for _, _, opaque in texts_at(parameters, known))):
        raise NoReceiverError("no live tool that takes the call's secret is there; nothing was sent")


def _places_of(path: str, parameters: Mapping[str, Any], texts: Collection[tuple[str | int, ...]]) -> set[Any]:
    """Return the places of a secret. Raises BodyPathError unless every value at its path is a text that may move."""
    try:
        place = parse_path(nfc(path), "")
        values = reached(parameters, place, new_work())
    except PolicyError:
        raise BodyPathError(f"a secret is named by a path to a parameter, as `api_key`: got {path[:80]!r}") from None
    places = {steps for steps in texts if leads_to(place, steps)}
    if not values or len(places) != len(values):
        raise BodyPathError(f"the secret {path[:80]!r} is not a text at a path where the tool takes bodies")
    return places


def _saved(text: str) -> int:
    """Return how many bytes the parameters lose when a text leaves them, about."""
    return len(text) - 120
