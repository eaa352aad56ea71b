"""The section `keys` of config.json: which store new keys go to. Without it they are files, as ever.

    "keys": {
      "default": "passphrase",                  the store of new keys: file, passphrase, keyring, or a token's name
      "roles": {"monitor": "hsm"},              another store for some roles
      "tokens": {"hsm": "pkcs11:token=…"},      tokens by name (`token_uri`)
      "passphrase": "file:/run/secrets/macaw"   where the passphrase comes from (`asking`)
    }

A key that exists says itself where it lies, so that a change here loses none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from producers.home.keystores.asking import SecretSource
from producers.home.keystores.errors import KeySettingsError
from producers.home.keystores.token_uri import TokenURI

FILE: Final = "file"
PASSPHRASE: Final = "passphrase"  # noqa: S105 - the name of a store
KEYRING: Final = "keyring"
ROLES: Final = (
    "root", "organisation", "admin", "monitor", "enrol", "enrolment", "agent", "tool", "approver", "attester", "bridge",
    "session", "call",
)  # fmt: skip
# Many and short-lived: a token would fill up with them. Those of calls are written while a call is under way.
_NEVER_ON_TOKENS: Final = ("session", "call")
_KEPT_AS: Final = {"service": "agent"}
_TOKEN_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_MEMBERS = frozenset({"default", "roles", "tokens", "passphrase"})


@dataclass(frozen=True, slots=True)
class KeySettings:
    """The stores of an installation."""

    default: str = FILE
    roles: Mapping[str, str] = field(default_factory=dict)
    tokens: Mapping[str, TokenURI] = field(default_factory=dict)
    passphrase: SecretSource | None = None

    @classmethod
    def read(cls, section: object, folder: Path) -> KeySettings:
        """Return the settings in a section of the configuration in `folder`. Raises KeySettingsError."""
        if not isinstance(section, dict) or not section.keys() <= _MEMBERS:
            raise KeySettingsError(f"config.json: `keys` must be an object of {', '.join(sorted(_MEMBERS))}")
        roles, tokens = _texts(section, "roles"), _texts(section, "tokens")
        default, passphrase = section.get("default", FILE), section.get("passphrase")
        read = {name: _token(name, text, folder) for name, text in tokens.items()}
        settings = cls(default, roles, read, _source(passphrase, folder))
        if unknown := sorted(roles.keys() - set(ROLES)):
            raise KeySettingsError(f"config.json: `keys.roles` has {unknown[0][:40]!r}; known are {', '.join(ROLES)}")
        for where, store in (("default", default), *((f"roles.{role}", store) for role, store in roles.items())):
            settings.check_store(store, f"config.json: `keys.{where}`")
        for role in _NEVER_ON_TOKENS:
            if settings.store_for(role) in read:
                raise KeySettingsError(
                    f"config.json: keys of role {role!r} are many and short-lived and do not lie on a token: give "
                    f"`keys.roles.{role}` another store"
                )
        return settings

    def store_for(self, role: str) -> str:
        """Return the name of the store that takes new keys of a role."""
        role = _KEPT_AS.get(role, role)
        named = self.roles.get(role)
        if named is not None:
            return named
        if role == "call" or (role in _NEVER_ON_TOKENS and self.default in self.tokens):
            return FILE
        return self.default

    def check_store(self, name: object, where: str) -> None:
        """Raise KeySettingsError unless there is a store of this name."""
        stores = (FILE, PASSPHRASE, KEYRING, *self.tokens)
        if name not in stores:
            shown = repr(name[:40]) if isinstance(name, str) else "not a text"
            raise KeySettingsError(f"{where} is {shown}; the stores are {', '.join(stores)}")


def _texts(section: Mapping[str, object], name: str) -> dict[str, str]:
    found = section.get(name, {})
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise KeySettingsError(f"config.json: `keys.{name}` must be an object of strings")
    return found


def _token(name: str, text: str, folder: Path) -> TokenURI:
    if not _TOKEN_NAME.fullmatch(name) or name in {FILE, PASSPHRASE, KEYRING}:
        raise KeySettingsError(
            f"config.json: `keys.tokens` has the name {name[:40]!r}; use 1 to 32 of a-z, 0-9, _ and -, and not the "
            "name of another store"
        )
    try:
        return TokenURI.parse(text, folder)
    except KeySettingsError as exc:
        raise KeySettingsError(f"config.json: `keys.tokens.{name}`: {exc}") from None


def _source(text: object, folder: Path) -> SecretSource | None:
    if text is None:
        return None
    if not isinstance(text, str):
        raise KeySettingsError("config.json: `keys.passphrase` must be file:PATH or |COMMAND")
    try:
        return SecretSource.parse(text, folder)
    except ValueError as exc:
        raise KeySettingsError(f"config.json: `keys.passphrase`: {exc}; it never holds the passphrase itself") from None
