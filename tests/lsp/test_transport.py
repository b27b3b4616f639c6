import contextlib
import itertools
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import segue
from segue.cli import client as client_module
from segue.cli.client import Client, RequestError
from segue.lsp.framing.reader import MAX_FRAME
from segue.store.sqlite import driver

Json = dict[str, Any]
StartClient = Callable[..., Client]

CANARY = "canary-that-must-not-be-disclosed"
PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND = -32700, -32600, -32601
INVALID_PARAMS, INTERNAL_ERROR = -32602, -32603
NOT_INITIALIZED, CANCELLED = -32002, -32800

message_ids = itertools.count(1_000_000)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(os.path.realpath(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="module")
def shared(home: Path) -> Iterator[Client]:
    """Return a server that the tests share: no input may end it."""
    names = ("XDG_CONFIG_HOME", "XDG_DATA_HOME")
    environment = {name: str(home / name.lower()) for name in names}
    client = Client(home, environment | {"SEGUE_DATABASE": str(home / "sessions.db")})
    client.initialize(rootUri=home.as_uri())
    yield client
    assert client.shutdown() == 0


class StalledClient(Client):
    """A client that reads no responses before `reading` is set."""

    def __init__(self, directory: Path) -> None:
        self.reading = threading.Event()
        super().__init__(directory)

    def _read(self) -> None:
        self.reading.wait()
        super()._read()


def user_message(content: str, id: str | None = None) -> Json:
    event = {"type": "user_message", "data": {"content": content}}
    return event if id is None else {"id": id} | event


def unknown_event(data: Json) -> Json:
    return {"type": "of_a_later_version", "data": data}


def open_new(client: Client) -> str:
    return str(client.request("session/open", {"mode": "new"})["session"]["sessionId"])


def append_params(session: str, *events: Json) -> Json:
    return {"sessionId": session, "events": list(events)}


def read(client: Client, session: str) -> list[Json]:
    events: list[Json] = []
    while True:
        after = events[-1]["seq"] if events else 0
        params = {"sessionId": session, "after": after, "limit": 1_000}
        page = client.request("session/events", params)
        events += page["events"]
        if not page["hasMore"]:
            return events


def assert_chain(events: list[Json]) -> None:
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    ids = [event["id"] for event in events]
    assert [event["parentId"] for event in events] == [None, *ids][: len(ids)]


def round_trip(client: Client, data: Json) -> Any:
    session = open_new(client)
    client.request("session/append", append_params(session, unknown_event(data)))
    (event,) = read(client, session)
    return event["data"]


def assert_still_serves(client: Client) -> None:
    assert client.request("session/list", {"limit": 1}).keys() == {"sessions", "nextCursor", "open"}


def send_raw(client: Client, body: bytes) -> None:
    client.write_bytes(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


# -- payloads ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        {"jsonrpc": "2.0"},
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x"}},
        {"jsonrpc": "2.0", "id": 1, "result": {}},
        {"jsonrpc": "2.0", "method": "exit"},
        {"a": [{"b": {"c": [[{"jsonrpc": "1.0", "id": None}]]}}]},
    ],
)
def test_a_nested_jsonrpc_key_is_payload(shared: Client, data: Json) -> None:
    assert round_trip(shared, data) == data
    session = open_new(shared)
    call = {"id": "1", "name": "mcp", "input": data}
    shared.request("session/append", append_params(session, {"type": "tool_call", "data": call}))
    assert read(shared, session)[0]["data"] == call


def test_keys_that_are_not_identifiers_are_kept(shared: Client) -> None:
    keys = ["class", "a-b", "type_name", "_x", "__class__", "1", "", " ", "é", "object", "self"]
    data = {key: {key: [{key: 1}]} for key in keys}

    assert round_trip(shared, data) == data


@pytest.mark.parametrize(
    "value",
    [
        10**4_299,
        -(10**4_299),
        2**53 + 1,
        -0.0,
        5e-324,
        1.7976931348623157e308,
        "\ud83d",
        "\udc00\ud83d",
        "a\x00b",
        "😀",
        "\x7f\x80\x85\u2028\ufeff",
        {"\ud83d": {"\x00": None}},
        {"0": False, "00": True},
        [[], {}, [[]], ""],
        1.0,
    ],
)
def test_every_json_value_survives_a_round_trip(shared: Client, value: Any) -> None:
    returned = round_trip(shared, {"value": value})["value"]

    assert json.dumps(returned) == json.dumps(value), "1, 1.0 and true differ"


def test_key_order_is_kept(shared: Client) -> None:
    data = {key: {"z": 1, "a": 2} for key in "qwertyuiop"}

    assert json.dumps(round_trip(shared, data)) == json.dumps(data)


