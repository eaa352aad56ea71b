"""Enrolment keys: what they may register, and that what they register has no more than their grant says.

A grant bounds roles, names, number and attributes. Its `attributes` are the most that may be given: of a list (`roles`,
`groups`) any part; a text is given exactly as it stands there, because one that is left out may be one that restricts.
An attribute that the grant does not have may not be given. `attests` of a grant is the list of patterns of attestation
keys that a tool may declare, to the letter; no registration by an enrolment key has that attribute.
"""

from __future__ import annotations

from dataclasses import replace

from processors.identity.attributes import subject_of
from processors.intake.identify import Signer
from processors.policy import names
from processors.refusal import Refusal
from processors.state.tables import Tables
from schemas import limits
from schemas.attributes import LISTS, TEXTS, Attributes, size_of
from schemas.reasons import Reason
from schemas.records import EnrolmentGrant, PrincipalRegistered
from schemas.words import Role

ROLES = frozenset({Role.AGENT, Role.SERVICE, Role.TOOL})


def check_grant(body: PrincipalRegistered) -> None:
    """Check what an enrolment key is to register, and that no other key has a grant. Raises Refusal."""
    grant: EnrolmentGrant | None = body.enrolment
    if (grant is not None) != (body.role == Role.ENROLMENT):
        raise Refusal(Reason.NAME_INVALID, "an enrolment key, and no other, says what it may register")
    if grant is None:
        return
    if not 0 < len(grant.roles) <= len(ROLES) or set(grant.roles) - ROLES or not 0 < grant.count_max <= limits.KEYS_MAX:
        raise Refusal(Reason.NAME_INVALID, "an enrolment key registers agents, services or tools, 1 or more")
    if len(grant.name_pattern) > limits.NAME_CHARS_MAX:
        raise Refusal(Reason.NAME_INVALID, f"want a pattern of at most {limits.NAME_CHARS_MAX} characters")
    subject_of(grant.attributes, Role.AGENT, body.key.principal_id)  # what no principal could have is no bound


def charge(tables: Tables, signer: Signer, body: PrincipalRegistered) -> None:
    """Let an enrolment key register once more, within its grant.

    What a tool declares anew is charged like a new key: it may be more than was declared, and everybody reads it.

    Raises:
        Refusal: the role, the name, an attribute or what is declared is outside the grant, or its number is reached.
    """
    row = tables.keys.rows[signer.kid]
    grant = row.enrolment
    if grant is None or body.role not in grant.roles:
        raise Refusal(Reason.WRONG_ROLE, f"this enrolment key may not register role {body.role!r}")
    principal = tables.principals.get(body.key.principal_id.encode())
    foreign = principal is not None and not _is_renewal(tables, principal.registered_by, signer)
    if foreign and grant.name_pattern != body.key.principal_id:
        # Or it could give itself another's attributes, or become a recipient of what is sealed to another's tool. A
        # key that was made for this very name is the admin's word: another instance, or the first after a revocation.
        raise Refusal(Reason.REGISTRATION_CONFLICT, "the name was registered by another key: an admin adds instances")
    if not names.meets(grant.name_pattern, body.key.principal_id):
        raise Refusal(Reason.NAME_INVALID, "the name is outside the enrolment key's pattern")
    check_attributes(grant.attributes, body.attributes)
    _check_declared(grant.attributes, body)
    size = row.enrolled_bytes + _registry_bytes(body)
    if row.enrolled >= grant.count_max or size > limits.ENROLLED_BYTES_MAX:
        raise Refusal(Reason.ENROLMENT_EXCEEDED, "an admin registers a further enrolment key under the same name")
    tables.keys.put(signer.kid, replace(row, enrolled=row.enrolled + 1, enrolled_bytes=size))


def _is_renewal(tables: Tables, registered_by: bytes, signer: Signer) -> bool:
    """Whether a principal was registered by this enrolment key, or by an earlier one under the same name."""
    row = tables.keys.get(registered_by)
    return row is not None and row.role == Role.ENROLMENT and row.principal_id == signer.principal_id


def _registry_bytes(body: PrincipalRegistered) -> int:
    """Return about how much a registration takes of what clients read of the registry, for ever."""
    texts: list[str] = []
    for declared in body.tools:
        texts += (declared.resource, declared.description, *declared.attests, *declared.prompts)
    told = sum(len(text.encode("utf-8", "surrogatepass")) + 8 for text in texts)
    return limits.SESSION_OWN_BYTES + size_of(body.attributes) + told


def check_attributes(most: Attributes, given: Attributes) -> None:
    """Raise Refusal ATTRIBUTE_INVALID unless `given` is within what a grant allows at most."""
    for name in LISTS:
        if not set(getattr(given, name)) <= set(getattr(most, name)):
            raise Refusal(Reason.ATTRIBUTE_INVALID, f"the enrolment key may not give {name!r} this value")
    for name in TEXTS:
        if getattr(given, name) != getattr(most, name):
            raise Refusal(Reason.ATTRIBUTE_INVALID, f"the enrolment key gives {name!r} as its grant has it")
    if given.attests:
        raise Refusal(Reason.ATTRIBUTE_INVALID, "the enrolment key may not give 'attests': tools declare such patterns")


def with_fixed(given: Attributes, most: Attributes) -> Attributes:
    """Return attributes with the texts that every registration under a grant carries, where they name none."""
    left_out = {name: getattr(most, name) for name in TEXTS if getattr(given, name) is None}
    return replace(given, **left_out)


def _check_declared(most: Attributes, body: PrincipalRegistered) -> None:
    """Check what a tool declares: resources of its own name, and no attestation that the grant does not name."""
    own = f"tool:{body.key.principal_id}/"
    for declared in body.tools:
        if not declared.resource.startswith(own):
            # The name pattern would else bind names only, and any tool could take another's resources.
            raise Refusal(Reason.RESOURCE_INVALID, f"an enrolled tool offers resources under {own}")
        if not set(declared.attests) <= set(most.attests):
            raise Refusal(Reason.ATTESTATION_NOT_DECLARED, "the enrolment key's grant does not list what is attested")
