"""Logins as a bridge judges them: from a login and a key set to the event that opens or renews a session.

Everything here is pure: the token's key set, the trust on the log and the time are arguments. The log judges the event
once more (`sessions.py`, `providers.py`): a bridge cannot open more than its tenant trusts its provider with.

    login ── read_login ──> issuer ── its ProviderRow and KeySet ── judge_login ──> SessionOpened or SessionRenewed
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import auto
from functools import lru_cache
from hashlib import sha256

from processors.identity.claims.built_in import BUILT_IN, WORKLOAD
from processors.identity.claims.errors import MappingCode
from processors.identity.claims.mapping import Mapped, age_refusal, map_claims, map_token
from processors.identity.claims.model import ClaimsMapping, ProviderMapping
from processors.identity.providers import may_name, prefix_of
from processors.identity.tokens.key_sets import KeySet
from processors.identity.tokens.logout import LogoutToken
from processors.identity.tokens.reasons import TokenRefusedError
from processors.identity.tokens.rules import TokenRules
from processors.identity.tokens.verify import VerifiedToken, claimed_issuer, verify_token
from processors.policy.names import PERSON_PREFIX
from processors.proof import signing
from processors.proof.signing import SignatureError, kid_of
from processors.text.characters import is_plain_text
from schemas import codec, limits
from schemas.errors import InputError
from schemas.events.attributes import TEXTS, Attributes
from schemas.events.keys import KeyOffer
from schemas.events.logins import LoginEnded, LoginRequested, SessionRenewed
from schemas.reasons import ReasonCode
from schemas.records import SessionOpened
from schemas.rows import ProviderRow
from schemas.words import ProviderSubjects

# The built-in mapping of each `kind` that an admin can trust; `oidc` has none: its provider is declared in the file.
MAPPING_OF_KIND: Mapping[str, str] = {
    "keycloak": "keycloak", "okta": "okta", "azure": "azure_ad", "google": "google", "auth0": "auth0",
}  # fmt: skip
REF_TAG = b"macaw/login-ref/v1\n"
LOGOUT = "the provider has ended the login"  # the reason of an end on the log


class LoginReason(ReasonCode):
    """The reason code of a login that a bridge refuses by itself; tokens, mappings and key sets have their own."""

    # fmt: off
    LOGIN_SEALED = auto(), "the login does not open with this bridge's key", \
        "look the bridge's key up again, and log in again"
    LOGIN_MALFORMED = auto(), "the login is not a whole record, or a field of it has the wrong size", \
        "send what this version's client writes"
    LOGIN_TIME = auto(), "the login has ended, or ends too far ahead", \
        "check the clock of the machine that logs in, then log in again"
    LOGIN_POSSESSION = auto(), "the session key has not signed this login, for this token, bridge and tenant", \
        "send what this version's client writes"
    LOGIN_ISSUER = auto(), "the tenant does not trust the token's issuer, or this bridge is not registered for it", \
        "let an admin trust it with `macaw idp trust`"
    LOGIN_PROVIDER = auto(), "the named provider of the mapping does not fit the token's issuer", \
        "leave the name out, or name a provider whose detection fits"
    LOGIN_MAPPING = auto(), "the bridge's file with the mapping of claims is malformed", \
        "let its operator try the file with `macaw idp test`"
    LOGIN_BUSY = auto(), "the bridge has too many logins to do", "log in again in a few seconds"
    LOGIN_LATE = auto(), "the login ended before the log answered", "log in again"
    LOGIN_SILENT = auto(), "the log has not answered the bridge", "see whether a monitor runs, then log in again"
    # fmt: on


class LoginRefusedError(InputError):
    """A login is refused. `reason` is a stable code; neither it nor `detail` holds a part of a token."""

    def __init__(self, reason: ReasonCode, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail or reason.meaning}; {reason.step}")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True)
class BridgeIdentity:
    """The bridge that judges: its tenant's genesis, its kid, and the secret under references to logins."""

    genesis: bytes
    kid: bytes
    ref_secret: bytes = field(repr=False)


# ---- the login itself


