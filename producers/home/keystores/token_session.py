"""A logged-in session with one PKCS#11 token (version 2.40 and later). A process has one session for each token.

A PIN that was refused is not tried again by the process, and none is tried when the token says that one attempt is
left: a service that starts again and again must not lock its token.
"""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from producers.home.keystores.asking import ask
from producers.home.keystores.errors import PassphraseError, TokenError
from producers.home.keystores.token_uri import TokenURI
from producers.home.process import OfOneProcess

if TYPE_CHECKING:
    from pkcs11 import Session, Token

T = TypeVar("T")

_BY_HAND = "log in once by hand with the right PIN, as with `pkcs11-tool --login --test`"
# The library is told that it is used by one thread at a time, so one lock guards every call of every module.
_LIBRARY = threading.RLock()
_SENTENCES = {
    "PinLocked": "its PIN is locked after too many wrong ones: its security officer must set a new one",
    "PinExpired": "its PIN has expired: set a new one with the token's own tools",
    "PinLenRange": "the PIN has a length that it does not take: correct the source of the PIN",
    "PinInvalid": "the PIN has characters that it does not take: correct the source of the PIN",
    "UserPinNotInitialized": "it has no user PIN yet: initialize it with the token's own tools",
    "TokenWriteProtected": "it is write-protected: it can sign, but take no new key",
    "SessionReadOnly": "it is write-protected: it can sign, but take no new key",
    "DeviceMemory": "it is full: remove keys that are retired",
    "DeviceRemoved": "it was taken away: put it back",
    "TokenNotPresent": "it was taken away: put it back",
    "SessionCount": "it has no session left: stop other programs that use it",
    "MechanismInvalid": "it cannot do what the key needs: see docs/keys.md for the mechanisms",
    "KeyTypeInconsistent": "the key there is of another type than Ed25519 or X25519: see docs/keys.md",
    "FunctionNotSupported": "it cannot do what the key needs: see docs/keys.md for the mechanisms",
    "TemplateInconsistent": "it does not take such keys: see docs/keys.md for what a token must be able to do",
    "AttributeSensitive": "it does not give away the key that two parties share: see docs/keys.md",
}


@dataclass(slots=True)
class _Opened:
    """The tokens that this process is logged in to, and the PINs that they have refused, as digests."""

    sessions: dict[tuple[str, bytes], TokenSession] = field(default_factory=dict)
    refused: set[bytes] = field(default_factory=set)


_OPENED = _Opened()


class TokenSession(OfOneProcess):
    """A token that is logged in to. Thread-safe; of one process."""

    def __init__(self, name: str, uri: TokenURI, session: Session) -> None:
        self.name, self.uri, self._session = name, uri, session
        self.is_broken = False

    def run(self, act: Callable[[Session], T]) -> T:
        """Return the result of `act` on the session, alone.

        Raises:
            TokenError: the token fails; the next `logged_in` opens another session.
            ForkedError: this is another process.
        """
        self.check_process()
        with _failures(self.name), _LIBRARY:
            try:
                return act(self._session)
            except BaseException:
                self.is_broken = True
                raise

    def write(self, act: Callable[[Session], T]) -> T:
        """Return the result of `act` on a session that may write to the token. Raises as `run`."""

        def run(session: Session) -> T:
            with session.token.open(rw=True) as writing:  # logged in already: that holds for the whole process
                return act(writing)

        return self.run(run)


def logged_in(name: str, uri: TokenURI) -> TokenSession:
    """Return this process's session with a token, called `name` in config.json.

    Raises:
        TokenError: the token is absent, or several fit, or it does not let us in.
        PassphraseError: the PIN cannot be had, or is wrong.
    """
    with _failures(name), _LIBRARY:
        token = _token(name, uri)
        key = uri.module, token.serial + b"\0" + token.label.encode()
        known = _OPENED.sessions.get(key)
        if known is not None and not known.is_broken and not known.is_elsewhere:
            return known
        session = _login(name, uri, token)
        opened = _OPENED.sessions[key] = TokenSession(name, uri, session)
        return opened


