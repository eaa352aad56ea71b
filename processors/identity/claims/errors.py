"""The error of a mapping that its author must correct, and the codes of logins that a mapping refuses."""

from __future__ import annotations

from dataclasses import dataclass
from enum import auto

from schemas.errors import InputError
from schemas.reasons import ReasonCode


class ClaimsMappingError(InputError):
    """A mapping of claims is malformed. The message is a sentence with the next step, without the place in a file."""


class MappingCode(ReasonCode):
    """The code of a login that a mapping refuses."""

    # fmt: off
    CLAIMS_INVALID = auto(), "the claims are not a JSON object", "give the payload of the token"
    ISSUER_MISMATCH = auto(), "the token names another issuer than the trust", \
        "send a token of the trusted issuer, or trust the other issuer by itself"
    PROVIDER_UNKNOWN = auto(), "no provider of the mapping fits the token, so nothing is mapped", \
        "declare the provider in the file, or name it"
    CLAIM_INVALID = auto(), "a claim that a rule reads cannot be used", \
        "correct the claim at the provider, or map another one"
    NAME_MISSING = auto(), "no claim gives the name of the person", "map a claim to `user` that every token has"
    NAME_INVALID = auto(), "the name of the person is too long, or holds `*`, outer blanks or hidden characters", \
        "map another claim to `user`"
    ROLES_MISSING = auto(), "`require_roles` is set, and no role is left", \
        "give the person a role that `role_filter` lets pass"
    COMPANY_MISSING = auto(), "`require_organization` is set, and no claim gives the company", \
        "add the claim to the token, or map another one to `company`"
    ATTRIBUTES_INVALID = auto(), "the attributes break a bound", "map fewer or shorter values"
    TOKEN_TOO_OLD = auto(), "the token is older than `max_token_age_minutes`, or does not tell its age", \
        "log in again"
    # fmt: on


@dataclass(frozen=True, slots=True)
class MappingRefusal:
    """A reason for which a login is refused: its code, and a detail for people that holds no value of a claim."""

    code: MappingCode
    detail: str = ""

    def __str__(self) -> str:
        told = self.detail or self.code.meaning
        return f"{self.code}: {told}; {self.code.step}"
