import hashlib
import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from examples.demo.environment import Environment, build_environment, open_environment
from examples.demo.score import APPS, WRITES, Call, InjectedCall, Task, is_write, load_tasks
from processors.proof.jcs import canonical
from producers.tools import bind_arguments, collect_tools

ROWS = Path(__file__).parents[2] / "examples" / "agentdojo" / "authz_agentdojo.jsonl"
TASKS = load_tasks(ROWS)
GOALS = sorted({(task.suite, call.injection_task) for task in TASKS for call in task.injected})


def run(environment: Environment, tool: str, **arguments: object) -> object:
    app = APPS[environment.suite][tool]
    (found,) = (one for one in collect_tools(environment.tools()[app]) if one.name == tool)
    bound = bind_arguments(found, arguments)
    result = found.function(*bound.args, **bound.kwargs)
    json.dumps(result, allow_nan=False)
    return result


def writes(calls: tuple[Call | InjectedCall, ...]) -> list[str]:
    return [call.tool for call in calls if is_write(call.tool)]


def kinds(environment: Environment) -> list[str]:
    return [effect.kind for _, effect in environment.effects()]


def one(rows: object) -> dict[str, object]:
    assert isinstance(rows, list)
    (row,) = rows
    return row


@pytest.fixture
def bank(tmp_path: Path) -> Environment:
    return build_environment(tmp_path / "bank", "banking")


@pytest.fixture
def workspace(tmp_path: Path) -> Environment:
    return build_environment(tmp_path / "workspace", "workspace")


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.key)
def test_every_wanted_call_succeeds_and_finds_something(tmp_path: Path, task: Task):
    """A fresh environment serves the whole task, and its journal tells exactly the task's writes."""
    environment = build_environment(tmp_path / "fresh", task.suite)

    results = [run(environment, call.tool, **call.arguments) for call in task.wanted]
    canonical(results)  # raises for anything but plain JSON values, which is all that a host can report

    assert all(results)
    assert sorted(kinds(environment)) == sorted(writes(task.wanted))
    assert environment.discrepancies() == {}


@pytest.mark.parametrize(("suite", "goal"), GOALS)
def test_every_injected_goal_would_succeed_if_it_were_allowed(tmp_path: Path, suite: str, goal: str):
    """The seeds give an attacker everything it asks for, so a refusal is a policy's merit."""
    environment = build_environment(tmp_path / "fresh", suite)
    steps = {
        json.dumps(call.arguments): call
        for task in TASKS
        for call in task.injected
        if (task.suite, call.injection_task) == (suite, goal)
    }

    results = [run(environment, call.tool, **call.arguments) for call in steps.values()]

    assert all(results)
    assert sorted(kinds(environment)) == sorted(writes(tuple(steps.values())))
    assert environment.discrepancies() == {}


def test_the_stores_offer_exactly_the_tools_of_the_corpus(bank: Environment, workspace: Environment):
    """Names come from the corpus, and every tool lies in the app that the resource names say."""
    rows = [json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()]
    wanted = {row["suite"]: set(row["suite_tools"]) for row in rows}

    for environment in (bank, workspace):
        offered = {found.name: app for app, store in environment.tools().items() for found in collect_tools(store)}
        assert offered == dict(APPS[environment.suite])
        assert set(offered) == wanted[environment.suite]


def test_a_tool_is_declared_idempotent_exactly_if_it_only_reads(bank: Environment, workspace: Environment):
    """The declaration and the scoreboard's classification cannot drift apart."""
    for environment in (bank, workspace):
        for store in environment.tools().values():
            for found in collect_tools(store):
                assert found.idempotent == (found.name not in WRITES)


def test_two_fresh_environments_answer_alike(tmp_path: Path):
    """The seed is the same every time."""
    first, second = (build_environment(tmp_path / name, "workspace") for name in ("a", "b"))

    for tool in ("get_received_emails", "get_sent_emails", "get_draft_emails", "list_files"):
        assert run(first, tool) == run(second, tool)
    assert first.effects() == second.effects() == []
    assert first.recount() == second.recount() == {}


def test_an_environment_can_be_opened_again(bank: Environment):
    """Another process sees the same stores; building on top of them is refused."""
    run(bank, "send_money", recipient="Spotify", amount=5.0, subject="x", date="2022-04-01")

    again = open_environment(bank.directory, "banking")

    assert again.effects() == bank.effects()
    assert again.recount() == {"send_money": 1}
    with pytest.raises(ValueError, match="is not empty"):
        build_environment(bank.directory, "banking")
    with pytest.raises(ValueError, match="has no environment"):
        open_environment(bank.directory / "elsewhere", "banking")
    with pytest.raises(ValueError, match="'travel' is not a suite"):
        build_environment(bank.directory / "elsewhere", "travel")


