"""Chats of VS Code: logs of changes, and the JSON files of versions before 1.109."""

import copy
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from segue.agents import vscode_chat
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

SOURCE = "vscode-chat"
ID = "01999999-0000-7000-8000-00000000000b"
TIME = 1_772_600_767_000
PENDING, COMPLETE, CANCELLED, FAILED, WAITING = range(5)
COPILOT = {"id": "github.copilot.editsAgent", "extensionId": {"value": "GitHub.copilot-chat"}}
SEGUE = {"id": "segue.chat", "extensionId": {"value": "segue.segue", "_lower": "segue.segue"}}

Record = dict[str, Any]
Shown = tuple[str, Any]


def said(text: str) -> Record:
    """Return a part of an answer as VS Code writes a text."""
    return {"value": text, "supportThemeIcons": False, "uris": {}}


def shown_call(id: str, tool: str = "copilot_readFile", **fields: Any) -> Record:
    return {
        "kind": "toolInvocationSerialized", "toolCallId": id, "toolId": tool, "isComplete": True,
        "invocationMessage": {"value": "Reading"}, "pastTenseMessage": {"value": "Read a.py"},
        "isConfirmed": {"type": 1}, **fields,
    }  # fmt: skip


def made_call(id: str, name: str = "read_file") -> Record:
    return {"id": id, "name": name, "arguments": json.dumps({"filePath": id})}


def metadata(rounds: Sequence[Sequence[Record]], **results: str) -> Record:
    return {
        "toolCallRounds": [{"response": "", "id": "r", "toolCalls": calls} for calls in rounds],
        "toolCallResults": {
            f"{id}__vscode-1": {"$mid": 20, "content": [{"$mid": 21, "value": text}]}
            for id, text in results.items()
        },
    }  # fmt: skip


def turn(
    id: str, text: str, *parts: Any, state: int | None = COMPLETE, result: Any = None, **fields: Any
) -> Record:
    message = {"text": text, "parts": [{"kind": "text", "text": text}]}
    record: Record = {
        "requestId": id, "timestamp": TIME, "message": message, "response": list(parts),
        "agent": COPILOT, "modelId": "copilot/gpt-5", "result": result or {"metadata": {}},
        "variableData": {"variables": []},
        "modelState": {"value": state, "completedAt": TIME + 1_000},
    }  # fmt: skip
    if state in (PENDING, WAITING):
        del record["result"]
        record["modelState"] = {"value": state}
    return record | fields


def chat(*turns: Any, **fields: Any) -> Record:
    return {"version": 3, "creationDate": TIME, "initialLocation": "panel", "sessionId": ID,
            "customTitle": None, "requests": list(turns), **fields}  # fmt: skip


def begin(*turns: Any, **fields: Any) -> Record:
    return {"kind": 0, "v": chat(*turns, **fields)}


def put(*path: Any, value: Any) -> Record:
    return {"kind": 1, "k": list(path), "v": value}


def push(*path: Any, values: Any = None, at: int | None = None) -> Record:
    entry = {"kind": 2, "k": list(path), "v": values, "i": at}
    return {key: value for key, value in entry.items() if value is not None}


def remove(*path: Any) -> Record:
    return {"kind": 3, "k": list(path)}


def complete(number: int, *parts: Any, at: int | None = None, result: Any = None) -> list[Record]:
    """Return what is written when an answer is complete, in VS Code's order."""
    return [
        put("requests", number, "result", value=result or {"metadata": {}}),
        put("requests", number, "modelState", value={"value": 1, "completedAt": TIME + 1_000}),
        push("requests", number, "response", values=list(parts), at=at),
    ]


def user(content: str) -> Shown:
    return ("user_message", {"content": content})


def text(content: str) -> Shown:
    return ("text", {"content": content})


def called(id: str, name: str, input: Any, content: str | None, *, is_error: bool = False) -> Any:
    events: list[Shown] = [("tool_call", {"id": id, "name": name, "input": input})]
    if content is not None:
        result = {"tool_use_id": id, "content": content, "is_error": is_error}
        events.append(("tool_result", result))
    return events


