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
    told = {"command": "npm test", "cwd": "/project"}
    given = {"command": "npm test", "description": "Run the tests", "timeout": 120000}

    assert one(claude("Bash", given)) == ("tool:shell/run", {**told, "background": False, "unsandboxed": False})
    # Codex does not say whether a command asks to leave its sandbox: so nothing here says that it does not.
    assert one(codex("Bash", {"command": "npm test"}), "codex") == ("tool:shell/run", told)
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
    assert one(codex("view_image", {"path": "a.png"}), "codex") == (
        "tool:files/read",
        {"path": "a.png", "cwd": "/project"},
    )
    for agent, event in (("claude-code", claude), ("codex", codex)):
        asked = one(event("mcp__github__create_issue", {"title": "x"}), agent)
        assert asked == ("tool:github/create_issue", {"title": "x"})


def test_a_name_that_can_be_read_in_two_ways_is_a_call_for_each() -> None:
    """Of the server `git`, or of `git__hub`? The agents do not say, so both must be allowed."""
    for agent, event in (("claude-code", claude), ("codex", codex)):
        uses = uses_of(agent, event("mcp__git__hub__run", {"q": 1}), "")
        assert [use.resource for use in uses] == ["tool:git__hub/run", "tool:git/hub__run"]
        assert [use.parameters for use in uses] == [{"q": 1}] * 2


@given(st.text("ab_", min_size=1, max_size=9), st.text("ab_", min_size=1, max_size=9))
def test_the_true_reading_of_a_name_is_always_asked_for(server: str, tool: str) -> None:
    """No name of a server or tool lets a use pass by another one's policy alone."""
    try:
        uses = uses_of("codex", codex(f"mcp__{server}__{tool}", {}), "")
    except UnreadableUseError:
        return
    assert f"tool:{server}/{tool}" in [use.resource for use in uses]


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


@pytest.mark.parametrize(
    "pattern", ["*/../../etc/*", "{..,a}/x", "a{b,/../..}/x", "@(..)/x", "~/x", " /etc/*", "", 5, None]
)
def test_a_pattern_that_may_lead_anywhere_is_refused(pattern: Any) -> None:
    with pytest.raises(UnreadableUseError):
        uses_of("claude-code", claude("Glob", {"pattern": pattern}), "/project")


@pytest.mark.parametrize(
    "path",
    [
        " /etc/passwd",  # an agent that cuts blanks off reads another file than one that does not
        "/etc/passwd\n",
        "\u00a0~/.ssh/id",
        "/project/\x1b[2Jx",
        "/project/\u202egpj.sh",
        "/project/cafe\u0301",  # one that puts names into the form NFC writes another file
        "~root/x",
        "~no-such-user-here/x",
    ],
)
def test_a_path_that_agents_read_in_two_ways_is_refused(path: str) -> None:
    for tool in ("Read", "Write"):
        with pytest.raises(UnreadableUseError, match="a path"):
            uses_of("claude-code", claude(tool, {"file_path": path}), "/project")
    with pytest.raises(UnreadableUseError, match="a path"):
        uses_of("claude-code", claude("Grep", {"pattern": "x", "path": path}), "/project")
    for pattern in ("**", "a/*"):
        with pytest.raises(UnreadableUseError, match="a path"):
            uses_of("claude-code", claude("Glob", {"pattern": pattern, "path": path}), "/project")


def test_a_glob_below_the_home_searches_there() -> None:
    for path, where in (("~", Path.home() / "a"), ("~/b", Path.home() / "b" / "a")):
        assert one(claude("Glob", {"pattern": "a/*", "path": path}))[1]["path"] == str(where)


def test_a_home_is_not_what_codex_takes_it_for() -> None:
    """It would write the file `~/x` of the working directory, and the log would have another one."""
    command = f"apply_patch <<'EOF'\n{PATCH.replace('old.txt', '~/old.txt')}EOF\n"
    for tool, told in (
        ("apply_patch", {"command": "*** Begin Patch\n*** Add File: ~/x\n+x\n*** End Patch"}),
        ("Bash", {"command": command}),
        ("view_image", {"path": "~/x.png"}),
    ):
        with pytest.raises(UnreadableUseError, match="begins with ~"):
            uses_of("codex", codex(tool, told), "/project")


