"""Recipients of mail: how many, in which domains, and those that cannot be read with certainty."""

from __future__ import annotations

from collections.abc import Mapping

import re2

from processors.content.risk_class import RiskClass, Stamps, worst
from processors.content.risk_hosts import read_host
from processors.content.risk_options import as_texts, number, texts
from processors.proof.jcs import JSONValue

COUNT_WORST = 10_000
MANY = 10  # recipients, unless the option says another number
_ADDRESS_MAX = 254  # characters (RFC 5321 section 4.5.3.1.3)
# The dot-atom of RFC 5322 section 3.2.3 without `%`, `!` and `/`, with which mail was once routed on to other hosts.
_ADDRESS = re2.compile(r"^[A-Za-z0-9#$&'*+=?^_`{|}~-]+(?:\.[A-Za-z0-9#$&'*+=?^_`{|}~-]+)*@([A-Za-z0-9.-]+)$")

WORST: Stamps = {
    "class": RiskClass.CRITICAL.value, "read": False, "count": COUNT_WORST, "external": True,
}  # fmt: skip


def classify(value: JSONValue, options: Mapping[str, JSONValue]) -> Stamps:
    """Return the stamps of an address or a list of 1 to 64 addresses.

    Options: `internal`, domains (`.example.com` also for all below it); `many`, the count that is `critical`.
    Stamps: `class`, `read`, `count`, `external`. Not read: several addresses in one text, names beside an
    address, quotes, comments, routes, IDNA, addresses in brackets. Never raises.
    """
    given = as_texts(value)
    domains = [_domain(one) for one in given] if given is not None else [None]
    read = [domain for domain in domains if domain is not None]
    if len(read) != len(domains):
        return WORST
    internal = tuple(one.lower() for one in texts(options, "internal"))
    external = not all(_is_in(domain, internal) for domain in read)
    risks = [RiskClass.HIGH] if external else []
    risks += [RiskClass.CRITICAL] if len(read) >= number(options, "many", MANY) else []
    return {
        "class": worst(risks).value, "read": True, "count": len(read),
        "external": external,
    }  # fmt: skip


def _is_in(domain: str, domains: tuple[str, ...]) -> bool:
    return any(
        domain == one or (one.startswith(".") and (domain.endswith(one) or domain == one[1:])) for one in domains
    )


def _domain(text: str) -> str | None:
    if len(text) > _ADDRESS_MAX or not text.isascii():
        return None
    found = _ADDRESS.search(text)
    host = read_host(found.group(1)) if found else None
    return None if host is None or host.address or "." not in host.name else host.name


def statement() -> JSONValue:
    """Return pattern and bounds, for the catalogue's digest."""
    return [_ADDRESS.pattern, MANY, COUNT_WORST]
