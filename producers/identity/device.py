"""The device flow (RFC 8628): a person logs in on any browser, with a code that the program shows."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from processors.text.characters import is_plain_text
from producers.identity.errors import (
    LoginCode,
    LoginError,
    LoginSettingsError,
    ProviderUnavailableError,
)
from producers.identity.metadata import DEVICE, ProviderMetadata
from producers.identity.pace import Pace
from producers.identity.token_endpoint import LoginClient, TokenAnswer, ask, ask_tokens
from producers.identity.web import JSONObject, check_url

INTERVAL_SECONDS = 5.0  # RFC 8628 3.2: where the provider names none
INTERVAL_SECONDS_MAX = 60.0
SLOWER_SECONDS = 5.0  # RFC 8628 3.5: after `slow_down`
LIFE_SECONDS_MAX = 1800.0
USER_CODE_CHARS_MAX = 64
_DEVICE_CODE = re.compile(r"[!-~]{1,4096}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePrompt:
    """The text to show to the person: an address to open, and a code to compare or to type."""

    verification_uri: str
    verification_uri_complete: str | None = field(repr=False)
    user_code: str = field(repr=False)
    expires_in: float

    def __str__(self) -> str:
        more = f" (or open {self.verification_uri_complete})" if self.verification_uri_complete else ""
        return f"Open {self.verification_uri} and enter the code {self.user_code}{more}"


def show_on_stderr(prompt: DevicePrompt) -> None:
    """Show the prompt on stderr; stdout belongs to the program."""
    print(prompt, file=sys.stderr, flush=True)


def log_in_by_device(
    metadata: ProviderMetadata,
    client: LoginClient,
    form: Mapping[str, str],
    *,
    on_code: Callable[[DevicePrompt], object],
    stop: threading.Event,
    pace: Pace,
) -> TokenAnswer:
    """Return the tokens once the person has agreed. `form` has the scopes, and `on_code` shows the prompt.

    Raises:
        LoginError: FLOW_NOT_OFFERED, ACCESS_REFUSED, LOGIN_TIMED_OUT, LOGIN_CANCELLED after `stop`, or as a token
            endpoint refuses.
        ProviderUnavailableError: the provider gave no usable answer to the first question.
    """
    if metadata.device_endpoint is None:
        raise LoginError(
            LoginCode.FLOW_NOT_OFFERED, f"{metadata.host} does not offer the device flow: use login_browser()"
        )
    began = pace.now()
    answer = ask(metadata, metadata.device_endpoint, client, form)
    device_code, prompt, interval = _begun(metadata, answer)
    ends = began + prompt.expires_in
    on_code(prompt)
    grant = {"grant_type": DEVICE, "device_code": device_code}
    while True:
        if pace.wait(stop, max(0.0, min(interval, ends - pace.now()))):
            raise LoginError(LoginCode.LOGIN_CANCELLED, "the login was cancelled by the program")
        if pace.now() >= ends:
            raise LoginError(LoginCode.LOGIN_TIMED_OUT, "nobody entered the code in time: begin the login again")
        try:
            return ask_tokens(metadata, client, grant, (device_code,))
        except LoginError as exc:
            if exc.provider_error == "slow_down":
                interval += SLOWER_SECONDS
            elif exc.provider_error != "authorization_pending":
                raise
        except ProviderUnavailableError:
            interval = min(2 * interval, INTERVAL_SECONDS_MAX)  # RFC 8628 3.5: ask less often, and go on


def _begun(metadata: ProviderMetadata, answer: JSONObject) -> tuple[str, DevicePrompt, float]:
    device_code, user_code = answer.get("device_code"), answer.get("user_code")
    complete = answer.get("verification_uri_complete")
    if not isinstance(device_code, str) or _DEVICE_CODE.fullmatch(device_code) is None:
        raise _malformed(metadata, "device_code")
    if not isinstance(user_code, str) or not 0 < len(user_code) <= USER_CODE_CHARS_MAX or not is_plain_text(user_code):
        raise _malformed(metadata, "user_code")
    life = _number(answer.get("expires_in"))
    if life is None:
        raise _malformed(metadata, "expires_in")
    for name in ("verification_uri", *(["verification_uri_complete"] if complete is not None else [])):
        try:
            check_url(answer.get(name), name)
        except LoginSettingsError:
            raise _malformed(metadata, name) from None
    prompt = DevicePrompt(
        verification_uri=str(answer["verification_uri"]),
        verification_uri_complete=None if complete is None else str(complete),
        user_code=user_code,
        expires_in=min(life, LIFE_SECONDS_MAX),
    )
    interval = _number(answer.get("interval")) or INTERVAL_SECONDS
    return device_code, prompt, min(max(interval, 1.0), INTERVAL_SECONDS_MAX)


def _malformed(metadata: ProviderMetadata, name: str) -> ProviderUnavailableError:
    return ProviderUnavailableError(f"{metadata.host} answers the device flow with no usable `{name}`")


def _number(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 < value < 1e9 else None  # type: ignore[arg-type, operator] # a number
