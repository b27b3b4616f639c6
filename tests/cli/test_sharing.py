"""`segue postgres share`, `shared` and `take`, between users of a real server."""

import contextlib
import json
import subprocess
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
    done = at(team, who, "postgres", "shared", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return {each["session"]["sessionId"]: each["owner"] for each in json.loads(done.stdout)}


def share(team: Bed, who: str, *arguments: str) -> None:
    done = at(team, who, "postgres", "share", *arguments)
    assert (done.returncode, done.stderr) == (0, "")


async def test_what_is_shared_is_listed_with_its_owner_and_taken(team: Bed) -> None:
    session_id = await team.say("alice", f"{SECRET} one", "two")
    await team.say("alice", "private")
    assert shared(team, "bob") == {}
    share(team, "alice", session_id[:23], "--with", team.role("bob"))
    assert shared(team, "bob") == {session_id: team.role("alice")}
    assert "OWNER" in at(team, "bob", "postgres", "shared").stdout
    done = at(team, "bob", "postgres", "take", session_id)
    assert (done.returncode, done.stderr) == (0, "")
    new, _, title = done.stdout.strip().partition(" ")
    assert title == f"{SECRET} one ({team.role('alice')})"
    shown = at(team, "bob", "show", new).stdout
    assert f"{SECRET} one" in shown
    assert "two" in shown
    assert at(team, "bob", "search", "--all", SECRET).returncode == 0
    assert at(team, "bob", "show", session_id).returncode == 1
    service = await team.open("bob")
    page = await service.load_events(new)
    assert [(event.seq, event.data["content"]) for event in page.events] == [
        (1, f"{SECRET} one"),
        (2, "two"),
    ]
    await service.close()


async def test_a_fork_is_shared_whole(team: Bed) -> None:
    from segue.model.records import NewFork

    session_id = await team.say("alice", "one", "two", "three")
    service = await team.open("alice")
    await service.fork_session(session_id, NewFork(id="the-fork"))
    await service.close()
    share(team, "alice", "the-fork", "--with", team.role("bob"))
    assert shared(team, "bob") == {"the-fork": team.role("alice")}
    new = json.loads(at(team, "bob", "postgres", "take", "the-fork", "--json").stdout)
    assert new["session"]["eventCount"] == 3
    assert "three" in at(team, "bob", "show", new["session"]["sessionId"]).stdout


async def test_what_is_revoked_is_gone_at_once_and_copies_stay(team: Bed) -> None:
    session_id = await team.say("alice", "one")
    share(team, "alice", session_id, "--with", team.role("bob"))
    taken = at(team, "bob", "postgres", "take", session_id).stdout.split()[0]
    share(team, "alice", session_id, "--with", team.role("bob"), "--revoke")
    assert shared(team, "bob") == {}
    assert at(team, "bob", "postgres", "take", session_id).returncode == 1
    assert at(team, "bob", "show", taken).returncode == 0
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
    done = run("postgres", "shared")
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
                ("SELECT * FROM segue_1.take(%s, %s, %s, '\\x01aa')", (mine, alice, id)),
                ("SELECT * FROM segue_1.take(%s, %s, %s, '\\x01ab')", (alice, alice, id)),
                ("SELECT * FROM segue_1.take(%s, %s, %s, '\\x01ac')", (mine, mine, id)),
                ("SELECT * FROM segue_1.shared(%s, 100)", (alice,)),
                ("SELECT * FROM segue_1.grants(%s)", (alice,)),
                ("SELECT segue_1.share(%s, %s, NULL, %s, false)", (alice, id, team.role(who))),
                ("SELECT segue_1.share(%s, %s, NULL, %s, false)", (mine, id, team.role(who))),
                ("SELECT * FROM segue.shared(%s, %s)", (alice, id)),
                ("SELECT * FROM segue.shared_events(%s, %s)", (alice, id)),
                ("SELECT * FROM segue.shared_invocations(%s, %s)", (alice, id)),
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
        assert len(seen) == visible, seen
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
