"""Logins at a real provider, from a program: password, browser, device, workload; refreshed, revoked, and over."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from processors.identity.tokens.verify import verify_token
from producers.identity import Login, LoginCode, LoginError, RemoteIdentityProvider, settings
from producers.identity.device import DevicePrompt
from tests.identity_providers.flows import Browser
from tests.identity_providers.nano import NanoIdP
from tests.identity_providers.provider import IdentityProvider, now_ms
from tests.pages import ROOT, blocks_of

PAGE = (ROOT / "docs" / "login.md").read_text("utf-8")


@pytest.fixture(scope="module")
def idp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityProvider]:
    with NanoIdP(tmp_path_factory.mktemp("idp")) as running:
        yield running


@pytest.fixture
def confidential(idp: IdentityProvider) -> RemoteIdentityProvider:
    return RemoteIdentityProvider(idp.issuer, client_id=idp.client_id, client_secret=idp.client_secret)


@pytest.fixture
def public(idp: IdentityProvider) -> RemoteIdentityProvider:
    return RemoteIdentityProvider(idp.issuer, client_id=idp.public_client_id)


def alice_at(idp: IdentityProvider, provider: RemoteIdentityProvider) -> Login:
    return provider.login("alice", idp.people["alice"].password)


def subject_of(idp: IdentityProvider, login: Login) -> str:
    """The subject of a token as the bridge will see it: with its signature, issuer and audience."""
    return verify_token(login.access_token, idp.rules(), idp.key_set(), now_ms()).subject


def test_a_password_gives_a_token_in_both_published_forms(
    idp: IdentityProvider, confidential: RemoteIdentityProvider
) -> None:
    result = alice_at(idp, confidential)
    token, principal = result

    assert result["access_token"] == result[0] == token == result.access_token
    assert subject_of(idp, result) == "alice"
    assert principal["user_id"] == principal.user_id == "alice"
    assert principal["roles"] == ("analyst",)
    assert confidential.validate(token) == principal
    assert "refresh_token" in result
    assert result.get("nothing") is None
    with pytest.raises(KeyError):
        result["line"]


def test_no_repr_and_no_log_has_a_token(
    idp: IdentityProvider, confidential: RemoteIdentityProvider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    login = alice_at(idp, confidential)
    later = confidential.refresh(login)
    shown = [repr(login), str(later), f"{[later]}", repr(confidential), repr(confidential.settings), caplog.text]
    secrets = [
        idp.client_secret,
        idp.people["alice"].password,
        *(str(one[n]) for one in (login, later) for n in one_of),
    ]

    assert len(set(secrets)) == 8
    assert [text for text in shown for secret in secrets if secret in text] == []


one_of = ("access_token", "refresh_token", "id_token")


def test_a_wrong_password_is_refused_and_a_wrong_client_too(
    idp: IdentityProvider, confidential: RemoteIdentityProvider
) -> None:
    with pytest.raises(LoginError) as wrong:
        confidential.login("alice", "not-her-password")
    with pytest.raises(LoginError) as client:
        RemoteIdentityProvider(idp.issuer, client_id=idp.client_id, client_secret="wrong").login("alice", "x")

    assert wrong.value.code is LoginCode.CREDENTIALS_REFUSED
    assert client.value.code is LoginCode.CLIENT_REFUSED


class Person:
    """A person who is shown an address, and goes there with a browser of their own."""

    def __init__(self, idp: IdentityProvider, name: str = "alice") -> None:
        self.idp, self.name, self.urls, self.thread = idp, name, list[str](), threading.Thread()
        self.page = ""

    def open(self, url: str) -> bool:
        self.urls.append(url)
        self.thread = threading.Thread(target=self._walk, args=(url,))
        self.thread.start()
        return True

    def _walk(self, url: str) -> None:
        with Browser.open() as browser:
            back = browser.walk(url, self.idp.login_answers(self.name), until="http://127.0.0.1:")
            self.page = browser.http.get(back).text


def test_a_browser_logs_in_through_a_free_port_with_pkce(idp: IdentityProvider, public: RemoteIdentityProvider) -> None:
    person = Person(idp, "bob")
    login = public.login_browser(person.open)
    person.thread.join()
    asked = {name: value for name, (value,) in parse_qs(urlsplit(person.urls[0]).query).items()}

    assert subject_of(idp, login) == "bob"
    assert "You may close this window" in person.page
    assert asked["code_challenge_method"] == "S256"
    assert len(asked["state"]) == len(asked["nonce"]) == len(asked["code_challenge"]) == 43
    assert urlsplit(asked["redirect_uri"]).hostname == "127.0.0.1"
    with pytest.raises(httpx.ConnectError):  # the port was for one answer
        httpx.get(asked["redirect_uri"], trust_env=False)
    assert "refresh_token" in login
    assert subject_of(idp, public.refresh(login)) == "bob"


def test_a_device_logs_in_with_a_code_that_is_shown(idp: IdentityProvider, public: RemoteIdentityProvider) -> None:
    def agree(prompt: DevicePrompt) -> None:
        shown.append(prompt)
        answers = idp.login_answers("alice") | idp.device_answers(deny=False) | {"user_code": prompt.user_code}
        with Browser.open() as browser:
            browser.walk(prompt.verification_uri_complete or prompt.verification_uri, answers)

    shown: list[DevicePrompt] = []
    login = public.login_device(agree)

    assert subject_of(idp, login) == "alice"
    assert shown[0].user_code in str(shown[0])
    assert shown[0].user_code not in repr(shown[0])


def test_a_person_who_says_no_ends_the_device_flow(idp: IdentityProvider, public: RemoteIdentityProvider) -> None:
    def refuse(prompt: DevicePrompt) -> None:
        answers = idp.login_answers("alice") | idp.device_answers(deny=True) | {"user_code": prompt.user_code}
        with Browser.open() as browser:
            browser.walk(prompt.verification_uri_complete or prompt.verification_uri, answers)

    with pytest.raises(LoginError) as raised:
        public.login_device(refuse)

    assert raised.value.code is LoginCode.ACCESS_REFUSED


def test_a_workload_gets_a_token_of_its_own_and_another_when_it_asks(idp: IdentityProvider) -> None:
    workload = RemoteIdentityProvider(idp.issuer, client_id=idp.workload_id, client_secret=idp.workload_secret)
    login = workload.client_credentials()
    later = workload.refresh(login)

    assert "refresh_token" not in login
    assert later.access_token != login.access_token
    assert later.can_renew


def test_a_refreshed_login_has_a_new_token_and_the_old_refresh_token_is_worth_nothing(
    idp: IdentityProvider, confidential: RemoteIdentityProvider
) -> None:
    login = alice_at(idp, confidential)
    later = confidential.refresh(login)

    assert subject_of(idp, later) == "alice"
    assert later.access_token != login.access_token
    assert later.refresh_token != login.refresh_token
    with pytest.raises(LoginError) as raised:
        confidential.resume(str(login.refresh_token))
    assert raised.value.code is LoginCode.CREDENTIALS_REFUSED


def test_threads_that_refresh_one_login_share_one_request(
    idp: IdentityProvider, confidential: RemoteIdentityProvider
) -> None:
    """A second use of a rotated token would end the login for all of them."""
    login = alice_at(idp, confidential)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(confidential.refresh, [login] * 8))

    assert len({one.access_token for one in found}) == 1
    assert confidential.refresh(found[0]).access_token != found[0].access_token


def test_a_login_that_ended_is_revoked_and_refreshes_no_more(
    idp: IdentityProvider, confidential: RemoteIdentityProvider
) -> None:
    first = alice_at(idp, confidential)
    newest = confidential.refresh(first)
    pages: list[str] = []
    done = confidential.logout(first, open_url=pages.append)  # by any login of the line

    assert done.is_revoked
    assert pages == [done.end_session_page]
    assert newest.access_token not in pages[0]
    for one in (first, newest):
        with pytest.raises(LoginError) as raised:
            confidential.refresh(one)
        assert raised.value.code is LoginCode.LOGIN_OVER
    with pytest.raises(LoginError) as raised:  # the provider knows too
        confidential.resume(str(newest.refresh_token))
    assert raised.value.code is LoginCode.CREDENTIALS_REFUSED
    form = {"token": newest.access_token}
    seen = httpx.post(
        f"{idp.issuer}/introspect", data=form, auth=(idp.client_id, idp.client_secret), trust_env=False
    ).json()
    assert seen["active"] is False


def test_a_token_of_another_issuer_or_past_its_end_is_not_shown_as_valid(
    idp: IdentityProvider, confidential: RemoteIdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = alice_at(idp, confidential).access_token
    other = RemoteIdentityProvider("https://login.example.com", client_id="x")

    with pytest.raises(LoginError, match="another issuer"):
        other.validate(token)
    with pytest.raises(LoginError, match="TOKEN_NOT_COMPACT"):
        confidential.validate("opaque")
    monkeypatch.setattr("time.time", lambda: now_ms() / 1000 + 10_000)
    with pytest.raises(LoginError, match="expired"):
        confidential.validate(token)


def test_a_login_without_a_refresh_token_says_how_to_get_one(
    idp: IdentityProvider, confidential: RemoteIdentityProvider
) -> None:
    login = replace(alice_at(idp, confidential), refresh_token=None)
    login.line.newest = login

    with pytest.raises(LoginError, match="offline_access"):
        confidential.refresh(login)


def test_the_page_does_what_it_says(idp: IdentityProvider, confidential: RemoteIdentityProvider) -> None:
    """Each block of Python in docs/login.md runs; those that need a provider get this one."""
    first, login, staying = [one.text for one in blocks_of(PAGE) if one.language == "python"]
    exec(first, {})
    names: dict[str, object] = {"idp": confidential, "password": idp.people["alice"].password}
    exec(login.replace("alice@company.com", "alice"), names)
    assert str(names["principal"]).startswith("UnverifiedPrincipal(user_id='alice'")
    exec(staying, {**names, "login": names["result"]})


def test_the_page_names_every_code_and_every_member_of_the_configuration() -> None:
    codes = set(re.findall(r"^\| `([A-Z_]+)` \|", PAGE, re.MULTILINE))
    providers = set(re.findall(r"^\| `([a-z0-9_]+)` \|", PAGE, re.MULTILINE)) - {"iam_provider"}

    assert codes == set(LoginCode)
    assert providers == set(settings._ISSUERS)
    assert [member for member in settings._MEMBERS if f"`{member}`" not in PAGE] == []
