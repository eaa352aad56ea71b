"""A user's token is exchanged for one of the server's audience, and neither stands anywhere else."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from macaw.cli import main
from macaw.gateway import exchange as exchanging
from macaw.gateway import exchange_file, exchanged
from macaw.gateway.exchange import (
    ACCESS_TOKEN,
    LIFE_SECONDS_MAX,
    Exchanged,
    ExchangeError,
    ExchangeReason,
    ExchangeSettings,
    ExchangeSettingsError,
    assertion_of,
    exchange,
    read_answer,
)
from macaw.gateway.exchanged import ExchangedTokens
from streams.bridge.fetching import Fetcher
from tests.gateway.open_log import folder
from tests.gateway.token_endpoint import Answer, token_answer, token_endpoint

SUBJECT, ISSUED = "subject.of.ann-5f1c", "issued.for.files-77aa"
GOOD: dict[str, Any] = {
    "access_token": ISSUED,
    "issued_token_type": ACCESS_TOKEN,
    "token_type": "Bearer",
    "expires_in": 300,
}
SETTINGS = ExchangeSettings(
    endpoint="https://login.example/token", client_id="gw", method="client_secret_basic", secret="x", audience="files"
)


def test_the_request_has_the_token_the_audience_and_the_client_and_nothing_more() -> None:
    with token_endpoint(lambda _: token_answer(ISSUED)) as endpoint:
        found = exchange(Fetcher(), endpoint.settings(resource="https://files.example/mcp", scope="read"), SUBJECT)
    assert found == Exchanged(ISSUED, 300.0)
    [form], [head] = endpoint.forms, endpoint.heads
    assert form == {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": SUBJECT,
        "subject_token_type": ACCESS_TOKEN,
        "requested_token_type": ACCESS_TOKEN,
        "audience": "files",
        "resource": "https://files.example/mcp",
        "scope": "read",
    }
    named = base64.b64decode(head["Authorization"].removeprefix("Basic ")).decode()
    assert [unquote_plus(one) for one in named.split(":")] == ["gate way", "s3:cret"]
    assert "s3" not in repr(endpoint.settings())
    assert ISSUED not in repr(found)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(400, b'{"error":"invalid_target"}'), ExchangeReason.EXCHANGE_REFUSED),
        (Answer(401, b""), ExchangeReason.EXCHANGE_REFUSED),
        (Answer(429, b""), ExchangeReason.EXCHANGE_UNAVAILABLE),
        (Answer(503, b"<html>"), ExchangeReason.EXCHANGE_UNAVAILABLE),
        (Answer(307, b"", {"location": "http://127.0.0.1:9/"}), ExchangeReason.EXCHANGE_UNAVAILABLE),
        (Answer(200, b"x" * (300 * 1024)), ExchangeReason.EXCHANGE_ANSWER),
        (Answer(200, b'{"access_token":' + b"[" * 64), ExchangeReason.EXCHANGE_ANSWER),
        (Answer(200, b"", pause=1.0), ExchangeReason.EXCHANGE_UNAVAILABLE),
        (token_answer(SUBJECT), ExchangeReason.EXCHANGE_ANSWER),
    ],
)
def test_an_answer_that_is_no_token_is_refused_by_name(
    answer: Answer, reason: ExchangeReason, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchanging, "SECONDS", 0.5 if answer.pause else 10.0)
    with token_endpoint(lambda _: answer) as endpoint, pytest.raises(ExchangeError) as told:
        exchange(Fetcher(), endpoint.settings(), SUBJECT)
    assert told.value.reason is reason
    assert SUBJECT not in str(told.value)
    assert len(endpoint.forms) == 1, "no second endpoint has seen the token"


def test_an_endpoint_in_a_private_network_is_asked_only_if_it_was_named() -> None:
    with token_endpoint(lambda _: token_answer(ISSUED)) as endpoint, pytest.raises(ExchangeError):
        exchange(Fetcher(), endpoint.settings(private_hosts=()), SUBJECT)
    assert endpoint.forms == []


@pytest.mark.parametrize(
    "changed",
    [
        {"issued_token_type": "urn:ietf:params:oauth:token-type:id_token"},
        {"issued_token_type": None},
        {"token_type": "N_A"},
        {"token_type": None},
        {"access_token": None},
        {"access_token": ""},
        {"access_token": "a\r\nX: y"},
        {"access_token": "a" * 20_000},
        {"access_token": SUBJECT},
        {"expires_in": 0},
        {"expires_in": -1},
        {"expires_in": True},
        {"expires_in": "300"},
        {"expires_in": float("inf")},
    ],
)
def test_a_token_of_another_kind_is_not_taken(changed: dict[str, Any]) -> None:
    with pytest.raises(ExchangeError) as told:
        read_answer(GOOD | changed, SUBJECT)
    assert told.value.reason is ExchangeReason.EXCHANGE_ANSWER


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([*GOOD, "refresh_token"]), st.none() | st.text() | st.integers() | st.floats()))
def test_whatever_is_taken_is_one_header(changed: dict[str, Any]) -> None:
    try:
        found = read_answer(GOOD | changed, SUBJECT)
    except ExchangeError:
        return
    assert not {"\n", "\r", " ", "\0"} & set(found.token)
    assert found.token != SUBJECT
    assert 0 < found.seconds <= LIFE_SECONDS_MAX


def test_a_token_without_a_stated_life_lives_a_minute() -> None:
    assert read_answer({name: GOOD[name] for name in GOOD if name != "expires_in"}, SUBJECT).seconds == 60.0


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "EdDSA", "RS256"])
def test_a_client_proves_itself_by_a_signed_statement(algorithm: str) -> None:
    made: dict[str, Any] = {
        "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate,
        "RS256": lambda: rsa.generate_private_key(65537, 2048),
    }
    key = made[algorithm]()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    settings = replace(SETTINGS, method="private_key_jwt", secret=pem, key_id="k1")
    statement = assertion_of(settings, now=1_000)
    claims = jwt.decode(
        statement, key.public_key(), [algorithm], audience=settings.endpoint, options={"verify_exp": False}
    )
    assert (claims["iss"], claims["sub"], claims["exp"]) == ("gw", "gw", 1_060)
    assert jwt.get_unverified_header(statement)["kid"] == "k1"
    assert claims["jti"] != jwt.decode(assertion_of(settings, now=1_000), options={"verify_signature": False})["jti"]


def test_tokens_are_kept_for_one_session_each_until_shortly_before_their_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    asked: list[str] = []
    now = [100.0]
    monkeypatch.setattr(exchanged.time, "monotonic", lambda: now[0])

    def fetch(token: str) -> Exchanged:
        asked.append(token)
        if token.startswith("bad"):
            raise ExchangeError(ExchangeReason.EXCHANGE_REFUSED)
        return Exchanged(f"{ISSUED}.{token}.{len(asked)}", 100.0)

    async def play() -> None:
        tokens = ExchangedTokens(fetch)
        with pytest.raises(ExchangeError, match="EXCHANGE_MISSING"):
            await tokens.ready(b"a")
        for session, token in ((b"a", "one"), (b"b", "two"), (b"a", "one")):
            tokens.present(session, "user:ann", token, 3600.0)
        await tokens.ready(b"a")
        await tokens.ready(b"b")
        assert tokens.header(b"a") != tokens.header(b"b")
        assert sorted(asked) == ["one", "two"], "the third request waits for the first exchange"
        tokens.present(b"a", "user:ann", "one", 3600.0)
        now[0] += 80
        first = tokens.header(b"a")
        tokens.present(b"a", "user:ann", "one", 3600.0)
        await tokens.ready(b"a")
        while tokens.header(b"a") == first:  # noqa: ASYNC110 - another thread makes it so
            await asyncio.sleep(0)
        assert len(asked) == 3
        now[0] += 96
        with pytest.raises(ExchangeError, match="EXCHANGE_MISSING"):
            tokens.header(b"a")
        tokens.present(b"c", "user:eve", "bad", None)
        with pytest.raises(ExchangeError, match="EXCHANGE_REFUSED"):
            await tokens.ready(b"c")
        tokens.present(b"c", "user:eve", "bad", None)
        assert asked.count("bad") == 1, "not again at once"
        now[0] += exchanged.RETRY_SECONDS
        tokens.present(b"c", "user:eve", "good", 10.0)
        await tokens.ready(b"c")
        now[0] += 9.9
        with pytest.raises(ExchangeError):
            tokens.header(b"c")  # it ends with the session
        tokens.forget(b"b")
        with pytest.raises(ExchangeError):
            tokens.header(b"b")
        assert ISSUED not in repr(tokens.__dict__)
        tokens.close()

    asyncio.run(play())
    assert ISSUED not in caplog.text


def test_one_person_does_not_take_all_exchanges() -> None:
    async def play() -> None:
        go_on = threading.Event()

        def fetch(token: str) -> Exchanged:
            go_on.wait()
            return Exchanged(ISSUED + token, 100.0)

        tokens = ExchangedTokens(fetch)
        for number in range(exchanged.OF_ONE_MAX + 1):
            tokens.present(bytes([number]), "user:eve", str(number), None)
        tokens.present(b"ann", "user:ann", "ann", None)
        with pytest.raises(ExchangeError, match="EXCHANGE_BUSY"):
            tokens.header(bytes([exchanged.OF_ONE_MAX]))
        go_on.set()
        await tokens.ready(b"ann")
        tokens.close()

    asyncio.run(play())


def test_settings_are_a_private_file_that_the_command_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tenant = folder(tmp_path)
    monkeypatch.setenv("MACAW_HOME", str(tenant.path.parents[2]))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"s3cret-of-the-client\n")))
    how = ["--token-endpoint", SETTINGS.endpoint, "--client-id", "gw", "--audience", "files"]
    assert main(["mcp", "exchange", "files", *how, "--tenant", "acme"]) == 0
    path = exchange_file.path_of(tenant, "files")
    assert path.stat().st_mode & 0o777 == 0o600
    assert exchange_file.read(tenant, "files") == replace(SETTINGS, secret="s3cret-of-the-client")
    path.chmod(0o644)
    with pytest.raises(ExchangeSettingsError) as told:
        exchange_file.read(tenant, "files")
    assert "s3cret" not in str(told.value)
    path.chmod(0o600)
    path.write_text(json.dumps({"endpoint": 1}))
    with pytest.raises(ExchangeSettingsError, match="set them again"):
        exchange_file.read(tenant, "files")
    assert exchange_file.remove(tenant, "files")
    with pytest.raises(ExchangeSettingsError, match="no exchange is set"):
        exchange_file.read(tenant, "files")
    assert "s3cret" not in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    "changed",
    [
        {"audience": ""},
        {"method": "client_secret_post"},
        {"method": "private_key_jwt"},
        {"endpoint": "http://login.example/token"},
        {"endpoint": "https://u:p@login.example/token"},
        {"secret": ""},
        {"secret": "two\nlines"},
        {"scope": 'a"b'},
        {"client_id": ""},
    ],
)
def test_settings_that_cannot_serve_are_refused(changed: dict[str, str]) -> None:
    with pytest.raises(ExchangeSettingsError):
        exchange_file.check(replace(SETTINGS, **changed))
