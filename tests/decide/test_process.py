"""`macaw decide`: one question at the terminal, and a real server on loopback."""

import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from macaw.cli import main
from macaw.installation import tenancy
from macaw.installation.tokens import ensure_token
from producers.home.home import Home, HomeError, TenantHome
from streams.authzen.questions import read_question
from streams.http.door import TOKEN_CHARS_MIN
from tests.decide.asking import EXAMPLE, TOKEN
from tests.decide.test_interop import MORTY, ROWS
from tests.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]
FILES = ["--policies", str(EXAMPLE / "policies"), "--directory", str(EXAMPLE / "directory.yaml")]
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
DELETE = ["--subject", MORTY, "--action", "can_delete_todo", "--resource", "todo:1"]


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an installation of which nothing runs: neither broker nor monitor."""
    folder = Home.create(tmp_path, {"tenant": "acme", "bootstrap": "127.0.0.1:1"}).tenant("acme").path
    folder.mkdir(parents=True)
    (folder / "authzen.token").write_text(TOKEN)
    monkeypatch.setenv("MACAW_HOME", str(tmp_path))
    monkeypatch.delenv("MACAW_BOOTSTRAP_SERVERS", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextmanager
def serving(base: Path, *arguments: str) -> Iterator[tuple[str, int, "subprocess.Popen[str]"]]:
    """Run the command until the block ends and give where it listens."""
    with subprocess.Popen(
        [sys.executable, "-m", "macaw.cli", "decide", "--serve", *arguments],
        cwd=ROOT,
        env={**os.environ, "MACAW_HOME": str(base)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            assert said.startswith("answers at http://127.0.0.1:"), said + process.stderr.read()
            address = urlsplit(said.split()[2].rstrip(","))
            assert address.hostname is not None
            assert address.port is not None
            yield address.hostname, address.port, process
        finally:
            process.kill()


def post(host: str, port: int, path: str, body: object, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("POST", path, json.dumps(body), HEADERS if headers is None else headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_a_server_on_loopback_gives_the_published_answers(base: Path) -> None:
    """Without a broker: policies and subjects are files. It ends when it is told to."""
    with serving(base, *FILES) as (host, port, process):
        for row in ROWS:
            status, found = post(host, port, "/access/v1/evaluation", row["request"])
            assert (status, found["decision"]) == (200, row["expected"]), row["id"]
        status, found = post(host, port, "/access/v1/evaluations", {"evaluations": [row["request"] for row in ROWS]})
        assert [one["decision"] for one in found["evaluations"]] == [row["expected"] for row in ROWS]
        assert post(host, port, "/access/v1/evaluation", ROWS[0]["request"], {})[0] == 401
        connection = http.client.HTTPConnection(host, port, timeout=PATIENCE_SECONDS)
        connection.request("GET", "/.well-known/authzen-configuration")
        metadata = json.loads(connection.getresponse().read())
        connection.close()
        assert metadata["access_evaluation_endpoint"] == f"http://{host}:{port}/access/v1/evaluation"

        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_request_without_a_host_reaches_nothing(base: Path) -> None:
    """Whatever the server beneath makes of it."""
    with serving(base, *FILES) as (host, port, _), socket.create_connection((host, port), 20) as connection:
        connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert connection.recv(4096).split()[1] in {b"400", b"421"}


class TestToken:
    """The token of this endpoint is its own, also for a tenant that was founded when it was that of the views."""

    def test_a_tenant_that_has_none_gets_one_and_hears_of_it(self, base: Path) -> None:
        folder = Home.open(base).tenant("acme")
        (folder.path / "genesis").write_text("ab" * 32)
        (folder.path / "views.token").write_text(TOKEN)
        (folder.path / "authzen.token").unlink()

        assert ensure_token(folder, "authzen") is True

        file = folder.path / "authzen.token"
        first = folder.token("authzen")
        assert len(first) >= TOKEN_CHARS_MIN
        assert first != TOKEN
        assert file.stat().st_mode & 0o777 == 0o600
        assert ensure_token(folder, "authzen") is False
        assert folder.token("authzen") == first

    def test_the_command_says_what_changed_and_no_token(self, base: Path) -> None:
        folder = Home.open(base).tenant("acme")
        (folder.path / "genesis").write_text("ab" * 32)
        (folder.path / "views.token").write_text(TOKEN)
        (folder.path / "authzen.token").unlink()
        with subprocess.Popen(
            [sys.executable, "-m", "macaw.cli", "decide", "--serve", *FILES],
            cwd=ROOT,
            env={**os.environ, "MACAW_HOME": str(base)},
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert process.stderr is not None
                said = [process.stderr.readline(), process.stderr.readline()]
                address = urlsplit(said[1].split()[2].rstrip(","))
                assert address.hostname is not None
                assert address.port is not None
                question = ROWS[0]["request"]
                path = "/access/v1/evaluation"
                with_old = post(address.hostname, address.port, path, question)
                own = {**HEADERS, "Authorization": f"Bearer {folder.token('authzen')}"}
                with_own = post(address.hostname, address.port, path, question, own)
            finally:
                process.kill()

        assert said[0].startswith(f"created {folder.path / 'authzen.token'}: ")
        assert "views.token" in said[0]
        assert (with_old[0], with_own[0]) == (401, 200)
        assert "authzen.token" in with_old[1]["next"]
        assert folder.token("authzen") not in "".join(said)

    def test_a_folder_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        folder = TenantHome("acme", tmp_path / "acme")
        folder.path.mkdir()
        (folder.path / "genesis").write_text("ab" * 32)
        (folder.path / "authzen.token").symlink_to("nowhere/authzen.token")

        with pytest.raises(HomeError, match=r"authzen\.token"):
            ensure_token(folder, "authzen")

    def test_founding_makes_a_token_for_each_front(self, tmp_path: Path) -> None:
        home = Home.create(tmp_path, {})
        folder = home.tenant("acme")
        folder.path.parent.mkdir(parents=True)

        tenancy._prepare(home, folder, development=True, organisation=None, roots=1, threshold=1)

        tokens = {folder.token(front) for front in ("views", "authzen")}
        assert len(tokens) == 2
        assert {path.stat().st_mode & 0o777 for path in folder.path.glob("*.token")} == {0o600}


class TestRefusals:
    """What is wrong is said in one sentence, before anything listens."""

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([*FILES, "--host", "0.0.0.0"], "in the clear"),
            ([*FILES, "--url", "http://pdp.example.com"], "is not https://NAME"),
            (
                ["--policies", str(EXAMPLE), "--directory", str(EXAMPLE / "directory.yaml")],
                "directory.yaml would be passed over",
            ),
            (
                ["--policies", str(EXAMPLE / "question.json"), "--directory", str(EXAMPLE / "directory.yaml")],
                "question.json is refused: E_UNKNOWN_FIELD",
            ),
            (["--policies", str(EXAMPLE / "policies")], "cannot read directory.yaml"),
            ([*FILES, "--tenant", "ghost"], "tenant 'ghost' is not known here"),
            (["--directory", str(EXAMPLE / "directory.yaml")], "not known here"),
        ],
    )
    def test_of_the_server(
        self, base: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
    ) -> None:
        assert main(["decide", "--serve", *arguments]) == 1
        assert message in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], "a question needs `--subject`, `--action` and `--resource`"),
            (["--subject", "a", "--action", "b"], "a question needs `--subject`, `--action` and `--resource`"),
            (["--serve", *DELETE], "questions come over HTTP: remove `--subject`"),
            (["--subject", "a", "--action", "b", "--resource", "c"], "want TYPE:ID"),
            ([*DELETE, "--properties", '{"a":1,"a":2}'], "has a member twice"),
            ([*DELETE, "--properties", "[]"], "object"),
        ],
    )
    def test_of_the_command_line(
        self, base: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
    ) -> None:
        assert main(["decide", *arguments, *FILES]) == 2
        assert message in capsys.readouterr().err


class TestOneQuestion:
    @pytest.mark.parametrize(
        ("owner", "status", "reason"),
        [("morty@the-citadel.com", 0, "ALLOWED"), ("rick@the-citadel.com", 1, "CONDITION_DENIED")],
    )
    def test_the_answer_is_json_and_the_exit_status(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        owner: str,
        status: int,
        reason: str,
    ) -> None:
        """No installation is needed to ask files."""
        monkeypatch.setenv("MACAW_HOME", str(tmp_path))

        assert main(["decide", *DELETE, "--properties", json.dumps({"ownerID": owner}), *FILES]) == status

        found = json.loads(capsys.readouterr().out)
        assert (found["decision"], found["context"]["reason"]) == (status == 0, reason)
        assert (found["context"]["advisory"], found["context"]["as_of"]) == (True, None)

    def test_the_page_shows_what_the_command_answers(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The example's page holds a command with its answer: that very answer."""
        monkeypatch.chdir(EXAMPLE)
        page = (EXAMPLE / "README.md").read_text("utf-8")
        shown = page.partition("$ macaw decide --policies")[2].partition("```")[0]
        command, _, expected = shown.partition("\n{")

        assert main(["decide", "--policies", *shlex.split(command.replace("\\\n", ""))]) == 1
        assert json.loads(capsys.readouterr().out) == json.loads("{" + expected)
        assert read_question(json.loads((EXAMPLE / "question.json").read_text("utf-8"))).subject_id == MORTY

    def test_a_subject_has_a_type(self, capsys: pytest.CaptureFixture[str]) -> None:
        arguments = ["--subject", MORTY, "--action", "GET", "--resource", "route:/todos", *FILES]

        assert main(["decide", *arguments, "--subject-type", "identity"]) == 0
        assert main(["decide", *arguments, "--subject-type", "agent"]) == 1
        assert "SUBJECT_UNKNOWN" in capsys.readouterr().out