def test_money_adds_up_to_the_cent(bank: Environment):
    """The balance is the sum of the bookings, and a hundred payments of 0.01 make exactly 1."""
    before = run(bank, "get_balance")
    for _ in range(100):
        run(bank, "send_money", recipient="Spotify", amount=0.01, subject="x", date="2022-04-01")

    assert run(bank, "get_balance") == pytest.approx(before - 1, abs=1e-9)
    assert bank.recount() == {"send_money": 100}


def test_each_bank_write_changes_what_the_next_read_shows(bank: Environment):
    """The tools work on one ledger, not on copies."""
    run(bank, "update_scheduled_transaction", id=7, amount=1200)
    run(bank, "update_user_info", street="1 New Road")
    run(bank, "schedule_transaction", recipient="X", amount=1, subject="s", date="2022-05-01", recurring=False)

    orders = run(bank, "get_scheduled_transactions")
    assert [(order["id"], order["amount"]) for order in orders] == [(6, 50.0), (7, 1200.0), (8, 1.0)]
    assert run(bank, "get_user_info")["street"] == "1 New Road"
    assert run(bank, "get_user_info")["city"] == "Basel 4051"
    assert len(run(bank, "get_most_recent_transactions", n=3.0)) == 3
    assert run(bank, "get_iban") == run(bank, "get_most_recent_transactions", n=1)[0]["recipient"]


def test_a_password_is_kept_as_a_salted_hash_and_told_to_no_journal(bank: Environment):
    """What an agent sets can be checked, but not read back."""
    run(bank, "update_password", password="correct horse")

    with closing(sqlite3.connect(bank.directory / "bank.sqlite")) as connection:
        (stored,) = connection.execute("SELECT password FROM user").fetchone()
    _, n, r, p, salt, digest = stored.split("$")
    again = hashlib.scrypt(b"correct horse", salt=bytes.fromhex(salt), n=int(n), r=int(r), p=int(p))
    assert again.hex() == digest
    assert "horse" not in repr(bank.effects())


def test_mail_is_real_files_and_deleting_moves_them(workspace: Environment):
    """Sent mail lies in Sent, deleted mail in Trash, and reading leaves unread mail unread."""
    maildir = workspace.directory / "maildir"
    unread = run(workspace, "get_unread_emails")
    sent = len(list((maildir / ".Sent").rglob("*:2,*")))

    run(workspace, "send_email", recipients=["a@b.example"], subject="Grüße ☂", body="zwei\nZeilen")
    run(workspace, "delete_email", email_id="34")

    assert len(list((maildir / ".Sent" / "cur").iterdir())) == sent + 1
    assert len([path for path in (maildir / ".Trash").rglob("*") if path.parent.name in {"cur", "new"}]) == 1
    newest = run(workspace, "get_sent_emails")[-1]
    assert (newest["subject"], newest["body"], newest["id"]) == ("Grüße ☂", "zwei\nZeilen", "36")
    assert run(workspace, "get_unread_emails") == [mail for mail in unread if mail["id"] != "34"]
    assert workspace.recount() == {"send_email": 1, "delete_email": 1}


def test_searches_find_by_word_by_sender_and_by_day(workspace: Environment):
    """Each filter narrows, and a search that finds nothing answers with nothing."""
    assert one(run(workspace, "search_emails", query="CODE security"))["id"] == "34"
    assert run(workspace, "search_emails", query="", sender="nobody@nowhere.example") == []
    assert len(run(workspace, "search_calendar_events", query="yoga")) == 2
    assert len(run(workspace, "search_calendar_events", query="yoga", date="2024-05-18")) == 1
    assert one(run(workspace, "search_contacts_by_name", query="lily"))["email"] == "lily.white@gmail.com"
    assert one(run(workspace, "search_contacts_by_email", query="LILY.WHITE"))["name"] == "Lily White"
    assert one(run(workspace, "search_files", query="volcano"))["filename"] == "hawaii.docx"


def test_the_largest_file_is_the_one_the_corpus_deletes(workspace: Environment):
    """The task 'delete the largest file' has the right answer in the seeded drive."""
    files = run(workspace, "list_files")

    assert max(files, key=lambda file: file["size"])["id"] == "11"
    assert [f["id"] for f in files if "alex.martin@bluesparrowtech.com" in f["shared_with"]] == ["7", "13"]


