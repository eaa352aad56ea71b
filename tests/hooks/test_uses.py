"""Tool uses as governed calls: each name is certain, or the use is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from macaw.hooks.faults import UnreadableUseError
from macaw.hooks.patches import FILES_MAX, VERBS, touched
from macaw.hooks.uses import uses_of
from tests.hooks.events import PATCH, claude, codex


def one(event: dict[str, Any], agent: str = "claude-code", project: str = "/project") -> tuple[str, dict[str, Any]]:
    (use,) = uses_of(agent, event, project)
    return use.resource, use.parameters


def test_a_command_is_a_call_of_the_shell() -> None:
    expected = {"command": "npm test", "cwd": "/project", "background": False, "unsandboxed": False}
    given = {"command": "npm test", "description": "Run the tests", "timeout": 120000}

    assert one(claude("Bash", given)) == ("tool:shell/run", expected)
    assert one(codex("Bash", {"command": "npm test"}), "codex") == ("tool:shell/run", expected)
    unsafe = one(claude("Bash", {**given, "dangerouslyDisableSandbox": True, "run_in_background": True}))[1]
    assert (unsafe["unsandboxed"], unsafe["background"]) == (True, True)


def test_an_edit_names_its_file_and_the_digest_of_its_change() -> None:
    """The text itself is not sent: it may be private, and the log keeps it for ever."""
    resource, edit = one(claude("Write", {"file_path": "/project/src/a.py", "content": "TOP SECRET"}))
    assert (resource, edit["path"], edit["verb"], len(edit["sha256"])) == ("tool:files/edit", "src/a.py", "write", 64)
    assert "TOP SECRET" not in str(edit)
    other = one(claude("Write", {"file_path": "/project/src/a.py", "content": "TOP SECRETS"}))[1]
    assert other["sha256"] != edit["sha256"]
    for tool, member in (("Edit", "file_path"), ("MultiEdit", "file_path"), ("NotebookEdit", "notebook_path")):
        assert one(claude(tool, {member: "/project/x", "old_string": "a"}))[1]["path"] == "x"


def test_other_tools_have_calls_of_their_own() -> None:
    assert one(claude("Read", {"file_path": "/project/x"})) == ("tool:files/read", {"path": "x", "cwd": "/project"})
    assert one(claude("Grep", {"pattern": "TODO"}))[0] == "tool:files/search"
    assert one(claude("WebFetch", {"url": "https://e.example", "prompt": "sum"})) == (
        "tool:web/fetch",
        {"url": "https://e.example"},
    )
    assert one(claude("Task", {"prompt": "go"})) == ("tool:agent/Task", {"prompt": "go"})
    for agent, event in (("claude-code", claude), ("codex", codex)):
        asked = one(event("mcp__github__create_issue", {"title": "x"}), agent)
        assert asked == ("tool:github/create_issue", {"title": "x"})


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("**/*.py", "."),
        ("src/*.py", "src"),
        ("src/a.py", "src"),
        ("/etc/**", "/etc"),
        ("/**", "/"),
        ("/etc/passwd", "/etc"),
        ("../../etc/*", "/etc"),
        ("src/../../home/**", "/home"),
        ("node_modules/@types/*", "node_modules"),
        ("a@(b)/x", "."),
    ],
)
def test_a_pattern_searches_where_it_leads_and_not_where_it_is_said_to(pattern: str, path: str) -> None:
    """A policy lets an agent search below a folder: an absolute pattern would leave it unseen."""
    deep = claude("Glob", {"pattern": pattern, "path": "/project"})
    assert one(deep)[1]["path"] == path
    assert one(claude("Glob", {"pattern": pattern}))[1]["path"] == path


@pytest.mark.parametrize("pattern", ["*/../../etc/*", "{..,a}/x", "a{b,/../..}/x", "@(..)/x", "~/x", "", 5, None])
def test_a_pattern_that_may_lead_anywhere_is_refused(pattern: Any) -> None:
    with pytest.raises(UnreadableUseError):
        uses_of("claude-code", claude("Glob", {"pattern": pattern}), "/project")


def test_the_home_of_an_unknown_user_is_refused_by_name() -> None:
    with pytest.raises(UnreadableUseError, match="home of a user"):
        uses_of("claude-code", claude("Read", {"file_path": "~no-such-user-here/x"}), "/project")


def test_a_patch_is_a_call_for_each_file_that_it_touches() -> None:
    uses = uses_of("codex", codex("apply_patch", {"command": PATCH}), "")

    assert [(use.resource, use.parameters["verb"], use.parameters["path"]) for use in uses] == [
        ("tool:files/edit", "add", "notes/new.md"),
        ("tool:files/edit", "update", "src/app.py"),
        ("tool:files/edit", "move", "src/main.py"),
        ("tool:files/edit", "delete", "old.txt"),
    ]


@given(st.lists(st.tuples(st.sampled_from(sorted(VERBS)), st.from_regex(r"[a-z/.]{1,20}", fullmatch=True)), min_size=1))
def test_no_file_of_a_patch_is_missed(files: list[tuple[str, str]]) -> None:
    """Blanks around a line do not hide it, and neither do lines of content."""
    files = files[:FILES_MAX]
    text = "\n".join(f"  {mark}{path} \n+content" for mark, path in files)

    assert [path for _, path in touched(f"*** Begin Patch\n{text}\n*** End Patch")] == [path for _, path in files]


@pytest.mark.parametrize(
    "patch",
    [
        "nothing",
        "*** Begin Patch\n*** End Patch",
        "*** Rename File: a\n*** Add File: b",
        "*** Add File: \n",
        "*** add file: x",
        "*** Add File: a\u2028b",
        "*** Add File: a\x1b[2Jb",
        "".join(f"*** Add File: {n}\n" for n in range(FILES_MAX + 1)),
    ],
)
def test_a_patch_whose_files_are_not_certain_is_refused(patch: str) -> None:
    with pytest.raises(UnreadableUseError):
        uses_of("codex", codex("apply_patch", {"command": patch}), "")


def test_a_path_says_where_it_leads(tmp_path: Path) -> None:
    """Links and `..` are resolved: a link in the project that leads out of it is out of it."""
    project, outside = tmp_path / "project", tmp_path / "outside"
    project.mkdir()
    outside.mkdir()
    (project / "link").symlink_to(outside)
    (tmp_path / "project-two").mkdir()

    def path(given: str, *, known: str = str(project)) -> str:
        return str(one(claude("Read", {"file_path": given}, cwd=str(project)), project=known)[1]["path"])

    assert path(str(project / "a.py")) == "a.py"
    assert path("b/../a.py") == "a.py"
    assert path("link/x") == str(outside / "x")
    assert path("../outside/x") == str(outside / "x")
    assert path(str(tmp_path / "project-two" / "x")) == str(tmp_path / "project-two" / "x")
    assert path("~/x") == str(Path.home() / "x")
    assert path("a.py", known="") == str(project / "a.py")  # nobody said where the project is: nothing is in it


@pytest.mark.parametrize(
    "name",
    [
        "B\u0430sh",  # a Cyrillic letter
        "\uff22ash",
        "Bash\u200b",
        "Bash ",
        "",
        "mcp__",
        "mcp__github",
        "mcp__github__",
        "mcp____run",
        "mcp__git__hub__run",  # of the server `git`, or of `git__hub`?
        "mcp__github___run",
        "mcp__g\u0131thub__run",
        "mcp__shell__run",  # it would be `tool:shell/run`, which policies grant for the agent's own shell
        "mcp__Files__edit",
        "mcp__agent__Task",
        "mcp__a/b__run",
        "mcp__..__run",
        "../shell/run",
        "a*",
    ],
)
def test_a_name_that_looks_like_another_is_refused(name: str) -> None:
    for agent, event in (("claude-code", claude), ("codex", codex)):
        with pytest.raises(UnreadableUseError):
            uses_of(agent, event(name, {"command": "ls"}), "")


def test_a_name_in_another_case_is_not_the_shell() -> None:
    assert one(claude("bash", {"command": "ls"}))[0] == "tool:agent/bash"
    assert one(codex("BASH", {"command": "ls"}), "codex")[0] == "tool:agent/BASH"


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"tool_name": "Bash"},
        {"tool_name": ["Bash"], "tool_input": {}, "cwd": "/"},
        {"tool_name": "Bash", "tool_input": [], "cwd": "/"},
        {"tool_name": "Bash", "tool_input": {"command": "ls"}},
        {"tool_name": "Bash", "tool_input": {"command": "ls"}, "cwd": "relative"},
        {"tool_name": "Bash", "tool_input": {}, "cwd": "/"},
        {"tool_name": "Bash", "tool_input": {"command": ["ls"]}, "cwd": "/"},
        {"tool_name": "Bash", "tool_input": {"command": ""}, "cwd": "/"},
        {"tool_name": "Bash", "tool_input": {"command": "ls\0rm"}, "cwd": "/"},
        {"tool_name": "Bash", "tool_input": {"command": "x" * 70_000}, "cwd": "/"},
        {"tool_name": "Write", "tool_input": {"content": "x"}, "cwd": "/"},
        {"tool_name": "Write", "tool_input": {"file_path": "/x", "n": float("nan")}, "cwd": "/"},
    ],
)
def test_an_event_of_another_shape_is_refused(event: dict[str, Any]) -> None:
    with pytest.raises(UnreadableUseError):
        uses_of("claude-code", event, "/project")