def _token(name: str, uri: TokenURI) -> Token:
    """Return the one token that a URI names."""
    try:
        import pkcs11
    except ModuleNotFoundError as exc:
        raise TokenError(
            f"token {name!r}: the library for PKCS#11 is not installed: run `pip install 'macaw-streams[pkcs11]'`"
        ) from exc
    try:
        is_file = stat.S_ISREG(Path(uri.module).stat().st_mode)
    except (OSError, ValueError):
        is_file = False
    if not is_file:
        raise TokenError(f"token {name!r}: there is no library {uri.module}: install it, or correct `module-path`")
    try:
        library = pkcs11.lib(uri.module)
    except pkcs11.PKCS11Error:
        raise TokenError(f"token {name!r}: {uri.module} is not a PKCS#11 library: correct `module-path`") from None
    names = {"token": "label", "manufacturer": "manufacturer_id", "model": "model", "serial": "serial"}
    fitting = [
        token
        for token in (slot.get_token() for slot in library.get_slots(token_present=True))
        if all(_text(getattr(token, names[attribute])) == value for attribute, value in uri.token.items())
    ]
    if not fitting:
        raise TokenError(f"token {name!r}: no token with {uri} is there: put it in, or correct its URI in config.json")
    if len(fitting) > 1:
        serials = ", ".join(sorted(_text(token.serial) for token in fitting)[:8])
        raise TokenError(
            f"token {name!r}: {len(fitting)} tokens have {uri}: add `;serial=` to the URI in config.json: {serials}"
        )
    return fitting[0]


def _text(value: str | bytes) -> str:
    return (value if isinstance(value, str) else value.decode("utf-8", "replace")).strip()


def _login(name: str, uri: TokenURI, token: Token) -> Session:
    import pkcs11

    about = f"token {name!r}"
    if not token.flags & pkcs11.TokenFlag.LOGIN_REQUIRED:
        return token.open()
    if token.flags & pkcs11.TokenFlag.USER_PIN_LOCKED:
        raise TokenError(f"{about}: {_SENTENCES['PinLocked']}")
    if token.flags & pkcs11.TokenFlag.USER_PIN_FINAL_TRY:
        raise TokenError(f"{about}: one more wrong PIN would lock it, so none is tried: {_BY_HAND}")
    instead = "name `pin-source` in its URI in config.json, as `file:PATH` or `|COMMAND`"
    pin = uri.pin.read(about) if uri.pin is not None else ask("PIN", about, instead)
    mark = sha256(b"\0".join((uri.module.encode(), token.serial, pin.encode()))).digest()
    if mark in _OPENED.refused:
        raise PassphraseError(f"{about}: it has refused this PIN, which is not tried twice: correct it, start again")
    try:
        return token.open(user_pin=pin)
    except pkcs11.exceptions.UserAlreadyLoggedIn:
        return token.open()
    except pkcs11.exceptions.PinIncorrect:
        _OPENED.refused.add(mark)
        raise PassphraseError(
            f"{about}: its PIN is wrong: correct {_source_of(uri)}; after some wrong ones the token locks itself"
        ) from None


def _source_of(uri: TokenURI) -> str:
    return "what you typed" if uri.pin is None else f"`pin-source`, {uri.pin.text}"


@contextmanager
def _failures(name: str) -> Iterator[None]:
    """Raise TokenError for errors of the library. Its messages are dropped, because they may quote secrets."""
    try:
        yield
    except (TokenError, PassphraseError):
        raise
    except RuntimeError as exc:
        if not type(exc).__module__.startswith("pkcs11"):
            raise
        kind = type(exc).__name__
        said = _SENTENCES.get(kind, f"it fails ({kind}): see whether its own tools can use it")
        raise TokenError(f"token {name!r}: {said}") from None
