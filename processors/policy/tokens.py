"""The words of a condition: from text to tokens (docs/mapl.md 7), in one pass, because every publication runs it."""

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from processors.policy.errors import PolicyError
from processors.proof import jcs

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_DIGITS = frozenset("0123456789")
_IN_NAME = _LETTERS | _DIGITS
_IN_NUMBER = _DIGITS | frozenset(".eE+-")
_BLANKS = frozenset(" \t\r\n")
_SYMBOLS = ("==", "!=", "<=", ">=", "<", ">", "(", ")", "[", "]", ",", ".")
_WORDS = ("and", "or", "not", "in", "matches", "true", "false", "null")
_CAPITALS = ("AND", "OR", "NOT", "IN", "MATCHES", "TRUE", "FALSE", "NULL")
_KEYWORDS = dict(zip((*_WORDS, *_CAPITALS), (*_WORDS, *_WORDS), strict=True))


class TokenKind(Enum):
    """The kinds of tokens."""

    NAME = "name"
    NUMBER = "number"
    STRING = "string"
    REGEX = "regex"
    SYMBOL = "symbol"
    END = "end"


class Token(NamedTuple):
    """A word. `value` is a string's content, a regex's pattern, a number; else the text itself."""

    kind: TokenKind
    value: str | float
    keyword: str = ""  # the keyword that a name is, where one can stand


def tokenize(text: str, pointer: str) -> list[Token]:
    """Return the tokens of a condition, an END behind them. Raises PolicyError E_EXPR_SYNTAX."""
    return list(_tokens(text, pointer))


def _tokens(text: str, pointer: str) -> Iterator[Token]:
    at, end, regex_may_follow = 0, len(text), False
    while at < end:
        character = text[at]
        if character in _BLANKS:
            at += 1
            continue
        if character in _LETTERS:
            token, at = _name(text, at)
        elif character in _DIGITS or character == "-":
            token, at = _number(text, at, pointer)
        elif character in {"'", '"'}:
            token, at = _quoted(text, at, TokenKind.STRING, pointer)
        elif character == "/" and regex_may_follow:
            token, at = _quoted(text, at, TokenKind.REGEX, pointer)
        else:
            token, at = _symbol(text, at, pointer)
        regex_may_follow = token.keyword == "matches"
        yield token
    yield Token(TokenKind.END, "")


def _name(text: str, start: int) -> tuple[Token, int]:
    at = start
    while at < len(text) and text[at] in _IN_NAME:
        at += 1
    name = text[start:at]
    return Token(TokenKind.NAME, name, _KEYWORDS.get(name, "")), at


def _number(text: str, start: int, pointer: str) -> tuple[Token, int]:
    at = start
    while at < len(text) and text[at] in _IN_NUMBER:
        at += 1
    try:
        value = jcs.parse_strict(text[start:at].encode())
    except jcs.MalformedJSONError:
        raise PolicyError("E_EXPR_SYNTAX", pointer) from None
    if not isinstance(value, (int, float)) or (at < len(text) and text[at] in _IN_NAME):
        raise PolicyError("E_EXPR_SYNTAX", pointer)
    return Token(TokenKind.NUMBER, value), at


def _quoted(text: str, start: int, kind: TokenKind, pointer: str) -> tuple[Token, int]:
    """Read to the same mark again. In a string a backslash stands before a mark or itself; a regex keeps its own."""
    mark, at, found = text[start], start + 1, []
    while at < len(text) and text[at] != mark:
        if text[at] == "\\":
            escaped = text[at + 1 : at + 2]
            if kind is TokenKind.REGEX:
                found.append(escaped if escaped == mark else f"\\{escaped}")
            elif escaped in {"'", '"', "\\"}:
                found.append(escaped)
            else:
                raise PolicyError("E_EXPR_SYNTAX", pointer)
            at += 2
        else:
            found.append(text[at])
            at += 1
    if at >= len(text):
        raise PolicyError("E_EXPR_SYNTAX", pointer)
    return Token(kind, "".join(found)), at + 1


def _symbol(text: str, at: int, pointer: str) -> tuple[Token, int]:
    for symbol in _SYMBOLS:
        if text.startswith(symbol, at):
            return Token(TokenKind.SYMBOL, symbol), at + len(symbol)
    raise PolicyError("E_EXPR_SYNTAX", pointer)
