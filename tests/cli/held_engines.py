"""An installation that holds other engines than this version does, as another version of macaw would."""

from __future__ import annotations

import pytest

import macaw.installation.engines
import processors.state.engines
import processors.state.tables
from processors.state.engines import Engines


def hold(monkeypatch: pytest.MonkeyPatch, engines: Engines) -> None:
    """Let this installation hold these engines."""
    for module in (processors.state.engines, processors.state.tables, macaw.installation.engines):
        monkeypatch.setattr(module, "installed", lambda: engines)
