"""Damages copies of a good database, opens them as a window does, and compares what is left.

A server always starts. A damaged file is quarantined, and the rows on undamaged pages are in the
database that takes its place, also those that only a damaged interior page led to: they are counted
apart, and so are rows that are read where the damage was not noticed.

The database is of the current schema version first, then of every other one, opened by a Segue that
has one more migration, which adds columns.
"""

import asyncio
import contextlib
import hashlib
import itertools
import json
import multiprocessing
import os
import re
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import attrs

from segue.cli.client import Client, RequestError
from segue.model.errors import StorageCorrupt, StorageError
from segue.model.events import Event
from segue.model.records import NewFork, NewSession
from segue.store.service import SessionService
from segue.store.sqlite import driver, schema
from segue.store.sqlite.service import LocalSessionService
from tests.faults.page_layout import Layout, layout
from tests.faults.runner import Report, Size, main
from tests.faults.sandbox import database_in, sandbox, silent_stderr
from tests.schema_versions import COLUMNS, MIGRATIONS, VERSIONS, store_at_version

DAMAGES: dict[Size, int] = {"short": 60, "long": 1_000}
DAMAGES_OF_EACH_VERSION: dict[Size, int] = {"short": 2, "long": 40}
OVER_STDIO_EVERY = 20
SESSIONS, EVENTS, FORK_EVENTS = 25, 60, 20
LARGE_EVERY = 15
PAGE = 4_096
PATIENCE_S = 5.0
ENOUGH, FEW = 0.99, 100
"""The share of the rows that must be kept; it is checked only where there are so many rows."""

OUTSIDE, BEHIND = "rows on undamaged pages", "rows behind a damaged interior page"
HOW = ("quarantined", "undetected")
ONLY_DAMAGE = "only damage quarantines a database"
CORRUPT_OVER_STDIO = "damage is reported as StorageCorrupt over stdio"
QUARANTINED = re.compile(
    r"(?P<where>.+) was damaged\. It was quarantined as (?P<quarantined>.+); "
    r"(?P<events>\d+) events of (?P<sessions>\d+) sessions that could still be read are in "
    r"(?P=where), which is in use from now on\."
)


@attrs.frozen
class Good:
    """An undamaged database, its content, and the pages of each event."""

    database: Path
    content: bytes
    events: dict[str, int]
    """Each event's summary (see `_summary`), and its key in the table."""
    sessions: list[str]
    layout: Layout


@attrs.define
class ReadResult:
    """What a window found and which errors it got when it read everything."""

    errors: list[StorageError] = attrs.field(factory=list)
    crash: str = ""
    summaries: list[str] = attrs.field(factory=list)
    sessions: list[str] = attrs.field(factory=list)


async def make_good(folder: Path) -> Good:
    """Fill a database: small events and large ones, and metadata, all in the main file."""
    database = folder / "good" / "sessions.db"
    service = await LocalSessionService.open(database)
    ids = []
    for number in range(SESSIONS):
        new = NewSession(
            id=f"session {number}", directory=f"/project/{number}", metadata={"key": number}
        )
        events = [_event(number, seq) for seq in range(EVENTS)]
        await service.create_session(new, events, invocation_id=f"window {number}")
        ids.append(new.id)
    await _fork(service, ids)
    await service.close()
    return _inspected(database, ids)


async def _fork(service: SessionService, ids: list[str]) -> None:
    """Add forks, also of forks, with events of their own; delete a session that one was made of."""
    for number, original in enumerate([ids[20], ids[21], "fork 1", "fork 2", ids[22]]):
        id = f"fork {number}"
        page = await service.load_events(original, after=20 + 5 * number, limit=1)
        fork = NewFork(id=id, at=page.events[0].id)
        head = (await service.fork_session(original, fork)).head
        own = [_event(SESSIONS + number, seq) for seq in range(FORK_EVENTS)]
        await service.append_events(id, own, parent_id=head, invocation_id="window")
    await service.delete(ids.pop(21))


