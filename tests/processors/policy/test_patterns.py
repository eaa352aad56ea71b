"""Resource names and patterns: the table of docs/mapl.md 2, refused names, and shortcuts held against RE2."""

import os
import subprocess
import sys

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.policy import limits
from processors.policy.errors import PolicyError, ResourceInvalidError
from processors.policy.globs import as_expression
from processors.policy.patterns import PatternPosition, check_pattern, matches, resource_name
from processors.text.forms import fold, nfc
from tests.house import ROOT

# pattern, resource, matched in grant position, matched in restriction position
TABLE = [
    ("tool:a/b", "tool:a/b", True, True),
    ("tool:a/*", "tool:a/b", True, True),
    ("tool:a/*", "tool:a/b/c", False, True),
    ("tool:a/**", "tool:a/b/c", True, True),
    ("tool:a/**", "tool:a", False, False),
    ("tool:*", "tool:a/b/c", True, True),
    ("tool:*", "data:x", False, False),
    ("tool:a*", "tool:app", True, True),
    ("tool:a*", "tool:app/run", False, True),
    ("*", "tool:calc", True, True),
    ("*", "tool:app/calc", False, True),
    ("**", "tool:app/calc", True, True),
    ("tool:*/read", "tool:a/b/read", False, True),
    ("tool:**/read", "tool:a/b/read", True, True),
    ("tool:**/read", "tool:read", False, False),
    ("data:finance:*", "data:finance:q1:x", True, True),
    ("data:finance:*", "data:finance:q1/x", False, True),
    ("data:finance", "data:finance:q1", False, False),
    ("calc", "calc", False, False),
    ("tool:calc", "calc", True, True),
    ("tool:Calc", "tool:calc", False, True),
    ("tool:caf\u00e9", "tool:cafe\u0301", True, True),
    ("tool:cafe\u0301", "tool:caf\u00e9", True, True),
    ("tool:paypal/*", "tool:p\u0430ypal/x", False, False),
    ("tool:a", "tool:\uff41", False, True),
    ("*.pem", "file:/etc/a.pem", False, True),
    ("*credential*", "tool:app/get_credentials", False, True),
    ("file:/etc/passwd", "file:/etc/p%61sswd", False, True),
    ("tool:a/b?", "tool:a/bc", False, False),
    ("file:C:\\t\\*", "file:C:\\t\\x", True, True),
    ("tool:a/b", "tool:a/b/", False, True),
    ("**", "@acme/tool:x", False, True),
    ("@acme/tool:*", "@acme/tool:x/y", True, True),
    # beside the table
    ("tool:x", "@acme/tool:x", False, True),
    ("@*/tool:x", "@acme/tool:x", False, True),
    ("@ac*", "@acme/tool:x", False, True),
    ("@acme/**", "@acme/calc", True, True),
    ("@acme/tool:*", "@acmes/tool:x", False, False),
    ("tool:GET_*", "tool:get_x", False, True),
    ("tool:stra\u00dfe", "tool:STRASSE", False, True),
    ("tool:a.b", "tool:axb", False, False),
    ("tool:[ab]", "tool:a", False, False),
    ("tool:(a|b)", "tool:a", False, False),
    ("tool:a*b*c", "tool:abcbc", True, True),
    ("tool:ab*bc", "tool:abc", False, False),
    ("file:/etc/passwd", "file:/etc/p%2561sswd", False, True),
    ("file:/etc/passwd", "file:/etc/p\uff0561sswd", False, True),
    ("file:/etc/passwd", "file:/etc/\uff30asswd", False, True),
]

