"""A person's login kept over restarts: provider, client and refresh token, in a file that its owner alone may read.

    …/tenants/<tenant>/logins/<name>.login          JSON, mode 0600; `file_name` says how names are written

The access token is not kept: it is short-lived, and had again by a refresh. Nor is a client secret, which stands in
the configuration. The session key of the same person is `folder.key_file("session", name)`.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from producers.home.files import FileError, read_private, replace_private
from producers.home.home import TenantHome, file_name
from producers.identity.errors import LoginCode, LoginError, LoginSettingsError
from producers.identity.login import Login
from producers.identity.provider import LoggedOut, RemoteIdentityProvider
from schemas import limits

FORMAT = "macaw-login/v1"
FILE_BYTES_MAX = 64 * 1024
_MEMBERS = frozenset({"format", "name", "issuer", "client_id", "refresh_token"})


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLogin:
    """A login as it is kept. Its repr has no token."""

    name: str
    issuer: str
    client_id: str
    refresh_token: str = field(repr=False)


def login_file(folder: TenantHome, name: str) -> Path:
    """Return where a person's login is kept. Raises HomeError for an impossible name."""
    return folder.path / "logins" / f"{file_name(name)}.login"


def save_login(folder: TenantHome, name: str, login: Login) -> Path:
    """Keep a login in place of an earlier one; return its file.

    Raises:
        LoginError: LOGIN_OVER if the provider gave no refresh token, so that there is nothing to keep.
        OSError: the file cannot be written.
    """
    with _locked(login_file(folder, name)) as path:
        _write(path, name, login)
        return path


def read_login(folder: TenantHome, name: str) -> StoredLogin:
    """Return a person's kept login.

    Raises:
        LoginSettingsError: there is none, others may read its file, or it holds something else.
    """
    return _read(login_file(folder, name), name)


def resume_login(folder: TenantHome, name: str, provider: RemoteIdentityProvider) -> Login:
    """Return a login with a fresh token from the kept one, and keep its new refresh token.

    One process at a time does this: a provider that rotates refresh tokens ends a login at the second use of one.

    Raises:
        LoginSettingsError: as `read_login`, or the kept login is of another provider or client.
        LoginError: CREDENTIALS_REFUSED if the person has to log in again; the kept login is removed then.
        ProviderUnavailableError: try again later; the kept login stays.
    """
    return _renewed(folder, name, provider, provider.resume)


def refresh_login(folder: TenantHome, name: str, provider: RemoteIdentityProvider, login: Login) -> Login:
    """Return a login with a later token, as `RemoteIdentityProvider.refresh`, for a login that is kept.

    Other processes may have renewed the kept login since: their refresh token is used. For a keeper:
    `keep(…, renew=partial(refresh_login, folder, name, provider))`.

    Raises:
        LoginSettingsError, LoginError, ProviderUnavailableError: as `resume_login`. ForkedError as `refresh`.
    """
    return _renewed(folder, name, provider, lambda token: provider.refresh(login, refresh_token=token))


def _renewed(folder: TenantHome, name: str, provider: RemoteIdentityProvider, renew: Callable[[str], Login]) -> Login:
    with _locked(login_file(folder, name)) as path:
        stored = _read(path, name)
        _check_same(stored, provider)
        try:
            login = renew(stored.refresh_token)
        except LoginError as exc:
            if exc.code is LoginCode.CREDENTIALS_REFUSED:
                path.unlink(missing_ok=True)
            raise
        _write(path, name, login)
        return login


def forget_login(folder: TenantHome, name: str, provider: RemoteIdentityProvider, login: Login) -> LoggedOut:
    """Remove a person's kept login first, then end it at the provider. Raises as `RemoteIdentityProvider.logout`."""
    with _locked(login_file(folder, name)) as path:
        try:
            stored = _read(path, name)
        except LoginSettingsError:  # there is none, or nothing that could be used
            token = None
        else:
            token = (
                stored.refresh_token if (stored.issuer, stored.client_id) == (login.issuer, login.client_id) else None
            )
        path.unlink(missing_ok=True)
    return provider.logout(login, refresh_token=token)


def remove_login(folder: TenantHome, name: str) -> None:
    """Remove a person's kept login; nothing happens if there is none. Raises OSError."""
    with _locked(login_file(folder, name)) as path:
        path.unlink(missing_ok=True)


def _read(path: Path, name: str) -> StoredLogin:
    try:
        data = read_private(path, FILE_BYTES_MAX)
    except FileError as exc:
        if exc.missing:
            raise LoginSettingsError(f"no login of {name!r} is kept here: log in first") from None
        raise LoginSettingsError(str(exc)) from None
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    is_whole = isinstance(found, dict) and found.keys() == _MEMBERS and all(isinstance(v, str) for v in found.values())
    if not is_whole or found["format"] != FORMAT or found["name"] != name:
        raise LoginSettingsError(f"{path} is not a kept login of {name!r}: remove it, and log in again")
    return StoredLogin(
        name=name, issuer=found["issuer"], client_id=found["client_id"], refresh_token=found["refresh_token"]
    )


def _check_same(stored: StoredLogin, provider: RemoteIdentityProvider) -> None:
    """Raise LoginSettingsError unless the token goes back to where it came from."""
    settings = provider.settings
    if (stored.issuer, stored.client_id) != (settings.issuer, settings.client.client_id):
        raise LoginSettingsError(
            f"the kept login of {stored.name!r} is of the client {stored.client_id!r} at {stored.issuer}, "
            "which is not configured now: log in again"
        )


def _write(path: Path, name: str, login: Login) -> None:
    token = login.refresh_token
    if token is None or len(token) > limits.TOKEN_CHARS_MAX:
        raise LoginError(
            LoginCode.LOGIN_OVER,
            "the provider gave no refresh token, so there is nothing to keep: ask for "
            "`offline_access`, or log in each time",
        )
    members = {"format": FORMAT, "name": name, "issuer": login.issuer, "client_id": login.client_id}
    replace_private(path, f"{json.dumps({**members, 'refresh_token': token})}\n".encode())


@contextmanager
def _locked(path: Path) -> Iterator[Path]:
    """Be the only one, of all processes, that changes this login during the block."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield path
    finally:
        os.close(descriptor)
