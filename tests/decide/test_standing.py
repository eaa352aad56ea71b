"""Policies and subjects from files: what is refused, what is read again, and what is too old to answer from."""

import json
import logging
from pathlib import Path

import pytest

from processors.policy import limits as language_limits
from streams.authzen import limits
from streams.authzen.directory import Directory, DirectoryError
from streams.authzen.files import PolicyFolderError, WatchedDirectory, WatchedFolder, read_policy_folder
from streams.authzen.standing import Kept, Snapshot
from tests.decide.asking import CLERK, QUESTION, Endpoint, standing_of


def written(folder: Path, **documents: object) -> Path:
    for name, document in documents.items():
        text = document if isinstance(document, str) else json.dumps(document)
        (folder / f"{name}.json").write_text(text)
    return folder


class TestFolder:
    def test_every_document_is_in_force(self, tmp_path: Path) -> None:
        child = {"policy_id": "role:head", "extends": "role:clerk"}
        index = read_policy_folder(written(tmp_path, a=child, b=CLERK, c={"policy_id": "org:all"}))

        assert sorted(index.by_id) == ["org:all", "role:clerk", "role:head"]

    @pytest.mark.parametrize(
        ("documents", "message"),
        [
            ({}, "holds 0 policies"),
            ({"a": CLERK, "b": CLERK}, "second document with the id role:clerk"),
            ({"a": "{"}, "a.json is no policy: E_JSON"),
            ({"a": '{"policy_id": "a:b", "policy_id": "a:c"}'}, "a.json is no policy: E_JSON_DUPLICATE"),
            ({"a": {"policy_id": "a:b", "resource": []}}, "a.json is no policy: E_UNKNOWN_FIELD at '/resource'"),
            ({"a": {"policy_id": "a:b", "description": "x" * language_limits.DOCUMENT_BYTES_MAX}}, "E_LIMIT"),
            ({"a": {"policy_id": "a:b", "extends": "a:c"}}, "a:b in .*: its chain breaks at a:c"),
            (
                {"a": {"policy_id": "a:b", "extends": "a:c"}, "b": {"policy_id": "a:c", "extends": "a:b"}},
                "its chain breaks",
            ),
        ],
    )
    def test_a_folder_that_is_not_whole_is_refused(
        self, tmp_path: Path, documents: dict[str, object], message: str
    ) -> None:
        with pytest.raises(PolicyFolderError, match=message):
            read_policy_folder(written(tmp_path, **documents))

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(PolicyFolderError, match="is no folder"):
            read_policy_folder(tmp_path / "policies")


class TestWatching:
    def test_what_did_not_change_is_not_read_again(self, tmp_path: Path) -> None:
        """Nor is what was compiled for it thrown away."""
        (tmp_path / "directory.yaml").write_text("alice: {}")
        folder = WatchedFolder(written(tmp_path, a=CLERK))
        directory = WatchedDirectory(tmp_path / "directory.yaml")

        assert folder.read() is folder.read()
        assert directory.read() is directory.read()

    def test_a_change_that_makes_it_wrong_is_told_each_time(self, tmp_path: Path) -> None:
        folder = WatchedFolder(written(tmp_path, a=CLERK))
        folder.read()
        written(tmp_path, a="{")

        for _ in range(2):
            with pytest.raises(PolicyFolderError):
                folder.read()

    def test_policies_that_were_written_count(self, tmp_path: Path) -> None:
        folder = WatchedFolder(written(tmp_path, a=CLERK))
        before = folder.read()
        assert folder.read() is before

        written(tmp_path, b={"policy_id": "role:head"})
        assert sorted(folder.read().index.by_id) == ["role:clerk", "role:head"]
        (tmp_path / "a.json").unlink()
        assert sorted(folder.read().index.by_id) == ["role:head"]
        written(tmp_path, b={"policy_id": "role:tail"})
        assert sorted(folder.read().index.by_id) == ["role:tail"]

    def test_a_subject_that_was_struck_out_is_nobody(self, tmp_path: Path) -> None:
        path = tmp_path / "directory.yaml"
        path.write_text("alice: {}\nbob: {}\n")
        watched = WatchedDirectory(path)
        assert watched.read().find("user", "alice") is not None

        path.write_text("bob: {}\n")
        assert watched.read().find("user", "alice") is None
        path.unlink()
        with pytest.raises(DirectoryError):
            watched.read()


class TestKeeping:
    def test_what_cannot_be_read_anew_is_not_answered_from_for_long(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        standing = standing_of(tmp_path, [CLERK])
        found: list[Snapshot | Exception] = [standing]

        def load() -> Snapshot:
            if isinstance(found[0], Exception):
                raise found[0]
            return found[0]

        endpoint = Endpoint(tmp_path, load)
        found[0] = DirectoryError("it is gone")
        endpoint.seconds = limits.STALE_SECONDS
        with caplog.at_level(logging.ERROR):
            endpoint.kept.read_anew()
        assert "it is gone" in caplog.text
        assert endpoint.ask(QUESTION)["decision"] is True

        endpoint.seconds += 1
        refused = endpoint.send(json.dumps(QUESTION).encode())
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert "could not be read" in refused.json()["error"]
        assert endpoint.send(path="/healthz", method="GET").status_code == 503

        found[0] = standing
        endpoint.kept.read_anew()
        assert endpoint.ask(QUESTION)["decision"] is True
        assert endpoint.send(path="/healthz", method="GET", headers=[]).json() == {"ready": True}

    def test_the_time_that_counts_is_before_the_reading(self) -> None:
        """A reading that took long is as old as its beginning."""
        clock = [0.0]

        def load() -> Snapshot:
            clock[0] += limits.STALE_SECONDS + 1
            return Snapshot(policies=None, directory=Directory({}))  # type: ignore[arg-type]

        assert Kept(load, lambda: clock[0]).current() is None

    def test_what_is_wrong_from_the_beginning_is_told(self) -> None:
        def load() -> Snapshot:
            raise DirectoryError("wrong")

        with pytest.raises(DirectoryError, match="wrong"):
            Kept(load)
