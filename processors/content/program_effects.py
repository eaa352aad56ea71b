"""Effects of one program with its arguments: by its table, its options, and the paths it is given."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import MappingProxyType

import re2

from processors.content import shell_rules as rules
from processors.content.shell_rules import ProgramRule, ShellEffect
from processors.content.shell_tree import ShellWord

_E = ShellEffect
_WILD = frozenset("*?[")
_SECOND = {"uniq": 2, "hostname": 1}  # so many arguments make these write
_SPEAKING = frozenset({"echo", "printf"})  # their arguments are text
_AWKS = frozenset({"awk", "gawk", "mawk", "nawk"})
_SPECIAL = _AWKS | {"sed", "source", ".", "git", "su", "trap"}
_WRITING = _E.WRITES | _E.DELETES | _E.DESTROYS


@cache
def programs() -> MappingProxyType[str, ProgramRule]:
    """Return the rule of every program that only a table describes, by name."""
    found: dict[str, ProgramRule] = {}
    for effects, names in rules.OTHERS:
        for name in names.split():
            found[name] = ProgramRule(effects, rules.OTHER_OPTIONS.get(name, ()))
    for name in rules.WRITERS.split():
        found[name] = ProgramRule(_E.WRITES, rules.WRITER_OPTIONS.get(name, ()), name in rules.WRITER_LAST)
    for name in rules.READERS.split():
        found[name] = ProgramRule(_E.NONE, rules.READER_OPTIONS.get(name, ()))
    return MappingProxyType(found)


def is_known(name: str) -> bool:
    """Return True if the name means a program or a wrapper in some table."""
    groups = (programs(), _SPECIAL, rules.WRAPPERS, rules.RESERVED, rules.SHELLS, rules.INTERPRETERS)
    return any(name in group for group in groups)


def effects_of(name: str, arguments: tuple[ShellWord, ...]) -> ShellEffect:
    """Return the effects that a program has with its options, before its paths are looked at."""
    if name in rules.WRAPPERS or name in rules.SHELLS or name in {"su", "trap"}:
        return _E.NONE  # those of the commands inside
    reader = _READERS.get(name) or (_of_interpreter if name in rules.INTERPRETERS else None)
    if reader is not None:
        return reader(arguments)
    rule = programs().get(name)
    if rule is None:
        return _E.UNKNOWN | (_E.CODE if "/" in name else _E.NONE)
    effects = rule.effects | _of_options(rule.options, arguments)
    if name == "rm" and effects & _E.DESTROYS and _is_tame(arguments):
        effects &= ~_E.DESTROYS
    if name in _SECOND and sum(not (one.text or "").startswith("-") for one in arguments) >= _SECOND[name]:
        effects |= _E.WRITES
    return effects


def _of_options(options: tuple[tuple[str, ShellEffect], ...], arguments: tuple[ShellWord, ...]) -> ShellEffect:
    effects = _E.NONE
    for word in arguments:
        for option, effect in options:
            if _may_be(word, option):
                effects |= effect
    return effects


def _may_be(word: ShellWord, option: str) -> bool:
    """Return True if a word can be an option, in a cluster, shortened, or with a value."""
    text = word.text
    if text is None or (word.pattern and text[:1] in _WILD):
        return True
    if not text.startswith("-"):
        return False
    name = text.lstrip("-").partition("=")[0]
    if len(option) == 1:
        return not text.startswith("--") and option in text[1:]
    if text.startswith("--"):
        return bool(name) and option.startswith(name)
    return name == option


def _is_tame(arguments: tuple[ShellWord, ...]) -> bool:
    """Return True if all targets of `rm -r` are written out and lie below the working directory."""
    for word in arguments:
        text = word.text
        if text is None or word.pattern or text == "--no-preserve-root":
            return False
        if text.startswith("-"):
            continue
        segments = [one for one in text.split("/") if one not in {"", "."}]
        if text.startswith(("/", "~")) or not segments or ".." in segments or segments[0].startswith("."):
            return False
    return True


def _of_interpreter(arguments: tuple[ShellWord, ...]) -> ShellEffect:
    """A file or module is code; code in an option, on a pipe, or behind an option that is not known is opaque."""
    for at, word in enumerate(arguments):
        if word.text in {"-u", "-B", "-W", "--"}:
            continue
        if word.text in {"--version", "-V"} and at == 0 and len(arguments) == 1:
            return _E.NONE
        if word.text == "-m":
            return _E.CODE
        if word.text is None or word.pattern or word.text.startswith("-"):
            return _E.OPAQUE
        return _E.CODE
    return _E.OPAQUE


def _of_awk(arguments: tuple[ShellWord, ...]) -> ShellEffect:
    for word in arguments:
        if word.text is None or rules.AWK_SCRIPT.search(word.text):
            return _E.OPAQUE
    return _E.NONE


def _of_sed(arguments: tuple[ShellWord, ...]) -> ShellEffect:
    """A script that only edits text writes with `-i`; one that is not understood may run programs."""
    effects = _E.NONE
    scripts = 0
    expected = True
    for at, word in enumerate(arguments):
        text = word.text
        if text is None:
            return _E.OPAQUE
        if text in {"-n", "-r", "-E", "-s", "-u", "-z", "--quiet", "--silent", "--regexp-extended"}:
            continue
        if text in {"-i", "--in-place"} or text.startswith(("-i.", "--in-place=")):
            effects |= _E.WRITES
        elif text in {"-e", "--expression"}:
            expected = False
            if at + 1 >= len(arguments):
                return _E.OPAQUE
        elif text.startswith("-") and text != "-":
            return _E.OPAQUE
        elif (expected and scripts == 0) or (at and arguments[at - 1].text in {"-e", "--expression"}):
            scripts += 1
            if not all(rules.SED_SCRIPT.search(part.strip()) for part in text.split(";")):
                return _E.OPAQUE
    return effects


def _of_git(arguments: tuple[ShellWord, ...]) -> ShellEffect:
    at = 0
    while at < len(arguments) and arguments[at].text in {"-C", "--no-pager", "-P"}:
        at += 2 if arguments[at].text == "-C" else 1
    if at >= len(arguments):
        return _E.NONE
    name = arguments[at].text
    if name is None or (name.startswith("-") and name not in {"--version", "--help"}):
        return _E.OPAQUE
    effects = rules.GIT.get(name, _E.UNKNOWN | _E.CODE) | _of_options(rules.GIT_OPTIONS, arguments[at + 1 :])
    if any("ext::" in (word.text or "") for word in arguments):
        effects |= _E.OPAQUE
    return effects


def _of_source(_: tuple[ShellWord, ...]) -> ShellEffect:
    return _E.CODE


_READERS: dict[str, Callable[[tuple[ShellWord, ...]], ShellEffect]] = {
    **dict.fromkeys(sorted(_AWKS), _of_awk),
    "sed": _of_sed,
    "git": _of_git,
    "source": _of_source,
    ".": _of_source,
}


def argument_effects(name: str, arguments: tuple[ShellWord, ...], own: ShellEffect) -> ShellEffect:
    """Return the effects of the paths and addresses among a program's arguments; `own` are those of the program."""
    rule = programs().get(name)
    read = tuple(word for word in arguments if word.text is None) if name in _SPEAKING else arguments
    if not own & _WRITING:
        return path_effects(read)
    if rule is not None and rule.last and not _names_target(arguments):
        return path_effects(read[:-1]) | path_effects(read[-1:], writes=True)
    return path_effects(read, writes=True)


