import asyncio
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from segue.cli.client import Client
from segue.model.events import Event
from segue.model.workspace import resolve_workspace
from segue.sessions.manager import SessionManager
from segue.store.sqlite.service import LocalSessionService
from tests.editors.neovim import (
    HERE,
    NEOVIM,
    PLUGIN,
    SERVER,
    RunNeovim,
    StartNeovim,
    by_command,
    message_contents,
    needs_neovim,
    notices,
    session_ids,
    stored_events,
    stored_sessions,
    wait_for_flag,
    wait_for_processes_to_exit,
)

pytestmark = needs_neovim
SUBCOMMANDS = [
    "append",
    "archive",
    "delete",
    "export",
    "fork",
    "info",
    "list",
    "log",
    "new",
    "relocate",
    "rename",
    "resume",
    "rewind",
    "search",
    "show",
    "undo",
    "wrap",
]


def test_next_neovim_resumes_the_conversation(
    run_neovim: RunNeovim, repository: Path, database: Path, tmp_path: Path
) -> None:
    first = run_neovim("conversation.append_three", repository)
    again = run_neovim("conversation.open", repository / "src")

    other = tmp_path / "other"
    other.mkdir()
    subprocess.run(["git", "init", "--quiet", other], check=True)
    elsewhere = run_neovim("conversation.open", other)

    assert first["title"] == "one"
    assert first["status"] == "segue 3"
    assert len(first["ids"]) == 2
    assert sum(appended["count"] for appended in first["appended"]) == 3
    assert first["appended"][-1]["seq"] == 3
    assert notices(first) == []
    assert again["id"] == first["session"]
    assert again["resumed"] is True
    assert again["contents"] == ["one", "two", "three"]
    assert "new invocation" in again["boundary"]
    codes = [report["reason_code"] for report in (again, elsewhere)]
    assert codes == ["newestInRepository", "nothingFits"]
    assert again["resumed_event"] == [first["session"], again["reason"]]
    assert notices(again, 2) == ["segue: resumed “one”, 3 events"]
    assert [elsewhere["resumed"], elsewhere["contents"]] == [False, []]
    assert session_ids(database) == [first["session"]], "opening stores nothing"


@pytest.mark.parametrize(("answer", "is_moved"), [("1", True), ("2", False)])
def test_the_conversations_of_a_moved_checkout_come_along_if_the_user_says_so(
    run_neovim: RunNeovim, repository: Path, monkeypatch: pytest.MonkeyPatch,
    answer: str, is_moved: bool,
) -> None:  # fmt: skip
    remote = "git@github.com:org/repo.git"
    subprocess.run(["git", "-C", repository, "remote", "add", "origin", remote], check=True)
    first = run_neovim("conversation.append_three", repository)
    new = repository.with_name("new")
    repository.rename(new)
    monkeypatch.setenv("ANSWER", answer)

    report = run_neovim("conversation.relocate", new)

    assert report["opened"] != first["session"]
    assert report["asked"] == [f"{repository} is gone. Was it moved to {new}?"]
    assert report["listed"] == ([first["session"]] if is_moved else [])
    mentioned = f"segue: “one” and more was said in {repository}, which is gone"
    assert any(message.startswith(mentioned) for message in notices(report, 2))
    again = run_neovim("conversation.open", new)
    assert again["resumed"] is is_moved
    assert not any("which is gone" in message for message in notices(again, 2))


def test_reset_archives_and_opens_a_new_session(run_neovim: RunNeovim, database: Path) -> None:
    first = run_neovim("conversation.append_three")
    report = run_neovim("conversation.reset")
    last = run_neovim("conversation.open")

    assert report["old"] == first["session"]
    assert report["reset_event"] == [report["new"], report["old"]]
    assert message_contents(database, report["old"]) == [
        "one",
        "two",
        "three",
        "last of the old session",
        "to the old id",
    ]
    assert message_contents(database, report["new"]) == ["first of the new session"]
    assert last["id"] == report["new"]
    assert last["contents"] == ["first of the new session"]


def test_archived_session_is_resumed_only_by_id(run_neovim: RunNeovim, database: Path) -> None:
    report = run_neovim("conversation.archive_then_continue")

    assert report["now"] == report["old"] != report["new"]
    assert message_contents(database, report["old"]) == ["one", "three"]
    assert message_contents(database, report["new"]) == ["two"]
    assert notices(report) == []
    assert any("was unarchived" in message for message in notices(report, 2))