def read_login(payload: bytes, session: bytes, bridge: BridgeIdentity) -> LoginRequested:
    """Return the login in an opened payload, if the key of `session` signed it for this bridge.

    Raises:
        LoginRefusedError: LOGIN_MALFORMED or LOGIN_POSSESSION.
    """
    try:
        login: LoginRequested = codec.decode_as(LoginRequested, payload)
    except codec.SchemaError as exc:
        raise LoginRefusedError(LoginReason.LOGIN_MALFORMED) from exc
    if len(login.proof.nonce) != limits.LOGIN_NONCE_BYTES or len(login.x25519) != signing.KEY_BYTES:
        raise LoginRefusedError(LoginReason.LOGIN_MALFORMED)
    if kid_of(login.ed25519) != session or len(login.token) > limits.TOKEN_CHARS_MAX or login.proof.expires_at < 0:
        raise LoginRefusedError(LoginReason.LOGIN_MALFORMED)
    message = signing.login_bytes(
        bridge.genesis,
        bridge.kid,
        token_digest(login.token),
        ed25519=login.ed25519,
        x25519=login.x25519,
        nonce=login.proof.nonce,
        expires_at=login.proof.expires_at,
        is_renewal=login.is_renewal,
    )
    try:
        signing.check_public_key(login.ed25519)
        signing.verify_signature(login.ed25519, message, login.possession)
    except SignatureError as exc:
        raise LoginRefusedError(LoginReason.LOGIN_POSSESSION) from exc
    return login


def check_time(login: LoginRequested, now_ms: int) -> None:
    """Raise LoginRefusedError LOGIN_TIME unless a login ends after `now_ms`, and soon."""
    if not 0 < login.proof.expires_at - now_ms <= limits.LOGIN_AHEAD_MS_MAX:
        raise LoginRefusedError(LoginReason.LOGIN_TIME)


def token_digest(token: str) -> bytes:
    """Return the SHA-256 of a token's text, as the log names it."""
    return sha256(token.encode("utf-8", "surrogatepass")).digest()


def issuer_of(login: LoginRequested) -> str:
    """Return the issuer that the token claims; nothing of the token is verified. Raises TokenRefusedError."""
    return claimed_issuer(login.token)


# ---- its token


def judge_login(
    login: LoginRequested,
    issuer: str,
    trust: ProviderRow,
    keys: KeySet,
    bridge: BridgeIdentity,
    now_ms: int,
    *,
    mapping: ClaimsMapping | None = None,
    others: Mapping[str, ProviderRow] | None = None,
) -> SessionOpened | SessionRenewed:
    """Verify the token of a login, map its claims, and return the event that follows.

    `trust` is the row of `issuer`, `keys` its key set; `mapping` is the file of the installation, None for the
    built-in providers. `others` are the rows of all issuers: for the actors of the token (RFC 8693, 4.1), and for the
    names that another one gives.

    Raises:
        TokenRefusedError: the token is refused; TOKEN_KEY_UNKNOWN asks for a newer key set.
        LoginRefusedError: the mapping refuses the claims, or an actor has no trusted issuer.
    """
    token = verify_token(login.token, rules_of(issuer, trust), keys, now_ms)
    name, attributes = _mapped(token, issuer, trust, mapping, login.provider, now_ms)
    attributes = _with_own_email(attributes, issuer, trust, others or {})
    opened = SessionOpened(
        principal_id=name,
        key=KeyOffer(principal_id=name, ed25519=login.ed25519, x25519=login.x25519, possession=login.possession),
        ttl_ms=_ttl_ms(token, login, now_ms),
        attributes=attributes,
        issuer=issuer,
        token_sha256=token.sha256,
        login_ref=_login_ref(bridge.ref_secret, token),
        actors=_actors(token, others or {issuer: trust}),
        subject_ref=reference(bridge.ref_secret, issuer, "sub", token.subject),
        methods=_methods(token),
        login=login.proof,
    )
    return _renewal(opened) if login.is_renewal else opened


def _renewal(opened: SessionOpened) -> SessionRenewed:
    """Return the renewal in the words with which the login would open a session now."""
    assert opened.attributes is not None
    assert opened.issuer is not None
    assert opened.subject_ref is not None
    assert opened.token_sha256 is not None
    assert opened.login is not None
    return SessionRenewed(
        session=kid_of(opened.key.ed25519),
        principal_id=opened.principal_id,
        issuer=opened.issuer,
        attributes=opened.attributes,
        actors=opened.actors,
        subject_ref=opened.subject_ref,
        ttl_ms=opened.ttl_ms,
        token_sha256=opened.token_sha256,
        login=opened.login,
        possession=opened.key.possession,
    )


