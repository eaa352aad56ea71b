"""`macaw policy simulate --catalogue`: a rule file, and a setting of its verifier, as the simulation tries them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from macaw.cli.terminal.options import OptionsError

if TYPE_CHECKING:
    from macaw.policies.simulation import TriedRules


def tried_rules(catalogue: Path | None, verifier: str | None, mode: str | None) -> TriedRules:
    """Return the rules and the setting that are tried. Raises OptionsError, RuleFileError, CatalogueSizeError."""
    from macaw.policies.simulation import TriedRules
    from macaw.verifiers.files import drafts_of
    from processors.calls.catalogues import READERS
    from processors.state.settings import SETTINGS
    from schemas.rows import CatalogueRow

    if catalogue is None and verifier is None and mode is None:
        return TriedRules()
    if verifier not in READERS:
        raise OptionsError(f"name the verifier of the rules with `--verifier`: {', '.join(READERS)}")
    setting = f"verifiers.{verifier}"
    if mode is not None and mode not in SETTINGS[setting]:
        raise OptionsError(f"`--verifiers` is {mode[:40]!r}, want {' or '.join(SETTINGS[setting])}")
    drafts = () if catalogue is None else drafts_of(catalogue, verifier).fitted.drafts
    rows = {
        one.name: CatalogueRow(verifier=one.verifier, rules=one.rules, digest=one.digest, since=0) for one in drafts
    }
    return TriedRules(rows, {} if mode is None else {setting: mode})
