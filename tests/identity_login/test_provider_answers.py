"""Answers that a provider must not give: each ends in one error that says what is wrong and quotes no secret."""

from __future__ import annotations

import json
import socket
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from producers.identity import LoginCode, LoginError, LoginSettingsError, ProviderUnavailableError
from producers.identity.errors import cleaned
from producers.identity.metadata import read_metadata
from producers.identity.web import ANSWER_BYTES_MAX, check_url, get
from schemas import limits
from tests.identity_login.telling import WELL_KNOWN, Answer, FakePace, telling, tokens, unsigned_token

PASSWORD = "correct-horse-Battery9"
REFUSED = {"error": "invalid_grant"}


def failure(*answers: Answer, **metadata: object) -> LoginError | ProviderUnavailableError:
    with telling({"/token": list(answers)}, **metadata) as told:
        with pytest.raises((LoginError, ProviderUnavailableError)) as raised:
            told.provider().login("alice", PASSWORD)
        assert PASSWORD not in "".join(traceback.format_exception(raised.value))
        assert told.forms("/elsewhere") == []
        return raised.value


def code_of(*answers: Answer) -> LoginCode:
    found = failure(*answers)
    assert isinstance(found, LoginError)
    return found.code


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((200, b"x" * (ANSWER_BYTES_MAX + 1)), "more than 262144 bytes"),
        ((200, b"[" * 100_000), "not JSON"),
        ((200, b"<html><body>Sign in</body></html>"), "not JSON"),
        ((401, b"<html>Nope</html>"), "not JSON"),
        ((200, b'{"access_token": "a", "access_token": "b"}'), "not JSON"),
        ((200, b'{"expires_in": NaN}'), "not JSON"),
        ((200, []), "not a JSON object"),
        ((302, b""), "redirect"),
        ((307, b""), "redirect"),
        ((404, REFUSED), "404"),
        ((429, REFUSED), "429"),
        ((503, REFUSED), "503"),
        ((400, {"error": "temporarily_unavailable"}), "try again later"),
    ],
)
def test_an_answer_without_use_is_told_as_such(answer: Answer, says: str) -> None:
    """A redirect is not followed: the password would go along."""
    found = failure(answer)

    assert isinstance(found, ProviderUnavailableError)
    assert says in str(found)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((400, REFUSED), LoginCode.CREDENTIALS_REFUSED),
        ((200, REFUSED), LoginCode.CREDENTIALS_REFUSED),
        ((401, {"error": "invalid_client"}), LoginCode.CLIENT_REFUSED),
        ((400, {"error": "unauthorized_client"}), LoginCode.FLOW_NOT_OFFERED),
        ((400, {"error": "invalid_scope"}), LoginCode.REQUEST_REFUSED),
        ((400, {"error": 7}), LoginCode.REQUEST_REFUSED),
        ((400, {}), LoginCode.REQUEST_REFUSED),
        ((200, {"access_token": "t"}), LoginCode.TOKEN_UNUSABLE),
        (tokens(token_type="DPoP"), LoginCode.TOKEN_UNUSABLE),
        (tokens(""), LoginCode.TOKEN_UNUSABLE),
        (tokens("a\nb"), LoginCode.TOKEN_UNUSABLE),
        (tokens("a" * (limits.TOKEN_CHARS_MAX + 1)), LoginCode.TOKEN_UNUSABLE),
        (tokens(refresh_token=["r"]), LoginCode.TOKEN_UNUSABLE),
    ],
)
def test_a_refusal_has_one_code(answer: Answer, code: LoginCode) -> None:
    assert code_of(answer) is code


def test_a_provider_without_passwords_names_the_other_flows_and_never_sees_the_password() -> None:
    offered = ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"]
    with telling({"/token": [tokens()]}, grant_types_supported=offered) as told:
        with pytest.raises(LoginError, match=r"use login_browser\(\) or login_device\(\)") as raised:
            told.provider().login("alice", PASSWORD)
        assert raised.value.code is LoginCode.FLOW_NOT_OFFERED
        assert told.forms("/token") == []


def test_a_provider_that_says_so_only_when_asked_names_them_too() -> None:
    found = failure((400, {"error": "unsupported_grant_type"}), device_authorization_endpoint=None)

    assert str(found) == "127.0.0.1 takes no passwords for this client: use login_browser()"
    assert isinstance(found, LoginError)
    assert found.provider_error == "unsupported_grant_type"


