"""From claims to the context that policies are found by: by the mapping of this project, file or built-in tables."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from processors.identity.claims.built_in import BUILT_IN
from processors.identity.claims.detection import issuer_of
from processors.identity.claims.errors import MappingCode
from processors.identity.claims.mapping import Mapped, map_claims, map_unverified
from processors.identity.claims.model import ATTRIBUTES, LIST_ATTRIBUTES, ClaimsMapping, ProviderMapping
from processors.identity.claims.rules import Given, apply_rule
from producers.home.home import Home, HomeError
from schemas.errors import InputError
from streams.identity_files.claims_file import FILE_NAME, read_claims_file

log = logging.getLogger("macaw.identity")

POLICY_PREFIXES = {"company": "company", "business_unit": "bu", "team": "team", "user": "user"}


class ClaimsRefusedError(InputError):
    """A claim is there and cannot be used, so nothing is mapped; the message names the claim and no value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimsContext:
    """The context of some claims. `provider` is None for claims of an unknown provider, which stay as they are."""

    provider: str | None
    context: dict[str, Any] = field(repr=False)
    policy_ids: tuple[str, ...] = field(default=(), repr=False)


def find_mapping(path: Path | None = None) -> ClaimsMapping:
    """Return the mapping in a file: the given one, that of the working directory, or of the installation.

    Without a file it is the built-in one. Raises ClaimsFileError for a file that is malformed.
    """
    if path is not None:
        return read_claims_file(path)
    places = [Path.cwd()]
    try:
        places.append(Home.find().path.parent)
    except HomeError:
        log.debug("no installation is found, so its mapping of claims is not looked for")
    for place in places:
        if (place / FILE_NAME).is_file():
            log.debug("the mapping of claims is that of %s", place / FILE_NAME)
            return read_claims_file(place / FILE_NAME)
    log.debug("no %s is found: the built-in mapping of claims is used", FILE_NAME)
    return BUILT_IN


def context_of(mapping: ClaimsMapping, claims: Mapping[str, object], provider: str | None = None) -> ClaimsContext:
    """Return the context that a mapping gives for claims. A claim that is missing gives nothing.

    Claims without an issuer are those of the only provider of a file, or of the one with the best fitting rules. Claims
    of an unknown issuer stay as they are, and name no policy.

    Raises:
        ClaimsRefusedError: a claim is there and cannot be used, or one is missing that the file demands.
    """
    chosen = None if provider is not None or issuer_of(claims) else _fitting(mapping, claims)
    if chosen is not None:
        mapped = map_claims(claims, chosen, mapping.demands)
    else:
        mapped = map_unverified(mapping, claims, provider=provider)
    if mapped.provider is None:
        if any(one.code is not MappingCode.PROVIDER_UNKNOWN for one in mapped.refusals):
            raise ClaimsRefusedError("; ".join(map(str, mapped.refusals)))
        log.debug("no provider of the mapping fits the claims, which stay as they are")
        return ClaimsContext(provider=None, context=dict(claims))
    found = _attributes(mapping, claims, mapped)
    for one in mapped.trace:
        log.debug("%s from %s: %s %s", one.attribute, one.claim, one.result.value, one.detail)
    ids = tuple(f"{prefix}:{found[name]}" for name, prefix in POLICY_PREFIXES.items() if found.get(name))
    return ClaimsContext(provider=mapped.provider, context=found, policy_ids=ids)


def _attributes(mapping: ClaimsMapping, claims: Mapping[str, object], mapped: Mapped) -> dict[str, Any]:
    others = [one for one in mapped.refusals if one.code is not MappingCode.NAME_MISSING]
    if others:
        raise ClaimsRefusedError("; ".join(map(str, others)))
    provider = mapping.provider(str(mapped.provider)) or mapping.default
    given = _given(provider, claims) if provider is not None else {}
    return {
        name: list(given[name]) if name in LIST_ATTRIBUTES else given[name][0] for name in ATTRIBUTES if given.get(name)
    }


def _given(provider: ProviderMapping, claims: Mapping[str, object]) -> Given:
    """Return the texts that the rules of a provider find, by attribute."""
    given: Given = {}
    for rule in provider.rules:
        apply_rule(rule, claims, provider.role_filter, given)
    return given


def _fitting(mapping: ClaimsMapping, claims: Mapping[str, object]) -> ProviderMapping | None:
    """Return the provider with the rules that find the most in claims; of equals the first. Else the default."""
    counts = [len(_given(one, claims).keys() & set(ATTRIBUTES)) for one in mapping.providers]
    most = max(counts, default=0)
    return mapping.providers[counts.index(most)] if most else mapping.default
