"""`segue postgres`, as an administrator types it, against real servers."""

import contextlib
import itertools
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import psycopg
import pytest

from segue.model.errors import StorageUnavailable
from segue.model.events import Event, new_id
from segue.model.records import NewSession
from segue.store.postgres import codec, setup
from segue.store.postgres.service import PostgresSessionService
from tests.cli.helpers import converse, run
from tests.store import postgres_server
from tests.store.postgres_server import PostgresServer

CANARY = "canary-7f3a91"
NUMBERS = itertools.count(1)


@attrs.frozen
class Bed:
    """A database that no test had before, and names for its roles."""

    server: PostgresServer
    name: str

    @property
    def url(self) -> str:
        return self.server.url(database=self.name)

    def role(self, who: str) -> str:
        return f"{who}_{self.name}"

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run a statement as the administrator."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(query.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    async def say(self, who: str, *texts: str, repository: str | None = None) -> str:
        """Store a conversation of a user; return its id."""
        service = await self.open(who)
        try:
            new = NewSession(id=new_id(), directory="/work", repository=repository)
            events = [Event.new("user_message", {"content": text}) for text in texts]
            await service.create_session(new, events, invocation_id="one")
        finally:
            await service.close()
        return new.id

    async def open(self, who: str) -> PostgresSessionService:
        url = self.server.url(self.role(who), self.name)
        return await PostgresSessionService.open(url, machine=postgres_server.MACHINE)


@pytest.fixture(params=postgres_server.find_programs())
def bed(request: pytest.FixtureRequest) -> Iterator[Bed]:
    server = postgres_server.server(request.param)
    made = Bed(server, f"bed_{next(NUMBERS)}")
    yield made
    server.admin.execute(f"DROP DATABASE IF EXISTS {made.name} WITH (FORCE)".encode())
    query = "SELECT rolname FROM pg_roles WHERE rolname LIKE %s ORDER BY rolname"
    for (role,) in server.admin.execute(query, (f"%\\_{made.name}",)).fetchall():
        server.admin.execute(f"DROP ROLE {role}".encode())


@pytest.fixture
def team(bed: Bed) -> Bed:
    """Return a database with a store and the users alice and bob."""
    setup.create_database(bed.url)
    setup.create_store(bed.url)
    for who in ("alice", "bob"):
        setup.add_user(bed.url, bed.role(who))
    return bed


@pytest.fixture
def empty(bed: Bed) -> Bed:
    """Return a database with a store and without users."""
    setup.create_database(bed.url)
    setup.create_store(bed.url)
    return bed


def add(bed: Bed, who: str, *options: str) -> subprocess.CompletedProcess[str]:
    done = run("postgres", "add-user", bed.url, bed.role(who), *options)
    assert (done.returncode, done.stderr) == (0, "")
    return done


