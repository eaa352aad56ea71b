"""The entry of the hook in a coding agent's own settings: written, replaced and removed, and nothing else touched."""

from __future__ import annotations

import json
import os
import shlex
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from macaw.hooks import thin
from producers.home.files import FileError, read_file
from schemas.errors import InputError

MARK = "macaw-hook"  # the last word of every command of ours
SETTINGS_BYTES_MAX = 1024 * 1024
MARGIN_SECONDS = 20  # the agent would go on after its own time-out: the hook answers long before
EVENTS: Final = {
    "claude-code": ("PreToolUse", "PostToolUse", "PostToolUseFailure"),
    "codex": ("PreToolUse", "PostToolUse"),
}
PLACES: Final = {
    ("claude-code", "user"): ".claude/settings.json",
    ("claude-code", "project"): ".claude/settings.local.json",  # the command names this machine's folders
    ("codex", "user"): ".codex/hooks.json",
    ("codex", "project"): ".codex/hooks.json",
}
_BROKEN: Final = {True: "so the tool use is denied", False: "so nothing of this tool use is recorded"}


class HookSettingsError(InputError):
    """The agent's settings cannot be changed safely; the message names the file. Nothing was written."""


class HookEntry(NamedTuple):
    """Everything that the command of a hook names."""

    agent: str
    enforce: bool
    name: str
    host: str
    tenant: str
    home: Path
    socket: Path
    seconds: int

    def command(self) -> str:
        """Return the command. A process that breaks denies in enforce mode, and its input is read to the end.

        The agents go on after any exit status but 2, and after a hook that does not read its input.
        """
        words = [
            *(sys.executable, "-I", str(Path(thin.__file__).resolve()), self.agent),
            *("--enforce" if self.enforce else "--observe", "--as", self.name, "--host", self.host),
            *("--tenant", self.tenant, "--home", str(self.home), "--socket", str(self.socket)),
            *("--seconds", str(self.seconds)),
        ]
        broken = f"echo {shlex.quote(f'macaw: the hook itself is broken, {_BROKEN[self.enforce]}')} >&2"
        denied = f"[ $? -eq {thin.STATUS_DENIED} ] && exit 2"
        script = f"{shlex.join(words)} || {{ {denied}; cat >/dev/null; {broken}; exit {2 if self.enforce else 0}; }}"
        return f"/bin/sh -c {shlex.quote(script)} {MARK}"


def settings_file(agent: str, scope: str, *, project: Path) -> Path:
    """Return the settings file of an agent: the user's, or that of `project`."""
    base = Path.home() if scope == "user" else project
    codex_home = os.environ.get("CODEX_HOME")
    if agent == "codex" and scope == "user" and codex_home:
        return Path(codex_home) / "hooks.json"
    return base / PLACES[agent, scope]


def install(path: Path, entry: HookEntry) -> bool:
    """Write the hook into a settings file, in the place of an earlier one; return False if it stood there already.

    Raises:
        HookSettingsError: the file is not a JSON object of the form that the agent reads.
        OSError: it cannot be written.
    """
    before = _read(path)
    after = _without(before)
    hooks = after.setdefault("hooks", {})
    for event in EVENTS[entry.agent]:
        handler = {"type": "command", "command": entry.command(), "timeout": entry.seconds + MARGIN_SECONDS}
        group = {"matcher": "*", "hooks": [handler]} if entry.agent == "claude-code" else {"hooks": [handler]}
        hooks.setdefault(event, []).append(group)
    return _write_changed(path, before, after)


def uninstall(path: Path) -> bool:
    """Remove the hook from a settings file; return False if it was not there. Raises as `install`."""
    before = _read(path)
    return _write_changed(path, before, _without(before))


def _read(path: Path) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise HookSettingsError(f"{path} has a member twice: write it once, then run this again")
        return dict(pairs)

    try:
        read = json.loads(read_file(path, SETTINGS_BYTES_MAX), object_pairs_hook=once)
    except FileError as exc:
        if exc.missing:
            return {}
        raise HookSettingsError(str(exc)) from exc
    except HookSettingsError:
        raise
    except (ValueError, RecursionError) as exc:
        line = f", line {exc.lineno}" if isinstance(exc, json.JSONDecodeError) else ""
        raise HookSettingsError(f"{path} is not JSON{line}: correct it, then run this again") from exc
    if not isinstance(read, dict) or not _is_known(read.get("hooks", {})):
        raise HookSettingsError(f"{path} does not have the form of an agent's hooks: add the entry by hand")
    return read


def _is_known(hooks: object) -> bool:
    """Whether the hooks have the shape that both agents read: lists of groups, each with a list of handlers."""
    return isinstance(hooks, dict) and all(
        isinstance(groups, list)
        and all(
            isinstance(group, dict)
            and isinstance(group.get("hooks", []), list)
            and all(isinstance(one, dict) for one in group.get("hooks", []))
            for group in groups
        )
        for groups in hooks.values()
    )


def is_ours(handler: Mapping[str, Any]) -> bool:
    """Whether a handler was written by `install`."""
    command = handler.get("command")
    return isinstance(command, str) and command.startswith("/bin/sh -c ") and command.endswith(f" {MARK}")


def _without(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without our handlers. Groups and events that hold nothing else go with them."""
    kept: dict[str, list[Any]] = {}
    for event, groups in settings.get("hooks", {}).items():
        left = []
        for group in groups:
            handlers = group.get("hooks", [])
            others = [one for one in handlers if not is_ours(one)]
            if others or not handlers:
                left.append({**group, "hooks": others} if len(others) != len(handlers) else group)
        if left or not groups:
            kept[event] = left
    after = {name: value for name, value in settings.items() if name != "hooks"}
    if kept or settings.get("hooks") == {}:
        after = {name: kept if name == "hooks" else value for name, value in settings.items()}
    return after


def _write_changed(path: Path, before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Replace a file in one step, with its mode, through a link. Return False if nothing changes. Raises OSError."""
    if before == after:
        return False
    real = Path(os.path.realpath(path))
    real.parent.mkdir(parents=True, exist_ok=True)
    mode = stat.S_IMODE(real.stat().st_mode) if real.exists() else 0o600
    making = real.with_name(f".{real.name}.{os.getpid()}")
    descriptor = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(json.dumps(after, indent=2, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(descriptor)
        making.chmod(mode)
        making.replace(real)
    except BaseException:
        making.unlink(missing_ok=True)
        raise
    return True
