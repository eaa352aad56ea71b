"""`macaw verifier import`, `catalogues`, `withdraw` and `policy simulate --catalogue`, by hand and on a real log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.local.choose import BrokerInfo
from tests.cli.commands import assert_one_sentence, run
from tests.installation import Installation, installed

LEAKS = """
[[rules]]
id = "acme-token"
regex = "ACME-[0-9]{8}"

[[rules]]
id = "backwards"
regex = "(?<=x)y"

[[rules]]
id = "noisy"
regex = "NOISE-[0-9]+"
entropy = 3.0
"""


@pytest.fixture
def rules(tmp_path: Path) -> str:
    path = tmp_path / "Own leaks.toml"
    path.write_text(LEAKS)
    return str(path)


def test_a_dry_run_lists_each_rule_that_is_left_out_or_altered(
    rules: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a tenant: nothing is sent."""
    told = run(capsys, "verifier", "import", rules, "--verifier", "secrets", "--dry-run", "--json")
    assert told.status == 0, told.err
    found = json.loads(told.out)
    assert [(one["name"], one["rules"]) for one in found["catalogues"]] == [("own-leaks", 2)]
    assert [(one["rule"], "RE2" in one["why"]) for one in found["left_out"]] == [("backwards", True)]
    assert [one["rule"] for one in found["altered"]] == ["noisy"]
    assert found["changes"] is None
    shown = run(capsys, "verifier", "import", rules, "--verifier", "secrets", "--dry-run")
    assert "backwards" in shown.out
    assert "dry run" in shown.out


def test_a_broken_file_or_option_is_one_sentence(rules: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = home / "broken.conf"
    broken.write_text('SecRule ARGS "@rx a\n')
    ran = run(capsys, "verifier", "import", str(broken), "--verifier", "secrets", "--dry-run")
    assert_one_sentence(ran, 1)
    assert "broken.conf: line 1" in ran.err
    for wrong in (["--verifier", "parameters"], ["--verifier", "secrets", "--name", "Own"]):
        assert run(capsys, "verifier", "import", rules, *wrong).status == 2
    for wrong in (["--catalogue", rules], ["--catalogue", rules, "--verifier", "secrets", "--verifiers", "on"]):
        assert run(capsys, "policy", "simulate", *wrong).status == 2


@pytest.fixture
def here(broker: BrokerInfo, tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    with installed(broker, tmp_path, unique, development=True) as running:
        monkeypatch.setenv("MACAW_HOME", str(running.home.path.parent))
        monkeypatch.chdir(tmp_path)
        yield running


@pytest.mark.broker
def test_a_file_is_loaded_shown_replaced_tried_and_withdrawn(
    here: Installation, rules: str, capsys: pytest.CaptureFixture[str]
) -> None:
    loading = ("verifier", "import", rules, "--verifier", "secrets", "--name", "own", "--json")
    loaded = run(capsys, *loading)
    assert loaded.status == 0, loaded.err
    assert json.loads(loaded.out)["changes"] == {"published": ["own"], "kept": [], "withdrawn": []}
    (shown,) = json.loads(run(capsys, "verifier", "catalogues", "--json").out)
    assert (shown["name"], shown["verifier"], shown["rules"]) == ("own", "secrets", 2)
    assert json.loads(run(capsys, *loading).out)["changes"] == {"published": [], "kept": ["own"], "withdrawn": []}

    Path(rules).write_text(LEAKS.replace("{8}", "{9}"))
    assert json.loads(run(capsys, *loading).out)["changes"]["published"] == ["own"]
    tried = run(
        capsys, "policy", "simulate", "--catalogue", rules, "--verifier", "secrets", "--verifiers", "deny", "--json"
    )
    assert tried.status == 0, tried.err
    assert json.loads(tried.out)["flips"] == 0

    assert "own" in run(capsys, "verifier", "catalogues").out
    assert run(capsys, "verifier", "withdraw", "own").status == 0
    assert_one_sentence(run(capsys, "verifier", "withdraw", "own"), 1)
    assert "no catalogues" in run(capsys, "verifier", "catalogues").out
