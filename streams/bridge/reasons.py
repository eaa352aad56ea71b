"""Every reason for which the keys of an identity provider are not there, and the error that carries one.

A message holds fixed words. No part of a document that a provider sent ever stands in it, and no address of a name.
"""

from __future__ import annotations

from enum import auto

from processors.identity.tokens.reasons import KeyReason
from schemas import limits
from schemas.errors import UnavailableError
from schemas.reasons import ReasonCode


class FetchReason(ReasonCode):
    """The reason code of keys that could not be fetched from an identity provider."""

    # fmt: off
    FETCH_URL = auto(), "the address is not a strict https URL, or it is http and its host is not private", \
        "correct the issuer or the provider's `jwks_uri`; name a host of your own network with `--private-host`"
    FETCH_ADDRESS_PRIVATE = auto(), "the host leads to an address that is not public", \
        "name the host with `--private-host` if it is on your own network; else report it to the provider"
    FETCH_ADDRESS_UNUSABLE = auto(), "the private host leads to an unspecified, multicast or reserved address", \
        "correct the name in your DNS"
    FETCH_UNRESOLVED = auto(), "the host has no address", "compare the issuer, then look at your DNS"
    FETCH_UNREACHABLE = auto(), "no address of the host accepts a connection", \
        "look at the provider, and at the firewall between"
    FETCH_TLS = auto(), "the TLS connection is refused, or its certificate does not count here", \
        "let `SSL_CERT_FILE` name the authorities that you trust; look at the provider's certificate"
    FETCH_TOO_SLOW = auto(), "the document did not come in time", "look at the provider, and at your DNS"
    FETCH_REDIRECT = auto(), "the provider redirects, and redirects are not followed", \
        "compare the issuer with the one in the provider's metadata"
    FETCH_STATUS = auto(), "the status of the answer is not 200", \
        "compare the issuer with the one in the provider's metadata; look at the provider"
    FETCH_ENCODED = auto(), "the content is compressed although that was not asked for", \
        "turn compression of this document off at the provider"
    FETCH_TOO_LARGE = auto(), f"the content has more than {limits.KEY_SET_BYTES_MAX} bytes, or too many parts", \
        "let the provider publish the keys in use alone"
    FETCH_BROKEN = auto(), "the answer breaks off, or is not HTTP", "look at the provider, and at a proxy before it"
    FETCH_NOT_JSON = auto(), "the content is not one strict JSON object", \
        "compare the issuer with the one in the provider's metadata: a page for people may stand there"
    FETCH_METADATA = auto(), "the metadata have no text `issuer` or no text `jwks_uri`", "report it to the provider"
    FETCH_ISSUER = auto(), "`issuer` in the metadata is not the issuer of the trust, letter for letter", \
        "trust the issuer as the provider's metadata write it"
    FETCH_BUSY = auto(), "too many fetches, or resolutions of names, are under way", "try again later"
    FETCH_STOPPED = auto(), "the bridge stops", "try again when it runs"
    FETCH_FAILED = auto(), "the fetch failed unforeseen", "report it with the line in the log of the bridge"
    # fmt: on


class FetchError(UnavailableError):
    """A document is not there: `reason` is a stable code, `detail` the place in fixed words, `status` that of HTTP.

    The reason is a KeyReason where the document came and its key set is refused. Neither text has a word of the answer.
    """

    def __init__(self, reason: FetchReason | KeyReason, detail: str = "", *, status: int | None = None) -> None:
        where = f" ({detail})" if detail else ""
        super().__init__(f"{reason}: {reason.meaning}{where}; {reason.step}")
        self.reason = reason
        self.detail = detail
        self.status = status

    def again(self) -> FetchError:
        """Return an equal error without a traceback: one that is raised again and again would keep every frame."""
        return FetchError(self.reason, self.detail, status=self.status)

    def within(self, document: str) -> FetchError:
        """Return this error with the name of the document that was fetched."""
        return FetchError(self.reason, f"{document}: {self.detail}" if self.detail else document, status=self.status)