@lru_cache(maxsize=limits.PROVIDERS_MAX)
def rules_of(issuer: str, trust: ProviderRow) -> TokenRules:
    """Return the rules for tokens of an issuer, as the tenant trusts it."""
    return TokenRules(issuer=issuer, audiences=frozenset(trust.audiences), algorithms=frozenset(trust.algorithms))


def reference(secret: bytes, issuer: str, kind: str, value: str) -> bytes:
    """Return the keyed hash by which the log names a login (`sid`) or a subject (`sub`) of an issuer, 32 bytes.

    Without the secret a reader of the log could find a known subject's logins by trial.
    """
    parts = b"".join(signing.length_prefixed(part.encode()) for part in (issuer, kind, value))
    return hmac.digest(secret, REF_TAG + parts, "sha256")


def _login_ref(secret: bytes, token: VerifiedToken) -> bytes:
    """Return the reference to a token's login: by `sid`, or of a login without `sid` by its subject.

    So a logout that names `sid` and `sub` can end those without `sid` too, and leave the subject's other logins alone.
    """
    if token.session is None:
        return reference(secret, token.issuer, "sub", token.subject)
    return reference(secret, token.issuer, "sid", token.session)


def ends_of(secret: bytes, token: LogoutToken) -> list[LoginEnded]:
    """Return the events by which a logout token ends sessions.

    With `sub` alone all sessions of the subject end. With `sid` those of that login end, and if `sub` is there, those
    of the subject whose login named no `sid`: one of them may be the login that has ended.
    """

    def named(kind: str, value: str) -> bytes:
        return reference(secret, token.issuer, kind, value)

    subject = None if token.subject is None else named("sub", token.subject)
    if token.session is None:
        return [LoginEnded(issuer=token.issuer, subject_ref=subject, reason=LOGOUT)]
    logins = [named("sid", token.session), *([] if subject is None else [subject])]
    return [LoginEnded(issuer=token.issuer, login_ref=login, reason=LOGOUT) for login in logins]


def _ttl_ms(token: VerifiedToken, login: LoginRequested, now_ms: int) -> int:
    """Return how long the session lives: no longer than its token."""
    most = min(token.expires_at_ms - now_ms, limits.SESSION_TTL_MS_MAX)
    return most if login.ttl_ms is None else max(1, min(most, login.ttl_ms))


def _methods(token: VerifiedToken) -> tuple[str, ...]:
    """Return how the provider knew its subject, as far as it can stand on the log."""
    plain = (one for one in token.methods if len(one) <= limits.LOGIN_METHOD_CHARS_MAX and is_plain_text(one))
    return tuple(dict.fromkeys(plain))


def _actors(token: VerifiedToken, trust: Mapping[str, ProviderRow]) -> tuple[str, ...]:
    """Return the names of the token's actors, the nearest first. Raises LoginRefusedError."""
    names = []
    for actor in token.actors:
        row = trust.get(actor.issuer)
        is_meant = actor.issuer == token.issuer or (row is not None and row.subjects == ProviderSubjects.WORKLOAD)
        if row is None or row.ended_at is not None or not is_meant:
            raise LoginRefusedError(LoginReason.LOGIN_ISSUER, "an actor of the token (`act`) has another issuer")
        names.append(prefix_of(row.subjects, row.namespace) + actor.subject)
    return tuple(names)


# ---- its claims


def _mapped(
    token: VerifiedToken,
    issuer: str,
    trust: ProviderRow,
    mapping: ClaimsMapping | None,
    named: str | None,
    now_ms: int,
) -> tuple[str, Attributes]:
    """Return the principal and its attributes. Raises LoginRefusedError with the first refusal of the mapping."""
    claims, demands = token.claims, (mapping or BUILT_IN).demands
    found = _map(claims, issuer, trust, mapping, named)
    refusals = [*found.refusals, *filter(None, [age_refusal(claims, demands, now_ms / 1000)])]
    if refusals or found.name is None:
        first = refusals[0]
        raise LoginRefusedError(first.code, first.detail)
    prefix = prefix_of(trust.subjects, trust.namespace)
    name = prefix + found.name
    is_person = trust.subjects == ProviderSubjects.USER
    user = name.removeprefix(prefix_of(ProviderSubjects.USER, None)) if is_person else None
    return name, _with_fixed(replace(found.attributes, user=user), trust.attributes)


