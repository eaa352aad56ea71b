"""A person at a browser, for a provider's pages: forms are filled in and sent, until the provider is done."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import time
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Self
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx

from tests.identity_providers.provider import DEVICE_CODE, SECONDS, IdentityProvider, ProviderRefusedError

STEPS_MAX = 12
POLLS_MAX = 20
TEXT_CHARS_MAX = 500
CALLBACK = "http://127.0.0.1:41999/callback"
"""A redirect URI with a port that was never registered. Nobody listens: the walk ends at the redirect to it."""


@dataclass
class Form:
    """A form of a page: its address, its fields with their values, and the buttons that send it."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    buttons: list[tuple[str, str]] = field(default_factory=list)
    id: str = ""

    def pressed(self, answers: dict[str, str]) -> tuple[str, str]:
        """The button that `answers` names, or the first one."""
        named = (one for one in self.buttons if answers.get(one[0]) == one[1])
        return next(named, self.buttons[0] if self.buttons else ("", ""))


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Form] = []
        self._is_inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        form, kind = self._form_of(given), given.get("type", "text" if tag == "input" else "submit")
        if tag == "form":
            made = Form(given.get("action", ""), given.get("method", "get").lower(), id=given.get("id", ""))
            self.found.append(made)
            self._is_inside = True
        elif form is not None and tag in {"input", "button"} and kind == "submit":
            form.buttons.append((given.get("name", ""), given.get("value", "")))
        elif form is not None and tag == "input" and given.get("name") and _is_sent(kind, given):
            form.fields[given["name"]], form.kinds[given["name"]] = given.get("value", ""), kind

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._is_inside = False

    def _form_of(self, given: dict[str, str]) -> Form | None:
        """The form of an element: the one that it names, or the one around it."""
        if "form" in given:
            return next((form for form in self.found if form.id == given["form"]), None)
        return self.found[-1] if self._is_inside else None


def _is_sent(kind: str, given: dict[str, str]) -> bool:
    return kind not in {"checkbox", "radio"} or "checked" in given


@dataclass
class Browser:
    """A browser without scripts. Cookies that are marked `Secure` go to loopback too, as in real browsers."""

    http: httpx.Client

    @classmethod
    def open(cls) -> Self:
        http = httpx.Client(timeout=SECONDS, trust_env=False)

        def let_through(_: httpx.Response) -> None:
            for cookie in http.cookies.jar:
                cookie.secure = False

        http.event_hooks = {"response": [let_through]}
        return cls(http)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def walk(self, url: str, answers: dict[str, str], until: str = "") -> str:
        """Open a page, and send its forms filled with `answers`; return the redirect to `until`, or the last page.

        A form is sent if `answers` has all that it asks for. One without a field to fill in is sent if `answers` names
        one of its buttons, or if a button has no name. Of several buttons the one in `answers` is pressed, or the
        first. A button in `answers` is the last word: no form is sent after it.
        """
        answer, is_done = self.http.get(url), False
        for _ in range(STEPS_MAX):
            if answer.is_redirect:
                target = urljoin(str(answer.url), answer.headers["location"])
                if until and target.startswith(until):
                    return target
                answer = self.http.get(target)
                continue
            path = urlsplit(str(answer.url)).path
            assert not answer.is_error, f"{answer.status_code} from {path}: {text_of(answer.text)}"
            form = None if is_done else _next_form(answer.text, answers)
            if form is None:
                assert not until, f"{path} asks for something else: {text_of(answer.text)}"
                return answer.text
            button = form.pressed(answers)
            is_done = button[0] in answers
            answer = self._send(str(answer.url), form, answers, button)
        raise AssertionError(f"the pages did not end within {STEPS_MAX} steps")

    def _send(self, page: str, form: Form, answers: dict[str, str], button: tuple[str, str]) -> httpx.Response:
        filled = {name: answers.get(name, value) for name, value in form.fields.items()}
        filled |= {button[0]: button[1]} if button[0] else {}
        target = urljoin(page, form.action)
        return self.http.post(target, data=filled) if form.method == "post" else self.http.get(target, params=filled)


def forms_of(page: str) -> list[Form]:
    """Return the forms of a page of HTML."""
    parser = _Forms()
    parser.feed(page)
    return parser.found


def text_of(page: str) -> str:
    """Return what a page says, without its marks."""
    body = re.sub(r"(?s)<(script|style|head)\b.*?</\1>", " ", page)
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())[:TEXT_CHARS_MAX]


