"""Conversations of Claude Code become sessions."""

import os
import random
from pathlib import Path
from typing import Any

import pytest

from segue.model.records import NewSession
from segue.store.sqlite.service import LocalSessionService
from tests.agents.claude import (
    MODEL,
    SESSION,
    lines,
    record,
    text,
    tool_result,
    tool_use,
    transcript,
    user,
    uuid,
)
from tests.agents.conftest import Imports
from tests.agents.helpers import once
from tests.agents.samples import stored
from tests.factories import all_events, append_to_head, user_message

TALK = (
    user(1, "Fix the test"),
    record(2, "assistant", [{"type": "thinking", "thinking": "Which one?"}], 1),
    text(3, "Let me look.", 2),
    tool_use(4, "toolu_1", 3),
    tool_result(5, "toolu_1", 4),
    text(6, "Done.", 5),
)
SHOWN = [
    ("user_message", {"content": "Fix the test"}),
    ("thinking", {"content": "Which one?"}),
    ("text", {"content": "Let me look.", "message": "msg_3"}),
    ("tool_call", {"id": "toolu_1", "name": "Bash", "input": {"command": "ls"}}),
    ("tool_result", {"tool_use_id": "toolu_1", "content": "a\nb", "is_error": False}),
    ("text", {"content": "Done.", "message": "msg_6"}),
]


async def test_a_conversation_is_imported_with_its_times_ids_and_origin(
    imports: Imports, tmp_path: Path
) -> None:
    report = await imports.run("claude-code", transcript(tmp_path, lines(*TALK)))
    assert (report.new, report.events, report.forks, report.broken) == (1, 6, 0, [])
    assert await imports.shown() == {SESSION: SHOWN}
    session = await imports.service.get_session(SESSION)
    assert session.title == "Fix the test"
    assert (session.source, session.client, session.model) == ("claude-code", "Claude Code", MODEL)
    assert session.directory == "/work/project"
    events = await all_events(imports.service, SESSION)
    assert [event.id for event in events] == [uuid(number) for number in range(1, 7)]
    assert session.updated_at == events[-1].created_at
    assert session.created_at == events[0].created_at == session.updated_at - 5_000


async def test_the_directory_is_the_real_one_with_its_repository(
    imports: Imports, tmp_path: Path, repository: Path
) -> None:
    here = [each | {"cwd": str(repository / "src")} for each in TALK]
    await imports.run("claude-code", transcript(tmp_path, lines(*here)))
    session = await imports.service.get_session(SESSION)
    assert (session.directory, session.git_root) == (str(repository / "src"), str(repository))


@pytest.mark.parametrize("cwd", [None, 7, "", "relative", "C:\\work", "x" * 5_000, "/a\0b"])
async def test_a_strange_directory_is_kept_or_unknown(
    imports: Imports, tmp_path: Path, cwd: Any
) -> None:
    report = await imports.run("claude-code", transcript(tmp_path, lines(*TALK)))
    strange = [each | {"cwd": cwd} for each in TALK]
    report = await imports.run("claude-code", transcript(tmp_path, lines(*strange)))
    assert report.broken == []


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ([{"type": "text", "text": "one"}], [("user_message", {"content": "one"})]),
        (
            [
                {"type": "text", "text": "look"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png"}},
            ],
            [("user_message", {"content": "look\n[image image/png]"})],
        ),
        (
            "[Request interrupted by user for tool use]",
            [("turn_end", {"stop_reason": "cancelled"})],
        ),
        (
            "<bash-stdout>x</bash-stdout>",
            [
                (
                    "out_of_band_output",
                    {"name": "command", "content": "<bash-stdout>x</bash-stdout>"},
                )
            ],
        ),
    ],
)
async def test_what_stands_in_a_user_record(
    imports: Imports, tmp_path: Path, content: Any, shown: Any
) -> None:
    await imports.run("claude-code", transcript(tmp_path, lines(user(1, content))))
    assert await imports.shown() == {SESSION: shown}


@pytest.mark.parametrize("flag", ["isMeta", "isCompactSummary"])
async def test_what_no_person_wrote_is_context(imports: Imports, tmp_path: Path, flag: str) -> None:
    await imports.run("claude-code", transcript(tmp_path, lines(user(1, "x", **{flag: True}))))
    assert await imports.shown() == {SESSION: [("system_context", {"content": "x"})]}


