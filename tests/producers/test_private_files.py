"""Files of our own are for their owner alone, and whole or as they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from producers.home.files import create_private, replace_private


def test_a_file_is_for_its_owner_alone_and_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    path.write_bytes(b"before")
    path.chmod(0o644)
    replace_private(path, b"after")
    assert path.read_bytes() == b"after"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["kept.json"]


def test_what_stands_there_is_not_created_again(tmp_path: Path) -> None:
    path = tmp_path / "key"
    create_private(path, b"first")
    with pytest.raises(FileExistsError):
        create_private(path, b"second")
    assert path.read_bytes() == b"first"


def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kept.json"
    path.write_bytes(b"before")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_private(path, b"after")
    with pytest.raises(OSError, match="No space"):
        create_private(tmp_path / "other", b"new")
    assert [one.name for one in tmp_path.iterdir()] == ["kept.json"]
    assert path.read_bytes() == b"before"
