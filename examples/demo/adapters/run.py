"""The demo: programs as the users of the original's OpenAI adapter write them, over `macaw_client` and this log."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from examples.demo.checks import Checks, check_evidence
from examples.demo.identity.company import ALICE, found_tenant
from macaw.installation.enrolments import create_enrolment
from macaw_client import MACAWClient, RemoteIdentityProvider
from producers.client.enrolling import PROGRAMS
from producers.home.home import Home, TenantHome
from schemas.events.attributes import Attributes
from schemas.records import EnrolmentGrant
from schemas.words import Role
from tests.identity_providers.nano import NanoIdP
from tests.macaw_client.openai_stub import OpenAIStub

APP = "model-app"
WORDS = [{"role": "user", "content": "hello there"}]
SECRET = "sk-of-the-demo"  # noqa: S105 - the key that must stand nowhere
POLICIES: tuple[dict[str, Any], ...] = (
    {"policy_id": f"service:{APP}", "resources": [f"tool:{APP}/*"]},
    {
        "policy_id": "user:alice@fintech.example",
        "resources": [f"tool:{APP}/generate"],
        "constraints": {"parameters": {f"tool:{APP}/generate": {"model": ["small"], "max_tokens": {"max": 200}}}},
    },
)


def play(console: Console, home: Home, base: Path, checks: Checks) -> None:
    """Play the demo in an installation that runs, and note the claims that held. Raises DemoError."""
    with ExitStack() as stack:
        with console.status("founding a tenant, its trust in a provider, two policies, a bridge …"):
            idp = stack.enter_context(NanoIdP(base / "nanoidp"))
            folder = _found(home, base, idp, stack)
        model = stack.enter_context(OpenAIStub())
        stack.enter_context(_surroundings(base, model))
        console.print(f"the model server is {model.url}, the provider {idp.issuer}", highlight=False)
        _play(console, checks, model, idp.people[ALICE].password)
    check_evidence(checks, home, base, folder)


def _found(home: Home, base: Path, idp: NanoIdP, stack: ExitStack) -> TenantHome:
    folder = found_tenant(home, base, idp, POLICIES, stack)
    grant = EnrolmentGrant(
        roles=(Role.SERVICE,), name_pattern="*", count_max=100, attributes=Attributes(offers=("**",))
    )
    create_enrolment(home, folder, PROGRAMS, grant)
    config = {**json.loads((home.path / "config.json").read_text("utf-8"))}
    config |= {"iam_provider": "oidc", "iam_config": {"issuer": idp.issuer, "client_id": idp.client_id}}
    config["iam_config"]["client_secret"] = idp.client_secret
    (home.path / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


@contextmanager
def _surroundings(base: Path, model: OpenAIStub) -> Iterator[None]:
    """Set the environment as a user does: the installation, and the address and key of the provider of models."""
    wanted = {"MACAW_HOME": str(base), "OPENAI_BASE_URL": model.url, "OPENAI_API_KEY": SECRET, "NO_PROXY": "127.0.0.1"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _play(console: Console, checks: Checks, model: OpenAIStub, password: str) -> None:
    from macaw_adapters.openai import SecureOpenAI  # type: ignore[import-untyped]

    console.print("\n[bold]1. a service calls its model[/bold]")
    service = SecureOpenAI(app_name=APP)
    answer = service.chat.completions.create(model="small", messages=WORDS)
    checks.say("an answer", answer.choices[0].message.content == "echo: hello there")
    parts = list(service.chat.completions.create(model="small", messages=WORDS, stream=True))
    text = "".join(part.choices[0].delta.content or "" for part in parts)
    checks.say(f"the same as a stream of {len(parts)} parts", text == "echo: hello there" and len(parts) > 2)
    service.register_tool("add", lambda a, b: {"sum": a + b})
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
    asked = [{"role": "user", "content": 'call add {"a": 2, "b": 3}'}]
    answer = service.chat.completions.create(model="small", messages=asked, tools=tools)
    told = answer.choices[0].message.content
    checks.say(f"a tool that the model asks for: {told}", told == 'tool said: {"sum": 5}')

    console.print("\n[bold]2. alice logs in, and calls the service by its id[/bold]")
    alice = _alice(password)
    parameters = {"model": "small", "messages": WORDS, "max_tokens": 10}
    result = alice.invoke_tool(f"tool:{APP}/generate", parameters, target_agent=service.server_id)
    checks.say("an answer for alice", result["choices"][0]["message"]["content"] == "echo: hello there")

    console.print("\n[bold]3. the service is bound to alice: her policy holds as well[/bold]")
    bound = service.bind_to_user(alice)
    answer = bound.chat.completions.create(model="small", messages=WORDS, max_tokens=100)
    checks.say("within her limits an answer", answer.choices[0].message.content == "echo: hello there")
    before = len(model.requests)
    _denied(checks, "another model", lambda: bound.chat.completions.create(model="large", messages=WORDS))
    _denied(
        checks,
        "5,000 tokens",
        lambda: bound.chat.completions.create(model="small", messages=WORDS, max_tokens=5000),
    )
    _denied(
        checks,
        "a stream of another model, before its first part",
        lambda: bound.chat.completions.create(model="large", messages=WORDS, stream=True),
    )
    checks.say("no denied call reached the model", len(model.requests) == before)
    bound.unbind()
    service.macaw_client.unregister()
    alice.unregister()


def _alice(password: str) -> MACAWClient:
    token, _ = RemoteIdentityProvider().login(ALICE, password)
    alice = MACAWClient(user_name=ALICE, iam_token=token, agent_type="user", app_name="trading-app")
    alice.register()
    return alice


def _denied(checks: Checks, what: str, call: Callable[[], object]) -> None:
    told = ""
    try:
        call()
    except PermissionError as exc:
        told = str(exc)
    checks.say(f"{what} is denied: [bold]{told or 'it was not'}[/bold]", "denied" in told)
