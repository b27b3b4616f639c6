"""What becomes of events, as `outbox_cases.json` says for every client."""

import json
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segue.cli.client import Client
from tests.editors.neovim import (
    HERE,
    SERVER,
    NeovimProcess,
    RunNeovim,
    StartNeovim,
    message_contents,
    needs_neovim,
    session_ids,
    stored_events,
    stored_sessions,
)

pytestmark = needs_neovim

TABLE = json.loads((HERE / "outbox_cases.json").read_text())

Case = dict[str, Any]


def for_neovim(rows: list[Case]) -> list[Case]:
    """Return the rows that hold for this client."""
    return [row for row in rows if "nvim" in row.get("clients", ["nvim"])]


CASES = for_neovim(TABLE["cases"])
VALUES = for_neovim(TABLE["cannot be stored"]["values"])


def act_elsewhere(neovim: NeovimProcess, flags: Path, start: Callable[..., Client]) -> None:
    """Do what Neovim asks of another server process, until it exits."""
    deadline, number = time.monotonic() + 60, 1
    while neovim.process.poll() is None and time.monotonic() < deadline:
        request = flags / f"elsewhere{number}"
        if not request.exists():
            time.sleep(0.01)
            continue
        asked = json.loads(request.read_text())
        other, params = start(), {"sessionId": asked["id"]}
        if asked["action"] == "append":
            other.request("session/open", params)
            params["events"] = asked["events"]
        other.request(f"session/{asked['action']}", params)
        other.kill()
        (flags / f"elsewhere{number} done").touch()
        number += 1


def forked_from(database: Path) -> dict[str, str]:
    """Return the original of each session that is a fork."""
    sessions = stored_sessions(database).values()
    return {session.id: session.forked_from for session in sessions if session.forked_from}


def archived_ids(database: Path) -> set[str]:
    """Return the ids of the sessions that are archived."""
    return {id for id, session in stored_sessions(database).items() if session.archived_at}


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_case(
    start_neovim: StartNeovim,
    start: Callable[..., Client],
    database: Path,
    tmp_path: Path,
    case: Case,
) -> None:
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE of_another_program (x)")
    connection.close()
    flags = tmp_path / "flags"
    dies = {"server": "dies before it answers"} in case["steps"]
    cmd = [sys.executable, str(HERE / "proxy.py"), str(flags), *SERVER] if dies else SERVER
    neovim = start_neovim(
        "outbox.case",
        cmd=cmd,
        steps=case["steps"],
        forks=case.get("forks", {}),
        database=str(database),
        other_database=str(other),
    )
    act_elsewhere(neovim, flags, start)
    report = neovim.wait()

    for call, expected in case["answers"].items():
        answer = report["answers"][call]
        if expected == "waiting":
            assert answer in ([], {})
        elif "stored" in expected:
            assert answer == {"session": report["ids"][expected["stored"]]}
        else:
            assert answer["refused"] == expected["refused"]
            assert expected.get("says", "") in answer["says"]
    for name, contents in case.get("stored", {}).items():
        session = report["ids"][name]
        if contents is None:
            assert session not in session_ids(database)
        else:
            assert stored_contents(database, session) == contents
    if "stored" in case:
        ids, forks = report["ids"], case.get("forks", {})
        assert forked_from(database) == {ids[fork]: ids[name] for fork, name in forks.items()}
    if "archived" in case:
        assert archived_ids(database) == {report["ids"][name] for name in case["archived"]}
    if "waiting" in case:
        assert report["waiting"] == case["waiting"]


def test_appends_do_not_shorten_the_pause(run_neovim: RunNeovim, database: Path) -> None:
    database.parent.write_text("not a directory")
    report = run_neovim("outbox.pause")

    retries = 1 + report["ms"] // 500
    assert 1 <= report["requests"] <= retries, "not one for each of the 100 appends"
    assert report["status"].startswith("segue +101 unsent since ")
    assert report["status"].endswith(", storage unavailable")


def stored_contents(database: Path, session: str) -> list[str]:
    """Return the content of every event but the boundaries."""
    return [
        event.data["content"]
        for event in stored_events(database, session)
        if event.type != "system_context"
    ]


def test_what_cannot_be_stored_is_refused_and_the_next_goes_on(
    run_neovim: RunNeovim, database: Path
) -> None:
    report = run_neovim("outbox.values", values=[row["value"] for row in VALUES])

    for row, values in zip(VALUES, report["reports"], strict=True):
        session, refused = values["ids"]["a"], values["answers"]["1"]
        assert refused["refused"] == "InvalidParams", row
        assert row["says"] in refused["says"], row
        assert values["answers"]["2"] == {"session": session}
        assert values["waiting"] == 0
        assert message_contents(database, session) == ["after it"]
