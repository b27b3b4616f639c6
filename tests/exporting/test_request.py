"""`session/export` on a real server: pages that joined are the file."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from segue.cli.client import Client
from segue.exporting import FORMATS
from segue.model.records import MAX_PAGE_BYTES
from tests.cli.helpers import run
from tests.conftest import StartClient
from tests.exporting.conversations import ORDINARY, hostile

SMALL_PAGES = """
import sys, segue.model.records
segue.model.records.MAX_PAGE_BYTES = 700
import segue.sessions.exporting
segue.sessions.exporting._PIECE = 50
segue.sessions.exporting.MAX_PAGE = 3
from segue.startup.compose import serve
sys.exit(serve([]))
"""
"""A server whose pages have 700 bytes, and that reads three events at a time."""


def store(client: Client, events: list[tuple[str, Any]]) -> str:
    """Store a session, without the events that no client can send, and return its id."""
    session_id = str(client.request("session/open", {"mode": "new"})["session"]["sessionId"])
    sent = [
        {"type": type[:100] or "none", "data": data}
        for type, data in events
        if isinstance(data, dict) and type.isprintable()
    ]
    client.request("session/append", {"sessionId": session_id, "events": sent})
    return session_id


def pages(client: Client, session_id: str, format: str) -> list[dict[str, Any]]:
    """Return all pages of an export."""
    params = {"sessionId": session_id, "format": format}
    found = [client.request("session/export", params)]
    while found[-1]["nextCursor"] is not None:
        cursor = found[-1]["nextCursor"]
        found.append(client.request("session/export", params | {"cursor": cursor}))
    return found


def joined(found: list[dict[str, Any]]) -> str:
    return "".join(page["content"] for page in found)


@pytest.mark.parametrize("format", FORMATS)
def test_the_pages_are_the_file_of_the_command(start: StartClient, format: str) -> None:
    client = start()
    large = "<line> of ü output\n" * 600_000
    events = [*ORDINARY, *hostile()[:100], ("tool_result", {
        "tool_use_id": "t1", "content": large, "is_error": False,
    }), *ORDINARY]  # fmt: skip
    session_id = store(client, events)
    found = pages(client, session_id, format)
    assert len(found) > 2
    assert all(len(json.dumps(page["content"])) <= MAX_PAGE_BYTES + 100 for page in found)
    assert {page["mediaType"] for page in found} == {
        {"markdown": "text/markdown", "jsonl": "application/jsonl", "html": "text/html"}[format]
    }
    assert joined(found) == run("export", session_id, "--format", format).stdout


@pytest.mark.parametrize("format", FORMATS)
def test_small_pages_are_the_same_file(start: StartClient, repository: Path, format: str) -> None:
    client = start()
    session_id = store(client, [*ORDINARY, *hostile()[:200]])
    whole = run("export", session_id, "--format", format).stdout
    small = Client(repository, command=[sys.executable, "-P", "-c", SMALL_PAGES])
    small.initialize()
    found = pages(small, session_id, format)
    assert len(found) > 20
    assert joined(found) == whole
    assert small.shutdown() == 0


def test_what_is_appended_meanwhile_is_not_in_the_file(start: StartClient) -> None:
    client = start()
    session_id = store(client, [("text", {"content": 1_500_000 * "x"})] * 4)
    params = {"sessionId": session_id, "format": "jsonl"}
    first = client.request("session/export", params)
    said = {"type": "user_message", "data": {"content": "Late"}}
    client.request("session/append", {"sessionId": session_id, "events": [said]})
    rest = client.request("session/export", params | {"cursor": first["nextCursor"]})
    lines = (first["content"] + rest["content"]).splitlines()
    assert rest["nextCursor"] is None
    assert json.loads(lines[0])["session"]["eventCount"] == 4
    assert json.loads(lines[0])["session"]["head"] == json.loads(lines[-1])["id"]


def test_an_export_has_the_appends_that_were_sent_before_it(start: StartClient) -> None:
    session_id = store(start(), ORDINARY)
    client = start()
    said = {"type": "user_message", "data": {"content": "One more"}}
    client.send("session/open", {"sessionId": session_id})
    client.send("session/append", {"sessionId": session_id, "events": [said]})
    asked = client.send("session/export", {"sessionId": session_id, "format": "markdown"})
    assert "One more" in client.answer(asked)["result"]["content"]


def test_a_fork_has_the_events_that_it_shows(start: StartClient) -> None:
    client = start()
    session_id = store(client, [("user_message", {"content": each}) for each in "abc"])
    events = client.request("session/events", {"sessionId": session_id})["events"]
    fork = client.request("session/fork", {"sessionId": session_id, "at": events[1]["id"]})
    lines = joined(pages(client, fork["session"]["sessionId"], "jsonl")).splitlines()
    exported = [json.loads(line) for line in lines]
    assert exported[0]["session"]["forkedFrom"] == session_id
    assert [each for each in exported if "seq" in each] == events[:2]


def test_secrets_are_masked_as_they_are_stored(start: StartClient) -> None:
    client = start()
    secret = "ghp_" + "0123456789abcdefghijABCDEFGHIJ012345"
    session_id = store(client, [("user_message", {"content": f"use {secret}"})])
    for format in FORMATS:
        text = joined(pages(client, session_id, format))
        assert secret not in text
        assert "redacted:github-token" in text


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"format": "pdf"}, "$.format"),
        ({"format": "html", "cursor": "nonsense"}, "$.cursor"),
        ({"format": "html", "cursor": "WzEsIDIsIDMsIDRd"}, "$.cursor"),
        ({"format": "html", "cursor": "Wy0xLCAwLCAwLCAiIl0="}, "$.cursor"),
        ({"format": "html", "cursor": "W3RydWUsIDAsIDAsICIiXQ=="}, "$.cursor"),
        (
            {"format": "html", "cursor": "Wzk5OTk5OTk5OTk5OTk5OTk5OTk5OTksIDAsIDAsICIiXQ=="},
            "$.cursor",
        ),
        ({"format": "html", "cursor": "\ud83d"}, "$.cursor"),
        ({}, "$.format"),
    ],
)
def test_params_that_are_wrong_are_named(
    start: StartClient, params: dict[str, Any], path: str
) -> None:
    client = start()
    session_id = store(client, ORDINARY)
    answer = client.answer(client.send("session/export", {"sessionId": session_id} | params))
    assert answer["error"]["code"] == -32602
    assert [each["path"] for each in answer["error"]["data"]["errors"]] == [path]


def test_a_session_that_is_unknown_or_empty_is_not_exported(start: StartClient) -> None:
    client = start()
    params = {"sessionId": "nope", "format": "html"}
    answer = client.answer(client.send("session/export", params))
    assert answer["error"]["data"]["kind"] == "SessionNotFound"
    opened = client.request("session/open", {"mode": "new"})["session"]["sessionId"]
    answer = client.answer(client.send("session/export", params | {"sessionId": opened}))
    assert answer["error"]["data"]["errors"][0]["path"] == "$.sessionId"


def test_a_session_that_is_deleted_between_two_pages_ends_the_export(start: StartClient) -> None:
    client = start()
    session_id = store(client, [("text", {"content": 3_000_000 * "x"})] * 3)
    params = {"sessionId": session_id, "format": "html"}
    cursor = client.request("session/export", params)["nextCursor"]
    client.request("session/delete", {"sessionId": session_id})
    answer = client.answer(client.send("session/export", params | {"cursor": cursor}))
    assert answer["error"]["data"]["kind"] == "SessionNotFound"


def test_an_export_that_takes_long_delays_neither_appends_nor_the_end(start: StartClient) -> None:
    client = start()
    slow = ("text", {"content": "![" * 49_000})
    session_id = store(client, [*([slow] * 8), *ORDINARY])
    asked = client.send("session/export", {"sessionId": session_id, "format": "html"})
    said = {"type": "user_message", "data": {"content": "meanwhile"}}
    sent = client.send("session/append", {"sessionId": session_id, "events": [said]})
    assert "result" in client.answer(sent)
    assert not client.is_answered(asked)
    began = time.monotonic()
    client.close_stdin()
    assert time.monotonic() - began < 6
