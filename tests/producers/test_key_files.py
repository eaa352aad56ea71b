"""Key files: one for each name, whatever the name is and wherever the file lies, and whole or not there."""

import resource
import unicodedata
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from macaw.installation.instances import instance_home
from producers.home.home import HomeError, TenantHome, file_name
from tests.plain_keys import PLAIN_KEYS

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256)
alike = st.text(st.sampled_from("aA.#%2e/\\-_@~é\u0301E"), min_size=1, max_size=6)


@settings(deadline=None)
@given(names | alike)
def test_a_name_is_written_so_that_every_file_system_keeps_it_and_it_can_be_read_again(name: str) -> None:
    """ASCII without capitals, so that no folding of case and no normalising changes it; never hidden, never a path."""
    written = file_name(name)

    assert written.isascii()
    assert written == written.lower() == unicodedata.normalize("NFD", written)
    assert not {"/", "\\", "\0", "#", " "} & set(written)
    assert not written.startswith(".")
    assert len(f"{written}.16.0123abcd.revoked") <= 255
    if not written.startswith("%-"):
        assert unquote(written) == name


@settings(deadline=None)
@given(names | alike, names | alike)
def test_no_two_names_have_one_file(one: str, other: str) -> None:
    """Long ones included, and an instance's file is no other tool's."""
    assert (file_name(one) == file_name(other)) == (one == other)
    folder = TenantHome("acme", Path("x"))
    first = instance_home(folder, 1)
    assert first.key_file("tool", one) != folder.key_file("tool", other)
    assert first.key_file("tool", one).parent == folder.key_file("tool", other).parent


@pytest.mark.parametrize("name", ["shopper", "ann@example.com", "lab-x_1", "a.b"])
def test_plain_names_are_written_as_they_are(name: str) -> None:
    assert file_name(name) == name


@pytest.mark.parametrize("name", ["", "\ud800"])
def test_what_is_no_name_has_no_file(name: str) -> None:
    with pytest.raises(HomeError):
        file_name(name)


def test_a_key_that_cannot_be_written_leaves_no_file(tmp_path: Path) -> None:
    """As on a full disk: else the next start would find half a key, under a name that is taken."""
    path, bounds = tmp_path / "keys" / "a.key", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, bounds[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            PLAIN_KEYS.create(path, "agent")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, bounds)

    assert not path.exists()
    PLAIN_KEYS.create(path, "agent")
    assert PLAIN_KEYS.load(path)
