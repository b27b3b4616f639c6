import asyncio
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from segue.cli.client import Client
from segue.model.events import Event
from segue.model.workspace import resolve_workspace
from segue.sessions.manager import SessionManager
from segue.store.sqlite.service import LocalSessionService
from tests.editors.neovim import (
    NEOVIM,
    PLUGIN,
    Begin,
    Live,
    by_command,
    messages,
    needs_neovim,
    said,
    sessions,
    stored,
    wait_for,
    wait_until_nobody_is_left,
)

pytestmark = needs_neovim
SUBCOMMANDS = ["append", "archive", "delete", "info", "list", "log", "new", "resume", "show"]


def test_a_conversation_is_there_when_its_person_comes_back(
    live: Live, repository: Path, database: Path, tmp_path: Path
) -> None:
    first = live("conversation.talk", repository)
    again = live("conversation.open", repository / "src")

    other = tmp_path / "other"
    other.mkdir()
    subprocess.run(["git", "init", "--quiet", other], check=True)
    elsewhere = live("conversation.open", other)

    assert first["title"] == "one"
    assert first["status"] == "segue 3"
    assert len(first["ids"]) == 2
    assert sum(appended["count"] for appended in first["appended"]) == 3
    assert first["appended"][-1]["seq"] == 3
    assert messages(first) == []
    assert again["id"] == first["session"]
    assert again["resumed"] is True
    assert again["contents"] == ["one", "two", "three"]
    assert "new invocation" in again["boundary"]
    assert again["heard"] == [first["session"], again["reason"]]
    assert messages(again, 2) == ["segue: resumed “one”, 3 events"]
    assert [elsewhere["resumed"], elsewhere["contents"]] == [False, []]
    assert sessions(database) == [first["session"]], "opening leaves no trace"


def test_reset_archives_and_begins_afresh(live: Live, database: Path) -> None:
    first = live("conversation.talk")
    seen = live("conversation.reset")
    last = live("conversation.open")

    assert seen["old"] == first["session"]
    assert seen["heard"] == [seen["new"], seen["old"]]
    assert said(database, seen["old"]) == ["one", "two", "three", "the last of the old"]
    assert said(database, seen["new"]) == ["the first of the new", "to the old id"]
    assert last["id"] == seen["new"]
    assert last["contents"] == ["the first of the new", "to the old id"]


def test_an_archived_conversation_comes_back_only_when_it_is_asked_for(
    live: Live, database: Path
) -> None:
    seen = live("conversation.archive_goes_on_afresh")

    assert seen["now"] == seen["old"] != seen["new"]
    assert said(database, seen["old"]) == ["one", "three"]
    assert said(database, seen["new"]) == ["two"]
    assert messages(seen) == []
    assert any("was unarchived" in message for message in messages(seen, 2))


@pytest.mark.parametrize("server_dies", [False, True])
def test_two_windows_on_one_conversation_lose_nothing(
    begin: Begin, live: Live, database: Path, tmp_path: Path, server_dies: bool
) -> None:
    before = live("conversation.talk")
    first = begin("conversation.first_window", server_dies=server_dies)
    wait_for(tmp_path / "signs" / "first is here", first)
    second = live("conversation.second_window")
    (tmp_path / "signs" / "second has spoken").touch()
    seen = first.end()

    beginning = ["one", "two", "three", "from the first"]
    assert before["session"] == seen["before"] == second["id"]
    assert second["contents"][:3] == ["one", "two", "three"]
    assert seen["after"] == seen["current"] != seen["before"]
    assert seen["moved"] == [seen["after"], seen["before"]]
    assert said(database, seen["before"]) == [*beginning, "from the second"]
    assert said(database, seen["after"]) == [
        *beginning,
        "one more from the first",
        "and another",
        "and the last",
    ]
    (note,) = [event for event in stored(database, seen["after"]) if "copied_from" in event.data]
    assert note.data["copied_from"] == seen["before"]
    assert messages(second) == []
    *died, notice = messages(seen)
    assert len(died) == server_dies
    assert "another window continued “one”" in notice


