"""The credentials of persons and programs at an upstream server: one file each, which only the gateway reads.

The file `mcp/SERVER.credentials/PRINCIPAL` holds one line, `Name: value`: the header that the server gets with the
requests of that principal. It never stands in a call, on the log, in a message or in an error. A principal without a
file has no connection to such a server.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from producers.home.files import FileError, read_secret_line, replace_private
from producers.home.home import TenantHome, file_name
from schemas.errors import InputError

LINE_BYTES_MAX = 16 * 1024
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}", re.ASCII)  # RFC 9110, 5.1
_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", re.ASCII)


class CredentialError(InputError):
    """A principal has no usable credential at a server. The message quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials at one server of one tenant."""

    tenant: TenantHome
    server: str

    def path(self, principal_id: str) -> Path:
        """Return the file of a principal's credential."""
        return self.tenant.path / "mcp" / f"{self.server}.credentials" / file_name(principal_id)

    def header(self, principal_id: str) -> dict[str, str]:
        """Return the header for a principal's requests. Raises CredentialError."""
        try:
            line = read_secret_line(self.path(principal_id), LINE_BYTES_MAX)
        except FileError as exc:
            if not exc.missing:
                raise CredentialError(
                    f"the credential of {principal_id} at {self.server} cannot be used: {exc.why}"
                ) from exc
            raise CredentialError(
                f"{principal_id} has no credential at {self.server}: store one with `macaw mcp credential`"
            ) from exc
        return header_of(line)

    def store(self, principal_id: str, line: str) -> None:
        """Write a principal's credential for the gateway alone. Raises CredentialError."""
        header_of(line)
        path = self.path(principal_id)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_private(path, line.encode() + b"\n")

    def remove(self, principal_id: str) -> bool:
        """Remove a principal's credential; return False if there was none."""
        path = self.path(principal_id)
        was_there = path.exists()
        path.unlink(missing_ok=True)
        return was_there


def header_of(line: str) -> dict[str, str]:
    """Return the header in a line `Name: value`. Raises CredentialError, which quotes nothing."""
    name, colon, value = line.partition(":")
    value = value.lstrip(" ")
    if not colon or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise CredentialError("a credential is one line `Name: value` of visible ASCII, as a header of HTTP")
    return {name: value}