REFUSED = [
    ("tool:a/../b", "dot segment"),
    ("tool:a/./b", "dot segment"),
    ("tool:..", "dot segment alone"),
    ("file:../etc/passwd", "dot segment first"),
    ("file:/a/..", "dot segment last"),
    ("file:C:\\a\\..\\b", "dot segment between backslashes"),
    ("file:C:..\\b", "dot segment after a drive"),
    ("tool:a%2fb", "encoded slash"),
    ("tool:a%2Fb", "encoded slash"),
    ("tool:a%5cb", "encoded backslash"),
    ("tool:a%252fb", "slash encoded twice"),
    ("tool:a%25252fb", "slash encoded three times"),
    ("tool:a%2525252fb", "still changing after three rounds"),
    ("tool:a%25252541", "still changing after three rounds"),
    ("tool:a%ef%bc%8fb", "encoded fullwidth slash"),
    ("tool:a%c0%afb", "overlong slash"),
    ("tool:a%ff", "not UTF-8 when decoded"),
    ("tool:a%00", "control when decoded"),
    ("tool:a%e2%80%8bb", "zero width when decoded"),
    ("tool:a%20", "trailing blank when decoded"),
    ("resource:file:///data/%2e%2e/etc", "encoded dot segment"),
    ("resource:file:///data/%2e./etc", "half encoded dot segment"),
    ("resource:file:///data/%252e%252e/etc", "dot segment encoded twice"),
    ("resource:file:///data/\uff0e\uff0e/etc", "fullwidth dot segment"),
    ("resource:file:///data/\u2025/etc", "two dot leader is a dot segment"),
    ("resource:file:///data/\uff052e\uff052e/etc", "dot segment behind fullwidth percents"),
    ("tool:a//b", "empty segment"),
    ("file:////x", "four slashes"),
    ("tool:a\uff0f/b", "empty segment behind a fullwidth slash"),
    ("tool:a/*", "star"),
    ("*", "star"),
    ("", "empty"),
    ("tool:", "empty rest"),
    ("@acme/", "empty foreign name"),
    ("@acme/tool:", "empty foreign rest"),
    (" tool:a", "outer blank"),
    ("tool:a ", "outer blank"),
    (" calc", "outer blank of a name without domain"),
    ("tool:a\u00a0", "outer blank of another kind"),
    ("tool:a\u200bb", "zero width space"),
    ("tool:a\u202eb", "bidi override"),
    ("tool:a\u00adb", "soft hyphen"),
    ("tool:a\nb", "control"),
    ("tool:a\x7fb", "control"),
    ("tool:a\u0378b", "unassigned"),
    ("tool:a\ud800b", "surrogate"),
    ("Tool:a", "domain in capitals"),
    ("TOOL:a", "domain in capitals"),
    ("\uff54ool:a", "fullwidth domain"),
    ("1tool:a", "domain begins with a digit"),
    (":a", "no domain"),
    ("a b:c", "no domain"),
    ("C:\\x", "a drive is no domain"),
    ("@Acme/tool:x", "no tenant"),
    ("@a/tool:x", "tenant too short"),
    ("tool:" + "a" * 1020, "too long"),
    ("tool:" + "\ufdfa" * 100, "too long after NFKC"),
    ("a" * 1020, "too long with its domain"),
    ("d" * 33 + ":a", "domain too long"),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "resource", "grant", "restriction"), TABLE)
def test_the_table_of_the_specification_holds(pattern, resource, grant, restriction):
    """Each pattern meets each name in exactly the positions that the table says."""
    name = resource_name(resource)

    assert matches(nfc(pattern), name, PatternPosition.GRANT) is grant
    assert matches(nfc(pattern), name, PatternPosition.RESTRICTION) is restriction


@pytest.mark.parametrize(("resource", "why"), REFUSED, ids=[f"{at}-{why}" for at, (_, why) in enumerate(REFUSED)])
def test_a_name_with_two_readings_is_refused(resource, why):
    """Traversal, hidden characters and everything else that two readers could read differently is no name."""
    with pytest.raises(ResourceInvalidError):
        resource_name(resource)


@pytest.mark.parametrize(
    ("resource", "text"),
    [
        ("calc", "tool:calc"),
        ("shop/buy", "tool:shop/buy"),
        ("@acme/calc", "@acme/tool:calc"),
        ("cafe\u0301", "tool:caf\u00e9"),
        ("resource:file:///data/x", "resource:file:///data/x"),
        ("http://host/x", "http://host/x"),
        ("tool:a...b/.c/d.", "tool:a...b/.c/d."),
        ("tool:a%zz%4", "tool:a%zz%4"),
        ("tool:a%2A", "tool:a%2A"),
        ("tool:a%252A", "tool:a%252A"),
        ("tool:a b", "tool:a b"),
        ("tool:\U0001f600", "tool:\U0001f600"),
        ("d" * 32 + ":a", "d" * 32 + ":a"),
        ("tool:" + "a" * 1019, "tool:" + "a" * 1019),
    ],
)
def test_an_ordinary_name_is_kept(resource, text):
    """A name gets its domain and NFC, and nothing else is done to it."""
    assert resource_name(resource).text == text


