"""Policies and subjects from files: what is refused, what is read again, and what is too old to answer from."""

import json
import logging
from pathlib import Path

import pytest

from macaw.policies.files import PolicyFilesError, policy_paths
from processors.policy import limits as language_limits
from processors.policy.index import PolicyIndex
from streams.authzen import limits
from streams.authzen.directory import Directory, read_directory
from streams.authzen.files import Watched
from streams.authzen.standing import Kept, Snapshot
from streams.identity_files.subjects_file import SubjectsFileError
from tests.decide.asking import CLERK, QUESTION, Endpoint, index_in, standing_of


def written(folder: Path, **documents: object) -> Path:
    for name, document in documents.items():
        text = document if isinstance(document, str) else json.dumps(document)
        (folder / f"{name}.json").write_text(text)
    return folder


def watched_folder(folder: Path) -> Watched[PolicyIndex]:
    return Watched(lambda: policy_paths([folder]), lambda: index_in(folder))


def watched_directory(path: Path) -> Watched[Directory]:
    return Watched(lambda: [path], lambda: read_directory(path))


class TestFolder:
    def test_every_document_is_in_force(self, tmp_path: Path) -> None:
        child = {"policy_id": "role:head", "extends": "role:clerk"}
        index = index_in(written(tmp_path, a=child, b=CLERK, c={"policy_id": "org:all"}))

        assert sorted(index.by_id) == ["org:all", "role:clerk", "role:head"]

    @pytest.mark.parametrize(
        ("documents", "message"),
        [
            ({}, "holds no policies"),
            ({"a": CLERK, "b": CLERK}, "b.json is refused: E_CONFLICT"),
            ({"a": "{"}, "a.json is refused: E_JSON in line 1, column 2"),
            ({"a": '{"policy_id": "a:b", "policy_id": "a:c"}'}, "a.json is refused: E_JSON_DUPLICATE"),
            (
                {"a": {"policy_id": "a:b", "resource": []}},
                "a.json is refused: E_UNKNOWN_FIELD in line 1, .* at '/resource'",
            ),
            ({"a": {"policy_id": "a:b", "description": "x" * language_limits.DOCUMENT_BYTES_MAX}}, "E_LIMIT"),
            ({"a": {"policy_id": "a:b", "extends": "a:c"}}, "a.json is refused: E_EXTENDS_UNKNOWN in .* at '/extends'"),
            (
                {"a": {"policy_id": "a:b", "extends": "a:c"}, "b": {"policy_id": "a:c", "extends": "a:b"}},
                "a.json is refused: E_EXTENDS_CYCLE",
            ),
        ],
    )
    def test_a_folder_that_is_not_whole_is_refused(
        self, tmp_path: Path, documents: dict[str, object], message: str
    ) -> None:
        with pytest.raises(PolicyFilesError, match=message):
            index_in(written(tmp_path, **documents))

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(PolicyFilesError, match="cannot read"):
            index_in(tmp_path / "policies")


class TestWatching:
    def test_what_did_not_change_is_not_read_again(self, tmp_path: Path) -> None:
        """Nor is what was compiled for it thrown away."""
        (tmp_path / "directory.yaml").write_text("alice: {}")
        (tmp_path / "policies").mkdir()
        folder = watched_folder(written(tmp_path / "policies", a=CLERK))
        directory = watched_directory(tmp_path / "directory.yaml")

        assert folder.read() is folder.read()
        assert directory.read() is directory.read()

    def test_a_change_that_makes_it_wrong_is_told_each_time(self, tmp_path: Path) -> None:
        folder = watched_folder(written(tmp_path, a=CLERK))
        folder.read()
        written(tmp_path, a="{")

        for _ in range(2):
            with pytest.raises(PolicyFilesError):
                folder.read()

    def test_policies_that_were_written_count(self, tmp_path: Path) -> None:
        folder = watched_folder(written(tmp_path, a=CLERK))
        before = folder.read()
        assert folder.read() is before

        written(tmp_path, b={"policy_id": "role:head"})
        assert sorted(folder.read().by_id) == ["role:clerk", "role:head"]
        (tmp_path / "a.json").unlink()
        assert sorted(folder.read().by_id) == ["role:head"]
        written(tmp_path, b={"policy_id": "role:tail"})
        assert sorted(folder.read().by_id) == ["role:tail"]

    def test_a_subject_that_was_struck_out_is_nobody(self, tmp_path: Path) -> None:
        path = tmp_path / "directory.yaml"
        path.write_text("alice: {}\nbob: {}\n")
        watched = watched_directory(path)
        assert watched.read().find("user", "alice") is not None

        path.write_text("bob: {}\n")
        assert watched.read().find("user", "alice") is None
        path.unlink()
        with pytest.raises(SubjectsFileError):
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
        found[0] = SubjectsFileError("it is gone")
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
            raise SubjectsFileError("wrong")

        with pytest.raises(SubjectsFileError, match="wrong"):
            Kept(load)
