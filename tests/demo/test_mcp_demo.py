"""`make demo-mcp`, played as it is; and its server for machines without Node.js."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters

from examples.demo.mcp import files
from examples.demo.mcp.office import LIST, PASSWORD, READ, WRITE
from examples.demo.mcp.run import ADDED

ROOT = Path(__file__).parents[2]
DEMO_SECONDS = 300


@pytest.mark.broker
def test_a_wanted_file_is_read_and_each_injected_order_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo.mcp", "--keep", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEMO_SECONDS,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    held, of = map(int, re.findall(r"(\d+) of (\d+) claims held", done.stdout)[0])
    assert held == of >= 24
    for reason in ("NO_POLICY", "PARAM_NOT_ALLOWED", "RESOURCE_NOT_ALLOWED"):
        assert f"the model is told: Denied: {reason}" in done.stdout
    assert PASSWORD not in done.stdout


def test_the_server_of_the_python_sdk_has_the_tools_that_the_demo_calls(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abc")
    command = [str(Path(files.__file__)), str(tmp_path)]

    async def play() -> None:
        async with Client(StdioServerParameters(command=sys.executable, args=command)) as client:
            assert {one.name for one in (await client.list_tools()).tools} == {READ, LIST, WRITE}
            assert (await client.call_tool(READ, {"path": f"{tmp_path}/a.txt"})).content[0].text == "abc"
            assert (await client.call_tool(READ, {"path": "/etc/passwd"})).is_error

    asyncio.run(play())


def test_the_update_changes_one_description_and_nothing_else(tmp_path: Path) -> None:
    update = [str(Path(files.__file__).with_name("updated.py")), READ, ADDED]
    server = [str(Path(files.__file__)), str(tmp_path)]

    async def listed(words: list[str]) -> dict[str, str]:
        async with Client(StdioServerParameters(command=sys.executable, args=words)) as client:
            return {one.name: one.description or "" for one in (await client.list_tools()).tools}

    before = asyncio.run(listed(server))
    after = asyncio.run(listed([*update, sys.executable, *server]))
    assert after == before | {READ: f"{before[READ]} {ADDED}"}
