"""`macaw init`: writes the configuration of an installation, from flags or from answers at a terminal."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from macaw.cli.terminal.options import OptionsError

if TYPE_CHECKING:
    from producers.home.home import Home

SECRET_FILE = "idp.secret"  # noqa: S105 - the name of a file
SECRET_BYTES_MAX = 4096
CLIENT_CHARS_MAX = 256
BROKER_DEFAULT = "127.0.0.1:9092"
_BROKER = re.compile(r"[A-Za-z0-9._-]{1,253}:[0-9]{1,5}|\[[0-9A-Fa-f:]{2,45}\]:[0-9]{1,5}")


class _Wanted(NamedTuple):
    """The answers: the brokers, the tenant, and with a provider its issuer, the client id and the secret, if any."""

    broker: str
    tenant: str
    issuer: str
    client_id: str
    secret: str | None


def command(
    *,
    tenant: Annotated[str | None, typer.Option("--tenant", "-t", help="The default tenant.", metavar="ID")] = None,
    broker: Annotated[
        str | None, typer.Option("--broker", help="The brokers, HOST:PORT with commas between.", metavar="LIST")
    ] = None,
    issuer: Annotated[
        str | None, typer.Option("--issuer", help="The identity provider's issuer; empty for none.", metavar="URL")
    ] = None,
    client_id: Annotated[
        str | None, typer.Option("--client-id", help="The client id at the provider.", metavar="TEXT")
    ] = None,
    client_secret_file: Annotated[
        Path | None,
        typer.Option("--client-secret-file", help="The file with the client secret, mode 0600.", metavar="FILE"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is configured already.")] = False,
) -> None:
    """Write macaw-agent.yaml and .macaw/config.json; at a terminal, ask for values without a flag.

    Nothing that is configured is overwritten without --force. The secret is kept in a file of its own, mode 0600.
    """
    from macaw.cli.terminal.output import say, show
    from macaw.cli.terminal.places import base_folder

    wanted = _wanted(tenant, broker, issuer, client_id, client_secret_file)
    base = base_folder()
    if not force:
        _check_free(base, wanted)
    for path, text in _write(base, wanted):
        show(f"# {path}")
        for line in text.splitlines():
            show(line)
    say("next: macaw doctor; a tenant that does not exist yet is founded by `macaw tenant create`")


# ---- the answers


def _wanted(
    tenant: str | None, broker: str | None, issuer: str | None, client_id: str | None, secret_file: Path | None
) -> _Wanted:
    """Return the answers, all of them checked. Raises OptionsError, FileError, LoginSettingsError."""
    from producers.home.files import read_secret_line
    from producers.identity.web import check_url
    from schemas.topics import is_tenant_id

    tenant = tenant if tenant is not None else _asked("Tenant", "--tenant")
    broker = broker if broker is not None else _asked("Brokers", "--broker", BROKER_DEFAULT)
    issuer = issuer if issuer is not None else _asked("Issuer of the identity provider, or nothing", "--issuer", "")
    if issuer and client_id is None:
        client_id = _asked("Client id", "--client-id")
    if not is_tenant_id(tenant):
        raise OptionsError(
            f"{tenant[:64]!r} is not a tenant id; use 2 to 40 of a-z, 0-9 and -, beginning with a letter"
        )
    if not all(_BROKER.fullmatch(one) for one in broker.split(",")):
        raise OptionsError("--broker must be HOST:PORT, or several with commas between and no spaces")
    if issuer:
        check_url(issuer, "--issuer")
        if not client_id or len(client_id) > CLIENT_CHARS_MAX or not client_id.isprintable():
            raise OptionsError(f"--client-id must have 1 to {CLIENT_CHARS_MAX} printable characters")
    elif client_id or secret_file:
        raise OptionsError("--client-id and --client-secret-file need --issuer")
    secret = None if secret_file is None else read_secret_line(secret_file, SECRET_BYTES_MAX)
    return _Wanted(broker, tenant, issuer, client_id or "", secret)


def _asked(question: str, flag: str, default: str | None = None) -> str:
    """Return a person's answer. Raises OptionsError where no person is, unless the default is no answer."""
    import sys

    if sys.stdin.isatty():
        answer: str = typer.prompt(question, default=default, err=True)
        return answer.strip()
    if default == "":
        return default
    raise OptionsError(f"{flag} is missing, and there is no terminal to ask at")


# ---- the files


def _check_free(base: Path, wanted: _Wanted) -> None:
    """Raise CommandError for a file or member that would be overwritten by another value."""
    from macaw.cli.terminal.errors import CommandError
    from producers.home.home import Home
    from producers.identity.settings import AGENT_FILE

    taken = [base / AGENT_FILE] if wanted.issuer and (base / AGENT_FILE).exists() else []
    if wanted.secret is not None and (base / ".macaw" / SECRET_FILE).exists():
        taken.append(base / ".macaw" / SECRET_FILE)
    config = base / ".macaw" / "config.json"
    if config.exists():
        before = Home.open(base)
        named = {"bootstrap": wanted.broker, "tenant": wanted.tenant}
        differs = any(before.config.get(name, value) != value for name, value in named.items())
        if differs or (wanted.issuer and _names_provider(before)):
            taken.append(config)
    if taken:
        raise CommandError(f"{' and '.join(map(str, taken))} would be overwritten: give --force, or another MACAW_HOME")


def _names_provider(home: Home) -> bool:
    return "iam_provider" in home.config or home.iam_config != {}


def _write(base: Path, wanted: _Wanted) -> list[tuple[Path, str]]:
    """Write the files and return each with its text; of the secret its place alone.

    Raises:
        CommandError: config.json names a provider, which would count before the one that was written.
        LoginSettingsError: the written settings cannot be read back.
    """
    import json

    from macaw.cli.terminal.errors import CommandError
    from macaw.installation.locking import update_config
    from producers.home.files import replace_private
    from producers.home.home import Home
    from producers.identity.settings import AGENT_FILE, read_login_settings

    config = base / ".macaw" / "config.json"
    if wanted.issuer and config.exists() and _names_provider(Home.open(base)):
        raise CommandError(f"{config} names an identity provider, which counts first: take `iam_provider` out of it")
    home = update_config(base, {"bootstrap": wanted.broker, "tenant": wanted.tenant})
    found = [(config, config.read_text("utf-8"))]
    if not wanted.issuer:
        return found
    members = {"issuer": wanted.issuer, "client_id": wanted.client_id}
    if wanted.secret is not None:
        replace_private(home.path / SECRET_FILE, f"{wanted.secret}\n".encode())
        found.append((home.path / SECRET_FILE, "(the client secret, mode 0600)"))
        members["client_secret_file"] = f".macaw/{SECRET_FILE}"
    # A JSON text is a YAML scalar, so no value can add a member.
    lines = ["iam_provider: oidc", "iam_config:", *(f"  {name}: {json.dumps(v)}" for name, v in members.items())]
    text = "\n".join(lines) + "\n"
    replace_private(base / AGENT_FILE, text.encode())
    found.append((base / AGENT_FILE, text))
    read_login_settings(home)
    return found
