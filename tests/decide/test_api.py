"""The endpoint: who may ask, what is too much, and what is never told."""

import json
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from processors.policy.evaluation import Lookups
from streams.address import AddressError, address_of
from streams.authzen import limits
from streams.authzen.api import EVALUATION, EVALUATIONS, METADATA
from streams.http import SECURITY_HEADERS, door
from streams.http.door import REQUEST_ID_CHARS_MAX
from tests.decide.asking import CLERK, QUESTION, TOKEN, Endpoint, standing_of

TEXT = json.dumps(QUESTION).encode()
JSON = ("Content-Type", "application/json")
BEARER = ("Authorization", f"Bearer {TOKEN}")
SECRET = "4111111111111111"
QUESTIONS = [EVALUATION, EVALUATIONS]


@pytest.fixture
def endpoint(tmp_path: Path) -> Endpoint:
    standing = standing_of(tmp_path, [CLERK])
    return Endpoint(tmp_path, lambda: standing)


class TestToken:
    @pytest.mark.parametrize("path", QUESTIONS)
    @pytest.mark.parametrize(
        "authorization",
        [
            None,
            "",
            "Bearer",
            "Bearer ",
            f"Bearer {TOKEN}x",
            f"Bearer {TOKEN[:-1]}",
            f"Basic {TOKEN}",
            TOKEN,
            "Bearer \xe4",
        ],
    )
    def test_without_it_every_question_has_one_answer(
        self, endpoint: Endpoint, path: str, authorization: str | None
    ) -> None:
        """Given before anything else is looked at."""
        headers: Any = [(b"Authorization", authorization.encode("latin-1"))] if authorization is not None else []
        answers = {
            (response.status_code, response.content, tuple(sorted(response.headers.items())))
            for text in (TEXT, b"", b"{", b"x" * (limits.BODY_BYTES_MAX + 1))
            for more in ([], [JSON], [("Content-Type", "text/html")])
            for response in [endpoint.send(text, path, headers=[*headers, *more])]
        }

        [(code, body, told)] = answers
        assert (code, json.loads(body)["code"]) == (401, "TOKEN_REFUSED")
        assert ("www-authenticate", "Bearer") in told

    def test_a_stranger_is_refused_before_the_body_is_read(self, endpoint: Endpoint) -> None:
        async def endless() -> AsyncIterator[bytes]:
            raise AssertionError("it was read")
            yield b""

        assert endpoint.send(headers=[JSON], stream=endless()).status_code == 401

    def test_two_tokens_are_none(self, endpoint: Endpoint) -> None:
        assert endpoint.send(TEXT, headers=[BEARER, BEARER, JSON]).status_code == 401

    @pytest.mark.parametrize("token", ["", "short"])
    def test_a_token_file_that_was_cut_short_opens_nothing(self, endpoint: Endpoint, token: str) -> None:
        endpoint.write_token(token)

        assert endpoint.send(TEXT, headers=[("Authorization", f"Bearer {token}"), JSON]).status_code == 401

    def test_a_token_that_was_replaced_or_removed_is_worth_nothing(self, endpoint: Endpoint) -> None:
        endpoint.write_token("n" * 43)
        assert endpoint.send(TEXT).status_code == 401
        assert endpoint.send(TEXT, headers=[("Authorization", f"bearer {'n' * 43}"), JSON]).status_code == 200

        (endpoint.folder.path / "authzen.token").unlink()
        assert endpoint.send(TEXT, headers=[("Authorization", f"Bearer {'n' * 43}"), JSON]).status_code == 401


