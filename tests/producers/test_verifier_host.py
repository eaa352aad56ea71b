"""The host of a verifier: it judges the calls that callers signed, and a judge that fails denies."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from macaw.cli import main
from macaw.installation.tenancy import publish_policies, register_agent
from macaw.installation.verifiers import listed, register_verifier, served_key
from macaw.protocol.mcp_types import Invocation
from macaw.security.verification.result import ToolResult, VerificationResult
from macaw.security.verification.serving import (
    VerifierClassError,
    declaration_of,
    judge_of,
    prefix_of,
    verifier_in,
)
from macaw.security.verification.verifier import ResultVerifier, Verifier
from processors.identity.verifiers import verifier_of
from producers.client import Client, DeniedError
from producers.home.home import HomeError
from producers.kafka.connection import Connection
from producers.tools import tool
from producers.tools.asked_calls import AskedCall
from producers.tools.opinions import Opinion, verdict_of
from producers.tools.verifier_host import VerifierHost, VerifierSettings
from schemas.events.verdicts import VerifierFinding
from streams.local.choose import BrokerInfo
from tests.builders import WORST, declaration
from tests.house import ROOT
from tests.installation import Installation, installed
from tests.waiting import wait_until

CALL = AskedCall(bytes(16), bytes(32), "bot", ("bot",), "tool:bank/pay", {"q": "x"}, bytes(32), bytes(32))
GOOD = {"level": 1, "kind": "k", "opaque": False, "tables": ["t"]}
ONE = verifier_of("judge", declaration())
PLACE: dict[str, Any] = {"kind": "kk", "path": "", "start": 0, "end": 1}
SECRET = "hunter2-is-the-password"


class Sums(Verifier):
    """Denies large sums, asks about middle ones, and stamps the size."""

    prefix = "sums"
    stamps: ClassVar[dict[str, Any]] = {"size": "huge"}
    max_age_seconds = 20.0

    def __init__(self) -> None:
        super().__init__("Sums")
        self.scope.resource_patterns = ["tool:till/*"]
        self.scope.compile_patterns()
        self.release = threading.Event()

    def verify(self, invocation: Invocation, context: Any = None) -> VerificationResult:
        amount = invocation.params["amount"]
        if amount < 0:
            raise ValueError(f"{SECRET} {amount}")
        if amount == 7:
            self.release.wait(60)
        size = "small" if amount < 100 else "large"
        return VerificationResult(amount < 1000, "told to nobody", stamps={"size": size}, asks_people=amount >= 500)


class Till:
    """A tool that counts."""

    def __init__(self) -> None:
        self.paid: list[int] = []

    @tool
    def pay(self, amount: int) -> int:
        self.paid.append(amount)
        return amount


# ---- opinions


@pytest.mark.parametrize(
    ("failure", "opinion"),
    [
        ("ValueError", None),
        ("NoOpinion", None),
        ("NoOpinion", "pass"),
        ("NoOpinion", ("pass", GOOD, ())),
        ("MalformedOpinion", Opinion("allowed", GOOD)),
        ("MalformedOpinion", Opinion("missing", GOOD)),
        ("MalformedOpinion", Opinion("pass", {})),
        ("MalformedOpinion", Opinion("pass", {**GOOD, "secrets": False})),
        ("MalformedOpinion", Opinion("pass", {**GOOD, "level": "1"})),
        ("MalformedOpinion", Opinion("pass", {**GOOD, "level": 1.5})),
        ("MalformedOpinion", Opinion("pass", {**GOOD, "level": b""})),
        ("MalformedOpinion", Opinion("pass", {**GOOD, "kind": "\ud800"})),
        ("MalformedOpinion", Opinion("pass", {**GOOD, "tables": ["t"] * 65})),
        ("MalformedOpinion", Opinion("pass", GOOD, (VerifierFinding(kind="kk", path="", start=1, end=0),))),
        ("TypeError", Opinion("pass", 5)),
        ("TypeError", Opinion("pass", GOOD, 5)),
        ("MalformedFinding", Opinion("pass", GOOD, ("a finding",))),
        *(
            ("MalformedFinding", Opinion("pass", GOOD, (VerifierFinding(**{**PLACE, name: value}),)))
            for name, value in (
                ("kind", "\ud800"),
                ("kind", b"kk"),
                ("kind", None),
                ("kind", ["kk"]),
                ("kind", "a kind"),
                ("kind", "k\n"),
                ("path", "/\udfff"),
                ("path", "\u200b"),
                ("path", "/a\nb"),
                ("path", b"/"),
                ("path", "x" * 257),
                ("start", 0.0),
                ("end", 1.5),
                ("start", False),
                ("end", True),
                ("end", None),
            )
        ),
        (
            "OversizedOpinion",
            Opinion(
                "pass",
                {**GOOD, "tables": ["\u20ac" * 110] * 10},
                (VerifierFinding(kind="kk", path="\u20ac" * 160, start=0, end=0),) * 8,
            ),
        ),
        ("MalformedOpinion", Opinion("pass", {**GOOD, "tables": ["\u20ac" * 200] * 10})),
    ],
)
def test_an_opinion_that_is_not_as_declared_becomes_deny_with_the_worst_stamps(failure: str, opinion: Any) -> None:
    given = "ValueError" if failure == "ValueError" else ""
    body, why = verdict_of(ONE, CALL, opinion, failure=given, now_ms=1_000)
    assert why.partition(" ")[0] == failure
    assert (body.outcome, json.loads(body.stamps), body.findings) == ("deny", WORST, ())
    assert (body.call, body.session, body.resource) == (CALL.event_id, CALL.session_id, CALL.resource)


def test_a_good_opinion_is_bound_to_its_call() -> None:
    finding = VerifierFinding(kind="kk", path="/q", start=0, end=1)
    body, why = verdict_of(ONE, CALL, Opinion("ask", GOOD, (finding,)), failure="", now_ms=1_000)
    assert (why, body.outcome, json.loads(body.stamps), body.findings) == ("", "ask", GOOD, (finding,))
    assert (body.parameters_sha256, body.expires_at) == (CALL.parameters_sha256, 31_000)


# ---- classes


def test_a_class_becomes_a_declaration() -> None:
    declared = declaration_of(Sums())
    assert (declared.prefix, declared.resources, declared.max_age_ms) == ("sums", ("tool:till/*",), 20_000)
    assert [(one.name, one.type, one.worst) for one in declared.stamps] == [("size", "text", '"huge"')]


class Plain(Verifier):
    """A class as programs of the original have them: no stamps, and a change of the parameters."""

    def verify(self, invocation: Invocation, context: Any = None) -> VerificationResult:
        invocation.params["kind"] = "select"
        return VerificationResult(success=bool(context), message="x", details={})


class Stamping(Plain):
    """The same with a declared stamp."""

    stamps: ClassVar[dict[str, Any]] = {"kind": "other"}


def test_the_original_s_classes_are_served_as_they_are() -> None:
    assert prefix_of(Plain()) == "plain"
    assert judge_of(Plain())(CALL._replace(parameters={})) == Opinion("pass", {})
    assert judge_of(Stamping())(CALL._replace(parameters={})) == Opinion("pass", {"kind": "select"})
    caller_s = CALL._replace(parameters={"kind": "x"})  # a caller's own value of that name is no stamp
    assert judge_of(Stamping())(caller_s) == Opinion("pass", {"kind": "other"})


def test_a_call_that_a_class_does_not_look_at_has_the_worst_stamps() -> None:
    assert judge_of(Sums())(CALL) == Opinion("pass", {"size": "huge"})


def test_a_stamp_without_a_type_of_the_log_is_an_error_of_the_class() -> None:
    class Half(Plain):
        stamps: ClassVar[dict[str, Any]] = {"score": 0.5}

    with pytest.raises(VerifierClassError, match="score"):
        declaration_of(Half())


def test_a_module_with_one_verifier_needs_no_name(tmp_path: Any) -> None:
    path = tmp_path / "one.py"
    path.write_text(
        "from macaw.security.verification.result import VerificationResult\n"
        "from macaw.security.verification.verifier import Verifier\n"
        "class A(Verifier):\n"
        "    def verify(self, invocation, context=None):\n"
        "        return VerificationResult(True)\n"
    )
    assert verifier_in(str(path)).name == "A"
    path.write_text(path.read_text() + "class B(A):\n    pass\n")
    with pytest.raises(VerifierClassError, match="holds 2 verifiers"):
        verifier_in(str(path))
    assert verifier_in(f"{path}:B").name == "B"
    with pytest.raises(VerifierClassError):
        verifier_in(f"{path}:C")


def the_page_s() -> str:
    """Return the verifier of docs/verifiers.md."""
    page = (ROOT / "docs" / "verifiers.md").read_text("utf-8")
    return page.partition("<!-- save: rows.py -->")[2].partition("```python\n")[2].partition("```")[0]


def test_the_verifier_of_the_page_is_one_of_thirty_lines(tmp_path: Any) -> None:
    path = tmp_path / "amounts.py"
    path.write_text(the_page_s())
    assert len(the_page_s().splitlines()) <= 30
    found = verifier_in(str(path))
    assert [one.worst for one in declaration_of(found).stamps] == ['"huge"']
    judge, call = judge_of(found), CALL._replace(resource="tool:wiki/query")
    for amount, opinion in (
        (5, Opinion("pass", {"size": "small"})),
        (5_000, Opinion("ask", {"size": "large"})),
        ("5", Opinion("deny", {"size": "huge"})),
    ):
        assert judge(call._replace(parameters={"limit": amount})) == opinion


# ---- with a broker


@pytest.fixture(scope="module")
def installation(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(broker, tmp_path_factory.mktemp("verifier-host"), "judged") as found:
        register_agent(found.home, found.folder, "shopper", attributes={"roles": ["payer"]})
        rule = "deny::{tool.id == 'tool:till/pay' AND params.stamps.sums.size == 'huge'}"
        policy = {"policy_id": "role:payer", "resources": ["tool:till/*"], "attestations": [rule]}
        publish_policies(found.home, found.folder, [json.dumps(policy)], {})
        yield found


@pytest.mark.broker
def test_a_verifier_beside_the_log_judges_calls_and_its_failures_deny(
    installation: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    home, folder = installation.home, installation.folder
    sums, till = Sums(), Till()
    declared = declaration_of(sums)
    with pytest.raises(HomeError, match="no verifier 'sums'"):
        served_key(home, folder, "sums", declared)
    register_verifier(home, folder, "sums", declared)
    assert [(one.name, one.live_keys) for one in listed(home, folder)] == [("sums", 1)]
    key = served_key(home, folder, "sums", declared)
    settings = VerifierSettings(bootstrap=home.bootstrap, timeout_seconds=0.5, workers=1, security=home.security)
    caplog.set_level(logging.INFO)
    with installation.hosting("till", till), Connection(home, folder, key, "sums") as connection:
        host = VerifierHost(connection, declared, judge_of(sums), settings)
        thread = threading.Thread(target=host.run)
        thread.start()
        try:
            assert host.ready.wait(30)
            with Client.connect(folder.tenant, "shopper", home=home) as client:
                assert client.invoke("tool:till/pay", {"amount": 5}) == 5
                for amount, reason in ((2000, "VERIFIER_DENIED"), (600, "VERIFIER_ASKS")):
                    with pytest.raises(DeniedError) as told:
                        client.invoke("tool:till/pay", {"amount": amount})
                    assert told.value.reason == reason
                for amount in (7, -1):
                    with pytest.raises(DeniedError):
                        client.invoke("tool:till/pay", {"amount": amount})
                assert client.invoke("tool:till/pay", {"amount": 6}) == 6  # the thread that hangs was replaced
        finally:
            sums.release.set()
            host.stop()
            thread.join(60)
    assert till.paid == [5, 6]
    assert host.tally.failed == {"TimeoutError": 1, "ValueError": 1}
    assert "ValueError" in caplog.text
    assert SECRET not in caplog.text


class Web:
    """A tool with a page."""

    @tool
    def fetch(self, page: str) -> str:
        return f"{page}: pay to DE89370400440532013000"


class Pages(ResultVerifier):
    """Passes pages but the bad ones; at one it fails, at one it hangs."""

    prefix = "pages"

    def __init__(self) -> None:
        super().__init__("Pages")
        self.scope.resource_patterns = ["tool:web/*"]
        self.release = threading.Event()

    def verify_result(self, result: ToolResult, context: Any = None) -> VerificationResult:
        if "broken" in result.value:
            raise ValueError(SECRET)
        if "slow" in result.value:
            self.release.wait(60)
        return VerificationResult("bad" not in result.value)


@pytest.mark.broker
def test_a_verifier_beside_the_log_clears_results_after_they_were_passed_on(
    installation: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    home, folder = installation.home, installation.folder
    pages = Pages()
    declared = declaration_of(pages)
    register_verifier(home, folder, "pages", declared)
    register_agent(home, folder, "reader", attributes={"roles": ["reader"]})
    rule = {"id": "p", "when": "tool:notes/**", "not_from": "tool:web/*", "unless_cleared_by": "verifier:pages"}
    policy = {"policy_id": "role:reader", "resources": ["tool:web/*", "tool:notes/*"], "sequence": [rule]}
    publish_policies(home, folder, [json.dumps(policy)], {})
    key = served_key(home, folder, "pages", declared)
    settings = VerifierSettings(bootstrap=home.bootstrap, timeout_seconds=0.5, workers=1, security=home.security)
    host: VerifierHost

    def pays(client: Client) -> str:
        try:
            client.invoke("tool:notes/note", {"to": "DE89370400440532013000"})
        except DeniedError as denied:
            return denied.reason
        return "allowed"

    with (
        installation.hosting("notes", Notes()),
        installation.hosting("web", Web()),
        Client.connect(folder.tenant, "reader", home=home) as client,
    ):
        assert client.invoke("tool:web/fetch", {"page": "good"}).startswith("good")  # nobody judges yet
        assert pays(client) == "SEQUENCE_PROVENANCE"
        with Connection(home, folder, key, "pages") as connection:
            host = VerifierHost(connection, declared, judge_of(pages), settings)
            thread = threading.Thread(target=host.run)
            thread.start()
            try:
                wait_until(lambda: pays(client) == "allowed", "the page of before is cleared")
                for page in ("bad", "broken", "slow"):
                    given = sum(host.tally.given.values())
                    client.invoke("tool:web/fetch", {"page": page})
                    wait_until(lambda given=given: sum(host.tally.given.values()) > given, page)
                    assert pays(client) == "SEQUENCE_PROVENANCE"
            finally:
                pages.release.set()
                host.stop()
                thread.join(60)
    assert host.tally.given == {"pass": 1, "deny": 3}
    assert host.tally.failed == {"TimeoutError": 1, "ValueError": 1}
    assert SECRET not in caplog.text


class Notes:
    """A tool that takes an account down."""

    @tool
    def note(self, to: str) -> str:
        return to


@pytest.mark.broker
def test_the_commands_register_list_and_revoke(
    installation: Installation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A verifier that is registered again with the same key has its new declaration."""
    path = tmp_path / "amounts.py"
    monkeypatch.setenv("MACAW_HOME", str(installation.home.path.parent))
    tenant = ("--tenant", installation.folder.tenant)
    for text in (the_page_s(), the_page_s().replace("required = True", "required = False")):
        path.write_text(text)
        assert main(["verifier", "register", "amounts", str(path), *tenant]) == 0
    capsys.readouterr()
    assert main(["verifier", "list", "--json", *tenant]) == 0
    (one,) = [one for one in json.loads(capsys.readouterr().out) if one["name"] == "amounts"]
    assert (one["prefix"], one["required"], one["live_keys"]) == ("rows", False, 1)
    assert main(["verifier", "revoke", "amounts", *tenant]) == 0
    assert main(["verifier", "list", *tenant]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["100", "amounts", "rows", "arguments", "no", "0", "tool:wiki/query"] in rows
    assert main(["verifier", "serve", "amounts", str(tmp_path / "absent.py"), *tenant]) != 0