def _next_form(page: str, answers: dict[str, str]) -> Form | None:
    """The first form that `answers` can fill in, or that has a button to press."""
    for form in forms_of(page):
        asked = {name for name, kind in form.kinds.items() if kind != "hidden"}
        is_wanted = any(answers.get(name) == value for name, value in form.buttons)
        is_plain = any(not name for name, _ in form.buttons)
        if asked <= answers.keys() and (asked or is_wanted or is_plain):
            return form
    return None


@dataclass(frozen=True)
class Pkce:
    """A code verifier and its challenge (RFC 7636 4)."""

    verifier: str = field(repr=False)

    @classmethod
    def make(cls) -> Self:
        return cls(secrets.token_urlsafe(48))

    @property
    def challenge(self) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    @property
    def form(self) -> dict[str, str]:
        return {"code_challenge": self.challenge, "code_challenge_method": "S256"}


def authorize(provider: IdentityProvider, user: str, pkce: Pkce | None, *, redirect_uri: str = CALLBACK) -> str:
    """Log a person in at the authorization endpoint; return the code (RFC 6749 4.1)."""
    state = secrets.token_urlsafe(16)
    query = {
        "response_type": "code",
        "client_id": provider.public_client_id,
        "redirect_uri": redirect_uri,
        "scope": "openid",
        "state": state,
        **(pkce.form if pkce else {}),
    }
    url = str(httpx.URL(provider.metadata["authorization_endpoint"], params=query))
    with Browser.open() as browser:
        target = browser.walk(url, provider.login_answers(user), until=redirect_uri)
    got = {name: value for name, (value, *_) in parse_qs(urlsplit(target).query).items()}
    if "error" in got:
        raise ProviderRefusedError(302, got)
    assert got["state"] == state
    return got["code"]


def code_login(provider: IdentityProvider, user: str) -> dict[str, str]:
    """The authorization code flow with PKCE, of the client without a secret; return the answer with the tokens."""
    pkce = Pkce.make()
    return redeem(provider, authorize(provider, user, pkce), pkce.verifier)


def redeem(provider: IdentityProvider, code: str, verifier: str) -> dict[str, str]:
    """Exchange a code for tokens. Raises ProviderRefusedError."""
    form = {"code": code, "redirect_uri": CALLBACK, "code_verifier": verifier}
    return provider.grant("authorization_code", form, is_public=True)


def device_start(provider: IdentityProvider) -> dict[str, str]:
    """Ask for a device code, as the client without a secret (RFC 8628 3.1); the answer has the verifier too.

    RFC 8628 knows no PKCE. A Keycloak that demands it of a client demands it here too; the others ignore it.
    """
    pkce = Pkce.make()
    form = {"client_id": provider.public_client_id, "scope": "openid"} | pkce.form
    return provider.post("device_authorization_endpoint", form) | {"code_verifier": pkce.verifier}


def device_answer(provider: IdentityProvider, user: str, started: dict[str, str], *, deny: bool = False) -> str:
    """Open the page of a device login as its person, and accept or deny; return the last page."""
    with Browser.open() as browser:
        answers = provider.login_answers(user) | provider.device_answers(deny=deny)
        return browser.walk(started["verification_uri_complete"], answers | {"user_code": started["user_code"]})


def device_poll(provider: IdentityProvider, started: dict[str, str]) -> dict[str, str]:
    """Ask once for the tokens of a device login. Raises ProviderRefusedError."""
    form = {name: started[name] for name in ("device_code", "code_verifier")}
    return provider.grant(DEVICE_CODE, form, is_public=True)


def device_await(provider: IdentityProvider, started: dict[str, str]) -> dict[str, str]:
    """Ask until the person has answered (RFC 8628 3.4). Raises ProviderRefusedError, for example `access_denied`."""
    for _ in range(POLLS_MAX):
        try:
            return device_poll(provider, started)
        except ProviderRefusedError as error:
            if error.code not in {"authorization_pending", "slow_down"}:
                raise
        time.sleep(float(started.get("interval", 5)))
    raise AssertionError("the device flow did not end")


def device_login(provider: IdentityProvider, user: str) -> dict[str, str]:
    """The device flow of the client without a secret; return the answer with the tokens."""
    started = device_start(provider)
    device_answer(provider, user, started)
    return device_await(provider, started)