@pytest.mark.parametrize("fate", ["archived", "deleted"])
def test_a_conversation_that_another_window_puts_away_goes_on(
    begin: Begin,
    start: Callable[..., Client],
    database: Path,
    tmp_path: Path,
    fate: str,
) -> None:
    life = begin("conversation.gone_meanwhile")
    wait_for(tmp_path / "signs" / "spoken", life)
    other = start()
    (session,) = other.request("session/list")["sessions"]
    method = "session/archive" if fate == "archived" else "session/delete"
    other.request(method, {"sessionId": session["sessionId"]})
    (tmp_path / "signs" / "gone").touch()
    seen = life.end()
    other.kill()

    assert seen["before"] == session["sessionId"]
    if fate == "archived":
        assert seen["after"] == seen["before"]
        assert said(database, seen["after"]) == ["one", "two"]
    else:
        assert sessions(database) == [seen["after"]] != [seen["before"]]
        assert said(database, seen["after"]) == ["two"]
    (notice,) = messages(seen, 2)
    assert {"archived": "was unarchived", "deleted": "deleted elsewhere"}[fate] in notice


def test_what_is_no_utf8_and_what_is_large_is_kept(live: Live, database: Path) -> None:
    seen = live("conversation.odd_values")
    (session,) = sessions(database)
    events = stored(database, session)

    assert events[0].data["content"] == "bad \ufffd byte, half \ufffd\ufffd\ufffd, cut \ufffd\ufffd"
    assert events[1].data["content"] == "NUL \0 here"
    assert events[2].data == {"content": "x", "kept": [None, {"a": None, "b": {}, "c": []}]}
    assert len(events[3].data["content"].encode()) == seen["big"] > 5 * 1024 * 1024
    assert events[4].data["content"] == "after"
    assert seen["back"] is True, "a null that was stored comes back"
    assert seen["took"] < 1000, "milliseconds"
    assert messages(seen) == []


def test_half_a_surrogate_pair_does_not_hide_a_conversation(
    live: Live, repository: Path, database: Path
) -> None:
    async def store() -> None:
        service = await LocalSessionService.open(database)
        manager = SessionManager.create_new(service, resolve_workspace(str(repository)))
        texts = ["cut \ud83d", "whole \U0001f600", "a \\ud83d that is spelled out", "\udc00\ud800"]
        await manager.persist_events([Event.new("text", {"content": text}, None) for text in texts])
        await service.close()

    asyncio.run(store())
    seen = live("conversation.read_half_a_pair")
    assert seen["contents"] == [
        "cut \ufffd",
        "whole \U0001f600",
        "a \\ud83d that is spelled out",
        "\ufffd\ufffd",
    ]


def test_what_cannot_be_stored_is_refused_by_name_and_nothing_else(
    live: Live, database: Path
) -> None:
    seen = live("conversation.refused")
    (session,) = sessions(database)

    assert said(database, session) == ["one", "two", "three", "four", "five"]
    assert "a function cannot be stored" in seen["errors"][0]
    assert "NaN" in seen["errors"][1]
    assert "nested deeper" in seen["errors"][2]
    notices = messages(seen, 4)
    assert len(notices) == 5
    assert "the event wrong (text)" in notices[3]
    assert "data.content" in notices[3]
    assert f"the event {seen['id']} (text)" in notices[4]


def test_a_store_in_trouble_is_waited_for(begin: Begin, database: Path, tmp_path: Path) -> None:
    database.parent.write_text("this is no directory")
    life = begin("conversation.store_in_trouble")
    wait_for(tmp_path / "signs" / "said so", life)
    database.parent.unlink()
    (tmp_path / "signs" / "mended").touch()
    seen = life.end()

    assert seen["unsent"] == 2
    (session,) = sessions(database)
    assert said(database, session) == ["one", "two", "three"]
    (notice,) = messages(seen)
    assert "not stored yet" in notice


def test_a_server_killed_under_load_loses_nothing(live: Live, database: Path) -> None:
    count = 200
    seen = live("server.killed_under_load", count=count)

    assert said(database, seen["session"]) == [f"event {n}" for n in range(1, count + 1)]
    assert len(seen["answers"]) == count
    assert seen["answers"] == sorted(set(seen["answers"]))
    (notice,) = messages(seen)
    assert "the server stopped (signal 9)" in notice