def _event(session: int, seq: int) -> Event:
    size = 9_000 if seq % LARGE_EVERY == 7 else 200
    return Event.new("user_message", {"content": f"payload {session}-{seq} {'x' * size}"})


def _inspected(database: Path, ids: list[str]) -> Good:
    with contextlib.closing(driver.connect_to_read(str(database))) as db:
        rows = db.execute("SELECT key, data FROM events").fetchall()
    keys = {_summary(data): key for key, data in rows}
    assert len(keys) == len(rows)
    return Good(database, database.read_bytes(), keys, ids, layout(database, "events"))


def _summary(text: str) -> str:
    """Return an event's name and the digest of its data."""
    name = re.search(r"payload \d+-\d+", text)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{name[0] if name else '?'} {digest}"


def kept_of_each(where: str, how: str) -> str:
    """Return the promise about the rows of one damaged file."""
    return f"{how}: of the {where} {ENOUGH:.0%} are kept"


def kept_of_all(where: str, how: str) -> str:
    """Return the promise about the rows of all damaged files together."""
    return f"{how}: of all the {where} {ENOUGH:.0%} are kept"


Damage = Callable[[Random, bytearray], None]


def flip(chance: Random, content: bytearray) -> None:
    """Flip bits of a few bytes."""
    for _ in range(chance.choice([1, 1, 2, 8])):
        content[chance.randrange(len(content))] ^= chance.randrange(1, 256)


