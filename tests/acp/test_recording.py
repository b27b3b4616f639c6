import copy
import json
from typing import Any
from unittest.mock import ANY

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segue.acp.message_pieces import MAX_PIECE
from segue.acp.recording import MAX_UNKNOWN, Recorder, read_replay
from segue.acp.sizes import MAX_BLOB, MAX_EVENT
from segue.model.events import Event
from segue.redaction.engine import mask
from tests.acp.agents import (
    CLAUDE,
    CLAUDE_REPLAY,
    CODEX,
    GEMINI,
    OPENCODE,
    Update,
    as_content,
    chunk,
    contents,
    more,
    prompt,
    said,
    thought,
    told,
    turn,
)

KEY = "-----BEGIN RSA PRIVATE KEY-----\n{}-----END RSA PRIVATE KEY-----\n"


def types(events: list[tuple[str, Any]]) -> list[str]:
    return [type for type, _ in events]


def of_type(events: list[tuple[str, Any]], wanted: str) -> list[Any]:
    return [data for type, data in events if type == wanted]


def test_a_turn_of_claude_is_its_prompt_its_texts_its_calls_and_its_end() -> None:
    events = turn(CLAUDE)
    assert types(events) == [
        "user_message", "thinking", "text", "tool_call", "tool_result", "tool_call",
        "tool_result", "text", "turn_end",
    ]  # fmt: skip
    assert events[1] == ("thinking", {"content": "The user wants a listing."})
    assert events[2] == ("text", {"content": "I'll run it.", "message": "msg_1"})
    assert events[8] == (
        "turn_end",
        {"stop_reason": "end_turn", "context": {"used": 10, "size": 200_000}},
    )


def test_an_input_that_is_filled_later_is_recorded_whole_under_the_tools_own_name() -> None:
    first, second = of_type(turn(CLAUDE), "tool_call")
    assert (first["name"], first["input"]) == ("Bash", {"command": "ls"})
    assert (second["name"], second["input"]) == ("Edit", {"file_path": "/a.py"})
    assert second["acp"]["locations"] == [{"path": "/a.py"}]


def test_a_call_that_is_told_to_run_three_times_is_one_call_and_one_result() -> None:
    events = turn(OPENCODE)
    assert types(events)[1:-1] == ["text", "tool_call", "tool_result", "text"]
    (call,), (result,) = of_type(events, "tool_call"), of_type(events, "tool_result")
    assert call["input"] == {"command": "echo hi", "description": "Says hi"}
    assert (result["content"], result["is_error"]) == ("hi\n", False)
    assert result["acp"]["title"] == "Says hi"
    assert result["acp"]["rawOutput"] == {"output": "hi\n", "metadata": {"exit": 0}}


def test_a_call_without_input_and_a_result_without_output_are_recorded_without() -> None:
    events = turn(GEMINI)
    (call,), (result,) = of_type(events, "tool_call"), of_type(events, "tool_result")
    assert (call["name"], call["input"], call["acp"]["title"]) == ("execute", None, "ls -l")
    assert result["content"] == ""


def test_output_that_is_told_in_meta_only_is_the_content_of_the_result() -> None:
    events = turn(CODEX)
    (result,) = of_type(events, "tool_result")
    assert result["content"] == "one\ntwo\n"
    assert types(events)[1:-1] == ["text", "tool_call", "tool_result", "text"]


@pytest.mark.parametrize(
    ("fields", "content"),
    [
        ({"content": [as_content("a"), as_content("b")], "rawOutput": "c"}, "a\nb"),
        ({"rawOutput": "c"}, "c"),
        ({"rawOutput": {"stdout": "s", "exit_code": 0}}, "s"),
        ({"rawOutput": {"exit_code": 0}}, '{"exit_code": 0}'),
        ({"rawOutput": [{"type": "text", "text": "t"}]}, "t"),
        ({"content": [{"type": "terminal", "terminalId": "t1"}], "rawOutput": "c"}, "printed"),
        ({"content": [{"type": "diff", "path": "/a", "newText": "x"}]}, "[diff of /a]"),
        ({"content": [{"type": "content", "content": {"type": "image"}}]}, "[image]"),
        ({}, ""),
    ],
)
def test_the_content_of_a_result_is_the_best_text_that_there_is(
    fields: dict[str, Any], content: str
) -> None:
    recorder = Recorder()
    recorder.terminal_output({"terminalId": "t1"}, {"output": "printed", "truncated": False})
    events = recorder.update(told("c", status="completed", **fields), 0)
    assert said(events)[1][1]["content"] == content