def _map(
    claims: Mapping[str, object], issuer: str, trust: ProviderRow, mapping: ClaimsMapping | None, named: str | None
) -> Mapped:
    """Return the attributes by the provider that fits the issuer, or else by the one that the trust's kind names."""
    known = mapping or BUILT_IN
    if named is not None:
        chosen = known.provider(named)
        if chosen is None or chosen not in _namable(known, issuer, trust, is_built_in=mapping is None):
            raise LoginRefusedError(LoginReason.LOGIN_PROVIDER)
        return _mapped_by(chosen, claims, known)
    of_kind = _of_kind(known, trust)
    if mapping is None and of_kind is not None:
        return _mapped_by(of_kind, claims, known)
    fits = any(one.detection.fits(issuer) and one.detection.lacking(claims) is None for one in known.providers)
    if not fits and of_kind is not None:
        return _mapped_by(of_kind, claims, known)
    return map_token(known, claims, issuer=issuer)


def _namable(
    known: ClaimsMapping, issuer: str, trust: ProviderRow, *, is_built_in: bool
) -> Collection[ProviderMapping]:
    """Return the providers of which a login may choose one: none beside those that an administrator has settled.

    Settled are the kind of the trust, where there is no file, and the providers of a file that name this very issuer.
    """
    of_kind = _of_kind(known, trust)
    if is_built_in and of_kind is not None:
        return [of_kind]
    exact = [one for one in known.providers if one.detection.is_of(issuer)]
    return exact or [one for one in known.providers if one.detection.fits(issuer) or one is of_kind]


def _mapped_by(chosen: ProviderMapping, claims: Mapping[str, object], known: ClaimsMapping) -> Mapped:
    """Return the attributes by one provider. Raises LoginRefusedError if the token lacks a claim that it requires.

    Google tells by `hd` that an account belongs to a company: anybody can make an account with a company's address.
    """
    lacking = chosen.detection.lacking(claims)
    if lacking is not None:
        detail = f"the token has no `{lacking.text}`, which the mapping `{chosen.id}` requires"
        raise LoginRefusedError(MappingCode.PROVIDER_UNKNOWN, detail)
    return map_claims(claims, chosen, known.demands)


def _of_kind(mapping: ClaimsMapping, trust: ProviderRow) -> ProviderMapping | None:
    if trust.subjects == ProviderSubjects.WORKLOAD:
        return mapping.provider(WORKLOAD.id) or WORKLOAD
    return mapping.provider(MAPPING_OF_KIND.get(trust.kind, ""))


def _with_own_email(
    given: Attributes, issuer: str, trust: ProviderRow, others: Mapping[str, ProviderRow]
) -> Attributes:
    """Return attributes without an address that is not this provider's to tell.

    Policies and approvals take an address for a person's name (`user:<email>`). So the provider of one company could
    make its people the persons of another one, where its trust lets it tell each address. A trust without a pattern for
    addresses wants none, and the mappings always give one.
    """
    is_others = given.email is not None and any(
        may_name(row, f"{PERSON_PREFIX}{given.email}") for name, row in others.items() if name != issuer
    )
    return replace(given, email=None) if is_others or trust.attributes.email is None else given


def _with_fixed(given: Attributes, most: Attributes) -> Attributes:
    """Return attributes with the texts that the trust fixes: a pattern without a star is the one value there can be."""
    fixed = {
        one.name: bound
        for one in fields(most)
        if one.name in TEXTS and (bound := getattr(most, one.name)) and "*" not in bound
    }
    missing = {name: text for name, text in fixed.items() if getattr(given, name) is None}
    return replace(given, **missing)


def refusal_of(exc: TokenRefusedError) -> LoginRefusedError:
    """Return a refused token as a refused login."""
    return LoginRefusedError(exc.reason, exc.detail)
