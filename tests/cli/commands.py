"""Commands run in this process, and what they said."""

from dataclasses import dataclass

import pytest

from macaw.cli import main
from tests import secrets_seen


@dataclass
class Ran:
    status: int
    out: str
    err: str


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> Ran:
    capsys.readouterr()
    status = main(argv)
    out, err = capsys.readouterr()
    secrets_seen.show(out)
    secrets_seen.show(err)
    return Ran(status, out, err)


def assert_one_sentence(ran: Ran, status: int) -> None:
    assert ran.status == status
    assert ran.err.startswith("macaw: ")
    assert ran.err.count("\n") == 1
    assert "Traceback" not in ran.err