def test_a_utf_8_body_is_accepted(shared: Client) -> None:
    session = open_new(shared)
    params = append_params(session, user_message("größe 😀"))
    msg_id = next(message_ids)
    message = {"jsonrpc": "2.0", "id": msg_id, "method": "session/append", "params": params}
    send_raw(shared, json.dumps(message, ensure_ascii=False).encode())

    shared.result(msg_id)
    assert read(shared, session)[0]["data"] == {"content": "größe 😀"}


# -- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "params", "errors"),
    [
        (
            "session/append",
            {
                "sessionId": "s",
                "events": [user_message("fine"), {"type": "tool_result", "data": {}}],
            },
            [
                ("$.events[1].data.tool_use_id", "is required"),
                ("$.events[1].data.content", "is required"),
                ("$.events[1].data.is_error", "is required"),
            ],
        ),
        (
            "session/append",
            {
                "sessionId": "s",
                "events": [
                    {"type": "text", "data": {"content": 1}},
                    {"type": "tool_call", "data": {"id": "1", "name": None, "input": 1}},
                ],
            },
            [
                ("$.events[0].data.content", "expected a string, got an integer"),
                ("$.events[1].data.name", "expected a string, got null"),
            ],
        ),
        (
            "session/append",
            {"sessionId": "s", "events": [{"type": "x", "data": []}]},
            [("$.events[0].data", "expected an object, got an array")],
        ),
        (
            "session/append",
            {"sessionId": "s", "events": [{"type": 1, "data": {}}, 7]},
            [
                ("$.events[0].type", "expected a string, got an integer"),
                ("$.events[1]", "expected an object, got an integer"),
            ],
        ),
        (
            "session/append",
            {"sessionId": "s", "events": [{"id": 1}]},
            [
                ("$.events[0].id", "expected a string, got an integer"),
                ("$.events[0].type", "is required"),
                ("$.events[0].data", "is required"),
            ],
        ),
        (
            "session/append",
            {"sessionId": "s", "events": {}},
            [("$.events", "expected an array, got an object")],
        ),
        (
            "session/append",
            {"sessionId": "s", "parentId": 1, "events": []},
            [("$.parentId", "expected a string, got an integer")],
        ),
        (
            "session/open",
            {"continueMinutes": "60"},
            [("$.continueMinutes", "expected a finite number, got a string")],
        ),
        (
            "session/open",
            {"continueMinutes": True, "sessionId": 5},
            [
                ("$.sessionId", "expected a string, got an integer"),
                ("$.continueMinutes", "expected a finite number, got a boolean"),
            ],
        ),
        (
            "session/list",
            {"archived": "false"},
            [("$.archived", "expected a boolean, got a string")],
        ),
        ("session/setServerSessionId", {"sessionId": "s"}, [("$.serverSessionId", "is required")]),
        ("session/close", "params", [("$", "expected an object, got a string")]),
        ("session/close", [1], [("$", "expected an object, got an array")]),
    ],
)
def test_invalid_params_are_answered_with_the_path_of_every_fault(
    shared: Client, method: str, params: Any, errors: list[tuple[str, str]]
) -> None:
    with pytest.raises(RequestError) as caught:
        shared.request(method, params)

    assert caught.value.code == INVALID_PARAMS
    assert caught.value.data == {
        "errors": [{"path": path, "message": message} for path, message in errors],
        "errorCount": len(errors),
    }


def test_an_unknown_method_is_refused(shared: Client) -> None:
    for method in ("session/nothing", "textDocument/hover", "workspace/executeCommand", ""):
        with pytest.raises(RequestError) as caught:
            shared.request(method, {})
        assert caught.value.code == METHOD_NOT_FOUND


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"jsonrpc":"2.0","id":7,"method"', PARSE_ERROR),
        (b"", PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":7,"method":"\xff\xfe"}', PARSE_ERROR),
        (b"[" * 100_000 + b"]" * 100_000, PARSE_ERROR),
        (b'{"id":7,"params":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001, PARSE_ERROR),
        (b'[{"jsonrpc":"2.0","id":7,"method":"session/list"}]', INVALID_REQUEST),
        (b"7", INVALID_REQUEST),
        (b"null", INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":null,"method":"session/list"}', INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":[7],"method":"session/list"}', INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":true,"method":"session/list"}', INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":NaN,"method":"session/list"}', INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1e999,"method":"session/list"}', INVALID_REQUEST),
        (
            b'{"jsonrpc":"2.0","id":%b,"method":"session/list"}' % (b"1" * 4_301),
            INVALID_REQUEST,
        ),
        (
            b'{"jsonrpc":"2.0","id":"%b","method":"session/list"}' % (b"i" * 1_025),
            INVALID_REQUEST,
        ),
    ],
)
def test_a_message_without_a_valid_id_is_answered_with_id_null(
    shared: Client, body: bytes, code: int
) -> None:
    send_raw(shared, body)

    answer = shared.answer(None)
    assert answer.keys() == {"jsonrpc", "id", "error"}
    assert answer["id"] is None
    assert answer["error"]["code"] == code
    assert_still_serves(shared)


