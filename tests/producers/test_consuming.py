"""Reading what anybody may have written to a topic."""

from __future__ import annotations

from producers.consuming import headers_of


class Hostile:
    """A record with a header name that is not UTF-8: the library answers with an error of the interpreter."""

    def headers(self) -> None:
        raise SystemError("returned a result with an exception set") from UnicodeDecodeError(
            "utf-8", b"\xff", 0, 1, "x"
        )


class Plain:
    def __init__(self, headers: list[tuple[str, bytes]] | None) -> None:
        self._headers = headers

    def headers(self) -> list[tuple[str, bytes]] | None:
        return self._headers


def test_a_header_name_that_is_no_text_stops_nobody() -> None:
    """The record counts as one without headers, so without a proof: it is refused like any other."""
    assert headers_of(Hostile()) == []


def test_headers_are_given_as_they_came() -> None:
    """In order, doubled ones included; none is none."""
    assert headers_of(Plain([("a", b"1"), ("a", b"2")])) == [("a", b"1"), ("a", b"2")]
    assert headers_of(Plain(None)) == []
