"""The definitions of a server's tools: their digests, and those that are held back.

A model follows the words of a definition as it follows a prompt. So the first definitions that a gateway sees are
pinned, and any later change is held back until an administrator has approved it. A definition is also held back where
its name could be taken for another one's, or where the verifiers of texts find an order to the model in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from macaw.gateway.names import tool_resource
from processors.calls.verifiers.trial import tried
from processors.policy.errors import ResourceInvalidError
from processors.policy.patterns import ResourceName, resource_name
from processors.proof import jcs
from schemas import limits
from schemas.words import Surface, VerifierOutcome

BYTES_MAX = 64 * 1024  # of one definition
TOOLS_MAX = limits.TOOLS_PER_PRINCIPAL_MAX - 16  # the rest is for the other methods
NAMES_BYTES_MAX = 48 * 1024  # of the resources of all tools: one event offers them all
NODES_MAX = 8192
WINDOW_CHARS = 1000  # at most 4 KiB of UTF-8, which the verifiers read to their end
OVERLAP_CHARS = 200

INSTRUCTIONS = "(instructions)"
"""The name under which a server's instructions are pinned and approved, beside its tools."""

_UNPINNED = ("_meta", "icons")  # they change without a reason, and are not passed on


class HoldReason(StrEnum):
    """Why a tool is held back."""

    CHANGED = "CHANGED"  # its definition is not the approved one
    NEW = "NEW"  # it was not there when the server was first seen
    ALIKE = "ALIKE"  # another tool's name could be taken for it
    UNNAMEABLE = "UNNAMEABLE"  # the log takes no such name
    UNREADABLE = "UNREADABLE"  # it is no strict JSON, or too large
    SUSPECT = "SUSPECT"  # a verifier finds an order to the model in its words
    TOO_MANY = "TOO_MANY"  # the server offers more tools than a session may


WITHOUT_APPROVAL = frozenset({HoldReason.ALIKE, HoldReason.UNNAMEABLE, HoldReason.UNREADABLE, HoldReason.TOO_MANY})
"""No approval helps these: the server must change."""


@dataclass(frozen=True, slots=True)
class Definition:
    """A tool as its server lists it. `sha256` covers the whole of `listed`, so nothing is shown that is not pinned."""

    name: str
    sha256: str
    listed: Mapping[str, Any]

    @property
    def description(self) -> str:
        """The server's own words, in at most as many characters as the log takes."""
        return str(self.listed.get("description") or "")[: limits.DESCRIPTION_CHARS_MAX]


@dataclass(frozen=True, slots=True)
class Held:
    """A tool that is held back: its name, why, and the digest that an approval must name ("" where none can)."""

    name: str
    why: HoldReason
    sha256: str = ""
    detail: str = ""

    def told(self) -> dict[str, str]:
        """Return it as the log is told, within bounds."""
        return {"tool": self.name[:128], "why": str(self.why), "sha256": self.sha256, "detail": self.detail[:200]}


@dataclass(frozen=True, slots=True)
class Sorted:
    """The tools of a server, by name, and those that are held back."""

    served: Mapping[str, Definition]
    held: tuple[Held, ...]