@pytest.mark.parametrize(
    ("pattern", "code"),
    [
        ("", "E_PATTERN"),
        (" tool:a", "E_PATTERN"),
        ("tool:a\u00a0", "E_PATTERN"),
        ("tool:\x00", "E_PATTERN"),
        ("*a" * 17, "E_PATTERN"),
        ("a" * 513, "E_LIMIT"),
    ],
)
def test_a_text_that_is_no_pattern_is_refused(pattern, code):
    """Empty texts, blanks around, controls and too many stars are refused with a place."""
    with pytest.raises(PolicyError) as raised:
        check_pattern(pattern, "/resources/0")

    assert (raised.value.code, raised.value.pointer) == (code, "/resources/0")


@pytest.mark.parametrize("pattern", ["*", "**a" * 16, "a" * 512, "\\", "tool:a*/b", "\U0001f600" * 250])
def test_patterns_at_their_limits_are_met(pattern):
    """The largest patterns pass, and their tests can be made in both positions."""
    check_pattern(pattern, "")

    for position in PatternPosition:
        assert matches(pattern, resource_name("tool:zzz"), position) is (pattern == "*")


locals_ = st.text("aAb/.:\u00e9\u212a\uff41%61", min_size=1, max_size=8)
patterns = st.text("aAb/.:*\u00e9\u212a\uff41", max_size=8).map(lambda text: "tool:" + text) | st.text(
    "*to:l/ab", min_size=1
)


@settings(deadline=None)
@given(patterns, locals_)
def test_shortcuts_answer_as_re2_does(pattern, local):
    """What is compared as text gives the answer of the expression that defines the pattern."""
    try:
        name = resource_name("tool:" + local)
    except ResourceInvalidError:
        return
    pattern = nfc(pattern)
    literals, stars = re2.split(r"\*+", pattern), re2.findall(r"\*+", pattern)
    narrow = re2.compile(as_expression(literals, stars))
    wide = re2.compile(as_expression([fold(literal) for literal in literals], ["**"] * len(stars)))

    granted = name.text.startswith("tool:") if pattern == "tool:*" else narrow.fullmatch(name.text) is not None
    assert matches(pattern, name, PatternPosition.GRANT) is granted
    restricted = any(wide.fullmatch(spelling) is not None for spelling in name.spellings)
    assert matches(pattern, name, PatternPosition.RESTRICTION) is restricted


@settings(deadline=None)
@given(patterns, locals_)
def test_what_grants_would_also_restrict(pattern, local):
    """Restriction position is the wider reading: a pattern that grants a name would deny it."""
    try:
        name = resource_name("tool:" + local)
    except ResourceInvalidError:
        return

    if matches(nfc(pattern), name, PatternPosition.GRANT):
        assert matches(nfc(pattern), name, PatternPosition.RESTRICTION)


@settings(deadline=None)
@given(st.text(max_size=40) | st.text("%25feE0cC.a/\\:@*\u00e9\uff0f\uff0e", max_size=40))
def test_only_its_own_error_escapes_and_names_are_stable(text):
    """Any text is a name or a ResourceInvalidError, and a name's text is the same name again."""
    try:
        name = resource_name(text)
    except ResourceInvalidError:
        return

    assert resource_name(name.text) == name
    assert len(name.text) <= limits.NAME_CHARS_MAX
    assert "*" not in name.text


TOLD = """
from processors.policy.errors import ResourceInvalidError
from processors.policy.patterns import resource_name
for name in ("tool:a//b%20", "tool:x/..%20", "tool:a%20//%2e%2e", "tool:\uff0e\uff0e//c%20"):
    try:
        resource_name(name)
    except ResourceInvalidError as exc:
        print(exc)
"""


def test_of_several_faults_every_process_tells_the_same() -> None:
    """The detail of a refusal is signed. Python draws the order of a set anew in each process."""
    told = {
        subprocess.run(
            [sys.executable, "-c", TOLD],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in range(1, 7)
    }

    assert len(told) == 1
    assert told.pop().count("\n") == 4
