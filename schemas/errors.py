"""The errors of the project: one root, and a family for each party that has to act.

Every exception that leaves a public function of the project is a `MacawError`. Its message is a sentence for people
that names the next step and holds no secret. `Refusal` (`processors/refusal.py`) is not an error but an outcome of the
fold, and does not leave it.
"""

from __future__ import annotations


class MacawError(Exception):
    """The root: `except MacawError` catches every error of the project and none of Python's own."""


class InputError(MacawError, ValueError):
    """An argument, a text or a file does not have the required form. Its author corrects it."""


class MisuseError(MacawError, RuntimeError):
    """The program uses the library in a way that cannot work. Its programmer corrects it."""


class InstallationError(MacawError, RuntimeError):
    """A home, a key file, a folder, a topic or an access rule is missing or wrong. Its owner corrects it."""


class UnavailableError(MacawError, RuntimeError):
    """Brokers or a service do not answer. The caller tries again later."""


class OutcomeError(MacawError, RuntimeError):
    """The log answered, and the answer is not a success. The reason in it names the next step."""


class EvidenceError(MacawError, ValueError):
    """Bytes do not prove their claim: forged, damaged, or older than what was seen before. A person must look."""


class StoppedError(MacawError, RuntimeError):
    """A process must stop work on this tenant, or altogether. Its operator reads the reason and docs/incidents.md."""