async def test_an_answer_that_claude_code_made_up_is_none(imports: Imports, tmp_path: Path) -> None:
    made_up = text(8, "No response requested.", 7)
    made_up["message"]["model"] = "<synthetic>"
    rest = (user(7, "Stop", 6), made_up, user(9, "Go on", 8), text(10, "Done.", 9))
    report = await imports.run("claude-code", transcript(tmp_path, lines(*TALK, *rest)))
    assert (report.forks, report.skipped) == (0, {"answer that nobody gave": 1})
    assert (await imports.shown())[SESSION] == [
        *SHOWN,
        ("user_message", {"content": "Stop"}),
        ("user_message", {"content": "Go on"}),
        ("text", {"content": "Done.", "message": "msg_10"}),
    ]


async def test_what_a_person_adds_while_the_model_works_is_kept(
    imports: Imports, tmp_path: Path
) -> None:
    def queued(number: int, prompt: Any, **fields: Any) -> Any:
        attachment = {"type": "queued_command", "prompt": prompt, **fields}
        return record(number, "attachment", None, 6, attachment=attachment)

    said = {"commandMode": "prompt", "origin": {"kind": "human"}}
    more = (
        queued(7, "And tests", **said),
        queued(8, [{"type": "text", "text": "and docs"}]),
        queued(9, "<task-notification>", commandMode="task-notification"),
        queued(10, "done", commandMode="prompt", origin={"kind": "task-notification"}),
    )
    report = await imports.run("claude-code", transcript(tmp_path, lines(*TALK, *more)))
    assert (report.forks, report.skipped) == (0, {"attachment": 2})
    assert (await imports.shown())[SESSION] == [
        *SHOWN,
        ("user_message", {"content": "And tests"}),
        ("user_message", {"content": "and docs"}),
    ]


async def test_sidechains_and_other_records_are_counted(imports: Imports, tmp_path: Path) -> None:
    noise = ({"type": "progress"}, {"type": "progress"}, user(9, "sub", isSidechain=True))
    report = await imports.run("claude-code", transcript(tmp_path, lines(*TALK, *noise)))
    assert report.skipped == {"progress": 2, "sidechain": 1}
    assert await imports.shown() == {SESSION: SHOWN}


async def test_the_given_title_is_taken(imports: Imports, tmp_path: Path) -> None:
    titles = (
        {"type": "summary", "summary": "Of another one", "leafUuid": uuid(77)},
        *TALK,
        {"type": "summary", "summary": "A summary", "leafUuid": uuid(6)},
    )
    path = transcript(tmp_path, lines(*titles))
    await imports.run("claude-code", path)
    assert (await imports.service.get_session(SESSION)).title == "A summary"
    title = "Named\nby sk-ant-api03-" + "Ab3" * 31 + "AA"
    with path.open("ab") as file:
        file.write(lines({"type": "custom-title", "customTitle": title}))
    await imports.run("claude-code", path)
    assert (await imports.service.get_session(SESSION)).title == "Named"


async def test_secrets_are_masked(imports: Imports, tmp_path: Path) -> None:
    token = "ghp_" + "a1B2" * 9
    await imports.run("claude-code", transcript(tmp_path, lines(user(1, f"use {token}"))))
    assert token not in str(await imports.shown())


# Twice is once


async def test_twice_is_once(imports: Imports, tmp_path: Path) -> None:
    path = transcript(tmp_path, lines(*TALK))
    await imports.run("claude-code", path)
    report = await imports.run("claude-code", path)
    assert (report.new, report.grown, report.unchanged, report.events) == (0, 0, 1, 0)
    os.utime(path)
    report = await imports.run("claude-code", path)
    assert (report.unchanged, report.events) == (1, 0)


@pytest.mark.parametrize("seed", range(5))
async def test_growing_prefixes_give_what_the_whole_gives(
    imports: Imports, tmp_path: Path, seed: int
) -> None:
    again = user(7, "And now", 6), text(8, "One.", 7), user(9, "Or rather", 6), text(10, "Two.", 9)
    content = lines(*TALK, *again)
    path = transcript(tmp_path, b"")
    cuts = sorted(random.Random(seed).sample(range(len(content)), 12))
    for end in (*cuts, len(content)):
        path.write_bytes(content[:end])
        report = await imports.run("claude-code", path)
        assert report.broken == []
    await with_whole(tmp_path / "whole", content, await imports.shown())


