"""A mailbox as a Maildir on disk: the inbox and the folders Sent, Drafts and Trash.

No mail leaves this machine: a sent mail is put into Sent, a deleted one into Trash. The SQLite file beside the
Maildir holds the contacts and the journal; its write lock also makes the writers of the Maildir take turns. A
mail moves inside the journal's transaction. A crash between the two leaves a mail without an entry in the
journal, and the recount shows it.
"""

import email
import mailbox
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

from examples.demo.environment.arguments import (
    require_address,
    require_addresses,
    require_body,
    require_id,
    require_line,
    require_query,
    shown,
)
from examples.demo.environment.journal import Database, Effect, Record, record
from producers.tools import tool

_SCHEMA = """
CREATE TABLE IF NOT EXISTS contacts (email TEXT PRIMARY KEY, name TEXT NOT NULL) STRICT;
"""

_INBOX, _SENT, _DRAFTS, _TRASH = "", "Sent", "Drafts", "Trash"
_KEPT = (_INBOX, _SENT, _DRAFTS)
_ID_DOMAIN = "mailbox.demo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """One mail as the tools show it, `sent_at` as ISO 8601; `folder` is empty for the inbox."""

    id: int
    sender: str
    recipients: tuple[str, ...]
    subject: str
    body: str
    sent_at: str
    folder: str = _INBOX
    read: bool = False


class Mailbox:
    """The mailbox of one person. Reading a mail does not mark it as read, and changes nothing else."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path / "mailbox.sqlite", _SCHEMA)
        self._root = path / "maildir"
        for folder in (*_KEPT, _TRASH):
            self._open(folder)

    def seed(self, mails: Sequence[Mail], contacts: Sequence[tuple[str, str]], *, owner: str, now: str) -> None:
        """Fill a new mailbox; the seed is not counted as a side effect.

        `contacts` are pairs of address and name, and `now` is the moment at which every new mail is sent.
        """
        with self._database.writing() as connection:
            connection.executemany("INSERT INTO contacts VALUES (?, ?)", contacts)
            for mail in mails:
                self._put(mail)
        self._database.close_seed(self._tally(), {"owner": owner, "now": now})

    def effects(self) -> list[Effect]:
        """Return the side effects since the seed, in order, from the journal."""
        return self._database.effects()

    def recount(self) -> dict[str, int]:
        """Return the number of side effects of each kind, counted from the mails on disk."""
        return self._database.since_seed(self._tally())

    def _tally(self) -> dict[str, int]:
        # Mail is only ever moved to Trash, never destroyed, so every mail that was sent is still somewhere.
        trashed = len(self._open(_TRASH))
        kept = sum(len(self._open(folder)) for folder in _KEPT)
        return {"send_email": kept + trashed, "delete_email": trashed}

    @tool
    def send_email(self, recipients: list[str], subject: str, body: str) -> Record:
        """Send a mail to one or more recipients."""
        to = require_addresses(recipients, "recipients")
        title, text = require_line(subject, "subject"), require_body(body, "body")
        sender, now = self._database.setting("owner"), self._database.setting("now")
        with self._database.writing() as connection:
            mail = Mail(
                id=self._next_id(),
                sender=sender,
                recipients=tuple(to),
                subject=title,
                body=text,
                sent_at=now,
                folder=_SENT,
                read=True,
            )
            self._put(mail)
            record(connection, "send_email", mail.id, recipients=to, subject=title)
        return _shown(mail)

    @tool
    def delete_email(self, email_id: str) -> str:
        """Delete a mail."""
        number = require_id(email_id, "email_id")
        with self._database.writing() as connection:
            folder, key = self._find(number)
            box = self._open(folder)
            message = box.get_message(key)
            self._open(_TRASH).add(message)
            box.remove(key)
            record(connection, "delete_email", number, folder=folder or "Inbox")
        return f"the mail {number} was deleted"

    @tool(idempotent=True)
    def get_unread_emails(self) -> list[Record]:
        """Return the unread mails of the inbox."""
        return [_shown(mail) for mail in self._mails(_INBOX) if not mail.read]

    @tool(idempotent=True)
    def get_sent_emails(self) -> list[Record]:
        """Return the mails that were sent from here."""
        return [_shown(mail) for mail in self._mails(_SENT)]

    @tool(idempotent=True)
    def get_received_emails(self) -> list[Record]:
        """Return the mails of the inbox."""
        return [_shown(mail) for mail in self._mails(_INBOX)]

    @tool(idempotent=True)
    def get_draft_emails(self) -> list[Record]:
        """Return the mails that were begun and not sent."""
        return [_shown(mail) for mail in self._mails(_DRAFTS)]

    @tool(idempotent=True)
    def search_emails(self, query: str, sender: str | None = None) -> list[Record]:
        """Return the mails with every word of the query in subject or body, of one sender if given."""
        words = require_query(query, "query").split()
        author = None if sender is None else require_address(sender, "sender")
        mails = (mail for folder in _KEPT for mail in self._mails(folder))
        by_author = (mail for mail in mails if author in (None, mail.sender))
        return [_shown(mail) for mail in by_author if _holds(f"{mail.subject}\n{mail.body}", words)]

    @tool(idempotent=True)
    def search_contacts_by_name(self, query: str) -> list[Record]:
        """Return the contacts with the query in their name."""
        return self._contacts("name", query)

    @tool(idempotent=True)
    def search_contacts_by_email(self, query: str) -> list[Record]:
        """Return the contacts with the query in their address."""
        return self._contacts("email", query)

    def _contacts(self, field: str, query: object) -> list[Record]:
        text = require_query(query, "query")
        with self._database.reading() as connection:
            rows = connection.execute("SELECT email, name FROM contacts ORDER BY email").fetchall()
        return [dict(row) for row in rows if text in str(row[field]).casefold()]

    def _open(self, folder: str) -> "mailbox.Maildir":
        # A Maildir object remembers a listing, so every use takes a new one.
        inbox = mailbox.Maildir(self._root, create=True)
        return inbox.add_folder(folder) if folder else inbox

    def _put(self, mail: Mail) -> None:
        message = mailbox.MaildirMessage(_message(mail))
        message.set_subdir("cur" if mail.read else "new")
        message.set_flags("S" if mail.read else "")
        self._open(mail.folder).add(message)

    def _mails(self, folder: str) -> list[Mail]:
        return sorted((mail for _, mail in self._keyed(folder)), key=lambda mail: mail.id)

    def _keyed(self, folder: str) -> Iterator[tuple[str, Mail]]:
        box = self._open(folder)
        for key in box.keys():  # noqa: SIM118 - iterating over a Maildir gives messages, not keys
            # Another thread may move a mail between the listing and the look.
            with suppress(KeyError):
                yield key, _parsed(box.get_bytes(key), folder, read="S" in box.get_message(key).get_flags())

    def _find(self, number: int) -> tuple[str, str]:
        for folder in _KEPT:
            for key, mail in self._keyed(folder):
                if mail.id == number:
                    return folder, key
        raise ValueError(f"email_id must be the id of a mail, got {shown(str(number))}")

    def _next_id(self) -> int:
        return 1 + max((mail.id for folder in (*_KEPT, _TRASH) for mail in self._mails(folder)), default=0)


