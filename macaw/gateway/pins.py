"""The pinned definitions of one server: those of its first list, and those that an administrator has approved since.

The file `mcp/SERVER.json` of the tenant's folder holds them. The first list is pinned by the gateway itself. Everything
later is an approval: a statement about tenant, server, tool and digest, signed by an administrator's key. A gateway
takes it only while the registry has that key as live, so neither the server nor another program here can approve.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from macaw.gateway.definitions import Definition, Held, HoldReason, finding_in
from processors.proof import jcs
from processors.proof.signing import SignatureError, verify_signature
from producers.home.files import FileError, read_private, replace_private
from producers.home.home import TenantHome
from producers.home.keys import KeyPair
from schemas.errors import InputError

FORMAT = "macaw-mcp-pins/1"
FILE_BYTES_MAX = 4 * 1024 * 1024
_NAME_CHARS_MAX = 1024
TAG = b"macaw/mcp-approval/v1\n"

KeyOf = Callable[[bytes], bytes | None]  # the public key of a live administrator, by kid; None for any other key


class PinsError(InputError):
    """The file of pins cannot be read or holds something else."""


@dataclass(frozen=True, slots=True)
class PinApproval:
    """An administrator's word that a tool may be served with the definition of this digest."""

    sha256: str
    kid: bytes
    signature: bytes
    at: int  # ms since the epoch, by the clock of the one who approved


@dataclass(slots=True)
class Pins:
    """The pins of one server: `first` has the digests of its first list, None before there was one.

    `suspects` are those of the first list in which verifiers found an order to the model.
    """

    tenant: TenantHome
    server: str
    first: dict[str, str] | None = None
    suspects: dict[str, str] = field(default_factory=dict)
    approvals: dict[str, PinApproval] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The file."""
        return path_of(self.tenant, self.server)

    @classmethod
    def read(cls, tenant: TenantHome, server: str) -> Pins:
        """Return the pins; none where there is no file. Raises PinsError."""
        path = path_of(tenant, server)
        try:
            text = read_private(path, FILE_BYTES_MAX)
        except FileError as exc:
            if exc.missing:
                return cls(tenant, server)
            raise PinsError(str(exc)) from exc
        try:
            return cls(tenant, server, *_read(json.loads(text)))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            raise PinsError(
                f"{path} does not hold the pins of a server ({type(exc).__name__}): put it aside, and have its tools "
                f"approved again with `macaw mcp approve {server}`"
            ) from exc

    def write(self) -> None:
        """Write the file for its owner alone, in one step."""
        self.path.parent.mkdir(mode=0o700, exist_ok=True)
        approvals = {
            name: {"sha256": one.sha256, "kid": one.kid.hex(), "signature": one.signature.hex(), "at": one.at}
            for name, one in sorted(self.approvals.items())
        }
        written = {"format": FORMAT, "first": self.first, "suspects": self.suspects, "approved": approvals}
        replace_private(self.path, json.dumps(written, indent=1).encode() + b"\n")

    @property
    def stamp(self) -> int:
        """A number that changes when the file does; 0 where there is none."""
        try:
            return self.path.stat().st_mtime_ns
        except OSError:
            return 0

    def write_held(self, held: Sequence[Held], listed: Mapping[str, Mapping[str, Any]]) -> None:
        """Write down the tools that are held back, with their definitions, for an administrator."""
        told = [
            {
                "tool": one.name,
                "why": one.why,
                "sha256": one.sha256,
                "detail": one.detail,
                "definition": listed.get(one.name),
            }
            for one in held
        ]
        path = self.path.with_suffix(".held")
        if told or path.exists():
            replace_private(path, _bounded(told) + b"\n")

    def held(self) -> list[dict[str, Any]]:
        """Return the tools that a gateway here holds back, as it has last written them down. Raises PinsError."""
        path = self.path.with_suffix(".held")
        try:
            return [one for one in json.loads(read_private(path, FILE_BYTES_MAX + 1)) if isinstance(one, dict)]
        except FileError as exc:
            if exc.missing:
                return []
            raise PinsError(str(exc)) from exc
        except (ValueError, TypeError, RecursionError) as exc:
            raise PinsError(f"{path} does not hold a list of tools: start the gateway again, which writes it") from exc

    def approve(self, tool: str, sha256: str, admin: KeyPair, *, at: int) -> None:
        """Sign that a tool may be served with this definition, and write it down."""
        signature = admin.signing.sign(self._statement(tool, sha256, at))
        self.approvals[tool] = PinApproval(sha256, admin.kid, signature, at)
        self.write()

    def hold(self, definition: Definition, key_of: KeyOf) -> HoldReason | None:
        """Return why a definition is held back, None where it may be served."""
        approval = self.approvals.get(definition.name)
        if approval is not None and approval.sha256 == definition.sha256 and self._is_signed(definition, key_of):
            return None
        if self.first is None:
            return HoldReason.SUSPECT if finding_in(definition) else None
        if self.suspects.get(definition.name) == definition.sha256:
            return HoldReason.SUSPECT
        if definition.name not in self.first and definition.name not in self.suspects:
            return HoldReason.NEW
        return None if self.first.get(definition.name) == definition.sha256 else HoldReason.CHANGED

    def pin(self, served: Iterable[Definition], held: Iterable[Held]) -> None:
        """Write down a first list: the definitions that are served, and the suspects among those held back."""
        self.first = {one.name: one.sha256 for one in served}
        self.suspects = {one.name: one.sha256 for one in held if one.why is HoldReason.SUSPECT}
        self.write()

    def _is_signed(self, definition: Definition, key_of: KeyOf) -> bool:
        approval = self.approvals[definition.name]
        public = key_of(approval.kid)
        if public is None:
            return False
        try:
            verify_signature(public, self._statement(definition.name, approval.sha256, approval.at), approval.signature)
        except SignatureError:
            return False
        return True

    def _statement(self, tool: str, sha256: str, at: int) -> bytes:
        said = {
            "at": at,
            "genesis": self.tenant.genesis.hex(),
            "server": self.server,
            "sha256": sha256,
            "tool": tool,
        }
        return TAG + jcs.canonical(said)


def path_of(tenant: TenantHome, server: str) -> Path:
    """Return the file of a server's pins."""
    return tenant.path / "mcp" / f"{server}.json"


