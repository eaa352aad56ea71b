"""The passphrase of an installation's key files: from the environment, config.json, or a person at the terminal.

    MACAW_PASSPHRASE_FILE       the path of a file of mode 0600
    MACAW_PASSPHRASE_COMMAND    a command that prints it
    config.json: keys.passphrase    file:PATH or |COMMAND

The first that is there counts. A typed passphrase is remembered until the process ends, since a monitor opens its key
again when it takes a partition back.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from producers.home.keys import KeyPair
from producers.home.keystores.asking import SecretSource, ask
from producers.home.keystores.errors import PassphraseError

FILE_VARIABLE, COMMAND_VARIABLE = "MACAW_PASSPHRASE_FILE", "MACAW_PASSPHRASE_COMMAND"
CHARS_MIN = 8  # of a new one; NIST SP 800-63B, section 5.1.1
_INSTEAD = f"set {FILE_VARIABLE} or {COMMAND_VARIABLE}, or name a source as `passphrase` in `keys` of config.json"
_TYPED: dict[Path, str] = {}  # by installation


class Passphrases:
    """The passphrases of the key files below one folder `.macaw`."""

    def __init__(self, configured: SecretSource | None, folder: Path) -> None:
        self._configured, self._folder = configured, folder

    def open(self, about: str, attempt: Callable[[str], KeyPair | None]) -> KeyPair:
        """Return the pair that `attempt` makes of the passphrase of the key called `about`, None for a wrong one.

        Raises:
            PassphraseError: the passphrase is wrong, or cannot be had.
        """
        source = self._source()
        if source is not None:
            pair = attempt(source.read(about))
            if pair is None:
                raise PassphraseError(f"{about}: the passphrase from {_told(source)} does not open it")
            return pair
        known = _TYPED.get(self._folder)
        pair = None if known is None else attempt(known)
        if pair is None:
            typed = ask("passphrase", about, _INSTEAD)
            pair = attempt(typed)
            if pair is None:
                raise PassphraseError(f"{about}: this passphrase does not open it")
            _TYPED[self._folder] = typed
        return pair

    def fresh(self, about: str, source: SecretSource | None = None) -> str:
        """Return the passphrase for a new key file: from `source`, else as for `open`, typed twice.

        Raises:
            PassphraseError: it is shorter than CHARS_MIN, or cannot be had.
        """
        source = source or self._source()
        given = source.read(about) if source is not None else _TYPED.get(self._folder)
        if given is None:
            given = ask("new passphrase", about, _INSTEAD, twice=True)
            _TYPED[self._folder] = given
        return checked(given, about)

    def _source(self) -> SecretSource | None:
        file, command = os.environ.get(FILE_VARIABLE), os.environ.get(COMMAND_VARIABLE)
        if file and command:
            raise PassphraseError(f"{FILE_VARIABLE} and {COMMAND_VARIABLE} are both set: unset one of them")
        if not file and not command:
            return self._configured
        try:
            return SecretSource.parse(f"file:{Path(file).absolute()}" if file else f"|{command}", self._folder)
        except ValueError:
            raise PassphraseError(f"{COMMAND_VARIABLE} is not a command: it must name a program") from None


def asked_anew(about: str) -> str:
    """Return a new passphrase that a person types twice. Raises PassphraseError."""
    return checked(ask("new passphrase", about, "give --from file:PATH or --from '|COMMAND'", twice=True), about)


def checked(given: str, about: str) -> str:
    """Return a new passphrase that is long enough. Raises PassphraseError."""
    if len(given) < CHARS_MIN:
        raise PassphraseError(f"{about}: a passphrase must have at least {CHARS_MIN} characters, got {len(given)}")
    return given


def _told(source: SecretSource) -> str:
    return f"the command {source.text[1:]!r}" if source.text.startswith("|") else source.text.removeprefix("file:")
