"""Enrolment keys: each registers principals within its grant, which bounds roles, names, number and attributes.

The `attributes` of a grant are the most that a registration may have:

    grant roles ["analyst", "clerk"]   a registration may have both, one or none of them
    grant team "red"                   a registration has exactly team "red": without it a policy may restrict less
    grant without clearance            a registration has no clearance

`attests` of a grant lists the patterns of attestation keys that a tool may declare, each exactly as it stands there;
the registration itself never has that attribute.
"""

from __future__ import annotations

from dataclasses import replace

from processors.identity.attributes import subject_of
from processors.intake.identify import Signer
from processors.policy import names
from processors.refusal import Refusal
from processors.state.tables import Tables
from processors.text.characters import quoted
from schemas import limits
from schemas.events.attributes import LISTS, TEXTS, Attributes, size_of
from schemas.reasons import Reason
from schemas.records import EnrolmentGrant, PrincipalRegistered
from schemas.words import Role

ROLES = frozenset({Role.AGENT, Role.SERVICE, Role.TOOL})


def check_grant(body: PrincipalRegistered) -> None:
    """Check that an enrolment key has a well-formed grant, and any other key none. Raises Refusal."""
    grant: EnrolmentGrant | None = body.enrolment
    if (grant is not None) != (body.role == Role.ENROLMENT):
        raise Refusal(Reason.NAME_INVALID, "`enrolment` must be set for role `enrolment`, and for no other role")
    if grant is None:
        return
    if not 0 < len(grant.roles) <= len(ROLES) or set(grant.roles) - ROLES or not 0 < grant.count_max <= limits.KEYS_MAX:
        want = f"`enrolment.roles` is some of agent, service, tool; `count_max` is 1 to {limits.KEYS_MAX}"
        raise Refusal(Reason.NAME_INVALID, want)
    if len(grant.name_pattern) > limits.NAME_CHARS_MAX:
        raise Refusal(Reason.NAME_INVALID, f"`name_pattern` has at most {limits.NAME_CHARS_MAX} characters")
    subject_of(grant.attributes, Role.AGENT, body.key.principal_id)  # a grant holds only attributes that are valid


def charge(tables: Tables, signer: Signer, body: PrincipalRegistered) -> None:
    """Count one more registration of an enrolment key, after a check that it is within the grant.

    A new declaration of a known tool key counts like a new key, since it may add operations that every client reads.

    Raises:
        Refusal: the role, name, attributes or declarations are outside the grant, or the grant is used up.
    """
    row = tables.keys.rows[signer.kid]
    grant = row.enrolment
    if grant is None or body.role not in grant.roles:
        raise Refusal(Reason.WRONG_ROLE, f"this enrolment key may not register role {quoted(body.role)}")
    principal = tables.principals.get(body.key.principal_id.encode())
    foreign = principal is not None and not _is_renewal(tables, principal.registered_by, signer)
    if foreign and grant.name_pattern != body.key.principal_id:
        # An instance of another's principal would get its attributes, and become a recipient of calls that are sealed
        # to that tool. An enrolment key whose pattern is exactly this name may add one: an admin made it for that.
        raise Refusal(Reason.REGISTRATION_CONFLICT, "another key registered this name; an admin adds further instances")
    if not names.meets(grant.name_pattern, body.key.principal_id):
        raise Refusal(Reason.NAME_INVALID, "`principal_id` does not match the `name_pattern` of the enrolment key")
    check_attributes(grant.attributes, body.attributes)
    _check_declared(grant.attributes, body)
    size = row.enrolled_bytes + _registry_bytes(body)
    if row.enrolled >= grant.count_max or size > limits.ENROLLED_BYTES_MAX:
        raise Refusal(Reason.ENROLMENT_EXCEEDED, "an admin registers a further enrolment key under the same name")
    tables.keys.put(signer.kid, replace(row, enrolled=row.enrolled + 1, enrolled_bytes=size))


def _is_renewal(tables: Tables, registered_by: bytes, signer: Signer) -> bool:
    """Return True if this enrolment key, or an earlier one under the same name, registered a principal."""
    row = tables.keys.get(registered_by)
    return row is not None and row.role == Role.ENROLMENT and row.principal_id == signer.principal_id


def _registry_bytes(body: PrincipalRegistered) -> int:
    """Return about how many bytes a registration adds to the registry, which every client reads."""
    texts: list[str] = []
    for declared in body.tools:
        texts += (declared.resource, declared.description, *declared.attests, *declared.prompts)
        texts += (*declared.body_paths, *declared.opaque_paths, *declared.maskable_paths)
    told = sum(len(text.encode("utf-8", "surrogatepass")) + 8 for text in texts)
    return limits.SESSION_OWN_BYTES + size_of(body.attributes) + told


def check_attributes(most: Attributes, given: Attributes) -> None:
    """Raise Refusal ATTRIBUTE_INVALID unless `given` is within what a grant allows at most."""
    for name in LISTS:
        if not set(getattr(given, name)) <= set(getattr(most, name)):
            raise Refusal(Reason.ATTRIBUTE_INVALID, f"{quoted(name)} holds a value that the enrolment key may not give")
    for name in TEXTS:
        if getattr(given, name) != getattr(most, name):
            raise Refusal(
                Reason.ATTRIBUTE_INVALID, f"{quoted(name)} must be exactly as in the grant of the enrolment key"
            )
    if given.attests:
        raise Refusal(Reason.ATTRIBUTE_INVALID, "'attests' must be empty; a tool lists patterns in its operations")


def with_fixed(given: Attributes, most: Attributes) -> Attributes:
    """Return `given` with each text that it lacks filled in from the grant's attributes `most`."""
    left_out = {name: getattr(most, name) for name in TEXTS if getattr(given, name) is None}
    return replace(given, **left_out)


def _check_declared(most: Attributes, body: PrincipalRegistered) -> None:
    """Check that a tool declares only resources under its own name, and attestations that the grant lists."""
    own = f"tool:{body.key.principal_id}/"
    for declared in body.tools:
        if not declared.resource.startswith(own):
            # Without this the pattern would bind only names, and an enrolled tool could take any free resource.
            raise Refusal(Reason.RESOURCE_INVALID, f"each resource of an enrolled tool must begin with {own}")
        if not set(declared.attests) <= set(most.attests):
            raise Refusal(Reason.ATTESTATION_NOT_DECLARED, "the enrolment key's grant lacks a pattern in `attests`")
