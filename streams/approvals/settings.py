"""The file that `macaw approvals serve --config` reads, with its secrets.

    slack:
      app: A0123                              the app's and the workspace's ids, and the channel for questions
      team: T0123
      channel: C0123
      bot_token_file: slack.token             each one line, mode 0600, relative to this file
      signing_secret_file: slack.secret
      parameters: false
      people:
        U0123: user:carol
        U0456: {principal: user:ben, mode: link}
    webhook:
      url: https://hooks.example.com/approvals
      secret_file: webhook.secret
      private_hosts: []

A member that is not known is refused. Secrets stand in files of their own: a child process would see the environment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from processors.policy.names import PERSON_PREFIX, check_printable, known_as
from processors.refusal import Refusal
from producers.home.files import FileError, read_file, read_secret_line
from producers.home.strict_yaml import StrictYAMLError, parse_lines, plain
from schemas import limits
from schemas.errors import InputError
from streams.approvals.proofs import WebhookSecretError, webhook_secret
from streams.bridge.addresses import place_of
from streams.bridge.reasons import FetchError

FILE_BYTES_MAX = 256 * 1024
SECRET_BYTES_MAX = 1024
PEOPLE_MAX = 1000
PRIVATE_HOSTS_MAX = 16
SLACK_API = "https://slack.com/api"
SLACK_HOOKS = "https://hooks.slack.com"
_ID = re.compile(r"[A-Z0-9]{2,32}", re.ASCII)
_VISIBLE = re.compile(r"[\x21-\x7e]+", re.ASCII)


class ChannelSettingsError(InputError):
    """The file of a channel, or a secret that it names, cannot be used. The message quotes no secret."""


@dataclass(frozen=True, slots=True)
class SlackPerson:
    """A person as Slack knows them: the principal, and whether they answer with a key of their own (`mode: link`)."""

    principal: str
    is_link: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackSettings:
    """The app, workspace and channel that ask, with the people that may answer there, by their Slack ids."""

    app: str
    team: str
    channel: str
    bot_token: str = field(repr=False)
    signing_secret: str = field(repr=False)
    people: Mapping[str, SlackPerson]
    shows_parameters: bool
    api: str
    hooks: str
    private_hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings:
    """The address that is told, and the key that signs."""

    url: str = field(repr=False)  # its path may hold a secret
    key: bytes = field(repr=False)
    shows_parameters: bool
    private_hosts: tuple[str, ...]


def read_slack(file: Path) -> SlackSettings:
    """Return the section `slack`. Raises ChannelSettingsError."""
    given = _Section.read(file, "slack")
    known = {"app", "team", "channel", "bot_token_file", "signing_secret_file", "parameters", "people", "api", "hooks"}
    given.check_names(known | {"private_hosts"})
    hosts = given.hosts()
    return SlackSettings(
        app=given.slack_id("app"),
        team=given.slack_id("team"),
        channel=given.slack_id("channel"),
        bot_token=given.secret("bot_token_file"),
        signing_secret=given.secret("signing_secret_file"),
        people=given.people(),
        shows_parameters=given.flag("parameters"),
        api=given.url("api", hosts, SLACK_API),
        hooks=given.url("hooks", hosts, SLACK_HOOKS),
        private_hosts=hosts,
    )


def read_webhook(file: Path) -> WebhookSettings:
    """Return the section `webhook`. Raises ChannelSettingsError."""
    given = _Section.read(file, "webhook")
    given.check_names({"url", "secret_file", "parameters", "private_hosts"})
    hosts = given.hosts()
    try:
        key = webhook_secret(given.secret("secret_file"))
    except WebhookSecretError as exc:
        raise ChannelSettingsError(str(exc)) from None
    return WebhookSettings(
        url=given.url("url", hosts, None), key=key, shows_parameters=given.flag("parameters"), private_hosts=hosts
    )


@dataclass(frozen=True, slots=True)
class _Section:
    """One section of the file, read member by member."""

    file: Path
    name: str
    members: Mapping[str, Any]

    @classmethod
    def read(cls, file: Path, name: str) -> _Section:
        try:
            whole = plain(parse_lines(read_file(file, FILE_BYTES_MAX)))
        except FileError as exc:
            raise ChannelSettingsError(str(exc)) from None
        except StrictYAMLError as exc:
            raise ChannelSettingsError(f"{file} {exc}") from None
        members = whole.get(name) if isinstance(whole, dict) else None
        if not isinstance(members, dict):
            raise ChannelSettingsError(f"{file} has no section `{name}`: docs/approvals.md shows one")
        return cls(file, name, members)

    def check_names(self, known: set[str]) -> None:
        unknown = sorted(set(self.members) - known)
        if unknown:
            raise self._fault(unknown[0][:64], f"is not known; known are {', '.join(sorted(known))}")

    def slack_id(self, name: str) -> str:
        return self._checked(name, lambda found: bool(_ID.fullmatch(found)), "is not an id of Slack, as C0123ABC")

    def url(self, name: str, hosts: tuple[str, ...], default: str | None) -> str:
        if default is not None and name not in self.members:
            return default
        text = self._checked(name, bool, "is not a text")
        try:
            place_of(text, hosts)
        except FetchError:
            raise self._fault(
                name, "is not a strict https URL, or is http and `private_hosts` does not name it"
            ) from None
        return text.rstrip("/")

    def hosts(self) -> tuple[str, ...]:
        found = self.members.get("private_hosts", [])
        if not (isinstance(found, list) and len(found) <= PRIVATE_HOSTS_MAX and all(isinstance(h, str) for h in found)):
            raise self._fault("private_hosts", f"is not a list of at most {PRIVATE_HOSTS_MAX} names")
        return tuple(found)

    def flag(self, name: str) -> bool:
        found = self.members.get(name, False)
        if not isinstance(found, bool):
            raise self._fault(name, "is not true or false")
        return found

    def secret(self, name: str) -> str:
        path = self.file.parent / self._checked(name, bool, "is not the name of a file")
        try:
            line = read_secret_line(path, SECRET_BYTES_MAX)
        except FileError as exc:
            raise ChannelSettingsError(f"{self.file}: cannot read `{self.name}.{name}` {path}: {exc.why}") from None
        if not _VISIBLE.fullmatch(line):
            raise self._fault(name, "names a file whose line has blanks, or characters outside ASCII")
        return line

    def people(self) -> dict[str, SlackPerson]:
        found = self.members.get("people")
        if not isinstance(found, dict) or not 0 < len(found) <= PEOPLE_MAX:
            raise self._fault("people", f"does not name 1 to {PEOPLE_MAX} people by their Slack ids")
        people = {slack_id: self._person(slack_id, one) for slack_id, one in found.items()}
        if len({known_as(one.principal) for one in people.values()}) < len(people):
            raise self._fault("people", "names one principal for two Slack ids, in whatever spelling")
        return people

    def _person(self, slack_id: str, given: object) -> SlackPerson:
        member = given if isinstance(given, dict) else {"principal": given}
        principal, mode = member.get("principal"), member.get("mode", "button")
        is_person = isinstance(principal, str) and principal.startswith(PERSON_PREFIX) and _is_name(principal)
        if not _ID.fullmatch(slack_id) or not is_person or member.keys() - {"principal", "mode"}:
            raise self._fault("people", f"has a member that is not SLACK_ID: {PERSON_PREFIX}NAME")
        if mode not in {"button", "link"}:
            raise self._fault("people", "has a `mode` that is neither button nor link")
        return SlackPerson(str(principal), mode == "link")

    def _checked(self, name: str, is_good: Callable[[str], bool], why: str) -> str:
        found = self.members.get(name)
        if not isinstance(found, str) or not found or not is_good(found):
            raise self._fault(name, why if name in self.members else "is missing")
        return found

    def _fault(self, name: str, why: str) -> ChannelSettingsError:
        return ChannelSettingsError(f"{self.file}: `{self.name}.{name}` {why}")


def _is_name(text: str) -> bool:
    try:
        check_printable(text, limits.PROVIDED_NAME_CHARS_MAX)
    except Refusal:
        return False
    return text != PERSON_PREFIX
