"""Other spellings of a path: what allows meets none of them, what forbids meets all of them (ADR 0016)."""

import posixpath
import unicodedata
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from processors.policy.errors import ResourceInvalidError
from processors.policy.patterns import SLASH_LOOKALIKES, grants, resource_name, restricts
from processors.policy.spellings import path_spellings
from processors.text.forms import fold
from tests.processors.policy.test_parameters import denies, reason

# Pieces of which hostile spellings are made.
PIECES = st.lists(
    st.sampled_from(
        [
            "files", "etc", "passwd", "a", "x.txt", "/", "\\", "//", ".", "..", "%2e", "%2E%2e", "%2f", "%5c", "%252f",
            "\uff0f", "\uff3c", "\uff0e", "\uff0e\uff0e", "\u2025", "\u2024", "\ufe52", "\ufe68", "\0", "\x1f", "%00",
            "\u200b", "\u00ad", "\u202e", "%e2%80%8b", "%EF%BC%8F", "%25", "%", " ", "\t", "\n", ":", "@", "\u0301",
            *sorted(SLASH_LOOKALIKES),
        ]
    ),
    max_size=10,
).map("".join)  # fmt: skip


def allowed(members: list[str], value: str) -> bool:
    """Return whether a value passes an enumeration."""
    return reason({"parameters": {"**": {"v": members}}}, {"v": value}) == "ALLOWED"


# ---- what allows


@pytest.mark.parametrize(
    "value",
    [
        "files/a%2fb",
        "files/a%2Fb",
        "files/a%252fb",
        "files/a\\b",
        "files/a%5cb",
        "files/a\uff0fb",
        "files/a\uff3cb",
        "files/a\ufe68b",
        "files/a\u2215b",
        "files/a\u2044b",
        "files/a\u29f8b",
        "files/a%e2%88%95b",
        "files/a%EF%BC%8Fb",
        "files/..",
        "files/.",
        "files/\uff0e\uff0e",
        "files/\u2025",
        "files/\u2024\u2024",
        "files/%2e%2e",
        "files/.%2e",
        "files/%252e%252e",
        "files/%25252525",
        "files/%ff",
        "files/passwd\0.txt",
        "files/passwd%00.txt",
        "files/a\nb",
        "files/a\x85b",
        "files/a\u200bb",
        "files/a\u202eb",
        "files/a%e2%80%8bb",
        "files/a\ud7fcb",
        "files/a ",
        "files/a\u00a0",
        "files/a%20",
        "files/a/b",
        "files/\ue000\0",
        "files/..\\x",
        "files/C:..",
        "files/.\u200b.",
    ],
)
def test_a_star_meets_no_other_path(value: str) -> None:
    """`files/*` is a file below `files`, and nothing that any reader takes for anything else."""
    assert not allowed(["files/*"], value)
    assert not allowed(["files/*", "*/*"], value)


@pytest.mark.parametrize(
    "value",
    [
        "files/\uff0e\uff0e/etc/passwd",
        "files//etc/passwd",
        "files/\\etc",
        "files/a\\..\\..\\etc",
        "files/%2e%2e/etc",
        "files/x/\u2025/\u2025/etc",
        "files/x\0/../etc",
    ],
)
def test_two_stars_meet_nothing_that_climbs(value: str) -> None:
    """Nor an empty segment, behind which a path begins anew."""
    assert not allowed(["files/**"], value)


@pytest.mark.parametrize(
    ("members", "value"),
    [
        (["files/*"], "files/a.txt"),
        (["files/*"], "files/a%20b"),
        (["files/*"], "files/100%"),
        (["files/**"], "files/a/b/.hidden"),
        (["C:\\data\\*"], "C:\\data\\x.txt"),
        (["https://example.com/**"], "https://example.com/a/b?q=%C3%BC"),
        (["* cups"], "1\u00bd cups"),
        (["*@corp.com"], "ann.b@corp.com"),
        (["\u00fc*"], "u\u0308ber"),
        (["*"], "anything\0/../at all"),
        (["**"], "\uff0e\uff0e/x"),
        (["a\\b", "x*"], "a\\b"),
        (["files/../a"], "files/../a"),
    ],
)
def test_what_reads_one_way_is_met(members: list[str], value: str) -> None:
    """Plain values, and members without stars to the letter; a lone star asks nothing."""
    assert allowed(members, value)


@pytest.mark.parametrize("value", ["C:\\data\\x\\y", "C:/data/x", "C:\\data\\..\\x", "c:\\data\\x"])
def test_a_star_stops_at_a_backslash(value: str) -> None:
    """As at a slash, and the two are not taken for each other."""
    assert not allowed(["C:\\data\\*"], value)


@given(PIECES)
@example("a%2525252fb")
@example("%5\u0107")
@example("a%2f\u0307b")
@example("a%252\u1e1fb")
def test_whatever_a_star_meets_stays_one_segment_in_every_reading(rest: str) -> None:
    """Decoded as often as anybody may, normalised, with either slash: still one file below `files`."""
    if not allowed(["files/*"], f"files/{rest}"):
        return
    readings = {rest}
    for _ in range(5):
        readings |= {reading for one in readings for reading in (unquote(one), unicodedata.normalize("NFKC", one))}
    for one in readings:
        assert not set(one) & ({"/", "\\", "\0"} | SLASH_LOOKALIKES)
        assert one not in {".", ".."}
        assert not any(unicodedata.category(character) in {"Cc", "Cf"} for character in one)


