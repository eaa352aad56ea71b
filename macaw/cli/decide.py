"""`macaw decide`: ask how the policies would decide a call; the answer is advice and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from macaw.cli.terminal.options import OptionsError, Tenant
from macaw.cli.terminal.status import DONE, FAILED

if TYPE_CHECKING:
    from streams.authzen.questions import Question
    from streams.authzen.standing import Snapshot


def command(
    *,
    serve: Annotated[bool, typer.Option("--serve", help="Answer over HTTP (AuthZEN) until Ctrl-C.")] = False,
    subject: Annotated[
        str | None, typer.Option("--subject", help="The subject that would act, an id of the directory.")
    ] = None,
    subject_type: Annotated[str, typer.Option("--subject-type", help="The subject's type.", metavar="TYPE")] = "user",
    action: Annotated[
        str | None, typer.Option("--action", help="The action, for example transfer.", metavar="NAME")
    ] = None,
    resource: Annotated[
        str | None,
        typer.Option("--resource", help="The resource, as TYPE:ID, for example tool:bank.", metavar="TYPE:ID"),
    ] = None,
    properties: Annotated[
        str, typer.Option("--properties", help="Properties of the resource, a JSON object.", metavar="JSON")
    ] = "{}",
    policies: Annotated[
        Path | None,
        typer.Option("--policies", help="Decide by these documents, not by those in force on the log.", metavar="PATH"),
    ] = None,
    directory: Annotated[
        Path,
        typer.Option(
            "--directory", help="The YAML or JSON file with the subjects and their attributes.", metavar="FILE"
        ),
    ] = Path("directory.yaml"),
    host: Annotated[
        str, typer.Option("--host", help="With --serve: the address to listen on.", metavar="ADDRESS")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="With --serve: the port; 0 takes a free one.")
    ] = 0,
    url: Annotated[
        str | None,
        typer.Option("--url", help="With --serve: the https://NAME under which others reach it.", metavar="URL"),
    ] = None,
    tenant: Tenant = None,
) -> None:
    """Say how the policies would decide; nothing is charged, used up or written.

    The answer to one question is JSON, with exit status 1 for a denial. With --serve, programs ask over HTTP, with
    the token in authzen.token of the tenant's folder.
    """
    if serve:
        if subject is not None or action is not None or resource is not None:
            raise OptionsError(
                "with `--serve`, questions come over HTTP: remove `--subject`, `--action` and `--resource`"
            )
        _serve(policies, directory, tenant, host=host, port=port, url=url)
        return
    if subject is None or action is None or resource is None:
        raise OptionsError("a question needs `--subject`, `--action` and `--resource`; or give `--serve`")
    question = _question(subject_type, subject, action, resource, properties)
    with _loading(policies, directory, tenant) as load:
        answer = _answered(load(), question)

    from macaw.cli.terminal.output import show_json

    show_json(answer, indent=2)
    raise typer.Exit(DONE if answer["decision"] else FAILED)


def _question(subject_type: str, subject: str, action: str, resource: str, properties: str) -> Question:
    from macaw.cli.terminal.given import object_of
    from streams.authzen.questions import Question

    resource_type, colon, resource_id = resource.partition(":")
    if not colon:
        raise typer.BadParameter(f"got {resource[:80]!r}, want TYPE:ID, for example tool:bank", param_hint="--resource")
    known = object_of(properties, "--properties")
    return Question(
        subject_type=subject_type,
        subject_id=subject,
        resource_type=resource_type,
        resource_id=resource_id,
        action=action,
        resource_properties=known,
    )


def _answered(standing: Snapshot, question: Question) -> dict[str, Any]:
    from producers.home.clock import clock_ms
    from streams.authzen.answers import answer

    return answer(standing, question, clock_ms()).as_json()


@contextmanager
def _loading(policies: Path | None, directory: Path, tenant: str | None) -> Iterator[Callable[[], Snapshot]]:
    """Yield a function that returns the current policies and subjects; unchanged files are not read again."""
    from macaw.policies.files import index_of, policy_paths, read_documents
    from streams.authzen.directory import read_directory
    from streams.authzen.files import Watched
    from streams.authzen.standing import PoliciesStanding, Snapshot

    subjects = Watched(lambda: [directory], lambda: read_directory(directory))
    if policies is not None:
        places = [policies]
        documents = Watched(
            lambda: policy_paths(places), lambda: PoliciesStanding(index=index_of(read_documents(places)))
        )
        yield lambda: Snapshot(policies=documents.read(), directory=subjects.read())
        return
    subjects.read()  # reports a faulty file before a broker is asked

    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.archives import archive_of
    from macaw.policies.followed import FollowedPolicies

    home, folder = open_tenant(tenant)
    with FollowedPolicies(home, folder, archive_of(home, folder)) as followed:
        yield lambda: Snapshot(policies=followed.read(), directory=subjects.read())


def _serve(
    policies: Path | None, directory: Path, tenant: str | None, *, host: str, port: int, url: str | None
) -> None:
    import logging

    from macaw.cli.terminal.output import log_to_stderr, say
    from macaw.cli.terminal.places import open_home
    from macaw.installation.tokens import ensure_token
    from streams.address import Address, check_listen
    from streams.authzen.api import TOKEN_FRONT
    from streams.authzen.process import run_decisions
    from streams.authzen.standing import Kept

    log_to_stderr(logging.INFO)
    check_listen(host, url)
    folder = open_home().tenant(tenant)
    token = folder.token_file(TOKEN_FRONT)
    if ensure_token(folder, TOKEN_FRONT):
        say(
            f"created {token}: this endpoint now has a token of its own. Give it to the programs that ask here; they "
            "are refused with the token in views.token"
        )

    def on_listening(address: Address) -> None:
        say(f"answers at {address.url}/access/v1/evaluation, with the token in {token}; Ctrl-C ends it")

    with _loading(policies, directory, tenant) as load:
        run_decisions(folder, Kept(load), host=host, port=port, url=url, on_listening=on_listening)
