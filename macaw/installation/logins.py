"""Logins of people and workloads at a terminal: the session's key and its facts are kept until the logout.

    …/sessions/NAME.key       the session key; sessions/NAME.json: its principal, its end, the issuer
    …/logins/PRINCIPAL.login  the refresh token, where the provider gave one (producers/identity/stored.py)

The next command that speaks with a session renews it, if its end is near.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from processors.policy.names import PERSON_PREFIX, WORKLOAD_PREFIX
from producers.home.clock import clock_ms
from producers.home.files import FileError, read_private, replace_private
from producers.home.home import Home, HomeError, TenantHome
from producers.identity import Login, RemoteIdentityProvider
from producers.identity.errors import LoginError, LoginSettingsError
from producers.identity.stored import (
    forget_login,
    login_file,
    read_login,
    remove_login,
    resume_login,
    save_login,
)
from producers.kafka.link import logins_of
from producers.kafka.logins import LoggedIn, SessionRefusedError

RENEW_MS = 60_000  # a session that ends sooner is renewed before it is used
FACTS_BYTES_MAX = 64 * 1024
_KINDS: Mapping[str, str] = {PERSON_PREFIX: "session", WORKLOAD_PREFIX: "workload"}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSession:
    """A session that a login has opened, as it is known here; times are ms since the epoch."""

    principal_id: str
    session: str
    expires_at: int
    issuer: str


def place_of(folder: TenantHome, principal_id: str) -> tuple[str, str, Path]:
    """Return kind, bare name and key file of the session of a principal. Raises HomeError for another principal."""
    for prefix, kind in _KINDS.items():
        if principal_id.startswith(prefix):
            bare = principal_id.removeprefix(prefix)
            return kind, bare, folder.key_file(kind, bare)
    raise HomeError(f"{principal_id!r} does not log in: only user:NAME and workload:NAME do")


def open_from_token(
    home: Home, folder: TenantHome, token: str, *, issuer: str, ttl_ms: int | None = None, provider: str | None = None
) -> KeptSession:
    """Open a session with a token, and keep its key in place of an earlier one.

    Raises:
        NotATokenError, SessionRefusedError, NoBridgeError: as `Logins.open`.
        KeyAccessError, OSError: the key cannot be kept; the session ends by itself.
    """
    with logins_of(home, folder) as logins:
        opened = logins.open(token, ttl_ms=ttl_ms, provider=provider)
    _, _, path = place_of(folder, opened.principal_id)
    new = path.with_name(f"{path.name}.new")
    folder.keys.discard(new)
    folder.keys.put(new, opened.key, folder.keys.settings.store_for("session"))
    folder.keys.replace(new, path)
    return _keep(path, opened, issuer)


def log_in(home: Home, folder: TenantHome, login: Login, *, ttl_ms: int | None = None) -> KeptSession:
    """Open a session with a provider's login and keep both. Raises as `open_from_token`."""
    kept = open_from_token(home, folder, login.access_token, issuer=login.issuer, ttl_ms=ttl_ms)
    if login.refresh_token is not None:
        save_login(folder, kept.principal_id, login)
    else:
        remove_login(folder, kept.principal_id)
    return kept


def _keep(path: Path, opened: LoggedIn, issuer: str) -> KeptSession:
    kept = KeptSession(
        principal_id=opened.principal_id,
        session=opened.key.kid.hex(),
        expires_at=opened.expires_at,
        issuer=issuer,
    )
    replace_private(path.with_suffix(".json"), f"{json.dumps(asdict(kept))}\n".encode())
    return kept


def kept_session(folder: TenantHome, path: Path) -> KeptSession | None:
    """Return the facts beside a session's key, None where a login did not open that session.

    Raises:
        KeyAccessError: the key's file cannot be read.
    """
    try:
        found = json.loads(read_private(path.with_suffix(".json"), FACTS_BYTES_MAX))
        kept = KeptSession(**found)
    except (FileError, ValueError, TypeError, RecursionError):
        return None
    return kept if path.exists() and folder.keys.facts(path).kid.hex() == kept.session else None


def kept_sessions(folder: TenantHome) -> Iterator[KeptSession]:
    """Yield every session that a login has opened and that is kept here."""
    for kind in _KINDS.values():
        for path in sorted((folder.path / f"{kind}s").glob("*.key")):
            if (kept := kept_session(folder, path)) is not None:
                yield kept


def freshen(home: Home, folder: TenantHome, principal_id: str) -> KeptSession | None:
    """Renew the kept session of a principal if its end is near; open another one if it has ended or cannot be renewed.

    Returns the facts as they are then, None for a session that no login has opened.

    Raises:
        HomeError: the session has ended, and nothing is kept to renew it with: log in again.
        LoginError, ProviderUnavailableError, SessionRefusedError, NoBridgeError: it could not be renewed.
    """
    _, _, path = place_of(folder, principal_id)
    kept = kept_session(folder, path)
    if kept is None or kept.expires_at - clock_ms() > RENEW_MS:
        return kept
    if not login_file(folder, principal_id).exists():
        if kept.expires_at > clock_ms():
            return kept
        raise HomeError(f"the session of {principal_id} has ended: run `macaw login` again")
    stored = read_login(folder, principal_id)
    provider = RemoteIdentityProvider(stored.issuer, client_id=stored.client_id, home=home)
    login = resume_login(folder, principal_id, provider)
    if kept.expires_at > clock_ms():
        try:
            with logins_of(home, folder) as logins:
                renewed = logins.renew(login.access_token, folder.keys.load(path))
        except SessionRefusedError:
            pass  # it says something else now, or has just ended: another session is opened
        else:
            return _keep(path, renewed, kept.issuer)
    return open_from_token(home, folder, login.access_token, issuer=kept.issuer)


def forget(home: Home, folder: TenantHome, principal_id: str) -> bool:
    """Remove the key of a principal's session and its login here, and end the login at the provider; return whether.

    Raises:
        OSError, KeyAccessError: something cannot be removed.
    """
    _, _, path = place_of(folder, principal_id)
    kept = kept_session(folder, path)
    folder.keys.discard(path)
    path.with_suffix(".json").unlink(missing_ok=True)
    if kept is None or not login_file(folder, principal_id).exists():
        return False
    try:
        stored = read_login(folder, principal_id)
        provider = RemoteIdentityProvider(stored.issuer, client_id=stored.client_id, home=home)
        return forget_login(folder, principal_id, provider, resume_login(folder, principal_id, provider)).is_revoked
    except (LoginError, LoginSettingsError):
        return False  # the provider had ended it, or nothing usable was kept
    finally:
        remove_login(folder, principal_id)
