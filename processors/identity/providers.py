"""Identity providers that a tenant trusts: the names and attributes for which each speaks, by an admin's event.

A bridge verifies tokens, and the log decides which issuers count. A session that a bridge opens names its issuer. It is
accepted only if an admin trusted that issuer, and only with a name and attributes within that trust, so a stolen bridge
key cannot invent an issuer, and the provider of one company cannot speak for another.

    provider                                    its principals
    https://login.acme.example  no namespace    user:alice@acme.example
    https://idp.partner.example partner         user:partner/alice
    https://ci.example          ci (workloads)  workload:ci/build

A namespace belongs to one issuer for ever. A principal of two providers is two principals.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from functools import lru_cache
from hashlib import sha256

from processors.identity.tokens.jose import ALGORITHMS
from processors.policy import names
from processors.refusal import Refusal
from processors.state.tables import Tables
from processors.text.characters import is_plain_text, quoted
from schemas import limits
from schemas.events.attributes import LISTS, READ_BY_POLICIES, TEXTS, Attributes, size_of
from schemas.events.providers import IdentityProviderDistrusted, IdentityProviderTrusted
from schemas.reasons import Reason
from schemas.records import SessionOpened
from schemas.rows import ProviderRow, SessionRow
from schemas.words import ProviderSubjects

KINDS = frozenset({"oidc", "keycloak", "okta", "azure", "google", "auth0"})
PREFIXES: Mapping[str, str] = {
    ProviderSubjects.USER: names.PERSON_PREFIX,
    ProviderSubjects.WORKLOAD: names.WORKLOAD_PREFIX,
}

SPONSOR_BYTES = 8  # of the digest of an issuer: it tells 64 issuers apart, and each session holds it twice

_NAMESPACE = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\]")
_ISSUER = re.compile(r"(https?)://([^/?#@\\\s:\[\]]+|\[[^\]/?#@\\\s]+\])(:[0-9]{1,5})?(/[^?#\\\s]*)?", re.ASCII)


def prefix_of(subjects: str, namespace: str | None) -> str:
    """Return the beginning of every name that a provider of such subjects gives. Requires a key of PREFIXES."""
    return PREFIXES[subjects] + ("" if namespace is None else f"{namespace}/")


@lru_cache(maxsize=4 * limits.PROVIDERS_MAX)
def sponsor_of(issuer: str) -> bytes:
    """Return the sponsor of a provider's principals, as shares name it: a digest that is shorter than any kid."""
    return sha256(b"macaw/provider/v1\n" + issuer.encode("utf-8", "surrogatepass")).digest()[:SPONSOR_BYTES]


def trust(tables: Tables, body: IdentityProviderTrusted) -> None:
    """Trust an issuer, or replace the terms on which it is trusted.

    Raises:
        Refusal: PROVIDER_FORM; PROVIDER_CONFLICT if the namespace is another issuer's, or the issuer has spoken under
            another namespace or for others; LIMIT_EXCEEDED.
    """
    _check_form(body)
    key = body.issuer.encode()
    known = tables.providers.get(key)
    if known is None and len(tables.providers) >= limits.PROVIDERS_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"a tenant has at most {limits.PROVIDERS_MAX} identity providers, ever")
    if known is not None and (known.namespace, known.subjects) != (body.namespace, body.subjects):
        raise Refusal(Reason.PROVIDER_CONFLICT, "the issuer keeps its namespace and its kind of subjects for ever")
    owner = next((k for k, row in tables.providers.rows.items() if _same_names(row, body) and k != key), None)
    if owner is not None:
        told = f"{quoted(owner.decode())} has these names: give this provider a namespace of its own"
        raise Refusal(Reason.PROVIDER_CONFLICT, told)
    row = ProviderRow(
        kind=body.kind,
        namespace=body.namespace,
        subjects=body.subjects,
        name_pattern=body.name_pattern,
        attributes=body.attributes,
        audiences=body.audiences,
        algorithms=body.algorithms,
        private_hosts=body.private_hosts,
        trusted_at=tables.now,
        sessions_ended_at=None if known is None else known.sessions_ended_at,
    )
    tables.providers.put(key, row)