class TestBrowser:
    @pytest.mark.parametrize("path", [*QUESTIONS, METADATA, "/healthz", "/nothing"])
    @pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1", "null", ""])
    def test_no_page_asks(self, endpoint: Endpoint, path: str, origin: str) -> None:
        method = "POST" if path in QUESTIONS else "GET"

        response = endpoint.send(TEXT, path, method=method, headers=[BEARER, JSON, ("Origin", origin)])

        assert response.status_code == 403
        assert "access-control-allow-origin" not in response.headers

    @pytest.mark.parametrize("path", [*QUESTIONS, METADATA, "/healthz"])
    @pytest.mark.parametrize(
        "host",
        [
            "evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "127.0.0.1:80:90",
            "",
            "127.0.0.1 ",
            "[::2]",
        ],
    )
    def test_a_name_that_was_bent_to_lead_here_is_refused(self, endpoint: Endpoint, path: str, host: str) -> None:
        method = "POST" if path in QUESTIONS else "GET"

        assert endpoint.send(TEXT, path, method=method, headers=[BEARER, JSON, ("Host", host)]).status_code == 421

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:4711", "localhost:80", "LOCALHOST", "[::1]:80"])
    def test_loopback_has_several_names(self, endpoint: Endpoint, host: str) -> None:
        assert endpoint.send(TEXT, headers=[BEARER, JSON, ("Host", host)]).status_code == 200

    def test_two_hosts_are_none(self, endpoint: Endpoint) -> None:
        hosts = [("Host", "127.0.0.1"), ("Host", "evil.example")]

        assert endpoint.send(TEXT, headers=[BEARER, JSON, *hosts]).status_code == 421


class TestAddress:
    def test_by_itself_it_is_called_by_where_it_listens(self) -> None:
        assert address_of("127.0.0.1", 4711, None).url == "http://127.0.0.1:4711"
        assert address_of("::1", 4711, None).url == "http://[::1]:4711"
        assert address_of("localhost", 80, None).is_ours("localhost:80")

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "pdp.example.com"])
    def test_a_token_is_not_taken_in_the_clear(self, host: str) -> None:
        with pytest.raises(AddressError, match="in the clear"):
            address_of(host, 80, None)

        behind = address_of(host, 80, "https://pdp.example.com:8443")
        assert behind.url == "https://pdp.example.com:8443"
        assert behind.is_ours("PDP.example.com:8443")
        assert not behind.is_ours("0.0.0.0")

    @pytest.mark.parametrize(
        "url",
        [
            "http://pdp.example.com",
            "https://",
            "https://a/b",
            "https://a?b",
            "https://a#b",
            "https://a?",
            "https://a:123456",
            "https://a\n",
            "https://u:p@a",
            "a",
            "",
        ],
    )
    def test_what_is_no_address(self, url: str) -> None:
        with pytest.raises(AddressError, match="is not https"):
            address_of("127.0.0.1", 80, url)


class TestBounds:
    @pytest.mark.parametrize("path", QUESTIONS)
    def test_a_body_has_a_largest_size(self, endpoint: Endpoint, path: str) -> None:
        largest = TEXT + b" " * (limits.BODY_BYTES_MAX - len(TEXT))

        assert endpoint.send(largest, path).status_code == 200
        assert endpoint.send(largest + b" ", path).status_code == 413

    def test_what_is_too_large_is_not_read_to_its_end(self, endpoint: Endpoint) -> None:
        async def endless() -> AsyncIterator[bytes]:
            for sent in range(100):
                assert sent * 65536 <= limits.BODY_BYTES_MAX + 65536, "it was read on"
                yield b" " * 65536

        assert endpoint.send(headers=[BEARER, JSON], stream=endless()).status_code == 413

    def test_what_comes_too_slowly_is_given_up(self, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
        import asyncio

        monkeypatch.setattr(door, "BODY_SECONDS", 0.05)

        async def dripping() -> AsyncIterator[bytes]:
            yield b"{"
            await asyncio.sleep(30)
            yield b"}"

        assert endpoint.send(headers=[BEARER, JSON], stream=dripping()).status_code == 408

    @pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""])
    def test_a_body_of_another_kind_is_refused(self, endpoint: Endpoint, kind: str | None) -> None:
        headers = [BEARER] if kind is None else [BEARER, ("Content-Type", kind)]

        response = endpoint.send(TEXT, headers=headers)

        assert (response.status_code, response.json()["code"]) == (400, "CONTENT_TYPE_REFUSED")

    def test_two_kinds_are_none(self, endpoint: Endpoint) -> None:
        assert endpoint.send(TEXT, headers=[BEARER, JSON, ("Content-Type", "text/plain")]).status_code == 400

    @pytest.mark.parametrize("request_id", ["", "x" * (REQUEST_ID_CHARS_MAX + 1), "a b", "\xe4", "a\tb"])
    def test_a_request_id_that_is_not_given_back_is_refused(self, endpoint: Endpoint, request_id: str) -> None:
        headers: Any = [BEARER, JSON, (b"X-Request-ID", request_id.encode("latin-1"))]

        response = endpoint.send(TEXT, headers=headers)

        assert response.status_code == 400
        assert "x-request-id" not in response.headers

    def test_two_request_ids_are_none(self, endpoint: Endpoint) -> None:
        ids = [("X-Request-ID", "a"), ("X-Request-ID", "b")]

        assert endpoint.send(TEXT, headers=[BEARER, JSON, *ids]).status_code == 400


