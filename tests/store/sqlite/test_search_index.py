"""The search index: what is in its file, what it leaves to a scan, and what harms it."""

import asyncio
import contextlib
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from segue.model.errors import StorageCorrupt
from segue.model.events import Event
from segue.model.records import NewFork, SearchPage
from segue.model.search_text import SearchQuery, fold, searched_text
from segue.store.rules import searching, trigrams
from segue.store.sqlite import driver, search, search_index
from segue.store.sqlite.admin import LocalStoreAdmin
from segue.store.sqlite.service import LocalSessionService
from tests.factories import append_to_head, execute, new_session, note, store_session, user_message
from tests.store.sqlite.helpers import CANARY, fill_disk, modes, opened
from tests.store.test_search import hits, multilingual, seqs, sessions

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no search of these tests run out of time."""
    monkeypatch.setattr(searching, "BUDGET_S", 60.0)


@pytest.fixture
def index(database: Path) -> Path:
    return Path(f"{database}-search")


async def indexed(service: LocalSessionService, *, anew: bool = False) -> int:
    """Bring the index up to date and return how many events it has."""
    state = await service.update_index(anew=anew)
    assert state is not None
    assert state.complete
    return state.events


@contextlib.asynccontextmanager
async def opened_after_loss(database: Path) -> AsyncIterator[LocalSessionService]:
    """Open a database from which something is missing: that is said once."""
    with pytest.raises(StorageCorrupt, match="missing"):
        await LocalSessionService.open(database)
    async with opened(database) as service:
        yield service


def terms(index: Path) -> set[str]:
    """Return all trigrams in the file of the index."""
    found: set[str] = set()
    with closing(driver.connect(str(index))) as db:
        for (number,) in db.execute("SELECT number FROM shards").fetchall():
            db.execute(
                f"CREATE VIRTUAL TABLE temp.terms USING fts5vocab (main, shard_{number}, row)"
            )
            found |= {term for (term,) in db.execute("SELECT term FROM temp.terms")}
            db.execute("DROP TABLE temp.terms")
    return found


def looked_at(service: LocalSessionService, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which every event is added that a search compares with its query."""
    seen: list[int] = []
    matches = search._Searcher._matching_text

    def counting(searcher: Any, event: Any) -> str | None:
        seen.append(event["key"])
        return matches(searcher, event)

    monkeypatch.setattr(search._Searcher, "_matching_text", counting)
    return seen


async def test_the_files_of_the_index_are_private_and_beside_the_database(
    service: LocalSessionService, index: Path
) -> None:
    await store_session(service, note("a word"))
    assert not index.exists()
    await service.search("word")
    assert await indexed(service) == 1
    assert {name: mode for name, mode in modes(index.parent).items() if "-search" in name} == {
        "sessions.db-search": 0o600,
        "sessions.db-search-wal": 0o600,
        "sessions.db-search-shm": 0o600,
    }


async def test_an_index_that_others_may_read_is_taken_from_them(
    service: LocalSessionService, index: Path
) -> None:
    await indexed(service)
    os.chmod(index, 0o644)
    await service.close()
    async with opened(index.with_name("sessions.db")) as again:
        await again.search("word")
        assert modes(index.parent)[index.name] == 0o600