def test_a_prompt_keeps_its_blocks_unless_it_is_only_text() -> None:
    link = {"type": "resource_link", "uri": "file:///a.py", "name": "a.py"}
    image = {"type": "image", "data": "aGk=", "mimeType": "image/png"}
    (event,) = said(Recorder().prompt(prompt("Look at ", link, " and ", image)))
    assert event[1]["content"] == "Look at [a.py](file:///a.py) and [image image/png]"
    assert len(event[1]["acp"]["prompt"]) == 4
    (event,) = said(Recorder().prompt(prompt("one", "two")))
    assert event == ("user_message", {"content": "one\ntwo"})


def test_calls_are_recorded_in_the_order_in_which_they_were_told() -> None:
    recorder = Recorder()
    recorder.update(told("a", rawInput=1), 0)
    recorder.update(told("b", rawInput=2), 0)
    events = said(recorder.update(more("b", status="completed"), 0))
    assert [data.get("id", data.get("tool_use_id")) for _, data in events] == ["a", "b", "b"]


def test_a_permission_tells_how_a_call_is_called_and_not_what_its_input_is() -> None:
    recorder = Recorder()
    given = {"command": "ls", "description": "Lists"}
    places = [{"path": "/a"}]
    recorder.update(told("c", title="Shell", kind="execute", rawInput=given, locations=places), 0)
    asked = {"toolCallId": "c", "title": "Shell: ls", "rawInput": {"command": "ls"}}
    ((_, data),) = said(recorder.permission_request({"toolCall": {**asked, "locations": []}}))
    assert data["input"] == given
    assert data["acp"] == {"title": "Shell: ls", "kind": "execute", "locations": places}


def test_a_permission_is_asked_after_its_call_is_recorded_and_kept_with_its_answer() -> None:
    recorder = Recorder()
    recorder.update(chunk("May I?"), 0)
    options = [{"optionId": "yes", "name": "Yes", "kind": "allow_once"}]
    params = {"toolCall": {"toolCallId": "t", "title": "rm", "rawInput": {}}, "options": options}
    asked = said(recorder.permission_request(params))
    assert types(asked) == ["text", "tool_call"]
    answer = {"outcome": {"outcome": "selected", "optionId": "yes"}}
    assert said(recorder.permission(params, answer)) == [
        (
            "permission",
            {"tool_use_id": "t", "options": options, "outcome": "selected", "option": "yes"},
        )
    ]
    assert said(recorder.permission(params, None))[0][1]["outcome"] == "error"


def test_the_last_plan_of_a_turn_is_recorded_at_its_end() -> None:
    plans: list[Update] = [
        {"sessionUpdate": "plan", "entries": [{"content": text}]} for text in ("a", "b")
    ]
    events = turn([*plans, chunk("x")])
    assert types(events) == ["user_message", "text", "plan", "turn_end"]
    assert events[2][1] == {"entries": [{"content": "b"}]}


def test_a_call_without_a_result_gets_none() -> None:
    assert types(turn([told("t", status="in_progress")])) == [
        "user_message", "tool_call", "turn_end",
    ]  # fmt: skip


def test_an_error_ends_a_turn_and_is_told() -> None:
    events = said(Recorder().turn_end(None, {"code": -32603, "message": "overloaded"}))
    assert events[0][1]["stop_reason"] == "error"
    assert events[0][1]["error"] == "overloaded"
    assert said(Recorder().turn_end(None))[0][1] == {"stop_reason": "unknown"}


def test_what_was_said_before_an_interruption_is_kept_without_an_end() -> None:
    recorder = Recorder()
    recorder.prompt(prompt("x"))
    recorder.update(chunk("half"), 0)
    recorder.update(told("t"), 0)
    assert types(said(recorder.flush())) == ["tool_call"]
    assert recorder.flush() == []