CANCEL = ("turn_end", {"stop_reason": "cancelled"})
HELLO = turn("r1", "Hello", said("Hi."))
HELLO_EVENTS = [user("Hello"), text("Hi.")]
LOOK = turn(
    "r2", "Look at a.py and b.py",
    {"kind": "mcpServersStarting", "didStartServerIds": []},
    {"kind": "thinking", "value": ["Look ", "first."], "id": "t"},
    {"kind": "thinking", "value": ""},
    said("I look at "), {"kind": "inlineReference", "inlineReference": {"path": "/p/a.py"}},
    {"kind": "undoStop", "id": "u"}, said(".\n"),
    shown_call("c1"), shown_call("c2"), said("Two."),
    result={"metadata": metadata([[made_call("c1__vscode-1"), made_call("c2__vscode-1")]],
                                 c1="a = 1", c2="b = 2")},
)  # fmt: skip
LOOK_EVENTS = [
    user("Look at a.py and b.py"),
    ("thinking", {"content": "Look first."}),
    text("I look at `a.py`.\n"),
    *called("c1__vscode-1", "read_file", {"filePath": "c1__vscode-1"}, "a = 1"),
    *called("c2__vscode-1", "read_file", {"filePath": "c2__vscode-1"}, "b = 2"),
    text("Two."),
]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home/.config/Code/User/workspaceStorage/f00"
    (folder / "chatSessions").mkdir(parents=True)
    (folder / "workspace.json").write_text(json.dumps({"folder": "file:///p%20q"}))
    return tmp_path / "home"


def write(home: Path, *entries: Any, name: str = f"{ID}.jsonl", folder: str = "Code") -> Path:
    storage = home / ".config" / folder / "User/workspaceStorage/f00"
    path = storage / "chatSessions" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(json.dumps(entry).encode() + b"\n" for entry in entries))
    return path


async def imported(
    service: LocalSessionService, home: Path, *turns: Any, **fields: Any
) -> list[list[Shown]]:
    await run_import(service, SOURCE, write(home, begin(*turns, **fields)))
    return await conversations(service)


async def test_a_chat_is_kept(service: LocalSessionService, home: Path) -> None:
    path = write(home, begin(HELLO, LOOK, customTitle="Files"))
    report = await run_import(service, SOURCE, path)
    assert await conversations(service) == [[*HELLO_EVENTS, *LOOK_EVENTS]]
    session = await service.get_session(ID)
    assert (session.title, session.directory, session.model) == ("Files", "/p q", "copilot/gpt-5")
    assert (session.client, session.source) == ("VS Code chat", SOURCE)
    assert (session.created_at, session.updated_at) == (TIME, TIME + 1_000)
    assert (report.new, report.events, report.broken) == (1, 10, [])
    assert report.skipped == {"mcpServersStarting": 1, "undoStop": 1}
    await assert_twice_is_once(service, SOURCE, path)


def test_the_command_imports_what_it_finds(home: Path) -> None:
    write(home, begin(HELLO))
    write(home, chat(LOOK, sessionId="old"), name="old.json")
    write(home, begin(), name="empty.jsonl")
    (report,) = json.loads(run("import", SOURCE, "--json", HOME=str(home)).stdout)
    assert (report["new"], report["events"], report["broken"]) == (2, 10, [])
    titles = {session["title"] for session in as_json("list", "--all")["sessions"]}
    assert titles == {"Hello", "Look at a.py and b.py"}
    again = run("import", HOME=str(home)).stdout
    assert next(line for line in again.splitlines() if SOURCE in line).split()[1:4] == list("002")


@pytest.mark.parametrize(
    ("folder", "environment"),
    [
        (".config/Code - Insiders/User", {}),
        (".config/VSCodium/User", {}),
        ("xdg/Cursor/User", {"XDG_CONFIG_HOME": "{home}/xdg"}),
        ("Library/Application Support/Code/User", {}),
        ("AppData/Roaming/Code/User", {}),
        ("roaming/Code/User", {"APPDATA": "{home}/roaming"}),
        (".local/share/code-server/User", {}),
        (".vscode-server/data/User", {}),
        (".openvscode-server/data/User", {}),
        (".var/app/com.visualstudio.code/config/Code/User", {}),
        ("portable/user-data/User", {"VSCODE_PORTABLE": "{home}/portable"}),
    ],
)
def test_chats_are_found_where_programs_made_of_vscode_have_them(
    tmp_path: Path, folder: str, environment: dict[str, str]
) -> None:
    names = [
        "workspaceStorage/f00/chatSessions/a.jsonl",
        "workspaceStorage/f00/chatSessions/b.json",
        "globalStorage/emptyWindowChatSessions/c.jsonl",
    ]
    others = [
        "workspaceStorage/f00/chatSessions/a.json",
        "workspaceStorage/f00/chatSessions/a.jsonl.bak",
        "workspaceStorage/f00/chatEditingSessions/a/state.json",
        "globalStorage/transferredChatSessions/d.json",
    ]
    for name in (*names, *others):
        (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / name).write_text("{}")
    given = {name: value.format(home=tmp_path) for name, value in environment.items()}
    found = list(vscode_chat.find(Places(tmp_path, given)))
    assert found == [tmp_path / folder / name for name in names]
    assert all(map(vscode_chat.accepts, found))
    assert not any(vscode_chat.accepts(tmp_path / folder / name) for name in others[1:])


