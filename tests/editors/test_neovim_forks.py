"""Forks, going back and undoing it, titles, and who answered."""

from pathlib import Path

from segue.cli.client import Client
from tests.editors.neovim import (
    RunNeovim,
    message_contents,
    needs_neovim,
    notices,
    stored_events,
    stored_sessions,
)

pytestmark = needs_neovim

TALK = [f"{kind} {number}" for number in (1, 2, 3) for kind in ("question", "answer")]


def test_fork_has_the_turns_up_to_the_cursor(run_neovim: RunNeovim, database: Path) -> None:
    report = run_neovim("forks.fork")

    original, fork, whole = (report[name] for name in ("id", "fork", "whole"))
    sessions = stored_sessions(database)
    assert set(sessions) == {original, fork, whole}
    assert "question 2" in report["shown"]
    assert "question 3" not in report["shown"]
    assert message_contents(database, original) == TALK
    assert message_contents(database, fork) == [*TALK[:4], "another way"]
    assert message_contents(database, whole) == [*TALK[:4], "another way"]
    shared = [event.id for event in stored_events(database, original)[:4]]
    assert [event.id for event in stored_events(database, fork)[:4]] == shared
    assert [sessions[id].forked_from for id in (fork, whole)] == [original, fork]
    assert [sessions[id].archived_at for id in (original, fork)] == [None, None]
    titles = [sessions[id].title for id in (original, fork, whole)]
    assert titles == ["question 1", "copy of question 1", "a way of its own"]
    assert report["record"]["forked_from"] == fork
    assert notices(report, 2) == [
        "segue: forked as “copy of question 1”",
        "segue: forked as “a way of its own”",
    ]


def test_rewind_goes_back_and_undo_brings_the_rest_back(
    run_neovim: RunNeovim, database: Path
) -> None:
    report = run_neovim("forks.rewind_and_undo")

    original, fork = report["id"], report["fork"]
    assert "question 1" in report["shown"]
    assert "question 2" not in report["shown"]
    assert report["windows"] == 2, "the fork is shown in the window of the original"
    sessions = stored_sessions(database)
    assert set(sessions) == {original, fork}
    assert message_contents(database, fork) == [*TALK[:2], "later"]
    assert message_contents(database, original) == [*TALK, "and on"]
    assert [sessions[id].archived_at is None for id in (original, fork)] == [True, False]
    assert [sessions[id].title for id in (original, fork)] == ["question 1", "question 1"]
    assert notices(report, 2) == [
        "segue: nothing comes after this turn",
        "segue: put the cursor on a turn in a chat or a transcript",
        "segue: there is nothing to undo: this conversation was not rewound",
        "segue: went back to this turn; :Segue undo brings the rest back",
        "segue: undone: the whole conversation is back",
    ]


def test_what_takes_the_place_of_the_current_conversation_is_current(
    run_neovim: RunNeovim, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    report = run_neovim("forks.from_elsewhere", other=str(other))

    assert report["current"] == report["expected"]
    assert "not rewound" in report["refused"], "the original was archived later"


def test_a_rewind_can_be_undone_by_another_neovim(run_neovim: RunNeovim, database: Path) -> None:
    before = run_neovim("forks.rewind_and_undo", restart=True)
    report = run_neovim("forks.undo_later")

    assert [report["fork"], report["original"]] == [before["fork"], before["id"]]
    assert report["events"] == len(TALK)
    sessions = stored_sessions(database)
    assert sessions[report["original"]].archived_at is None
    assert sessions[report["fork"]].archived_at is not None
    assert [text for text in notices(report, 2) if "resumed" in text] == [
        "segue: resumed “question 1”, 3 events"
    ]


def test_rename_gives_a_title_or_the_automatic_one(run_neovim: RunNeovim, database: Path) -> None:
    report = run_neovim("forks.rename")

    sessions = stored_sessions(database)
    assert sessions[report["other"]].title == 'Fix | the "parser"'
    assert sessions[report["id"]].title == "question 1"
    assert report["asked"] == [["Title: ", "question 1"]] * 2 + [["Title: ", "Typed"]]
    assert "title" in report["refused"]["message"]
    assert notices(report, 2) == [
        'segue: renamed to “Fix | the "parser"”',
        "segue: renamed to “Typed”",
        "segue: renamed to “question 1”",
    ]


def test_list_info_and_transcript_show_who_answered(
    run_neovim: RunNeovim, repository: Path
) -> None:
    report = run_neovim("forks.who_answered")

    assert [report["client"], report["agent"], report["model"]] == ["Neovim", "openai", "gpt-5"]
    assert "agent     openai (gpt-5)\n" in report["output"]
    assert "question 1 · just now · 6 events · openai (gpt-5)" in report["output"]
    assert report["lines"][0].endswith(", with openai (gpt-5).*")
    (invocation,) = report["invocations"]
    assert invocation["client_name"] == "Neovim"
    assert invocation["client_version"].startswith("0.1")

    other = Client(repository, {})
    other.initialize(clientInfo={"name": "Another Editor"})
    session = other.request("session/open", {"workspace": str(repository)})["session"]
    id, events = session["sessionId"], [{"type": "text", "data": {"content": "from a client"}}]
    other.request("session/append", {"sessionId": id, "events": events, "agent": "another"})
    other.kill()
    lines = run_neovim("forks.show", id=id, last="from a client")["lines"]
    assert lines[0] == f"*Start of conversation {id}, with another.*"
    headings = [line for line in lines if line.startswith("## ")]
    assert [line.count(" · ") for line in headings] == [1] * 6 + [2, 2]
    assert headings[-1].endswith(" · Another Editor")


def test_agent_and_model_are_those_of_the_last_call_that_names_them(
    run_neovim: RunNeovim, database: Path
) -> None:
    report = run_neovim("forks.origins")

    (session,) = stored_sessions(database).values()
    assert message_contents(database, session.id) == ["one", "two", "three", "four"]
    assert session.agent == report["agent"]
    assert session.agent is not None
    assert session.agent.startswith("n n n")
    assert len(session.agent) <= 200
    assert [session.model, report.get("model")] == [None, None]