def test_the_users_message_is_taken_from_the_agent_only_outside_of_a_prompt() -> None:
    recorder = Recorder()
    recorder.prompt(prompt("x"))
    assert recorder.update(chunk("x", kind="user_message_chunk"), 0) == []
    assert types(said(recorder.turn_end({"stopReason": "end_turn"}))) == ["turn_end"]
    recorder.update(chunk("mor", kind="user_message_chunk"), 0)
    recorder.update(chunk("e", kind="user_message_chunk"), 0)
    events = said(recorder.update(chunk("ok"), 0) + recorder.flush())
    assert events == [
        ("user_message", {"content": "more", "acp": {"by": "agent"}}),
        ("text", {"content": "ok"}),
    ]


def test_a_message_of_another_id_or_kind_is_another_event_and_state_is_none() -> None:
    usage = {"sessionUpdate": "usage_update", "used": 1}
    updates = [chunk("a", "1"), usage, chunk("b", "1"), chunk("c", "2"), thought("d"), chunk("e")]
    assert turn(updates)[1:-1] == [
        ("text", {"content": "ab", "message": "1"}),
        ("text", {"content": "c", "message": "2"}),
        ("thinking", {"content": "d"}),
        ("text", {"content": "e"}),
    ]


def test_the_title_is_kept_for_the_caller() -> None:
    recorder = Recorder()
    assert recorder.update({"sessionUpdate": "session_info_update", "title": "T"}, 0) == []
    assert recorder.title == "T"


def test_unknown_updates_are_kept_so_many_and_so_large_a_turn() -> None:
    recorder = Recorder()
    notice = {"sessionUpdate": "notice", "text": "hello"}
    assert said(recorder.update(notice, 0)) == [("acp/notice", notice)]
    large = said(recorder.update({"sessionUpdate": "_x/y", "z": "z" * 70_000}, 0))
    assert large[0][0] == "acp/_x/y"
    assert large[0][1].keys() == {"omitted", "sha256"}
    kept = [event for _ in range(MAX_UNKNOWN) for event in recorder.update(notice, 0)]
    assert (len(kept), recorder.refused) == (MAX_UNKNOWN - 2, 2)
    recorder.prompt(prompt("x"))
    assert len(recorder.update(notice, 0)) == 1


def test_what_follows_a_result_is_kept_beside_it() -> None:
    recorder = Recorder()
    recorder.update(told("t", status="completed"), 0)
    assert recorder.update(more("t", status="completed", _meta={"a": 1}), 0) == []
    assert types(said(recorder.update(more("t", rawOutput="late"), 0))) == ["acp/tool_call_update"]


def test_a_message_is_given_out_after_two_seconds_as_far_as_its_lines_are_complete() -> None:
    recorder = Recorder()
    assert recorder.next_due is None
    recorder.update(chunk("one "), 10.0)
    assert recorder.next_due is None
    recorder.update(chunk("line\nand"), 10.5)
    assert recorder.next_due == 12.0
    assert recorder.due(11.9) == []
    first = recorder.due(12.0)
    assert contents(first) == "one line\n"
    assert recorder.next_due is None
    recorder.update(chunk(" more\n"), 12.1)
    assert recorder.next_due == 12.5, "its beginning came with the end of the line before"
    second = recorder.due(12.5)
    third = recorder.update(chunk("end"), 13) + recorder.flush()
    assert contents(first + second + third) == "one line\nand more\nend"
    ids = {event.data["message"] for event in first + second + third}
    assert len(ids) == 1


def test_a_message_is_given_out_in_pieces_of_64_kib() -> None:
    recorder = Recorder()
    text = "".join(f"line {number}\n" for number in range(100_000))
    events = recorder.update(chunk(text, "m"), 0) + recorder.flush()
    assert contents(events) == text
    assert max(len(event.data["content"]) for event in events) <= MAX_PIECE
    assert all(event.data["content"].endswith("\n") for event in events)
    assert {event.data["message"] for event in events} == {"m"}