@pytest.mark.parametrize(
    "sent",
    [
        b"Content-Length: ten\r\n\r\n",
        b"X-Other: 1\r\n\r\n",
        b"Content-Length: 100000000000\r\n\r\n",
        b"Content-Length: 2\r\nContent-Type: text/plain; charset=latin-1\r\n\r\n{}",
        b"x" * 20_000 + b"\n",
    ],
)
def test_a_malformed_frame_is_answered_with_id_null(shared: Client, sent: bytes) -> None:
    shared.write_bytes(sent)

    answer = shared.answer(None)
    assert answer["id"] is None
    assert answer["error"]["code"] == INVALID_REQUEST
    assert_still_serves(shared)


def test_a_frame_over_the_limit_is_answered_and_skipped(shared: Client) -> None:
    send_raw(shared, b"x" * (MAX_FRAME + 1))

    assert shared.answer(None)["error"]["code"] == INVALID_REQUEST
    assert_still_serves(shared)


def test_an_unusual_header_spelling_is_accepted(shared: Client) -> None:
    body = b'{"jsonrpc":"2.0","id":"spelling","method":"session/list"}'
    shared.write_bytes(b"X-More: 1\ncontent-length:%d\n\n%b" % (len(body), body))

    assert "sessions" in shared.result("spelling")


@pytest.mark.parametrize(
    "message",
    [
        {"id": "bad", "method": "session/list"},
        {"jsonrpc": "1.0", "id": "bad", "method": "session/list"},
        {"jsonrpc": "2.0", "id": "bad"},
        {"jsonrpc": "2.0", "id": "bad", "method": 7},
    ],
)
def test_an_invalid_request_is_answered_with_its_id(shared: Client, message: Json) -> None:
    shared.write(message)

    assert shared.answer("bad")["error"]["code"] == INVALID_REQUEST


def test_a_response_gets_no_response(shared: Client) -> None:
    shared.write({"jsonrpc": "2.0", "id": "answer", "result": None})
    shared.write({"jsonrpc": "2.0", "id": "answer", "error": {"code": 1, "message": "no"}})

    assert_still_serves(shared)
    assert not shared.is_answered("answer")


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e400", "1" * 5_000, "-" + "1" * 5_000]
)
@pytest.mark.parametrize(
    "event",
    [
        {"type": "of_a_later_version", "data": {"a": [["NUMBER"]]}},
        {"type": "tool_call", "data": {"id": "1", "name": "n", "input": "NUMBER"}},
    ],
)
def test_a_number_that_is_not_json_is_refused_with_the_request_id(
    shared: Client, number: str, event: Json
) -> None:
    session = open_new(shared)
    msg_id = next(message_ids)
    params = append_params(session, event)
    message = {"jsonrpc": "2.0", "id": msg_id, "method": "session/append", "params": params}
    send_raw(shared, json.dumps(message).replace('"NUMBER"', number).encode())

    error = shared.answer(msg_id)["error"]
    assert error["code"] == INVALID_PARAMS
    assert [fault["path"] for fault in error["data"]["errors"]] == ["$.events[0].data"]
    assert read(shared, session) == []


@pytest.mark.parametrize("number", ["NaN", "1e400", "1" * 5_000, "1" * 400])
def test_continue_minutes_must_be_finite(shared: Client, number: str) -> None:
    msg_id = next(message_ids)
    params = {"continueMinutes": "NUMBER"}
    message = {"jsonrpc": "2.0", "id": msg_id, "method": "session/open", "params": params}
    send_raw(shared, json.dumps(message).replace('"NUMBER"', number).encode())

    error = shared.answer(msg_id)["error"]
    assert error["code"] == INVALID_PARAMS
    assert [fault["path"] for fault in error["data"]["errors"]] == ["$.continueMinutes"]


