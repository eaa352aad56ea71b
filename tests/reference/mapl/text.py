"""Texts: normal forms, the fold, globs, percent-decoding and the order of names (docs/mapl.md 1, 2, 4, 6)."""

import re
import unicodedata

UNICODE_VERSION = "14.0.0"  # section 2: text rules are Unicode 14.0; Python 3.11 has exactly these tables

STAR = "*"  # any run without "/"
STARS = "**"  # any run
ONE = "?"  # one character, in the globs of sections 4 and 7 only


class NotDecodableError(Exception):
    """A percent-encoded text that section 2 refuses to decode."""


def nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def nfkc(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def nfc_tree(value: object) -> object:
    """Section 1: NFC on every text of a JSON value, member names included."""
    if isinstance(value, str):
        return nfc(value)
    if isinstance(value, list):
        return [nfc_tree(item) for item in value]
    if isinstance(value, dict):
        return {nfc(name): nfc_tree(member) for name, member in value.items()}
    return value


# Default_Ignorable_Code_Point of DerivedCoreProperties.txt, Unicode 14.0, as a class of a regular expression.
IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def is_invisible(character: str) -> bool:
    """Section 4: category Cf, or Default_Ignorable_Code_Point."""
    return unicodedata.category(character) == "Cf" or IGNORABLE.match(character) is not None


def fold(text: str) -> str:
    """Section 4: invisible characters removed, NFKC, casefold, NFKC; marks that the removal joined, 30 at a time."""
    seen = "".join(c for c in text if not is_invisible(c))
    normal = nfkc if seen == text else nfkc_by_thirties
    return normal(normal(seen).casefold())


def nfkc_by_thirties(text: str) -> str:
    """NFKC with a joiner behind each 30 marks of a run of 31 or more: nothing is reordered or composed across it."""
    if not any(len(run) > 30 for run in re.split("[^M]", "".join(unicodedata.category(c)[0] for c in text))):
        return nfkc(text)
    joined, count = "", 0
    for character in text:
        count = count + 1 if unicodedata.category(character).startswith("M") else 0
        joined += character
        if count == 30:
            joined, count = joined + "\u034f", 0
    return nfkc(joined).replace("\u034f", "")


def known_as(name: str) -> str:
    """Section 8: one person, however the name is spelled: folded, blanks collapsed, without `user:`."""
    return " ".join(fold(name).split()).removeprefix("user:")


def slug(text: str) -> str:
    """Section 6: NFKC, casefold, runs of anything but a-z 0-9 become "-", trimmed."""
    return re.sub("[^a-z0-9]+", "-", nfkc(text).casefold()).strip("-")


def has_control(text: str) -> bool:
    return any(unicodedata.category(c) == "Cc" for c in text)


def has_control_or_format(text: str) -> bool:
    return any(unicodedata.category(c) == "Cc" or is_invisible(c) for c in text)


def has_outer_blanks(text: str) -> bool:
    return text != "" and (text[0].isspace() or text[-1].isspace())


def jcs_order(text: str) -> bytes:
    """RFC 8785: names are sorted as UTF-16 code units. "Document order" is this order (section 1)."""
    return text.encode("utf-16-be", "surrogatepass")


def glob_tokens(pattern: str, *, question: bool = False) -> list[str]:
    """Split into star runs and literals; a literal is marked with a leading "=". `?` is special only if `question`."""
    tokens = []
    for piece in re.findall(r"\*+|\?|[^*?]+" if question else r"\*+|[^*]+", pattern):
        if piece.startswith("*"):
            tokens.append(STAR if piece == "*" else STARS)
        elif question and piece == "?":
            tokens.append(ONE)
        else:
            tokens.append("=" + piece)
    return tokens


def fold_literals(tokens: list[str]) -> list[str]:
    """Section 4: stars are recognised before folding, so a literal that folds to "*" stays a literal."""
    return ["=" + fold(token[1:]) if token.startswith("=") else token for token in tokens]


def tokens_match(tokens: list[str], text: str) -> bool:
    """Whether the whole text is met: follow the set of all positions that can be reached."""
    positions = {0}
    for token in tokens:
        reached: set[int] = set()
        for position in positions:
            if token.startswith("="):
                if text.startswith(token[1:], position):
                    reached.add(position + len(token) - 1)
            elif token == ONE:
                if position < len(text):
                    reached.add(position + 1)
            else:
                for end in range(position, len(text) + 1):
                    if token == STAR and "/" in text[position:end]:
                        break
                    reached.add(end)
        positions = reached
    return len(text) in positions


def percent_decode_once(text: str) -> str:
    """One pass, in NFD: an accent may have become one letter with the last digit. A malformed escape stays as it is.

    Raises:
        NotDecodableError: the pass would decode a "/" or a "\\", or the result is not UTF-8.
    """
    for encoded in re.findall("%[0-9A-Fa-f]{2}", unicodedata.normalize("NFD", text)):
        if encoded.upper() in {"%2F", "%5C"}:
            raise NotDecodableError
    return percent_decode_any(text)


def percent_decode_any(text: str) -> str:
    """One pass, whatever it decodes. Raises NotDecodableError where the result is not UTF-8."""
    parts = unicodedata.normalize("NFD", text).encode("utf-8", "surrogatepass")
    decoded = re.sub(rb"%([0-9A-Fa-f]{2})", lambda m: bytes([int(m[1], 16)]), parts)
    try:
        return unicodedata.normalize("NFC", decoded.decode("utf-8"))
    except UnicodeDecodeError:
        raise NotDecodableError from None


def has_dot_segment(text: str) -> bool:
    """Sections 2 and 3: a `.` or `..` segment between `/` or `\\`."""
    return any(segment in {".", ".."} for segment in re.split(r"[/\\]", text))