def test_a_link_and_two_points_are_read_by_names_or_by_the_system(tmp_path: Path) -> None:
    """Node resolves `link/../x` by the names alone, the kernel by the link: the agent opens the one or the other."""
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    project = tmp_path / "project"
    project.mkdir()
    (project / "link").symlink_to(tmp_path / "elsewhere" / "deep")
    for written in ("link/../x", f"{project}/link/../x", "a/../link/../x"):
        with pytest.raises(UnreadableUseError, match="two ways"):
            one(claude("Write", {"file_path": written}, cwd=str(project)), project=str(project))
    with pytest.raises(UnreadableUseError, match="two ways"):
        one(claude("Bash", {"command": "ls"}, cwd=f"{project}/link/.."), project=str(project))
    assert one(claude("Read", {"file_path": "link/x"}, cwd=str(project)), project=str(project))[1]["path"] == str(
        tmp_path / "elsewhere" / "deep" / "x"
    )


def test_the_working_directory_of_a_call_is_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    for cwd, real in (("/project/../etc", "/etc"), ("/project/./x//", "/project/x"), (f"{tmp_path}/link", "/etc")):
        assert one(claude("Bash", {"command": "ls"}, cwd=cwd))[1]["cwd"] == real
        assert one(codex("Bash", {"command": "ls"}, cwd=cwd), "codex")[1]["cwd"] == real


def test_a_patch_is_a_call_for_each_file_that_it_touches() -> None:
    uses = uses_of("codex", codex("apply_patch", {"command": PATCH}), "/project")

    assert [(use.resource, use.parameters["verb"], use.parameters["path"]) for use in uses] == [
        ("tool:files/edit", "add", "notes/new.md"),
        ("tool:files/edit", "update", "src/app.py"),
        ("tool:files/edit", "move", "src/main.py"),
        ("tool:files/edit", "delete", "old.txt"),
    ]


def test_a_patch_that_codex_takes_from_a_command_is_edits_too() -> None:
    """Codex applies it by itself, and its hook hears of a command: `workdir` is where the model wants it to run."""
    command = f"apply_patch <<'EOF'\n{PATCH}EOF\n"
    uses = uses_of("codex", codex("Bash", {"command": command}), "/project")
    assert [use.resource for use in uses] == ["tool:shell/run", *["tool:files/edit"] * 4]
    assert uses[1].parameters["path"] == "notes/new.md"
    elsewhere = uses_of("codex", codex("Bash", {"command": command}, cwd="/etc"), "/project")
    assert elsewhere[1].parameters["path"] == "/etc/notes/new.md"


@pytest.mark.parametrize(
    "command",
    [
        f"cd /etc && apply_patch <<'EOF'\n{PATCH}EOF",
        f"apply_patch <<A\n{PATCH}A\ncd /etc\napply_patch <<B\n{PATCH}B",
        f"apply_patch '{PATCH}'",
        "apply_patch <<A\n*** Begin Patch\nA",
        "grep -rn '*** Begin Patch' .",
    ],
)
def test_a_command_whose_patch_is_not_certain_is_refused(command: str) -> None:
    with pytest.raises(UnreadableUseError):
        uses_of("codex", codex("Bash", {"command": command}), "/project")


def test_the_project_of_codex_is_not_what_the_model_says() -> None:
    patch = {"command": "*** Begin Patch\n*** Add File: src/a\n+x\n*** End Patch"}
    for project, path in (("/project", "/etc/src/a"), ("", "/etc/src/a"), ("/etc", "src/a")):
        (use,) = uses_of("codex", codex("apply_patch", patch, cwd="/etc"), project)
        assert use.parameters["path"] == path


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
        "*** Add File:  /etc/passwd",
        "*** Add File: \u00a0/etc/passwd",
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
        "mcp__git__shell__run__a__b__c",  # too many ways to read it
        "mcp__shell__hub__run",  # of `shell`, too
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
        {"tool_name": "Bash", "tool_input": {"command": "ls"}, "cwd": "/x\0/../etc"},
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
