"""The risk catalogue: what is read exactly, and that all else is the worst."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.content import (
    risk_amounts,
    risk_hosts,
    risk_paths,
    risk_recipients,
    risk_shell,
    risk_sql,
    risks,
    schema_keywords,
)
from processors.content.risks import classify
from processors.proof.jcs import JSONValue

WORST = {
    "files": risk_paths.WORST,
    "network": risk_hosts.WORST,
    "mail": risk_recipients.WORST,
    "money": risk_amounts.WORST,
    "shell": risk_shell.WORST,
    "sql": risk_sql.WORST,
}
LIMITS = {"medium": 10_000, "high": 100_000, "critical": 1_000_000}
JSON_VALUES: st.SearchStrategy[JSONValue] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40)
    | st.text(alphabet="0123456789.,eE-+x_ /:@[]%'\";\\selctfromupda*()\ud800", max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@pytest.mark.parametrize(
    ("value", "minor"),
    [
        (10, 1000),
        (10.5, 1050),
        (0.1, 10),
        ("10", 1000),
        ("10.50", 1050),
        ("1e3", 100_000),
        ("1.5E+2", 15_000),
        ("1,000.00", 100_000),
        ("1.000,00", 100_000),
        ("1,234,567.8", 123_456_780),
        ("0", 0),
    ],
)
def test_an_amount_is_read_exactly(value: JSONValue, minor: int) -> None:
    """In minor units."""
    found = classify("money", value)

    assert (found["read"], found["amount"]) == (True, minor)


@pytest.mark.parametrize(
    "value",
    [
        "1,000", "1.000", "0x10", "010", "１０００", "1_000", " 10", "10 ", "+10", "$10", "10 EUR",  # noqa: RUF001
        "1e-3", "10.005",
        "", "ten", "1,00,000.00", "1.", ".5", "1e99", "NaN", "Infinity", "--1", "1e3.5", "٣", 0.001, 1e300, True, None,
        [], [10], {"amount": 10}, {"amount": 10, "currency": "eur"}, {"amount": 10, "currency": "EUR", "fee": 1},
        float("nan"), float("inf"), 10**30,
    ],
)  # fmt: skip
def test_an_amount_in_doubt_is_the_worst(value: JSONValue) -> None:
    """Another reader may read another number."""
    assert classify("money", value, LIMITS) == risk_amounts.WORST


def test_an_amount_has_a_class() -> None:
    """By thresholds in minor units; without them each amount is critical."""
    values: list[JSONValue] = [99.99, 100, 1000, 10_000, -1]

    assert [classify("money", one, LIMITS)["class"] for one in values] == [
        "low",
        "medium",
        "high",
        "critical",
        "critical",
    ]
    assert classify("money", 0)["class"] == "critical"
    assert classify("money", {"amount": 1, "currency": "USD"}, {**LIMITS, "currencies": ["EUR"]})["class"] == "critical"
    assert classify("money", {"amount": 1, "currency": "EUR"}, {**LIMITS, "currencies": ["EUR"]})["class"] == "low"
    assert classify("money", 1, {**LIMITS, "high": "x"})["class"] == "high"


@pytest.mark.parametrize(
    "path",
    [
        "../a", "a/../b", "a/./b", "a//b", "//a", "./a", "%2e%2e/a", "%252e/a", "a%2fb", "~/a", "$HOME/a", "%TEMP%/a",
        "C:\\a", "C:/a", "\\\\host\\a", "a\\b", "file:///a", "a*", "a?", "{a,b}", "a\x00", "a\n",
        " a", "a ", "a.", "a /b",
        "a；b", "a\u2215b", "a\u200bb", "ａ", "-rf", "", "a" * 2000, "a\ud800", "a;b", "a`b`", None,  # noqa: RUF001
        1, [], ["a", 1], {}, "a:b",
    ],
)  # fmt: skip
def test_a_path_in_doubt_is_the_worst(path: JSONValue) -> None:
    """Another reader may open another file."""
    assert classify("files", path, {"roots": ["/srv"]}) == risk_paths.WORST


def test_a_path_has_stamps() -> None:
    """Inside a root or not, secret or not."""
    roots: dict[str, JSONValue] = {"roots": ["/srv/data/"]}

    assert classify("files", "/srv/data/a b.txt", roots)["class"] == "low"
    assert classify("files", "/srv/database", roots)["class"] == "high"
    assert classify("files", "/etc/hosts", roots)["system"] is True
    assert classify("files", "/srv/data/id_rsa", roots)["class"] == "critical"
    assert classify("files", ["a.txt", "/etc/shadow"])["class"] == "critical"
    assert classify("files", "notes/a.txt")["class"] == "low"
    assert classify("files", "notes/a.txt", roots)["class"] == "high"
    assert classify("files", "naïve.txt")["read"] is True


@pytest.mark.parametrize(
    "host",
    [
        "http://2130706433/", "http://127.1/", "http://0x7f.0.0.1/", "http://0177.0.0.1/", "http://127.0.0.1./",
        "http://a%2eexample.com/", "http://a@b.example/", "http://a.example\\@b.example/", "http://xn--a.example/",
        "http://ex\u0430mple.com/", "http://a.example:99999/", "http:///a", "http:a.example",
        "//a.example/", "a.example.",
        "http://[::1%25eth0]/", "http://[::1/", "-a.example", "a..example", "", " a.example",
        "a.example/x", None, 5, [],
        "http://1.2.3/", "http://1.2.3.256/", "a_b.example", "\ud800", "http://a.example:0/",
    ],
)  # fmt: skip
def test_a_host_in_doubt_is_the_worst(host: JSONValue) -> None:
    """Another reader may connect to another host."""
    assert classify("network", host, {"hosts": ["a.example", "b.example"]}) == risk_hosts.WORST


@pytest.mark.parametrize(
    ("host", "inside"),
    [
        ("https://example.com/a?b=c@d", False), ("https://EXAMPLE.com:8443", False), ("8.8.8.8", False),
        ("https://[2606:4700::1111]/", False), ("http://127.0.0.1/", True), ("10.1.2.3", True),
        ("169.254.169.254", True),
        ("http://[::1]/", True), ("http://[::ffff:8.8.8.8]/", True), ("http://[fe80::1]", True), ("localhost", True),
        ("db", True), ("metadata.google.internal", True), ("127.0.0.1.nip.io", True), ("172.32.0.1", False),
        ("172.31.0.1", True), ("100.64.0.1", True), ("240.0.0.1", True), ("http://[2002:7f00:1::]/", True),
    ],
)  # fmt: skip
def test_a_host_is_inside_or_public(host: str, inside: bool) -> None:
    """By networks and names."""
    found = classify("network", host)

    assert (found["read"], found["inside"]) == (True, inside)
    assert not inside or found["class"] == "critical"


def test_a_host_has_a_class() -> None:
    """Listed ones are low, others high where there is a list."""
    listed: dict[str, JSONValue] = {"hosts": [".example.com"]}

    assert classify("network", "https://a.example.com", listed)["class"] == "low"
    assert classify("network", "https://badexample.com", listed)["class"] == "high"
    assert classify("network", "http://a.example.com", listed)["class"] == "high"
    assert classify("network", "https://a.example.org")["class"] == "medium"
    assert classify("network", "https://a.example.com", {"hosts": [1]})["class"] == "high"


@pytest.mark.parametrize(
    "value",
    [
        "a@b.example, c@d.example", "A <a@b.example>", '"a b"@c.example', "a@b@c.example",
        "a%b@c.example", "a!b@c.example",
        "a@[127.0.0.1]", "a@127.0.0.1", "a@localhost", "a@xn--b.example", "a..b@c.example",
        ".a@b.example", "a(b)@c.example",
        "a@b.example\r\nBcc: c@d.example", "ä@b.example", "", "a", None, [], [1], "a@b.example;",
        " a@b.example", "\ud800@b.example",
    ],
)  # fmt: skip
def test_a_recipient_in_doubt_is_the_worst(value: JSONValue) -> None:
    """Another reader may send it elsewhere."""
    assert classify("mail", value, {"internal": ["b.example"]}) == risk_recipients.WORST


def test_recipients_have_a_class() -> None:
    """Inside, outside, many."""
    inside: dict[str, JSONValue] = {"internal": ["b.example", ".c.example"]}

    assert classify("mail", ["a+x@b.example", "a@d.c.example"], inside)["class"] == "low"
    assert classify("mail", ["a@b.example", "a@evil.example"], inside)["class"] == "high"
    assert classify("mail", [f"a{n}@b.example" for n in range(10)], inside)["class"] == "critical"
    assert classify("mail", "a@b.example")["class"] == "high"


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("SELECT a, count(*) FROM t WHERE b = 'x;--y' GROUP BY a", "select", "low"),
        ('select * from "my table" where a in (1, 2);', "select", "low"),
        ("WITH x AS (SELECT 1) SELECT * FROM x", "select", "low"),
        ("INSERT INTO t (a, b) VALUES (1, 'x')", "insert", "medium"),
        ("UPDATE t SET a = 1 WHERE b = 2", "update", "high"),
        ("UPDATE t SET a = 1", "update", "critical"),
        ("DELETE FROM t WHERE a = :id", "delete", "high"),
        ("DELETE FROM t", "delete", "critical"),
    ],
)
def test_a_statement_has_a_kind(text: str, kind: str, expected: str) -> None:
    """Read without doubt."""
    found = classify("sql", text)

    assert (found["read"], found["kind"], found["class"]) == (True, kind, expected)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1; DROP TABLE t", "SELECT 1 -- x", "SELECT /* x */ 1", "SELECT 1 # x", "DROP TABLE t", "TRUNCATE t",
        "SELECT * INTO OUTFILE '/tmp/x' FROM t", "SELECT * FROM t FOR UPDATE", "SELECT pg_read_file('/etc/passwd')",
        "SELECT * FROM IDENTIFIER('a')", "SELECT * FROM delta.`/mnt/a`",
        "SELECT * FROM read_files('a')", "SELECT 'a\\'",
        "SELECT $$a$$", "SELECT 'a", "WITH x AS (DELETE FROM t) SELECT 1", "SELECT TRANSFORM(*) USING 'bash'", "EXEC x",
        "SELECT * FROM 'a.csv'", "ＳＥＬＥＣＴ 1", "SELECT \u200b1", "", " ",  # noqa: RUF001
        "EXPLAIN ANALYZE DELETE FROM t", None, 1, [],
        "SELECT (" * 1500, "SELECT {x}", "SELECT xp_cmdshell('x')", 'select "f"(1)', "a" * 5000, "SELECT '\ud800'",
        "GRANT ALL ON t TO u", "VALUES 1; SELECT 1",
    ],
)  # fmt: skip
def test_a_statement_in_doubt_is_the_worst(text: JSONValue) -> None:
    """Another reader may run something else."""
    assert classify("sql", text) == risk_sql.WORST


@given(st.sampled_from(sorted(WORST)), JSON_VALUES, st.dictionaries(st.sampled_from(["roots", "hosts"]), JSON_VALUES))
def test_any_value_is_classified(name: str, value: JSONValue, options: dict[str, JSONValue]) -> None:
    """Never raises; the stamps are those of the worst, and an unread value is just that."""
    found = classify(name, value, options)

    assert found.keys() == WORST[name].keys()
    assert found["read"] is True or found == WORST[name]


@given(st.text(alphabet="abc/.-_ ", max_size=30), st.sampled_from(["..", "%2e%2e", "~", "\\", "$x", "\x00"]))
def test_a_path_with_an_odd_segment_is_never_read(path: str, odd: str) -> None:
    """Wherever it stands."""
    assert classify("files", f"{path}/{odd}/{path}") == risk_paths.WORST


def test_an_unknown_classifier_is_refused() -> None:
    """The message names those that there are."""
    with pytest.raises(ValueError, match=r"use one of files, mail, money, network, shell, sql"):
        classify("nothing", 1)


def test_the_statement_is_json() -> None:
    """The digest of the catalogue is made of it."""
    assert json.loads(json.dumps(risks.statement())).keys() == {
        "risk_paths", "risk_recipients", "risk_amounts", "risk_hosts", "risk_shell", "risk_sql",
    }  # fmt: skip


def test_a_schema_may_name_every_classifier_and_no_other():
    assert tuple(sorted(risks.CLASSIFIERS)) == schema_keywords.RISKS


@pytest.mark.parametrize(
    ("command", "expected"), [("ls -l", "low"), ("rm -rf /", "critical"), ("$(x) y", "critical"), (3, "critical")]
)
def test_commands_are_classified_as_the_shell_reads_them(command: JSONValue, expected: str):
    found = risks.classify("shell", command)
    assert found["class"] == expected
    assert found["read"] is (expected == "low" or command == "rm -rf /")
