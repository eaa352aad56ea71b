"""Authentication to the brokers: the one place that reads its settings, and the only one that sees a password.

    "kafka": {                                      in config.json
      "security.protocol": "SASL_SSL",
      "sasl.mechanism": "SCRAM-SHA-256",
      "sasl.username": "shopper",
      "sasl.password_file": "kafka.password",       mode 0600; a relative path begins at .macaw
      "ssl.ca.location": "ca.pem"
    }

The names are librdkafka's. Only those below are taken: a setting that turns a check off is not among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from producers.home.files import FileError, read_secret_line
from schemas.errors import InstallationError

MECHANISMS: Final = ("SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN")
PASSWORD_BYTES_MAX: Final = 1024
VALUE_CHARS_MAX: Final = 1024

_SASL: Final = frozenset({"sasl.mechanism", "sasl.username", "sasl.password_file"})
_TLS: Final = frozenset(
    {"ssl.ca.location", "ssl.certificate.location", "ssl.key.location", "ssl.key.password_file"},
)
_PATHS: Final = frozenset({"ssl.ca.location", "ssl.certificate.location", "ssl.key.location"})
# The settings of each protocol. The library would silently ignore any other.
_TAKES: Final = {
    "PLAINTEXT": frozenset[str](),
    "SSL": _TLS,
    "SASL_PLAINTEXT": _SASL,
    "SASL_SSL": _SASL | _TLS,
}
_PASSWORD_OF: Final = {"sasl.password_file": "sasl.password", "ssl.key.password_file": "ssl.key.password"}


class SecurityError(InstallationError):
    """The settings of the connection to Kafka are wrong or incomplete; the message says which, and no secret."""


class Security(Mapping[str, str]):
    """Client settings that authenticate us, as librdkafka takes them. Neither its repr nor its str holds a password."""

    __slots__ = ("_settings",)

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._settings = dict(settings)

    def __getitem__(self, name: str) -> str:
        return self._settings[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._settings)

    def __len__(self) -> int:
        return len(self._settings)

    def __hash__(self) -> int:
        return hash(frozenset(self._settings.items()))  # it never changes, so it may be a default of a dataclass

    def __repr__(self) -> str:
        shown = {name: "***" if name.endswith("password") else value for name, value in self._settings.items()}
        return f"Security({shown})"


UNSECURED: Final = Security({})
"""No settings: the brokers are spoken to in clear, and take us for anybody."""


def load_security(section: object, folder: Path) -> Security:
    """Return the settings in the `kafka` section of a configuration in `folder`.

    Raises:
        SecurityError: a name or value is not allowed or missing, or a password file can be read by others.
    """
    named = _strings(section)
    protocol = named.pop("security.protocol", None)
    if protocol is None:
        if named:
            raise SecurityError("kafka: `security.protocol` is missing, so the other settings would have no effect")
        return UNSECURED
    if protocol not in _TAKES:
        raise SecurityError(f"kafka: `security.protocol` is {protocol!r}, want one of {', '.join(_TAKES)}")
    if foreign := sorted(named.keys() - _TAKES[protocol]):
        raise SecurityError(f"kafka: {protocol} does not take {', '.join(map(repr, foreign))}")
    if protocol.startswith("SASL_"):
        _check_sasl(protocol, named)
    settings = {"security.protocol": protocol}
    for name, value in named.items():
        if name in _PASSWORD_OF:
            settings[_PASSWORD_OF[name]] = _password(name, folder / value)
        else:
            settings[name] = str(folder / value) if name in _PATHS else value
    return Security(settings)


def _strings(section: object) -> dict[str, str]:
    if not isinstance(section, dict):
        raise SecurityError("kafka: the section must be an object of strings")
    for name, value in section.items():
        if not isinstance(value, str) or not 0 < len(value) <= VALUE_CHARS_MAX or not value.isprintable():
            # The value is not shown: a password that stands in the wrong place must not come into a log.
            raise SecurityError(f"kafka: {str(name)[:64]!r} must have 1 to {VALUE_CHARS_MAX} printable characters")
    known = _SASL | _TLS | {"security.protocol"}
    if unknown := sorted(str(name)[:64] for name in section.keys() - known):
        raise SecurityError(f"kafka: unknown settings {unknown}; known are {', '.join(sorted(known))}")
    return dict(section)


def _check_sasl(protocol: str, named: Mapping[str, str]) -> None:
    if missing := sorted(_SASL - named.keys()):
        raise SecurityError(f"kafka: {protocol} needs {', '.join(missing)} too")
    mechanism = named["sasl.mechanism"]
    if mechanism not in MECHANISMS:
        raise SecurityError(f"kafka: `sasl.mechanism` is {mechanism!r}, want one of {', '.join(MECHANISMS)}")
    if mechanism == "PLAIN" and protocol != "SASL_SSL":
        raise SecurityError("kafka: PLAIN sends the password itself, so it needs SASL_SSL")


def _password(name: str, path: Path) -> str:
    try:
        return read_secret_line(path, PASSWORD_BYTES_MAX)
    except FileError as exc:
        raise SecurityError(f"kafka: cannot read `{name}` {path}: {exc.why}") from None