def answered(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command that reads *text* from a pipe."""
    command = [sys.executable, "-m", "segue", *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)


@contextlib.contextmanager
def settings(bed: Bed, **values: str) -> Iterator[None]:
    """Set the settings of the server meanwhile."""
    try:
        for name, value in values.items():
            bed.rows(f"ALTER SYSTEM SET {name} = '{value}'")
        bed.rows("SELECT pg_reload_conf()")
        yield
    finally:
        bed.rows("ALTER SYSTEM RESET ALL")
        bed.rows("SELECT pg_reload_conf()")


# -- init ------------------------------------------------------------------------------------------


async def test_two_commands_make_a_store_for_a_team(bed: Bed) -> None:
    made = run("postgres", "init", bed.url)
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.splitlines()[:2] == [
        f"Created the database {bed.name}.",
        f"Made the store in the database {bed.name}.",
    ]
    done = add(bed, "alice", "--no-password")
    assert f"postgresql://{bed.role('alice')}@/{bed.name}?host={bed.server.folder}" in done.stdout
    session_id = await bed.say("alice", "hello")
    setting = re.search(r"export SEGUE_DATABASE='(.*)'", done.stdout)
    assert setting is not None
    shown = run("show", session_id, SEGUE_DATABASE=setting[1])
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "hello" in shown.stdout


def test_init_again_changes_nothing(team: Bed) -> None:
    def functions() -> list[Any]:
        return team.rows("SELECT oid FROM pg_proc WHERE pronamespace = 'segue_1'::regnamespace")

    before = functions()
    again = run("postgres", "init", team.url)
    assert again.returncode == 0
    assert "has the store already, of this version. Nothing was changed." in again.stdout
    assert functions() == before


async def test_init_replaces_the_functions_of_another_build_and_keeps_what_is_stored(
    team: Bed,
) -> None:
    session_id = await team.say("alice", "hello")
    team.rows("COMMENT ON SCHEMA segue_1 IS 'Segue: api_1.sql of before'")
    team.rows("DROP FUNCTION segue_1.set_title")
    team.rows("CREATE FUNCTION segue.of_before() RETURNS void LANGUAGE sql AS ''")
    outdated = run("postgres", "doctor", team.url)
    assert "the functions of the store are those of another build" in outdated.stdout
    updated = run("postgres", "init", team.url)
    assert "has the functions of this version now" in updated.stdout
    assert team.rows("SELECT to_regproc('segue.of_before')") == [(None,)]
    service = await team.open("alice")
    assert (await service.set_title(session_id, "title")).title == "title"
    await service.close()


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        ("CREATE TABLE theirs (a int)", "it has the table public.theirs"),
        ("CREATE SCHEMA segue", "has a schema segue that this version of Segue did not make"),
    ],
)
def test_init_leaves_a_database_of_something_else_as_it_is(
    bed: Bed, prepare: str, why: str
) -> None:
    bed.server.admin.execute(f"CREATE DATABASE {bed.name}".encode())
    bed.rows(prepare)
    done = run("postgres", "init", bed.url)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: Nothing was changed: ")
    assert why in done.stderr
    assert bed.rows("SELECT to_regnamespace('segue_1'), to_regclass('segue.sessions')") == [
        (None, None)
    ]


def test_init_refuses_a_store_of_a_later_version(team: Bed) -> None:
    team.rows("CREATE SCHEMA segue_2")
    done = run("postgres", "init", team.url)
    assert done.returncode == 1
    assert "the schema segue_2 of a later version of Segue. Install that version." in done.stderr


def test_init_refuses_the_databases_of_the_server_itself(bed: Bed) -> None:
    done = run("postgres", "init", bed.server.url(database="postgres"))
    assert done.returncode == 1
    assert "the database postgres is the server's own" in done.stderr


def test_init_refuses_another_encoding(bed: Bed) -> None:
    options = "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    bed.server.admin.execute(f"CREATE DATABASE {bed.name} {options}".encode())
    done = run("postgres", "init", bed.url)
    assert done.returncode == 1
    assert "the database has the encoding LATIN1" in done.stderr


def test_init_by_a_role_without_rights_leaves_nothing(bed: Bed) -> None:
    bed.server.admin.execute(f"CREATE DATABASE {bed.name}".encode())
    bed.rows(f"CREATE ROLE {bed.role('anyone')} LOGIN")
    done = run("postgres", "init", bed.server.url(bed.role("anyone"), bed.name))
    assert done.returncode == 1
    assert "refused this" in done.stderr
    assert "Connect as a superuser" in done.stderr
    assert bed.rows("SELECT to_regnamespace('segue')") == [(None,)]


async def test_an_administrator_need_not_be_a_superuser(bed: Bed) -> None:
    """As on a managed server: a role that may create roles and owns the database."""
    keeper = bed.role("keeper")
    existing = bed.server.admin.execute("SELECT to_regrole('segue_owner')").fetchone()
    bed.server.admin.execute(f"CREATE ROLE {keeper} LOGIN CREATEROLE CREATEDB".encode())
    if existing != (None,):  # another administrator of the same server made them
        groups = "segue_owner, segue_user, segue_reader, segue_admin"
        bed.server.admin.execute(f"GRANT {groups} TO {keeper} WITH ADMIN OPTION".encode())
    url = bed.server.url(keeper, bed.name)
    made = run("postgres", "init", url)
    assert (made.returncode, made.stderr) == (0, "")
    done = run("postgres", "add-user", url, bed.role("alice"), "--no-password")
    assert (done.returncode, done.stderr) == (0, "")
    await bed.say("alice", CANARY)
    assert run("postgres", "vacuum", url).returncode == 0
    report = json.loads(run("postgres", "doctor", url, "--json").stdout)
    assert {"role": keeper, "right": "administers the store"} in report["readers"]
    removed = run("postgres", "remove-user", url, bed.role("alice"), "--yes")
    assert (removed.returncode, removed.stderr) == (0, "")
    assert "Deleted: 1 conversation (1 events) and the role." in removed.stdout
    assert bed.rows("SELECT count(*) FROM segue.events") == [(0,)]


def test_init_says_what_is_wrong_with_the_settings(bed: Bed) -> None:
    done = run("postgres", "init", bed.url)
    assert "fsync is off: a crash of the machine can lose what was answered" in done.stdout
    assert "wal_compression is off" in done.stdout
    assert "full_page_writes is off" not in done.stdout
    report = json.loads(run("postgres", "init", bed.url, "--json").stdout)
    assert (report["database"], report["store"]) == (bed.name, "unchanged")
    assert any("fsync" in each for each in report["problems"])
    assert any("wal_compression" in each for each in report["notes"])


# -- wrong input -----------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["", "segue.db", "mysql://host/db", "/tmp/x", "postgresql:/host"])
def test_a_url_of_something_else_is_a_wrong_command(url: str) -> None:
    for command in (("init", url), ("doctor", url), ("vacuum", url), ("add-user", url, "alice")):
        done = run("postgres", *command)
        assert (done.returncode, done.stdout) == (2, "")
        assert "expected postgresql://USER@HOST/DATABASE" in done.stderr


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://host/db?no_such=1", "no valid postgresql:// URL"),
        ("postgresql://[::1/db", "no valid postgresql:// URL"),
        ("postgresql://u:secret@example.org/db?sslmode=disable", "has sslmode=disable"),
    ],
)
def test_a_url_that_is_not_understood_or_not_safe_is_a_wrong_setting(url: str, why: str) -> None:
    done = run("postgres", "init", url)
    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr
    assert "secret" not in done.stderr


def test_a_server_that_is_not_there_is_said(tmp_path: Path) -> None:
    for command in ("init", "doctor", "vacuum"):
        done = run("postgres", command, f"postgresql://postgres@/segue?host={tmp_path}")
        assert (done.returncode, done.stdout) == (1, "")
        assert "cannot be reached" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_password_in_the_url_is_warned_of(bed: Bed) -> None:
    done = run("postgres", "init", bed.url.replace("postgres@", "postgres:secret@"))
    assert done.returncode == 0
    assert done.stderr.startswith("Warning: the URL holds a password")
    assert "secret" not in done.stdout + done.stderr


@pytest.mark.parametrize("name", ["", "x" * 64, "ü" * 32])
def test_a_name_that_the_server_would_cut_is_refused(name: str) -> None:
    done = run("postgres", "add-user", "postgresql://host/db", name)
    assert done.returncode == 2
    assert "expected a name of 1 to 63 bytes" in done.stderr


# -- add-user --------------------------------------------------------------------------------------


def demand_passwords(bed: Bed, who: str) -> None:
    """Let the server ask a role for its password from now on."""
    file = bed.server.folder / "data" / "pg_hba.conf"
    line = f"local {bed.name} {bed.role(who)} scram-sha-256\n"
    file.write_text(line + file.read_text())
    bed.server.admin.execute("SELECT pg_reload_conf()")


def logs_in(bed: Bed, who: str, password: str) -> bool:
    url = bed.server.url(bed.role(who), bed.name)
    with contextlib.suppress(psycopg.OperationalError):
        psycopg.connect(url, password=password).close()
        return True
    return False


def test_a_password_is_asked_for_twice_and_not_shown(empty: Bed) -> None:
    name = empty.role("alice")
    code, shown = converse(
        {f"Password for {name}: ": "s3cret pass", "Again: ": "s3cret pass"},
        *("postgres", "add-user", empty.url, name),
    )
    assert code == 0
    assert "s3cret" not in shown
    assert "may use the store" in shown
    demand_passwords(empty, "alice")
    assert logs_in(empty, "alice", "s3cret pass")
    assert not logs_in(empty, "alice", "another")
    assert empty.rows(
        "SELECT rolpassword LIKE 'SCRAM-SHA-256$%%' FROM pg_authid WHERE rolname = %s", name
    ) == [(True,)]


def test_a_password_is_read_from_a_pipe(empty: Bed) -> None:
    with settings(empty, log_statement="ddl"):
        done = answered("postgres", "add-user", empty.url, empty.role("alice"), text="pässw-0rd\n")
    assert (done.returncode, done.stderr) == (0, "")
    log = (empty.server.folder / "log").read_text(errors="replace")
    assert f'ALTER ROLE "{empty.role("alice")}" PASSWORD \'SCRAM-SHA-256$' in log
    assert "ssw-0rd" not in done.stdout + log
    demand_passwords(empty, "alice")
    assert logs_in(empty, "alice", "pässw-0rd")


def test_without_a_password_no_user_is_made(empty: Bed) -> None:
    done = answered("postgres", "add-user", empty.url, empty.role("alice"))
    assert done.returncode == 1
    assert "there is no password on the standard input" in done.stderr
    assert empty.rows("SELECT 1 FROM pg_roles WHERE rolname = %s", empty.role("alice")) == []


def test_a_user_has_limits_of_time_and_no_other_right(team: Bed) -> None:
    with psycopg.connect(team.server.url(team.role("alice"), team.name)) as connection:
        found = [setup.show(connection, each) for each in setup.LIMITS]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM segue.events")
    assert found == [*setup.LIMITS.values()]


def test_who_is_not_added_cannot_connect(team: Bed) -> None:
    team.rows(f"CREATE ROLE {team.role('stranger')} LOGIN")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(team.server.url(team.role("stranger"), team.name))


def test_a_role_that_exists_is_taken_on_request_only(team: Bed) -> None:
    name = team.role("carol")
    team.rows(f"CREATE ROLE {name} LOGIN")
    refused = run("postgres", "add-user", team.url, name, "--no-password")
    assert refused.returncode == 1
    assert "already exists. If it is that person's, add --existing." in refused.stderr
    add(team, "carol", "--existing")
    add(team, "carol", "--existing")
    psycopg.connect(team.server.url(name, team.name)).close()
    team.rows(f"CREATE ROLE {team.role('group')}")
    group = run("postgres", "add-user", team.url, team.role("group"), "--existing")
    assert group.returncode == 1
    assert "is a group. Add each of its members" in group.stderr
    missing = run("postgres", "add-user", team.url, team.role("nobody"), "--existing")
    assert "Create it, or leave out --existing" in missing.stderr


async def test_the_name_of_somebody_who_has_gone_is_refused_while_there_is_something(
    team: Bed,
) -> None:
    await team.say("alice", "hello")
    name = team.role("alice")
    team.rows(f"DROP ROLE {name}")
    for options in (("--no-password",), ("--existing",)):
        done = run("postgres", "add-user", team.url, name, *options)
        assert done.returncode == 1
        assert f"there are conversations of a user '{name}' that was removed" in done.stderr
    report = run("postgres", "doctor", team.url)
    assert "1 account has conversations and no user" in report.stdout
    assert run("postgres", "remove-user", team.url, name, "--yes").returncode == 0
    add(team, "alice", "--no-password")
    service = await team.open("alice")
    assert (await service.list_sessions()).sessions == []
    await service.close()


def test_add_user_prints_the_setting_as_json(empty: Bed) -> None:
    done = json.loads(add(empty, "alice", "--no-password", "--json").stdout)
    assert done["name"] == empty.role("alice")
    psycopg.connect(done["url"]).close()


# -- remove-user -----------------------------------------------------------------------------------


def roles(bed: Bed) -> set[str]:
    found = bed.rows("SELECT rolname FROM pg_roles WHERE rolname LIKE %s", f"%_{bed.name}")
    return {name.partition("_")[0] for (name,) in found}


async def test_remove_user_asks_and_deletes_the_conversations_and_the_role(team: Bed) -> None:
    await team.say("alice", "one", "two")
    kept = await team.say("bob", "kept")
    command = ("postgres", "remove-user", team.url, team.role("alice"))
    code, shown = converse({"Delete them and the role for good? [y/N]: ": "n"}, *command)
    assert code == 1
    assert f"{team.role('alice')} has 1 conversation (2 events)." in shown
    assert roles(team) == {"alice", "bob"}
    assert team.rows("SELECT count(*) FROM segue.events") == [(3,)]
    code, shown = converse({"Delete them and the role for good? [y/N]: ": "y"}, *command)
    assert code == 0
    assert "Deleted: 1 conversation (2 events) and the role." in shown
    assert roles(team) == {"bob"}
    for table in setup.TABLES:
        assert team.rows(
            f"SELECT count(*) FROM segue.{table} WHERE owner <> {account(team, 'bob')}"
        ) == [(0,)]
    service = await team.open("bob")
    assert (await service.get_session(kept)).event_count == 1
    await service.close()


def account(bed: Bed, who: str) -> int:
    with setup.connect(bed.url) as connection:
        return setup.account_of(connection, bed.role(who))


async def test_remove_user_without_a_terminal_needs_its_consent(team: Bed) -> None:
    await team.say("alice", "one")
    for options in ((), ("--json",)):
        done = run("postgres", "remove-user", team.url, team.role("alice"), *options)
        assert done.returncode == 1
        assert "add --yes" in done.stderr
    assert roles(team) == {"alice", "bob"}
    done = run("postgres", "remove-user", team.url, team.role("alice"), "--yes", "--json")
    assert json.loads(done.stdout) == {
        "name": team.role("alice"),
        "sessions": 1,
        "events": 1,
        "has_role": True,
        "role_dropped": True,
    }


async def test_a_window_that_is_open_adds_nothing_to_what_is_removed(team: Bed) -> None:
    service = await team.open("alice")
    assert run("postgres", "remove-user", team.url, team.role("alice"), "--yes").returncode == 0
    new = NewSession(id=new_id(), directory="/work")
    with pytest.raises(StorageUnavailable):
        await service.create_session(
            new, [Event.new("user_message", {"content": "late"})], invocation_id="one"
        )
    await service.close()
    assert team.rows("SELECT count(*) FROM segue.events") == [(0,)]


async def test_what_is_not_committed_does_not_keep_somebody_from_being_removed(team: Bed) -> None:
    session_id = await team.say("alice", "one")
    with psycopg.connect(team.server.url(team.role("alice"), team.name)) as connection:
        title = "SELECT count(*) FROM segue_1.set_title(%s, %s, 'title')"
        owner = account(team, "alice")
        assert connection.execute(title, (owner, codec.pack(session_id))).fetchone() == (1,)
        done = run("postgres", "remove-user", team.url, team.role("alice"), "--yes")
        assert (done.returncode, done.stderr) == (0, "")
        with pytest.raises(psycopg.OperationalError):
            connection.execute("COMMIT")


async def test_a_role_that_is_used_elsewhere_can_be_kept(team: Bed) -> None:
    await team.say("alice", "one")
    name = team.role("alice")
    done = run("postgres", "remove-user", team.url, name, "--keep-role", "--yes")
    assert done.returncode == 0
    assert roles(team) == {"alice", "bob"}
    assert team.rows("SELECT count(*) FROM segue.sessions") == [(0,)]
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(team.server.url(name, team.name))


@pytest.mark.parametrize("name", ["nobody_at_all", "postgres", "segue_owner"])
def test_who_is_no_user_is_not_removed(team: Bed, name: str) -> None:
    done = run("postgres", "remove-user", team.url, name, "--yes")
    assert done.returncode == 1
    assert "there is no user" in done.stderr
    assert team.rows("SELECT count(*) FROM pg_roles WHERE rolname IN ('postgres', 'segue_owner')")


def test_a_role_that_owns_something_is_locked_and_can_be_removed_later(team: Bed) -> None:
    name = team.role("alice")
    team.rows(f"CREATE SCHEMA hers AUTHORIZATION {name}")
    done = run("postgres", "remove-user", team.url, name, "--yes")
    assert done.returncode == 1
    assert "Remove what the role owns or was granted elsewhere" in done.stderr
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        psycopg.connect(team.server.url(name, team.name))
    team.rows("DROP SCHEMA hers")
    assert run("postgres", "remove-user", team.url, name, "--yes").returncode == 0
    assert roles(team) == {"bob"}


# -- doctor ----------------------------------------------------------------------------------------


def doctor(bed: Bed) -> Any:
    return json.loads(run("postgres", "doctor", bed.url, "--json").stdout)


def test_doctor_says_what_is_promised_and_who_can_read(team: Bed) -> None:
    team.rows(f"CREATE ROLE {team.role('copier')} LOGIN REPLICATION")
    team.rows(f"CREATE ROLE {team.role('reader')} LOGIN IN ROLE pg_read_server_files")
    team.rows(f"CREATE ROLE {team.role('auditor')} LOGIN BYPASSRLS IN ROLE pg_read_all_data")
    done = run("postgres", "doctor", team.url)
    assert done.returncode == 1  # fsync is off
    lines = done.stdout.splitlines()
    assert "answered  what was answered is in the memory of this server: fsync is off" in lines
    assert "reads all postgres (superuser)" in lines
    assert f"reads all {team.role('copier')} (replication: copies the whole server)" in lines
    assert f"reads all {team.role('reader')} (reads the server's files)" in lines
    assert any(line.startswith(f"reads all {team.role('auditor')} (") for line in lines)
    assert not any("alice" in line for line in lines)
    assert any(line.startswith("problem   fsync is off") for line in lines)
    report = doctor(team)
    assert (report["store"], report["settings"]["fsync"]) == ("present", "off")
    add(team, "carol", "--no-password")
    assert doctor(team)["users"] == report["users"] + 1


def test_doctor_names_what_is_missing(team: Bed) -> None:
    def notes() -> str:
        return " ".join(doctor(team)["notes"])

    assert "plan_cache_mode" not in notes()
    assert "limits of time" not in notes()
    team.rows(f"ALTER DATABASE {team.name} RESET plan_cache_mode")
    team.rows(f"ALTER ROLE {team.role('bob')} RESET ALL")
    assert "plan_cache_mode is not set" in notes()
    assert f"users without limits of time: {team.role('bob')}." in notes()
    assert run("postgres", "init", team.url).returncode == 0
    add(team, "bob", "--existing")
    assert "plan_cache_mode" not in notes()
    assert "limits of time" not in notes()


async def test_doctor_says_when_the_log_quotes_conversations(team: Bed) -> None:
    """And it does so only then, which the log itself shows."""
    log = team.server.folder / "log"

    async def quoted(text: str) -> bool:
        await team.say("alice", text)
        return text in log.read_text(errors="replace")

    def is_said() -> bool:
        return any("log quotes conversations" in each for each in doctor(team)["problems"])

    assert not is_said()
    assert not await quoted(f"{CANARY}-1")
    with settings(team, log_min_duration_statement="0"):
        assert is_said()
        assert await quoted(f"{CANARY}-2")
    with settings(team, log_min_duration_statement="0", log_parameter_max_length="0"):
        assert not is_said()
        assert not await quoted(f"{CANARY}-3")


@contextlib.contextmanager
def standby(bed: Bed, folder: Path, name: str) -> Iterator[None]:
    """Keep what the server writes to its log on another disk, as a standby does."""
    folder.mkdir()
    where = f"host={bed.server.folder} user=postgres application_name={name}"
    program = str(bed.server.programs / "pg_receivewal")
    command = [program, "--synchronous", "-D", str(folder), "-d", where]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        query = "SELECT 1 FROM pg_stat_replication WHERE application_name = %s AND state = %s"
        try:
            while not bed.rows(query, name, "streaming"):
                assert process.poll() is None
                time.sleep(0.1)
            yield
        finally:
            process.terminate()


@pytest.fixture(params=postgres_server.find_programs())
def safe(request: pytest.FixtureRequest) -> Iterator[Bed]:
    """Return the store of a server that keeps what it has answered."""
    server = postgres_server.start(request.param, fsync="on", autovacuum="on")
    yield Bed(server, postgres_server.DATABASE)
    server.stop()


def test_doctor_says_on_whose_disk_an_answer_is(safe: Bed, tmp_path: Path) -> None:
    def answered() -> str:
        return str(doctor(safe)["answered"])

    assert run("postgres", "doctor", safe.url).returncode == 0
    assert answered() == "on the disk of this server, and nowhere else"
    with standby(safe, tmp_path / "asynchronous", "one"):
        assert answered().endswith("a failover to a standby can lose the last of it")
    with settings(safe, synchronous_standby_names="two"):
        (problem,) = doctor(safe)["problems"]
        assert "none of them is connected: every append waits" in problem
        with standby(safe, tmp_path / "synchronous", "two"):
            report = doctor(safe)
            where = "on the disk of this server and on the disk of a synchronous standby"
            assert report["answered"] == f"{where} (1 connected)"
            assert report["problems"] == []
            with settings(safe, synchronous_standby_names="two", synchronous_commit="remote_write"):
                assert "in the memory of a synchronous standby" in answered()


def test_doctor_of_a_database_without_a_store_says_what_to_do(bed: Bed) -> None:
    bed.server.admin.execute(f"CREATE DATABASE {bed.name}".encode())
    done = run("postgres", "doctor", bed.url)
    assert done.returncode == 1
    assert "There is no store in this database" in done.stdout
    assert "Run `segue postgres init`" in done.stdout
    vacuum = run("postgres", "vacuum", bed.url)
    assert vacuum.returncode == 1
    assert "there is no store in this database" in vacuum.stderr
    add_user = run("postgres", "add-user", bed.url, bed.role("alice"), "--no-password")
    assert add_user.returncode == 1
    assert "segue postgres init" in add_user.stderr


def test_doctor_of_a_user_says_what_it_cannot_see(team: Bed) -> None:
    url = team.server.url(team.role("alice"), team.name)
    report = json.loads(run("postgres", "doctor", url, "--json").stdout)
    assert any("may not look into the store" in each for each in report["notes"])


# -- what deletion leaves --------------------------------------------------------------------------


def copies(bed: Bed, text: str) -> int:
    """Return how often *text* is in the files of the database."""
    bed.rows("CHECKPOINT")
    query = "SELECT oid FROM pg_database WHERE datname = current_database()"
    ((oid,),) = bed.rows(query)
    folder = bed.server.folder / "data" / "base" / str(oid)
    return sum(file.read_bytes().count(text.encode()) for file in folder.iterdir())


async def test_vacuum_removes_what_it_says(team: Bed) -> None:
    for number in range(20):
        await team.say("alice", f"{CANARY} {number}", "answer")
        await team.say("bob", "kept")
    team.rows("ANALYZE")
    stored = copies(team, CANARY)
    assert stored >= 40  # what was said, and the titles
    assert run("postgres", "remove-user", team.url, team.role("alice"), "--yes").returncode == 0
    assert copies(team, CANARY) >= stored
    done = run("postgres", "vacuum", team.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Parts of deleted text may be left" in done.stdout
    assert 0 < copies(team, CANARY) < stored
    refused = run("postgres", "vacuum", team.url, "--full")
    assert refused.returncode == 1
    assert "add --yes" in refused.stderr
    done = run("postgres", "vacuum", team.url, "--full", "--yes", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["is_full"]
    assert copies(team, CANARY) == 0
    assert team.rows("SELECT count(*) FROM segue.events") == [(20,)]


async def test_vacuum_full_asks_at_a_terminal(team: Bed) -> None:
    question = "Everybody waits while the tables are written anew. Do it now? [y/N]: "
    command = ("postgres", "vacuum", team.url, "--full")
    code, shown = converse({question: "n"}, *command)
    assert code == 1
    assert "Nothing was done." in shown
    code, shown = converse({question: "y"}, *command)
    assert code == 0
    assert "TABLE" in shown


async def test_what_was_said_is_in_no_statistics(team: Bed) -> None:
    for number in range(20):
        await team.say("alice", f"{CANARY} {number}", CANARY, CANARY)
    team.rows("ANALYZE")
    assert team.rows("SELECT count(*) > 0 FROM pg_stats WHERE schemaname = 'segue'") == [(True,)]
    assert team.rows("SELECT 1 FROM pg_stats s WHERE s::text LIKE %s", f"%{CANARY}%") == []