@pytest.mark.parametrize(
    ("workspace", "directory"),
    [
        ({"folder": "file:///p/%C3%BC%20%23x"}, "/p/ü #x"),
        ({"folder": "vscode-remote://ssh-remote%2Bhost/srv/p"}, "/srv/p"),
        ({"folder": "file:///c%3A/Users/me/p"}, "c:/Users/me/p"),
        ({"workspace": "file://{home}/w/two.code-workspace"}, "{home}/one"),
        ({"workspace": "file://{home}/w/commented.code-workspace"}, "{home}/w"),
        ({"configuration": "file:///gone/old.code-workspace"}, "/gone"),
        ({"folder": "p"}, "(unknown)"),
        ({"folder": 1}, "(unknown)"),
        (["x"], "(unknown)"),
    ],
)
async def test_the_directory_is_that_of_the_window(
    service: LocalSessionService, home: Path, workspace: Any, directory: str
) -> None:
    (home / "w").mkdir()
    folders = {"folders": [{"path": "../one"}, {"path": "../two"}]}
    (home / "w/two.code-workspace").write_text(json.dumps(folders))
    (home / "w/commented.code-workspace").write_text(f"// mine\n{json.dumps(folders)}")
    file = home / ".config/Code/User/workspaceStorage/f00/workspace.json"
    file.write_text(json.dumps(workspace).replace("{home}", str(home)))
    await imported(service, home, HELLO)
    assert (await service.get_session(ID)).directory == directory.format(home=home)


async def test_a_chat_that_is_copied_to_the_folder_of_its_window_is_one(
    service: LocalSessionService, home: Path
) -> None:
    copied = write(home, begin(LOOK))
    original = home / f".config/Code/User/globalStorage/emptyWindowChatSessions/{ID}.jsonl"
    original.parent.mkdir(parents=True)
    original.write_bytes(copied.read_bytes())
    await run_import(service, SOURCE, original, copied)
    assert (await service.get_session(ID)).directory == "/p q"
    write(home, begin(LOOK), push("requests", values=[HELLO]))
    for _ in range(3):
        report = await run_import(service, SOURCE, original, copied)
        assert report.forks == 0
    assert (report.unchanged, report.skipped) == (2, {})  # neither is read again for the other
    assert await conversations(service) == [[*LOOK_EVENTS, *HELLO_EVENTS]]


async def test_a_chat_says_itself_where_it_was_had(
    service: LocalSessionService, home: Path
) -> None:
    await imported(service, home, HELLO, workingDirectory="file:///elsewhere")
    assert (await service.get_session(ID)).directory == "/elsewhere"


OLD_CALL = shown_call("52142529-aec6-4fb4-94ac-ca0deb467986")


@pytest.mark.parametrize(
    ("parts", "rounds", "events"),
    [
        pytest.param(
            [OLD_CALL, said("Then."), shown_call("x", "copilot_findFiles")],
            [[made_call("c1__vscode-1")], [made_call("c2__vscode-1", "file_search")]],
            [
                *called("c1__vscode-1", "read_file", {"filePath": "c1__vscode-1"}, "a = 1"),
                text("Then."),
                *called("c2__vscode-1", "file_search", {"filePath": "c2__vscode-1"}, "b = 2"),
            ],
            id="older versions show a call under another id",
        ),
        pytest.param(
            [said("First."), shown_call("c2"), said("Then."), shown_call("c3"), said("Last.")],
            [[made_call("c1__vscode-1"), made_call("c2__vscode-1")],
             [made_call("c3"), made_call("c4")]],
            [
                text("First."),
                *called("c1__vscode-1", "read_file", {"filePath": "c1__vscode-1"}, "a = 1"),
                *called("c2__vscode-1", "read_file", {"filePath": "c2__vscode-1"}, "b = 2"),
                text("Then."),
                *called("c3", "read_file", {"filePath": "c3"}, "Read a.py"),
                *called("c4", "read_file", {"filePath": "c4"}, None),
                text("Last."),
            ],
            id="calls that are not shown",
        ),
        pytest.param(
            [OLD_CALL, shown_call("x", subAgentInvocationId="c1")],
            [],
            called(OLD_CALL["toolCallId"], "copilot_readFile", None, "Read a.py"),
            id="without metadata",
        ),
        pytest.param([said("Hm.")], [[made_call("c1__vscode-1")]], [
            text("Hm."),
            *called("c1__vscode-1", "read_file", {"filePath": "c1__vscode-1"}, "a = 1"),
        ], id="none is shown"),
    ],
)  # fmt: skip
async def test_tool_calls_are_those_that_are_shown_with_what_the_model_asked(
    service: LocalSessionService, home: Path, parts: Any, rounds: Any, events: Any
) -> None:
    result = {"metadata": metadata(rounds, c1="a = 1", c2="b = 2")}
    assert await imported(service, home, turn("r", "Go", *parts, result=result)) == [
        [user("Go"), *events]
    ]


