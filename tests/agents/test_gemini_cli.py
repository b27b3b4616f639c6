"""Conversations of Gemini CLI: logs, in which later lines change earlier ones, and JSON files."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from segue.agents import gemini_cli
from segue.agents.transcript import Places
from segue.store.sqlite.service import LocalSessionService
from tests.agents.helpers import (
    assert_none_is_reported,
    assert_twice_is_once,
    changes_of,
    conversations,
    once,
    run_import,
    wrong_values,
)
from tests.agents.samples import stored
from tests.cli.helpers import as_json, run

SOURCE = "gemini-cli"
ID = "01999999-0000-7000-8000-00000000000a"
HASH = hashlib.sha256(b"/p").hexdigest()
META = {"sessionId": ID, "projectHash": HASH, "startTime": "2026-03-04T05:06:00Z", "kind": "main"}
CONTEXT = {"type": "user", "content": [{"text": "<session_context>\nToday"}]}
NOTE = ("system_context", {"content": "[Note: the conversation was compacted here.]"})

Record = dict[str, Any]


def message(id: str, type: str, content: Any, **fields: Any) -> Record:
    return {"id": id, "timestamp": "2026-03-04T05:06:07.000Z", "type": type, "content": content,
            **fields}  # fmt: skip


def said(id: str, text: str) -> Record:
    return message(id, "user", [{"text": text}])


def answer(id: str, text: str, **fields: Any) -> Record:
    return message(id, "gemini", text, model="gemini-x", **fields)


def response(call: str, output: str) -> Record:
    return {"functionResponse": {"id": call, "name": "shell", "response": {"output": output}}}


def call(id: str, output: str | None = None, status: str = "success") -> Record:
    return {"id": id, "name": "shell", "args": {"command": "ls"}, "status": status,
            "result": None if output is None else [response(id, output)]}  # fmt: skip


def text(id: str, content: str) -> tuple[str, Any]:
    return ("text", {"content": content, "message": id})


def user(content: str) -> tuple[str, Any]:
    return ("user_message", {"content": content})


def calls(id: str, output: str, *, is_error: bool = False) -> list[tuple[str, Any]]:
    result = {"tool_use_id": id, "content": output, "is_error": is_error}
    return [
        ("tool_call", {"id": id, "name": "shell", "input": {"command": "ls"}}),
        ("tool_result", result),
    ]


def changed(*messages: Record) -> Record:
    return {"$set": {"messages": list(messages), "lastUpdated": "2026-03-04T05:06:07Z"}}


TURN = [
    said("u1", "List the files"),
    answer("g1", "I look.", thoughts=[{"subject": "Look", "description": "first."}]),
    answer("g1", "I look.", thoughts=[{"subject": "Look", "description": "first."}],
           toolCalls=[call("c1", "a.py"), call("c2", "no", "error")]),
    message("u2", "user", [response("c1", "a.py"), response("c2", "no")]),
    answer("g2", "One."),
    {"$set": {"lastUpdated": "2026-03-04T05:06:08Z"}},
]  # fmt: skip
TURN_EVENTS = [
    user("List the files"),
    ("thinking", {"content": "**Look**\n\nfirst."}),
    text("g1", "I look."),
    *calls("c1", "a.py"),
    *calls("c2", "no", is_error=True),
    text("g2", "One."),
]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    (home / ".gemini/tmp/project/chats").mkdir(parents=True)
    (home / ".gemini/tmp/project/.project_root").write_text("/p\n")
    return home


def write(home: Path, *records: Any, name: str = "session-2026-03-04T05-06-01999999.jsonl") -> Path:
    path = home / ".gemini/tmp/project/chats" / name
    path.write_bytes(b"".join(json.dumps(record).encode() + b"\n" for record in records))
    return path


async def imported(
    service: LocalSessionService, home: Path, *records: Any
) -> list[list[tuple[str, Any]]]:
    await run_import(service, SOURCE, write(home, META, *records))
    return await conversations(service)


async def test_a_conversation_is_kept(service: LocalSessionService, home: Path) -> None:
    path = write(home, META, changed({"id": "s", **CONTEXT}), *TURN, {"$set": {"summary": "Files"}})
    report = await run_import(service, SOURCE, path)
    context = ("system_context", {"content": "<session_context>\nToday"})
    assert await conversations(service) == [[context, *TURN_EVENTS]]
    session = await service.get_session(ID)
    assert (session.title, session.directory, session.model) == ("Files", "/p", "gemini-x")
    assert (session.client, session.source) == ("Gemini CLI", SOURCE)
    assert session.updated_at == 1_772_600_767_000
    assert (report.new, report.events, report.skipped, report.broken) == (1, 9, {}, [])
    await assert_twice_is_once(service, SOURCE, path)


def test_the_command_imports_what_it_finds(home: Path) -> None:
    write(home, META, *TURN)
    old = {**META, "sessionId": "old", "messages": [said("u", "Hi"), answer("g", "Hello")]}
    write(home, old, name="session-old.json")
    write(home, META, name="session-of-nobody.jsonl")
    (report,) = json.loads(run("import", SOURCE, "--json", HOME=str(home)).stdout)
    assert (report["new"], report["events"], report["broken"]) == (2, 10, [])
    titles = {session["title"] for session in as_json("list", "--all")["sessions"]}
    assert titles == {"List the files", "Hi"}
    again = run("import", HOME=str(home)).stdout
    assert next(line for line in again.splitlines() if SOURCE in line).split()[1:4] == list("002")


def test_subagents_and_what_was_resumed_as_a_log_are_not_found(home: Path) -> None:
    log = write(home, META)
    write(home, META, name=log.with_suffix(".json").name)
    other = write(home, META, name="session-x.json")
    subagent = log.parent / ID / "sub.jsonl"
    subagent.parent.mkdir()
    subagent.write_text("{}")
    places = Places(Path("/nowhere"), {"GEMINI_CLI_HOME": str(home)})
    assert sorted(gemini_cli.find(places)) == sorted([log, other])
    assert list(gemini_cli.find(Places(home, {}))) == list(gemini_cli.find(places))
    assert gemini_cli.accepts(log)
    assert not gemini_cli.accepts(subagent)


async def test_a_resumed_conversation_goes_on(service: LocalSessionService, home: Path) -> None:
    """Its messages are set anew: calls in another shape, results twice, commands left out."""
    command = said("u3", "/about")
    anew = [
        {"id": "s", **CONTEXT},
        said("u1", "List the files"),
        message("g1", "gemini", [{"text": "I look."}, {"functionCall": {"id": "c1", "name": "x"}}]),
        message("g1_response", "user", [response("c1", "a.py")]),
        message("u2", "user", [response("c1", "a.py")]),
        answer("g2", "One."),
    ]
    begin = changed({"id": "s", **CONTEXT})
    resumed = {"$set": {"sessionId": ID}}
    records = [begin, *TURN, command, resumed, changed(*anew), said("u4", "And?")]
    ((_, *events),) = await imported(service, home, *records)
    assert events == [*TURN_EVENTS, user("/about"), user("And?")]


async def test_what_was_said_before_a_compression_stays(
    service: LocalSessionService, home: Path
) -> None:
    summary = said("x1", "<state_snapshot>files</state_snapshot>")
    anew = changed(summary, answer("x2", "Got it."), answer("g2", "One."))
    assert await imported(service, home, *TURN, anew, said("u3", "And?")) == [
        [
            *TURN_EVENTS,
            NOTE,
            ("system_context", {"content": "<state_snapshot>files</state_snapshot>"}),
            ("system_context", {"content": "Got it."}),
            user("And?"),
        ]
    ]


async def test_a_rewind_is_a_fork(service: LocalSessionService, home: Path) -> None:
    more = [said("u3", "And tests?"), answer("g3", "None.")]
    records = [*TURN, *more, {"$rewindTo": "u3"}, said("u4", "And docs?")]
    assert await imported(service, home, *records) == [
        [*TURN_EVENTS, user("And docs?")],
        [*TURN_EVENTS, user("And tests?"), text("g3", "None.")],
    ]


async def test_a_rewind_to_what_is_unknown_takes_everything_back(
    service: LocalSessionService, home: Path
) -> None:
    note = ("system_context", {"content": "[Note: everything before this was taken back.]"})
    assert await imported(service, home, *TURN, {"$rewindTo": "?"}, said("u4", "Anew")) == [
        [*TURN_EVENTS, note, user("Anew")]
    ]


async def test_a_changed_last_message_is_a_fork_and_an_earlier_one_stays(
    service: LocalSessionService, home: Path
) -> None:
    records = [said("u1", "Hi"), answer("g1", "Hel"), answer("g1", "Hello"), said("u1", "Hi!")]
    assert await imported(service, home, *records) == [
        [user("Hi"), text("g1", "Hello")],
        [user("Hi"), text("g1", "Hel")],
    ]
    report = await run_import(service, SOURCE, write(home, META, *records, said("u2", "And?")))
    assert report.skipped == {"changed message": 1}


async def test_a_running_tool_has_no_result_yet(service: LocalSessionService, home: Path) -> None:
    begin = [said("u1", "Go"), answer("g1", "", toolCalls=[call("c1", status="executing")])]
    path = write(home, META, *begin)
    await run_import(service, SOURCE, path)
    assert await conversations(service) == [[user("Go"), calls("c1", "")[0]]]
    write(home, META, *begin, answer("g1", "", toolCalls=[call("c1", "done")]))
    report = await run_import(service, SOURCE, path)
    assert await conversations(service) == [[user("Go"), *calls("c1", "done")]]
    assert (report.grown, report.forks) == (1, 0)


async def test_media_errors_and_notices(service: LocalSessionService, home: Path) -> None:
    media = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
    records = [
        message("u1", "user", [{"text": "See"}, media]),
        message("g1", "gemini", [{"text": "Hm", "thought": True}, {"text": "A "}, {"text": "cat"}]),
        message("i1", "info", "Update available"),
        message("i2", "info", "Request cancelled."),
        message("e1", "error", "Quota"),
    ]
    assert await imported(service, home, *records) == [
        [
            user("See"),
            user("[image/png]"),
            ("thinking", {"content": "Hm"}),
            text("g1", "A cat"),
            ("turn_end", {"stop_reason": "cancelled"}),
            ("turn_end", {"stop_reason": "error", "error": "Quota"}),
        ]
    ]


@pytest.mark.parametrize("marker", ["registry", "hash", "none"])
async def test_the_directory_of_older_versions(
    service: LocalSessionService, home: Path, marker: str
) -> None:
    folder = home / ".gemini/tmp/project"
    (folder / ".project_root").unlink()
    if marker != "none":
        slug = "project" if marker == "registry" else "other"
        projects = json.dumps({"projects": {"/p": slug, "/q": "q"}})
        (home / ".gemini/projects.json").write_text(projects)
    await imported(service, home, *TURN)
    directory = (await service.get_session(ID)).directory
    assert directory == ("(unknown)" if marker == "none" else "/p")


RICH = [
    META,
    changed({"id": "s", **CONTEXT}),
    *TURN,
    said("u3", "And tests?"),
    answer("g3", "Non"),
    answer("g3", "None."),
    {"$rewindTo": "u3"},
    said("u4", "And docs?"),
    answer("g4", "None either."),
    {"$rewindTo": "u1"},
    said("u5", "Again"),
    answer("g5", "Yes."),
    changed(said("x1", "<state_snapshot>"), answer("g5", "Yes.")),
    said("u6", "Last"),
    {"$rewindTo": "u6"},
    {"$rewindTo": "?"},
    said("u7", "Anew"),
]


async def test_importing_as_it_grows_is_importing_it_once(
    service: LocalSessionService, home: Path, tmp_path: Path
) -> None:
    for count in range(1, len(RICH) + 1):
        path = write(home, *RICH[:count])
        await run_import(service, SOURCE, path)
    assert await stored(service) == await once(tmp_path, SOURCE, path)
    assert len(await stored(service)) == 5
    await assert_twice_is_once(service, SOURCE, path)


async def test_a_torn_last_line_is_read_when_it_is_whole(
    service: LocalSessionService, home: Path
) -> None:
    path = write(home, META, *TURN)
    whole = path.read_bytes()
    line = json.dumps(said("u3", "More")).encode()
    path.write_bytes(whole + line[:20])
    report = await run_import(service, SOURCE, path)
    assert report.broken == []
    path.write_bytes(whole + line)
    await run_import(service, SOURCE, path)
    assert (await conversations(service))[0][-1] == user("More")


async def test_a_json_file_that_is_changed_becomes_a_fork(
    service: LocalSessionService, home: Path
) -> None:
    def save(*messages: Record) -> Path:
        return write(home, {**META, "messages": list(messages)}, name="session-1.json")

    hi = said("u1", "Hi")
    for last in ("Hel", "Hello", "Hello!"):
        await run_import(service, SOURCE, save(hi, answer("g1", last)))
    assert await conversations(service) == [
        [user("Hi"), text("g1", "Hello!")],
        [user("Hi"), text("g1", "Hello")],
        [user("Hi"), text("g1", "Hel")],
    ]
    path = save(said("u1", "Hi there"), answer("g1", "Hello!"))
    report = await run_import(service, SOURCE, path)
    assert (report.new, report.events) == (1, 2)
    assert [user("Hi there"), text("g1", "Hello!")] in await conversations(service)
    await assert_twice_is_once(service, SOURCE, path)


async def test_lines_that_are_none_are_reported(service: LocalSessionService, home: Path) -> None:
    path = write(home, META, *TURN)
    whole = path.read_bytes().split(b"\n")
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join([*whole[:3], b"{\x00", b"[1]", *whole[3:]]))
    report = await run_import(service, SOURCE, path)
    assert await conversations(service) == [TURN_EVENTS]
    assert [problem.partition(", line ")[2] for problem in report.broken] == [
        "4: not JSON",
        "5: not a JSON object",
    ]


@pytest.mark.parametrize("name", ["session-1.json", "session-1.jsonl"])
async def test_files_that_are_none_are_reported(
    service: LocalSessionService, home: Path, name: str
) -> None:
    await assert_none_is_reported(service, SOURCE, write(home, name=name), '"x"\n')


async def test_wrong_types_in_every_field_are_survived(
    service: LocalSessionService, home: Path
) -> None:
    for number, wrong in enumerate(wrong_values()):
        meta = {**META, "sessionId": f"wrong {number}"}
        changes = [change for record in (*TURN, *RICH[1:]) for change in changes_of(record, wrong)]
        path = write(home, meta, said("u", "Hi"), *changes, name=f"session-{number}.jsonl")
        report = await run_import(service, SOURCE, path)
        assert (report.new, report.broken) == (1, [])