CRASHES = [
    None,
    "before the append",
    "before the fork is answered",
    "the fork is answered with an error",
]


@pytest.mark.parametrize("crash", CRASHES)
def test_two_windows_in_one_conversation_end_in_two_linked_ones(
    start_neovim: StartNeovim,
    run_neovim: RunNeovim,
    database: Path,
    tmp_path: Path,
    crash: str | None,
) -> None:
    before = run_neovim("conversation.append_three")
    proxy = [sys.executable, str(HERE / "proxy.py"), str(tmp_path / "flags"), *SERVER]
    first = start_neovim("conversation.first_window", cmd=proxy, crash=crash)
    wait_for_flag(tmp_path / "flags" / "first window is open", first)
    second = run_neovim("conversation.second_window")
    (tmp_path / "flags" / "second window has appended").touch()
    report = first.wait()

    beginning = ["one", "two", "three", "from the first"]
    assert before["session"] == report["before"] == second["id"]
    assert second["contents"][:3] == ["one", "two", "three"]
    assert report["after"] == report["current"] != report["before"]
    assert report["moved"] == [report["after"], report["before"]]
    assert report["reason"] == [False, "It was made now, as a fork of another session."]
    assert message_contents(database, report["before"]) == [*beginning, "from the second"]
    assert message_contents(database, report["after"]) == [
        *beginning,
        "one more from the first",
        "and another",
        "and the last",
    ]
    assert sorted(session_ids(database)) == sorted([report["before"], report["after"]])
    original, fork = (stored_sessions(database)[report[name]] for name in ("before", "after"))
    assert fork.forked_from == original.id
    assert [original.title, fork.title] == ["the original", "copy of one"]
    assert [original.archived_at is None, fork.archived_at is None] == [False, True]
    assert [original.client, fork.client] == ["Neovim", "Neovim"]
    assert notices(second) == []
    *crashes, notice = notices(report)
    assert len(crashes) == (crash is not None)
    assert notice == "segue: another window continued it too; you go on in a copy"


@pytest.mark.parametrize("change", ["archived", "deleted"])
def test_what_is_said_after_archive_or_deletion_elsewhere(
    start_neovim: StartNeovim,
    start: Callable[..., Client],
    database: Path,
    tmp_path: Path,
    change: str,
) -> None:
    neovim = start_neovim("conversation.archived_or_deleted_elsewhere")
    wait_for_flag(tmp_path / "flags" / "appended", neovim)
    other = start()
    (session,) = other.request("session/list")["sessions"]
    method = "session/archive" if change == "archived" else "session/delete"
    other.request(method, {"sessionId": session["sessionId"]})
    (tmp_path / "flags" / "archived or deleted").touch()
    report = neovim.wait()
    other.kill()

    if change == "archived":
        assert report["now"] == session["sessionId"]
        assert message_contents(database, session["sessionId"]) == ["one", "two", "three", "four"]
        assert notices(report, 2) == []
    else:
        assert report["error"] == "SessionNotFound"
        assert session_ids(database) == [report["now"]] != [session["sessionId"]]
        assert message_contents(database, report["now"]) == ["four"]
        (notice,) = notices(report, 2)
        assert "“one” was deleted; 1 event was not stored" in notice


def test_invalid_utf8_nulls_and_large_events_are_stored(
    run_neovim: RunNeovim, database: Path
) -> None:
    report = run_neovim("conversation.unusual_values")
    (session,) = session_ids(database)
    events = stored_events(database, session)

    assert events[0].data["content"] == "bad \ufffd byte, half \ufffd\ufffd\ufffd, cut \ufffd\ufffd"
    assert events[1].data["content"] == "NUL \0 here"
    assert events[2].data == {"content": "x", "kept": [None, {"a": None, "b": {}, "c": []}]}
    assert len(events[3].data["content"].encode()) == report["big"] > 5 * 1024 * 1024
    assert events[4].data["content"] == "after"
    assert report["null_is_kept"] is True
    assert report["milliseconds"] < 1000
    assert notices(report) == []


def test_lone_surrogates_do_not_prevent_reading(
    run_neovim: RunNeovim, repository: Path, database: Path
) -> None:
    async def store() -> None:
        service = await LocalSessionService.open(database)
        manager = SessionManager.create_new(service, resolve_workspace(str(repository)))
        texts = ["cut \ud83d", "whole \U0001f600", "a \\ud83d that is spelled out", "\udc00\ud800"]
        await manager.persist_events([Event.new("text", {"content": text}, None) for text in texts])
        await service.close()

    asyncio.run(store())
    report = run_neovim("conversation.read_lone_surrogates")
    assert report["contents"] == [
        "cut \ufffd",
        "whole \U0001f600",
        "a \\ud83d that is spelled out",
        "\ufffd\ufffd",
    ]