TREE = {
    "type": 1,
    "children": [
        {"type": 2, "text": "one", "lineBreakBefore": True},
        {"type": 1, "children": [{"type": 2, "text": " two"}]},
        {"type": 2, "text": "three", "lineBreakBefore": True},
    ],
}


@pytest.mark.parametrize(
    ("fields", "input", "content", "is_error"),
    [
        ({"resultDetails": {"input": '{"a": 1}', "output": [{"type": "embed", "isText": True,
         "value": "out"}, {"type": "embed", "isText": False, "mimeType": "image/png",
         "value": "iVBO"}], "isError": True}}, {"a": 1}, "out\n[image/png]", True),
        ({"toolSpecificData": {"kind": "terminal", "commandLine": {"original": "ls", "userEdited":
         "ls -l"}, "terminalCommandOutput": {"text": "a"}}}, {"command": "ls -l"}, "a", False),
        ({"toolSpecificData": {"kind": "terminal", "command": "ls"}}, {"command": "ls"},
         "Read a.py", False),
        ({"toolSpecificData": {"kind": "input", "rawInput": {"q": 1}}, "isComplete": False},
         {"q": 1}, None, False),
        ({"toolSpecificData": {"kind": "subagent", "result": "Done"}}, None, "Done", False),
        ({"resultDetails": {"input": "{", "output": "plain"}}, "{", "plain", False),
    ],
)  # fmt: skip
async def test_a_call_without_metadata_is_kept_as_it_is_shown(
    service: LocalSessionService,
    home: Path,
    fields: Record,
    input: Any,
    content: Any,
    is_error: bool,
) -> None:
    events = called("c", "t", input, content, is_error=is_error)
    part = shown_call("c", "t", **fields)
    assert await imported(service, home, turn("r", "Go", part)) == [[user("Go"), *events]]


async def test_results_of_tools_are_read_as_text(service: LocalSessionService, home: Path) -> None:
    content = [{"$mid": 23, "value": {"node": TREE}}, {"mimeType": "image/png", "data": {}}]
    calls = [{"toolCalls": [{"id": "c", "name": "t", "arguments": "{}"}]}]
    found = {"toolCallRounds": calls, "toolCallResults": {"c": {"content": content}}}
    go = turn("r", "Go", shown_call("c"), result={"metadata": found})
    events = called("c", "t", {}, "one two\nthree\n[image/png]")
    assert await imported(service, home, go) == [[user("Go"), *events]]


async def test_how_an_answer_ended_is_kept(service: LocalSessionService, home: Path) -> None:
    failed = {"errorDetails": {"message": "No quota", "responseIsIncomplete": True}}
    error = ("turn_end", {"stop_reason": "error", "error": "No quota"})
    turns = [
        turn("r1", "1", said("Be"), state=CANCELLED),
        turn("r2", "2", said("Be"), state=FAILED, result=failed),
        turn("r3", "3", result={"errorDetails": {"message": "Canceled", "code": "canceled"}}),
        turn("r4", "4", said("Be"), state=None, isCanceled=True, modelState=None),
        turn("r5", "5", state=None, modelState=None, result=None,
             responseErrorDetails=failed["errorDetails"]),
        turn("r6", "6", said("Be"), state=PENDING),
        turn("r7", "7", said("OK")),
    ]  # fmt: skip
    turns[4].pop("result")
    assert await imported(service, home, *turns) == [
        [
            *(user("1"), text("Be"), CANCEL),
            *(user("2"), text("Be"), error),
            *(user("3"), CANCEL),
            *(user("4"), text("Be"), CANCEL),
            *(user("5"), error),
            *(user("6"), text("Be"), CANCEL),
            *(user("7"), text("OK")),
        ]
    ]


async def test_what_no_person_wrote_is_context_and_attachments_are_named(
    service: LocalSessionService, home: Path
) -> None:
    variables = [
        {"kind": "file", "name": "a.py", "id": "f", "value": {"$mid": 1, "path": "/p/a.py"}},
        {"kind": "image", "name": "cat.png", "id": "i", "value": {"0": 137}},
        {"kind": "file", "name": "named.py", "range": {"start": 0, "endExclusive": 9}},
        {"kind": "promptFile", "name": "instructions"},
        {"kind": "implicit", "name": "open.py"},
    ]
    turns = [
        turn("r1", "See", said("OK"), variableData={"variables": variables}),
        turn("r2", "The terminal ended", said("OK"), isSystemInitiated=True),
        turn("r3", "Go on", said("OK"), hiddenFromTranscript=True),
    ]
    assert await imported(service, home, *turns) == [
        [
            *(user("See\n[file a.py]\n[image cat.png]"), text("OK")),
            *(("system_context", {"content": "The terminal ended"}), text("OK")),
            *(("system_context", {"content": "Go on"}), text("OK")),
        ]
    ]