@pytest.mark.parametrize("stored", [False, True])
def test_metadata_refuses_nan(shared: Client, stored: bool) -> None:
    session = open_new(shared)
    if stored:
        shared.request("session/append", append_params(session, user_message("one")))
    params = {"sessionId": session, "key": "k", "value": [float("nan")]}

    with pytest.raises(RequestError) as caught:
        shared.request("session/setMetadata", params)

    assert caught.value.code == INVALID_PARAMS
    assert caught.value.data["errors"][0]["path"] == "$.value"


@pytest.mark.parametrize("depth", [257, 500, 900])
def test_data_that_nests_too_deeply_is_refused_with_the_request_id(
    shared: Client, depth: int
) -> None:
    session = open_new(shared)
    deep: Any = 1
    for _ in range(depth):
        deep = [deep]

    with pytest.raises(RequestError) as caught:
        shared.request("session/append", append_params(session, unknown_event({"deep": deep})))

    assert caught.value.code == INVALID_PARAMS
    assert [fault["path"] for fault in caught.value.data["errors"]] == ["$.events[0].data"]
    assert read(shared, session) == []


@pytest.mark.parametrize(
    ("data", "readable"),
    [
        ('{"content":NaN}', False),
        ('{"content":-Infinity}', False),
        ('{"content":1e400}', False),
        ('{"content":%s}' % ("1" * 5_000), False),
        ("{", False),
        ("", False),
        ('"text"', True),
        ('{"content":%s}' % ("[" * 100_000 + "]" * 100_000), False),
        # At some of these depths Python decodes the value but cannot encode it.
        *(('{"content":%s}' % ("[" * depth + "]" * depth), None) for depth in range(900, 1_000, 7)),
    ],
)
def test_a_corrupt_row_blocks_no_read(
    shared: Client,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    data: str,
    readable: bool | None,
) -> None:
    monkeypatch.setattr(client_module, "ANSWER_TIMEOUT_S", 3.0)
    session = open_new(shared)
    shared.request(
        "session/append", append_params(session, user_message("one", "1"), user_message("two", "2"))
    )
    with contextlib.closing(driver.connect(str(home / "sessions.db"))) as db:
        db.execute(
            "UPDATE events SET data = ? WHERE seq = 1 AND session = "
            "(SELECT number FROM sessions WHERE id = ?)",
            (data, session),
        )

    first, second = shared.request("session/events", {"sessionId": session})["events"]

    assert (first["id"], first["seq"], first["type"]) == ("1", 1, "user_message")
    if readable is not None:
        assert first.get("corrupt", False) is not readable
    assert ("corrupt" in first) is (first["data"] == data), "as it is, and marked"
    assert second["data"] == {"content": "two"}


# -- the life cycle ----------------------------------------------------------------------------


@pytest.fixture
def raw(tmp_path: Path) -> Iterator[Client]:
    """Return a client of a server that is not initialized."""
    client = Client(tmp_path)
    yield client
    client.kill()


def test_a_request_before_initialize_is_refused(raw: Client) -> None:
    for method in ("session/open", "session/nothing", "shutdown"):
        with pytest.raises(RequestError) as caught:
            raw.request(method, {})
        assert caught.value.code == NOT_INITIALIZED

    raw.initialize()
    assert_still_serves(raw)


def test_initialize_with_invalid_params_is_answered_and_may_be_repeated(raw: Client) -> None:
    with pytest.raises(RequestError) as caught:
        raw.request("initialize", {"processId": "7"})

    assert caught.value.code == INVALID_PARAMS
    assert [fault["path"] for fault in caught.value.data["errors"]] == ["$.processId"]
    raw.initialize()
    assert_still_serves(raw)


def test_other_fields_of_initialize_are_ignored(raw: Client) -> None:
    capabilities = {"textDocument": {"x": [1]}, "general": {"positionEncodings": ["utf-8"]}}
    raw.initialize(
        processId=None,
        clientInfo={"name": "n", "version": 7},
        locale="de",
        trace="verbose",
        capabilities=capabilities,
        initializationOptions=[1],
        workDoneToken=1,
        workspaceFolders=None,
    )

    assert_still_serves(raw)


def test_no_text_document_capability_is_announced(raw: Client) -> None:
    capabilities = raw.initialize()["capabilities"]

    assert capabilities.keys() == {"workspace", "experimental"}
    assert "textDocumentSync" not in json.dumps(capabilities)


def test_a_second_initialize_is_refused(shared: Client) -> None:
    with pytest.raises(RequestError) as caught:
        shared.request("initialize", {"capabilities": {}})

    assert caught.value.code == INVALID_REQUEST
    assert_still_serves(shared)


