"""Syntax trees of shell commands: bounded, parsed once, and read without recursion.

The grammar is tree-sitter-bash. Its scanner asks the C library about letters beyond ASCII, and the answer depends on
the machine's locale. So the grammar sees an ASCII letter for each of them: to bash they are letters of a word too. One
byte of the parsed text is one code point of the text, so places in the tree are places in the text.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from itertools import pairwise
from typing import NamedTuple

import re2
import tree_sitter
import tree_sitter_bash

from processors.proof.jcs import JSONValue
from processors.text.characters import utf8_size

BYTES_MAX = 4096  # of UTF-8 in a command
SIGNS_MAX = 128  # characters that open, close or join: the parser takes time quadratic in some of them
LINES_MAX = 128  # the same holds for the heads of compound commands, one a line
NODES_MAX = 384

_LETTER = "X"
_SIGNS = frozenset("|;&()<>{}$`[],")
# Read differently by the grammar and by bash: control characters, and a line that goes on inside a word.
_UNEQUAL = re2.compile(r"[\x00-\x08\x0b-\x1f\x7f]|[^ \t]\\\n")
_ESCAPED = re2.compile(r"\\(.)")
_ESCAPED_IN_QUOTES = re2.compile(r'\\([$`"\\])')
_BRACES = re2.compile(r"\{[^{}]*(?:,|\.\.)")  # becomes several words
_WILD = frozenset("*?[")
_QUOTING = frozenset("\\'\"`${}")


class ShellWord(NamedTuple):
    """A word of a command: its text, if quotes and backslashes leave no doubt of it.

    `text` is None for a word that holds a variable, a substitution, an arithmetic expression or a list in braces.
    `pattern` says that file names may take the word's place.
    """

    text: str | None
    pattern: bool = False


UNREAD = ShellWord(None)


@cache
def _language() -> tree_sitter.Language:
    return tree_sitter.Language(tree_sitter_bash.language())


class ShellTree:
    """A text with its syntax tree. `nodes` lists the named nodes in the order of the text."""

    __slots__ = ("_text", "_tree", "nodes")

    def __init__(self, text: str, tree: tree_sitter.Tree, nodes: tuple[tree_sitter.Node, ...]) -> None:
        self._text = text
        self._tree = tree
        self.nodes = nodes

    def source(self, node: tree_sitter.Node) -> str:
        """Return the part of the text that a node stands for."""
        return self._text[node.start_byte : node.end_byte]

    def word(self, node: tree_sitter.Node) -> ShellWord:
        """Return the word that a node stands for."""
        if node.type == "word":
            source = self.source(node)
            if _QUOTING.isdisjoint(source):
                return ShellWord(source, not _WILD.isdisjoint(source))
        parts = node.named_children if node.type in {"concatenation", "command_name"} else [node]
        if len(parts) == 1 and parts[0].type == "concatenation":
            parts = parts[0].named_children
        if not parts or parts[0].start_byte != node.start_byte or parts[-1].end_byte != node.end_byte:
            return UNREAD  # the grammar left out signs at an end
        bare = "".join(self.source(part) if part.type == "word" else _LETTER for part in parts)
        if _apart(parts) or ("{" in bare and _BRACES.search(bare)):
            return UNREAD
        texts: list[str] = []
        pattern = False
        for part in parts:
            text = self._literal(part)
            if text is None:
                return UNREAD
            pattern = pattern or (part.type == "word" and not _WILD.isdisjoint(text))
            texts.append(text)
        return ShellWord("".join(texts), pattern)

    def _literal(self, part: tree_sitter.Node) -> str | None:
        source = self.source(part)
        match part.type:
            case "word" | "number":
                if part.named_child_count:
                    return None
                return str(_ESCAPED.sub(r"\1", source)) if "\\" in source else source
            case "raw_string":
                return source[1:-1]
            case "string" if all(child.type == "string_content" for child in part.named_children):
                if "$" in source.replace("\\$", "") or "`" in source.replace("\\`", ""):
                    return None
                return str(_ESCAPED_IN_QUOTES.sub(r"\1", source[1:-1]))
        return None


def _apart(parts: list[tree_sitter.Node]) -> bool:
    """True if signs that the grammar does not name stand between parts of a word."""
    return any(before.end_byte != after.start_byte for before, after in pairwise(parts))


def parse(text: str) -> ShellTree | None:
    """Return the tree of a shell command, or None for one that cannot be read with certainty.

    None for more than BYTES_MAX, SIGNS_MAX, LINES_MAX or NODES_MAX, for control characters and half surrogate pairs,
    and for everything that the grammar calls an error. Never raises. Time is bounded: about 10 ms.
    """
    if len(text) > BYTES_MAX or utf8_size(text) > BYTES_MAX:
        return None
    if text.count("\n") > LINES_MAX or sum(map(text.count, _SIGNS)) > SIGNS_MAX:
        return None
    whole = text.encode("utf-8", "replace").decode()
    if whole != text or _UNEQUAL.search(whole):
        return None
    data = text.encode() if text.isascii() else "".join(c if c.isascii() else _LETTER for c in text).encode()
    tree = tree_sitter.Parser(_language()).parse(data)
    root = tree.root_node
    if root.has_error or root.descendant_count > NODES_MAX:
        return None
    return ShellTree(text, tree, tuple(_named(tree)))


def _named(tree: tree_sitter.Tree) -> Iterator[tree_sitter.Node]:
    """Yield the named nodes of a tree in the order of the text, walking with a cursor."""
    cursor = tree.walk()
    while True:
        node = cursor.node
        if node is not None and node.is_named:
            yield node
        if cursor.goto_first_child():
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return


def statement() -> JSONValue:
    """Return the grammar's versions and the bounds, for the digest of the detectors that read commands."""
    return {
        "tree-sitter": version("tree-sitter"),
        "tree-sitter-bash": version("tree-sitter-bash"),
        "bounds": [BYTES_MAX, SIGNS_MAX, LINES_MAX, NODES_MAX],
    }