async def test_texts_are_joined_and_other_parts_are_counted(
    service: LocalSessionService, home: Path
) -> None:
    edit = {"kind": "textEditGroup", "uri": {"path": "/p/a.py"}, "edits": [[]], "done": True}
    symbol = {"kind": "inlineReference", "inlineReference": {"name": "f", "location": {}}}
    place = {
        "inlineReference": {"uri": {"path": "/p/b.py"}, "range": {}},
        "kind": "inlineReference",
    }
    parts = [
        "Plain ", said("and "), {"kind": "markdownContent", "content": {"value": "more "}},
        {"kind": "markdownVuln", "content": {"value": "risk "}, "vulnerabilities": []},
        symbol, said(" in "), place, said("\n```\n"),
        {"kind": "codeblockUri", "uri": {}, "isEdit": True}, edit, said("\n```\n"),
        {"kind": "progressMessage", "content": {"value": "Looking"}}, said("```python\nx\n```"),
        {"kind": "unheard-of"}, 7,
    ]  # fmt: skip
    report = await run_import(service, SOURCE, write(home, begin(turn("r", "Go", *parts))))
    content = "Plain and more risk `f` in `b.py```python\nx\n```".replace("b.py```p", "b.py````p")
    assert await conversations(service) == [[user("Go"), text(content)]]
    assert report.skipped == {"codeblockUri": 1, "textEditGroup": 1, "progressMessage": 1,
                              "unheard-of": 1, "invalid part": 1}  # fmt: skip


async def test_what_segue_answered_is_not_stored_twice(
    service: LocalSessionService, home: Path
) -> None:
    own = turn("r1", "@segue Hi", said("Hi."), agent=SEGUE)
    named = turn("r2", "@segue And?", state=PENDING, agent=None)
    named["message"]["parts"] = [
        {"kind": "agent", "agent": SEGUE},
        {"kind": "text", "text": "And?"},
    ]
    path = write(home, begin(own, named))
    report = await run_import(service, SOURCE, path)
    assert (report.new, report.events, report.skipped) == (0, 0, {"turn of @segue": 2})
    assert await stored(service) == {}
    assert await imported(service, home, own, HELLO, named) == [HELLO_EVENTS]


@pytest.mark.parametrize("state", [PENDING, WAITING])
async def test_an_answer_is_imported_when_it_is_complete(
    service: LocalSessionService, home: Path, state: int
) -> None:
    entries = [begin(HELLO), push("requests", values=[turn("r2", "Go", said("Be"), state=state)])]
    path = write(home, *entries)
    report = await run_import(service, SOURCE, path)
    assert await conversations(service) == [[*HELLO_EVENTS, user("Go")]]
    assert report.skipped == {"incomplete answer": 1}
    write(home, *entries, *complete(1, said("Begin."), at=0))
    report = await run_import(service, SOURCE, path)
    assert await conversations(service) == [[*HELLO_EVENTS, user("Go"), text("Begin.")]]
    assert (report.grown, report.forks) == (1, 0)
    await assert_twice_is_once(service, SOURCE, path)


async def test_an_answer_that_nobody_writes_any_more_is_a_cancelled_one(
    service: LocalSessionService, home: Path
) -> None:
    path = write(home, begin(turn("r", "Go", said("Be"), shown_call("c", "t"), state=PENDING)))
    for _ in range(2):
        report = await run_import(service, SOURCE, path)
        assert report.skipped == {"incomplete answer": 1}  # it is read each time
    os.utime(path, (time.time() - 90_000,) * 2)
    await run_import(service, SOURCE, path)
    events = [user("Go"), text("Be"), *called("c", "t", None, "Read a.py"), CANCEL]
    assert await conversations(service) == [events]
    write(home, begin(turn("r", "Go", said("Be"), shown_call("c", "t"), state=CANCELLED)))
    assert (await run_import(service, SOURCE, path)).forks == 0
    assert await conversations(service) == [events]


async def test_a_question_that_is_edited_makes_a_fork(
    service: LocalSessionService, home: Path
) -> None:
    edited = turn("r3", "Look at c.py", said("One."))
    more = [push("requests", values=[LOOK]), push("requests", values=[edited], at=1)]
    path = write(home, begin(HELLO), *more)
    report = await run_import(service, SOURCE, path)
    assert await conversations(service) == [
        [*HELLO_EVENTS, user("Look at c.py"), text("One.")],
        [*HELLO_EVENTS, *LOOK_EVENTS],
    ]
    assert report.forks == 1
    await assert_twice_is_once(service, SOURCE, path)


