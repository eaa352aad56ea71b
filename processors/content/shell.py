"""The risk of a whole shell command: its programs, and the effects they can have.

A command is read with the grammar of bash, its wrappers (`sudo`, `env`, `xargs`, `ssh`) and inner commands
(`bash -c`, `eval`, `find -exec`) too. Words that cannot be read with certainty have all effects that they could have.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import tree_sitter

from processors.content import shell_rules as rules
from processors.content import shell_tree
from processors.content.check_digits import is_digits
from processors.content.program_effects import argument_effects, effects_of, is_known, path_effects
from processors.content.risk_class import RiskClass, worst
from processors.content.shell_rules import ShellEffect
from processors.content.shell_tree import UNREAD, ShellTree, ShellWord
from processors.content.shell_wrappers import Inner, inner_commands, program_of, steers
from processors.proof.jcs import JSONValue

DEPTH_MAX = 4  # commands inside quoted commands
COMMANDS_MAX = 128  # in a text and all texts inside it
WRAPPERS_MAX = 8  # one inside the other, without quotes

_REDIRECTS = frozenset({"file_redirect", "heredoc_redirect", "herestring_redirect"})
_NOT_WORDS = _REDIRECTS | {"variable_assignment", "command_name", "comment"}
_EVALUATING = frozenset({"let", "read", "printf", "test", "[", "mapfile", "unset", "declare"})  # subscripts run code
_E = ShellEffect


class ShellRisk(NamedTuple):
    """The stamps of a shell command.

    `programs` are the names in the order of the text, without repetition. `subcommands` are pairs such as `git push`,
    with `?` for one that is not certain. `opaque` says that a part could not be read: then every flag is True.
    """

    programs: tuple[str, ...]
    subcommands: tuple[str, ...]
    unknown: bool
    writes: bool
    deletes: bool
    network: bool
    privilege: bool
    touches_secret_path: bool
    opaque: bool
    risk: RiskClass


def risk(command: str) -> ShellRisk:
    """Return the stamps of a shell command. Never raises; time and memory are bounded.

    A syntax error, a command word that is not literal, more than `shell_tree` reads, and code in another language are
    opaque, and opaque is `critical`. A program that no table has is `high`.
    """
    reading = _Reading()
    reading.texts.append((command, 0))
    while reading.texts:
        text, depth = reading.texts.pop()
        reading.read(text, depth)
        if reading.effects & _E.OPAQUE and not reading.texts:
            break
    return reading.stamps()


class _Reading:
    """A command being read: its unread parts, and the findings."""

    def __init__(self) -> None:
        self.texts: list[tuple[str, int]] = []
        self.effects = _E.NONE
        self._programs: dict[str, None] = {}
        self._subcommands: dict[str, None] = {}
        self._functions: set[str] = set()
        self._left = COMMANDS_MAX
        self._away = False

    def stamps(self) -> ShellRisk:
        effects = self.effects
        if self._away and effects & _E.DELETES:
            effects |= _E.DESTROYS
        if effects & _E.OPAQUE:
            effects = ~_E.NONE
        classes = [cls for needed, cls in rules.CLASS_OF if needed & effects == needed]
        return ShellRisk(
            tuple(self._programs),
            tuple(self._subcommands),
            unknown=bool(effects & _E.UNKNOWN),
            writes=bool(effects & (_E.WRITES | _E.SYSTEM | _E.DELETES | _E.DESTROYS)),
            deletes=bool(effects & (_E.DELETES | _E.DESTROYS)),
            network=bool(effects & _E.NETWORK),
            privilege=bool(effects & _E.PRIVILEGE),
            touches_secret_path=bool(effects & _E.SECRET),
            opaque=bool(effects & _E.OPAQUE),
            risk=worst(classes),
        )

    def read(self, text: str, depth: int) -> None:
        tree = shell_tree.parse(text) if depth <= DEPTH_MAX else None
        if tree is None:
            self.effects |= _E.OPAQUE
            return
        for node in tree.nodes:
            if node.type == "function_definition":
                self._define(tree, node)
        behind = _behind_redirects(tree)
        for node in tree.nodes:
            if node.type == "command":
                self._run(_words(tree, node, behind.get(node.start_byte, ())), depth)
            else:
                self._note(tree, node)

    def _note(self, tree: ShellTree, node: tree_sitter.Node) -> None:
        """Take in a part of a command that runs nothing itself."""
        match node.type:
            case "file_redirect":
                self._redirect(tree, node)
            case "herestring_redirect" if tree.source(node).lstrip("0123456789<").lstrip(" \t").startswith("\n"):
                self.effects |= _E.OPAQUE
            case "variable_assignment":
                self._assign(tree, node)
            case "declaration_command" | "unset_command":
                self._declare(tree, node)
            case "expansion" | "simple_expansion" | "arithmetic_expansion":
                source = tree.source(node)
                if "@P" in source or not source.isascii():
                    self.effects |= _E.OPAQUE
            case "test_command":
                if _holds_code(tree.source(node)):
                    self.effects |= _E.OPAQUE
            case _:
                pass

    def _define(self, tree: ShellTree, node: tree_sitter.Node) -> None:
        name = node.child_by_field_name("name")
        text = "" if name is None else tree.source(name)
        if not text.isascii() or is_known(text):
            self.effects |= _E.OPAQUE  # the name means something else from here on
        self._functions.add(text)

    def _redirect(self, tree: ShellTree, node: tree_sitter.Node) -> None:
        source = tree.source(node).lstrip("0123456789")
        if "\n" in source:
            self.effects |= _E.OPAQUE  # the grammar looks for the target on the next line, and a shell does not
        target = node.child_by_field_name("destination")
        word = UNREAD if target is None else tree.word(target)
        if source.startswith((">&", "<&")) and word.text is not None and is_digits(word.text.rstrip("-")):
            return
        writes = source.startswith((">", "&>", "<>"))
        if word.text in rules.HARMLESS_TARGETS:
            return
        if word.text is not None and rules.NETWORK_PATH.search(word.text):
            self.effects |= _E.NETWORK | _E.OPAQUE
        self.effects |= (_E.WRITES if writes else _E.NONE) | path_effects((word,), writes=writes)

    def _assign(self, tree: ShellTree, node: tree_sitter.Node) -> None:
        name = node.child_by_field_name("name")
        value = node.child_by_field_name("value")
        if name is None or steers(tree.source(name)):
            self.effects |= _E.OPAQUE
        if value is not None and value.type != "command_substitution":
            kept = tree.word(value).text
            if kept is not None and _holds_code(kept):
                self.effects |= _E.OPAQUE  # arithmetic and prompts run code that a variable holds

    def _declare(self, tree: ShellTree, node: tree_sitter.Node) -> None:
        for child in node.named_children:
            if child.type == "variable_assignment":
                continue
            text = tree.source(child) if child.type == "variable_name" else tree.word(child).text
            if text is None or _holds_code(text) or steers(text.partition("=")[0]):
                self.effects |= _E.OPAQUE

    def _run(self, words: tuple[ShellWord, ...], depth: int) -> None:
        """Take in a command and those that its wrappers run."""
        pending = [(words, 0)]
        while pending:
            command, wrapped = pending.pop()
            self._left -= 1
            if self._left < 0 or wrapped > WRAPPERS_MAX:
                self.effects |= _E.OPAQUE
                return
            inner = self._one(command)
            pending += [(one, wrapped + 1) for one in inner.commands]
            self.texts += [(text, depth + 1) for text in inner.texts]
            self.effects |= inner.effects

    def _one(self, words: tuple[ShellWord, ...]) -> Inner:
        """Return the commands inside a command, and take in its own effects."""
        name = program_of(words[0]) if words else None
        if name is None:
            return Inner(effects=_E.OPAQUE)
        self._programs[name] = None
        if name in _EVALUATING and any(_holds_code(word.text or "") for word in words):
            return Inner(effects=_E.OPAQUE)
        if name in self._functions:
            return Inner(effects=argument_effects(name, words[1:], _E.NONE))
        if name in {"cd", "pushd"}:
            self._away = self._away or len(words) == 1 or any(map(_leads_away, words[1:]))
        if name in rules.SUBCOMMANDED:
            first = words[1].text if len(words) > 1 else ""
            if first != "":
                certain = first is not None and not first.startswith("-") and first.isascii() and len(first) <= 64
                self._subcommands[f"{name} {first if certain else '?'}"] = None
        own = effects_of(name, words[1:])
        self.effects |= own
        if name not in rules.WRAPPERS or name == "ssh":  # the arguments of others are those of the command inside
            self.effects |= argument_effects(name, words[1:], own)
        return inner_commands(name, words[1:])


def _holds_code(text: str) -> bool:
    return "$(" in text or "`" in text


def _leads_away(word: ShellWord) -> bool:
    return word.text is None or word.text.startswith(("/", "~", "..", "-"))


def _words(tree: ShellTree, node: tree_sitter.Node, behind: Iterable[tree_sitter.Node]) -> tuple[ShellWord, ...]:
    name = node.child_by_field_name("name")
    if name is None:
        return ()
    others = [tree.word(child) for child in node.named_children if child.type not in _NOT_WORDS]
    return (tree.word(name), *others, *map(tree.word, behind))


def _behind_redirects(tree: ShellTree) -> dict[int, list[tree_sitter.Node]]:
    """Return the words that follow redirections, as in `rm >f -rf /`, by the start of the command that they belong to.

    The grammar takes them for further targets of the redirection; for a shell they are words of the command before it.
    """
    found: dict[int, list[tree_sitter.Node]] = {}
    for node in tree.nodes:
        target = node.child_by_field_name("destination") if node.type == "file_redirect" else None
        if target is None:
            continue
        words = [child for child in node.named_children if child.start_byte > target.start_byte]
        before = (
            [one for one in tree.nodes if one.type == "command" and one.end_byte <= node.start_byte] if words else []
        )
        if before:
            found.setdefault(max(before, key=_end_of).start_byte, []).extend(words)
    return found


def _end_of(node: tree_sitter.Node) -> int:
    return node.end_byte


def statement() -> JSONValue:
    """Return the grammar's versions, the bounds and the tables, for the catalogue's digest."""
    return {
        "grammar": shell_tree.statement(),
        "bounds": [DEPTH_MAX, COMMANDS_MAX, WRAPPERS_MAX],
        "tables": rules.statement(),
    }