def _same_names(row: ProviderRow, body: IdentityProviderTrusted) -> bool:
    return (row.namespace, row.subjects) == (body.namespace, body.subjects)


def distrust(tables: Tables, body: IdentityProviderDistrusted) -> None:
    """Take trust from an issuer: it opens no further session. The caller ends its sessions, if the event says so.

    Raises:
        Refusal: UNKNOWN_PROVIDER if it is not trusted now; LIMIT_EXCEEDED for a long reason.
    """
    if len(body.reason) > limits.REASON_CHARS_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"the reason is longer than {limits.REASON_CHARS_MAX} characters")
    key = body.issuer.encode("utf-8", "surrogatepass")
    row = tables.providers.get(key)
    if row is None or (row.ended_at is not None and not body.end_sessions):
        raise Refusal(Reason.UNKNOWN_PROVIDER)
    ended_at = tables.now if row.ended_at is None else row.ended_at
    sessions_ended_at = tables.now if body.end_sessions else row.sessions_ended_at
    tables.providers.put(key, replace(row, ended_at=ended_at, sessions_ended_at=sessions_ended_at))


def check_session(tables: Tables, body: SessionOpened) -> ProviderRow:
    """Return the provider under which a bridge may open this session.

    Raises:
        Refusal: UNKNOWN_PROVIDER, NAME_INVALID or WRONG_PRINCIPAL for a name that is not within its trust,
            ATTRIBUTE_INVALID for such attributes, TOKEN_DIGEST without the digest of a token, ACTOR_INVALID for an
            actor that no trusted provider names.
    """
    row = tables.providers.get((body.issuer or "").encode("utf-8", "surrogatepass"))
    if row is None or row.ended_at is not None:
        raise Refusal(Reason.UNKNOWN_PROVIDER)
    digests = (body.token_sha256 or b"", *(one for one in (body.login_ref, body.subject_ref) if one is not None))
    if any(len(digest) != limits.DIGEST_BYTES for digest in digests):
        raise Refusal(Reason.TOKEN_DIGEST)
    _check_name(row, body.principal_id)
    if body.attributes is None:
        raise Refusal(Reason.ATTRIBUTE_INVALID, "`attributes` is missing: a bridge must give them")
    _check_attributes(row, body.principal_id, body.attributes)
    if body.actors:
        _check_actors(tables, body.issuer or "", body.principal_id, body.actors)
    return row


def _check_actors(tables: Tables, issuer: str, name: str, actors: tuple[str, ...]) -> None:
    """Raise Refusal ACTOR_INVALID unless the actors are few, different, and such as trusted providers name now.

    They are the provider's own principals, or workloads. A person of another provider is none: each call charges the
    rates of its actors, so one company's provider could spend those of another's people.
    """
    if len(actors) > limits.TOKEN_ACTORS_MAX:
        raise Refusal(Reason.ACTOR_INVALID, f"`actors` holds at most {limits.TOKEN_ACTORS_MAX} names")
    for actor in actors:
        if not any(_names_actor(key, row, issuer, actor) for key, row in tables.providers.rows.items()):
            raise Refusal(Reason.ACTOR_INVALID, f"no provider that may do so names {quoted(actor)}")
    # Behind the check of their form: a text that no provider may give can take long to fold.
    if len({names.known_as(one) for one in (name, *actors)}) <= len(actors):
        raise Refusal(Reason.ACTOR_INVALID, "two of the principal and its actors are one, in some spelling")


def _names_actor(key: bytes, row: ProviderRow, issuer: str, actor: str) -> bool:
    is_meant = row.subjects == ProviderSubjects.WORKLOAD or key == issuer.encode("utf-8", "surrogatepass")
    return row.ended_at is None and is_meant and may_name(row, actor)