def test_a_request_after_shutdown_is_refused(raw: Client) -> None:
    raw.initialize()
    session = open_new(raw)
    assert raw.request("shutdown") is None

    for method in ("session/append", "session/nothing", "shutdown"):
        with pytest.raises(RequestError) as caught:
            raw.request(method, append_params(session, user_message("late")))
        assert caught.value.code == INVALID_REQUEST


def test_a_request_pipelined_behind_shutdown_is_refused(raw: Client) -> None:
    raw.initialize()
    session = open_new(raw)
    messages = [
        {"jsonrpc": "2.0", "id": name, "method": method, "params": params}
        for name, method, params in (
            ("before", "session/append", append_params(session, user_message("in time"))),
            ("shutdown", "shutdown", None),
            ("after", "session/append", append_params(session, user_message("late"))),
        )
    ]
    bodies = [json.dumps(message).encode() for message in messages]
    # In one chunk: the result must not depend on when the server reads the next one.
    raw.write_bytes(b"".join(b"Content-Length: %d\r\n\r\n%b" % (len(b), b) for b in bodies))

    assert raw.result("before")["eventCount"] == 1
    assert raw.result("shutdown") is None
    assert raw.answer("after")["error"]["code"] == INVALID_REQUEST


def test_unknown_notifications_are_ignored(
    shared: Client, capfd: pytest.CaptureFixture[str]
) -> None:
    document = {"uri": "file:///x", "languageId": "x", "version": 1, "text": CANARY}
    for method, params in (
        ("textDocument/didOpen", {"textDocument": document}),
        ("textDocument/didChange", {"contentChanges": [{"text": CANARY}]}),
        ("workspace/didChangeConfiguration", {"settings": None}),
        ("workspace/didChangeWorkspaceFolders", {"event": CANARY}),
        ("workspace/didChangeWorkspaceFolders", None),
        ("$/setTrace", {"value": CANARY}),
        ("$/cancelRequest", {"id": {"a": CANARY}}),
        ("$/cancelRequest", [1]),
        ("$/progress", {"token": 1}),
        ("nothing", None),
        ("initialize", {}),
        ("shutdown", None),
    ):
        shared.notify(method, params)

    assert_still_serves(shared)
    assert not shared.is_answered(None)
    assert CANARY not in capfd.readouterr().err


def test_a_session_method_sent_as_a_notification_stores_nothing_and_is_logged_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    raw = Client(tmp_path)
    raw.initialize()
    session = open_new(raw)

    for _ in range(3):
        raw.notify("session/append", append_params(session, user_message("one")))
    raw.notify("session/list", {})

    assert read(raw, session) == []
    assert not raw.is_answered(None)
    assert raw.shutdown() == 0
    assert capfd.readouterr().err.splitlines() == [
        "segue: WARNING: session/append without an id is not executed: send it as a request",
        "segue: WARNING: session/list without an id is not executed: send it as a request",
    ]


@pytest.mark.parametrize("id", [1.0, 1.5, -0.5, 1e300, 0, -1, 2**63, 10**4_299, "", "1"])
def test_an_id_is_returned_as_it_was_sent(shared: Client, id: Any) -> None:
    shared.write({"jsonrpc": "2.0", "id": id, "method": "session/list"})

    answer = shared.answer(id)
    assert "sessions" in answer["result"]
    assert (answer["id"], type(answer["id"])) == (id, type(id))


def test_a_byte_order_mark_before_the_json_is_skipped(shared: Client) -> None:
    body = b"\xef\xbb\xbf" + json.dumps({"jsonrpc": "2.0", "id": "m", "method": "x"}).encode()
    send_raw(shared, body)

    assert shared.answer("m")["error"]["code"] == METHOD_NOT_FOUND


def test_a_byte_order_mark_before_the_first_header_is_skipped(raw: Client) -> None:
    raw.write_bytes(b"\xef\xbb\xbf")
    raw.initialize()

    assert_still_serves(raw)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_line_of_json_is_answered_though_the_client_then_waits(raw: Client, end: bytes) -> None:
    line = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}).encode()
    raw.write_bytes(line + end)

    error = raw.answer(None)["error"]
    assert error["code"] == INVALID_REQUEST
    assert "expected Content-Length headers" in error["message"]
    raw.write_bytes(b"\n" + line + b"\n")
    raw.initialize()
    assert not raw.is_answered(None), "it is said once"


def test_of_many_faults_the_first_are_reported_and_all_counted(shared: Client) -> None:
    events = [*5 * [{"type": "x", "data": {}}], *9_000 * [{"type": 1}]]
    with pytest.raises(RequestError) as refused:
        shared.request("session/append", {"sessionId": "s", "events": events})

    data = refused.value.data
    assert [fault["path"] for fault in data["errors"][:3]] == [
        "$.events[5].type",
        "$.events[5].data",
        "$.events[6].type",
    ]
    assert len(data["errors"]) == 100
    assert data["errorCount"] == 18_000
    assert refused.value.message.endswith("; and 17,900 more")
    assert len(refused.value.message) < 10_000


