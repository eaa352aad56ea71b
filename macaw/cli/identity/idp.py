"""`macaw idp`: the identity providers that a tenant trusts, and a trial of the mapping of their claims on a token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from macaw.cli.terminal.options import AsJson, Tenant
from schemas import limits

if TYPE_CHECKING:
    from processors.identity.claims.mapping import Mapped
    from processors.identity.claims.model import ClaimsMapping
    from processors.identity.claims.rules import TracedRule
    from schemas.events.attributes import Attributes

app = typer.Typer(help="Trust identity providers, and try out the mapping of their claims.")
Issuer = Annotated[str, typer.Argument(help="The issuer, as `iss` of its tokens has it.", metavar="ISSUER")]

TOKEN_BYTES_MAX = limits.TOKEN_CHARS_MAX
NOT_VERIFIED = (
    "NOT VERIFIED: nobody checked the signature, issuer, audience or times of this token; this shows the mapping alone"
)
_BUILT_IN = "the built-in providers"
_DROPPED_MAX = 8  # roles in a line for people; --json has all


@app.command("trust")
def trust(
    issuer: Issuer,
    *,
    audience: Annotated[list[str], typer.Option("--audience", help="`aud` of its tokens; repeatable.", metavar="TEXT")],
    kind: Annotated[
        str, typer.Option("--kind", help="keycloak, okta, azure, google, auth0 or oidc: the mapping of its claims.")
    ] = "oidc",
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", help="The first part of its names; one provider of persons needs none."),
    ] = None,
    workloads: Annotated[
        bool,
        typer.Option("--workloads", help="The provider speaks for programs, as a CI system does, and not for persons."),
    ] = False,
    names: Annotated[
        str, typer.Option("--names", help="The names that it may give, without prefix; a * stands for any run.")
    ] = "*",
    attribute: Annotated[
        list[str] | None,
        typer.Option(
            "--attribute", help="An attribute and a pattern of it; repeatable for lists.", metavar="NAME=PATTERN"
        ),
    ] = None,
    algorithm: Annotated[
        list[str] | None, typer.Option("--algorithm", help="A signature algorithm of its tokens; repeatable. [RS256]")
    ] = None,
    private_host: Annotated[
        list[str] | None,
        typer.Option("--private-host", help="A host on your own network that may be asked for its keys; repeatable."),
    ] = None,
    tenant: Tenant = None,
) -> None:
    """Trust an identity provider, with the admin key, or replace the terms on which it is trusted.

    It opens sessions for these names alone, and with attributes that meet these patterns. Without --attribute it may
    name persons, and say nothing about them.
    """
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.providers import say_of_provider
    from processors.identity.providers import prefix_of
    from schemas.events.providers import IdentityProviderTrusted
    from schemas.words import ProviderSubjects

    home, folder = open_tenant(tenant)
    subjects = ProviderSubjects.WORKLOAD if workloads else ProviderSubjects.USER
    prefix = prefix_of(subjects, namespace)
    body = IdentityProviderTrusted(
        issuer=issuer,
        kind=kind,
        namespace=namespace,
        subjects=subjects,
        name_pattern=prefix + names,
        attributes=_patterns_in(attribute or []),
        audiences=tuple(audience),
        algorithms=tuple(algorithm or ["RS256"]),
        private_hosts=tuple(private_host or ()),
    )
    answer = say_of_provider(home, folder, body)
    say(f"{folder.tenant} trusts {issuer} for {prefix}{names}; audit entry {answer.result.audit_index} says so")


def _patterns_in(pairs: list[str]) -> Attributes:
    """Return patterns of attributes in NAME=PATTERN options. Raises BadParameter."""
    from processors.identity.attributes import attributes_from
    from processors.policy.errors import AttributeInvalidError
    from schemas.events.attributes import LISTS, READ_BY_POLICIES

    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, pattern = pair.partition("=")
        if not equals or (name in found and name not in LISTS):
            raise typer.BadParameter(f"got {pair[:80]!r}, want NAME=PATTERN", param_hint="--attribute")
        found[name] = [*found.get(name, []), pattern] if name in LISTS else pattern
    try:
        return attributes_from(found, names=[name for name in READ_BY_POLICIES if name != "user"])
    except AttributeInvalidError as exc:
        raise typer.BadParameter(str(exc), param_hint="--attribute") from exc


@app.command("distrust")
def distrust(
    issuer: Issuer,
    *,
    end_sessions: Annotated[
        bool, typer.Option("--end-sessions", help="End the sessions that it opened, too: its key was stolen.")
    ] = False,
    reason: Annotated[str, typer.Option("--reason", help="The reason, kept on the log.")] = "no longer used",
    tenant: Tenant = None,
) -> None:
    """Take trust from an identity provider: it opens no further session. Its names stay its own for ever."""
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.providers import say_of_provider
    from schemas.events.providers import IdentityProviderDistrusted

    home, folder = open_tenant(tenant)
    say_of_provider(home, folder, IdentityProviderDistrusted(issuer=issuer, end_sessions=end_sessions, reason=reason))
    ended = "; its sessions have ended" if end_sessions else "; its sessions go on until their end"
    say(f"{folder.tenant} trusts {issuer} no longer{ended}")


@app.command("list")
def list_providers(*, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List the identity providers that the log has, with their names, and when trust in them ended."""
    from macaw.cli.terminal.output import jsonable, show_json, show_table
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.rendering import time_of
    from macaw.installation.providers import providers_of

    home, folder = open_tenant(tenant)
    found = providers_of(home, folder)
    if as_json:
        show_json({issuer: jsonable(row) for issuer, row in found.items()}, indent=2)
        return
    rows = [
        (issuer, row.kind, row.name_pattern, time_of(row.trusted_at), time_of(row.ended_at) if row.ended_at else "-")
        for issuer, row in found.items()
    ]
    show_table(("ISSUER", "KIND", "NAMES", "TRUSTED", "ENDED"), rows)