def _names_target(arguments: tuple[ShellWord, ...]) -> bool:
    return any(_may_be(word, "t") or _may_be(word, "target-directory") for word in arguments)


def path_effects(words: tuple[ShellWord, ...], *, writes: bool = False) -> ShellEffect:
    """Return the effects of words as paths and addresses: SECRET, NETWORK, and SYSTEM if they are written.

    A word that is unread, or climbs out of the working directory, can be any path. All words are matched together, one
    on a line, because a search costs more than the text it is in.
    """
    worst = _E.SECRET | (_E.SYSTEM if writes else _E.NONE)
    effects = _E.NONE
    lines: dict[str, None] = {}
    for word in words:
        text = word.text
        path = None if text is None else _resolved(text)
        if text is None or path is None:
            effects |= worst
            continue
        lines[path] = None
        if "=" in text:
            value = _resolved(text.partition("=")[2])
            lines[value or ""] = None
            effects |= worst if value is None else _E.NONE
        if word.pattern and worst not in effects and _may_name_secret(path):
            effects |= worst if path.startswith(("/", "~")) else _E.SECRET
    whole = "\n".join(line for line in lines if line not in rules.HARMLESS_TARGETS)
    for pattern, effect in _patterns():
        if effect in worst | _E.NETWORK and pattern.search(whole):
            effects |= effect
    return effects


@cache
def _patterns() -> tuple[tuple[re2._Regexp, ShellEffect], ...]:
    """Return the patterns of paths and addresses, for texts of one path a line."""
    found = (
        (rules.SECRET_PATH, _E.SECRET),
        (rules.SYSTEM_PATH, _E.SYSTEM),
        (rules.NETWORK_PATH, _E.NETWORK),
        (rules.URL, _E.NETWORK),
    )
    return tuple((re2.compile(f"(?m){pattern.pattern}"), effect) for pattern, effect in found)


def _resolved(text: str) -> str | None:
    """Return a path without empty segments, `.` and `..`; None if it climbs out of the working directory."""
    if ".." not in text and "//" not in text and "/./" not in text:
        return text
    if "://" in text:
        return text
    root = "/" if text.startswith("/") else ""
    segments: list[str] = []
    for segment in text.split("/"):
        if segment in {"", "."}:
            continue
        if segment != "..":
            segments.append(segment)
        elif segments:
            segments.pop()
        elif not root:
            return None
    return root + "/".join(segments)


def _may_name_secret(path: str) -> bool:
    """Return True if a pattern can stand for a path of secrets: absolute, hidden, or able to be one of their names."""
    if path.startswith(("/", "~", ".")):
        return True
    last = path.rpartition("/")[2]
    first = min((last.find(sign) for sign in _WILD if sign in last), default=len(last))
    end = max((last.rfind(sign) for sign in (*_WILD, "]") if sign in last), default=-1)
    head, tail = last[:first], last[end + 1 :] if end >= 0 else last
    return any(name.startswith(head) and name.endswith(tail) for name in rules.SECRET_NAMES)
