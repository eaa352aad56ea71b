"""PKCS#11 URIs (RFC 7512) that name one token, its library, and where its PIN comes from.

    pkcs11:token=macaw;serial=0123?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:token.pin

`pin-value` is refused: config.json holds no secret. Objects are not named: key files do that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote_to_bytes

from producers.home.keystores.asking import SecretSource
from producers.home.keystores.errors import KeySettingsError

URI_CHARS_MAX = 2048
_TOKEN_ATTRIBUTES: Final = ("token", "manufacturer", "model", "serial")
_QUERY_ATTRIBUTES: Final = ("module-path", "pin-source")
_WHY_NOT: Final = {
    "pin-value": "a PIN does not stand in config.json: put it into a file of mode 0600 and name that as `pin-source`",
    "module-name": "give the library's absolute path as `module-path`",
}
_PART = re.compile(r"([a-z0-9-]+)=((?:[^%]|%[0-9a-fA-F]{2})+)")


@dataclass(frozen=True, slots=True)
class TokenURI:
    """A token by its attributes, the path of its library, and the source of its PIN; None asks a person."""

    token: Mapping[str, str]
    module: str
    pin: SecretSource | None

    @classmethod
    def parse(cls, text: str, folder: Path) -> TokenURI:
        """Return the URI in a text. Relative paths of `pin-source` begin at `folder`. Raises KeySettingsError."""
        if len(text) > URI_CHARS_MAX or not text.startswith("pkcs11:"):
            raise KeySettingsError(
                f"a token's URI must begin with `pkcs11:`, and has at most {URI_CHARS_MAX} characters"
            )
        path, _, query = text.removeprefix("pkcs11:").partition("?")
        token, asked = _attributes(path, ";", _TOKEN_ATTRIBUTES), _attributes(query, "&", _QUERY_ATTRIBUTES)
        if not token:
            raise KeySettingsError("a token's URI must name the token: `pkcs11:token=LABEL?module-path=PATH`")
        module, pin = asked.get("module-path"), asked.get("pin-source")
        if module is None or not Path(module).is_absolute():
            raise KeySettingsError("a token's URI must name its library: `?module-path=` and an absolute path")
        try:
            source = None if pin is None else SecretSource.parse(pin, folder)
        except ValueError as exc:
            raise KeySettingsError(f"`pin-source` of a token's URI is wrong: {exc}") from None
        return cls(MappingProxyType(token), module, source)

    def __str__(self) -> str:
        return ", ".join(f"{name} {value!r}" for name, value in self.token.items())


def _attributes(text: str, separator: str, known: tuple[str, ...]) -> dict[str, str]:
    """Return the attributes of a part of the URI. A refusal names them and quotes no value, which may be a PIN."""
    found: dict[str, str] = {}
    for part in text.split(separator) if text else ():
        match = _PART.fullmatch(part)
        name = part.partition("=")[0][:40] if match is None else match[1]
        if name in _WHY_NOT:
            raise KeySettingsError(f"a token's URI may not have {name!r}: {_WHY_NOT[name]}")
        if name not in known:
            raise KeySettingsError(f"a token's URI has {name!r} where it takes {', '.join(known)}")
        if match is None or name in found:
            raise KeySettingsError(f"a token's URI must give {name!r} a value once")
        try:
            found[name] = unquote_to_bytes(match[2]).decode()
        except UnicodeDecodeError:
            raise KeySettingsError(f"a token's URI has {name!r} that is not UTF-8") from None
    return found