async def with_whole(folder: Path, content: bytes, shown: Any) -> None:
    service = await LocalSessionService.open(folder / "sessions.db")
    whole = Imports(service)
    await whole.run("claude-code", transcript(folder, content))
    assert await whole.shown() == shown
    await service.close()


async def test_a_second_prompt_with_the_same_parent_is_a_fork(
    imports: Imports, tmp_path: Path
) -> None:
    branch = user(7, "And now", 6), text(8, "One.", 7), user(9, "Or rather", 6), text(10, "Two.", 9)
    report = await imports.run("claude-code", transcript(tmp_path, lines(*TALK, *branch)))
    assert (report.new, report.forks, report.events) == (1, 1, 10)
    (fork,) = (await imports.service.list_sessions()).sessions
    assert (fork.forked_from, fork.fork_seq, fork.title) == (SESSION, 6, "Fix the test")
    shown = await imports.shown()
    assert [data.get("content") for _, data in shown[fork.id]][-2:] == ["Or rather", "Two."]
    assert [data.get("content") for _, data in shown[SESSION]][-2:] == ["And now", "One."]
    assert (await imports.service.get_session(SESSION)).archived_at is not None


@pytest.mark.parametrize(
    "caveat",
    [
        "<local-command-caveat>The command below was run directly",
        "Caveat: The messages below were generated by the user while running local commands.",
    ],
    ids=["2.1", "1.0"],
)
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_command_to_claude_code_itself_is_no_prompt(
    imports: Imports, tmp_path: Path, caveat: str, at_once: bool
) -> None:
    """What `/clear` begins is a new conversation, whose title would be that command."""
    command = "<command-name>/clear</command-name>\n<command-message>clear</command-message>"
    other = "<command-name>/review</command-name>"
    records = (
        user(1, caveat, isMeta=True), user(2, command, 1), user(3, "Fix the test", 2),
        text(4, "Fixed.", 3), user(5, other, 4), text(6, "Reviewed.", 5),
    )  # fmt: skip
    path = transcript(tmp_path, b"")
    for end in (len(records),) if at_once else range(1, len(records) + 1):
        path.write_bytes(lines(*records[:end]))
        await imports.run("claude-code", path)

    events = (await imports.shown())[SESSION]
    assert [type for type, _ in events] == [
        "system_context", "system_context", "user_message", "text", "user_message", "text",
    ]  # fmt: skip
    assert (await imports.service.get_session(SESSION)).title == "Fix the test"


@pytest.mark.parametrize("root", [None, 50], ids=["no record", "a record without an event"])
async def test_a_second_first_prompt_is_behind_a_note(
    imports: Imports, tmp_path: Path, root: int | None
) -> None:
    """Claude Code 2.1 writes it so when a person goes back to before the first prompt."""
    first = [] if root is None else [{"type": "attachment", "uuid": uuid(root), "attachment": {}}]
    talk = user(1, "First", root), text(2, "One.", 1), user(3, "Second", 2)
    path = transcript(tmp_path, lines(*first, *talk))
    await imports.run("claude-code", path)
    path.write_bytes(lines(*first, *talk, user(7, "Other", root), text(8, "Two.", 7)))
    await imports.run("claude-code", path)

    assert [data["content"] for _, data in (await imports.shown())[SESSION]] == [
        "First", "One.", "Second",
        "Other", "[Note: everything before the last prompt was taken back.]", "Two.",
    ]  # fmt: skip
    assert await stored(imports.service) == await once(tmp_path, "claude-code", path)


async def test_a_fork_begins_where_it_did_however_often_the_transcript_was_read(
    imports: Imports, tmp_path: Path
) -> None:
    aside = user(7, "And now", 6), text(8, "One.", 7), user(9, "Or rather", 6), text(10, "Two.", 9)
    back = user(11, "Look where?", 3), text(12, "Here.", 11), user(13, "No, there", 3)
    path = transcript(tmp_path, lines(*TALK))
    for end in range(len(aside + back) + 1):
        path.write_bytes(lines(*TALK, *(aside + back)[:end]))
        await imports.run("claude-code", path)

    assert await stored(imports.service) == await once(tmp_path, "claude-code", path)
    assert len(await stored(imports.service)) == 3


