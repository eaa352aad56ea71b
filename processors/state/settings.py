"""The settings of a tenant that are not bounds: the verifiers of calls, and the checks of results.

A setting has a name, a few values, and a default. They are state of the tenant, as its limits are: a worker that starts
again, and every replay, has the same. Rules read them from `tables.settings`, a field for each name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from schemas.events.tenancy import TenantSetting

_CHECKS = ("off", "stamp", "deny")
_RESULTS = ("off", "withhold")
# The values that each setting can have; the first is its default.
SETTINGS: Mapping[str, tuple[str, ...]] = {
    "verifiers.prompt_injection": _CHECKS,
    "verifiers.command_injection": _CHECKS,
    "verifiers.personal_data": _CHECKS,
    "verifiers.secrets": _CHECKS,
    "verifiers.parameters": ("off", "deny"),
    "verifiers.stop_on_first_failure": ("true", "false"),
    "verifiers.unread": ("deny", "stamp"),  # texts beyond the bounds, where a verifier denies
    "results.prompt_injection": _RESULTS,
    "results.personal_data": _RESULTS,
    "results.secrets": _RESULTS,
    "results.output_schema": _RESULTS,
    "results.unread": ("withhold", "pass"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantSettings:
    """The value of each setting of SETTINGS, by its name with `_` for `.`; the defaults are those of SETTINGS."""

    verifiers_prompt_injection: str = "off"
    verifiers_command_injection: str = "off"
    verifiers_personal_data: str = "off"
    verifiers_secrets: str = "off"
    verifiers_parameters: str = "off"
    verifiers_stop_on_first_failure: str = "true"
    verifiers_unread: str = "deny"
    results_prompt_injection: str = "off"
    results_personal_data: str = "off"
    results_secrets: str = "off"
    results_output_schema: str = "off"
    results_unread: str = "withhold"


DEFAULTS = TenantSettings()


def settings_of(given: Iterable[TenantSetting]) -> TenantSettings:
    """Return the settings of a tenant whose row has these.

    A name that is unknown here is one of a later engine: this one decides nothing then, and only reads the row.
    """
    values = {_field(one.name): one.value for one in given if one.name in SETTINGS}
    return TenantSettings(**values) if values else DEFAULTS


def value_of(settings: TenantSettings, name: str) -> str:
    """Return the value of a setting. Requires a name in SETTINGS."""
    value: str = getattr(settings, _field(name))
    return value


def default_of(name: str) -> str:
    """Return the default of a setting. Requires a name in SETTINGS."""
    return SETTINGS[name][0]


def _field(name: str) -> str:
    return name.replace(".", "_")