@pytest.mark.parametrize("before", range(0, 70_000, 3_001))
def test_no_piece_ends_inside_of_a_key(before: int) -> None:
    recorder = Recorder()
    key = KEY.format("".join(f"MIIE{n:060}\n" for n in range(50)))
    text = "x\n" * (before // 2) + "key: " + key + "y\n" * 40_000
    events: list[Event] = []
    for at in range(0, len(text), 997):
        events += recorder.update(chunk(text[at : at + 997]), at / 1_000)
        events += recorder.due(at / 1_000)
    events += recorder.flush()
    assert contents(events) == text
    assert len(events) > 2
    assert [key in event.data["content"] for event in events].count(True) == 1


def test_a_key_that_never_ends_is_held_back_for_so_long_only() -> None:
    recorder = Recorder()
    events: list[Event] = []
    for number in range(1_000):
        line = KEY.partition("\n")[0] if number == 3 else 100 * "x"
        events += recorder.update(chunk(f"{line}\n"), number) + recorder.due(number)
        assert recorder.next_due is None or recorder.next_due > number
    assert len(contents(events)) > 60_000


def test_a_secret_that_came_in_chunks_is_masked_as_a_whole() -> None:
    recorder = Recorder()
    token = "ghp_" + "1234567890abcdefghijABCDEFGHIJklmnop"[:36]
    for at in range(0, len(token), 3):
        recorder.update(chunk(token[at : at + 3]), float(at))
        assert recorder.due(float(at)) == []
    (event,) = recorder.flush()
    masked = mask(event.data, event.json_text)
    assert token not in json.dumps(masked)


def test_large_blobs_are_left_out_and_told_by_their_hash() -> None:
    image = {"type": "image", "data": "A" * (MAX_BLOB + 1), "mimeType": "image/png"}
    ((_, data),) = said(Recorder().prompt(prompt(image)))
    assert data["content"] == "[image image/png]"
    assert data["acp"]["prompt"][0]["data"]["omitted"] == MAX_BLOB + 1
    events = said(Recorder().update(told("t", status="completed", rawOutput=[{"data": image}]), 0))
    assert len(json.dumps(events)) < 2_000


@pytest.mark.parametrize("text", ["x" * 3_000_000, "ü" * 3_000_000, "a\n" * 1_500_000])
def test_no_event_is_larger_than_a_mebibyte(text: str) -> None:
    recorder = Recorder()
    events = recorder.prompt(prompt(text, {"type": "resource", "resource": {"text": text}}))
    events += recorder.update(told("t", rawInput={"content": text}, title="T"), 0)
    events += recorder.update(
        more("t", status="completed", content=[as_content(text)], rawOutput=text), 0
    )
    events += recorder.update({"sessionUpdate": "plan", "entries": [text] * 9}, 0)
    events += recorder.turn_end({"usage": [[text]]}, {"message": text, "data": text})
    assert [len(event.json_text) for event in events if len(event.json_text) > MAX_EVENT] == []
    assert types(said(events)) == ["user_message", "tool_call", "tool_result", "plan", "turn_end"]
    result = events[2].data
    assert result["content_length"] == len(text)
    assert text.startswith(result["content"])
    assert len(result["content"]) > 80_000
    assert recorder.refused == 0


def test_an_event_of_very_many_values_fits_too() -> None:
    values = [{"number": number} for number in range(60_000)]
    events = Recorder().update(told("t", status="completed", rawInput=values, rawOutput=values), 0)
    assert [len(event.json_text) < MAX_EVENT for event in events] == [True, True]


def test_what_cannot_be_stored_is_counted_and_the_rest_of_it_kept() -> None:
    recorder = Recorder()
    deep: Any = 1
    for _ in range(5_000):
        deep = [deep]
    assert recorder.update({"sessionUpdate": "x", "deep": deep}, 0) == []
    assert said(recorder.update(chunk("x", kind="user_message_chunk") | {"deep": deep}, 0)) == []
    assert said(recorder.update(chunk("y") | {"content": {"type": "image", "x": deep}}, 0)) == [
        ("user_message", {"content": "x", "acp": {"by": "agent"}}),
        ("text", {"content": "[image]", "message": ANY}),
    ]
    events = recorder.prompt(prompt("hello", {"type": "image", "x": deep}))
    events += recorder.update(told("t", status="completed", rawInput=float("nan")), 0)
    events += recorder.turn_end({"usage": deep})
    assert said(events)[0] == ("user_message", {"content": "hello"})
    assert types(said(events))[1:] == ["tool_call", "tool_result", "turn_end"]
    assert recorder.refused == 6


def test_a_replay_is_read_as_the_conversation_that_was_had() -> None:
    live = [(type, data) for type, data in turn(CLAUDE) if type != "turn_end"]
    read = read_replay(CLAUDE_REPLAY)
    assert [type for type, _ in read] == types(live)
    assert read[0] == ("user_message", {"content": "Do it"})
    assert [data["content"] for type, data in read if type == "tool_result"] == [
        data["content"] for data in of_type(live, "tool_result")
    ]


def test_messages_of_the_user_in_a_replay_are_told_apart_by_their_ids() -> None:
    chunks = [chunk("a", "1"), chunk("b", "2"), chunk("c", "2")]
    updates = [each | {"sessionUpdate": "user_message_chunk"} for each in chunks]
    assert [data["content"] for _, data in read_replay(updates)] == ["a", "bc"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    if isinstance(value, dict | list):
        keys = value if isinstance(value, dict) else range(len(value))
        found += [place for key in keys for place in places(value[key], (*path, key))]
    return found


def with_value(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    if not path:
        return other
    changed = copy.copy(value)
    changed[path[0]] = with_value(value[path[0]], path[1:], other)
    return changed


PERMISSION = {"toolCall": {"toolCallId": "t", "title": "x"}, "options": [{"optionId": "a"}]}
CALLS: list[tuple[str, tuple[Any, ...]]] = [
    ("prompt", (prompt("a", {"type": "resource", "resource": {"uri": "u", "text": "t"}}),)),
    *(("update", (each, 0.0)) for each in (*CLAUDE, *OPENCODE, *CODEX, *CLAUDE_REPLAY)),
    ("permission_request", (PERMISSION,)),
    ("permission", (PERMISSION, {"outcome": {"outcome": "selected", "optionId": "a"}})),
    ("terminal_output", ({"terminalId": "call_9"}, {"output": "x"})),
    ("turn_end", ({"stopReason": "end_turn", "usage": {"totalTokens": 1}}, None)),
    ("turn_end", (None, {"code": 1, "message": "m"})),
]


ODD: list[Any] = [None, 5, 1.5, True, "x", "", "\ud83d", [], [1], {}, {"type": "text"}, [["x"]]]


@pytest.mark.parametrize(("method", "arguments"), CALLS)
def test_an_odd_value_at_any_place_never_raises(method: str, arguments: tuple[Any, ...]) -> None:
    for place in places(arguments[0]):
        for odd in ODD:
            recorder = Recorder()
            mutated = (with_value(arguments[0], place, odd), *arguments[1:])
            events = getattr(recorder, method)(*mutated) or []
            events += getattr(recorder, method)(*arguments) or []
            events += recorder.update(more("toolu_1", status="completed"), 0.0)
            events += recorder.flush()
            assert method != "turn_end" or types(said(events)).count("turn_end") == 2
            assert recorder.refused <= 1


@settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_json_at_any_place_never_raises(data: st.DataObject) -> None:
    recorder = Recorder()
    events: list[Event] = []
    for _ in range(data.draw(st.integers(1, 8))):
        method, arguments = data.draw(st.sampled_from(CALLS))
        given = list(arguments)
        which = data.draw(st.integers(0, len(given) - 1)) if method != "update" else 0
        place = data.draw(st.sampled_from(places(given[which])))
        given[which] = with_value(given[which], place, data.draw(json_values))
        events += getattr(recorder, method)(*given) or []
    events += recorder.due(1e9) + recorder.flush()
    for event in events:
        assert json.loads(event.json_text) == event.data


@given(
    st.lists(st.tuples(st.text(), st.sampled_from([None, "1", "2"]), st.floats(0, 9)), max_size=20)
)
def test_texts_that_are_recorded_in_pieces_are_joined_what_was_sent(
    chunks: list[tuple[str, str | None, float]],
) -> None:
    recorder = Recorder()
    events: list[Event] = []
    time = 0.0
    for text, id, wait in chunks:
        time += wait
        events += recorder.due(time) + recorder.update(chunk(text, id), time)
    events += recorder.flush()
    assert contents(events) == "".join(text for text, _, _ in chunks)
    assert all(event.data["content"] for event in events)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 40_000), max_size=30), st.sampled_from(["x", "x ", "line\n", "ü"]))
def test_long_texts_are_joined_what_was_sent(sizes: list[int], unit: str) -> None:
    recorder = Recorder()
    texts = [unit * (size // len(unit)) for size in sizes]
    events = [event for text in texts for event in recorder.update(chunk(text), 0)]
    events += recorder.flush()
    assert contents(events) == "".join(texts)
    assert all(0 < len(event.data["content"]) <= MAX_PIECE for event in events)