async def test_a_fork_is_counted_once(imports: Imports, tmp_path: Path) -> None:
    branch = user(7, "And now", 6), text(8, "One.", 7), user(9, "Or rather", 6)
    path = transcript(tmp_path, lines(*TALK, *branch))
    assert (await imports.run("claude-code", path)).forks == 1
    copy = tmp_path / "copy"
    copy.write_bytes(lines(*TALK, *branch, text(10, "Two.", 9)))
    copy.replace(path)  # it is read again from its beginning
    report = await imports.run("claude-code", path)
    assert (report.grown, report.forks, report.events) == (1, 0, 1)


async def test_a_conversation_that_went_on_here_and_there_becomes_two(
    imports: Imports, tmp_path: Path
) -> None:
    path = transcript(tmp_path, lines(*TALK))
    await imports.run("claude-code", path)
    await append_to_head(imports.service, SESSION, user_message("Here"))
    path.write_bytes(lines(*TALK, user(7, "There", 6)))
    report = await imports.run("claude-code", path)
    assert (report.forks, report.events) == (1, 1)
    shown = await imports.shown()
    last = {id: events[-1][1]["content"] for id, events in shown.items()}
    assert sorted(last.values()) == ["Here", "There"]
    assert (await imports.service.get_session(SESSION)).archived_at is None


async def test_it_is_not_resumed_until_it_is_continued(imports: Imports, tmp_path: Path) -> None:
    import datetime

    now = datetime.datetime.now(datetime.UTC).isoformat()
    fresh = [each | {"timestamp": now, "cwd": str(tmp_path)} for each in TALK]
    await imports.run("claude-code", transcript(tmp_path, lines(*fresh)))
    hour = datetime.timedelta(hours=1)
    assert (await imports.service.find_resumable(str(tmp_path), None, hour)).sessions == []
    await append_to_head(imports.service, SESSION, user_message("Here"))
    (found,) = (await imports.service.find_resumable(str(tmp_path), None, hour)).sessions
    assert found.id == SESSION


async def test_what_was_deleted_here_stays_deleted(imports: Imports, tmp_path: Path) -> None:
    path = transcript(tmp_path, lines(*TALK))
    await imports.run("claude-code", path)
    await imports.service.delete(SESSION)
    report = await imports.run("claude-code", path)
    assert (report.deleted, report.events) == (1, 0)
    assert await imports.shown() == {}
    report = await imports.run("claude-code", path, revive=True)
    assert (report.new, report.events) == (1, 6)
    assert await imports.shown() == {SESSION: SHOWN}


async def test_a_fork_that_was_deleted_here_stays_deleted(imports: Imports, tmp_path: Path) -> None:
    path = transcript(tmp_path, lines(*TALK))
    await imports.run("claude-code", path)
    await append_to_head(imports.service, SESSION, user_message("Here"))
    path.write_bytes(lines(*TALK, user(7, "There", 6)))
    await imports.run("claude-code", path)
    (fork,) = [id for id in await imports.shown() if id != SESSION]
    await imports.service.delete(fork)
    path.write_bytes(lines(*TALK, user(7, "There", 6), user(8, "And there", 7)))
    report = await imports.run("claude-code", path)
    assert (report.deleted, report.events) == (1, 0)
    assert list(await imports.shown()) == [SESSION]
    report = await imports.run("claude-code", path, revive=True)
    assert (report.forks, report.events) == (1, 2)
    assert set(await imports.shown()) == {SESSION, fork}


async def test_a_dry_run_stores_nothing(imports: Imports, tmp_path: Path) -> None:
    path = transcript(tmp_path, lines(*TALK[:3]))
    report = await imports.run("claude-code", path, dry_run=True)
    assert (report.new, report.events) == (1, 3)
    assert await imports.shown() == {}
    await imports.run("claude-code", path)
    path.write_bytes(lines(*TALK))
    report = await imports.run("claude-code", path, dry_run=True)
    assert (report.grown, report.events) == (1, 3)
    assert await imports.shown() == {SESSION: SHOWN[:3]}


