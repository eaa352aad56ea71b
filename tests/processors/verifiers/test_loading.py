"""The tables of detectors are loaded before the first record is folded, and a record then loads nothing more."""

from __future__ import annotations

import subprocess
import sys

import pytest

from processors.calls.verifiers.loading import NONE, wanted
from processors.state.settings import settings_of
from schemas.events.tenancy import TenantSetting
from tests.engines import NEWEST
from tests.house import ROOT
from tests.world import Office

# A process of its own, because this one has loaded everything. It counts modules, compiled filters, and the caches
# without arguments: each is a table.
PROGRAM = """
import sys, inspect
from processors.calls.verifiers import loading, pipeline
from processors.policy.evaluation import new_work
from processors.state.settings import SETTINGS, settings_of
from schemas.events.tenancy import TenantSetting
from schemas.words import Surface
from bench.verifiers import WORST
from examples.demo.verifiers.pairs import CONTENT
import re2

compiled = []
Filter = re2.Filter
re2.Filter = lambda: compiled.append(1) or Filter()

def tables():
    found = 0
    for name, module in sorted(sys.modules.items()):
        if name.startswith("processors.content"):
            for one in vars(module).values():
                if hasattr(one, "cache_info") and not inspect.signature(one).parameters:
                    found += one.cache_info().misses
    return len([name for name in sys.modules]), len(compiled), found

names = sys.argv[1:]
on = settings_of([TenantSetting(name=name, value=SETTINGS[name][-1]) for name in names]
                 + [TenantSetting(name="verifiers.stop_on_first_failure", value="false")])
if on.verifiers_stop_on_first_failure:
    loading.load(name.partition(".")[2] for name in names)
before = tables()
texts = [one * 20 for one in WORST] + [str(value) for pair in CONTENT for value in pair.attack.values()]
texts += ["+49 170 1234567", "DE89 3704 0044 0532 0130 00", "\\u0430b %41 \\\\x41 &lt;", "x; $(id) > /etc/passwd"]
schema = '{"type":"object","properties":{"t":{"type":"array"}}}'
for surface in Surface:
    pipeline.verify(surface, "tool:a/b", {"t": texts}, schema, on, new_work())
print(before == tables(), before, tables())
"""
ALL = (
    "verifiers.prompt_injection",
    "verifiers.command_injection",
    "verifiers.personal_data",
    "verifiers.secrets",
    "verifiers.parameters",
)


@pytest.mark.parametrize(
    "names", [*((one,) for one in ALL), ALL], ids=lambda names: names[-1] if len(names) == 1 else "all"
)
def test_what_was_loaded_is_all_that_a_record_needs(names: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, *names], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.startswith("True"), done.stdout


def test_a_tenant_wants_what_it_has_turned_on() -> None:
    tables = Office.opened(**NEWEST).world.tables
    assert wanted(tables) == NONE
    given = (
        TenantSetting(name="verifiers.secrets", value="stamp"),
        TenantSetting(name="results.prompt_injection", value="withhold"),
        TenantSetting(name="results.output_schema", value="withhold"),
    )
    tables.settings = settings_of(given)
    assert wanted(tables) == {"secrets", "prompt_injection", "output_schema"}


def test_engine_1_wants_none() -> None:
    assert wanted(Office.opened().world.tables) == NONE