def _message(mail: Mail) -> EmailMessage:
    message = EmailMessage()
    message["Message-ID"] = f"<{mail.id}@{_ID_DOMAIN}>"
    message["From"] = mail.sender
    message["To"] = ", ".join(mail.recipients)
    message["Subject"] = mail.subject
    message["Date"] = datetime.fromisoformat(mail.sent_at).replace(tzinfo=UTC)
    message.set_content(mail.body)
    return message


def _parsed(data: bytes, folder: str, *, read: bool) -> Mail:
    message = email.message_from_bytes(data, policy=default)
    return Mail(
        id=int(message["Message-ID"].strip("<>").partition("@")[0]),
        sender=str(message["From"]),
        recipients=tuple(str(message["To"]).split(", ")),
        subject=str(message["Subject"]),
        body=message.get_content().removesuffix("\n"),
        sent_at=message["Date"].datetime.strftime("%Y-%m-%dT%H:%M"),
        folder=folder,
        read=read,
    )


def _shown(mail: Mail) -> Record:
    return {
        "id": str(mail.id),
        "sender": mail.sender,
        "recipients": list(mail.recipients),
        "subject": mail.subject,
        "body": mail.body,
        "timestamp": mail.sent_at,
        "read": mail.read,
    }


def _holds(text: str, words: Sequence[str]) -> bool:
    folded = text.casefold()
    return all(word in folded for word in words)
