"""`:Segue export`: a conversation as a buffer, or as a private file."""

import datetime
import json
import stat
from pathlib import Path

from tests.cli.helpers import run
from tests.editors.neovim import RunNeovim, needs_neovim, notices

pytestmark = needs_neovim


def file_name(suffix: str) -> str:
    return f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}-Fix-the-parser{suffix}"


def exported(session_id: str, format: str) -> str:
    return run("export", session_id, "--format", format).stdout


def test_markdown_is_a_buffer_that_can_be_written_under_its_name(
    run_neovim: RunNeovim, repository: Path
) -> None:
    report = run_neovim("export.to_buffer")

    markdown = exported(report["id"], "markdown")
    assert "\n".join([*report["lines"], ""]) == markdown
    assert "Fix the parser" in markdown
    assert report["name"].startswith("segue-export://")
    assert report["name"].endswith("/" + file_name(".md"))
    assert [report["buftype"], report["filetype"], report["modified"]] == [
        "nofile",
        "markdown",
        False,
    ]
    assert report["layout"] == "row", "modifiers of windows are obeyed"
    assert report["saves_by_itself"] is False
    assert (repository / file_name(".md")).read_text() == markdown
    assert (repository / "copy.md").read_text() == markdown
    assert report["undone"] is True
    assert report["second_name"] != report["name"]
    assert report["said"] == "segue: exported to this buffer; :w %:t writes it to a file"
    assert notices(report) == []


def test_elsewhere_the_conversation_is_chosen(run_neovim: RunNeovim) -> None:
    report = run_neovim("export.chosen")

    assert "the older answer" in report["shown"]
    assert "the newer answer" not in report["shown"]
    assert report["selects"] == ["Export a conversation"]
    assert report["files"] == ["src"]


def test_files_are_private_complete_and_never_replaced_without_a_bang(
    run_neovim: RunNeovim, repository: Path, tmp_path: Path
) -> None:
    (repository / "mine.html").write_text("mine")
    (repository / "link").symlink_to("nowhere")
    (repository / "yours.md").write_text("yours")
    report = run_neovim(
        "export.to_files",
        commands=[
            "Segue export ID html",
            "Segue export ID jsonl src",
            f"Segue export ID markdown {tmp_path}/a name.md",
            "Segue export ID html mine.html",
            "Segue export ID html link",
            "Segue! export ID markdown yours.md",
            "Segue export ID html no/folder.html",
            "Segue export ID pdf",
            "Segue export nobody html",
            "Segue! info",
        ],
    )

    id, said = report["id"], report["said"]
    written = {
        repository / file_name(".html"): "html",
        repository / "src" / file_name(".jsonl"): "jsonl",
        tmp_path / "a name.md": "markdown",
        repository / "yours.md": "markdown",
    }
    for path, format in written.items():
        assert path.read_text() == exported(id, format)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    places = [str(path) for path in written]
    assert said[:3] == [f"segue: exported to {path}" for path in places[:3]]
    replaces = ":Segue! export replaces it"
    assert said[3] == f"segue: {repository / 'mine.html'} exists; {replaces}"
    assert said[4] == f"segue: {repository / 'link'} exists; {replaces}"
    assert said[5] == f"segue: exported to {places[3]}"
    assert said[6].startswith(f"segue: {repository / 'no/folder.html'} cannot be written: no such")
    assert said[7] == "segue: the format must be one of: markdown, html, jsonl"
    assert "nobody" in said[8]
    assert said[9] == "segue: only :Segue!, :Segue! export and :Segue! search take a !"
    assert (repository / "mine.html").read_text() == "mine"
    assert not (repository / "nowhere").exists()
    assert list(repository.rglob("*.part")) == []
    assert report["windows"] == 1


def test_a_large_conversation_is_exported_without_blocking(
    run_neovim: RunNeovim, repository: Path
) -> None:
    report = run_neovim("export.large", megabytes=12)

    assert (repository / "large.jsonl").read_text() == exported(report["id"], "jsonl")
    assert (repository / "large.md").read_text() == exported(report["id"], "markdown")
    assert report["filetype"] == "", "highlighting would block"
    assert max(report["file"], report["buffer"]) < 1000, "milliseconds; a page is 4 MiB"
    assert notices(report) == []


def test_an_export_that_fails_leaves_nothing(run_neovim: RunNeovim) -> None:
    report = run_neovim("export.failing")

    assert report["errors"] == ["segue: the store is gone"] * 2
    assert report["files"] == ["src"]
    assert [report["windows"], report["buffers"]] == [1, 1]


def test_a_server_that_cannot_export_is_said(run_neovim: RunNeovim) -> None:
    report = run_neovim("export.failing", old_server=True)

    assert report["errors"] == ["segue: the server is too old to export; update it"] * 2
    assert report["files"] == ["src"]


def test_the_api_returns_pages(run_neovim: RunNeovim) -> None:
    report = run_neovim("export.api")

    page = report["current"]
    assert "Fix the parser" in page["content"]
    assert "next_cursor" not in page
    assert [page["media_type"], page["file_name"]] == ["text/markdown", file_name(".md")]
    lines = [json.loads(line) for line in report["lines"]["content"].splitlines()]
    assert lines[0]["segue"] == 1
    assert report["error"] == "SessionNotFound"


def test_ids_formats_and_files_are_completed(run_neovim: RunNeovim) -> None:
    report = run_neovim("export.completion")

    formats = ["markdown", "html", "jsonl"]
    assert report["first"] == [*formats, report["id"]]
    assert report["second"] == formats
    assert report["started"] == ["html"]
    assert [report["file"], report["file_of_id"]] == [["notes.md"]] * 2
