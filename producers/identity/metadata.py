"""The metadata of a provider: its endpoints, and the flows that it offers (OpenID Connect Discovery 1.0).

The metadata is believed because it comes from the issuer's own address over TLS, and names that issuer letter for
letter: else a provider could send our secrets to the endpoints of another (mix-up).
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from producers.identity.errors import LoginSettingsError, ProviderUnavailableError
from producers.identity.web import JSONObject, check_url, get, json_object

WELL_KNOWN = "/.well-known/openid-configuration"
LISTED_MAX = 256

PASSWORD = "password"  # noqa: S105 - the name of a grant
CODE = "authorization_code"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
CLIENT = "client_credentials"
REFRESH = "refresh_token"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderMetadata:
    """The metadata of one provider. An endpoint or a list that it does not give is None."""

    issuer: str
    token_endpoint: str
    authorization_endpoint: str | None = None
    device_endpoint: str | None = None
    revocation_endpoint: str | None = None
    end_session_endpoint: str | None = None
    keys_address: str | None = None
    grants: frozenset[str] | None = None
    client_methods: frozenset[str] | None = None
    challenge_methods: frozenset[str] | None = None
    sends_issuer: bool = False  # RFC 9207: `iss` beside every code

    def offers(self, grant: str) -> bool:
        """Return False if the provider lists its grants and this one is not among them."""
        return self.grants is None or grant in self.grants

    @property
    def host(self) -> str:
        """The host of the issuer, for messages."""
        return str(urlsplit(self.issuer).hostname)


def fetch_metadata(issuer: str) -> ProviderMetadata:
    """Return the metadata of an issuer.

    Raises:
        LoginSettingsError: the issuer is not an address for secrets.
        ProviderUnavailableError: there is no answer, or it is not the metadata of this issuer.
    """
    parts = check_url(issuer, "the issuer")
    if "?" in issuer:
        raise LoginSettingsError("the issuer must have no query: give it as the provider's metadata has it")
    reply = get(f"{issuer.rstrip('/')}{WELL_KNOWN}")
    if reply.status != 200:
        raise ProviderUnavailableError(
            f"{parts.hostname} answers {reply.status} for its metadata: is the issuer complete, with its path?"
        )
    return read_metadata(issuer, json_object(reply.body, str(parts.hostname)))


def read_metadata(issuer: str, found: JSONObject) -> ProviderMetadata:
    """Return metadata after its checks. Raises ProviderUnavailableError."""
    host = urlsplit(issuer).hostname
    if found.get("issuer") != issuer:
        raise ProviderUnavailableError(
            f"the metadata at {host} is that of another issuer: compare the configured issuer with the provider's, "
            "letter for letter, the last slash included"
        )
    token_endpoint = _endpoint(issuer, found, "token_endpoint")
    if token_endpoint is None:
        raise ProviderUnavailableError(f"the metadata of {host} names no `token_endpoint`: no login is possible there")
    return ProviderMetadata(
        issuer=issuer,
        token_endpoint=token_endpoint,
        authorization_endpoint=_endpoint(issuer, found, "authorization_endpoint"),
        device_endpoint=_endpoint(issuer, found, "device_authorization_endpoint"),
        revocation_endpoint=_endpoint(issuer, found, "revocation_endpoint"),
        end_session_endpoint=_endpoint(issuer, found, "end_session_endpoint"),
        keys_address=_endpoint(issuer, found, "jwks_uri"),
        grants=_words(host, found, "grant_types_supported"),
        client_methods=_words(host, found, "token_endpoint_auth_methods_supported"),
        challenge_methods=_words(host, found, "code_challenge_methods_supported"),
        sends_issuer=found.get("authorization_response_iss_parameter_supported") is True,
    )


def _endpoint(issuer: str, found: JSONObject, name: str) -> str | None:
    url = found.get(name)
    if url is None:
        return None
    try:
        parts = check_url(url, f"`{name}` in the metadata of {urlsplit(issuer).hostname}")
    except LoginSettingsError as exc:
        raise ProviderUnavailableError(str(exc)) from None
    if parts.scheme != "https" and issuer.startswith("https:"):
        raise ProviderUnavailableError(f"`{name}` in the metadata of {urlsplit(issuer).hostname} is not https")
    return str(url)


def _words(host: str | None, found: JSONObject, name: str) -> frozenset[str] | None:
    listed = found.get(name)
    if listed is None:
        return None
    if not isinstance(listed, list) or len(listed) > LISTED_MAX or not all(isinstance(one, str) for one in listed):
        raise ProviderUnavailableError(f"`{name}` in the metadata of {host} is not a list of texts")
    return frozenset(listed)