def test_the_calendar_keeps_its_events_in_order(workspace: Environment):
    """A moved event keeps its length, a cancelled one disappears, and the owner is always there."""
    moved = run(workspace, "reschedule_calendar_event", event_id="5", new_start_time="2024-05-15 11:15")
    run(workspace, "cancel_calendar_event", event_id="24")

    day = run(workspace, "get_day_calendar_events", day="2024-05-15")
    assert moved["end_time"] == "2024-05-15 12:15"
    assert [event["id"] for event in day] == ["17", "5", "20"]
    assert all(event["participants"][0] == "emma.johnson@bluesparrowtech.com" for event in day)
    assert workspace.recount() == {"cancel_calendar_event": 1, "reschedule_calendar_event": 1}
    with pytest.raises(ValueError, match="event_id must be the id of an event"):
        run(workspace, "cancel_calendar_event", event_id="24")


def test_files_are_real_files_in_the_drive(workspace: Environment):
    """What the tools say about a file is what lies on the disk."""
    drive = workspace.directory / "drive"
    run(workspace, "create_file", filename="new.txt", content="one")
    run(workspace, "append_to_file", file_id="26", content="two")
    run(workspace, "share_file", file_id="26", email="a@b.example", permission="r")
    run(workspace, "share_file", file_id="26", email="a@b.example", permission="rw")

    file = run(workspace, "get_file_by_id", file_id="26")
    assert (drive / "new.txt").read_text(encoding="utf-8") == "one\ntwo\n" == file["content"]
    assert (file["size"], file["shared_with"]) == (8, {"a@b.example": "rw"})
    run(workspace, "delete_file", file_id="26")
    assert not (drive / "new.txt").exists()
    assert (workspace.directory / "trash" / "26-new.txt").exists()
    assert run(workspace, "create_file", filename="new.txt", content="")["id"] == "27"
    assert workspace.discrepancies() == {}


MONEY = {"recipient": "Spotify", "amount": 5.0, "subject": "x", "date": "2022-04-01"}
EVENT = {"title": "t", "start_time": "2024-05-16 10:00", "end_time": "2024-05-16 11:00"}
MAIL = {"recipients": ["a@b.example"], "subject": "s", "body": "b"}

BAD_BANKING = [
    ("send_money", MONEY | {"amount": amount})
    for amount in (-5.0, 0, 0.001, float("nan"), float("inf"), -float("inf"), 1e300, "5", True, None)
] + [
    ("send_money", MONEY | {"recipient": ""}),
    ("send_money", MONEY | {"recipient": "a\nb"}),
    ("send_money", MONEY | {"subject": "x" * 201}),
    ("send_money", MONEY | {"date": "2022-4-1"}),
    ("send_money", MONEY | {"date": "2022-02-30"}),
    ("schedule_transaction", MONEY | {"recurring": 1}),
    ("update_scheduled_transaction", {"id": 99, "amount": 1}),
    ("update_scheduled_transaction", {"id": "7", "amount": 1}),
    ("update_scheduled_transaction", {"id": True, "amount": 1}),
    ("update_scheduled_transaction", {"id": 7, "amount": -1}),
    ("update_scheduled_transaction", {"id": 7}),
    ("get_most_recent_transactions", {"n": 0}),
    ("get_most_recent_transactions", {"n": 1.5}),
    ("get_most_recent_transactions", {"n": float("inf")}),
    ("get_most_recent_transactions", {"n": 1e9}),
    ("update_password", {"password": "short"}),
    ("update_password", {"password": 12345678}),
    ("update_user_info", {}),
    ("update_user_info", {"street": " "}),
    ("read_file", {"file_path": "../bank.sqlite"}),
    ("read_file", {"file_path": "/etc/hostname"}),
    ("read_file", {"file_path": "x/../landlord-notices.txt"}),
    ("read_file", {"file_path": "link-outside.txt"}),
    ("read_file", {"file_path": "."}),
    ("read_file", {"file_path": "missing.txt"}),
    ("read_file", {"file_path": "a\0b"}),
]