@given(PIECES)
def test_a_name_has_as_many_segments_in_every_spelling(rest: str) -> None:
    """What would become a slash, or looks like one, is no name."""
    try:
        name = resource_name(f"data:{rest}")
    except ResourceInvalidError:
        return
    assert not set(name.text) & SLASH_LOOKALIKES
    flat = [one.replace("\\", "/") for one in name.spellings]
    segments = {one.strip("/").count("/") - one.count("//") for one in flat if "://" not in one}
    assert len(segments) <= 1


# ---- what forbids: resources


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("data:repo/.github/workflows/*", "data:repo/.github\\workflows\\x"),
        ("data:repo/.github/workflows/*", "data:repo\\.GITHUB/Workflows\\x"),
        ("data:repo/.github/workflows/*", "data:repo\\%2egithub\\workflows\\x"),
        ("data:repo/.github/workflows/*", "@acme/data:repo\\.github\\workflows\\x"),
        ("data:repo/secret", "data:repo\\secret\\"),
        ("file:/etc/*", "file:///etc/passwd"),
        ("file:/etc/*", "file://etc\\passwd"),
        ("file:C:\\t\\*", "file:c:\\t\\x"),
    ],
)
def test_a_denial_takes_a_backslash_for_a_slash(pattern: str, name: str) -> None:
    """And several slashes for one; a grant does not."""
    resource = resource_name(name)
    assert restricts(pattern, resource)
    assert not grants(pattern, resource)


# ---- what forbids: parameters

DENIED = ["/etc/*", "*.github/workflows/*"]


@pytest.mark.parametrize(
    "value",
    [
        "/etc/passwd",
        "//etc/passwd",
        "/srv/../etc/passwd",
        "/%65tc/passwd",
        "/./etc/passwd",
        "/etc//passwd",
        "/../etc/x",
        "\\etc\\passwd",
        "%2fetc%2fpasswd",
        "%252fetc%252fpasswd",
        "/a/b/../../etc/x",
        "/ETC/passwd",
        "/\uff45tc/passwd",
        "\uff0fetc\uff0fpasswd",
        "/e\u200btc/passwd",
        "/e\ttc/passwd",
        "\u2215etc\u2215passwd",
        "/etc/.",
        "/srv\\..\\etc\\x",
        "/x/..%2fetc/passwd",
        "/etc%2F",
        "//etc/",
        "/etc/passwd\0.txt",
        "/%25252525252565tc",
        "/%cc%81" + "%cc%81" * 40,
        ".github/./workflows/x",
        ".github\\workflows\\x",
        ".github//workflows/x",
        "a/.github/b/../workflows/x",
        "%2egithub/workflows/x",
        ".git\u00adhub/workflows/x",
        "/srv/%2e%2e/etc/x",
        "/srv/\uff0e\uff0e/etc/x",
    ],
)
def test_no_spelling_of_a_denied_path_passes(value: str) -> None:
    """However deep it stands, as a value or as a member's name."""
    assert denies("path", DENIED, {"path": value}) == "DENIED"
    assert denies("*", DENIED, {"o": [{"path": value}]}) == "DENIED"
    assert denies("o", DENIED, {"o": {value: 1}}) == "DENIED"


@pytest.mark.parametrize(
    "value",
    ["/srv/etc", "etc/passwd", "/etcetera", "100%", "/srv/%zz", "a.github", "/srv/..", "..", "", "/", "https://x/y"],
)
def test_other_paths_pass(value: str) -> None:
    """A denial is wide, not blind."""
    assert denies("path", DENIED, {"path": value}) == "ALLOWED"


@pytest.mark.parametrize(
    ("item", "value", "expected"),
    [
        ("C:\\windows\\*", "c:/windows/system32", "DENIED"),
        ("C:\\windows\\*", "C:\\temp\\..\\windows\\x", "DENIED"),
        ("/etc/passwd", "/etc/passwd/", "DENIED"),
        ("/etc/passwd", "/etc/passwd\0", "DENIED"),
        ("/etc", "/etc/.", "DENIED"),
        ("https://evil.example/*", "https:\\\\evil.example\\x", "DENIED"),
        ("https://evil.example/*", "https:///evil.example/x", "DENIED"),
        ("https://evil.example/*", "https%3a//evil.example/x", "DENIED"),
        ("*/etc/*", "file:///etc/passwd", "DENIED"),
        ("/a?c/*", "//abc/d", "DENIED"),
        ("drop*", "dr%6fp", "ALLOWED"),  # no path: to the text alone
        ("\uff0a/x", "y/x", "ALLOWED"),  # a full-width star is a letter
    ],
)
def test_an_item_is_a_path_where_it_has_a_slash(item: str, value: str, expected: str) -> None:
    """Of either kind; other items are held against the folded text alone, as before."""
    assert denies("v", [item], {"v": value}) == expected


@given(
    st.lists(st.sampled_from(["etc", "srv", "a", ".", "..", "", "x"]), max_size=8), st.sampled_from(["/", "\\", "%2f"])
)
def test_what_resolves_to_a_denied_path_is_denied(segments: list[str], slash: str) -> None:
    """Whatever way leads there: POSIX's own resolution says where."""
    path = posixpath.normpath("/" + "/".join(segments))
    if path.startswith("/etc/"):
        assert denies("path", ["/etc/*"], {"path": slash + slash.join(segments)}) == "DENIED"


@pytest.mark.parametrize("hidden", ["%2\u1e1f", "%2f\u0307", "%5\u0107", "%252\u1e1f"])
def test_an_accent_hides_no_escape(hidden: str) -> None:
    """The last digit and an accent become one letter in NFC; a tool that gets them apart decodes a slash."""
    with pytest.raises(ResourceInvalidError):
        resource_name(f"data:a{hidden}b")
    assert any("/" in one.removeprefix("/etc") for one in path_spellings(fold(f"/etc{hidden}passwd")) or ())
