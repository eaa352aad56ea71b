"""`make demo-workflow`, played as a person would: without a terminal, and in one."""

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from examples.demo.checks import Checks
from examples.demo.workflow.acting import Acting, brief, refusals_table
from examples.demo.workflow.cast import FILES
from examples.demo.workflow.chapters import payment_of
from examples.demo.workflow.office import INVOICES, SMALL, Building, Invoice
from examples.demo.workflow.run import check_refusals
from processors.policy.documents import parse_policy
from producers.client import DeniedError

ROOT = Path(__file__).parents[2]
DEMO_SECONDS = 300
REASONS = (
    "SEQUENCE_MISSING",
    "ATTESTATION_CONSUMED",
    "APPROVER_IS_REQUESTER",
    "VERSION_CONFLICT",
    "DELEGATION_CONDITION",
    "DELEGATION_SCOPE",
    "DELEGATION_REVOKED",
    "VAULT_FORM",
    "NO_POLICY",
)


def play(stdin: int, base: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "examples.demo.workflow", "--keep", str(base)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEMO_SECONDS,
        check=False,
    )


@pytest.mark.broker
def test_without_a_terminal_a_script_approves_and_says_so(tmp_path: Path) -> None:
    """Every claim holds, every refusal has its reason, and the evidence verifies."""
    done = play(subprocess.DEVNULL, tmp_path)

    assert done.returncode == 0, done.stdout
    assert done.stdout.count("a script approves with carol's own session key") == 2
    assert all(reason in done.stdout for reason in (*REASONS, "SEQUENCE_TOTAL"))
    assert "verdict UNWITNESSED" in done.stdout
    assert "every byte the same" in done.stdout


@pytest.mark.broker
def test_in_a_terminal_a_person_decides_and_it_goes_as_she_says(tmp_path: Path) -> None:
    """She denies the payment and releases the mail: nothing of it is paid, and the claims hold all the same."""
    hers, its = pty.openpty()
    try:
        os.write(hers, b"n\ny\n")
        done = play(its, tmp_path)
    finally:
        os.close(hers)
        os.close(its)

    assert done.returncode == 0, done.stdout
    assert "a script approves" not in done.stdout
    assert "tool:bank/pay, which carol denied: APPROVAL_DENIED" in done.stdout
    assert "carol was asked 2 times, said yes 1 times" in done.stdout
    assert all(reason in done.stdout for reason in REASONS)


def acting_alone() -> Acting:
    return Acting(Console(file=io.StringIO(), width=200), None)  # type: ignore[arg-type]  # nobody is called


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


class TestClaims:
    """What makes the demo fail."""

    def test_something_that_nothing_refused_is_no_claim(self) -> None:
        acting = acting_alone()
        acting.refused("the shortcut", "SEQUENCE_MISSING", lambda: None)

        checks = Checks(acting.console)
        check_refusals(checks, acting)
        assert not checks.all_held
        assert acting.refusals[0].got == "it was not refused"

    def test_another_reason_than_the_wanted_one_is_no_claim(self) -> None:
        def deny() -> None:
            raise DeniedError("no", reason="RATE_LIMITED")

        acting = acting_alone()
        acting.refused("the shortcut", "SEQUENCE_MISSING", deny)

        checks = Checks(acting.console)
        check_refusals(checks, acting)
        assert not checks.all_held
        acting.console.print(refusals_table(acting.refusals))
        assert "RATE_LIMITED, want SEQUENCE_MISSING" in printed(acting.console)

    def test_what_an_agent_wrote_has_no_say_in_how_it_looks(self) -> None:
        """Neither control characters nor the marks of the printer reach the terminal as such."""
        console = acting_alone().console
        console.print(brief({"note": "\x1b[2J[bold]fine[/bold]"}))

        assert "\\x1b[2J[bold]fine[/bold]" in printed(console)


class TestOffice:
    def test_the_stores_and_their_journals_agree(self, tmp_path: Path) -> None:
        building = Building(tmp_path)
        assert building.effects() == building.recount() == {}

        building.bank.pay(SMALL.invoice_id, SMALL.iban, SMALL.amount)
        building.mail.send_email(["a@b.example"], "x", "y")

        assert building.effects() == building.recount() == {"pay": 1, "send_email": 1}
        assert building.bank.booked() == [(SMALL.invoice_id, SMALL.amount)]

    @pytest.mark.parametrize("invoice", INVOICES, ids=lambda one: one.invoice_id)
    def test_what_a_mail_brings_is_extracted_and_known(self, tmp_path: Path, invoice: Invoice) -> None:
        building = Building(tmp_path)
        [mail] = building.mail.search_emails(invoice.invoice_id)

        found = building.office.extract_invoice(str(mail["body"]))

        assert found == {**payment_of(invoice), "supplier": invoice.supplier}
        assert building.office.check_supplier(**payment_of(invoice)) == {"supplier": invoice.supplier}

    def test_an_account_that_nobody_knows_does_not_pass(self, tmp_path: Path) -> None:
        """It fails, so it attests nothing."""
        with pytest.raises(ValueError, match="not in the register"):
            Building(tmp_path).office.check_supplier("INV-1042", "XX00EVIL", 1.0)

    def test_the_checks_attestation_is_for_one_use(self, tmp_path: Path) -> None:
        tools = {one.name: one for one in Building(tmp_path).tools()["office"]}

        assert tools["check_supplier"].attests == ("supplier_checked",)
        assert tools["check_supplier"].auto_attest["supplier_checked"].one_time
        assert tools["extract_invoice"].attests == ()


@pytest.mark.parametrize("path", sorted((FILES / "policies").glob("*.json")), ids=lambda path: path.stem)
def test_the_operators_policies_are_good(path: Path) -> None:
    assert parse_policy(path.read_bytes()).policy_id == json.loads(path.read_text("utf-8"))["policy_id"]