def test_the_words_of_a_provider_are_shown_without_controls_and_without_secrets() -> None:
    """A description may carry an escape of the terminal, a token, or the very password."""
    token = unsigned_token(sub="alice")
    words = f"\x1b[2J\u202eno\r\n such user {token} code 9f8e7d6c5b4a39281706 {'x ' * 500}"

    found = failure((400, {"error": "invalid_grant", "error_description": words}))
    echoed = failure((400, {"error": PASSWORD, "error_description": f"wrong: {PASSWORD}"}))

    assert str(found).startswith("127.0.0.1 refuses: invalid_grant ([2J no such user […] code […] x x")
    assert str(found).isprintable()
    assert len(str(found)) < 300
    assert str(echoed).startswith("127.0.0.1 refuses: unspecified; ")


def test_an_error_word_that_is_the_password_is_not_shown() -> None:
    """A password may look like a word of the protocol."""
    with telling({"/token": [(400, {"error": "sesame"})]}) as told, pytest.raises(LoginError) as raised:
        told.provider().login("alice", "sesame")

    assert (raised.value.provider_error, "sesame" in str(raised.value)) == ("unspecified", False)


def test_a_text_that_quotes_a_secret_is_dropped_whole() -> None:
    assert cleaned("your password is abc", secrets=("abc",)) == ""
    assert cleaned("x" * 2000 + "abc", secrets=("abc",)) == ""  # also behind the part that would be shown
    assert cleaned(None) == cleaned(b"x") == ""
    assert cleaned("AADSTS50126: wrong\u200b password") == "AADSTS50126: wrong password"


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"issuer": "http://127.0.0.1:1"}, "another issuer"),
        ({"issuer": None}, "another issuer"),
        ({"token_endpoint": None}, "no `token_endpoint`"),
        ({"token_endpoint": "http://example.com/token"}, "in the clear"),
        ({"token_endpoint": "ftp://example.com/token"}, "not an address"),
        ({"token_endpoint": "https://127.0.0.1@example.com/token"}, "must not name a user"),
        ({"revocation_endpoint": ["x"]}, "not a URL"),
        ({"grant_types_supported": "password"}, "not a list"),
    ],
)
def test_metadata_is_of_the_very_issuer_with_endpoints_for_secrets(metadata: dict[str, object], says: str) -> None:
    assert says in str(failure(tokens(), **metadata))


def test_an_issuer_is_compared_with_its_last_slash() -> None:
    with telling({"/token": [tokens()]}) as told:
        provider = told.provider()
        provider._endpoint = f"{told.address}/"
        with pytest.raises(ProviderUnavailableError, match="letter for letter, the last slash included"):
            provider.login("alice", PASSWORD)


def test_a_secure_issuer_has_no_endpoint_in_the_clear_on_this_machine() -> None:
    """A listener of another user of this machine would get the password."""
    document = {"issuer": "https://a.example", "token_endpoint": "http://127.0.0.1:8080/token"}

    with pytest.raises(ProviderUnavailableError, match="is not https"):
        read_metadata("https://a.example", document)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "http://localhost.example.com",
        "//a",
        "https://",
        "https://a b",
        "https://a/#f",
        "https://é",
        "https://a:99999",
        "https://[::1",
        "https://u:p@a",
        "https://a\\@b",
        "https://" + "a" * 3000,
        "file:///etc",
        "",
        7,
    ],
)
def test_an_address_for_secrets_is_https_or_this_machine(url: object) -> None:
    with pytest.raises(LoginSettingsError):
        check_url(url, "it")


@pytest.mark.parametrize("url", ["https://a.example/x?y", "http://127.0.0.1:9", "http://localhost/", "http://[::1]:9"])
def test_such_addresses_are_taken(url: str) -> None:
    check_url(url, "it")


def test_a_missing_page_of_metadata_says_so() -> None:
    with telling({WELL_KNOWN: [(404, b"")]}) as told, pytest.raises(ProviderUnavailableError, match="with its path"):
        told.provider().login("alice", PASSWORD)


@contextmanager
def trickling(begin: bytes, drop: bytes) -> Iterator[str]:
    """A server that sends `begin`, and then `drop` again and again, as fast as `drop` is long or each 50 ms."""
    listener, over = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def run() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            try:
                connection.sendall(begin)
                while not over.wait(0.05 if len(drop) == 1 else 0):
                    connection.sendall(drop)
            except OSError:
                pass  # it has hung up, as it should

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        over.set()
        thread.join()
        listener.close()


