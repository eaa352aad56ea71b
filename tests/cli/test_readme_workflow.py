"""The workflow part of the README runs as it stands."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from macaw.installation.development import open_person_session
from macaw.installation.tenancy import publish_policies, register_agent
from producers.tools import load_tools
from streams.local.choose import BrokerInfo
from tests.installation import installed

ROOT = Path(__file__).parents[2]


@pytest.mark.broker
def test_the_workflow_part_of_the_readme_runs(
    broker: BrokerInfo, tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its policy is accepted, its ten lines of Python do what they say."""
    section = (ROOT / "README.md").read_text("utf-8").split("## Workflow state")[1].split("\n## ")[0]
    [policy], [code] = (re.findall(rf"```{kind}\n(.*?)```", section, re.DOTALL) for kind in ("json", "python"))
    monkeypatch.setenv("MACAW_HOME", str(tmp_path))
    monkeypatch.setenv("BANK_DB", str(tmp_path / "bank.db"))
    found = load_tools(str(ROOT / "examples" / "tools" / "bank.py"))
    bank = sys.modules[found[0].function.__module__]
    with installed(broker, tmp_path, unique, development=True) as here:
        publish_policies(here.home, here.folder, [policy], {})
        for name in ("shopper", "clerk"):
            register_agent(here.home, here.folder, name, attributes={"roles": ["payer"]})
        open_person_session(here.home, here.folder, "carol", {"user": "carol", "roles": ["manager"]}, ttl_ms=600_000)
        with here.hosting("bank", bank):
            exec(compile(code.replace('"acme"', json.dumps(unique)), "README.md", "exec"), {})

    assert capsys.readouterr().out.splitlines() == ["{'sent': 2500, 'to': 'bob'}", "{'step': 2} [('plan', 1)]"]