async def test_an_answer_that_was_taken_back_while_it_was_written_is_kept(
    service: LocalSessionService, home: Path
) -> None:
    begun = turn("r2", "Go", said("Be"), state=PENDING)
    path = write(home, begin(HELLO, begun), push("requests", values=[LOOK], at=1))
    await run_import(service, SOURCE, path)
    assert await conversations(service) == [
        [*HELLO_EVENTS, *LOOK_EVENTS],
        [*HELLO_EVENTS, user("Go"), text("Be"), CANCEL],
    ]


async def test_a_first_question_that_is_edited_makes_another_conversation(
    service: LocalSessionService, home: Path
) -> None:
    entries = [begin(HELLO), push("requests", values=[LOOK], at=0)]
    path = write(home, *entries)
    await run_import(service, SOURCE, path)
    assert sorted(await conversations(service), key=len) == [HELLO_EVENTS, LOOK_EVENTS]
    for more in ([begin(LOOK)], [begin(LOOK), push("requests", values=[HELLO])]):
        write(home, *more)
        await run_import(service, SOURCE, path)
    both = [HELLO_EVENTS, [*LOOK_EVENTS, *HELLO_EVENTS]]
    assert sorted(await conversations(service), key=len) == both
    await assert_twice_is_once(service, SOURCE, path)


async def test_turns_that_were_taken_back_are_left_out_until_they_are_restored(
    service: LocalSessionService, home: Path
) -> None:
    back = LOOK | {"shouldBeRemovedOnSend": {"requestId": "r2"}}
    report = await run_import(service, SOURCE, write(home, begin(HELLO, back)))
    assert await conversations(service) == [HELLO_EVENTS]
    assert report.skipped == {"reverted turn": 1}
    assert await imported(service, home, HELLO, LOOK) == [[*HELLO_EVENTS, *LOOK_EVENTS]]
    hidden = turn("r3", "No", isHidden=True)
    assert await imported(service, home, HELLO, LOOK, hidden) == [[*HELLO_EVENTS, *LOOK_EVENTS]]


REDONE = turn("r4", "Say it again", said("Again."))
WRITES: list[list[Record]] = [
    [begin()],
    [push("requests", values=[HELLO]), put("inputState", value={"inputText": ""})],
    [push("requests", values=[turn("r2", "Look at a.py and b.py", said("I"), state=PENDING)])],
    complete(1, *LOOK["response"], at=0, result=LOOK["result"]),
    [put("hasPendingEdits", value=True)],
    [push("requests", values=[turn("r3", "And c.py?", said("Wai"), state=PENDING)])],
    [push("requests", at=2)],
    [push("requests", values=[REDONE])],
    [
        remove("requests", 2, "result"),
        put("requests", 2, "modelState", value={"value": PENDING}),
        push("requests", 2, "response", at=0),
    ],
    complete(2, said("Once more."), result={"metadata": {}}),
    [put("requests", 1, "shouldBeRemovedOnSend", value={"requestId": "r2"}),
     put("requests", 2, "shouldBeRemovedOnSend", value={"requestId": "r4"})],
    [remove("requests", 1, "shouldBeRemovedOnSend"),
     remove("requests", 2, "shouldBeRemovedOnSend")],
    [push("requests", values=[turn("r5", "And d.py?", said("None."))], at=1)],
    [push("requests", values=[turn("r6", "Anew", said("Yes."))], at=0)],
    [push("requests", values=[turn("r7", "More", said("No."))])],
]  # fmt: skip


async def test_importing_as_it_grows_is_importing_it_once(
    service: LocalSessionService, home: Path, tmp_path: Path
) -> None:
    entries: list[Record] = []
    for each in WRITES:
        entries += each
        path = write(home, *entries)
        await run_import(service, SOURCE, path)
    assert await stored(service) == await once(tmp_path, SOURCE, path)
    assert len(await stored(service)) == 5
    await assert_twice_is_once(service, SOURCE, path)


async def test_a_log_that_is_written_anew_adds_nothing(
    service: LocalSessionService, home: Path
) -> None:
    entries = [entry for each in WRITES for entry in each]
    path = write(home, *entries)
    await run_import(service, SOURCE, path)
    before = await stored(service)
    now = [turn("r6", "Anew", said("Yes.")), turn("r7", "More", said("No."))]
    write(home, begin(*now))
    report = await run_import(service, SOURCE, path)
    assert (report.new, report.grown, report.forks, report.events) == (0, 0, 0, 0)
    assert await stored(service) == before