def may_name(row: ProviderRow, name: str) -> bool:
    """Return whether a provider may give a name, on the terms of its trust."""
    try:
        _check_name(row, name)
    except Refusal:
        return False
    return True


def check_terms(tables: Tables, session: SessionRow) -> None:
    """Check a session of a provider against the trust in it, and in the providers of its actors, as it is now.

    Raises:
        Refusal: as `check_session`, but for digests.
    """
    row = tables.providers.get(session.issuer.encode("utf-8", "surrogatepass"))
    if row is None or row.ended_at is not None:
        raise Refusal(Reason.UNKNOWN_PROVIDER)
    _check_name(row, session.principal_id)
    _check_attributes(row, session.principal_id, session.attributes)
    _check_actors(tables, session.issuer, session.principal_id, session.actors)


def _check_name(row: ProviderRow, name: str) -> None:
    """Raise Refusal unless a provider may give a name."""
    prefix = prefix_of(row.subjects, row.namespace)
    if not name.startswith(prefix):
        raise Refusal(Reason.WRONG_PRINCIPAL, f"names of this provider begin with {quoted(prefix)}")
    own = name[len(prefix) :]
    if not own:
        raise Refusal(Reason.NAME_INVALID, f"the name has no character after {quoted(prefix)}")
    names.check_printable(name, most=limits.PROVIDED_NAME_CHARS_MAX)
    if row.namespace is None and _is_in_a_namespace(own):
        # It would be a name in the namespace of another provider, of today or of later.
        raise Refusal(Reason.NAME_INVALID, "a name like `ns/name` needs a provider with a namespace")
    if not names.meets_anywhere(row.name_pattern, name):
        raise Refusal(Reason.WRONG_PRINCIPAL, "the name does not meet the pattern of its provider")


def is_of(row: ProviderRow, name: str) -> bool:
    """Return whether a name is one of a provider's own, as they are for ever, under each pattern."""
    prefix = prefix_of(row.subjects, row.namespace)
    return name.startswith(prefix) and (row.namespace is not None or not _is_in_a_namespace(name[len(prefix) :]))


def _is_in_a_namespace(own: str) -> bool:
    first, slash, _ = own.partition("/")
    return bool(slash) and _NAMESPACE.fullmatch(first) is not None


def _check_attributes(row: ProviderRow, name: str, given: Attributes) -> None:
    """Raise Refusal ATTRIBUTE_INVALID unless every attribute is within a provider's trust; `user` follows the name."""
    most = row.attributes
    if given.user is not None and f"{names.PERSON_PREFIX}{given.user}" != name:
        raise Refusal(Reason.ATTRIBUTE_INVALID, "'user' must be the name of the principal without its prefix")
    for field in TEXTS:
        text: str | None = getattr(given, field)
        if field != "user" and text is not None and not _meets_one((getattr(most, field) or "",), text):
            raise Refusal(Reason.ATTRIBUTE_INVALID, f"{quoted(field)} is not within what its provider may say")
    for field in LISTS:
        patterns: tuple[str, ...] = getattr(most, field)
        if not all(_meets_one(patterns, text) for text in getattr(given, field)):
            raise Refusal(Reason.ATTRIBUTE_INVALID, f"{quoted(field)} holds a value that its provider may not say")


def _meets_one(patterns: Collection[str], text: str) -> bool:
    return any(pattern and names.meets_anywhere(pattern, text) for pattern in patterns)


# ---- the form of a trust