def test_a_server_that_keeps_dying_is_given_up(live: Live, database: Path) -> None:
    seen = live("server.killed_too_often")

    first, last = [notice["message"] for notice in seen["notices_then"]]
    assert "is being restarted" in first
    assert "stopped 4 times" in last
    assert ":Segue log" in last
    assert [seen["state"], seen["unsent"]] == ["failed", 1]
    (session,) = sessions(database)
    assert said(database, session) == ["before", "kept", "and after"]


def test_no_server_is_one_notice_that_says_how_to_install_it(live: Live, database: Path) -> None:
    seen = live("server.not_installed", cmd=["segue-is-not-here", "lsp"])

    (notice,) = messages(seen)
    assert "not installed (segue-is-not-here was not found)" in notice
    assert re.search(rf"(uv tool|pipx) install '{re.escape(str(PLUGIN.parents[1]))}'$", notice)
    assert seen["unsent"] == 2
    (session,) = sessions(database)
    assert said(database, session) == ["one", "two", "three"]


@pytest.mark.parametrize("spec", ["quit_at_once", "quit_after_another_client"])
def test_quitting_with_appends_in_flight_loses_none(live: Live, database: Path, spec: str) -> None:
    seen = live(f"server.{spec}", count=200)

    assert wait_until_nobody_is_left(database) == []
    (session,) = sessions(database)
    assert said(database, session) == [f"event {n}" for n in range(1, 201)]
    assert messages(seen) == []


def test_quitting_with_five_megabytes_in_flight_loses_none(live: Live, database: Path) -> None:
    live("server.quit_with_a_big_one")

    assert wait_until_nobody_is_left(database) == []
    (session,) = sessions(database)
    assert [len(text) for text in said(database, session)] == [5 * 1024 * 1024, 5]


def test_nothing_waits_for_a_server_that_does_not_answer(live: Live, database: Path) -> None:
    seen = live("server.never_blocks")

    assert seen["slowest"] < 250, "milliseconds; a request that is waited for takes for ever"
    (session,) = sessions(database)
    assert len(said(database, session)) == 50


def test_the_statusline_asks_the_server_nothing(live: Live) -> None:
    seen = live("server.status_asks_nothing")

    assert seen["asked"] == 0
    assert seen["before"] == ""
    assert seen["during"] == "segue 1"
    assert seen["waiting"] == "segue 1 +2"
    assert seen["after"] == "segue 3"


def test_resume_lets_the_person_pick(live: Live) -> None:
    seen = live("screen.picker")

    (asked,) = seen["asked"]
    assert asked["kind"] == "segue"
    assert asked["items"] == [
        "The newer one · just now · 1 event",
        "The older one · just now · 2 events",
    ]
    assert seen["name"] == f"segue://{seen['older']}"
    assert messages(seen) == []


def test_resume_can_be_left_and_says_if_there_is_nothing(live: Live) -> None:
    seen = live("screen.cancelled_and_empty")

    assert len(seen["asked"]) == 1
    assert messages(seen, 2) == ["segue: there are no conversations in this workspace yet"]


def test_delete_asks_first(live: Live, database: Path) -> None:
    seen = live("screen.delete_asks")

    assert [asked["items"] for asked in seen["asked"]] == [["Keep it", "Delete it"]] * 2
    assert seen["asked"][0]["prompt"] == f"Delete “precious” ({seen['id']}) and all its events permanently?"
    assert [seen["kept"], seen["left"]] == [1, 0]
    assert sessions(database) == []


def test_the_transcript_loads_older_pages_at_its_top(live: Live) -> None:
    seen = live("screen.transcript")

    assert seen["name"] == f"segue://{seen['id']}"
    assert seen["filetype"] == "markdown"
    assert [seen["modifiable"], seen["can_write"], seen["refused"]] == [False, False, True]
    assert seen["at_end"] is True
    assert seen["first_page"] == ["message 251", 100]
    assert seen["pages"] == 3
    assert seen["steady"] is True, "what is being read stays where it is"
    assert seen["order"] == list(range(1, 351))
    assert seen["follows"] is True, "what is stored here is shown as it comes"


