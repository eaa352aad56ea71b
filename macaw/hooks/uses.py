"""The tool uses of coding agents as governed calls: a resource, and the parameters that policies read.

| tool use | resource | parameters |
|---|---|---|
| shell command | `tool:shell/run` | `command`, `cwd`; of Claude Code `background`, `unsandboxed`, too |
| file written, edited, patched | `tool:files/edit` | `path`, `verb`, `bytes`, `sha256` of the change, `cwd` |
| file read | `tool:files/read` | `path`, `cwd` |
| files searched | `tool:files/search` | `path`, `pattern`, `cwd` |
| web page, web search | `tool:web/fetch`, `tool:web/search` | `url`; `query` |
| tool `T` of an MCP server `S` | `tool:S/T`, for every way to read the name | the arguments |
| any other tool `N` | `tool:agent/N` | the arguments |

`path` is relative to the project where it lies in it, else absolute; links are followed and `..` is resolved first.
A path that agents or systems read in two ways is refused.
"""

from __future__ import annotations

import os
import re
import unicodedata
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
READINGS_MAX = 4  # of the name of one MCP tool
# Case counts, and other letters are refused: a name that only looks like `Bash` is not it.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[_.-]+[A-Za-z0-9]+)*")
_MCP = "mcp__"
_PATCH = "*** Begin Patch"
_PATCHER = re.compile(r"\s*apply_?patch\s*<<")  # as Codex spells it
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

    @property
    def real(self) -> str:
        """The working directory as calls name it: `/project/../etc` is no place in `/project`."""
        return _real(self.cwd)


def uses_of(agent: str, event: Mapping[str, Any], project: str) -> list[ToolUse]:
    """Return the governed calls of a tool use of `claude-code` or `codex`; it may run if all of them are allowed.

    They are one, or one for each file of a patch, or one for each reading of an MCP tool's name. `project` is the
    project's folder as the agent's process has it, never as the model says it.

    Raises:
        UnreadableUseError: the event has another shape, or a name of a tool that is not certain.
    """
    name, given = event.get("tool_name"), event.get("tool_input")
    if not isinstance(name, str) or not isinstance(given, dict):
        raise UnreadableUseError("the event names no tool, or has no object of its input")
    cwd = event.get("cwd")
    if not isinstance(cwd, str) or not cwd.startswith("/") or not cwd.isprintable():
        raise UnreadableUseError("the event names no working directory, or one that does not show")
    place = UsePlace(cwd, project if project.startswith("/") else "")
    return (_of_codex if agent == "codex" else _of_claude_code)(name, given, place)


def _of_claude_code(name: str, given: dict[str, Any], place: UsePlace) -> list[ToolUse]:
    if name == "Bash":
        told = {"background": "run_in_background", "unsandboxed": "dangerouslyDisableSandbox"}
        return [_shell(given, place, {ours: bool(given.get(theirs)) for ours, theirs in told.items()})]
    if name in _EDITORS:
        return [_edit(_path(_text(given, _EDITORS[name]), place), name.lower(), given, place)]
    if name in _READERS:
        return [ToolUse(READ, {"path": _path(_text(given, _READERS[name]), place), "cwd": place.real})]
    if name in _SEARCHERS:
        pattern = given.get("pattern", "")
        base = _text(given, "path") if given.get("path") is not None else place.cwd
        if name == "Glob":
            base = _base(base, _text(given, "pattern"))
        return [ToolUse(SEARCH, {"path": _path(base, place), "pattern": pattern, "cwd": place.real})]
    if name in _WEB:
        resource, parameter = _WEB[name]
        return [ToolUse(resource, {parameter: _text(given, parameter)})]
    return _others(name, given)


def _of_codex(name: str, given: dict[str, Any], place: UsePlace) -> list[ToolUse]:
    if name == "Bash":  # nothing tells whether it leaves the sandbox, or goes on running
        return [_shell(given, place, {}), *_patched_by_command(given, place)]
    if name == "apply_patch":
        patch = _text(given, "command", most=16 * TEXT_CHARS_MAX)
        return _patched(patch, given, place)
    if name == "view_image":
        return [ToolUse(READ, {"path": _literal(_text(given, "path"), place), "cwd": place.real})]
    return _others(name, given)


def _patched_by_command(given: dict[str, Any], place: UsePlace) -> list[ToolUse]:
    """Return the edits of a command that is a patch: Codex applies it by itself, and tells of the command alone."""
    command = _text(given, "command")
    if _PATCH not in command:
        return []
    if command.count(_PATCH) > 1 or _PATCHER.match(command) is None:
        raise UnreadableUseError("a command holds a patch and something else: where its files lie is not certain")
    return _patched(command, given, place)


def _patched(patch: str, given: dict[str, Any], place: UsePlace) -> list[ToolUse]:
    return [_edit(_literal(path, place), verb, given, place) for verb, path in touched(patch)]


