"""Command injection in one argument: a value that would run a program if a tool put it into a command line.

The value is read as it stands, decoded (`views`), and as a shell reads it, without the quotes, backslashes and empty
variables that hide a name. A short value of one line is parsed behind a program's name too: one word must stay one.
"""

from __future__ import annotations

from functools import cache

import re2
import tree_sitter

from processors.content import command_rules as rules
from processors.content import shell_tree
from processors.content.hits import Hit
from processors.content.program_effects import is_known
from processors.content.rules import RuleSet
from processors.content.views import is_word, views
from processors.proof.jcs import JSONValue

PARSED_BYTES_MAX = 256  # of UTF-8: longer values, and values of several lines, are text or code
WORD_CHARS_MAX = 32  # of one word without signs: only the rule `bare` can hold of it
READ_MAX = 4096  # code points that are looked at

_SIGNS = frozenset(";|&`$(){}<>\\%/\r\n\"'^+?*[")
_PREFIX = "x "
_TAG = re2.compile(r"<[/!]?[A-Za-z][^<>]*>")
_EXPANSION = re2.compile(rules.EXPANSION)
_BLANKS = re2.compile(rules.BLANKS)
_CHANGES_MAX = 256  # in a text: each takes microseconds
_TELLING = re2.compile(r"^(?:--?[A-Za-z]|/[\w?*.]|\.{1,2}/|~|\$|[\"'`]|\w+:|\d+$)")
_FILE = re2.compile(r"^(?:/|~|\.{1,2}/|[\w./-]+\.[A-Za-z]{2,5}$|&\d)")


@cache
def _rules() -> RuleSet:
    return RuleSet.compile(rules.RULES)


@cache
def _bare() -> frozenset[str]:
    return frozenset(rules.BARE)


@cache
def _names() -> tuple[frozenset[str], frozenset[str]]:
    return frozenset(rules.CLEAR), frozenset(rules.WORDY)


def find(text: str) -> tuple[Hit, ...]:
    """Return the signs of command injection in an argument, one for each rule, in the order of rules.

    Hits of kind `command.bare` say that the value in whole is a command without a sign that breaks out. A hit in
    another reading than the text itself spans the whole text. Never raises. A text of more than READ_MAX code points is
    read up to there, and the rest is a hit of kind `command.unread`.
    """
    if len(text) <= WORD_CHARS_MAX and is_word(text):
        return (Hit("command.bare", 0, len(text), "bare"),) if text.lower() in _bare() else ()
    whole, text = len(text), text[:READ_MAX]
    found: dict[str, Hit] = {hit.rule: hit for hit in _rules().spans(text)}
    if whole > READ_MAX:
        found["unread"] = Hit("command.unread", READ_MAX, whole, "unread")
    readings = _readings(text)
    for reading in readings:
        for rule in _rules().matching(reading):
            found.setdefault(rule.name, Hit(rule.kind, 0, len(text), rule.name))
    if not found and any(_breaks_out(reading) for reading in (text, *readings)):
        found["structure"] = Hit("command.structure", 0, len(text), "structure")
    return tuple(found.values())


def _readings(text: str) -> list[str]:
    """Return the other readings of a text, without repetition."""
    if _SIGNS.isdisjoint(text) and text.isascii():
        return []
    decoded = views(text)
    read = dict.fromkeys((*decoded[1:], *(_as_shell(one) for one in decoded)))
    read.pop(text, None)
    return list(read)


def _as_shell(text: str) -> str:
    """Return a text without the signs that a shell drops from words."""
    if _SIGNS.isdisjoint(text):
        return text
    whole = text.encode("utf-8", "replace").decode()
    if "+" in whole and " " not in whole.strip():
        whole = whole.replace("+", " ")
    if "$" in whole:
        whole = _EXPANSION.sub("", _BLANKS.sub(" ", whole, count=_CHANGES_MAX), count=_CHANGES_MAX)
    for sign in rules.DROPPED:
        whole = whole.replace(sign, "")
    return str(whole)


def _breaks_out(text: str) -> bool:
    """Return True if a value becomes more than one word of a command, and names a program or a file there."""
    if "\n" in text or "\r" in text or len(text.encode("utf-8", "replace")) > PARSED_BYTES_MAX:
        return False
    if not any(sign in text for sign in ";|&`<>$") or _TAG.search(text.encode("utf-8", "replace").decode()):
        return False
    tree = shell_tree.parse(_PREFIX + text)
    if tree is None:
        return False
    commands = 0
    for node in tree.nodes:
        if node.type == "command":
            commands += 1
            if commands > 1 and _is_telling(tree, node):
                return True
        elif node.type == "file_redirect":
            target = node.child_by_field_name("destination")
            if target is not None and _FILE.search(tree.source(target).encode("utf-8", "replace").decode()):
                return True
    return False


def _is_telling(tree: shell_tree.ShellTree, node: tree_sitter.Node) -> bool:
    """Return True if a command names a program that no sentence names, or one with an argument of a command line."""
    word = node.child_by_field_name("name")
    name = None if word is None else tree.word(word).text
    if word is None or name is None:
        return False
    clear, wordy = _names()
    program = name.rpartition("/")[2].lower()
    if program in clear:
        return True
    if program not in wordy and not is_known(program):
        return False
    arguments = [
        tree.source(child).encode("utf-8", "replace").decode()
        for child in node.named_children
        if child.start_byte > word.start_byte
    ]
    return any(_TELLING.search(one) for one in arguments)


def statement() -> JSONValue:
    """Return the rules, names and bounds, for the catalogue's digest."""
    return {
        "rules": _rules().statement(),
        "readings": [rules.EXPANSION, rules.BLANKS, *rules.DROPPED],
        "grammar": shell_tree.statement(),
        "bounds": [PARSED_BYTES_MAX, READ_MAX],
    }
