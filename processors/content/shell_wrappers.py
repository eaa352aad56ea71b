"""Commands inside commands: `sudo`, `env`, `xargs`, `ssh`, `find -exec`, and the strings that shells run."""

from __future__ import annotations

from typing import NamedTuple

import re2

from processors.content import shell_rules as rules
from processors.content.shell_rules import ShellEffect, WrapperRule
from processors.content.shell_tree import UNREAD, ShellWord

_NAME_MAX = 64  # characters of a program's name
_E = ShellEffect
_ASSIGNMENT = re2.compile(r"^([A-Za-z_][A-Za-z0-9_]*)=")
_ASSIGNING = frozenset({"env", "sudo", "doas"})
_SHELL_LETTERS = frozenset("lixeuvnfB")
_SHELL_LONG = frozenset({"--login", "--norc", "--noprofile", "--posix"})
_SAFE_SSH = re2.compile(
    r"(?i)^(?:StrictHostKeyChecking|UserKnownHostsFile|ConnectTimeout|BatchMode|Port|User|LogLevel|ServerAlive\w+|"
    r"PasswordAuthentication|PreferredAuthentications|ControlMaster|Compression)[= ]"
)
_EXECUTING = frozenset({"-exec", "-execdir", "-ok", "-okdir"})


class Inner(NamedTuple):
    """The commands that a command runs: as words, and as texts for a shell; and effects of running them."""

    commands: tuple[tuple[ShellWord, ...], ...] = ()
    texts: tuple[str, ...] = ()
    effects: ShellEffect = ShellEffect.NONE


_OPAQUE = Inner(effects=ShellEffect.OPAQUE)


def program_of(word: ShellWord) -> str | None:
    """Return the name of a program in a system directory, or a path elsewhere; None if the word leaves doubt."""
    text = word.text
    if not text or word.pattern or not text.isascii() or len(text) > _NAME_MAX or text in rules.RESERVED:
        return None
    if not text.isprintable() or text.startswith(("~", "-")) or not set(" {}\"'`$\\=").isdisjoint(text):
        return None
    head, slash, name = text.rpartition("/")
    return name if head + slash in rules.BIN_DIRECTORIES else text


def inner_commands(name: str, arguments: tuple[ShellWord, ...]) -> Inner:
    """Return the commands that a program runs out of its arguments. Never raises."""
    if name in rules.SHELLS:
        return _of_shell(name, arguments)
    if name == "find":
        return _of_find(arguments)
    if name == "su":
        return _of_su(arguments)
    if name == "trap":
        first = arguments[0].text if arguments else ""
        return _OPAQUE if first is None else Inner(texts=(first,) if first not in {"", "-", "-l", "-p"} else ())
    rule = rules.WRAPPERS.get(name)
    return Inner() if rule is None else _of_wrapper(name, rule, arguments)


def _of_shell(name: str, arguments: tuple[ShellWord, ...]) -> Inner:
    if name in {"cmd", "powershell", "pwsh", "fish", "csh", "tcsh"}:
        return _OPAQUE  # another language
    given = False
    for word in arguments:
        text = word.text
        if text is None or word.pattern:
            return _OPAQUE
        if text in _SHELL_LONG:
            continue
        if text.startswith(("-", "+")):
            letters = set(text[1:])
            if not letters or not letters <= _SHELL_LETTERS | {"c"}:
                return _OPAQUE
            given = given or "c" in letters
            continue
        return Inner(texts=(text,)) if given else Inner(effects=_E.CODE)
    return _OPAQUE  # it reads its commands from a pipe, a document or a terminal


def _of_su(arguments: tuple[ShellWord, ...]) -> Inner:
    for at, word in enumerate(arguments):
        if word.text in {"-c", "--command"} and at + 1 < len(arguments):
            text = arguments[at + 1].text
            return _OPAQUE if text is None else Inner(texts=(text,), effects=_E.PRIVILEGE)
    return _OPAQUE


def _of_find(arguments: tuple[ShellWord, ...]) -> Inner:
    found: list[tuple[ShellWord, ...]] = []
    words: list[ShellWord] | None = None
    for word in arguments:
        if words is None:
            if word.text in _EXECUTING:
                words = []
        elif word.text in {";", "+"}:
            found.append(tuple(words))
            words = None
        else:
            words.append(UNREAD if word.text is None or "{}" in word.text else word)
    return Inner(tuple(found), effects=_E.NONE if words is None else _E.OPAQUE)


def _of_wrapper(name: str, rule: WrapperRule, arguments: tuple[ShellWord, ...]) -> Inner:
    at = 0
    values: list[tuple[str, ShellWord]] = []
    effects = rule.effects
    while at < len(arguments):
        text = arguments[at].text
        if text == "--":
            at += 1
            break
        if text is not None and (not text.startswith("-") or text == "-"):
            break
        option = None if text is None else _option(rule, arguments, at)
        if option is None:
            return Inner(effects=effects | _E.OPAQUE)
        taken, used = option
        values += used
        at += taken
    at += rule.skipped
    if name == "ssh" and not all(option != "o" or _SAFE_SSH.search(value.text or "") for option, value in values):
        effects |= _E.OPAQUE
    while name in _ASSIGNING and at < len(arguments):
        found = _ASSIGNMENT.search(arguments[at].text or "")
        if found is None:
            break
        if steers(found.group(1)):
            effects |= _E.OPAQUE
        at += 1
    return _inner(rule, arguments[at:], values, effects)


def steers(name: str) -> bool:
    """Return True for a variable that changes the programs of a command, or has a name that cannot be read."""
    return not name.isascii() or name in rules.STEERING or name.startswith(rules.STEERING_PREFIXES)


def _option(
    rule: WrapperRule, arguments: tuple[ShellWord, ...], at: int
) -> tuple[int, list[tuple[str, ShellWord]]] | None:
    """Return how many words an option takes, and its value if it has one; None for an option that is not known."""
    text = arguments[at].text or ""
    following = arguments[at + 1] if at + 1 < len(arguments) else UNREAD
    if text.startswith("--"):
        long, equals, value = text[2:].partition("=")
        if long in rule.valued:
            return (1, [(long, ShellWord(value))]) if equals else (2, [(long, following)])
        return (1, []) if long in rule.plain else None
    for place, letter in enumerate(text[1:], 2):
        if letter in rule.valued:
            attached = text[place:]
            return (1, [(letter, ShellWord(attached))]) if attached else (2, [(letter, following)])
        if letter not in rule.plain:
            return None
    return 1, []


def _inner(
    rule: WrapperRule, words: tuple[ShellWord, ...], values: list[tuple[str, ShellWord]], effects: ShellEffect
) -> Inner:
    if not words:
        return Inner(effects=effects)
    if rule.joined:
        texts = [word.text for word in words]
        if None in texts:
            return Inner(effects=effects | _E.OPAQUE)
        return Inner(texts=(" ".join(text for text in texts if text is not None),), effects=effects)
    if rule.unread:
        for option, value in values:
            if option in {"I", "replace"}:
                words = tuple(_replaced(word, value) for word in words)
        words = (*words, UNREAD)
    return Inner((words,), effects=effects)


def _replaced(word: ShellWord, mark: ShellWord) -> ShellWord:
    """Return a word of `xargs -I mark`: unread if the mark stands in it."""
    if word.text is None or not mark.text or mark.text in word.text:
        return UNREAD
    return word