def test_too_many_events_are_refused_before_they_are_looked_at(shared: Client) -> None:
    params = {"sessionId": "s", "events": 10_001 * [{"type": 1}]}
    with pytest.raises(RequestError) as refused:
        shared.request("session/append", params)
    assert refused.value.data["errors"] == [
        {"path": "$.events", "message": "has 10,001 items; send at most 10,000 at once"}
    ]


# -- cancelling and pipelining -----------------------------------------------------------------


def test_pipelined_requests_take_effect_in_their_order(shared: Client) -> None:
    session = open_new(shared)
    sent = [
        shared.send("session/append", append_params(session, user_message(str(n), str(n))))
        for n in range(500)
    ]

    assert [shared.result(msg_id)["eventCount"] for msg_id in sent] == list(range(1, 501))
    stored = read(shared, session)
    assert [event["id"] for event in stored] == [str(n) for n in range(500)]
    assert_chain(stored)


def test_many_cancels_leave_no_gap_and_one_response_each(shared: Client) -> None:
    session = open_new(shared)
    sent: dict[int, str] = {}
    for n in range(300):
        params = append_params(
            session, user_message(f"{n}a", f"{n}a"), user_message(f"{n}b", f"{n}b")
        )
        sent[shared.send("session/append", params)] = str(n)
        shared.notify("$/cancelRequest", {"id": max(sent)})
        shared.notify("$/cancelRequest", {"id": 10_000_000 + n})

    kept = []
    for msg_id, name in sent.items():
        answer = shared.answer(msg_id)
        if "result" in answer:
            kept.append(name)
        else:
            assert answer["error"]["code"] == CANCELLED
    stored = read(shared, session)
    assert not any(shared.is_answered(msg_id) for msg_id in sent), "one response each"
    assert_chain(stored)
    order = [event["id"] for event in stored]
    names = [id[:-1] for id in order[::2]]
    assert order == [f"{name}{half}" for name in names for half in "ab"], "no half batches"
    assert names == sorted(names, key=int), "in the order in which they were sent"
    assert set(kept) <= set(names)
    assert shared.request("session/append", append_params(session, user_message("last")))[
        "eventCount"
    ] == (len(stored) + 1)