def flip_in_page_header(chance: Random, content: bytearray) -> None:
    """Flip bytes of page headers: SQLite rarely misses that."""
    at = chance.randrange(len(content) // PAGE) * PAGE
    for _ in range(chance.choice([1, 2, 4])):
        content[at + chance.randrange(40) + (100 if at == 0 else 0)] ^= chance.randrange(1, 256)


def wipe(chance: Random, content: bytearray) -> None:
    """Overwrite whole pages with zeros, or with garbage."""
    for _ in range(chance.choice([1, 1, 2, 3])):
        at = chance.randrange(len(content) // PAGE) * PAGE
        content[at : at + PAGE] = chance.choice([bytes(PAGE), chance.randbytes(PAGE)])


def cut(chance: Random, content: bytearray) -> None:
    """Cut off the end of the file, between pages or within one."""
    keep = chance.randrange(len(content) // 2, len(content))
    del content[keep - keep % chance.choice([1, PAGE]) :]


def damage_first_page(chance: Random, content: bytearray) -> None:
    """Damage the first page, which has the header and the schema."""
    if chance.random() < 0.5:
        content[:PAGE] = chance.choice([bytes(PAGE), chance.randbytes(PAGE)])
    else:
        content[chance.randrange(100)] ^= chance.randrange(1, 256)


DAMAGE: dict[str, Damage] = {
    "flipped": flip, "flipped in page headers": flip_in_page_header, "wiped": wipe, "cut": cut,
    "first page": damage_first_page,
}  # fmt: skip


# -- targeted damage: what random damage rarely does --


def remove_a_value(chance: Random, content: bytearray) -> None:
    """Replace an event's data by a null, and shorten its row to match, which SQLite checks."""
    # A null for the key, a blob of 16 bytes, a byte, six bytes of time, a text of 12, a text.
    columns = rb"\x08\x00\x2c\x01\x05\x25([\x80-\xff][\x00-\x7f])"
    row = re.compile(rb"([\x80-\xff][\x00-\x7f])[\x81-\xff][\x80-\xff]{3}[\x00-\x7f]" + columns)
    found = chance.choice(list(row.finditer(content)))
    for which, value in ((1, 8 + 16 + 1 + 6 + 12), (2, 0)):
        content[found.start(which) : found.end(which)] = bytes([0x80, value])


def disorder_a_key(chance: Random, content: bytearray) -> None:
    """Change the key of an early event of a session: out of order, it hides those behind it."""
    early = re.compile(rb"([\x81-\xff])[\x80-\xff]{3}[\x0a-\x10]\x08\x00\x2c[\x01-\x09]\x05\x25")
    at = chance.choice(list(early.finditer(content))).start(1)
    content[at] = 0xFF


def change_id_in_index(chance: Random, content: bytearray) -> None:
    """Change an id in the index of the sessions, and nowhere else."""
    pages = [at for at in range(0, len(content), PAGE) if content[at] == 0x0A]
    at = chance.choice([at for at in pages if b"session 1" in content[at : at + PAGE]])
    content[content.index(b"session 1", at)] = ord("S")


def cut_within_the_last_page(chance: Random, content: bytearray) -> None:
    """Cut off a few bytes."""
    del content[-chance.randrange(1, PAGE) :]


def damage_interior_page(chance: Random, content: bytearray) -> None:
    """Overwrite the interior page that leads to every event."""
    pages = range(PAGE, len(content), PAGE)
    at = max((at for at in pages if content[at] == 0x05), key=lambda at: content[at + 3 : at + 5])
    content[at : at + PAGE] = chance.choice([bytes(PAGE), chance.randbytes(PAGE)])


def in_header(first: int, size: int) -> Damage:
    """Return damage to one byte of a number in the header."""

    def damage(chance: Random, content: bytearray) -> None:
        content[first + chance.randrange(size)] ^= chance.randrange(1, 256)

    return damage


TARGETED: dict[str, Damage] = {
    "value removed": remove_a_value, "key out of order": disorder_a_key,
    "id changed in the index": change_id_in_index,
    "cut within the last page": cut_within_the_last_page, "interior page": damage_interior_page,
    "write version": in_header(18, 1), "read version": in_header(19, 1),
    "schema format": in_header(44, 4), "user version": in_header(60, 4),
    "application id": in_header(68, 4), "rest of the header": in_header(16, 56),
}  # fmt: skip
TARGETED_DAMAGES: dict[Size, int] = {"short": 4, "long": 50}


def targeted(kind: str) -> str:
    """Return the promise about targeted damage."""
    return f"targeted damage is handled: {kind}"


def hit_pages(good: bytes, bad: bytes) -> set[int]:
    """Return the numbers of the pages that differ."""
    pages = range(0, len(good), PAGE)
    return {at // PAGE + 1 for at in pages if good[at : at + PAGE] != bad[at : at + PAGE]}


class Victim:
    """A damaged copy, and the checks of what a window makes of it."""

    def __init__(self, report: Report, good: Good, database: Path, content: bytes) -> None:
        self._report = report
        self._good = good
        self._database = database
        self._hit = hit_pages(good.content, content)
        self._content = content
        shutil.rmtree(database.parent, ignore_errors=True)
        database.parent.mkdir(mode=0o700)
        database.write_bytes(content)
        shutil.copy(f"{good.database}-lock", f"{database}-lock")

    def judge(self, found: ReadResult, kind: str) -> None:
        """Compare what was found with what must be left."""
        report = self._report
        report.count(f"damaged: {kind}")
        promise = "damage raises nothing but StorageError"
        report.expect(not found.crash, promise, found.crash)
        if found.crash:
            report.count("salvage failed")
        elif 1 in self._hit and self._is_disowned():
            self._judge_disowned(found)
        elif not found.errors:
            report.count("undetected")
            self._judge_rows(found, "undetected")
        else:
            report.count("quarantined")
            self._judge_messages(found)
            self._judge_rows(found, "quarantined")

    def _is_disowned(self) -> bool:
        return self._database.read_bytes() == self._content

    def _judge_disowned(self, found: ReadResult) -> None:
        """Check a file that was left as it is because of its damaged first page."""
        self._report.count("first page damaged, file left unchanged")
        self._report.expect(
            bool(found.errors) or bool(found.summaries), "a file that is left unchanged is reported"
        )
        self._report.expect(not found.errors, "a window opens a session, whatever is damaged",
                            f"pages {sorted(self._hit)}: {found.errors[:1]}")  # fmt: skip

    def _judge_messages(self, found: ReadResult) -> None:
        reported = [match for error in found.errors if (match := QUARANTINED.fullmatch(str(error)))]
        example = "; ".join(map(str, found.errors))
        self._report.expect(len(reported) == 1, "damage is reported once, with both paths", example)
        corrupt = all(isinstance(error, StorageCorrupt) for error in found.errors)
        self._report.expect(corrupt, "damage is reported as StorageCorrupt", example)
        if not reported:
            return
        self._report.expect(
            reported[0]["where"] == str(self._database), "the reported path is right"
        )
        moved = Path(reported[0]["quarantined"])
        content = moved.read_bytes() if moved.exists() else b""
        # Damage that a migration does not notice is found later.
        is_migrated = content[60:64] == len(schema.MIGRATIONS).to_bytes(4, "big")
        kept = content == self._content or (is_migrated and content[60:64] != self._content[60:64])
        self._report.expect(kept, "the quarantined file is unchanged", str(self._hit))
        counts = (int(reported[0]["sessions"]), int(reported[0]["events"]))
        real = (len(found.sessions), len(set(found.summaries)))  # forks have the same events
        self._report.expect(counts == real, "the reported counts are right", f"{counts}, {real}")

    def _judge_rows(self, found: ReadResult, how: str) -> None:
        places = self._good.layout
        events = self._good.events
        own, above = places.own, places.above
        outside = {summary for summary, key in events.items() if not own[key] & self._hit}
        behind = {summary for summary in outside if above[events[summary]] & self._hit}
        if how == "undetected" and self._hit - places.pages:
            behind = outside  # a page of an index, or of the sessions, leads to any event
        for where, rows in ((OUTSIDE, outside - behind), (BEHIND, behind)):
            kept = rows & set(found.summaries)
            self._report.count(f"{where}, {how}", len(rows))
            self._report.count(f"{where}, {how}: kept", len(kept))
            if len(rows) >= FEW and (where, how) != (BEHIND, "undetected"):
                share = len(kept) / len(rows)
                example = f"{share:.1%} with pages {sorted(self._hit)[:5]} hit"
                self._report.expect(share >= ENOUGH, kept_of_each(where, how), example)
        strange = [summary for summary in found.summaries if summary not in events]
        self._report.count(f"rows altered, {how}", len(strange))


async def read_all(database: Path) -> ReadResult:
    """Read everything, as a window does that retries after an error."""
    found = ReadResult()
    for _ in range(4):
        try:
            service = await LocalSessionService.open(database)
        except StorageError as error:
            found.errors.append(error)
            continue
        except Exception as error:
            found.crash = repr(error)[:200]
            break
        try:
            await _read(service, found)
        except StorageError as error:
            found.errors.append(error)
            continue
        except Exception as error:
            found.crash = repr(error)[:200]
        finally:
            await service.close()
        break
    return found


def read_in_child(database: Path) -> ReadResult:
    """Read everything in another process, which is killed if it hangs."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    reader = multiprocessing.get_context("fork").Process(
        target=_send_result, args=(database, theirs)
    )
    reader.start()
    theirs.close()
    try:
        if ours.poll(PATIENCE_S):
            return ours.recv()  # type: ignore[no-any-return]  # what _send_result sent
        return ReadResult(crash=f"nothing after {PATIENCE_S} seconds")
    except EOFError:
        return ReadResult(crash=f"exit code {reader.exitcode}")
    finally:
        reader.kill()
        reader.join()


def _send_result(database: Path, to: Any) -> None:
    to.send(asyncio.run(read_all(database)))


async def _read(service: SessionService, found: ReadResult) -> None:
    found.summaries.clear()
    page = await service.list_sessions(archived=True, limit=1_000)
    found.sessions = [session.id for session in page.sessions]
    for id in found.sessions:
        await service.get_metadata(id, "key")
        await service.get_session(id)
        after, more = 0, True
        while more:
            events = await service.load_events(id, after=after, limit=1_000)
            found.summaries += [_summary(_text(event.data)) for event in events.events]
            more = events.has_more
            after = events.events[-1].seq if events.events else after
    await _write_and_delete(service)


def _text(data: Any) -> str:
    # As it is stored, so that the digests can be compared.
    if isinstance(data, dict):
        return Event.new("any", data).json_text
    return data if isinstance(data, str) else json.dumps(data)


async def _write_and_delete(service: SessionService) -> None:
    """Store a session and delete it: both must work after a recovery."""
    new = NewSession(id="new", directory="/new")
    await service.create_session(new, [Event.new("text", {"content": "x"})], invocation_id="1")
    await service.delete("new")


def over_stdio(report: Report, folder: Path) -> None:
    """Open the damaged file with a real server, as an editor does: at most one request fails."""
    client = Client(folder)
    client.initialize()
    report.count("servers that answered initialize")
    errors = []
    for _ in range(3):
        try:
            _work(client)
            break
        except RequestError as error:
            errors.append(f"{error.kind}: {error.message}")
    else:
        report.expect(False, "a window opens a session, whatever is damaged", errors[-1])
    for each in errors:
        report.expect(each.startswith("StorageCorrupt"), CORRUPT_OVER_STDIO, each)
    code = client.shutdown()
    report.expect(code == 0, "a server exits with 0 after damage", f"exit code {code}")


def _work(client: Client) -> None:
    for session in client.request("session/list", {"limit": 1_000})["sessions"]:
        client.request("session/open", {"sessionId": session["sessionId"]})
    session = client.request("session/open", {"mode": "new"})["session"]["sessionId"]
    event = {"type": "text", "data": {"content": "goes on"}}
    client.request("session/append", {"sessionId": session, "events": [event]})


def damage_all(report: Report, good: Good, chance: Random, folder: Path) -> None:
    """Damage copies with each kind of random damage in turn."""
    report.counts["pages"] = len(good.content) // PAGE
    database = database_in(folder)
    kinds = list(DAMAGE)
    for number in range(DAMAGES[report.size]):
        kind = kinds[number % len(kinds)]
        content = bytearray(good.content)
        DAMAGE[kind](chance, content)
        victim = Victim(report, good, database, bytes(content))
        if number % OVER_STDIO_EVERY == OVER_STDIO_EVERY - 1:
            over_stdio(report, folder)
        else:
            victim.judge(read_in_child(database), kind)
        report.count("random damages")


def sum_up(report: Report) -> None:
    """Check the share of the rows that was kept of all damaged files together."""
    for where, how in itertools.product((OUTSIDE, BEHIND), HOW):
        rows = report.counts.get(f"{where}, {how}", 0)
        kept = report.counts.get(f"{where}, {how}: kept", 0)
        example = f"{kept} of {rows}"
        report.expect(kept >= ENOUGH * rows, kept_of_all(where, how), example)


@mock.patch.multiple(schema, MIGRATIONS=MIGRATIONS, COLUMNS=COLUMNS)
def damage_every_version(report: Report, good: Good, chance: Random, folder: Path) -> None:
    """Damage files of every schema version, and open them with one more migration."""
    damages = list(DAMAGE.items()) * DAMAGES_OF_EACH_VERSION[report.size] + list(TARGETED.items())
    for version in VERSIONS:
        database = folder / f"version-{version}" / "sessions.db"
        store_at_version(good.database, database, version)
        older = _inspected(database, good.sessions)
        for kind, damage in damages:
            content = bytearray(older.content)
            damage(chance, content)
            if version == 1:
                _keep_version(content)
            database = database_in(folder)
            Victim(report, older, database, bytes(content)).judge(read_in_child(database), kind)
            report.count(f"damages of schema version {version}")


def _keep_version(content: bytearray) -> None:
    """Undo damage that makes the file look like a later Segue's, which is left as it is.

    Version 1 has no table of the versions that may read it.
    """
    if content[68:72] == schema.APPLICATION_ID.to_bytes(4, "big"):
        content[60:64] = (1).to_bytes(4, "big")


def damage_targets(report: Report, good: Good, chance: Random, folder: Path) -> None:
    """Do each kind of targeted damage."""
    for kind, number in itertools.product(TARGETED, range(TARGETED_DAMAGES[report.size])):
        content = bytearray(good.content)
        TARGETED[kind](chance, content)
        database = database_in(folder)
        victim = Victim(report, good, database, bytes(content))
        before = sum(report.violations.values())
        victim.judge(read_in_child(database), kind)
        met = sum(report.violations.values()) == before
        report.expect(met, targeted(kind), f"number {number}")
        report.count("targeted damages")


# -- errors that are no damage -----------------------------------------------------------------


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Hold SQLite's write lock."""
    with contextlib.closing(driver.connect(str(database))) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


@contextlib.contextmanager
def without_space(database: Path) -> Iterator[None]:
    """Limit the size of files to zero: to SQLite this is an I/O error."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def as_somebody_else(database: Path) -> Iterator[None]:
    """Become a user who may not read the file; without root, take the permission away."""
    mine = os.geteuid()
    mode = database.stat().st_mode
    database.chmod(0)
    if mine == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        if mine == 0:
            os.seteuid(mine)
        database.chmod(mode)


@contextlib.contextmanager
def full(database: Path) -> Iterator[None]:
    """Make every new connection report a full disk."""
    connect = driver.connect

    def with_no_more_pages(path: str) -> driver.Connection:
        db = connect(path)
        db.execute("PRAGMA max_page_count = 1")
        return db

    driver.connect = with_no_more_pages
    try:
        yield
    finally:
        driver.connect = connect


NO_DAMAGE: dict[str, Callable[[Path], contextlib.AbstractContextManager[None]]] = {
    "busy": locked, "I/O error": without_space, "permission denied": as_somebody_else, "full": full,
}  # fmt: skip


async def _try_to_write(database: Path) -> str:
    try:
        service = await LocalSessionService.open(database)
    except StorageError as error:
        return error.kind
    try:
        new = NewSession(id="large", directory="/large")
        events = [Event.new("text", {"content": "x" * 1_000_000})]
        await service.create_session(new, events, invocation_id="1")
    except StorageError as error:
        return error.kind
    finally:
        await service.close()
    return "no error"


@mock.patch.object(driver, "BUSY_TIMEOUT_S", 0.2)
def no_damage(report: Report, good: Good, folder: Path) -> None:
    """Cause every other error: none of them quarantines the database."""
    for name, trouble in NO_DAMAGE.items():
        place = folder / name.replace("/", "")
        database = place / "sessions.db"
        shutil.copytree(folder / "good", place)
        with trouble(database):
            kind = asyncio.run(_try_to_write(database))
        report.counts[f"no damage: {name}"] = kind
        promise = f"no damage: {name} is reported as another error"
        report.expect(kind not in ("no error", "StorageCorrupt"), promise, kind)
        beside = [each.name for each in place.iterdir() if "corrupt" in each.name]
        report.expect(not beside, ONLY_DAMAGE, f"{name}: {beside}")
        again = asyncio.run(read_all(database))
        whole = not again.errors and set(again.summaries) == good.events.keys()
        promise = "an error that is no damage loses nothing"
        report.expect(whole, promise, f"{name}: {again.errors[:1]}")


def run(report: Report, chance: Random) -> None:
    """Do all the damage, and cause the errors that are no damage."""
    with sandbox() as folder, silent_stderr():
        good = asyncio.run(make_good(folder))
        no_damage(report, good, folder)
        damage_targets(report, good, chance, folder)
        damage_every_version(report, good, chance, folder)
        damage_all(report, good, chance, folder)
        sum_up(report)


if __name__ == "__main__":
    main(run)
