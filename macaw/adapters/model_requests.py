"""A request to a model, as it is sent, becomes a call with parameters for policies. Pure: JSON in, values out.

Read is the body of the HTTP request: the very bytes that the provider gets. `macaw.adapters.model_http` reads the rest.

| parameter | meaning |
|---|---|
| `host`, `path`, `model`, `stream` | of the request |
| `query`, `betas` | names in the query, and of features that a header switches on, where there are some |
| `max_tokens`, `temperature`, `choices` | where the request has them |
| `tools` | names of the functions that are offered to the model, sorted |
| `provider_tools` | kinds of tools for the provider to run, and members that bring some, sorted |
| `options` | names of all other members of the body, sorted |
| `continues` | true if the provider adds texts of earlier requests |
| `messages`, `system`, `input`, `prompt` | the contents: a text as it is, anything else as canonical JSON |
| `contents_bytes`, `request_sha256` | of the contents, and of the whole body |
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from macaw.adapters.refusals import UngovernableRequestError
from processors.proof import jcs
from schemas import limits

Contents = Literal["logged", "digest"]

REQUEST_BYTES_MAX = limits.BODY_CALL_BYTES_MAX
REQUEST_NODES_MAX = 1_000_000  # an embedding of 300,000 tokens that are numbers has as many
REQUEST_DEPTH_MAX = 64
OFFERED_MAX = 512  # functions and tools of one request
NAME_CHARS_MAX = 128

# Members of parameters with texts of the user. They may be large, and travel beside the call then.
CONTENT_PATHS = ("messages", "system", "input", "prompt")

# Members of a body by which the provider runs something itself, or brings tools that the request does not name.
# Some bring another model than `model` (`models`, `fallbacks`), some are of gateways and other providers.
_BRINGING = frozenset(
    {"web_search_options", "mcp_servers", "container", "connectors", "agent", "models", "fallbacks", "plugins"}
    | {"data_sources", "search_parameters", "enable_search", "tool_resources"}
)
_CONTINUING = frozenset({"previous_response_id", "conversation", "thread"})
_HISTORIES = ("input", "messages")
_ITEM_MEMBERS = frozenset({"type", "tools", "content", "role", "id"})
_TOOL_MEMBERS = frozenset({"type", "name", "function", "custom", "tools"})
_OWN_TOOLS = frozenset({"function", "custom"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEndpoint:
    """One address of a provider's API: its operation on the log, and the places in its body.

    `contents` leads from members of the body to the parameters with texts.
    """

    path: str
    operation: str
    contents: Mapping[str, str]
    most: tuple[str, ...] = ("max_tokens",)
    form: str  # of its answers (`macaw.adapters.model_answers`)
    bringing: frozenset[str] = _BRINGING


CHAT = ModelEndpoint(
    path="/chat/completions",
    operation="generate",
    contents={"messages": "messages"},
    most=("max_completion_tokens", "max_tokens"),
    form="chat",
)
RESPONSES = ModelEndpoint(
    path="/responses",
    operation="generate",
    contents={"input": "messages", "instructions": "system"},
    most=("max_output_tokens",),
    form="responses",
    # A prompt that is kept at the provider may name tools; the answer of a background request is fetched later.
    bringing=_BRINGING | {"prompt", "background"},
)
COMPLETIONS = ModelEndpoint(path="/completions", operation="complete", contents={"prompt": "prompt"}, form="completion")
EMBEDDINGS = ModelEndpoint(path="/embeddings", operation="embed", contents={"input": "input"}, most=(), form="plain")
MESSAGES = ModelEndpoint(
    path="/messages", operation="generate", contents={"messages": "messages", "system": "system"}, form="messages"
)
COUNT_TOKENS = ModelEndpoint(
    path="/messages/count_tokens",
    operation="count_tokens",
    contents={"messages": "messages", "system": "system"},
    form="plain",
)

OPENAI = (CHAT, RESPONSES, EMBEDDINGS, COMPLETIONS)
ANTHROPIC = (COUNT_TOKENS, MESSAGES)
OPERATIONS = frozenset(one.operation for one in (*OPENAI, *ANTHROPIC))


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A request as the log is asked about it."""

    endpoint: ModelEndpoint
    parameters: dict[str, Any]

    @property
    def tools(self) -> frozenset[str]:
        """The names of the functions that were offered."""
        return frozenset(self.parameters["tools"])


def endpoint_of(method: str, path: str, endpoints: Sequence[ModelEndpoint]) -> ModelEndpoint | None:
    """Return the endpoint of a request, None if it is no call of a model that can be governed."""
    if method.upper() != "POST":
        return None
    # The longest first: `/chat/completions` ends in `/completions`.
    known = sorted(endpoints, key=lambda one: -len(one.path))
    return next((one for one in known if path.rstrip("/").endswith(one.path)), None)


