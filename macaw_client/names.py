"""Names: resources of tools, and the ids by which instances find each other.

    local:<os user>/app:<app>:<8 hex>     a program's instance; the digits begin its session id
    <user>@<app>:<8 hex>                  a person's, with a label that proves nothing: the token says who it is
    <program>/tool.<tool>                 one of its tools

An id is a short name. This process remembers the whole session id behind each one that it gave out, so that an id
never leads to another session that was made to look like it.
"""

from __future__ import annotations

import getpass
import os
import re
import threading
from collections import OrderedDict

from processors.policy.names import PERSON_PREFIX, WORKLOAD_PREFIX
from processors.text.characters import is_plain_text
from schemas import limits
from schemas.errors import InputError

HEX_CHARS = 8
REMEMBERED_MAX = 100_000
LABEL_CHARS_MAX = 128
TOOL_MARK = "/tool."
_PROGRAM = re.compile(r"local:[^/]{0,128}/app:(?P<app>.{1,512}):(?P<hex>[0-9a-f]{8,64})", re.DOTALL)


class UnknownAgentError(InputError, LookupError):
    """The id is not that of a live agent that this process knows; nothing was sent."""


def resource_of(tool_name: str) -> str:
    """Return the resource of a tool: its name, which stands under `tool:` where it has no domain."""
    return tool_name if ":" in tool_name else f"tool:{tool_name}"


def namespaced(resource: str, app: str) -> str | None:
    """Return a resource under the name of the app that offers it, None for one that stands below a name already.

    Of tools each name with a slash stands below one. Addresses of resources hold slashes of their own.
    """
    domain, _, rest = resource.partition(":")
    below = "/" in rest if domain == "tool" else rest.startswith(f"{app}/")
    return None if below else f"{domain}:{app}/{rest}"


def is_callback(resource: str) -> bool:
    """Return whether a resource is called by its agent's id alone: many programs offer one of the same name."""
    return resource.startswith("tool:_")


def label_of(text: str) -> str:
    """Return a text as a part of an id: bounded, without separators and hidden characters."""
    shown = "".join(one if is_plain_text(one) else "_" for one in text[:LABEL_CHARS_MAX])
    return re.sub(r"[\s/:@]", "_", shown) or "unnamed"


def os_user() -> str:
    """Return the name of this process's user, for people; its number where it has no name."""
    try:
        return label_of(getpass.getuser())
    except (OSError, KeyError, ImportError):
        return str(os.getuid())


def label_of_program(app: str) -> str:
    """Return the label of a program's instance: its id without digits. Empty where the log takes none."""
    label = f"local:{os_user()}/app:{app}"
    return label if "@" not in label and len(label) <= limits.LABEL_CHARS_MAX else ""


def label_of_person(user: str, app: str) -> str:
    """Return the label of a person's client: its id without digits."""
    return f"{label_of(user)}@{label_of(app)}"


def id_of_program(app: str, session_id: bytes) -> str:
    """Return the id of a program's instance."""
    return f"local:{os_user()}/app:{app}:{session_id.hex()[:HEX_CHARS]}"


def id_of_person(user: str, app: str, session_id: bytes) -> str:
    """Return the id of a person's client."""
    return f"{label_of_person(user, app)}:{session_id.hex()[:HEX_CHARS]}"


def id_of(principal: str, session_id: bytes, label: str = "") -> str:
    """Return the id of an instance by the log's word. A label names the app of a person, and never who it is."""
    for prefix in (PERSON_PREFIX, WORKLOAD_PREFIX):
        if principal.startswith(prefix):
            app = label.rpartition("@")[2] or "session"
            return id_of_person(principal.removeprefix(prefix).partition("@")[0], app, session_id)
    return id_of_program(principal, session_id)


def app_and_digits(agent_id: str) -> tuple[str, str] | None:
    """Return the app and the first digits of the session in a program's id, None for any other text."""
    found = _PROGRAM.fullmatch(agent_id)
    return (found["app"], found["hex"]) if found else None


def without_tool(agent_id: str) -> str:
    """Return the id of the program in the id of one of its tools; any other id as it is."""
    return agent_id.partition(TOOL_MARK)[0]


class KnownAgents:
    """The session behind each id that this process gave out. Thread-safe, and bounded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: OrderedDict[str, bytes] = OrderedDict()

    def remember(self, agent_id: str, session_id: bytes) -> str:
        """Return the id for a session: this one, or a longer one where another session has the same."""
        with self._lock:
            if self._sessions.get(agent_id, session_id) != session_id:
                agent_id = agent_id[:-HEX_CHARS] + session_id.hex()
            self._sessions[agent_id] = session_id
            self._sessions.move_to_end(agent_id)
            while len(self._sessions) > REMEMBERED_MAX:
                self._sessions.popitem(last=False)
        return agent_id

    def session_of(self, agent_id: str) -> bytes | None:
        """Return the session behind an id that was given out here."""
        with self._lock:
            return self._sessions.get(without_tool(agent_id))


KNOWN = KnownAgents()
