"""Seed 000, authenticated context: its programs, as they are printed, on a real log with a real provider."""

from __future__ import annotations

import importlib.util

import pytest

from macaw_client import MACAWClient, RemoteIdentityProvider
from tests.macaw_client.company import Company
from tests.macaw_client.openai_stub import OpenAIStub
from tests.optional import skip_without

pytestmark = pytest.mark.broker

VAULT = """\
from macaw_client import MACAWClient
client = MACAWClient(app_name="my-app")
client.register()
# Store a value (audit-logged with your identity)
client.context_set("last_query", "SELECT * FROM sales")
# Retrieve a value (also audit-logged)
query = client.context_get("last_query")
# Values are bound to your session
# Other sessions cannot access this data"""

LOGIN = """\
from macaw_client import MACAWClient, RemoteIdentityProvider
# Authenticate with enterprise IDP
idp = RemoteIdentityProvider()
result = idp.login("alice@company.com", password)
# Create client with user's identity
client = MACAWClient(
app_name="sales-assistant",
agent_type="user",
iam_token=result["access_token"]
)
client.register()
# All operations now carry Alice's identity
# Context is isolated to her session
client.context_set("user_preference", "dark_mode")"""

SERVICE = """\
from macaw_client import MACAWClient
from macaw_adapters.openai import SecureOpenAI
# Service client (created once at startup)
service = SecureOpenAI(app_name="my-service")
# Per-user client with their identity
user = MACAWClient(
user_name="alice",
iam_token=jwt_token,
agent_type="user"
)
user.register()
# Bind user to service
user_client = service.bind_to_user(user)
# Same API, but with Alice's identity for policy
"""
CREATE = "response = user_client.chat.completions.create(...)"
UNBIND = """\
# Cleanup when session ends
user_client.unbind()"""


def test_a_value_of_the_vault_is_kept_for_its_session_and_noted_with_its_principal(inside: Company) -> None:
    names: dict[str, object] = {}
    exec(VAULT, names)
    client = names["client"]

    assert isinstance(client, MACAWClient)
    assert names["query"] == "SELECT * FROM sales"
    other = MACAWClient(app_name="my-app")
    other.register()
    assert other.context_get("last_query") is None
    events = [event for _, event in inside.office.intake() if event.header.principal_id == "my-app"]
    kinds = [type(event.body).__name__ for event in events]
    assert "ContextWritten" in kinds
    assert "ContextRead" in kinds
    other.unregister()
    client.unregister()


def test_a_person_logs_in_and_acts_in_their_own_name(inside: Company) -> None:
    names: dict[str, object] = {"password": inside.password("alice@company.com")}
    exec(LOGIN, names)
    client = names["client"]

    assert isinstance(client, MACAWClient)
    assert client.context_get("user_preference") == "dark_mode"
    [written] = [
        event
        for _, event in inside.office.intake()
        if type(event.body).__name__ == "ContextWritten" and event.header.principal_id.startswith("user:")
    ]
    assert written.header.principal_id == "user:alice@company.com"
    client.unregister()


def test_a_service_is_bound_to_a_person_for_calls_in_their_name(
    inside: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ellipsis of the seed stands for the arguments of a call: here it is given some."""
    if importlib.util.find_spec("macaw_adapters") is None or importlib.util.find_spec("openai") is None:
        skip_without("macaw-adapters and openai", "pip install -e '.[test]'")
    with OpenAIStub() as model:
        model.configure(monkeypatch)
        names: dict[str, object] = {
            "jwt_token": RemoteIdentityProvider().login("alice", inside.password("alice"))["access_token"]
        }
        exec(SERVICE, names)
        arguments = 'model="small", messages=[{"role": "user", "content": "hello"}]'
        exec(CREATE.replace("...", arguments), names)
        assert names["response"].choices[0].message.content == "echo: hello"  # type: ignore[attr-defined]
        exec(UNBIND, names)
        with pytest.raises(RuntimeError):
            exec(CREATE.replace("...", arguments), names)
