"""Where an installation keeps its configuration and keys.

    $MACAW_HOME/.macaw/config.json                  {"bootstrap": …, "deployment": …, "tenant": default, "kafka": {…}}
    $MACAW_HOME/.macaw/tenants/<tenant>/genesis     the pinned genesis, 64 hex digits
    …/{root,admin,monitor,enrol}.key                made at founding, mode 0600
    …/{agents,tools,approvers,attesters}/<name>.key made at registration
    …/sessions/<name>.key                           a person's session
    …/calls/                                        calls without their final answer (`waiting`)

Looked for in `$MACAW_HOME`, then the working directory, then the home directory.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from producers.keys import KeyPair
from producers.security import Security, load_security
from schemas.topics import is_tenant_id

REPLICATION_MAX = 15
_FILE_NAME = re.compile(r"[A-Za-z0-9_.@-]{1,128}")


class HomeError(ValueError):
    """The configuration is missing or wrong; the message says what to do."""


@dataclass(frozen=True, slots=True)
class TenantHome:
    """One tenant's folder."""

    tenant: str
    path: Path

    @property
    def genesis(self) -> bytes:
        """The pinned genesis. Raises HomeError where there is none."""
        try:
            return bytes.fromhex((self.path / "genesis").read_text("ascii").strip())
        except (OSError, ValueError) as exc:
            raise HomeError(
                f"tenant {self.tenant!r} is not known here: run `macaw tenant create {self.tenant}`, "
                f"or put its genesis into {self.path / 'genesis'}"
            ) from exc

    def key(self, name: str) -> KeyPair:
        """Load `root`, `admin`, `monitor` or `enrol`. Raises KeyFileError."""
        return KeyPair.load(self.path / f"{name}.key")

    def key_file(self, kind: str, name: str) -> Path:
        """Return where the key of an agent, service or tool is kept. Raises HomeError for an unsafe name."""
        if not _FILE_NAME.fullmatch(name) or name.startswith("."):
            raise HomeError(f"{name!r} cannot name a key file: use letters, digits and _ . @ -")
        return self.path / f"{kind}s" / f"{name}.key"

    def token(self) -> str:
        """Return the bearer token of this tenant's views. Raises HomeError."""
        try:
            return (self.path / "views.token").read_text("ascii").strip()
        except OSError as exc:
            raise HomeError(f"no views token for tenant {self.tenant!r} in {self.path}") from exc


@dataclass(frozen=True, slots=True)
class Home:
    """The folder `.macaw` of an installation."""

    path: Path
    config: Mapping[str, str]
    kafka: object = field(default_factory=dict, repr=False)  # checked and read by `security`, and by nobody else

    @classmethod
    def find(cls) -> Home:
        """Return the installation in `$MACAW_HOME`, the working directory or the home directory, in this order.

        Raises:
            HomeError: none of them has one.
        """
        named = os.environ.get("MACAW_HOME")
        places = [Path(named)] if named else [Path.cwd(), Path.home()]
        for place in places:
            if (place / ".macaw" / "config.json").is_file():
                return cls.open(place)
        raise HomeError(f"no .macaw/config.json in {' or '.join(map(str, places))}: run `macaw tenant create NAME`")

    @classmethod
    def open(cls, base: Path) -> Home:
        """Return the installation below `base`. Raises HomeError."""
        path = base / ".macaw"
        try:
            config = json.loads((path / "config.json").read_text("utf-8"))
        except (OSError, ValueError) as exc:
            raise HomeError(f"cannot read {path / 'config.json'}") from exc
        kafka = config.pop("kafka", {}) if isinstance(config, dict) else {}
        if not isinstance(config, dict) or not all(isinstance(v, str) for v in config.values()):
            raise HomeError(f"want an object of strings, and one below `kafka`, in {path / 'config.json'}")
        return cls(path, config, kafka)

    @classmethod
    def create(cls, base: Path, config: Mapping[str, str]) -> Home:
        """Write or update the configuration below `base`."""
        path = base / ".macaw"
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        before = cls.open(base) if (path / "config.json").exists() else cls(path, {})
        merged = {**before.config, **config}
        whole = {**merged, **({"kafka": before.kafka} if before.kafka != {} else {})}
        temporary = path / "config.json.new"
        temporary.write_text(json.dumps(whole, indent=2, sort_keys=True) + "\n", "utf-8")
        temporary.chmod(0o600)
        temporary.replace(path / "config.json")
        return cls(path, merged, before.kafka)

    @property
    def bootstrap(self) -> str:
        """The brokers: `MACAW_BOOTSTRAP_SERVERS`, else the configuration. Raises HomeError."""
        found = os.environ.get("MACAW_BOOTSTRAP_SERVERS") or self.config.get("bootstrap")
        if not found:
            raise HomeError("no broker is configured: run `macaw up`, or set MACAW_BOOTSTRAP_SERVERS")
        return found

    @property
    def security(self) -> Security:
        """How to prove to the brokers who we are, the password read anew. Raises SecurityError."""
        return load_security(self.kafka, self.path)

    @property
    def replication(self) -> int:
        """The replication factor of every topic: the configuration's `replication`, else 1. Raises HomeError."""
        named = self.config.get("replication", "1")
        if named not in map(str, range(1, REPLICATION_MAX + 1)):
            where = self.path / "config.json"
            raise HomeError(f"`replication` is {named[:20]!r} in {where}, want 1 to {REPLICATION_MAX}")
        return int(named)

    def tenant(self, name: str | None = None) -> TenantHome:
        """Return a tenant's folder; without a name the configured default. Raises HomeError."""
        chosen = name or self.config.get("tenant")
        if not chosen or not is_tenant_id(chosen):
            raise HomeError(f"{chosen!r} is no tenant id: want [a-z][a-z0-9-]{{1,39}}")
        return TenantHome(chosen, self.path / "tenants" / chosen)

    def tenants(self) -> list[str]:
        """Return the tenants that have a folder here."""
        base = self.path / "tenants"
        return sorted(p.name for p in base.iterdir() if (p / "genesis").is_file()) if base.is_dir() else []
