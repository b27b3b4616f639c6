"""What the PostgreSQL store costs, beside libpq, a peer and the SQLite store.

Everything is measured on one server of the latest version that is here, on a socket, with its
defaults for durability and no automatic vacuum: it runs when it likes. Tables are filled by SQL,
and never analyzed: a plan must be right without statistics. What is compared takes turns, a few
calls each, and its figure is the 10th percentile.
"""

import asyncio
import contextlib
import itertools
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import pq

from segue.model.events import Event, new_id
from segue.model.records import NewSession
from segue.store.postgres import codec, setup
from segue.store.postgres.codec import Parameter
from segue.store.postgres.service import MAX_RESUMABLE, PostgresSessionService
from segue.store.service import SessionService
from segue.store.sqlite.service import LocalSessionService
from tests.bench import peers, search, stores
from tests.bench.append import append_factory
from tests.bench.measure import (
    Limit,
    Row,
    Samples,
    Side,
    Sizes,
    alternate,
    at_most,
    format_seconds,
    interleave,
    pin_to_one_cpu,
    time_calls,
)
from tests.bench.wire import CHECKOUT, Server, environment
from tests.store import postgres_server
from tests.store.postgres.proxy import proxy
from tests.store.postgres_server import MACHINE, PostgresServer

_PEER = "openai-agents SQLAlchemySession"
_PEER_APPENDS = 50
_ADMIN = "postgres"
_SEGUE = (sys.executable, "-P", "-m", "segue")
_INVOCATION = "invocation"
_PAGE, _TAIL, _SHORT = 50, 50, 100
_MAX_AGE = timedelta(days=366)
_PLACES = {
    "hot": "a tenth of them in its directory",
    "archived": "a tenth of them archived in its directory",
    "": f"{stores.PER_DIRECTORY} in its directory",
    "none": "none in its directory",
}
_SETTINGS = {"fsync": "on", "shared_buffers": "512MB", "max_wal_size": "8GB"}

_FILL = """
INSERT INTO segue.sessions (
    owner, created_at, updated_at, recent, prompted, event_count, model_visible, id, head, machine,
    at_directory, at_git_root, at_git_common_dir, directory, git_root, git_common_dir, title,
    archived_at
)
SELECT
    %(owner)s, time, time, segue.minutes(time), segue.minutes(time), 1, true,
    '\\x01'::bytea || convert_to('session-' || n, 'UTF8'), '\\x0165', %(machine)s,
    pg_temp.place(root || '/src'), pg_temp.place(root), pg_temp.place(root || '/.git'),
    root || '/src', root, root || '/.git', 'A title',
    CASE WHEN n %% 10 IN (1, 2, 3) OR root = '/repositories/archived' THEN time END
FROM (
    SELECT n, %(now)s - n * 7919 %% 31536000 * 1000 AS time,
        '/repositories/' || CASE
            WHEN n <= %(hot)s THEN 'hot' WHEN n <= 2 * %(hot)s THEN 'archived'
            ELSE (n / %(per_directory)s)::text
        END AS root
    FROM generate_series(1, %(count)s::bigint) AS n
) made
"""
"""As the sessions of `stores.add_sessions`, without events."""

_PLACE = """
CREATE FUNCTION pg_temp.place(path text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT substr(sha256('{}\\000'::bytea || convert_to(path, 'UTF8')), 1, 16)
$$
"""
_BARE = """
CREATE TABLE public.bare (
    created_at bigint NOT NULL, session bigint NOT NULL, owner bigint NOT NULL, seq serial,
    id bytea NOT NULL, invocation bytea NOT NULL, type text NOT NULL, data text NOT NULL,
    PRIMARY KEY (owner, session, seq), UNIQUE (owner, session, id)
)
"""
_INSERT = """
INSERT INTO public.bare (created_at, session, owner, id, invocation, type, data)
VALUES ($1, 1, 1, $2, $3, 'text', $4)
"""
_BY_KEY = "SELECT * FROM segue.sessions WHERE owner = $1 AND id = $2"
_FIND = "SELECT * FROM segue_1.find_resumable($1, $2, $3, $4, $5, $6, $7, $8)"
_SHARED = 1_000
_GRANT = """
INSERT INTO segue.grants SELECT s.owner, s.number, '', 'owner', r.oid, r.rolname, ''
FROM segue.sessions s, pg_roles r
WHERE s.owner = %s AND s.archived_at IS NULL AND r.rolname = 'reader' LIMIT %s
"""
_INDEX_TABLES = """
SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c
WHERE c.relnamespace = 'segue'::regnamespace AND c.relkind = 'r' AND c.relname LIKE 'search%'
"""
_TABLES = """
SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c
WHERE c.relnamespace = 'segue'::regnamespace AND c.relkind = 'r'
"""


def measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Compare the calls of the store with the least that the server can do for them."""
    if (server := _start("writer", "owner", "sizes", "reader")) is None:
        yield Row(quantity="the PostgreSQL store", measured="", baseline="no PostgreSQL is here")
        return
    folder /= "postgres"
    folder.mkdir()
    with asyncio.Runner() as runner, pin_to_one_cpu():
        yield from _append_rows(sizes, folder, server, runner)
        yield _round_trips_row(folder, server, runner)
        yield from _length_rows(sizes, server, runner)
        yield from _finding_rows(sizes, server, runner)
        yield from _size_rows(sizes, folder, server, runner)
    yield from _remote_rows(sizes, folder)
    server.stop()


def measure_search(sizes: Sizes, _: Path) -> Iterator[Row]:
    """Compare searches with an index and without."""
    if (server := _start("searcher", "writer")) is None:
        yield Row(quantity="searches in PostgreSQL", measured="", baseline="no PostgreSQL is here")
        return
    with asyncio.Runner() as runner, pin_to_one_cpu():
        yield from _search_rows(sizes, server, runner)
    server.stop()


def _start(*roles: str) -> PostgresServer | None:
    """Return a server with a store that these roles use; None if no server is here."""
    versions = list(postgres_server.find_programs())
    if not versions:
        return None
    server = postgres_server.start_with_real_clock(versions[-1], **_SETTINGS)
    for role in roles:
        setup.add_user(server.url(), role)
    return server


def _row(
    number: int,
    quantity: str,
    figures: Mapping[str, float],
    name: str,
    baseline: str,
    other: str,
    goal: Limit | None = None,
    stretch: Limit | None = None,
    times: int = 1,
) -> Row:
    """Return a row for two figures; the baseline is *times* its figure."""
    ours, theirs = figures[name], times * figures[other]
    return Row(
        number=number,
        quantity=quantity,
        measured=format_seconds(ours),
        baseline=f"{baseline}, {format_seconds(theirs)}",
        value=ours / theirs,
        goal=goal,
        stretch=stretch,
    )


async def _open(url: str) -> PostgresSessionService:
    return await PostgresSessionService.open(url, machine=MACHINE)


# -- appending -------------------------------------------------------------------------------------


def _append_rows(
    sizes: Sizes, folder: Path, server: PostgresServer, runner: asyncio.Runner
) -> Iterator[Row]:
    service = runner.run(_open(server.url("writer")))
    server.admin.execute(_BARE.encode())
    bare = pq.PGconn.connect(server.url().encode())
    bare.prepare(b"insert", _INSERT.encode())
    awaited = runner.run(psycopg.AsyncConnection.connect(server.url(), autocommit=True))
    insert = _INSERT
    for place in ("$1", "$2", "$3", "$4"):
        insert = insert.replace(place, "%b")

    def libpq() -> Callable[[], object]:
        values = [each.data or b"" for each in _bare_values()]
        return lambda: _checked(bare, bare.exec_prepared(b"insert", values, [1] * 4))

    def psycopg_await() -> Callable[[], object]:
        now, id, invocation, data = (each.data for each in _bare_values())
        assert data is not None
        values = (int.from_bytes(now or b""), id, invocation, data.decode())
        return lambda: runner.run(awaited.execute(insert.encode(), values, binary=True))

    append = runner.run(_prepare_append(service))
    sides = [
        _call_side(runner, "segue", append),
        time_calls("libpq", libpq),
        time_calls("psycopg", psycopg_await),
    ]
    with contextlib.ExitStack() as stack:
        server.admin.execute(b"CREATE DATABASE peer")
        os.environ["SEGUE_BENCH_POSTGRES"] = f"postgresql+asyncpg://{_ADMIN}@/peer?host=" + quote(
            str(server.folder)
        )
        for peer in stack.enter_context(peers.start_peers(folder, _PEER)).values():
            peer.request("create", "session", count=0)
            sides.append(peer.append_side("session", stores.DATA["content"], _PEER_APPENDS))
        figures = interleave(sides, calls=4 * sizes.calls)
    runner.run(service.close())
    runner.run(awaited.close())
    bare.finish()
    quantity = "append one event to PostgreSQL, durable"
    least = "libpq's prepared INSERT…COMMIT"
    yield _row(32, quantity, figures, "segue", least, "libpq", at_most(3), at_most(2))
    yield _row(32, quantity, figures, "segue", "psycopg's own await of that INSERT", "psycopg")
    if _PEER in figures:
        yield _row(32, quantity, figures, "segue", _PEER, _PEER, at_most(0.4))
    else:
        yield peers.absent_row(32, quantity, format_seconds(figures["segue"]), _PEER)


def _bare_values() -> Sequence[Parameter]:
    return (
        codec.int8(time.time_ns() // 1_000_000),
        codec.id(new_id()),
        codec.id(_INVOCATION),
        codec.stored_text(stores.DATA_JSON),
    )


def _checked(connection: pq.abc.PGconn, result: pq.abc.PGresult) -> pq.abc.PGresult:
    if result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
        raise RuntimeError(connection.get_error_message())
    return result


async def _prepare_append(
    service: SessionService, id: str | None = None
) -> Callable[[int], Awaitable[object]]:
    """Return a function that appends an event to a new session, or to the session *id*."""
    if id is None:
        new = NewSession(id=new_id(), directory="/")
        id = new.id
        head = (await service.create_session(new, [_event()], invocation_id=_INVOCATION)).head
    else:
        head = (await service.get_session(id)).head
    next_event = _event()

    def append(_: int) -> Awaitable[object]:
        nonlocal head, next_event
        event, next_event, parent, head = next_event, _event(), head, next_event.id
        return service.append_events(id, [event], parent_id=parent, invocation_id=_INVOCATION)

    return append


def _event() -> Event:
    return Event.new("text", stores.DATA)


def _call_side(runner: asyncio.Runner, name: str, call: Callable[[int], Awaitable[object]]) -> Side:
    numbers = itertools.count()

    async def measure(calls: int) -> Samples:
        seconds = []
        for number in itertools.islice(numbers, calls):
            called = call(number)  # what it is called with is made here
            begin = time.perf_counter()
            await called
            seconds.append(time.perf_counter() - begin)
        return {name: seconds}

    return lambda calls: runner.run(measure(calls))


# -- round trips -----------------------------------------------------------------------------------


def _round_trips_row(folder: Path, server: PostgresServer, runner: asyncio.Runner) -> Row:
    socket = folder / "proxy"
    socket.mkdir()
    counted = runner.run(_count_round_trips(server, socket))
    return Row(
        number=33,
        quantity=f"round trips of a call, the first of a connection, the most of {len(counted)}",
        measured=", ".join(f"{name} {count}" for name, count in counted.items() if count > 1),
        baseline="counted on the wire",
        value=max(counted.values()),
        unit="",
        goal=at_most(1),
    )


async def _count_round_trips(server: PostgresServer, folder: Path) -> dict[str, int]:
    """Return how often each call sends something, as the first one of its connection.

    A search is none of them: it looks some milliseconds at a time.
    """
    async with proxy(server, folder) as wire:
        service = await _open(wire.url("writer"))
        new = NewSession(id=new_id(), directory="/", git_root="/")
        await service.create_session(new, [_event()], invocation_id=_INVOCATION)
        await service.close()
        calls: dict[str, Callable[[PostgresSessionService], Awaitable[object]]] = {
            "create": lambda s: s.create_session(
                NewSession(id=new_id(), directory="/"), [_event()], invocation_id=_INVOCATION
            ),
            "append": lambda s: s.append_events(
                new.id, [_event()], parent_id=None, accept_own_head=True, invocation_id=_INVOCATION
            ),
            "open": lambda s: s.open_session(new.id, hold=True),
            "load": lambda s: s.load_events(new.id),
            "get": lambda s: s.get_session(new.id),
            "find_resumable": lambda s: s.find_resumable("/", "/", _MAX_AGE, repository="r"),
            "find_checkouts": lambda s: s.find_checkouts("r"),
            "list": lambda s: s.list_sessions(directory="/"),
            "set_title": lambda s: s.set_title(new.id, "title"),
            "archive": lambda s: s.archive(new.id),
            "set_metadata": lambda s: s.set_metadata(new.id, "key", 1),
            "get_metadata": lambda s: s.get_metadata(new.id, "key"),
            "find_metadata": lambda s: s.find_metadata("key"),
            "delete": lambda s: s.delete(new.id),
        }
        counted = {}
        for name, call in calls.items():
            service = await _open(wire.url("writer"))
            before = wire.requests
            await call(service)
            counted[name] = wire.requests - before
            await service.close()
        return counted


# -- long sessions ---------------------------------------------------------------------------------


def _length_rows(sizes: Sizes, server: PostgresServer, runner: asyncio.Runner) -> Iterator[Row]:
    lengths = {
        "short": _SHORT,
        "1,000": 1_000,
        "60,000": min(60_000, sizes.longest),
        "long": sizes.longest,
    }
    with contextlib.ExitStack() as stack:
        service = runner.run(_open(server.url("writer")))
        stack.callback(lambda: runner.run(service.close()))
        sides = []
        for name, length in lengths.items():
            id = runner.run(_store_events(service, length))
            sides += [
                _call_side(runner, f"open {name}", partial(_open_tail, service, id)),
                _call_side(runner, f"retry {name}", partial(_retry, service, id)),
                _call_side(runner, f"page {name}", partial(_middle, service, id, length)),
                _call_side(runner, f"append {name}", runner.run(_prepare_append(service, id))),
            ]
        figures = interleave(sides, calls=2 * sizes.calls)
    quantity = f"open a session of {sizes.longest:,} events in PostgreSQL (its last {_TAIL})"
    yield _row(34, quantity, figures, "open long", f"one of {_SHORT}", "open short", at_most(1.2))
    for call in ("retry", "page", "append"):
        yield _row(
            35,
            f"never analyzed: {call}, a session of {lengths['60,000']:,} events",
            figures,
            f"{call} 60,000",
            "one of 1,000",
            f"{call} 1,000",
            at_most(1.5),
        )


async def _store_events(service: PostgresSessionService, count: int) -> str:
    """Store a session of *count* events with the ids 1 to *count*, by appends; return its id."""
    new = NewSession(id=new_id(), directory="/")
    head: str | None = None
    for first in range(1, count + 1, 5_000):
        numbers = range(first, min(first + 5_000, count + 1))
        events = [Event.new("text", stores.DATA, str(number)) for number in numbers]
        if head is None:
            await service.create_session(new, events, invocation_id=_INVOCATION)
        else:
            await service.append_events(new.id, events, parent_id=head, invocation_id=_INVOCATION)
        head = events[-1].id
    return new.id


def _open_tail(service: PostgresSessionService, id: str, _: int) -> Awaitable[object]:
    return service.open_session(id, _TAIL)


def _retry(service: PostgresSessionService, id: str, number: int) -> Awaitable[object]:
    event = Event.new("text", stores.DATA, str(1 + number % _SHORT))
    return service.append_events(id, [event], parent_id=None, invocation_id=_INVOCATION)


def _middle(
    service: PostgresSessionService, id: str, length: int, number: int
) -> Awaitable[object]:
    return service.load_events(id, after=number * 7919 % max(1, length - _TAIL), limit=_TAIL)


# -- many sessions ---------------------------------------------------------------------------------


def _finding_rows(sizes: Sizes, server: PostgresServer, runner: asyncio.Runner) -> Iterator[Row]:
    count = sizes.sessions[-1]
    service = runner.run(_open(server.url("owner")))
    account = service._client.account
    _fill(server, account, count)
    server.admin.execute(_GRANT.encode(), (account, _SHARED))
    reader = runner.run(_open(server.url("reader")))
    shared = [each.id for each in runner.run(reader.list_sessions(limit=_PAGE)).sessions]
    hot: dict[str, Any] = {
        "directory": "/repositories/hot/src",
        "git_root": "/repositories/hot",
        "git_common_dir": "/repositories/hot/.git",
    }
    user, admin = (pq.PGconn.connect(server.url(role).encode()) for role in ("owner", _ADMIN))
    anywhere = partial(service.list_sessions, limit=_PAGE)
    here = {
        "": partial(_root, count),
        **{name: partial(_named_root, name) for name in ("hot", "archived", "none")},
    }
    by_key = partial(_key_values, account, count)
    sides = [
        _statement_side("by key", admin, _BY_KEY, by_key),
        _call_side(runner, "get", partial(_get, service, count)),
        _call_side(runner, "list", lambda _: anywhere()),
        _call_side(runner, "list by prompt", lambda _: anywhere(order="lastPrompt")),
        _call_side(runner, "list hot", lambda _: anywhere(**hot)),
        _call_side(runner, "list hot by prompt", lambda _: anywhere(order="lastPrompt", **hot)),
        _call_side(runner, "move", partial(_move, service, count)),
        _call_side(runner, "shared", lambda _: reader.list_sessions(limit=_PAGE)),
        _call_side(
            runner,
            "shared by prompt",
            lambda _: reader.list_sessions(limit=_PAGE, order="lastPrompt"),
        ),
        _call_side(runner, "short ids of shared", lambda _: reader.short_ids(shared)),
    ]
    for name, root in here.items():
        values = partial(_find_values, account, root)
        sides += [
            _statement_side(f"statement {name}", user, _FIND, values),
            _call_side(runner, f"find {name}", partial(_find, service, root)),
        ]
    figures = interleave(sides, calls=sizes.calls)
    for connection in (user, admin):
        connection.finish()
    for each in (service, reader):
        runner.run(each.close())
    among = f"find_resumable in PostgreSQL among {count:,}"
    for name, label in _PLACES.items():
        statement = (f"{among}, the statement alone, {label}", figures, f"statement {name}")
        yield _row(
            36,
            *statement,
            "one row by its key, sent the same way",
            "by key",
            at_most(3),
            at_most(2),
        )
    for name, label in _PLACES.items():
        call = (f"{among}, the whole call, {label}", figures, f"find {name}")
        yield _row(36, *call, "one session by its id", "get")
    for name, label in (
        ("list", f"among {count:,}"),
        ("list by prompt", f"among {count:,}, by their last prompts"),
        ("list hot", f"of {count // stores.HOT_SHARE:,} in its repository"),
        ("list hot by prompt", f"of {count // stores.HOT_SHARE:,} there by their last prompts"),
    ):
        quantity = f"the first page of {_PAGE} sessions in PostgreSQL, {label}"
        baseline = f"{_PAGE} sessions by their ids"
        goals = (at_most(1), at_most(0.5))
        yield _row(37, quantity, figures, name, baseline, "get", *goals, times=_PAGE)
    for name, quantity in (
        (
            "shared",
            f"the first page of {_PAGE} sessions, of {_SHARED:,} that are shared one by one",
        ),
        ("shared by prompt", "the same by their last prompts"),
        ("short ids of shared", "their short ids"),
    ):
        yield _row(
            37, quantity, figures, name, f"{_PAGE} sessions by their ids", "get", times=_PAGE
        )
    yield _row(
        37,
        f"move {stores.PER_DIRECTORY} sessions of a checkout in PostgreSQL, among {count:,}",
        figures,
        "move",
        f"{stores.PER_DIRECTORY} sessions by their ids",
        "get",
        at_most(3),
        times=stores.PER_DIRECTORY,
    )


def _fill(server: PostgresServer, account: int, count: int) -> None:
    values = {
        "owner": account,
        "machine": codec.pack(MACHINE.id),
        "now": time.time_ns() // 1_000_000,
        "hot": count // stores.HOT_SHARE,
        "per_directory": stores.PER_DIRECTORY,
        "count": count,
    }
    with server.admin.transaction():
        server.admin.execute(_PLACE.format(MACHINE.id).encode())
        server.admin.execute(_FILL.encode(), values)
    server.admin.execute(b"CHECKPOINT")


def _statement_side(
    name: str,
    connection: pq.abc.PGconn,
    statement: str,
    values: Callable[[int], Sequence[Parameter]],
) -> Side:
    numbers = itertools.count()

    def prepare() -> Callable[[], object]:
        parameters = values(next(numbers))
        given, oids = [each.data for each in parameters], [each.oid for each in parameters]
        formats = [pq.Format.BINARY] * len(given)

        def run() -> None:
            # Not prepared, as by the store: a pool need not know of statements.
            sent = statement.encode()
            result = connection.exec_params(sent, given, oids, formats, pq.Format.BINARY)
            assert _checked(connection, result).ntuples or name.endswith(("none", "archived"))

        return run

    return time_calls(name, prepare)


def _find_values(account: int, root: Callable[[int], str], number: int) -> Sequence[Parameter]:
    places = [f"{root(number)}/src", root(number)]
    return (
        codec.int8(account),
        codec.binaries([codec.place_key(MACHINE.id, place) for place in places]),
        codec.binary(None),
        codec.text(None),
        codec.id(MACHINE.id),
        codec.int8(_MAX_AGE // timedelta(milliseconds=1)),
        codec.int8(60_000),
        codec.int4(MAX_RESUMABLE),
    )


def _key_values(account: int, count: int, number: int) -> Sequence[Parameter]:
    return codec.int8(account), codec.id(_session_id(count, number))


def _find(
    service: PostgresSessionService, root: Callable[[int], str], number: int
) -> Awaitable[object]:
    return service.find_resumable(f"{root(number)}/src", root(number), _MAX_AGE)


async def _move(service: PostgresSessionService, count: int, number: int) -> None:
    root = f"/repositories/{count * 3 // 10 // stores.PER_DIRECTORY}"  # where nothing is found
    old, new = (f"{parent}{root}" for parent in ("", "/moved"))
    if number % 2:
        old, new = new, old
    assert await service.move_sessions(old, new) == stores.PER_DIRECTORY


def _get(service: PostgresSessionService, count: int, number: int) -> Awaitable[object]:
    return service.get_session(_session_id(count, number))


def _root(count: int, number: int) -> str:
    # Of the second half: directories with low numbers may have no session of their own.
    last = count // stores.PER_DIRECTORY - 1
    return f"/repositories/{last - number * 31 % (last // 2 + 1)}"


def _named_root(name: str, _: int) -> str:
    return f"/repositories/{name}"


def _session_id(count: int, number: int) -> str:
    return f"session-{number * 7919 % count + 1}"


# -- bytes -----------------------------------------------------------------------------------------


def _size_rows(
    sizes: Sizes, folder: Path, server: PostgresServer, runner: asyncio.Runner
) -> Iterator[Row]:
    """Compare the bytes of the same conversations, written by the same calls."""
    path = folder / "size" / "sessions.db"
    local = runner.run(LocalSessionService.open(path))
    remote = runner.run(_open(server.url("sizes")))
    before = _table_bytes(server)
    for service in (local, remote):
        runner.run(_store_conversations(service, sizes.events))
        runner.run(service.close())
    ours = (_table_bytes(server) - before) / sizes.events
    theirs = path.stat().st_size / sizes.events
    yield Row(
        number=38,
        quantity=f"bytes in PostgreSQL for each event of {len(stores.DATA_JSON)} bytes",
        measured=f"{ours:.0f}",
        baseline=f"the same conversations in SQLite, {theirs:.0f}",
        value=ours / theirs,
        goal=at_most(1.3),
        stretch=at_most(1.2),
    )


async def _store_conversations(service: SessionService, events: int) -> None:
    for _ in range(events // 200):
        append = await _prepare_append(service)
        for number in range(199):
            await append(number)


def _table_bytes(server: PostgresServer) -> int:
    row: Any = server.admin.execute(_TABLES.encode()).fetchone()
    return int(row[0])


# -- searching -------------------------------------------------------------------------------------


def _search_rows(sizes: Sizes, server: PostgresServer, runner: asyncio.Runner) -> Iterator[Row]:
    """Compare searches, and appends, with an index and without; fewer than 16,384 have none."""
    count = sizes.searched
    service, other = (runner.run(_open(server.url(role))) for role in ("searcher", "writer"))
    service._index_again_at = math.inf  # not after the first search
    text_bytes = runner.run(_store_texts(service, count))

    def figures_of(calls: int) -> dict[str, float]:
        return interleave(
            [
                _call_side(runner, query, partial(_search, service, query))
                for query in search.QUERIES.values()
            ],
            calls=calls,
        )

    # Not in turns: an index is there, or it is not.
    without = figures_of(1)
    begin = time.perf_counter()
    state = runner.run(service.update_index())
    seconds = time.perf_counter() - begin
    found = figures_of(min(sizes.calls, 20))
    appends = [
        _call_side(runner, name, runner.run(_prepare_append(each)))
        for name, each in (("with", service), ("without", other))
    ]
    figures = interleave(appends, calls=4 * sizes.calls)
    for each in (service, other):
        runner.run(each.close())
    indexed = 0 if state is None else state.events
    for name, query in search.QUERIES.items():
        quantity = f"search {name} in PostgreSQL, {count:,} events, the first {_PAGE} hits"
        yield Row(
            number=16,
            quantity=f"{quantity}, {indexed:,} indexed",
            measured=format_seconds(found[query]),
            baseline=f"looking through them, {format_seconds(without[query])}",
            value=without[query] / found[query],
            unit="x faster",
        )
    quantity = f"append to PostgreSQL with {indexed:,} events indexed"
    yield _row(17, quantity, figures, "with", "without an index", "without", at_most(1.05))
    size: Any = server.admin.execute(_INDEX_TABLES.encode()).fetchone()
    yield Row(
        number=19,
        quantity=f"bytes of the index in PostgreSQL a byte of text, made in {seconds:.0f} s",
        measured=f"{int(size[0]) / text_bytes:.2f}",
        baseline="the text",
        value=int(size[0]) / text_bytes if indexed else None,
        unit="",
        goal=at_most(0.45),
    )


async def _store_texts(service: PostgresSessionService, count: int) -> int:
    """Store the texts of the bench of searches; return their bytes."""
    size = 0
    for texts in search.made_texts(count):
        size += sum(len(text.encode()) for text in texts)
        events = [Event.new("text", {"content": text}) for text in texts]
        new = NewSession(id=new_id(), directory="/")
        await service.create_session(new, events, invocation_id=_INVOCATION)
    return size


async def _search(service: PostgresSessionService, query: str, _: int) -> None:
    """Search on until the page is full or all was looked at."""
    cursor, hits = None, 0
    while True:
        page = await service.search(query, limit=_PAGE - hits, cursor=cursor)
        cursor, hits = page.next_cursor, hits + len(page.hits)
        if cursor is None or hits == _PAGE:
            return


# -- local first -----------------------------------------------------------------------------------


def _remote_rows(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Compare appends to SQLite with and without a remote with which it is kept in step."""
    sides = []
    with contextlib.ExitStack() as stack:
        for name in ("plain", "in step"):
            path = folder / name / "sessions.db"
            path.parent.mkdir()
            if name == "in step":
                _set_remote(path, folder / "remote.db")
            server = Server(path)
            stack.callback(server.shut_down)
            server.initialize()
            opened = server.request("session/open", {"workspace": str(folder), "mode": "new"})
            append = append_factory(server, opened["session"]["sessionId"])
            append()()
            if name == "in step":
                stack.enter_context(_in_step(path))
            sides.append(time_calls(name, append))
        with pin_to_one_cpu():
            # In blocks: what an append leaves to be brought in step is done in its own block.
            rounds = alternate(sides, rounds=sizes.rounds, calls=sizes.calls)
    figures = {name: figure.p50 for name, figure in rounds.items()}
    quantity = (
        "append one event to SQLite over stdio, with `remote` and beside `segue sync --watch`"
    )
    yield _row(39, quantity, figures, "in step", "without", "plain", at_most(1.05))


def _set_remote(path: Path, remote: Path) -> None:
    config = path.parent / "segue" / "config.toml"  # as `Server` has it
    config.parent.mkdir()
    config.write_text(f"remote = {json.dumps(str(remote))}\n")


@contextlib.contextmanager
def _in_step(path: Path) -> Iterator[None]:
    """Keep a database and its remote in step, in a process of its own."""
    home = {"SEGUE_DATABASE": str(path), "XDG_CONFIG_HOME": str(path.parent)}
    process = subprocess.Popen(
        [*_SEGUE, "sync", "--watch", "--create"],
        env=environment(CHECKOUT) | home,
        stdout=subprocess.DEVNULL,
    )
    try:
        yield
        if process.poll() is not None:
            raise RuntimeError(f"`segue sync --watch` has ended with {process.returncode}")
    finally:
        process.terminate()
        process.wait()