def test_only_invalid_events_are_rejected(run_neovim: RunNeovim, database: Path) -> None:
    report = run_neovim("conversation.rejected_events")
    (session,) = session_ids(database)

    assert message_contents(database, session) == ["one", "two", "three", "four", "five"]
    assert "a function cannot be stored" in report["errors"][0]
    assert "NaN" in report["errors"][1]
    assert "nested deeper" in report["errors"][2]
    messages = notices(report, 4)
    assert len(messages) == 5
    assert "the event wrong (text)" in messages[3]
    assert "data.content" in messages[3]
    assert f"the event {report['id']} (text)" in messages[4]


def test_unavailable_database_is_retried(
    start_neovim: StartNeovim, database: Path, tmp_path: Path
) -> None:
    database.parent.write_text("not a directory")
    neovim = start_neovim("conversation.database_unavailable")
    wait_for_flag(tmp_path / "flags" / "notified", neovim)
    database.parent.unlink()
    (tmp_path / "flags" / "repaired").touch()
    report = neovim.wait()

    assert report["unsent"] == 2
    (session,) = session_ids(database)
    assert message_contents(database, session) == ["one", "two", "three"]
    (notice,) = notices(report)
    assert "not stored yet" in notice


def test_server_killed_under_load_loses_no_event(run_neovim: RunNeovim, database: Path) -> None:
    count = 200
    report = run_neovim("server.crash_under_load", count=count)

    assert message_contents(database, report["session"]) == [
        f"event {n}" for n in range(1, count + 1)
    ]
    assert len(report["seqs"]) == count
    assert report["seqs"] == sorted(set(report["seqs"]))
    (notice,) = notices(report)
    assert "the server stopped (signal 9)" in notice


def test_server_that_keeps_crashing_is_not_restarted(run_neovim: RunNeovim, database: Path) -> None:
    report = run_neovim("server.crash_too_often")

    first, last = [notice["message"] for notice in report["notices_before_command"]]
    assert "is being restarted" in first
    assert "stopped 4 times" in last
    assert ":Segue log" in last
    assert [report["state"], report["unsent"]] == ["failed", 1]
    (session,) = session_ids(database)
    assert message_contents(database, session) == ["before", "kept", "and after"]


def test_missing_server_is_one_notice_and_one_for_each_command_with_the_install_command(
    run_neovim: RunNeovim, database: Path
) -> None:
    report = run_neovim("server.not_installed", cmd=["segue-is-not-here", "lsp"])

    assert report["notices_before_command"] == 1
    notice, *others = notices(report)
    assert others == [notice] * 2
    assert "not installed (segue-is-not-here was not found)" in notice
    assert re.search(rf"(uv tool|pipx) install '{re.escape(str(PLUGIN.parents[1]))}'$", notice)
    assert report["unsent"] == 2
    (session,) = session_ids(database)
    assert message_contents(database, session) == ["one", "two", "three"]


@pytest.mark.parametrize("spec", ["exit_with_appends_in_flight", "exit_after_lsp_exit_handler"])
def test_exit_with_appends_in_flight_loses_none(
    run_neovim: RunNeovim, database: Path, spec: str
) -> None:
    report = run_neovim(f"server.{spec}", count=200)

    assert wait_for_processes_to_exit(database) == []
    (session,) = session_ids(database)
    assert message_contents(database, session) == [f"event {n}" for n in range(1, 201)]
    assert notices(report) == []


def test_exit_with_five_megabytes_in_flight_loses_none(
    run_neovim: RunNeovim, database: Path
) -> None:
    run_neovim("server.exit_with_large_event_in_flight")

    assert wait_for_processes_to_exit(database) == []
    (session,) = session_ids(database)
    assert [len(text) for text in message_contents(database, session)] == [5 * 1024 * 1024, 5]


def test_nothing_blocks_on_an_unresponsive_server(run_neovim: RunNeovim, database: Path) -> None:
    report = run_neovim("server.never_blocks")

    assert report["slowest"] < 250, "milliseconds; a blocking request would take forever"
    (session,) = session_ids(database)
    assert len(message_contents(database, session)) == 50