def test_the_transcript_shows_every_kind_of_event(live: Live) -> None:
    text = "\n".join(live("screen.every_kind")["lines"])

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


def test_plain_buffers_can_be_recorded(live: Live) -> None:
    seen = live("screen.plain_buffers")

    assert seen["events"] == [
        ["user_message", 'what | is "this"?'],
        ["text", "second line\nthird line"],
        ["user_message", "line"],
    ]
    poem, nothing, nonsense = messages(seen, 4)
    assert "user_message, text" in poem
    assert "nothing to append" in nothing
    assert f"expected one of: {', '.join(SUBCOMMANDS)}" in nonsense


def test_info_and_list_say_what_is_open_and_why(live: Live, repository: Path) -> None:
    seen = live("screen.info_and_list")

    assert "none is open yet" in seen["before"]
    assert "No session of this workspace" in seen["before"]
    assert seen["id"] in seen["info"]
    assert "A new session was asked for." in seen["info"]
    assert str(repository) in seen["info"]
    assert "ready, process" in seen["info"]
    assert seen["list"] == f"* {seen['id']}  Fix the parser · just now · 1 event"
    assert seen["log"] == seen["log_path"]


def test_the_command_line_completes(live: Live) -> None:
    seen = live("screen.completion")

    assert seen["all"] == SUBCOMMANDS
    assert seen["started"] == ["resume"]
    assert seen["append"] == ["user_message", "text"]
    assert seen["list"] == ["all", "archived"]
    assert seen["show"] == [seen["id"]]
    assert seen["nothing"] == []


def test_the_plugin_maps_nothing_loads_nothing_and_leaves_no_globals(live: Live) -> None:
    seen = live("screen.at_home")

    for what in ("missing", "mapped", "loaded", "globals"):
        assert seen[what] in ([], {}), what


def test_the_help_opens_at_every_subject(live: Live, tmp_path: Path) -> None:
    # The tags are made in a copy, which is installed as Neovim's own packages are.
    package = tmp_path / "site" / "pack" / "segue" / "start" / "segue"
    shutil.copytree(PLUGIN, package)
    tags = re.findall(r"\*([^*\s]+)\*", (PLUGIN / "doc" / "segue.txt").read_text())
    functions = re.findall(
        r"^function M\.(\w+)", (PLUGIN / "lua" / "segue" / "init.lua").read_text(), re.MULTILINE
    )
    assert set(tags) >= {f"segue.{name}()" for name in functions}
    assert set(tags) >= {f":Segue-{name}" for name in SUBCOMMANDS}
    seen = live("screen.help", plugin=str(package), tags=["segue", *tags])

    assert set(seen["found"].values()) == {"segue.txt"}, seen["found"]


def test_checkhealth_finds_everything_right(live: Live, database: Path) -> None:
    text = live("screen.health")["text"]

    assert "ERROR" not in text
    assert "Neovim 0.11" in text or "Neovim 0.12" in text
    assert re.search(r"segue \d+\.\d+\.\d+ on Python 3", text)
    assert re.search(r"SQLite 3\.\d+\.\d+ from", text)
    assert str(database) in text
    assert "1 sessions (0 archived), 1 events" in text
    assert "ready, process" in text
    assert "codecompanion.nvim is not installed" in text


def test_wrong_settings_are_named_once_and_replaced(live: Live) -> None:
    seen = live("screen.wrong_settings")

    faults = messages(seen, 4)
    assert len(faults) == 2
    assert any("continue_minutes: expected number, got string" in fault for fault in faults)
    assert any("colour: unknown setting" in fault for fault in faults)
    assert "colour: unknown setting" in seen["health"]
    assert seen["set"] == 5
    assert [message for message in messages(seen, 2) if "only information" in message] == []
    assert "segue: a warning" in messages(seen)


def test_starting_neovim_costs_less_than_a_millisecond(repository: Path, tmp_path: Path) -> None:
    assert NEOVIM is not None
    plugin = f"set rtp^={PLUGIN}"
    took = []
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
        took.append(float(line.split()[1]))
    assert min(took) < 1.0, "milliseconds"