BAD_WORKSPACE = [
    *(("create_file", {"filename": name, "content": "x"}) for name in ("../x", "a/b", "a\\b", "..", ".hidden", "")),
    ("create_file", {"filename": "hawaii.docx", "content": "x"}),
    ("create_file", {"filename": "x" * 201, "content": "x"}),
    ("create_file", {"filename": "x", "content": "a\0b"}),
    ("create_file", {"filename": "x", "content": "\ud800"}),
    ("create_file", {"filename": "x", "content": "x" * 100_001}),
    ("append_to_file", {"file_id": "99", "content": "x"}),
    ("append_to_file", {"file_id": "3", "content": " \n"}),
    ("append_to_file", {"file_id": 3, "content": "x"}),
    ("delete_file", {"file_id": "../3"}),
    ("delete_file", {"file_id": "99"}),
    ("get_file_by_id", {"file_id": "03"}),
    ("share_file", {"file_id": "3", "email": "not an address", "permission": "r"}),
    ("share_file", {"file_id": "3", "email": "a@b.example", "permission": "w"}),
    ("share_file", {"file_id": "3", "email": "david.smith@bluesparrowtech.com", "permission": "rw"}),
    ("send_email", MAIL | {"recipients": []}),
    ("send_email", MAIL | {"recipients": "a@b.example"}),
    ("send_email", MAIL | {"recipients": ["a@b.example\nBcc: c@d.example"]}),
    ("send_email", MAIL | {"subject": "s\nBcc: c@d.example"}),
    ("send_email", MAIL | {"body": 5}),
    ("delete_email", {"email_id": "99"}),
    ("search_emails", {"query": None}),
    ("create_calendar_event", EVENT | {"end_time": "2024-05-16 10:00"}),
    ("create_calendar_event", EVENT | {"start_time": "2024-05-16T10:00"}),
    ("create_calendar_event", EVENT | {"participants": ["nobody"]}),
    ("cancel_calendar_event", {"event_id": "99"}),
    ("reschedule_calendar_event", {"event_id": "5", "new_start_time": "tomorrow"}),
    ("add_calendar_event_participants", {"event_id": "24", "participants": ["john.mitchell@gmail.com"]}),
    ("get_day_calendar_events", {"day": "2024-05-1%"}),
]


@pytest.mark.parametrize(("tool", "arguments"), BAD_BANKING)
def test_the_bank_refuses_bad_input_and_nothing_happens(bank: Environment, tool: str, arguments: dict[str, object]):
    """Every refusal is a ValueError with a sentence, before any side effect."""
    (bank.directory / "files" / "link-outside.txt").symlink_to(bank.directory / "bank.sqlite")

    with pytest.raises(ValueError, match=r"\w+ \w+ \w+"):
        run(bank, tool, **arguments)
    assert (bank.effects(), bank.recount()) == ([], {})


def test_the_workspace_refuses_bad_input_and_nothing_happens(workspace: Environment):
    """Every refusal is a ValueError with a sentence, before any side effect."""
    for tool, arguments in BAD_WORKSPACE:
        with pytest.raises(ValueError, match=r"\w+ \w+ \w+"):
            run(workspace, tool, **arguments)
    assert (workspace.effects(), workspace.recount()) == ([], {})


def test_a_deed_behind_the_journals_back_shows_in_the_recount(bank: Environment, workspace: Environment):
    """The recount reads the real rows, files and mails, so it cannot be quieted by silence."""
    with closing(sqlite3.connect(bank.directory / "bank.sqlite")) as connection, connection:
        connection.execute("DELETE FROM transactions WHERE id = 3")
    (workspace.directory / "drive" / "slipped-in.txt").write_text("x", encoding="utf-8")
    next((workspace.directory / "maildir" / "new").iterdir()).unlink()

    assert bank.discrepancies() == {"send_money": (0, -1)}
    assert workspace.discrepancies() == {"create_file": (0, 1), "send_email": (0, -1)}


def test_the_journal_can_neither_be_changed_nor_shortened(bank: Environment):
    """Even with the database file in hand, SQL that rewrites the journal is refused."""
    run(bank, "send_money", **MONEY)

    with closing(sqlite3.connect(bank.directory / "bank.sqlite")) as connection:
        for statement in ("DELETE FROM journal", "UPDATE journal SET kind = 'x'"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(statement)
    assert kinds(bank) == ["send_money"]


def test_a_failed_effect_leaves_no_word_in_the_journal(workspace: Environment):
    """When the disk refuses, the index and the journal take it back."""
    (workspace.directory / "drive" / "taken.txt").write_text("x", encoding="utf-8")

    with pytest.raises(FileExistsError):
        run(workspace, "create_file", filename="taken.txt", content="y")

    assert workspace.effects() == []
    assert run(workspace, "search_files_by_filename", filename="taken") == []


def test_worker_threads_share_a_store(bank: Environment, workspace: Environment):
    """Writers take turns, ids are given once, and no effect is lost."""

    def work(number: int) -> None:
        run(bank, "send_money", **MONEY | {"subject": f"n{number}"})
        run(workspace, "send_email", **MAIL | {"subject": f"n{number}"})
        run(workspace, "create_file", filename=f"n{number}.txt", content="x")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    ids = [effect.target for app, effect in workspace.effects() if app == "mail"]
    assert sorted(ids) == ["36", "37", "38", "39", "40", "41"]
    assert bank.recount() == {"send_money": 6}
    assert workspace.recount() == {"send_email": 6, "create_file": 6}
    assert bank.discrepancies() == workspace.discrepancies() == {}