def read_request(
    endpoint: ModelEndpoint,
    body: bytes,
    *,
    about: Mapping[str, Any],
    provider_tools: frozenset[str] = frozenset(),
    contents: Contents,
) -> ModelRequest:
    """Return the call of a request, with the parameters `about` its address. The provider may run `provider_tools`.

    Raises:
        UngovernableRequestError: the body is too large, or no JSON that the log would take; or the provider would run
            a tool that is not in `provider_tools`.
    """
    whole = _parsed(body)
    known = {"model", "stream", "temperature", "n", "tools", "functions", *endpoint.most, *endpoint.contents}
    _check_members(whole, known | endpoint.bringing | _CONTINUING | set(_HISTORIES))
    functions, hosted = _offered(whole)
    hosted |= {name for name in endpoint.bringing if whole.get(name) not in (None, False)}
    refused = sorted(hosted - provider_tools)
    if refused:
        raise UngovernableRequestError(
            f"the provider would run {', '.join(refused)} itself, so that no call of it is decided: "
            "leave it out, or name it in provider_tools"
        )
    texts, size = _contents(endpoint, whole)
    parameters: dict[str, Any] = {
        **about,
        "model": _text(whole, "model"),
        "stream": _flag(whole, "stream"),
        "tools": sorted(functions),
        "provider_tools": sorted(hosted),
        "options": sorted(name[:NAME_CHARS_MAX] for name in whole.keys() - known - hosted),
        "contents_bytes": size,
        "request_sha256": hashlib.sha256(body).hexdigest(),
    }
    most = [_number(whole, name) for name in endpoint.most if whole.get(name) is not None]
    if most:
        parameters["max_tokens"] = max(most)
    for name, told in (("temperature", "temperature"), ("n", "choices")):
        if whole.get(name) is not None:
            parameters[told] = _number(whole, name)
    if any(whole.get(name) is not None for name in _CONTINUING) or any(map(_is_kept, _said(whole))):
        parameters["continues"] = True
    return ModelRequest(endpoint, parameters | (texts if contents == "logged" else {}))


def _parsed(body: bytes) -> dict[str, Any]:
    if len(body) > REQUEST_BYTES_MAX:
        raise UngovernableRequestError(f"the request has {len(body)} bytes, at most {REQUEST_BYTES_MAX} are taken")
    try:
        whole = jcs.parse_strict(body, depth_max=REQUEST_DEPTH_MAX, nodes_max=REQUEST_NODES_MAX)
    except ValueError as exc:
        raise UngovernableRequestError(f"the request is not JSON that the log takes ({exc})") from exc
    if not isinstance(whole, dict):
        raise UngovernableRequestError("the request is not a JSON object")
    return whole


def _offered(whole: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """Return the names of the functions that are offered, and the kinds of tools that the provider runs."""
    functions, hosted = set[str](), set[str]()
    listed = [*_list(whole, "tools"), *_list(whole, "functions"), *_brought(whole)]
    if len(listed) > OFFERED_MAX:
        raise UngovernableRequestError(f"the request offers {len(listed)} tools, at most {OFFERED_MAX} are taken")
    for one in listed:
        if not isinstance(one, dict):
            raise UngovernableRequestError("a tool in the request is not an object")
        _check_members(one, _TOOL_MEMBERS)
        kind = one.get("type")
        if kind is not None and (not isinstance(kind, str) or kind not in _OWN_TOOLS):
            hosted.add(str(kind)[:NAME_CHARS_MAX])
            continue
        functions.add(_function_name(one)[:NAME_CHARS_MAX])
    return functions, hosted


def _function_name(tool: Mapping[str, Any]) -> str:
    """Return the name of a function that is offered, which stands in one place. Raises UngovernableRequestError."""
    holders = [tool, *(tool[kind] for kind in sorted(_OWN_TOOLS) if isinstance(tool.get(kind), dict))]
    names = {_text(one, "name") for one in holders if "name" in one}
    if len(names) != 1:
        raise UngovernableRequestError("a tool in the request has two names, or none")
    for one in holders:
        _check_members(one, _TOOL_MEMBERS)
    return names.pop()


def _check_members(holder: Mapping[str, Any], read: Collection[str]) -> None:
    """Raise UngovernableRequestError if a member is one that is read here, for a reader that ignores case (as Go's)."""
    for name in holder:
        if name not in read and name.casefold() in read:
            raise UngovernableRequestError(f"some servers take {name[:40]!a} for {name.casefold()[:40]}: leave it out")


def _said(whole: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the items of the history, and their parts. Raises UngovernableRequestError."""
    items = [one for name in _HISTORIES for one in _items(whole.get(name))]
    parts = [part for one in items for part in _items(one.get("content"))]
    for one in (*items, *parts):
        _check_members(one, _ITEM_MEMBERS)
    return [*items, *parts]


def _items(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _brought(whole: Mapping[str, Any]) -> list[Any]:
    """Return the tools that items of the history bring, beside `tools`."""
    told = [one for one in _said(whole) if one.get("type") != "mcp_list_tools"]  # what a server said once
    return [tool for one in told if isinstance(one.get("tools"), list) for tool in one["tools"]]


def _is_kept(item: Mapping[str, Any]) -> bool:
    """Whether an item of the history stands for one that the provider keeps."""
    kind = item.get("type")
    return kind == "item_reference" or (kind is None and "id" in item and not {"role", "content"} & item.keys())


def _list(whole: Mapping[str, Any], name: str) -> list[Any]:
    value = whole.get(name)
    if value is not None and not isinstance(value, list):
        raise UngovernableRequestError(f"{name} in the request is not a list")
    return value or []


def _contents(endpoint: ModelEndpoint, whole: Mapping[str, Any]) -> tuple[dict[str, str], int]:
    """Return the texts of a request by their parameters, and how many bytes they have."""
    texts = {}
    for name, told in endpoint.contents.items():
        value = whole.get(name)
        if value is not None:
            texts[told] = value if isinstance(value, str) else jcs.canonical(value).decode()
    return texts, sum(len(text.encode()) for text in texts.values())


def _text(whole: Mapping[str, Any], name: str) -> str:
    value = whole.get(name)
    if not isinstance(value, str) or not value:
        raise UngovernableRequestError(f"{name} in the request is not a text")
    return value


def _flag(whole: Mapping[str, Any], name: str) -> bool:
    value = whole.get(name)
    if value is not None and not isinstance(value, bool):
        raise UngovernableRequestError(f"{name} in the request is neither true nor false")
    return value is True


def _number(whole: Mapping[str, Any], name: str) -> int | float:
    value = whole[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UngovernableRequestError(f"{name} in the request is not a number")
    return value