class TestSilence:
    """Nothing of what was asked about is in an error or a log line."""

    @pytest.mark.parametrize(
        "text",
        [
            json.dumps({"subject": SECRET}),
            json.dumps(QUESTION | {"subject": {"type": SECRET, "id": SECRET}}),
            json.dumps(QUESTION | {"resource": {"type": SECRET, "id": SECRET, "properties": SECRET}}),
            json.dumps(QUESTION | {"resource": QUESTION["resource"] | {"properties": {"card": SECRET}}}),
            json.dumps(QUESTION | {"action": {"name": f"{SECRET}/{SECRET}"}}),
            json.dumps({"evaluations": [{"subject": SECRET}, QUESTION | {"action": SECRET}]}),
            json.dumps({"evaluations": SECRET}),
            json.dumps({"evaluations": [{}], "options": {"evaluations_semantic": SECRET}}),
            '{"card": "' + SECRET + '", "card": "' + SECRET + '"}',
            '{"card": ' + SECRET * 3,
            SECRET,
        ],
    )
    def test_no_value_is_told_or_logged(self, endpoint: Endpoint, caplog: pytest.LogCaptureFixture, text: str) -> None:
        with caplog.at_level(logging.DEBUG):
            answers = [endpoint.send(text.encode(), path) for path in QUESTIONS]

        assert all(SECRET not in answer.text for answer in answers)
        ours = [record for record in caplog.records if record.name.startswith(("streams", "processors", "producers"))]
        assert all(SECRET not in record.getMessage() for record in ours)

    def test_what_fails_inside_is_neither_an_answer_nor_a_traceback(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        def failing(key: bytes) -> int:
            raise OSError(f"cannot look up {SECRET}")

        standing = standing_of(tmp_path, [CLERK | {"constraints": {"rate_limit": 1}}])
        broken = replace(standing, policies=replace(standing.policies, tables=Lookups(buckets=failing)))

        response = Endpoint(tmp_path, lambda: broken).send(TEXT)

        assert response.status_code == 500
        assert response.json()["code"] == "INTERNAL_ERROR"
        assert SECRET not in response.text
        assert "OSError" in caplog.text
        assert SECRET not in caplog.text


class TestSurface:
    @pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
    @pytest.mark.parametrize("path", QUESTIONS)
    def test_a_question_is_posted(self, endpoint: Endpoint, path: str, method: str) -> None:
        assert endpoint.send(TEXT, path, method=method).status_code == 405

    @pytest.mark.parametrize("path", ["/", "/access/v1/search/subject", f"{EVALUATION}/", "/docs", f"{METADATA}/acme"])
    def test_there_is_no_other_path(self, endpoint: Endpoint, path: str) -> None:
        assert endpoint.send(TEXT, path).status_code == 404

    @pytest.mark.parametrize("headers", [[], [BEARER, JSON], [BEARER], [("Origin", "x")], [("X-Request-ID", "")]])
    @pytest.mark.parametrize("path", [*QUESTIONS, METADATA, "/healthz", "/nothing"])
    def test_every_answer_carries_the_security_headers(
        self, endpoint: Endpoint, path: str, headers: list[tuple[str, str]]
    ) -> None:
        method = "POST" if path in QUESTIONS else "GET"

        found = endpoint.send(TEXT, path, method=method, headers=headers).headers

        assert {name: found.get(name) for name in SECURITY_HEADERS} == dict(SECURITY_HEADERS)