async def test_a_search_compares_only_candidates_and_what_is_not_indexed(
    service: LocalSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = await store_session(service, *(note(f"plain text {number}") for number in range(50)))
    await append_to_head(service, id, note("the needle 函数 go"))
    await indexed(service)
    seen = looked_at(service, monkeypatch)
    for query in ("needle", "函", "函数", "eed", "e 函"):
        assert await seqs(service, f'"{query}"') == [51]
        assert len(seen) == 1, query
        seen.clear()
    assert await seqs(service, "absent") == []
    assert seen == []
    await indexed(service)  # what the search before does after its answer is done
    monkeypatch.setattr(search_index, "extend", lambda *_: True)
    await append_to_head(service, id, note("a haystack"))
    assert await seqs(service, "needle") == [51]
    assert len(seen) == 2


async def test_a_search_extends_the_index_after_its_answer(
    service: LocalSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store_session(service, *(note(f"plain {number}") for number in range(50)))
    seen = looked_at(service, monkeypatch)
    for _ in range(100):
        seen.clear()
        await service.search("absent")
        if not seen:
            break
        await asyncio.sleep(0.05)
    assert seen == []


async def test_what_is_in_the_index_is_found_as_by_looking_through(
    service: LocalSessionService, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_index, "_SHARD_BITS", 6)
    monkeypatch.setattr(search_index, "_SHARD_SIZE", 1 << 6)
    rng = random.Random(7)
    texts = []
    for number in range(50):
        length = rng.choice((10, 100, 300, 300, 300))
        events = [
            note(multilingual(rng, rng.randrange(length))) for _ in range(rng.randrange(1, 9))
        ]
        await store_session(service, user_message(f"title {number}"), *events)
        texts += [fold(searched_text(each.type, each.json_text)) for each in events]
        if number in (10, 40):
            await indexed(service)
    await indexed(service)
    usable = [text for text in texts if len(text) > 20]
    queries = ["title", "title 7", '"e 1"', "absent absent"]
    for _ in range(200):
        text = rng.choice(usable)
        first = rng.randrange(len(text) - 12)
        part = text[first : first + rng.randint(2, 12)].replace('"', " ")
        if len(part.strip()) >= 2:
            queries.append(f'"{part.strip()}"')
    seen = looked_at(service, monkeypatch)
    by_index = [await hits(service, query, limit=200) for query in queries]
    compared = len(seen)
    seen.clear()
    monkeypatch.setattr(search_index, "open_index", unusable)
    async with opened(database) as scanning:
        by_scan = [await hits(scanning, query, limit=200) for query in queries]
    for query, one, other in zip(queries, by_index, by_scan, strict=True):
        assert one == other, query
    assert compared < len(seen) / 2


def unusable(*_: Any, **__: Any) -> None:
    raise search_index.IndexUnavailableError


async def test_pages_of_rare_words_are_the_same_with_many_sessions(
    service: LocalSessionService,
) -> None:
    expected = []
    for number in range(3 * search._BATCH):
        is_hit = number % 20 == 3
        id = await store_session(service, note("needle" if is_hit else f"hay {number}"))
        if is_hit:
            expected.append(id)
    titled = await store_session(service, note("plain"), given_title="a Needle")
    fork = await service.fork_session(expected[0], NewFork(id=new_session().id, title="fork"))
    await service.archive(expected[0])
    await service.archive(expected[1])
    found = {fork.id, titled, *expected[2:]}
    for limit in (1, 2, 200):
        assert set(await sessions(service, "needle", limit=limit)) == found
        await indexed(service)
    assert set(await sessions(service, "needle", archived=True)) == {titled, *expected}


async def test_many_events_are_in_several_shards(
    service: LocalSessionService, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_index, "_SHARD_BITS", 6)
    monkeypatch.setattr(search_index, "_SHARD_SIZE", 1 << 6)
    id = await store_session(service, *(note(f"word number{n}x") for n in range(300)))
    assert await indexed(service) == 300
    assert len(execute(index, "SELECT * FROM shards")) == 5
    for number in (0, 63, 64, 150, 299):
        assert await seqs(service, f"number{number}x") == [number + 1]
    assert await seqs(service, "word", limit=200) == list(range(300, 0, -1))
    await append_to_head(service, id, *(note(f"word number{n}x") for n in range(300, 400)))
    assert await seqs(service, "number350x") == [351]
    assert await indexed(service) == 400
    assert await seqs(service, "number350x") == [351]


async def test_a_check_lists_the_files_of_the_index(
    service: LocalSessionService, database: Path, index: Path
) -> None:
    await indexed(service)
    os.chmod(index, 0o644)
    report = LocalStoreAdmin(database).check()
    assert report.modes[str(index)] == "644"
    assert report.problems == [f"{index} may be read by others (mode 644)"]


# Deletion


async def test_no_file_has_a_trigram_of_what_is_deleted(
    service: LocalSessionService, index: Path
) -> None:
    other = await store_session(service, note("something else"))
    gone = await store_session(service, user_message(f"{CANARY} 渡邉"), note("qxzvj"))
    await indexed(service)
    assert {"qxz", "\1渡\1"} <= terms(index)
    await service.delete(gone)
    assert not {"qxz", "xzv", "渡\1邉", "\1渡\1", CANARY[:3]} & terms(index)
    for path in index.parent.iterdir():
        content = path.read_bytes()
        for part in (b"qxzvj", b"qxz", "渡".encode(), b"canary"):
            assert part not in content, path
    assert await indexed(service) == 1
    assert await sessions(service, "something") == [other]


async def test_another_process_that_has_not_searched_forgets_too(
    service: LocalSessionService, database: Path, index: Path
) -> None:
    gone = await store_session(service, note("qxzvj"))
    await indexed(service)
    async with opened(database) as other:
        await other.delete(gone)
    assert "qxz" not in terms(index)
    assert await hits(service, "qxzvj") == []


OWN_SQLITE = """
import asyncio, sys
sys.modules["pysqlite3"] = None
from pathlib import Path
from segue.store.sqlite import driver
from segue.store.sqlite.service import LocalSessionService
from tests.factories import note, store_session
from tests.store.sqlite.test_search_index import terms

async def main(database):
    service = await LocalSessionService.open(database)
    kept = await store_session(service, note("kept 函数"))
    gone = await store_session(service, note("qxzvj"))
    state = await service.update_index()
    indexed = state and state.events
    before = "qxz" in terms(Path(f"{database}-search"))
    await service.delete(gone)
    after = "qxz" in terms(Path(f"{database}-search"))
    found = [hit.session.id == kept for hit in (await service.search("函")).hits]
    await service.close()
    print(driver.NAME, indexed, before, after, found)

asyncio.run(main(sys.argv[1]))
"""


def test_the_interpreters_own_sqlite_indexes_and_forgets_as_well(database: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OWN_SQLITE, str(database)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'server'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    if "None" in done.stdout:
        pytest.skip("it has no FTS5")
    assert done.stdout == "sqlite3 2 True False [True]\n", done.stderr


async def test_pruning_forgets_too(service: LocalSessionService, index: Path) -> None:
    gone = await store_session(service, note("qxzvj"))
    await service.archive(gone)
    await indexed(service)
    assert len((await service.prune(timedelta(0))).taken) == 1
    assert "qxz" not in terms(index)


async def test_what_only_the_deleted_original_of_a_fork_had_is_forgotten(
    service: LocalSessionService, index: Path
) -> None:
    id = await store_session(service, note("shared qwkvb"), note("alone qxzvj"))
    at = (await service.load_events(id)).events[0].id
    fork = await service.fork_session(id, NewFork(id=new_session().id, at=at))
    await indexed(service)
    await service.delete(id)
    assert "qxz" not in terms(index)
    assert await sessions(service, "qwkvb") == [fork.id]
    await indexed(service)
    assert "qwk" in terms(index)
    assert await sessions(service, "qwkvb") == [fork.id]
    await service.delete(fork.id)
    assert "qwk" not in terms(index)


async def test_a_number_that_is_used_again_has_nothing_of_the_one_before(
    service: LocalSessionService, database: Path, index: Path
) -> None:
    gone = await store_session(service, note("qxzvj"))
    await indexed(service)
    await service.close()
    execute(database, "PRAGMA foreign_keys = ON")
    execute(database, "DELETE FROM events")  # as a Segue does that knows no index
    execute(database, "DELETE FROM sessions WHERE id = ?", gone)
    async with opened_after_loss(database) as again:
        new = await store_session(again, note("qwkvb"))
        assert await hits(again, "qxzvj") == []
        assert await sessions(again, "qwkvb") == [new]
        await indexed(again)
        assert "qxz" not in terms(index)
        assert await sessions(again, "qwkvb") == [new]


async def test_another_past_of_the_same_session_is_noticed(
    service: LocalSessionService, database: Path, index: Path, tmp_path: Path
) -> None:
    id = await store_session(service, note("first"))
    await service.close()
    shutil.copy(database, tmp_path / "copy.db")
    async with opened(database) as later:
        await append_to_head(later, id, note("qxzvj"), note("qxzvj"))
        await indexed(later)
    database.write_bytes((tmp_path / "copy.db").read_bytes())
    async with opened_after_loss(database) as again:
        await append_to_head(again, id, note("qwkvb"), note("other"), note("more"))
        assert await hits(again, "qxzvj") == []
        assert await seqs(again, "qwkvb") == [2]
        await indexed(again)
        assert "qxz" not in terms(index)
        assert await seqs(again, "qwkvb") == [2]


async def test_the_index_of_another_database_is_made_anew(
    service: LocalSessionService, database: Path, index: Path, tmp_path: Path
) -> None:
    await store_session(service, note("qxzvj"))
    await indexed(service)
    await service.close()
    LocalStoreAdmin(database).back_up(str(tmp_path / "backup.db"))
    async with opened(database) as later:
        await store_session(later, note("qwkvb"))
        await indexed(later)
    LocalStoreAdmin(database).restore(str(tmp_path / "backup.db"), lambda _: True)
    assert not index.exists()
    async with opened(database) as again:
        assert await hits(again, "qwkvb") == []
        assert len(await hits(again, "qxzvj")) == 1
        await indexed(again)
        assert "qwk" not in terms(index)


async def test_a_backup_has_no_index(
    service: LocalSessionService, database: Path, tmp_path: Path
) -> None:
    await store_session(service, note("qxzvj"))
    await indexed(service)
    await service.close()
    target = tmp_path / "backups" / "b.db"
    target.parent.mkdir(mode=0o700)
    LocalStoreAdmin(database).back_up(str(target))
    assert [path.name for path in target.parent.iterdir()] == ["b.db"]


# Harm


def harms() -> Iterator[Any]:
    def directory(index: Path) -> None:
        index.mkdir()

    def link(index: Path) -> None:
        index.with_name("target").write_bytes(b"")
        index.symlink_to(index.with_name("target"))

    def hard_link(index: Path) -> None:
        index.with_name("target").write_bytes(b"")
        index.hardlink_to(index.with_name("target"))

    def text(index: Path) -> None:
        index.write_text("not a database" * 1_000)

    def empty(index: Path) -> None:
        index.write_bytes(b"")

    def another_programs(index: Path) -> None:
        execute(index, "CREATE TABLE theirs (a)")

    def of_a_later_version(index: Path) -> None:
        execute(index, f"PRAGMA application_id = {search_index.APPLICATION_ID}")
        execute(index, "PRAGMA user_version = 999")

    def of_an_earlier_version(index: Path) -> None:
        execute(index, "CREATE TABLE old (a)")
        execute(index, f"PRAGMA application_id = {search_index.APPLICATION_ID}")

    for harm in (
        directory,
        link,
        hard_link,
        text,
        empty,
        another_programs,
        of_a_later_version,
        of_an_earlier_version,
    ):
        yield pytest.param(harm, id=harm.__name__)


@pytest.mark.parametrize("harm", list(harms()))
async def test_whatever_is_at_its_place_a_search_finds_the_same(
    service: LocalSessionService, index: Path, harm: Any
) -> None:
    id = await store_session(service, note("a needle"), note("hay"))
    gone = await store_session(service, note("a needle"))
    harm(index)
    for _ in range(2):
        assert set(await sessions(service, "needle")) == {id, gone}
        await service.update_index()
    await service.delete(gone)
    assert await sessions(service, "needle") == [id]
    await append_to_head(service, id, note("needle too"))
    assert await seqs(service, "needle") == [3, 1]
    if harm.__name__ == "another_programs":
        assert execute(index, "SELECT * FROM theirs") == []
    if "link" in harm.__name__:
        assert index.with_name("target").read_bytes() == b""


async def test_an_index_that_is_cut_at_any_page_or_garbled_is_made_anew(
    service: LocalSessionService, database: Path, index: Path
) -> None:
    rng = random.Random(3)
    for _ in range(4):
        await store_session(service, *(note(multilingual(rng, 400)) for _ in range(20)))
    id = await store_session(service, note("the needle"))
    await indexed(service)
    await service.close()
    sound = index.read_bytes()
    pages = len(sound) // 4_096
    assert pages > 10
    for page in range(pages):
        for harmed in (
            sound[: page * 4_096],
            sound[: page * 4_096 + 100],
            sound[: page * 4_096] + bytes(4_096) + sound[(page + 1) * 4_096 :],
        ):
            index.write_bytes(harmed)
            async with opened(database) as again:
                await again.search("needle")
                await again.update_index()
                assert await sessions(again, "needle") == [id], page
                await again.get_session(id)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gives files away")
async def test_the_index_of_another_user_is_not_used(
    service: LocalSessionService, index: Path
) -> None:
    id = await store_session(service, note("a needle"))
    await indexed(service)
    await service.close()
    os.chown(index, 12_345, -1)
    async with opened(index.with_name("sessions.db")) as again:
        assert await sessions(again, "needle") == [id]
        assert await again.update_index() is None
        await again.delete(id)
    assert not index.exists()


async def test_on_a_full_disk_a_search_finds_the_same(tiny_disk: Path) -> None:
    database = tiny_disk / "data" / "sessions.db"
    async with opened(database) as service:
        id = await store_session(service, note("a needle"), note("hay" * 10_000))
        fill_disk(tiny_disk)
        for _ in range(2):
            assert await sessions(service, "needle") == [id]
            await service.update_index()


async def test_a_store_that_cannot_be_written_is_looked_through(
    service: LocalSessionService, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segue.store.sqlite import file_access

    id = await store_session(service, note("a needle"))
    await service.close()
    monkeypatch.setattr(file_access, "is_writable", lambda _: False)
    async with opened(database) as reader:
        assert await sessions(reader, "needle") == [id]
        assert await reader.update_index() is None
    assert not Path(f"{database}-search").exists()


async def test_the_store_stays_as_it_is_when_searches_end(
    service: LocalSessionService, database: Path
) -> None:
    id = await store_session(service, note("a needle"))
    await indexed(service)
    await append_to_head(service, id, note("more"))
    await service.search("needle")
    await service.close()
    assert not Path(f"{database}-wal").exists()
    assert not Path(f"{database}-search-wal").exists()
    async with opened(database) as again:
        assert len((await again.load_events(id)).events) == 2


async def test_an_index_that_is_removed_under_a_window_is_made_again(
    service: LocalSessionService, database: Path, index: Path
) -> None:
    id = await store_session(service, note("a needle"))
    await indexed(service)
    async with opened(database) as other:
        await indexed(other)
        for suffix in ("", "-wal", "-shm"):
            Path(f"{index}{suffix}").unlink()
        await indexed(service)
        await append_to_head(service, id, note("needle"))
        assert await seqs(other, "needle") == [2, 1]
        assert await indexed(other) == 2
    assert await seqs(service, "needle") == [2, 1]
    assert execute(index, "PRAGMA integrity_check")[0][0] == "ok"


async def test_a_new_search_ends_the_one_before_and_is_not_kept_waiting(
    service: LocalSessionService,
) -> None:
    for _ in range(5):
        await store_session(service, *(note(f"plain {n} {'x' * 3_000}") for n in range(500)))
    first = asyncio.ensure_future(service.search("absent"))
    await asyncio.sleep(0.01)
    started = asyncio.get_running_loop().time()
    second = asyncio.ensure_future(service.search("plain"))
    page = await first
    assert asyncio.get_running_loop().time() - started < 1.0
    assert isinstance(page, SearchPage)
    assert (await second).hits


async def test_an_append_waits_for_no_search(
    service: LocalSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    # For each event that it looks at: so it takes a second, and leaves the interpreter to others.
    monkeypatch.setattr(searching.Timer, "check", lambda _: time.sleep(0.005))
    id = await store_session(service, *(note(f"plain {n}") for n in range(200)))
    running = asyncio.ensure_future(service.search("zq"))
    await asyncio.sleep(0.01)
    await append_to_head(service, id, note("more"))
    assert not running.done()
    await running


@pytest.mark.parametrize(
    ("query", "trigrams"),
    [
        ("word", '"wor" AND "ord"'),
        ("go", None),
        ("函", '"\1函\1"'),
        ("函数", '"\1函\1" AND "函\1数" AND "\1数\1"'),
        ('a"b', '"a""b"'),
        ("go word go", '"wor" AND "ord"'),
    ],
)
def test_a_query_becomes_trigrams(query: str, trigrams: str | None) -> None:
    assert search_index.expression(SearchQuery.parse(query)) == trigrams


def test_a_long_query_becomes_few_trigrams() -> None:
    rng = random.Random(1)
    long = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(1_000))
    found = search_index.expression(SearchQuery.parse(long))
    assert found is not None
    assert found.count("AND") < 24


async def test_the_trigrams_of_a_part_are_those_of_the_whole() -> None:
    rng = random.Random(2)
    for _ in range(300):
        text = fold(multilingual(rng, 60))
        first = rng.randrange(len(text) - 3)
        part = text[first : first + rng.randint(1, 8)].strip()
        whole = trigrams.spread(f" {text} ")
        assert trigrams.spread(part) in whole or " " in part, (part, text)


async def test_a_lone_event_that_is_huge_is_indexed(service: LocalSessionService) -> None:
    id = await store_session(
        service,
        Event.new(
            "tool_result",
            {"tool_use_id": "x", "content": "y" * 5_000_000 + "end", "is_error": False},
        ),
    )
    assert await indexed(service) == 1
    assert await sessions(service, "yyend") == [id]
