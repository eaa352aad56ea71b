"""The tool uses of coding agents as governed calls: a resource, and the parameters that policies read.

| tool use | resource | parameters |
|---|---|---|
| shell command | `tool:shell/run` | `command`, `cwd`, `background`, `unsandboxed` |
| file written, edited, patched | `tool:files/edit` | `path`, `verb`, `bytes`, `sha256` of the change, `cwd` |
| file read | `tool:files/read` | `path`, `cwd` |
| files searched | `tool:files/search` | `path`, `pattern`, `cwd` |
| web page, web search | `tool:web/fetch`, `tool:web/search` | `url`; `query` |
| tool `T` of an MCP server `S` | `tool:S/T` | the arguments |
| any other tool `N` | `tool:agent/N` | the arguments |

`path` is relative to the project where it lies in it, else absolute; links are followed and `..` is resolved first.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

from macaw.hooks.faults import UnreadableUseError
from macaw.hooks.patches import touched
from processors.proof import jcs

SHELL, EDIT, READ, SEARCH = "tool:shell/run", "tool:files/edit", "tool:files/read", "tool:files/search"
FETCH, FIND = "tool:web/fetch", "tool:web/search"
OWN_APPS = frozenset({"shell", "files", "web", "agent"})  # an MCP server of such a name is refused
TEXT_CHARS_MAX = 64 * 1024
# Case counts, and other letters are refused: a name that only looks like `Bash` is not it.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[_.-][A-Za-z0-9]+)*")
_MCP = "mcp__"
_WILD = re.compile(r"[*?\[\]{}()!+@\\]")
_EDITORS: Final = {"Write": "file_path", "Edit": "file_path", "MultiEdit": "file_path", "NotebookEdit": "notebook_path"}
_READERS: Final = {"Read": "file_path", "NotebookRead": "notebook_path"}
_WEB: Final = {"WebFetch": (FETCH, "url"), "WebSearch": (FIND, "query")}
_SEARCHERS = frozenset({"Glob", "Grep", "LS"})
_COMMAND_SCHEMA = jcs.canonical(
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"command": {"type": "string", "x-macaw-risk": "shell"}},
        "required": ["command"],
    }
).decode()
SCHEMAS: Final = {SHELL: _COMMAND_SCHEMA}  # so that policies can ask for `stamps.risk.command.class`


class ToolUse(NamedTuple):
    """One governed call of a tool use."""

    resource: str
    parameters: dict[str, Any]


class UsePlace(NamedTuple):
    """Where a tool use runs: the working directory, and the folder of the project ("" if it is not known)."""

    cwd: str
    project: str


def uses_of(agent: str, event: Mapping[str, Any], project: str) -> list[ToolUse]:
    """Return the governed calls of a tool use of `claude-code` or `codex`: one, or one for each file of a patch.

    Raises:
        UnreadableUseError: the event has another shape, or a name of a tool that is not certain.
    """
    name, given = event.get("tool_name"), event.get("tool_input")
    if not isinstance(name, str) or not isinstance(given, dict):
        raise UnreadableUseError("the event names no tool, or has no object of its input")
    cwd = event.get("cwd")
    if not isinstance(cwd, str) or not cwd.startswith("/"):
        raise UnreadableUseError("the event names no working directory")
    if agent == "codex":
        return _of_codex(name, given, UsePlace(cwd, cwd))
    return _of_claude_code(name, given, UsePlace(cwd, project if project.startswith("/") else ""))


def _of_claude_code(name: str, given: dict[str, Any], place: UsePlace) -> list[ToolUse]:
    if name == "Bash":
        return [_shell(given, place)]
    if name in _EDITORS:
        return [_edit(_text(given, _EDITORS[name]), name.lower(), given, place)]
    if name in _READERS:
        return [ToolUse(READ, {"path": _path(_text(given, _READERS[name]), place), "cwd": place.cwd})]
    if name in _SEARCHERS:
        pattern = given.get("pattern", "")
        base = _text(given, "path") if given.get("path") is not None else place.cwd
        if name == "Glob":
            base = _base(base, _text(given, "pattern"))
        return [ToolUse(SEARCH, {"path": _path(base, place), "pattern": pattern, "cwd": place.cwd})]
    if name in _WEB:
        resource, parameter = _WEB[name]
        return [ToolUse(resource, {parameter: _text(given, parameter)})]
    return [_other(name, given)]


def _of_codex(name: str, given: dict[str, Any], place: UsePlace) -> list[ToolUse]:
    if name == "Bash":
        return [_shell(given, place)]
    if name == "apply_patch":
        patch = _text(given, "command", most=16 * TEXT_CHARS_MAX)
        return [_edit(path, verb, given, place) for verb, path in touched(patch)]
    return [_other(name, given)]


def _shell(given: dict[str, Any], place: UsePlace) -> ToolUse:
    return ToolUse(
        SHELL,
        {
            "command": _text(given, "command"),
            "cwd": place.cwd,
            "background": bool(given.get("run_in_background")),
            "unsandboxed": bool(given.get("dangerouslyDisableSandbox")),
        },
    )


def _edit(path: str, verb: str, given: dict[str, Any], place: UsePlace) -> ToolUse:
    """Return an edit by the digest of the change: its text may be private, and stands on the log for ever."""
    change = _canonical(given)
    named = {"path": _path(path, place), "verb": verb, "cwd": place.cwd}
    return ToolUse(EDIT, {**named, "bytes": len(change), "sha256": sha256(change).hexdigest()})


def _other(name: str, given: dict[str, Any]) -> ToolUse:
    if not name.startswith(_MCP):
        if _NAME.fullmatch(name) is None:
            raise UnreadableUseError("the tool's name is not plain ASCII: it may look like another one's")
        return ToolUse(f"tool:agent/{name}", given)
    server, separator, tool = name.removeprefix(_MCP).partition("__")
    if not separator or _NAME.fullmatch(server) is None or _NAME.fullmatch(tool) is None:
        raise UnreadableUseError("the name of an MCP tool can be read in more than one way")
    if server.lower() in OWN_APPS:
        raise UnreadableUseError(f"an MCP server is called {server!r}, as tools of the agent itself are: rename it")
    return ToolUse(f"tool:{server}/{tool}", given)


def _text(given: Mapping[str, Any], name: str, *, most: int = TEXT_CHARS_MAX) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value or len(value) > most or "\0" in value:
        raise UnreadableUseError(f"`{name}` of the tool's input must be a text of 1 to {most} characters")
    return value


def _path(given: str, place: UsePlace) -> str:
    """Return where a path leads, relative to the project if it lies in it."""
    try:
        real = os.path.realpath(Path(place.cwd) / Path(given).expanduser())
    except RuntimeError as exc:
        raise UnreadableUseError("a path names the home of a user who is not known here") from exc
    if not place.project:
        return real
    project = os.path.realpath(place.project)
    inside = real == project or real.startswith(project.rstrip("/") + "/")
    return os.path.relpath(real, project) if inside else real


def _base(folder: str, pattern: str) -> str:
    """Return the folder below which all files lie that a pattern can name: it may be absolute, or lead upwards."""
    parts = pattern.split("/")
    plain = next((at for at, part in enumerate(parts) if _WILD.search(part)), len(parts) - 1)
    if any(".." in part for part in parts[plain:]) or any(".." in part and part != ".." for part in parts):
        raise UnreadableUseError("a pattern leads upwards behind a wildcard: where it searches is not certain")
    if pattern[0] in "~{(":
        raise UnreadableUseError("a pattern begins with ~ or with alternatives: where it searches is not certain")
    return str(Path(folder).expanduser() / Path("/".join(parts[:plain]) or ("/" if pattern.startswith("/") else ".")))


def _canonical(given: dict[str, Any]) -> bytes:
    try:
        return jcs.canonical(given)
    except (ValueError, TypeError, RecursionError) as exc:
        raise UnreadableUseError("the tool's input is not JSON that the log takes") from exc