def test_statusline_sends_no_request(run_neovim: RunNeovim) -> None:
    report = run_neovim("server.status_sends_no_request")

    assert report["requests"] == 0
    assert report["before"] == ""
    assert report["during"] == "segue 1"
    assert report["waiting"] == "segue 1 +2"
    assert report["after"] == "segue 3"


def test_resume_shows_a_picker(run_neovim: RunNeovim) -> None:
    report = run_neovim("ui.picker")

    (select,) = report["selects"]
    assert select["kind"] == "segue"
    assert select["items"] == [
        "The newer one · just now · 1 event",
        "The older one · just now · 2 events",
    ]
    assert report["name"].startswith(f"segue://{report['older']}")
    assert notices(report) == []


def test_resume_can_be_cancelled_and_reports_an_empty_list(run_neovim: RunNeovim) -> None:
    report = run_neovim("ui.cancelled_and_empty")

    assert len(report["selects"]) == 1
    assert notices(report, 2) == ["segue: there are no conversations in this workspace yet"]


def test_delete_asks_for_confirmation(run_neovim: RunNeovim, database: Path) -> None:
    report = run_neovim("ui.delete_confirms")

    assert [select["items"] for select in report["selects"]] == [["Keep it", "Delete it"]] * 2
    assert (
        report["selects"][0]["prompt"]
        == f"Delete “precious” ({report['id']}) and all its events permanently?"
    )
    assert [report["kept"], report["left"]] == [1, 0]
    assert session_ids(database) == []


def test_transcript_loads_older_pages_at_its_top(run_neovim: RunNeovim) -> None:
    report = run_neovim("ui.transcript")

    assert report["name"].startswith(f"segue://{report['id']}")
    assert report["filetype"] == "markdown"
    assert [report["modifiable"], report["api_can_change"], report["change_fails"]] == [
        False,
        False,
        True,
    ]
    assert report["at_end"] is True
    assert report["first_page"] == ["message 251", 100]
    assert report["pages"] == 3
    assert report["view_is_kept"] is True, "visible lines stay in place"
    assert report["order"] == list(range(1, 351))
    assert report["follows"] is True, "events stored here are shown"


def test_a_transcript_shows_what_another_editor_appends(
    start_neovim: StartNeovim, start: Callable[[], Client], database: Path, tmp_path: Path
) -> None:
    neovim = start_neovim("ui.followed")
    flags = tmp_path / "flags"
    other = start()
    while not (found := list(flags.glob("shown *"))):
        assert neovim.process.poll() is None, neovim.wait()
        time.sleep(0.01)
    session = found[0].name.removeprefix("shown ")
    other.request("session/open", {"sessionId": session})

    def append(content: str) -> None:
        event = {"type": "user_message", "data": {"content": content}}
        other.request("session/append", {"sessionId": session, "events": [event]})

    append("from another editor")
    wait_for_flag(flags / "killed", neovim)
    append("after the kill")
    wait_for_flag(flags / "closed", neovim)
    append("while it was closed")
    (flags / "appended while it was closed").touch()
    contents = ["mine", "from another editor", "after the kill", "while it was closed"]
    assert [line for line in neovim.wait()["lines"] if line in contents] == contents
    assert message_contents(database, session) == contents


def test_transcript_shows_every_event_type(run_neovim: RunNeovim) -> None:
    text = "\n".join(run_neovim("ui.every_event_type")["lines"])

    for heading in (
        "## You",
        "## Assistant",
        "## Tool call: `read_file`",
        "## Tool result: error",
        "## Skill: `review`",
        "## Output: `make`",
        "## Context",
        "## `x/unknown`",
    ):
        assert heading + " · 20" in text
    assert "Please look at\nparser.py\n" in text
    assert '```json\n{"path":"parser.py"}\n```' in text
    assert "````\n```\ninner\n```\nend\n````" in text
    assert "> a note" in text


def test_plain_buffers_can_be_recorded(run_neovim: RunNeovim) -> None:
    report = run_neovim("ui.plain_buffers")

    assert report["events"] == [
        ["user_message", 'what | is "this"?'],
        ["text", "second line\nthird line"],
        ["user_message", "line"],
    ]
    unknown_type, no_content, unknown_subcommand = notices(report, 4)
    assert "user_message, text" in unknown_type
    assert "nothing to append" in no_content
    assert f"expected one of: {', '.join(SUBCOMMANDS)}" in unknown_subcommand