def _bounded(told: Sequence[dict[str, Any]]) -> bytes:
    """Return held tools as JSON of at most FILE_BYTES_MAX: a definition without room is left out, then whole tools.

    Those that no approval helps give way first, so that a server cannot hide a tool behind others.
    """
    room, lines, kept = FILE_BYTES_MAX - 4, [], []
    for one in sorted(told, key=lambda one: not one["sha256"]):
        bare = json.dumps({**one, "tool": one["tool"][:_NAME_CHARS_MAX], "definition": None})
        if len(bare) + 2 <= room:
            room -= len(bare) + 2
            lines.append(bare)
            kept.append(one)
    for at, one in enumerate(kept):
        whole = json.dumps(one)
        if len(whole) - len(lines[at]) <= room:
            room -= len(whole) - len(lines[at])
            lines[at] = whole
    return ("[" + ",\n".join(lines) + "]").encode()


def _read(found: Any) -> tuple[dict[str, str] | None, dict[str, str], dict[str, PinApproval]]:
    if found["format"] != FORMAT:
        raise ValueError("another format")
    first: Mapping[str, Any] | None = found["first"]
    suspects: Mapping[str, Any] = found["suspects"]
    approvals = {
        str(name): PinApproval(
            str(one["sha256"]), bytes.fromhex(one["kid"]), bytes.fromhex(one["signature"]), int(one["at"])
        )
        for name, one in found["approved"].items()
    }
    return None if first is None else _texts(first), _texts(suspects), approvals


def _texts(found: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(sha256) for name, sha256 in found.items()}
