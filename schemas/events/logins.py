"""Logins: from the token of an identity provider to a session, through a bridge (docs/wire.md 16).

A login travels sealed on the topic `logins`, and its answer on `login-answers`. No token ever stands on the log.
"""

from __future__ import annotations

from schemas.events.attributes import Attributes
from schemas.record import record


@record
class LoginProof:
    """The nonce and the end of a login: with the token, the bridge and the keys its session key signs them."""

    nonce: bytes
    expires_at: int


@record
class SessionRenewed:
    """A session lives on, because its provider vouches for it anew, in the same words as when it was opened."""

    session: bytes
    principal_id: str
    issuer: str
    attributes: Attributes
    actors: tuple[str, ...]
    subject_ref: bytes
    ttl_ms: int
    token_sha256: bytes
    login: LoginProof
    possession: bytes


@record
class LoginRefused:
    """Logins that a bridge refused for one reason: how many, and the digest of the first."""

    issuer: str | None = None
    reason: str
    login: bytes
    count: int


@record
class LoginEnded:
    """A provider ends a login, or every login of a subject; the sessions that came of it end."""

    issuer: str
    login_ref: bytes | None = None
    subject_ref: bytes | None = None
    reason: str


@record
class SealedLogin:
    """A login on its way to one bridge; its payload, a LoginRequested, travels sealed in the record's header."""

    session: bytes
    bridge: bytes
    payload_sha256: bytes


@record
class LoginRequested:
    """A holder of a token asks for a session with a key of their own; `repr` shows no token."""

    token: str
    ed25519: bytes
    x25519: bytes
    proof: LoginProof
    possession: bytes
    is_renewal: bool
    ttl_ms: int | None = None
    provider: str | None = None

    def __repr__(self) -> str:
        return f"LoginRequested(ed25519={self.ed25519.hex()[:16]}…)"


@record
class LoginAnswered:
    """A bridge's answer to one login; its payload, 16 random bytes and a LoginAnswer, travels sealed in the header."""

    session: bytes
    login: bytes
    payload_sha256: bytes


@record
class LoginAnswer:
    """The end of one login: the session's principal and its end, or the reason of the refusal."""

    outcome: str
    reason: str
    detail: str
    principal_id: str | None = None
    expires_at: int | None = None