@app.command("test")
def show_mapping(
    token_file: Annotated[
        str,
        typer.Argument(help="The file with a token, or with its claims as JSON; - for stdin.", metavar="TOKEN_FILE"),
    ],
    *,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="The file with the mapping; else .claims-config.yaml of the installation, else what is built in.",
            metavar="FILE",
        ),
    ] = None,
    provider: Annotated[
        str | None,
        typer.Option("--provider", help="The provider, instead of the one that the issuer chooses.", metavar="NAME"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show every rule of the mapping, its claim, and its result. The token itself is neither shown nor verified.

    The exit status is 1 if no session could be opened with these claims.
    """
    from macaw.cli.terminal.output import say, show_json
    from macaw.cli.terminal.status import DONE, FAILED
    from processors.identity.claims.mapping import map_unverified

    place, mapping = _mapping_of(config)
    if provider is not None:
        _check_provider(mapping, provider, place)
    claims = unverified_claims(_content_of(token_file))
    say(NOT_VERIFIED)
    mapped = map_unverified(mapping, claims, provider=provider)
    if as_json:
        show_json(_as_json(place, mapped), indent=2)
    else:
        _show(place, mapped)
    raise typer.Exit(DONE if mapped.can_open else FAILED)


def unverified_claims(content: bytes) -> dict[str, Any]:
    """Return the claims of a token, or those of a JSON object, without any check of their truth.

    Raises:
        CommandError: the content is neither; the message quotes nothing of it.
    """
    from macaw.cli.terminal.errors import CommandError

    content = content.strip()
    if content.startswith(b"{"):
        return _object_of(content, "the file")
    parts = content.split(b".")
    if content.startswith(b"Bearer "):
        raise CommandError("the file begins with `Bearer`: leave the token alone in it")
    if len(parts) == 5:
        raise CommandError("the token has 5 parts, so it is encrypted: ask the provider for a signed token")
    if len(parts) != 3:
        raise CommandError(
            f"a token has 3 parts with dots between them, and the file has {len(parts)}: give a signed token (JWT), or "
            "its claims as a JSON object"
        )
    _object_of(_decoded(parts[0], "header"), "the header of the token")
    _decoded(parts[2], "signature")
    return _object_of(_decoded(parts[1], "payload"), "the payload of the token")


def _decoded(part: bytes, what: str) -> bytes:
    import base64
    import binascii

    from macaw.cli.terminal.errors import CommandError

    try:
        # The strict alphabet of RFC 7515; padding must not stand there.
        return base64.b64decode(
            part.translate(bytes.maketrans(b"-_+/=", b"+/!!!")) + b"=" * (-len(part) % 4), None, True
        )
    except binascii.Error:
        raise CommandError(f"the {what} of the token is not base64url: copy the token as a whole") from None


def _object_of(text: bytes, what: str) -> dict[str, Any]:
    from macaw.cli.terminal.errors import CommandError
    from processors.proof import jcs

    try:
        value = jcs.parse_strict(text)
    except jcs.MalformedJSONError as exc:
        raise CommandError(f"{what} is not strict JSON ({exc.cause}): copy it as a whole") from None
    if not isinstance(value, dict):
        raise CommandError(f"{what} is not a JSON object")
    return value


def _content_of(given: str) -> bytes:
    import sys

    from macaw.cli.terminal.errors import CommandError
    from producers.home.files import read_file

    if given != "-":
        return read_file(Path(given), TOKEN_BYTES_MAX, may_be_pipe=True)
    content = sys.stdin.buffer.read(TOKEN_BYTES_MAX + 1)
    if len(content) > TOKEN_BYTES_MAX:
        raise CommandError(f"stdin has more than {TOKEN_BYTES_MAX} bytes: no token may be as long")
    return content


def _mapping_of(config: Path | None) -> tuple[str, ClaimsMapping]:
    """Return the place of the mapping for people, and the mapping. Raises ClaimsFileError."""
    from macaw.cli.terminal.places import base_folder
    from processors.identity.claims.built_in import BUILT_IN
    from streams.identity_files.claims_file import FILE_NAME, read_claims_file

    kept = base_folder() / FILE_NAME
    path = config or (kept if kept.exists() or kept.is_symlink() else None)  # a link to nothing is a fault to be told
    return (_BUILT_IN, BUILT_IN) if path is None else (str(path), read_claims_file(path))


def _check_provider(mapping: ClaimsMapping, name: str, place: str) -> None:
    from difflib import get_close_matches

    names = [one.id for one in mapping.providers]
    if name not in names:
        near = get_close_matches(name[:80], names, n=1)
        told = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(names) or 'none by name'}"
        raise typer.BadParameter(f"no provider {name[:80]!r} in {place}: {told}", param_hint="--provider")


def _show(place: str, mapped: Mapped) -> None:
    from macaw.cli.terminal.output import say, show, show_table

    show(f"mapping   {place}")
    show(f"provider  {mapped.provider or 'none'} ({mapped.chosen_by})")
    if mapped.trace:
        show_table(("ATTRIBUTE", "CLAIM", "RESULT", "VALUE", "WHY"), map(_row, mapped.trace))
    if mapped.unread:
        show(f"not read  {', '.join(mapped.unread)}")
    for refusal in mapped.refusals:
        say(f"no session: {refusal}")
    if mapped.can_open:
        show(f"person    user:{mapped.name}")


def _row(one: TracedRule) -> tuple[str, ...]:
    return one.attribute, one.claim, one.result, ", ".join(one.values) or "-", "; ".join(_reasons(one))


def _reasons(one: TracedRule) -> Iterator[str]:
    if one.detail:
        yield one.detail
    if one.dropped:
        more = ", …" if len(one.dropped) > _DROPPED_MAX else ""
        yield f"dropped {', '.join(one.dropped[:_DROPPED_MAX])}{more}"
    if one.line:
        yield f"line {one.line}"


def _as_json(place: str, mapped: Mapped) -> dict[str, Any]:
    from macaw.cli.terminal.output import jsonable

    attributes = {name: value for name, value in jsonable(mapped.attributes).items() if value}
    return {
        "verified": False,
        "mapping": place,
        "provider": mapped.provider,
        "chosen_by": mapped.chosen_by,
        "rules": [
            {
                "attribute": one.attribute,
                "claim": one.claim,
                "result": str(one.result),
                "values": list(one.values),
                "dropped": list(one.dropped),
                "detail": one.detail,
                "line": one.line,
            }
            for one in mapped.trace
        ],
        "not_read": list(mapped.unread),
        "attributes": attributes,
        "name": mapped.name,
        "subject": mapped.subject,
        "refusals": [
            {"code": str(one.code), "detail": one.detail or one.code.meaning, "step": one.code.step}
            for one in mapped.refusals
        ],
        "can_open": mapped.can_open,
    }
