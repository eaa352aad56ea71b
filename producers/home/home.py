"""Where an installation keeps its configuration and keys.

    $MACAW_HOME/.macaw/config.json                  {"bootstrap": …, "deployment": …, "tenant": default, "kafka": {…},
                                                     "keys": {…}, "iam_provider": …, "iam_config": {…}}
    $MACAW_HOME/.macaw/tenants/<tenant>/genesis     the pinned genesis, 64 hex digits
    …/{root,admin,monitor,enrol}.key                made at founding, mode 0600; their form: `keystores`
    …/organisation.{key,pub}                        of an organisation whose key was made with the tenant
    …/monitor.<kid>.key                             a decision key that is to come, beside the present one
    …/set-aside.json                                foreign records of the tenant's topics, which are read past
    …/state.secret                                  under the MAC of the workers' state, 64 hex digits, mode 0600
    …/{agents,tools,approvers,attesters,enrolments}/<name>.key
                                                    made at registration; `file_name` says how names are written
    …/{views,authzen}.token                         bearer tokens, one for each HTTP front, mode 0600
    …/sessions/<name>.key                           a person's session
    …/logins/<name>.login                           a person's login at the identity provider, mode 0600
    …/{agents,sessions}/<name>.heads                the heads of the vault that its client has seen, mode 0600
    …/calls/                                        calls without their final answer (`kept_calls`)

Looked for in `$MACAW_HOME`; without it in `$MACAW_CONFIG_DIR`, then the working directory, then the home directory.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from producers.home.files import FileError, create_private, read_file, read_private, replace_private
from producers.home.keys import KeyPair
from producers.home.keystores.stores import KeyStores
from producers.home.security import Security, load_security
from schemas.errors import InstallationError
from schemas.topics import is_tenant_id

REPLICATION_MAX = 15
GENESIS_TEXT_BYTES_MAX = 128
TOKEN_BYTES_MAX = 1024
CONFIG_BYTES_MAX = 1024 * 1024
SECTIONS = ("kafka", "keys", "iam_config")  # of config.json: objects
OWN_TEXTS = (
    *("bootstrap", "deployment", "tenant", "replication", "broker_kind", "archive", "views", "iam_provider"),
    *("logout_port", "logout_host", "logout_url"),
)  # members of config.json that we read, each a string
FOREIGN_SECRETS = ("api_key",)  # of the original's hosted service: kept in the file, read by nothing here
_GENESIS = re.compile(rb"[0-9a-fA-F]{64}")
SET_ASIDE = "set-aside.json"
_COMING = re.compile(r"monitor\.[0-9a-f]{16}\.key")
_AS_IT_IS = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_.@-")
_FILE_NAME_CHARS_MAX = 160  # so that a suffix fits into the 255 bytes of a file name


class HomeError(InstallationError):
    """The configuration is missing or wrong; the message names the next step."""


class NoHomeError(HomeError):
    """There is no installation in any of the places where one is looked for."""


def file_name(name: str) -> str:
    """Return a principal's name as a file name: injective, and reversed by `urllib.parse.unquote`.

    Lower-case letters, digits and `_ . @ -` stand for themselves; every other byte of the UTF-8 becomes `%` and two
    digits, capitals too, because file systems may not tell them apart, and a leading dot. A name longer than 160
    characters in this form becomes `%-` and its SHA-256, which cannot be reversed.

    Raises:
        HomeError: the name is empty, or cannot be written in UTF-8.
    """
    try:
        data = name.encode()
    except UnicodeEncodeError:
        data = b""
    if not data:
        raise HomeError(f"{name!r} is not a name: it must have at least one character, and be writable in UTF-8")
    written = "".join(chr(byte) if byte in _AS_IT_IS else f"%{byte:02x}" for byte in data)
    if written.startswith("."):
        written = f"%2e{written[1:]}"
    return written if len(written) <= _FILE_NAME_CHARS_MAX else f"%-{sha256(data).hexdigest()}"


@dataclass(frozen=True, slots=True)
class TenantHome:
    """One tenant's folder."""

    tenant: str
    path: Path

    @property
    def genesis(self) -> bytes:
        """The pinned genesis, 32 bytes. Raises HomeError if the file is missing or holds another text."""
        file = self.path / "genesis"
        try:
            text = read_file(file, GENESIS_TEXT_BYTES_MAX)
        except FileError as exc:
            if not exc.missing:
                raise HomeError(str(exc)) from exc
            raise HomeError(
                f"tenant {self.tenant!r} is not known here: run `macaw tenant create {self.tenant}` where its brokers "
                f"are, or put the genesis that its owner gave you into {file}"
            ) from exc
        if _GENESIS.fullmatch(text.strip()) is None:
            raise HomeError(
                f"{file} does not hold a genesis: it must be the 64 hex digits that `macaw tenant create` printed"
            )
        return bytes.fromhex(text.decode("ascii").strip())

    def key(self, name: str) -> KeyPair:
        """Load `root`, `admin`, `monitor` or `enrol`. Raises KeyAccessError."""
        return self.keys.load(self.path / f"{name}.key")

    @property
    def keys(self) -> KeyStores:
        """The stores of this installation's keys. Raises HomeError, KeySettingsError."""
        folder = self.path.parent.parent
        section = Home.open(folder.parent).keys if (folder / "config.json").exists() else {}
        return KeyStores.read(section, folder)

    def monitor_key_files(self) -> list[Path]:
        """Return the files of the tenant's decision keys: `monitor.key`, then each `monitor.KID.key`, a coming one."""
        first = self.path / "monitor.key"
        others = sorted(p for p in self.path.glob("monitor.*.key") if _COMING.fullmatch(p.name) is not None)
        return [first, *others] if first.exists() else others

    def coming_monitor_file(self, kid: bytes) -> Path:
        """Return where a coming decision key is kept, beside `monitor.key`."""
        return self.path / f"monitor.{kid.hex()[:16]}.key"

    @property
    def state_secret_file(self) -> Path:
        """The file with the secret under the state of this tenant's workers."""
        return self.path / "state.secret"

    @property
    def state_secret(self) -> bytes:
        """The secret under the state of this tenant's workers, 32 bytes. Raises HomeError."""
        file = self.state_secret_file
        try:
            text = read_private(file, GENESIS_TEXT_BYTES_MAX).strip()
        except FileError as exc:
            raise HomeError(str(exc)) from exc
        if _GENESIS.fullmatch(text) is None:
            raise HomeError(f"{file} does not hold a secret: it must be 64 hex digits; move it away to have one made")
        return bytes.fromhex(text.decode("ascii"))

    def make_state_secret(self) -> None:
        """Write a new state secret. Raises FileExistsError if there is one."""
        create_private(self.state_secret_file, f"{os.urandom(32).hex()}\n".encode())

    @property
    def set_aside(self) -> dict[str, frozenset[int]]:
        """The offsets of records that were set aside, by TOPIC/PARTITION; see `streams.history.set_aside`.

        Raises:
            HomeError: the file cannot be read, or has another form.
        """
        file = self.path / SET_ASIDE
        if not file.exists():
            return {}
        try:
            value = json.loads(read_file(file, CONFIG_BYTES_MAX))
            return {str(place): frozenset(map(int, offsets)) for place, offsets in value["set-aside"].items()}
        except (FileError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
            raise HomeError(f"{file} is not a list of records that were set aside: {type(exc).__name__}") from exc

    def put_aside(self, found: Mapping[str, frozenset[int]]) -> None:
        """Set further records aside. Raises HomeError, OSError."""
        before, none = self.set_aside, frozenset[int]()
        places = before.keys() | found.keys()
        merged = {place: sorted(before.get(place, none) | found.get(place, none)) for place in places}
        text = json.dumps({"set-aside": merged}, indent=2, sort_keys=True) + "\n"
        replace_private(self.path / SET_ASIDE, text.encode())

    def key_file(self, kind: str, name: str) -> Path:
        """Return the path of the key of an agent, tool or other principal. Raises HomeError for an impossible name."""
        return self.path / f"{kind}s" / f"{file_name(name)}.key"

    def token_file(self, front: str = "views") -> Path:
        """Return where the bearer token of an HTTP front is kept: `views` or `authzen`."""
        return self.path / f"{front}.token"

    def token(self, front: str = "views") -> str:
        """Return the bearer token of an HTTP front, of the views or of AuthZEN. Raises HomeError."""
        file = self.token_file(front)
        try:
            return read_file(file, TOKEN_BYTES_MAX).decode("ascii").strip()
        except FileError as exc:
            if not exc.missing:
                raise HomeError(str(exc)) from exc
            raise HomeError(f"no {front} token for tenant {self.tenant!r}: {file} does not exist") from exc
        except UnicodeDecodeError:
            raise HomeError(f"{file} is not a token: it must be ASCII text") from None


@dataclass(frozen=True, slots=True)
class Home:
    """The folder `.macaw` of an installation."""

    path: Path
    config: Mapping[str, str]
    kafka: object = field(default_factory=dict, repr=False)  # checked and read by `security` alone
    keys: object = field(default_factory=dict, repr=False)  # by `TenantHome.keys` alone
    iam_config: object = field(default_factory=dict, repr=False)  # by `producers.identity.settings` alone
    foreign: Mapping[str, object] = field(default_factory=dict, repr=False)  # of other programs; kept, never read

    @classmethod
    def find(cls) -> Home:
        """Return the installation in the first of these places that has one.

        `$MACAW_HOME` or `$MACAW_CONFIG_DIR`, where one is set, is the only place: a program that is told where its
        installation lies never takes another one. `$MACAW_CONFIG_DIR` is the folder `.macaw` itself or the one with it.

        Raises:
            NoHomeError: none of them has one.
            HomeError: the first one that has one cannot be read.
        """
        places = _places()
        for place in places:
            if (place / ".macaw" / "config.json").is_file():
                return cls.open(place)
        raise NoHomeError(
            f"no .macaw/config.json in {' or '.join(map(str, places))}: run `macaw up` there, or set MACAW_HOME to the "
            "folder of an installation"
        )

    @classmethod
    def open(cls, base: Path) -> Home:
        """Return the installation below `base`. Raises HomeError."""
        path = base / ".macaw"
        try:
            config = json.loads(read_file(path / "config.json", CONFIG_BYTES_MAX))
        except FileError as exc:
            raise HomeError(str(exc)) from exc
        except (ValueError, RecursionError) as exc:
            line = f", line {exc.lineno}" if isinstance(exc, json.JSONDecodeError) else ""
            raise HomeError(f"{path / 'config.json'} is not JSON{line}") from exc
        if not isinstance(config, dict):
            raise HomeError(f"{path / 'config.json'} must be a JSON object, with strings and sections as its members")
        sections = {name: config.pop(name, {}) for name in SECTIONS}
        foreign = _foreign(config, path / "config.json")
        return cls(path, {name: config[name] for name in config.keys() - foreign.keys()}, **sections, foreign=foreign)

    @classmethod
    def create(cls, base: Path, config: Mapping[str, str]) -> Home:
        """Write or update the configuration below `base`."""
        path = base / ".macaw"
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        before = cls.open(base) if (path / "config.json").exists() else cls(path, {})
        merged = {**before.config, **config}
        sections = {name: getattr(before, name) for name in SECTIONS}
        whole = {**before.foreign, **merged, **{name: one for name, one in sections.items() if one != {}}}
        text = json.dumps(whole, indent=2, sort_keys=True) + "\n"
        replace_private(path / "config.json", text.encode())
        return cls(path, merged, **sections, foreign=before.foreign)

    @property
    def deployment(self) -> str:
        """The name of the deployment, which signed events name: the configuration's `deployment`, else `local`."""
        return self.config.get("deployment", "local")

    @property
    def bootstrap(self) -> str:
        """The brokers: `MACAW_BOOTSTRAP_SERVERS`, else the configuration. Raises HomeError."""
        found = os.environ.get("MACAW_BOOTSTRAP_SERVERS") or self.config.get("bootstrap")
        if not found:
            raise HomeError("no broker is configured: run `macaw up`, or set MACAW_BOOTSTRAP_SERVERS")
        return found

    @property
    def security(self) -> Security:
        """The settings that authenticate us to the brokers; the password is read anew. Raises SecurityError."""
        return load_security(self.kafka, self.path)

    @property
    def replication(self) -> int:
        """The replication factor of every topic: the configuration's `replication`, else 1. Raises HomeError."""
        named = self.config.get("replication", "1")
        if named not in map(str, range(1, REPLICATION_MAX + 1)):
            where = self.path / "config.json"
            raise HomeError(f"`replication` is {named[:20]!r} in {where}: it must be 1 to {REPLICATION_MAX}")
        return int(named)

    def tenant(self, name: str | None = None) -> TenantHome:
        """Return a tenant's folder; without a name the configured default. Raises HomeError."""
        chosen = name or self.config.get("tenant")
        if not chosen:
            raise HomeError(
                f"{self.path / 'config.json'} names no tenant: run `macaw tenant create NAME`, or write `tenant` there"
            )
        if not is_tenant_id(chosen):
            raise HomeError(f"{chosen!r} is not a tenant id: it must match [a-z][a-z0-9-]{{1,39}}")
        return TenantHome(chosen, self.path / "tenants" / chosen)

    def tenants(self) -> list[str]:
        """Return the tenants that have a folder here."""
        base = self.path / "tenants"
        return sorted(p.name for p in base.iterdir() if (p / "genesis").is_file()) if base.is_dir() else []


def _places() -> list[Path]:
    """Return the folders in which an installation is looked for. Raises HomeError for an impossible one."""
    named, folder = os.environ.get("MACAW_HOME"), os.environ.get("MACAW_CONFIG_DIR")
    if named:
        return [Path(named)]
    if not folder:
        return list(dict.fromkeys((Path.cwd(), Path.home())))
    place = Path(folder)
    if place.name == ".macaw":
        return [place.parent]
    if (place / "config.json").is_file() and not (place / ".macaw").is_dir():
        raise HomeError(f"MACAW_CONFIG_DIR is {place}: the folder of config.json must be called .macaw; rename it")
    return [place]


def _foreign(config: Mapping[str, object], file: Path) -> dict[str, object]:
    """Return the members that other programs have in config.json. Raises HomeError for a fault in one of ours."""
    foreign: dict[str, object] = {}
    for name, value in config.items():
        if name in OWN_TEXTS and not isinstance(value, str):
            raise HomeError(f"{file}: `{name[:40]}` must be a string, got {type(value).__name__}")
        if name in FOREIGN_SECRETS or not isinstance(value, str):
            # A misspelt section would be passed over in silence, and the connection would be in the clear.
            meant = difflib.get_close_matches(name.lower(), (*SECTIONS, *OWN_TEXTS), n=1, cutoff=0.75)
            if meant and name not in FOREIGN_SECRETS:
                raise HomeError(f"{file}: `{name[:40]}` is not a member; did you mean `{meant[0]}`?")
            foreign[name] = value
    return foreign
