"""An enrolment key that is used up gets a successor, on a real log."""

from macaw.installation.tenancy import register_agent, renew_enrolment
from tests.installation import installed


def test_an_enrolment_key_is_renewed(broker, tmp_path):
    """The new one registers, the old one is put aside, and a renewal that was interrupted goes on where it was."""
    with installed(broker, tmp_path, "renewed") as made:
        folder = made.folder
        register_agent(made.home, folder, "shopper", attributes={})
        old = folder.key("enrol")
        folder.keys.create(folder.path / "enrol.key.new", "enrol")  # as where it was interrupted

        aside = renew_enrolment(made.home, folder)

        assert folder.key("enrol").kid != old.kid
        assert folder.keys.load(aside).kid == old.kid
        register_agent(made.home, folder, "clerk", attributes={})
        # Interrupted after the log had heard of both: run again it only puts the files in place.
        (folder.path / "enrol.key").rename(folder.path / "enrol.key.new")
        aside.rename(folder.path / "enrol.key")
        assert renew_enrolment(made.home, folder) == aside
        register_agent(made.home, folder, "courier", attributes={})
