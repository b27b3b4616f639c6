"""`segue postgres share`, and what others see of it, between users of a real server."""

import contextlib
import json
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest

from segue.store.postgres import codec
from tests.cli.helpers import run
from tests.cli.test_postgres import Bed, account, bed, team

__all__ = ["bed", "team"]

SECRET = "canary-51c0de"


def at(team: Bed, who: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user."""
    url = team.server.url(team.role(who), team.name)
    return run(*arguments, SEGUE_DATABASE=url)


def shared(team: Bed, who: str) -> dict[str, str]:
    """Return the ids that are shared with a user, and whose they are."""
    done = at(team, who, "list", "--all", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    listed = json.loads(done.stdout)["sessions"]
    return {each["sessionId"]: each["sharedBy"] for each in listed if each["sharedBy"] is not None}


def share(team: Bed, who: str, *arguments: str) -> None:
    done = at(team, who, "postgres", "share", *arguments)
    assert (done.returncode, done.stderr) == (0, "")


async def test_what_is_shared_is_listed_found_shown_and_exported_and_says_by_whom(
    team: Bed,
) -> None:
    session_id = await team.say("alice", f"{SECRET} one", "two")
    await team.say("alice", "private")
    assert shared(team, "bob") == {}
    share(team, "alice", session_id[:23], "--with", team.role("bob"))
    assert shared(team, "bob") == {session_id: team.role("alice")}
    by = f"shared by {team.role('alice')}"
    for command in (
        ("list", "--all"),
        ("search", "--all", SECRET),
        ("show", session_id),
    ):
        done = at(team, "bob", *command)
        assert (done.returncode, done.stderr) == (0, ""), command
        assert by in done.stdout, command
        assert f"{SECRET} one" in done.stdout, command
        assert by not in at(team, "alice", *command).stdout, command
    exported = at(team, "bob", "export", session_id, "--format", "jsonl").stdout
    assert '"two"' in exported


async def test_who_goes_on_does_so_in_a_fork_here(
    team: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    session_id = await team.say("alice", "one", "two")
    share(team, "alice", session_id, "--with", team.role("bob"))
    done = at(team, "bob", "fork", session_id, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    (fork,) = json.loads(done.stdout)["sessions"]
    assert (fork["forkedFrom"], fork["forkedAt"], fork["sharedBy"]) == (session_id, 2, None)
    assert (fork["title"], fork["directory"]) == ("copy of one", str(tmp_path.resolve()))
    assert "two" in at(team, "bob", "show", fork["sessionId"]).stdout


async def test_it_is_not_changed_by_who_reads_it(team: Bed) -> None:
    session_id = await team.say("alice", "one")
    share(team, "alice", session_id, "--with", team.role("bob"))
    for command in (
        ("rename", session_id, "mine"),
        ("archive", session_id),
        ("delete", session_id, "--yes"),
        ("postgres", "share", session_id, "--with", team.role("bob")),
    ):
        done = at(team, "bob", *command)
        assert done.returncode == 1, command
        if command[0] != "postgres":
            assert f"is {team.role('alice')}'s, who shares it with you to read" in done.stderr
    listed = json.loads(at(team, "alice", "list", "--all", "--json").stdout)["sessions"]
    assert [(each["title"], each["archivedAt"]) for each in listed] == [("one", None)]


async def test_what_is_revoked_is_gone_at_once_and_forks_stay(team: Bed) -> None:
    session_id = await team.say("alice", "one")
    share(team, "alice", session_id, "--with", team.role("bob"))
    fork = at(team, "bob", "fork", session_id).stdout.split()[0]
    share(team, "alice", session_id, "--with", team.role("bob"), "--revoke")
    assert shared(team, "bob") == {}
    assert at(team, "bob", "show", session_id).returncode == 1
    assert at(team, "bob", "fork", session_id).returncode == 1
    assert at(team, "bob", "show", fork).returncode == 0
    again = at(
        team, "alice", "postgres", "share", session_id, "--with", team.role("bob"), "--revoke"
    )
    assert again.returncode == 1
    assert "was not shared" in again.stderr


async def test_a_group_and_a_repository_are_shared(team: Bed) -> None:
    session_id = await team.say("alice", "hello", repository="github.com/org/repo")
    other = await team.say("alice", "hello", repository="github.com/org/other")
    team.rows(f"CREATE ROLE {team.role('team')} NOLOGIN")
    repository = ("--repository", "github.com/org/repo", "--with", team.role("team"))
    share(team, "alice", *repository)
    assert shared(team, "bob") == {}
    team.rows(f"GRANT {team.role('team')} TO {team.role('bob')}")
    assert shared(team, "bob") == {session_id: team.role("alice")}
    later = await team.say("alice", "hello", repository="github.com/org/repo")
    assert shared(team, "bob").keys() == {session_id, later}
    assert other not in shared(team, "bob")
    listed = json.loads(at(team, "alice", "postgres", "share", "--list", "--json").stdout)
    assert [(each["with"], each["repository"]) for each in listed] == [
        (team.role("team"), "github.com/org/repo")
    ]
    team.rows(f"REVOKE {team.role('team')} FROM {team.role('bob')}")
    assert shared(team, "bob") == {}


async def test_who_gets_the_name_of_somebody_gets_not_what_was_shared_with_them(
    team: Bed,
) -> None:
    session_id = await team.say("alice", "one")
    share(team, "alice", session_id, "--with", team.role("bob"))
    assert run("postgres", "remove-user", team.url, team.role("bob"), "--yes").returncode == 0
    assert run("postgres", "add-user", team.url, team.role("bob"), "--no-password").returncode == 0
    assert shared(team, "bob") == {}
    share(team, "alice", session_id, "--with", team.role("bob"))
    team.rows(f"ALTER ROLE {team.role('bob')} RENAME TO {team.role('robert')}")
    assert shared(team, "robert") == {}


async def test_what_was_shared_of_somebody_who_was_removed_is_gone(team: Bed) -> None:
    session_id = await team.say("alice", "one")
    share(team, "alice", session_id, "--with", team.role("bob"))
    assert run("postgres", "remove-user", team.url, team.role("alice"), "--yes").returncode == 0
    assert shared(team, "bob") == {}
    assert team.rows("SELECT count(*) FROM segue.grants") == [(0,)]


def test_wrong_commands_say_what_is_wrong(team: Bed) -> None:
    for arguments in (("--with", "x"), ("id",), ("id", "--repository", "r", "--with", "x")):
        done = at(team, "alice", "postgres", "share", *arguments)
        assert done.returncode == 2
        assert "Give --with, and either ID or --repository." in done.stderr
    done = at(team, "alice", "postgres", "share", "--repository", "r", "--with", "nobody_there")
    assert done.returncode == 1
    assert "The server has no user and no group nobody_there." in done.stderr
    done = run("postgres", "share", "--list")
    assert done.returncode == 1
    assert "in a PostgreSQL database only" in done.stderr


async def test_sharing_shows_nothing_that_was_not_granted(team: Bed) -> None:
    """What bob can try with SQL, while one of alice's two conversations is shared with carol."""
    run("postgres", "add-user", team.url, team.role("carol"), "--no-password")
    granted = await team.say("alice", f"{SECRET} for carol")
    private = await team.say("alice", f"{SECRET} for nobody")
    share(team, "alice", granted, "--with", team.role("carol"))
    alice, bob, carol = (account(team, who) for who in ("alice", "bob", "carol"))
    for who, mine, visible in (("bob", bob, 0), ("carol", carol, 1)):
        seen: list[Any] = []
        for session_id in (granted, private):
            id = codec.pack(session_id)
            for query, values in (
                ("SELECT * FROM segue_1.session(%s, %s)", (alice, id)),
                ("SELECT * FROM segue_1.session(%s, %s)", (mine, id)),
                ("SELECT * FROM segue_1.fork_facts(%s, %s, '\\x01aa', NULL)", (mine, id)),
                ("SELECT * FROM segue_1.grants(%s)", (alice,)),
                (
                    "SELECT segue_1.share(%s, %s, NULL, NULL, %s, false)",
                    (alice, id, team.role(who)),
                ),
                ("SELECT segue_1.share(%s, %s, NULL, NULL, %s, false)", (mine, id, team.role(who))),
                ("SELECT * FROM segue.shared()", ()),
                ("SELECT * FROM segue.find_shared(%s)", (id,)),
                ("SELECT * FROM segue.shared_events(%s)", (id,)),
                ("SELECT * FROM segue.shared_invocations(%s)", (id,)),
                ("SELECT * FROM segue.grants", ()),
                ("SELECT * FROM segue_1.page(%s, %s, 0, NULL, 9, 9999)", (alice, id)),
                ("SELECT * FROM segue_1.page(%s, %s, 0, NULL, 9, 9999)", (mine, id)),
                ("SET ROLE segue_reader", ()),
                ("SET SESSION AUTHORIZATION segue_reader", ()),
            ):
                url = team.server.url(team.role(who), team.name)
                with psycopg.connect(url) as connection:
                    with contextlib.suppress(
                        psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFunction
                    ):
                        cursor = connection.execute(query.encode(), values or None)
                        found = cursor.fetchall() if cursor.description else []
                        seen += [row for row in found if SECRET in str(row)]
                    connection.rollback()
        assert len(seen) == 4 * visible, seen
    assert team.rows("SELECT count(*) FROM segue.sessions") == [(2,)]
    assert team.rows("SELECT count(*) FROM segue.grants") == [(1,)]


@pytest.mark.parametrize("kind", ["events", "sessions", "grants"])
async def test_a_function_of_an_account_that_forgot_its_where_shows_nothing_shared(
    team: Bed, kind: str
) -> None:
    """The rows of another account are visible to the functions of segue_reader only."""
    session_id = await team.say("alice", "one")
    share(team, "alice", session_id, "--with", team.role("bob"))
    team.rows(
        f"CREATE FUNCTION segue_1.forgot() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS "
        f"'SELECT count(*) FROM segue.{kind}'"
    )
    team.rows("ALTER FUNCTION segue_1.forgot() OWNER TO segue_owner")
    with psycopg.connect(team.server.url(team.role("bob"), team.name)) as connection:
        assert connection.execute("SELECT segue_1.forgot()").fetchone() == (0,)