async def test_a_list_is_cut_before_it_is_added_to(
    service: LocalSessionService, home: Path
) -> None:
    parts = [said("One, "), said("tw")]
    path = write(
        home,
        begin(turn("r", "Count", *parts, state=PENDING)),
        *complete(0, said("two, "), said("three"), at=1),
    )
    await run_import(service, SOURCE, path)
    assert await conversations(service) == [[user("Count"), text("One, two, three")]]


async def test_a_json_file_goes_on_as_a_log(service: LocalSessionService, home: Path) -> None:
    old = write(home, chat(HELLO), name=f"{ID}.json")
    await run_import(service, SOURCE, old)
    path = write(home, begin(HELLO), push("requests", values=[LOOK]))
    report = await run_import(service, SOURCE, path)
    assert (report.grown, report.forks, report.events) == (1, 0, 8)
    assert await conversations(service) == [[*HELLO_EVENTS, *LOOK_EVENTS]]


async def test_a_json_file_that_is_changed_becomes_a_fork(
    service: LocalSessionService, home: Path
) -> None:
    for last in ("Hel", "Hello"):
        turns = [HELLO, turn("r2", "Hi", said(last), state=CANCELLED)]
        path = write(home, chat(*turns), name=f"{ID}.json")
        await run_import(service, SOURCE, path)
    assert await conversations(service) == [
        [*HELLO_EVENTS, user("Hi"), text("Hello"), CANCEL],
        [*HELLO_EVENTS, user("Hi"), text("Hel"), CANCEL],
    ]
    await assert_twice_is_once(service, SOURCE, path)


@pytest.mark.parametrize(
    ("version", "title"),
    [
        ({"creationDate": TIME, "isImported": False}, "Hello"),
        ({"version": 2, "creationDate": TIME, "computedTitle": "Greeting"}, "Greeting"),
        ({"version": 3, "creationDate": TIME, "customTitle": "Greeting"}, "Greeting"),
    ],
)
async def test_all_versions_of_json_files_are_read(
    service: LocalSessionService, home: Path, version: Record, title: str
) -> None:
    old = {"message": "Hello", "response": [{"value": "Hi."}], "isCanceled": False}
    record = {"sessionId": ID, "requests": [old], **version}
    path = write(home, record, name=f"{ID}.json")
    await run_import(service, SOURCE, path)
    assert await conversations(service) == [HELLO_EVENTS]
    session = await service.get_session(ID)
    assert (session.title, session.created_at) == (title, TIME)
    await assert_twice_is_once(service, SOURCE, path)


async def test_a_torn_last_line_is_read_when_it_is_whole(
    service: LocalSessionService, home: Path
) -> None:
    path = write(home, begin(HELLO))
    whole = path.read_bytes()
    line = json.dumps(push("requests", values=[LOOK])).encode()
    for end in (line[:20], line[:-1]):
        path.write_bytes(whole + end)
        report = await run_import(service, SOURCE, path)
        assert report.broken == []
        assert await conversations(service) == [HELLO_EVENTS]
    path.write_bytes(whole + line)
    await run_import(service, SOURCE, path)
    assert await conversations(service) == [[*HELLO_EVENTS, *LOOK_EVENTS]]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ([1], "not a JSON object"),
        ({"kind": 4, "k": ["requests"]}, "not an entry of the log of a chat"),
        ({"kind": 1, "k": [], "v": {}}, "not an entry of the log of a chat"),
        ({"kind": 0, "v": []}, "not an entry of the log of a chat"),
        (put("requests", 7, "response", value=[]), "a change of what is not there"),
        (put("requests", -1, value={}), "a change of what is not there"),
        (put("requests", True, value={}), "a change of what is not there"),
        (put("requests", 10**40, value={}), "a change of what is not there"),
        (put("version", "x", value={}), "a change of what is not there"),
        (push("version", values=[1]), "an addition to what is no list"),
        (push("requests", values={"a": 1}), "an addition to what is no list"),
    ],
)
async def test_entries_that_cannot_be_applied_are_reported(
    service: LocalSessionService, home: Path, entry: Any, reason: str
) -> None:
    path = write(home, begin(HELLO), entry, push("requests", values=[LOOK]))
    report = await run_import(service, SOURCE, path)
    assert await conversations(service) == [[*HELLO_EVENTS, *LOOK_EVENTS]]
    assert report.broken == [f"{path}, line 2: {reason}"]


@pytest.mark.parametrize("name", ["x.json", "x.jsonl"])
async def test_files_that_are_none_are_reported(
    service: LocalSessionService, home: Path, name: str
) -> None:
    change_of_nothing = json.dumps(push("requests", values=[HELLO])) * (name == "x.jsonl")
    contents = ('"x"\n', f"{change_of_nothing}\n")
    await assert_none_is_reported(service, SOURCE, write(home, name=name), *contents)