def _shell(given: dict[str, Any], place: UsePlace, told: Mapping[str, bool]) -> ToolUse:
    return ToolUse(SHELL, {"command": _text(given, "command"), "cwd": place.real, **told})


def _edit(path: str, verb: str, given: dict[str, Any], place: UsePlace) -> ToolUse:
    """Return an edit by the digest of the change: its text may be private, and stands on the log for ever."""
    change = _canonical(given)
    named = {"path": path, "verb": verb, "cwd": place.real}
    return ToolUse(EDIT, {**named, "bytes": len(change), "sha256": sha256(change).hexdigest()})


def _others(name: str, given: dict[str, Any]) -> list[ToolUse]:
    if not name.startswith(_MCP):
        if _NAME.fullmatch(name) is None:
            raise UnreadableUseError("the tool's name is not plain ASCII: it may look like another one's")
        return [ToolUse(f"tool:agent/{name}", given)]
    return [ToolUse(f"tool:{server}/{tool}", given) for server, tool in _readings(name.removeprefix(_MCP))]


def _readings(name: str) -> list[tuple[str, str]]:
    """Return each (server, tool) that `server__tool` may stand for, the longest server first.

    Both agents join the two names with `__`, which either may hold, and tell of neither by itself. A server called
    `github__x` must not pass as a tool of `github`: so every reading is a call of its own.
    """
    splits = [at for at in range(len(name)) if name.startswith("__", at)]
    if not splits or len(splits) > READINGS_MAX:
        raise UnreadableUseError(f"the name of an MCP tool must have 1 to {READINGS_MAX} places of `__`")
    found = [(name[:at], name[at + 2 :]) for at in reversed(splits)]
    for server, tool in found:
        if _NAME.fullmatch(server) is None or _NAME.fullmatch(tool) is None:
            raise UnreadableUseError("the name of an MCP tool, or a part of it, is not a plain name")
        if server.lower() in OWN_APPS:
            raise UnreadableUseError(f"an MCP server is called {server!r}, as tools of the agent itself are: rename it")
    return found


def _text(given: Mapping[str, Any], name: str, *, most: int = TEXT_CHARS_MAX) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value or len(value) > most or "\0" in value:
        raise UnreadableUseError(f"`{name}` of the tool's input must be a text of 1 to {most} characters")
    return value


def _path(given: str, place: UsePlace) -> str:
    """Return where a path leads, relative to the project if it lies in it."""
    expanded = os.path.expanduser(_certain(given))  # noqa: PTH111 - `Path` changes other parts, too
    if expanded.startswith("~"):
        raise UnreadableUseError("a path begins with ~, and this user has no home: write it in full")
    real = _real(os.path.join(place.cwd, expanded))  # noqa: PTH118
    if not place.project:
        return real
    project = os.path.realpath(place.project)
    inside = real == project or real.startswith(project.rstrip("/") + "/")
    return os.path.relpath(real, project) if inside else real


def _certain(given: str) -> str:
    """Return a path as it is written. Raises UnreadableUseError for one that agents read in two ways."""
    if given != given.strip() or not given.isprintable() or not unicodedata.is_normalized("NFC", given):
        raise UnreadableUseError("a path begins or ends with a blank, does not show, or is not in Unicode's form NFC")
    if given.startswith("~") and given != "~" and not given.startswith("~/"):
        raise UnreadableUseError("a path names the home of another user: write it in full")
    return given


def _literal(given: str, place: UsePlace) -> str:
    """Return where a path of Codex leads, to which `~` is a name of a file as any other."""
    if given.startswith("~"):
        raise UnreadableUseError("a path begins with ~, which Codex does not take for a home: write it in full")
    return _path(given, place)


def _real(path: str) -> str:
    """Return where a path leads. A `..` behind a link leads to another place for programs that look at names alone."""
    real = os.path.realpath(path)
    if os.path.realpath(os.path.normpath(path)) != real:
        raise UnreadableUseError(
            "a path leads through a link and `..`: agents read it in two ways, so write it in full"
        )
    return real


def _base(folder: str, pattern: str) -> str:
    """Return the folder below which all files lie that a pattern can name: it may be absolute, or lead upwards."""
    parts = pattern.split("/")
    plain = next((at for at, part in enumerate(parts) if _WILD.search(part)), len(parts) - 1)
    if any(".." in part for part in parts[plain:]) or any(".." in part and part != ".." for part in parts):
        raise UnreadableUseError("a pattern leads upwards behind a wildcard: where it searches is not certain")
    if pattern[0] in "~{(" or pattern != pattern.strip():
        raise UnreadableUseError("a pattern begins with ~, alternatives or a blank: where it searches is not certain")
    return str(Path(_certain(folder)) / Path("/".join(parts[:plain]) or ("/" if pattern.startswith("/") else ".")))


def _canonical(given: dict[str, Any]) -> bytes:
    try:
        return jcs.canonical(given)
    except (ValueError, TypeError, RecursionError) as exc:
        raise UnreadableUseError("the tool's input is not JSON that the log takes") from exc