def test_an_append_cancelled_during_its_write_is_still_stored(
    start: StartClient, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = start()
    session = open_new(client)
    client.request("session/append", append_params(session, user_message("one")))
    with contextlib.closing(driver.connect(str(database))) as db:
        # The write waits for this lock when it is cancelled.
        db.execute("BEGIN IMMEDIATE")
        begun = client.send(
            "session/append", append_params(session, user_message("two"), user_message("three"))
        )
        behind = client.send("session/append", append_params(session, user_message("four")))
        monkeypatch.setattr(client_module, "ANSWER_TIMEOUT_S", 0.3)
        with pytest.raises(TimeoutError):
            client.answer(begun)
        monkeypatch.setattr(client_module, "ANSWER_TIMEOUT_S", 30.0)
        client.notify("$/cancelRequest", {"id": begun})
        assert client.answer(begun)["error"]["code"] == CANCELLED
        db.execute("ROLLBACK")

    assert client.result(behind)["eventCount"] == 4
    stored = read(client, session)
    assert [event["data"]["content"] for event in stored] == ["one", "two", "three", "four"]
    assert_chain(stored)


def test_cancels_of_unknown_requests_are_cheap(shared: Client) -> None:
    began = time.monotonic()
    for n in range(20_000):
        shared.notify("$/cancelRequest", {"id": 20_000_000 + n})

    assert_still_serves(shared)
    assert time.monotonic() - began < 5


def test_a_cancel_of_true_does_not_cancel_request_1(raw: Client) -> None:
    raw.initialize()
    session = open_new(raw)
    first = {"jsonrpc": "2.0", "id": 1, "method": "session/append"}
    cancel = {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": True}}
    bodies = [
        json.dumps(message).encode()
        for message in (first | {"params": append_params(session, user_message("one"))}, cancel)
    ]
    raw.write_bytes(b"".join(b"Content-Length: %d\r\n\r\n%b" % (len(b), b) for b in bodies))

    assert raw.result(1)["eventCount"] == 1


# -- a client that does not read ---------------------------------------------------------------


@pytest.fixture
def stalled(start: StartClient, repository: Path) -> Iterator[tuple[StalledClient, Client, str]]:
    """Return a client that does not read yet, one that does, and a session open in both."""
    other = start()
    session = open_new(other)
    events = [user_message(f"{n}" + "x" * 1_000_000) for n in range(4)]
    other.request("session/append", append_params(session, *events))
    client = StalledClient(repository)
    for method, params in (
        ("initialize", {"processId": os.getpid(), "rootUri": repository.as_uri()}),
        ("session/open", {"sessionId": session, "tail": 0}),
    ):
        client.send(method, params)
    yield client, other, session
    client.reading.set()
    client.kill()


def count(client: Client, session: str) -> int:
    opened = client.request("session/open", {"sessionId": session, "tail": 0})
    return int(opened["session"]["eventCount"])


def test_a_client_that_does_not_read_blocks_no_append(
    stalled: tuple[StalledClient, Client, str],
) -> None:
    client, other, session = stalled
    unread = [client.send("session/events", {"sessionId": session, "before": 2}) for _ in range(30)]

    client.send("session/append", append_params(session, user_message("after all those")))

    # Four events, the boundary and this one.
    wait_until(lambda: count(other, session) == 6)
    client.reading.set()
    assert all(len(client.result(msg_id)["events"]) == 1 for msg_id in unread)


def test_a_client_that_reads_again_ends_the_backpressure(
    stalled: tuple[StalledClient, Client, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, other, session = stalled
    unread = [client.send("session/events", {"sessionId": session}) for _ in range(12)]
    last = client.send(
        "session/append", append_params(session, user_message("after 46 MiB of answers"))
    )
    wait_until(lambda: count(other, session) == 6)
    # Whatever the server still reads now, it reads above its high-water mark.
    later = [client.send("session/list", {"limit": 1}) for _ in range(3)]

    client.reading.set()

    assert all(len(client.result(msg_id)["events"]) == 4 for msg_id in unread)
    assert client.result(last)["eventCount"] == 6
    monkeypatch.setattr(client_module, "ANSWER_TIMEOUT_S", 5.0)
    for msg_id in later:
        assert "sessions" in client.result(msg_id)
    assert_still_serves(client)


# -- output and disclosure ---------------------------------------------------------------------

STRAY = """
import os, subprocess, sys
from segue.sessions.window import Window
append = Window.append
async def noisy(self, *args):
    print("stray: print", flush=True)
    sys.__stdout__.write("stray: the first stdout")
    sys.__stdout__.flush()
    os.write(1, b"stray: descriptor 1")
    subprocess.run(["echo", "stray: a child process"], check=True)
    assert sys.stdin is None or sys.stdin.read() == "", "the protocol's input is not for others"
    return await append(self, *args)
Window.append = noisy
from segue.startup.compose import serve
sys.exit(serve([]))
"""


def test_stray_output_goes_to_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    client = Client(tmp_path, command=[sys.executable, "-c", STRAY])
    client.initialize()
    session = open_new(client)

    for n in range(3):
        result = client.request("session/append", append_params(session, user_message(str(n))))
        assert result["eventCount"] == n + 1
    assert client.shutdown() == 0

    stderr = capfd.readouterr().err
    for what in ("print", "the first stdout", "descriptor 1", "a child process"):
        assert stderr.count(f"stray: {what}") == 3


def assert_nothing_leaked(output: str) -> None:
    assert CANARY not in output
    assert "Traceback" not in output
    assert 'File "' not in output
    for path in (os.path.dirname(segue.__file__), "site-packages", sys.prefix):
        assert path not in output


LEAKS: list[tuple[str, Json]] = [
    ("session/append", {"events": [user_message(f"other {CANARY}", "1")]}),
    ("session/append", {"events": [user_message("one", "1"), user_message(CANARY, "1")]}),
    ("session/append", {"events": [{"type": "text", "data": {"content": [CANARY]}}]}),
    ("session/append", {"events": [{"type": "text", "data": CANARY}]}),
    ("session/append", {"events": [unknown_event({"a": float("nan"), "b": CANARY})]}),
    ("session/append", {"events": [CANARY]}),
    ("session/append", {"events": CANARY}),
    ("session/append", {"parentId": "unknown", "events": [user_message(CANARY)]}),
    ("session/setMetadata", {"key": CANARY * 10, "value": CANARY}),
    ("session/setMetadata", {"key": "k", "value": [CANARY, float("inf")]}),
    ("session/open", {"mode": CANARY}),
]


@pytest.mark.parametrize("level", ["warning", "debug"])
def test_errors_and_logs_contain_no_conversation_text(
    start: StartClient, database: Path, capfd: pytest.CaptureFixture[str], level: str
) -> None:
    client = start(SEGUE_LOG=level)
    session = open_new(client)
    client.request("session/append", append_params(session, user_message(f"one {CANARY}", "1")))
    key = {"sessionId": session, "key": "k"}
    client.request("session/setMetadata", key | {"value": CANARY})
    assert CANARY in json.dumps(client.request("session/open", {"sessionId": session}))
    assert client.request("session/getMetadata", key) == {"value": CANARY}

    for method, params in LEAKS:
        answer = client.answer(client.send(method, {"sessionId": session} | params))
        assert_nothing_leaked(json.dumps(answer["error"]))
    for body in (b'{"jsonrpc":"2.0","a":"%b"', b'"%b"', b'{"id":null,"a":"%b"}', b'\xff"%b"'):
        send_raw(client, body % CANARY.encode())
        assert_nothing_leaked(json.dumps(client.answer(None)["error"]))
    with contextlib.closing(driver.connect(str(database))) as db:
        db.execute(
            "CREATE TRIGGER broken BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'broken'); END"
        )
    broken = client.answer(
        client.send("session/append", append_params(session, user_message(CANARY)))
    )
    assert broken["error"]["data"]["kind"] == "StorageUnavailable"
    assert_nothing_leaked(json.dumps(broken))
    assert client.shutdown() == 0

    assert_nothing_leaked(capfd.readouterr().err)


BROKEN = f"""
import sys
from segue.sessions.window import Window
async def broken(self, *args):
    raise ValueError("{CANARY}")
Window.append = broken
from segue.startup.compose import serve
sys.exit(serve([]))
"""


@pytest.mark.parametrize("level", ["warning", "debug"])
def test_an_internal_error_discloses_only_its_type(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], level: str
) -> None:
    client = Client(tmp_path, {"SEGUE_LOG": level}, [sys.executable, "-c", BROKEN])
    client.initialize()
    session = open_new(client)

    answer = client.answer(
        client.send("session/append", append_params(session, user_message(CANARY)))
    )

    assert answer["error"] == {
        "code": INTERNAL_ERROR,
        "message": "Internal Error: ValueError, a fault of the server: see its log, and report it",
    }
    assert_still_serves(client)
    assert client.shutdown() == 0
    stderr = capfd.readouterr().err
    assert "ValueError" in stderr
    assert_nothing_leaked(stderr)


def test_the_error_of_a_cancelled_request_is_not_logged(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    client = Client(tmp_path, {"SEGUE_LOG": "error"}, [sys.executable, "-c", BROKEN])
    client.initialize()
    session = open_new(client)
    for _ in range(5):
        begun = client.send("session/append", append_params(session, user_message(CANARY)))
        client.notify("$/cancelRequest", {"id": begun})
        assert client.answer(begun)["error"]["code"] in (CANCELLED, INTERNAL_ERROR)

    assert_still_serves(client)
    assert client.shutdown() == 0
    stderr = capfd.readouterr().err
    assert "never retrieved" not in stderr
    assert_nothing_leaked(stderr)


def test_an_invalid_database_file_fails_each_request_and_is_left_alone(
    start: StartClient, database: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    database.parent.mkdir()
    database.write_bytes(CANARY.encode() * 1_000)
    client = start()

    for _ in range(2):
        answer = client.answer(client.send("session/open", {}))
        assert answer["error"]["data"]["kind"] == "StorageCorrupt"
        assert_nothing_leaked(json.dumps(answer))
    assert client.shutdown() == 0
    assert database.read_bytes() == CANARY.encode() * 1_000, "it was left unchanged"
    assert_nothing_leaked(capfd.readouterr().err)


@pytest.mark.skipif(not os.path.isdir("/proc/self/net"), reason="needs /proc")
def test_there_is_no_listening_socket(start: StartClient) -> None:
    client = start()
    session = open_new(client)
    client.request("session/append", append_params(session, user_message("one")))

    process = Path("/proc", str(client.process.pid))
    links = [os.readlink(link) for link in (process / "fd").iterdir()]
    own = {match[1] for link in links if (match := re.fullmatch(r"socket:\[(\d+)\]", link))}
    for table in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        if (process / "net" / table).exists():
            lines = (process / "net" / table).read_text().splitlines()[1:]
            assert not own & {line.split()[9] for line in lines}
    accepting = 0x10000
    for line in (process / "net" / "unix").read_text().splitlines()[1:]:
        fields = line.split()
        assert fields[6] not in own or not int(fields[3], 16) & accepting