HOSTILE = ["", "../../x", "a\0b", "\ud800", "x" * 10_000, "é" * 200, "prompt/r1"]


@pytest.mark.parametrize("id", HOSTILE)
async def test_ids_are_taken_as_they_are(service: LocalSessionService, home: Path, id: str) -> None:
    look = copy.deepcopy(LOOK) | {"requestId": id}
    look["response"].append(shown_call(id, id))
    path = write(home, begin(HELLO, look, sessionId=id))
    report = await run_import(service, SOURCE, path)
    assert (report.new, report.broken) == (1, [])
    assert (await conversations(service))[0][:2] == HELLO_EVENTS
    await assert_twice_is_once(service, SOURCE, path)


async def test_a_turn_with_the_id_of_another_is_counted(
    service: LocalSessionService, home: Path
) -> None:
    path = write(home, begin(HELLO, HELLO | {"message": {"text": "Other"}}))
    report = await run_import(service, SOURCE, path)
    assert (report.forks, report.skipped) == (0, {"doubled turn": 1})
    assert await conversations(service) == [HELLO_EVENTS]


async def test_every_character_is_kept(service: LocalSessionService, home: Path) -> None:
    odd = "a\0b \ud800 \u2028 函"
    assert await imported(service, home, turn("r", odd, said(odd))) == [[user(odd), text(odd)]]


async def test_wrong_types_in_every_field_are_survived(
    service: LocalSessionService, home: Path
) -> None:
    rich = copy.deepcopy(LOOK)
    rich["result"]["errorDetails"] = {"message": "x", "code": "y"}
    rich["result"]["timings"] = {"totalElapsed": 5}
    rich["variableData"] = {"variables": [{"kind": "file", "name": "a.py"}]}
    rich["shouldBeRemovedOnSend"] = {"requestId": "r", "afterUndoStop": "u"}
    rich["response"].append(
        shown_call("d", resultDetails={"input": "{}", "output": [{"value": "x"}]})
    )
    for number, wrong in enumerate(wrong_values()):
        turns = [change | {"requestId": f"r{at}"} if isinstance(change, dict) else change
                 for at, change in enumerate(changes_of(rich, wrong))]  # fmt: skip
        path = write(
            home, begin(HELLO, *turns, sessionId=f"wrong {number}"), name=f"{number}.jsonl"
        )
        report = await run_import(service, SOURCE, path)
        assert (report.new, report.broken) == (1, [])
    entries = [entry for each in WRITES for entry in each]
    for number, wrong in enumerate(wrong_values()):
        changes = [change for entry in entries for change in changes_of(entry, wrong)]
        first = begin(HELLO, sessionId=f"log {number}")
        path = write(home, first, *changes, name=f"log {number}.jsonl")
        await run_import(service, SOURCE, path)


def test_a_program_without_anything_to_import_is_not_discovered(tmp_path: Path) -> None:
    own = turn("r1", "Hello", said("Hi."), agent=SEGUE)
    write(tmp_path, begin(own))
    write(tmp_path, begin(), name="empty.jsonl")
    discover = ("import", "--discover", "--json")
    done = run(*discover, HOME=str(tmp_path))
    assert (done.returncode, json.loads(done.stdout)) == (1, [])

    write(tmp_path, begin(own, HELLO), name="other.jsonl")
    (found,) = json.loads(run(*discover, HOME=str(tmp_path)).stdout)
    assert (found["source"], found["files"]) == (SOURCE, 3)


def test_a_file_that_cannot_be_read_may_have_a_conversation(tmp_path: Path) -> None:
    write(tmp_path, name="torn.json").write_text("{")
    (found,) = json.loads(run("import", "--discover", "--json", HOME=str(tmp_path)).stdout)
    assert found["files"] == 1


def test_a_chat_that_was_deleted_or_has_lost_an_answer_is_listed_as_lost(home: Path) -> None:
    path = write(home, begin(HELLO, LOOK))
    run("import", SOURCE, HOME=str(home))
    assert lost(home) == []
    os.utime(path, (1, 1))
    assert lost(home) == []

    write(home, begin(HELLO))
    assert lost(home) == [(ID, "file changed: 8 events are not in it")]
    path.unlink()
    assert lost(home) == [(ID, "file deleted")]


def lost(home: Path) -> list[tuple[str, str]]:
    found = json.loads(run("rescue", SOURCE, "--json", HOME=str(home)).stdout)
    return [(each["session"]["sessionId"], each["why"]) for each in found["lost"]]
