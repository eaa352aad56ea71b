"""The stores of an installation without settings: keys in files, as most tests have them."""

from __future__ import annotations

from pathlib import Path

from producers.home.keystores.settings import KeySettings
from producers.home.keystores.stores import KeyStores

PLAIN_KEYS = KeyStores(KeySettings(), Path.cwd())
