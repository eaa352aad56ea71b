"""`macaw organisation`, `policy --organisation`, `tenant limits` and `tenant users` on a real log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.local.choose import BrokerInfo
from tests.cli.commands import assert_one_sentence, run
from tests.installation import Installation, installed, unanswered

pytestmark = pytest.mark.broker


@pytest.fixture
def here(broker: BrokerInfo, tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    with installed(broker, tmp_path, unique, development=True, organisation="new") as running:
        monkeypatch.setenv("MACAW_HOME", str(running.home.path.parent))
        monkeypatch.chdir(tmp_path)
        yield running


def policy(folder: Path, policy_id: str, **members: object) -> str:
    path = folder / f"{policy_id.replace(':', '-')}.json"
    path.write_text(json.dumps({"policy_id": policy_id, **members}))
    return str(path)


def test_an_organisation_and_an_administrator_each_do_their_own(
    here: Installation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Publish, show, rotate, revoke and replace the key; then limits and users. Each refusal is one sentence."""
    key, new = str(here.folder.path / "organisation.key"), str(tmp_path / "next.key")
    calm, own = policy(tmp_path, "org:calm", denied_resources=["tool:bank/**"]), policy(tmp_path, "user:ann")
    more = policy(tmp_path, "org:more", denied_resources=["tool:x"])
    assert run(capsys, "policy", "publish", calm, "--organisation", key).status == 0
    listed = json.loads(run(capsys, "policy", "list", "--json").out)
    assert [(one["policy_id"], one["layer"], one["grants"]) for one in listed] == [("org:calm", "organisation", False)]
    assert_one_sentence(run(capsys, "policy", "publish", calm), 1)
    assert_one_sentence(run(capsys, "policy", "publish", own, "--organisation", key), 1)
    assert_one_sentence(run(capsys, "policy", "withdraw", "org:calm"), 1)
    assert_one_sentence(
        run(capsys, "policy", "publish", more, "--organisation", str(here.folder.path / "monitor.key")), 1
    )
    kid = here.folder.key("organisation").kid.hex()
    assert "macaw admin remove organisation" in run(capsys, "key", "revoke", kid).err

    rotated = run(capsys, "organisation", "rotate", key, new)
    assert rotated.status == 0, rotated.err
    assert run(capsys, "organisation", "rotate", key, new).status == 0  # gone on with: it is done already
    with unanswered():  # a key that is nobody's any more
        assert_one_sentence(run(capsys, "policy", "withdraw", "org:calm", "--organisation", key), 1)
    assert_one_sentence(run(capsys, "organisation", "rotate", str(here.folder.path / "admin.key"), new + "er"), 1)
    assert run(capsys, "organisation", "revoke", new).status == 0
    with unanswered():
        assert_one_sentence(run(capsys, "policy", "withdraw", "org:calm", "--organisation", new), 1)
    assert run(capsys, "admin", "offer", "organisation", "--out", "offer.json").status == 0
    named = run(capsys, "admin", "add", "organisation", "--offer", "offer.json")
    assert named.status == 0, named.err
    third = str(here.folder.key_file("admin", "organisation"))
    lifted = run(capsys, "policy", "withdraw", "org:calm", "--organisation", third)
    assert lifted.status == 0, lifted.err

    before = json.loads(run(capsys, "tenant", "limits", "--json").out)
    assert before["tier"] == "standard"
    assert run(capsys, "tenant", "limits", "--tier", "large").status == 0
    assert run(capsys, "tenant", "limits", "set", "policies=standard").status == 0
    after = json.loads(run(capsys, "tenant", "limits", "--json").out)
    assert after["tier"] is None
    for one in after["limits"]:
        assert one["limit"] == (one["standard"] if one["name"] == "policies" else one["cap"])
    for wrong in (["keys"], ["keys=x"], ["shoes=1"], ["keys=200", "keys=300"], ["keys=-1"], ["keys=²"]):
        assert run(capsys, "tenant", "limits", "set", *wrong).status == 2
    assert_one_sentence(run(capsys, "tenant", "limits", "set", "keys=1"), 1)

    (tmp_path / "persons.yaml").write_text("ann: {user: ann, roles: [analyst], company: Acme}\n")
    assert run(capsys, "dev", "session", "open", "ann").status == 0
    [ann] = json.loads(run(capsys, "tenant", "users", "--json").out)
    assert (ann["name"], ann["attributes"], ann["is_open"]) == (
        "user:ann",
        {"user": "ann", "roles": ["analyst"], "company": "Acme"},
        True,
    )
    shown = run(capsys, "policy", "effective", "--session", "user:ann")
    assert shown.status == 0, shown.err