def test_info_and_list_show_the_session_and_its_reason(
    run_neovim: RunNeovim, repository: Path
) -> None:
    report = run_neovim("ui.info_and_list")

    assert "none is open yet" in report["before"]
    assert "No session of this workspace" in report["before"]
    assert report["id"] in report["info"]
    assert "A new session was asked for." in report["info"]
    assert str(repository) in report["info"]
    assert "ready, process" in report["info"]
    assert "title     Fix the parser" in report["info"]
    assert len(report["info"].splitlines()) <= 8
    assert report["list"] == f"* {report['id']}  Fix the parser · just now · 1 event"
    assert report["log"] == report["log_path"]


def test_command_line_completion(run_neovim: RunNeovim) -> None:
    report = run_neovim("ui.completion")

    assert report["all"] == SUBCOMMANDS
    assert report["started"] == ["relocate", "rename", "resume", "rewind"]
    assert report["append"] == ["user_message", "text"]
    assert report["list"] == ["all", "archived"]
    assert report["show"] == [f"{report['id']} one", f"{report['other']} Fix the parser"]
    assert report["shown"].startswith(f"segue://{report['other']}"), "the title is ignored"
    assert report["by_title"] == [f"{report['other']} Fix the parser"]
    assert report["export"] == [report["other"]], "what follows would be a format"
    assert report["nothing"] == []


def test_plugin_maps_no_keys_loads_no_modules_sets_no_globals(run_neovim: RunNeovim) -> None:
    report = run_neovim("ui.footprint")

    for what in ("missing", "mapped", "loaded", "globals"):
        assert report[what] in ([], {}), what


def test_every_help_tag_opens(run_neovim: RunNeovim, tmp_path: Path) -> None:
    # A copy, installed as one of Neovim's packages: helptags writes into it.
    package = tmp_path / "site" / "pack" / "segue" / "start" / "segue"
    shutil.copytree(PLUGIN, package)
    tags = re.findall(r"\*([^*\s]+)\*", (PLUGIN / "doc" / "segue.txt").read_text())
    functions = re.findall(
        r"^function M\.(\w+)", (PLUGIN / "lua" / "segue" / "init.lua").read_text(), re.MULTILINE
    )
    assert set(tags) >= {f"segue.{name}()" for name in functions}
    assert set(tags) >= {f":Segue-{name}" for name in SUBCOMMANDS}
    report = run_neovim("ui.help", plugin=str(package), tags=["segue", *tags])

    assert set(report["found"].values()) == {"segue.txt"}, report["found"]


def test_checkhealth_reports_no_errors(run_neovim: RunNeovim, database: Path) -> None:
    text = run_neovim("ui.health")["text"]

    assert "ERROR" not in text
    assert "Neovim 0.11" in text or "Neovim 0.12" in text
    assert re.search(r"segue \d+\.\d+\.\d+ on Python 3", text)
    assert re.search(r"SQLite 3\.\d+\.\d+ from", text)
    assert str(database) in text
    assert "1 sessions (0 archived), 1 events" in text
    assert "ready, process" in text
    assert "codecompanion.nvim is not installed" in text


def test_invalid_settings_are_reported_once_and_replaced(run_neovim: RunNeovim) -> None:
    report = run_neovim("ui.invalid_settings")

    faults = notices(report, 4)
    assert len(faults) == 3
    pickers = "auto, snacks, telescope, fzf-lua, builtin"
    expected = f"vim.g.segue.search_picker: expected one of {pickers}, got fzf"
    assert any(expected in fault for fault in faults)
    assert any("continue_minutes: expected a finite number, got" in fault for fault in faults)
    assert any("colour: unknown setting" in fault for fault in faults)
    assert "colour: unknown setting" in report["health"]
    assert report["set"] == 5
    assert [message for message in notices(report, 2) if "only information" in message] == []
    assert "segue: a warning" in notices(report)


def test_plugin_adds_less_than_a_millisecond_to_startup(repository: Path, tmp_path: Path) -> None:
    assert NEOVIM is not None
    plugin = f"set rtp^={PLUGIN}"
    durations = []
    for number in range(5):
        log = tmp_path / f"startup{number}"
        subprocess.run(
            [
                NEOVIM,
                "--clean",
                "--headless",
                "--startuptime",
                log,
                *by_command(plugin),
                "-c",
                "qa!",
            ],
            cwd=repository,
            check=True,
            capture_output=True,
            timeout=30,
        )
        (line,) = [
            line for line in log.read_text().splitlines() if line.endswith("plugin/segue.lua")
        ]
        durations.append(float(line.split()[1]))
    assert min(durations) < 1.0, "milliseconds"
