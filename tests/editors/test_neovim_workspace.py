"""Which conversation is the default one."""

from pathlib import Path

from tests.editors.neovim import (
    RunNeovim,
    message_contents,
    needs_neovim,
    notices,
    session_ids,
)

pytestmark = needs_neovim


def repository_at(path: Path) -> Path:
    """Make a folder with an empty `.git`."""
    (path / ".git").mkdir(parents=True)
    (path / "sub").mkdir()
    return path


def test_default_conversation_is_that_of_the_project(
    run_neovim: RunNeovim, tmp_path: Path, database: Path
) -> None:
    a, b = repository_at(tmp_path / "a"), repository_at(tmp_path / "b")
    plain = tmp_path / "plain"
    plain.mkdir()
    (tmp_path / "link").symlink_to(a)
    report = run_neovim(
        "workspace.follows_the_project",
        a,
        a=str(a),
        b=str(b),
        plain=str(plain),
        link=str(tmp_path / "link"),
    )

    in_a, in_b = report["file_of_a"], report["file_of_b"]
    for name, session in report.items():
        if name.endswith("_a") and "status" not in name:
            assert session == in_a, name
        elif name.endswith("_b") and "status" not in name:
            assert session == in_b, name
    assert report["first_tab"] == in_b
    assert len({in_a, in_b, report["tab"]}) == 3
    assert session_ids(database) == [in_a, in_b, report["tab"]]
    assert report["status_in_a"] == "segue 6"
    assert report["status_in_b"] == "segue 5"


def test_late_answer_is_stored_in_the_project_of_its_question(
    run_neovim: RunNeovim, tmp_path: Path, database: Path
) -> None:
    a, b = repository_at(tmp_path / "a"), repository_at(tmp_path / "b")
    report = run_neovim("workspace.answers_stay", a, a=str(a), b=str(b))

    assert message_contents(database, report["a"]) == ["in a", "answered at once", "answered later"]
    assert message_contents(database, report["b"]) == ["in b"]


def test_conversation_goes_on_without_its_folder(
    run_neovim: RunNeovim, tmp_path: Path, database: Path
) -> None:
    root = repository_at(tmp_path / "removed")
    report = run_neovim("workspace.folder_is_removed", root=str(root))

    assert report["before"] == report["after"] == report["restarted"]
    assert message_contents(database, report["before"]) == ["before", "after", "restarted"]


def test_going_on_after_archive_and_deletion(run_neovim: RunNeovim, database: Path) -> None:
    report = run_neovim("workspace.going_on_after_archive")

    assert report["after_answer"] is False, "a late answer is no new question"
    assert report["after_question"] == report["first"]
    assert report["after_deletion"] is False
    assert report["errors"] == ["SessionNotFound"] * 2
    assert session_ids(database) == [report["second"]]
    (said_once,) = notices(report)
    assert "was deleted; 1 event was not stored" in said_once