def sorted_out(
    server: str, listed: Sequence[Mapping[str, Any]], approved: Callable[[Definition], HoldReason | None]
) -> Sorted:
    """Return which tools of a server's list are served. `approved` says why one is not, None if it is approved."""
    held: list[Held] = []
    read: list[Definition] = []
    spellings: dict[str, set[str]] = {}
    room = NAMES_BYTES_MAX
    for place, entry in enumerate(listed):
        given = entry.get("name")
        name = given if isinstance(given, str) else ""
        if place >= TOOLS_MAX:
            held.append(Held(name, HoldReason.TOO_MANY, detail=f"a session offers at most {TOOLS_MAX}"))
            continue
        if not name or name == INSTRUCTIONS:
            held.append(Held(name, HoldReason.UNNAMEABLE, detail="it has no name"))
            continue
        try:
            spelt = spellings_of(server, name)
            definition = Definition(name, digest_of(entry), _pinned(entry))
        except ResourceInvalidError:
            held.append(Held(name, HoldReason.UNNAMEABLE))
            continue
        except (jcs.MalformedJSONError, ValueError) as exc:
            held.append(Held(name, HoldReason.UNREADABLE, detail=str(exc)[:200]))
            continue
        room -= len(tool_resource(server, name).encode())
        if room < 0:
            held.append(Held(name, HoldReason.TOO_MANY, detail=f"all names take at most {NAMES_BYTES_MAX} bytes"))
            continue
        read.append(definition)
        for one in spelt:
            spellings.setdefault(one, set()).add(name)
    names = [one.name for one in read]
    alike = {name for same in spellings.values() if len(same) > 1 for name in same}
    alike |= {name for name in names if names.count(name) > 1}
    served: dict[str, Definition] = {}
    for definition in read:
        why = HoldReason.ALIKE if definition.name in alike else approved(definition)
        if why is None:
            served[definition.name] = definition
        else:
            held.append(Held(definition.name, why, "" if why in WITHOUT_APPROVAL else definition.sha256))
    return Sorted(served, tuple(held))


def spellings_of(server: str, tool: str) -> Iterable[str]:
    """Return the texts by which a policy finds a tool; tools that share one look alike. Raises ResourceInvalidError."""
    return _named(tool_resource(server, tool)).spellings


def _named(resource: str) -> ResourceName:
    """Return the name of a resource as the log takes it. Raises ResourceInvalidError."""
    found = resource_name(resource)
    if found.text != resource or len(resource) > limits.RESOURCE_CHARS_MAX:
        raise ResourceInvalidError("the name is too long, or not in Unicode's normal form C")
    return found


def instructions_as_definition(text: str) -> Definition:
    """Return a server's instructions in the form of a definition: a model reads them as well."""
    words = text.encode("utf-8", "backslashreplace").decode()
    return Definition(INSTRUCTIONS, hashlib.sha256(words.encode()).hexdigest(), {"description": words})


def digest_of(entry: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the parts that a model reads, in hex. Raises MalformedJSONError, ValueError."""
    text = jcs.canonical(_pinned(entry))
    if len(text) > BYTES_MAX:
        raise ValueError(f"the definition takes {len(text)} bytes, at most {BYTES_MAX} are read")
    return hashlib.sha256(text).hexdigest()


def _pinned(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in _UNPINNED and value is not None}


def finding_in(definition: Definition) -> str:
    """Return the finding of a verifier of texts in the words of a definition, "" for none."""
    for text in _windows(_texts(definition.listed)):
        verified = tried(text, Surface.RESULT)
        if verified.broke:
            return verified.broke
        for one in verified.answers:
            if one.outcome == VerifierOutcome.DENY and one.verifier == "prompt_injection":
                return f"{one.verifier}: {', '.join(sorted({finding.kind for finding in one.findings}))}"
    return ""


def _windows(texts: Sequence[str]) -> Iterator[str]:
    """Yield texts in pieces that the verifiers read whole; each overlaps the one before."""
    for text in texts:
        for at in range(0, len(text), WINDOW_CHARS - OVERLAP_CHARS):
            yield text[at : at + WINDOW_CHARS]
            if at + WINDOW_CHARS >= len(text):
                break


def _texts(value: Any) -> list[str]:
    """Return the words for people and models in a definition: its descriptions and titles, at any depth."""
    found: list[str] = []
    waiting = [value]
    while waiting and len(found) < NODES_MAX:
        one = waiting.pop()
        if isinstance(one, Mapping):
            found += [text for name in ("description", "title") if isinstance(text := one.get(name), str) and text]
            waiting += one.values()
        elif isinstance(one, list | tuple):
            waiting += one
    return found
