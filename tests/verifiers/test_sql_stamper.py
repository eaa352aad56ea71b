"""The SQL stamper: what a statement reads and writes, and nothing unread is ever mild."""

from __future__ import annotations

import importlib.util
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from macaw.protocol.mcp_types import Invocation
from tests.optional import OPTIONAL
from tests.rows import every
from tests.verifiers.sql_statements import BY_DIALECT, EVERYWHERE, bombs

if importlib.util.find_spec("sqlglot") is None:
    pytest.skip(f"{OPTIONAL}sqlglot (pip install 'macaw-streams[sql]')", allow_module_level=True)

from macaw.security.verification.serving import declaration_of, judge_of, verifier_in
from macaw.verifiers.sql import WORST, SqlStamper, stamps_of
from producers.tools.asked_calls import AskedCall

DIALECTS = sorted(BY_DIALECT)


def _parsed() -> list[tuple[str, str, list[str]]]:
    found = []
    for dialect in DIALECTS:
        for line in (EVERYWHERE + BY_DIALECT[dialect]).strip().splitlines():
            if not line.strip():
                continue
            head, told = _split(line)
            found.append((dialect, head, told))
    return found


def _split(line: str) -> tuple[str, list[str]]:
    """Return the statement of a line, and its four columns; a statement may hold `||`."""
    parts = [part.strip() for part in line.replace("||", "\x01").split("|")]
    return parts[0].replace("\x01", "||"), (parts[1:] + [""] * 4)[:4]


def test_each_statement_has_its_stamps() -> None:
    def holds(row: tuple[str, str, list[str]]) -> None:
        dialect, text, (kind, read, written, flags) = row
        stamps = stamps_of(text, dialect)
        if kind == "X":
            assert stamps == WORST
            return
        assert (stamps["kind"], stamps["unread"]) == (kind, False)
        assert " ".join(stamps["tables_read"]) == read
        assert " ".join(stamps["tables_written"]) == written
        told = {
            "*": stamps["select_star"],
            "e": stamps["embedded_sql"],
            "o": stamps["opaque_source"],
            "u": bool(stamps["unknown_functions"]),
        }
        assert "".join(flag for flag, is_set in told.items() if is_set) == flags

    table = _parsed()
    assert len(table) >= 200
    every(table, lambda row: f"{row[0]}: {row[1]}", holds)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_text_beyond_the_bounds_has_the_worst_stamps(dialect: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for text in bombs():
        assert stamps_of(text, dialect) == WORST, text[:40]
    assert caplog.text == ""


@given(
    st.text(alphabet=st.sampled_from("select * from t(),;'\"`-/*[]{}<>.:$@#!=\\\n\ud800\u200b\uff54and0"), max_size=80)
)
def test_no_text_raises(text: str) -> None:
    """And stamps have their types, whatever the text is."""
    for dialect in DIALECTS:
        stamps = stamps_of(text, dialect)
        assert {name: type(value) for name, value in stamps.items()} == {n: type(v) for n, v in WORST.items()}


@pytest.mark.parametrize("name", ["div0", "div0null"])
def test_a_function_whose_reading_copies_its_arguments_is_bounded(name: str) -> None:
    assert stamps_of("select " + f"{name}(1, " * 24 + "x" + ")" * 24, "snowflake") == WORST


def test_a_dialect_without_tests_is_refused() -> None:
    class Other(SqlStamper):
        dialect = "tsql"

    with pytest.raises(ValueError, match="tsql"):
        Other()
    assert stamps_of("select 1 delete from secret", "tsql") == WORST


def test_what_a_parser_warns_of_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Its warnings quote the statement."""
    stamps_of("explain select hunter2", "postgres")
    assert "hunter2" not in caplog.text


def call(**parameters: Any) -> AskedCall:
    return AskedCall(bytes(16), bytes(32), "bot", ("bot",), "tool:sql/run", parameters, bytes(32), bytes(32))


def test_the_shipped_class_is_served_by_its_module() -> None:
    stamper = verifier_in("macaw.verifiers.sql")
    assert isinstance(stamper, SqlStamper)
    declared = declaration_of(stamper)
    assert (declared.prefix, len(declared.stamps)) == ("sql", len(WORST))
    judge = judge_of(stamper)
    assert judge(call(sql="select a from t")).stamps["tables_read"] == ["t"]
    for parameters in ({}, {"sql": 1}, {"sql": "select 1", "query": "drop table t"}, {"sql": {"$body": "x"}}):
        assert judge(call(**parameters)).stamps == WORST


def test_a_call_is_not_changed() -> None:
    invocation = Invocation("tool:sql/run", {"sql": "select 1"})
    assert SqlStamper().verify(invocation)
    assert invocation.params == {"sql": "select 1"}