def _check_form(body: IdentityProviderTrusted) -> None:
    """Raise Refusal PROVIDER_FORM unless a provider is described completely, and within bounds."""
    if body.kind not in KINDS:
        raise _malformed(f"`kind` is not one of {', '.join(sorted(KINDS))}")
    if body.subjects not in PREFIXES:
        raise _malformed(f"`subjects` is not one of {', '.join(PREFIXES)}")
    if body.namespace is not None and not _NAMESPACE.fullmatch(body.namespace):
        raise _malformed("`namespace` must be 1 to 40 of a-z, 0-9 and -, and begin with a letter or digit")
    if body.namespace is None and body.subjects == ProviderSubjects.WORKLOAD:
        raise _malformed("a provider of workloads needs a namespace")
    prefix = prefix_of(body.subjects, body.namespace)
    if not body.name_pattern.startswith(prefix) or not _is_pattern(body.name_pattern, limits.PROVIDED_NAME_CHARS_MAX):
        raise _malformed(f"`name_pattern` must begin with {quoted(prefix)}, and hold printable characters only")
    _check_list("audiences", body.audiences, limits.PROVIDER_AUDIENCES_MAX)
    _check_list("algorithms", body.algorithms, len(ALGORITHMS))
    if not set(body.algorithms) <= ALGORITHMS.keys():
        raise _malformed(f"`algorithms` may hold {', '.join(sorted(ALGORITHMS))}")
    if body.private_hosts:
        _check_list("private_hosts", body.private_hosts, limits.PROVIDER_HOSTS_MAX)
    if not all(_HOST.fullmatch(host) for host in body.private_hosts):
        raise _malformed("`private_hosts` holds a text that is not a host name or address in lower case")
    _check_issuer(body.issuer, body.private_hosts)
    _check_most(body.attributes)


def _check_issuer(issuer: str, private_hosts: Collection[str]) -> None:
    """Check that an issuer is an https URL without query and fragment (OpenID Connect Discovery 1.0, 3).

    A private host may be asked without TLS. Raises Refusal PROVIDER_FORM.
    """
    found = _ISSUER.fullmatch(issuer) if issuer.isascii() and len(issuer) <= limits.ISSUER_CHARS_MAX else None
    if found is None:
        raise _malformed("`issuer` must be an https URL of printable ASCII, without query, fragment and user")
    scheme, host = found[1], found[2]
    if not _HOST.fullmatch(host):
        raise _malformed("the host of `issuer` must be a name or address in lower case")
    if scheme != "https" and host not in private_hosts:
        raise _malformed("`issuer` must be an https URL, or its host one of `private_hosts`")


def _check_most(most: Attributes) -> None:
    """Raise Refusal PROVIDER_FORM unless the bound of attributes holds patterns of attributes that policies read."""
    for field in fields(most):
        value = getattr(most, field.name)
        if value and (field.name not in READ_BY_POLICIES or field.name == "user"):
            raise _malformed(f"`attributes` may not hold {quoted(field.name)}")
        texts = (value,) if isinstance(value, str) else value or ()
        if len(texts) > limits.PROVIDED_PATTERNS_MAX or len(set(texts)) < len(texts):
            raise _malformed(f"{quoted(field.name)} in `attributes` holds too many patterns, or one twice")
        for text in texts:
            if not _is_pattern(text, limits.PROVIDED_NAME_CHARS_MAX):
                raise _malformed(f"{quoted(field.name)} in `attributes` holds a text that is not printable or too long")
    if size_of(most) > limits.ATTRIBUTES_BYTES_MAX:
        raise _malformed(f"`attributes` take more than {limits.ATTRIBUTES_BYTES_MAX} bytes")


def _check_list(name: str, texts: tuple[str, ...], most: int) -> None:
    if not 0 < len(texts) <= most or len(set(texts)) < len(texts):
        raise _malformed(f"`{name}` must hold 1 to {most} different texts")
    if not all(_is_pattern(text, limits.AUDIENCE_CHARS_MAX) for text in texts):
        raise _malformed(f"`{name}` holds a text that is empty, not printable, or too long")


def _is_pattern(text: str, most: int) -> bool:
    return 0 < len(text) <= most and is_plain_text(text) and text.count("*") <= limits.PROVIDED_STARS_MAX


def _malformed(detail: str) -> Refusal:
    return Refusal(Reason.PROVIDER_FORM, detail)