async def test_a_session_of_the_same_id_that_was_recorded_live_goes_on(
    imports: Imports, tmp_path: Path
) -> None:
    new = NewSession(id=SESSION, directory="/work/project")
    first = user_message("Fix the test", uuid(1))
    await imports.service.create_session(new, [first], invocation_id="hook")
    await imports.run("claude-code", transcript(tmp_path, lines(*TALK)))
    assert await imports.shown() == {SESSION: SHOWN}


# Bad input


@pytest.mark.parametrize(
    ("content", "events", "broken"),
    [
        (b"", 0, []),
        (b"\xef\xbb\xbf" + lines(*TALK), 6, []),
        (lines(*TALK).replace(b"\n", b"\r\n"), 6, []),
        (lines(*TALK) + b'{"type": "user", "uu', 6, []),
        (lines(*TALK)[:-1], 6, []),
        (b"\n\n" + lines(*TALK), 6, []),
        (b"\0\0\n" + lines(*TALK), 6, ["line 1: not JSON"]),
        (b"[1]\n" + lines(*TALK), 6, ["line 1: not a JSON object"]),
        (b"\xff\xfe\n" + lines(*TALK), 6, ["line 1: not JSON"]),
        (lines(*TALK) + b"[" * 100_000 + b"\n", 6, ["line 7: not JSON"]),
        (lines(*TALK, user(7, "\ud800 \0", 6)), 7, []),
        (lines(*TALK, user(7, 5), user(8, None), user(9, [5, None, {}])), 6, []),
        (lines(*TALK, {"type": 7}, {"type": "user"}, {"type": "user", "message": []}), 6, []),
        (lines(*(each | {"uuid": 5, "timestamp": [], "parentUuid": {}} for each in TALK)), 6, []),
        (lines(*(each | {"timestamp": "tomorrow"} for each in TALK)), 6, []),
        (lines(*TALK, tool_result(7, "nobody", 6, [{"type": "image"}])), 7, []),
    ],
)  # fmt: skip
async def test_bad_input_is_reported_and_the_rest_is_imported(
    imports: Imports, tmp_path: Path, content: bytes, events: int, broken: list[str]
) -> None:
    path = transcript(tmp_path, content)
    report = await imports.run("claude-code", path)
    assert report.events == events
    assert report.broken == [f"{path}, {each}" for each in broken]


async def test_a_line_that_is_too_long_is_skipped(
    imports: Imports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segue.agents.jsonl.MAX_LINE", 10_000)
    content = lines(TALK[0], user(50, "x" * 3_000_000, 1), *TALK[1:])
    report = await imports.run("claude-code", transcript(tmp_path, content))
    assert report.events == 6
    assert [each.partition(", ")[2] for each in report.broken] == ["line 2: longer than 0 MiB"]


@pytest.mark.parametrize("kind", ["fifo", "folder", "missing", "unreadable"])
async def test_what_is_no_file_is_reported(imports: Imports, tmp_path: Path, kind: str) -> None:
    path = transcript(tmp_path, b"")
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "unreadable":
        path.symlink_to("/proc/self/mem")
    report = await imports.run("claude-code", path)
    assert report.events == 0
    assert len(report.broken) == 1


async def test_a_file_that_was_replaced_or_cut_is_read_again(
    imports: Imports, tmp_path: Path
) -> None:
    path = transcript(tmp_path, lines(*TALK))
    await imports.run("claude-code", path)
    path.write_bytes(lines(*TALK[:2]))
    assert (await imports.run("claude-code", path)).events == 0
    path.unlink()
    transcript(tmp_path, lines({"type": "progress"}, *TALK, user(7, "More", 6)))
    assert (await imports.run("claude-code", path)).events == 1
    assert list(await imports.shown()) == [SESSION]


@pytest.mark.parametrize(
    ("branches", "kept"),
    [(("main", "topic"), "topic"), (("main", "HEAD"), None), (("", ""), None), ((1, None), None)],
)
async def test_the_branch_is_that_of_the_last_record(
    imports: Imports, tmp_path: Path, branches: tuple[Any, Any], kept: str | None
) -> None:
    first, second = (user(n, "Go", None, gitBranch=each) for n, each in enumerate(branches, 1))
    await imports.run("claude-code", transcript(tmp_path, lines(first, second)))
    page = await imports.service.list_sessions(archived=True)
    assert {each.branch for each in page.sessions} == {kept}
