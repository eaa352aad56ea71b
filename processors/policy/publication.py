"""Putting documents into force and taking them out (docs/mapl.md 1): all of an event, or none of it.

The checks here need more than one document: the signer, the version that is replaced, and whole chains of `extends`,
for the documents of the event and for those that descend from them.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from processors.policy import limits
from processors.policy.documents import ORGANISATION_PREFIX, PolicyDocument, parse_policy
from processors.policy.errors import PolicyError
from processors.text.forms import nfc

ADMIN, ORGANISATION = "admin", "organisation"


class InForce(Protocol):
    """The questions to a policy in force."""

    @property
    def digest(self) -> bytes: ...
    @property
    def extends(self) -> str | None: ...


class PublicationError(PolicyError):
    """Say which document of an event is refused, and why; `at` is its number."""

    def __init__(self, at: int, code: str, pointer: str) -> None:
        super().__init__(code, pointer)
        self.at = at


class _Version(NamedTuple):
    digest: bytes
    extends: str | None


def check_publication(
    in_force: Mapping[str, InForce],
    texts: Sequence[str],
    previous: Sequence[bytes | None],
    *,
    signer: str,
    children: Mapping[str, Sequence[str]] | None = None,
    detecting: bool = True,
) -> list[PolicyDocument]:
    """Return the documents of an event, if all of them may take effect.

    `previous` has for each document the digest that it replaces, None where none may exist. `children` are the ids that
    extend an id among those in force; it is made from them where it is not given. `detecting` is as in `parse_policy`.

    Raises:
        PublicationError: the first fault of the first faulty document, in the order of the event.
    """
    documents: list[PolicyDocument] = []
    for at, text in enumerate(texts):
        documents.append(_parsed(at, text, signer, detecting=detecting))
        if sum(document.programs for document in documents) > limits.EVENT_PROGRAMS_MAX:
            raise PublicationError(at, "E_LIMIT", "")
    after: dict[str, InForce] = {}
    for at, (document, digest) in enumerate(zip(documents, previous, strict=True)):
        now = in_force.get(document.policy_id)
        if document.policy_id in after or (now.digest if now else None) != digest:
            raise PublicationError(at, "E_CONFLICT", "/policy_id")
        after[document.policy_id] = _Version(document.digest, document.extends)
    below = _children(in_force) if children is None else children
    for at, document in enumerate(documents):
        _check_chain(at, document, _Overlay(in_force, after), below)
    return documents


def check_withdrawal(
    in_force: Mapping[str, InForce],
    policy_id: str,
    previous: bytes,
    *,
    signer: str,
    children: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """Return the id of the policy to be withdrawn, if it may be.

    Raises:
        PolicyError: E_PREFIX_RESERVED, E_SIGNER, E_CONFLICT, or E_DEPENDENTS where another extends it.
    """
    name = nfc(policy_id[: limits.POLICY_ID_CHARS_MAX + 1])
    _check_signer(name, signer)
    now = in_force.get(name)
    if now is None or now.digest != previous:
        raise PolicyError("E_CONFLICT", "/policy_id")
    if any(one != name for one in (_children(in_force) if children is None else children).get(name, ())):
        raise PolicyError("E_DEPENDENTS", "/policy_id")
    return name


def _parsed(at: int, text: str, signer: str, *, detecting: bool) -> PolicyDocument:
    try:
        document = parse_policy(text.encode(), organisation=signer == ORGANISATION, detecting=detecting)
        _check_signer(document.policy_id, signer)
    except UnicodeEncodeError:
        raise PublicationError(at, "E_TEXT", "") from None
    except PolicyError as error:
        raise PublicationError(at, error.code, error.pointer) from error
    return document


def _check_signer(policy_id: str, signer: str) -> None:
    """Raise PolicyError unless this signer speaks for that id: the organisation for `org:`, admins for the rest."""
    shared = policy_id.startswith(ORGANISATION_PREFIX)
    if shared and signer == ADMIN:
        raise PolicyError("E_PREFIX_RESERVED", "/policy_id")
    if signer != (ORGANISATION if shared else ADMIN):
        raise PolicyError("E_SIGNER", "/policy_id")


# ---- chains


class _Overlay(NamedTuple):
    """The policies in force after the event."""

    before: Mapping[str, InForce]
    after: Mapping[str, InForce]

    def extends(self, policy_id: str) -> str | None:
        found = self.after.get(policy_id) or self.before[policy_id]
        return found.extends

    def has(self, policy_id: str) -> bool:
        return policy_id in self.after or policy_id in self.before


def _check_chain(at: int, document: PolicyDocument, versions: _Overlay, below: Mapping[str, Sequence[str]]) -> None:
    if document.extends is None:
        return
    chain = [document.policy_id]
    parent: str | None = document.extends
    while parent is not None:
        if not versions.has(parent):
            raise PublicationError(at, "E_EXTENDS_UNKNOWN", "/extends")
        if parent in chain:
            raise PublicationError(at, "E_EXTENDS_CYCLE", "/extends")
        chain.append(parent)
        if len(chain) > limits.EXTENDS_DEPTH_MAX:
            raise PublicationError(at, "E_EXTENDS_DEPTH", "/extends")
        parent = versions.extends(parent)
    # Its descendants are as deep again: a new version of a parent must not make their chains too long.
    layer, depth = [document.policy_id], len(chain)
    fresh = _children(versions.after)
    while layer:
        layer = [
            one
            for policy_id in layer
            for one in dict.fromkeys((*below.get(policy_id, ()), *fresh.get(policy_id, ())))
            if versions.extends(one) == policy_id
        ]
        depth += bool(layer)
        if depth > limits.EXTENDS_DEPTH_MAX:
            raise PublicationError(at, "E_EXTENDS_DEPTH", "/extends")


def _children(in_force: Mapping[str, InForce]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for policy_id, version in in_force.items():
        if version.extends is not None:
            found.setdefault(version.extends, []).append(policy_id)
    return found