@pytest.mark.parametrize(
    "begin", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"]
)
def test_a_trickle_ends_as_silence_does(begin: bytes) -> None:
    """Each byte comes in time, and all together do not."""
    began = time.monotonic()
    with trickling(begin, b"a") as url, pytest.raises(ProviderUnavailableError, match=r"within 0\.3 s"):
        get(url, seconds=0.3)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("begin", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_flood_is_cut_off(begin: bytes) -> None:
    drop = begin * 4096 if b"100" in begin else bytes(65536)
    with trickling(begin, drop) as url, pytest.raises(ProviderUnavailableError, match="more than 262144 bytes"):
        get(url, seconds=10)


def test_nobody_there_is_told() -> None:
    with pytest.raises(ProviderUnavailableError, match="cannot be reached"):
        get("http://127.0.0.1:1/")


def test_a_name_that_does_not_resolve_in_time_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver of the system has no deadline."""
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(10) and [])
    try:
        with pytest.raises(ProviderUnavailableError, match=r"within 0\.2 s"):
            get("https://login.example.com/", seconds=0.2)
    finally:
        over.set()


def test_a_name_of_loopback_that_leads_elsewhere_gets_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

    with pytest.raises(ProviderUnavailableError, match="does not lead to this machine"):
        get("http://localhost/", seconds=1)


def test_a_client_proves_itself_as_the_provider_wants() -> None:
    """RFC 6749 2.3.1: in a header, form-encoded before base64; in the form only if the provider has no header."""
    secret = {"client_id": "a:b", "client_secret": "s p+%é"}
    with telling({"/token": [tokens()]}) as told:
        told.provider(**secret).login("alice", PASSWORD)
        _, form, headers = told.asked[-1]
    assert headers["Authorization"] == "Basic YSUzQWI6cytwJTJCJTI1JUMzJUE5"
    assert "client_secret" not in form
    assert "client_id" not in form

    with telling({"/token": [tokens()]}, token_endpoint_auth_methods_supported=["client_secret_post"]) as told:
        told.provider(**secret).login("alice", PASSWORD)
        _, form, headers = told.asked[-1]
    assert (form["client_id"], form["client_secret"]) == ("a:b", "s p+%é")
    assert "Authorization" not in headers

    with telling({"/token": [tokens()]}, token_endpoint_auth_methods_supported=["private_key_jwt"]) as told:
        with pytest.raises(LoginSettingsError, match="takes no client secret"):
            told.provider(**secret).login("alice", PASSWORD)
        assert told.forms("/token") == []


def test_a_refusal_that_echoes_the_client_secret_does_not_show_it() -> None:
    answer = (401, {"error": "invalid_client", "error_description": "got tiny-secret"})
    with telling({"/token": [answer]}) as told, pytest.raises(LoginError) as raised:
        told.provider(client_secret="tiny-secret").login("alice", PASSWORD)

    assert "tiny-secret" not in str(raised.value)
    assert raised.value.code is LoginCode.CLIENT_REFUSED


def test_a_life_is_the_shorter_of_two_and_never_endless() -> None:
    token = unsigned_token(iss="x", iat=1000, exp=1060)
    lives = [(token, 300, 60), (token, "30", 30), ("opaque", "30", 30), ("opaque", -1, 300), ("opaque", "x", 300)]
    lives += [("opaque", True, 300), ("opaque", 1e300, 300), (unsigned_token(iat=9, exp=8), 20, 20)]
    with telling({"/token": [tokens(text, expires_in=said) for text, said, _ in lives]}) as told:
        assert [told.provider().login("a", "b").expires_in for _ in lives] == [wanted for *_, wanted in lives]


def test_an_old_login_is_refreshed_to_the_newest_and_renews_it_once_that_has_ended() -> None:
    pace = FakePace()
    with telling({"/token": [tokens(f"t-{n}", refresh_token=f"r-{n}") for n in range(4)]}) as told:
        provider = told.provider(pace=pace)
        first = provider.login("alice", "x")
        found = [provider.refresh(first).access_token, provider.refresh(first).access_token]
        pace.at += 301
        found.append(provider.refresh(first).access_token)
        used = [form["refresh_token"] for form in told.forms("/token")[1:]]

    assert found == ["t-1", "t-1", "t-2"]
    assert used == ["r-0", "r-1"]


def test_json_without_trailing_data() -> None:
    assert isinstance(failure((200, json.dumps(tokens()[1]).encode() + b" x")), ProviderUnavailableError)


def test_many_persons_at_one_provider_object_never_mix() -> None:
    """The object keeps no person: the original once kept the last one, and gave her identity to others."""

    def answer(form: Mapping[str, str]) -> tuple[int, object]:
        name = form.get("username") or form["refresh_token"]
        return tokens(unsigned_token(sub=name, iss="x"), refresh_token=name)

    names = [f"person-{n}" for n in range(100)]
    with telling({"/token": [answer]}) as told, ThreadPoolExecutor(8) as pool:
        provider = told.provider()
        logins = list(pool.map(lambda name: provider.login(name, "x"), names))
        later = list(pool.map(provider.refresh, logins))

    assert [one.principal.user_id for one in logins] == [one.principal.user_id for one in later] == names
