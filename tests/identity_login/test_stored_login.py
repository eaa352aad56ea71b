"""A kept login: for its owner alone, whole, used by one process at a time, and gone after a logout."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.home.home import HomeError, TenantHome
from producers.identity import LoginCode, LoginError, LoginSettingsError, ProviderUnavailableError
from producers.identity.stored import (
    forget_login,
    login_file,
    read_login,
    refresh_login,
    remove_login,
    resume_login,
    save_login,
)
from tests.identity_login.telling import Answer, Told, telling, tokens

# Names as providers give them.
NAMES = [
    "alice@company.com",
    "a+b@x",
    "CORP/alice",
    "ns:alice",
    "alice b",
    "..",
    "../../x",
    "ålice",
    "a" * 255,
    "é" * 255,
]


@pytest.fixture
def folder(tmp_path: Path) -> TenantHome:
    return TenantHome("acme", tmp_path / ".macaw" / "tenants" / "acme")


def kept(told: Told, folder: TenantHome, name: str = "alice") -> Path:
    return save_login(folder, name, told.provider().login(name, "x"))


@pytest.mark.parametrize("name", NAMES)
def test_a_login_is_kept_for_its_owner_alone_whatever_the_name(folder: TenantHome, name: str) -> None:
    with telling({"/token": [tokens(refresh_token="r-1")]}) as told:
        path = kept(told, folder, name)
        found = read_login(folder, name)

    assert path.parent == folder.path / "logins"
    assert path.name.isascii()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert (found.name, found.issuer, found.client_id, found.refresh_token) == (name, told.address, "cli", "r-1")
    assert "r-1" not in repr(found)
    assert "an-opaque-token" not in path.read_text()
    assert {one.suffix for one in path.parent.iterdir()} == {".login", ".lock"}  # no half-written file


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=255)


@settings(deadline=None)
@given(names, names)
def test_no_two_persons_have_one_file_and_each_file_fits(one: str, other: str) -> None:
    """Session keys too: `TenantHome.key_file` writes names the same way."""
    folder = TenantHome("acme", Path("x"))
    files: list[Callable[[str], Path]] = [
        lambda name: login_file(folder, name),
        lambda name: folder.key_file("session", name),
    ]
    for file in files:
        path = file(one)
        assert (path == file(other)) == (one == other)
        assert path.parent.parent == folder.path
        assert len(f"{path.name}.01234567") <= 255
        assert path.with_suffix(".lock") != path


def test_an_impossible_name_has_no_file(folder: TenantHome) -> None:
    for name in ("", "\ud800"):
        with pytest.raises(HomeError):
            login_file(folder, name)


def test_a_resumed_login_is_kept_with_its_new_refresh_token(folder: TenantHome) -> None:
    with telling({"/token": [tokens(refresh_token="r-1"), tokens(refresh_token="r-2"), tokens()]}) as told:
        kept(told, folder)
        assert resume_login(folder, "alice", told.provider()).refresh_token == "r-2"
        assert read_login(folder, "alice").refresh_token == "r-2"
        assert resume_login(folder, "alice", told.provider()).refresh_token == "r-2"  # it gave no new one
        used = [form["refresh_token"] for form in told.forms("/token")[1:]]

    assert used == ["r-1", "r-2"]


def test_processes_that_resume_at_once_never_use_a_token_twice(folder: TenantHome) -> None:
    """The lock is of the file, so it holds between processes as between these threads."""
    number = iter(range(2, 100))
    with telling(
        {"/token": [tokens(refresh_token="r-1"), lambda _: tokens(refresh_token=f"r-{next(number)}")]}
    ) as told:
        kept(told, folder)
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda _: resume_login(folder, "alice", told.provider()), range(6)))
        used = [form["refresh_token"] for form in told.forms("/token")[1:]]

    assert used == [f"r-{n}" for n in range(1, 7)]


def test_a_login_that_the_provider_ended_is_removed_and_one_that_cannot_be_asked_stays(folder: TenantHome) -> None:
    answers = [
        tokens(refresh_token="r-1"),
        (503, b""),
        (401, {"error": "invalid_client"}),
        (400, {"error": "invalid_grant"}),
    ]
    with telling({"/token": answers}) as told:
        path = kept(told, folder)
        with pytest.raises(ProviderUnavailableError):
            resume_login(folder, "alice", told.provider())
        with pytest.raises(LoginError):
            resume_login(folder, "alice", told.provider())
        assert path.exists()
        with pytest.raises(LoginError) as raised:
            resume_login(folder, "alice", told.provider())

    assert raised.value.code is LoginCode.CREDENTIALS_REFUSED
    assert not path.exists()
    with pytest.raises(LoginSettingsError, match="no login of 'alice' is kept here: log in first"):
        read_login(folder, "alice")


def test_a_kept_token_goes_back_to_its_own_issuer_and_client_only(folder: TenantHome) -> None:
    with telling({"/token": [tokens(refresh_token="r-1")]}) as told, telling({"/token": [tokens()]}) as other:
        kept(told, folder)
        for provider in (other.provider(), told.provider(client_id="other")):
            with pytest.raises(LoginSettingsError, match="log in again"):
                resume_login(folder, "alice", provider)
        assert other.asked == []


def test_a_logout_removes_the_file_even_if_the_provider_is_away(folder: TenantHome) -> None:
    with telling({"/token": [tokens(refresh_token="r-1")], "/revoke": [(503, b"")]}) as told:
        provider = told.provider()
        login = provider.login("alice", "x")
        path = save_login(folder, "alice", login)
        with pytest.raises(ProviderUnavailableError):
            forget_login(folder, "alice", provider, login)

    assert not path.exists()
    remove_login(folder, "alice")  # nothing happens


class Rotating:
    """A provider that takes each refresh token once, and ends the login at the second use, as OAuth 2.1 wants."""

    def __init__(self) -> None:
        self.newest, self.number, self.is_over = "", 0, False

    def __call__(self, form: Mapping[str, str]) -> tuple[int, object]:
        if self.newest and form.get("refresh_token") != self.newest:
            self.is_over = True
        if self.is_over:
            return 400, {"error": "invalid_grant"}
        self.number += 1
        self.newest = f"r-{self.number}"
        return tokens(f"access-{self.number}", refresh_token=self.newest)


def test_two_processes_renew_one_kept_login_for_as_long_as_they_like(folder: TenantHome) -> None:
    """Each has a login of its own in memory, whose refresh token the other has used up."""
    with telling({"/token": [Rotating()], "/revoke": [(200, b"")]}) as told:
        kept(told, folder)
        providers = [told.provider() for _ in range(2)]
        logins = [resume_login(folder, "alice", one) for one in providers]
        for _ in range(3):
            logins = [
                refresh_login(folder, "alice", provider, login)
                for provider, login in zip(providers, logins, strict=True)
            ]
        with pytest.raises(LoginError):  # without the file the token of the first is long used
            providers[0].refresh(logins[0])
        stored = read_login(folder, "alice").refresh_token
        forget_login(folder, "alice", providers[0], logins[0])
        revoked = [form["token"] for form in told.forms("/revoke")]

    assert [one.access_token for one in logins] == ["access-8", "access-9"]
    assert revoked == [stored, "access-8"]


def test_a_provider_that_cannot_revoke_access_tokens_has_logged_out_all_the_same(folder: TenantHome) -> None:
    """RFC 7009 2.2.1."""
    answers: list[Answer] = [(200, b""), (400, {"error": "unsupported_token_type"})]
    with telling({"/token": [tokens(refresh_token="r-1")], "/revoke": answers}) as told:
        provider = told.provider()
        assert provider.logout(provider.login("alice", "x")).is_revoked


def test_the_tokens_of_a_login_are_not_sent_to_another_provider(folder: TenantHome) -> None:
    with telling({"/token": [tokens(refresh_token="r-1")]}) as told, telling({"/revoke": [(200, b"")]}) as other:
        login = told.provider().login("alice", "x")
        for provider in (other.provider(), told.provider(client_id="other")):
            for act in (provider.refresh, provider.logout):
                with pytest.raises(LoginSettingsError, match="another issuer or client"):
                    act(login)
        assert other.asked == []
        assert len(told.forms("/token")) == 1
        assert told.provider().refresh(login).refresh_token == "r-1"  # and it has not ended


def test_a_logout_revokes_both_tokens(folder: TenantHome) -> None:
    with telling({"/token": [tokens(refresh_token="r-1")], "/revoke": [(200, b"")]}) as told:
        provider = told.provider()
        done = forget_login(folder, "alice", provider, provider.login("alice", "x"))
        revoked = [(form["token"], form["token_type_hint"]) for form in told.forms("/revoke")]

    assert revoked == [("r-1", "refresh_token"), ("an-opaque-token", "access_token")]
    assert done.end_session_page == f"{told.address}/end?client_id=cli"


def test_a_login_without_a_refresh_token_is_not_kept(folder: TenantHome) -> None:
    with telling({"/token": [tokens()]}) as told, pytest.raises(LoginError, match="offline_access"):
        kept(told, folder)

    assert not login_file(folder, "alice").exists()


def test_a_file_that_others_may_read_or_that_is_a_link_is_refused(folder: TenantHome, tmp_path: Path) -> None:
    with telling({"/token": [tokens(refresh_token="r-1")]}) as told:
        path = kept(told, folder)
    path.chmod(0o640)
    with pytest.raises(LoginSettingsError, match="others may read it"):
        read_login(folder, "alice")
    path.chmod(0o600)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LoginSettingsError, match="it is a link"):
        read_login(folder, "alice")


@pytest.mark.parametrize("change", [{"name": "bob"}, {"format": "x"}, {"more": "x"}, {"refresh_token": 7}])
def test_a_file_of_another_person_or_form_is_refused(folder: TenantHome, change: dict[str, object]) -> None:
    """A file that was copied to another name would log its person in under it."""
    with telling({"/token": [tokens(refresh_token="secret-r-1")]}) as told:
        path = kept(told, folder)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))

    with pytest.raises(LoginSettingsError, match="remove it, and log in again") as raised:
        read_login(folder, "alice")
    assert "secret-r-1" not in str(raised.value)
    path.write_text("{")
    with pytest.raises(LoginSettingsError):
        read_login(folder, "alice")
