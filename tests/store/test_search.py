"""The contract of `SessionService.search`, on every store of `stores.STORES`."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from segue.model.errors import SessionNotFound
from segue.model.events import Event
from segue.model.records import NewFork, SearchHit, SearchPage
from segue.model.search_text import HEAD, TAIL, fold, searched_text
from segue.model.validation import InvalidInputError
from segue.store.rules import searching
from segue.store.service import SessionService
from tests.factories import append_to_head, new_session, note, store_session, user_message
from tests.store.stores import STORES, FakeClock, StoreFactory

MINUTE = 60_000


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=STORES.values(), ids=list(STORES))
async def service(
    request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock
) -> AsyncIterator[SessionService]:
    """Return a new service of each store, one after the other."""
    factory: StoreFactory = request.param
    opened = await factory.open_service(tmp_path / "data", clock)
    yield opened
    await opened.close()


async def pages(service: SessionService, query: str, **filters: Any) -> list[SearchPage]:
    """Return all pages of a search."""
    found: list[SearchPage] = []
    while not found or found[-1].next_cursor is not None:
        cursor = found[-1].next_cursor if found else None
        found.append(await service.search(query, cursor=cursor, **filters))
    return found


async def hits(service: SessionService, query: str, **filters: Any) -> list[SearchHit]:
    return [hit for page in await pages(service, query, **filters) for hit in page.hits]


async def seqs(service: SessionService, query: str, **filters: Any) -> list[int]:
    """Return the seqs of the events that are found, and 0 for each title."""
    found = await hits(service, query, **filters)
    return [0 if hit.event is None else hit.event.seq for hit in found]


async def sessions(service: SessionService, query: str, **filters: Any) -> list[str]:
    """Return the ids of the sessions with hits, each once."""
    found = await hits(service, query, **filters)
    return list(dict.fromkeys(hit.session.id for hit in found))


def marked(hit: SearchHit) -> str:
    """Return an excerpt with its matches in brackets."""
    return "".join(f"[{each.text}]" if each.match else each.text for each in hit.excerpt)


async def test_a_hit_has_its_session_its_event_and_an_excerpt_with_the_matches(
    service: SessionService, clock: FakeClock
) -> None:
    id = await store_session(service, note("Fix the\n\t PARSER, it is a parser"))
    (hit,) = await hits(service, "parser fix")
    assert hit.session == await service.get_session(id)
    assert hit.event is not None
    assert (hit.event.seq, hit.event.type) == (1, "system_context")
    assert hit.event.created_at == clock.now
    assert (await service.load_events(id)).events[0].id == hit.event.id
    assert marked(hit) == "[Fix] the [PARSER], it is a [parser]"


async def test_an_excerpt_shows_what_is_around_the_match(service: SessionService) -> None:
    await store_session(service, note(f"{'before ' * 99}needle{' after' * 99}"))
    (hit,) = await hits(service, "NEEDLE")
    excerpt = marked(hit)
    assert "before [needle] after" in excerpt
    assert excerpt.startswith("…")
    assert excerpt.endswith("…")
    assert len(excerpt) < 250


@pytest.mark.parametrize(
    "query",
    [
        "foo.bar(",
        "--no-verify",
        "C++",
        "e0277",
        "ommithoo",
        "go",
        "函数",
        "函",
        "関数",
        "見積書",
        "파이",
        "функци",
        "ОШИБК",
        "خطأ",
        "*",
        "* OR",
        "NEAR(",
        "col:x",
        "100%",
        "a_b",
        "C:\\dir",
        '"quoted',
        'in"side',
        "^start",
        "{}[]",
        "'single'",
        ";DROP",
        "\x1b[31m",
        '"two  words"',
        '"x OR y"',
        "ﬁne",
        "Straße",
        "STRASSE",
        "istanbul",
        "ΟΔΌΣ",
        "e\u0301t\u00e9",
        "カタカナ",
        "ｶﾀｶﾅ",
        "👩‍💻",
    ],
)
async def test_what_is_in_a_text_is_found_whatever_it_means_elsewhere(
    service: SessionService, query: str
) -> None:
    text = (
        "foo.bar(1) git commit --no-verify C++ error[E0277] CommitHook django 调用函数 関数 見積書"
        ' 파이썬 функции ошибка خطأ ** * OR NEAR(a col:x 100% a_b C:\\dir "quoted in"side ^start'
        " {}[] 'single' ;DROP \x1b[31mred two\n words x OR y fine straße İstanbul οδός ÉTÉ"
        " カタカナ 👩‍💻"
    )
    other = await store_session(service, note("nothing of that is there"))
    id = await store_session(service, note(text))
    if query == "*":  # a single letter is in nearly every text
        with pytest.raises(InvalidInputError, match="two letters"):
            await service.search(query)
    else:
        assert await sessions(service, query) == [id]
    assert await sessions(service, "nothing there") == [other]


@pytest.mark.parametrize("query", ["OR NOTHERE", "f*r", '"words two"', "re.d", "a%b", "foo_bar("])
async def test_no_part_of_a_query_is_syntax(service: SessionService, query: str) -> None:
    await store_session(service, note("foo.bar(1) two words red a_b or this"))
    assert await hits(service, query) == []


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("", "1 to 1,000"),
        ("  ", "no word"),
        ("x" * 1_001, "1 to 1,000"),
        ("a", "two letters"),
        ("a b \u0436", "two letters"),
        ("nul\0", "NUL"),
        ("\ud83d", "surrogate"),
    ],
)
async def test_a_query_that_cannot_be_looked_for_is_refused_with_the_reason(
    service: SessionService, query: str, says: str
) -> None:
    await store_session(service)
    with pytest.raises(InvalidInputError, match=says) as caught:
        await service.search(query)
    assert caught.value.faults[0].path == "$.query"


@pytest.mark.parametrize("length", [5, 999, 1_000])
async def test_a_query_of_up_to_a_thousand_characters_is_found(
    service: SessionService, length: int
) -> None:
    rng = random.Random(length)
    text = "".join(rng.choice("abcdefgh 函数") for _ in range(3_000))
    await store_session(service, note(text))
    phrase = f'"{text[500 : 500 + length - 2]}"'
    assert await seqs(service, phrase) == [1]


async def test_all_words_must_be_in_one_event_or_in_one_title(service: SessionService) -> None:
    await store_session(service, note("red and green"), note("green and blue"), note("red, blue"))
    assert await seqs(service, "red green") == [1]
    assert await seqs(service, "green") == [2, 1]
    assert await seqs(service, "red green blue") == []
    assert await seqs(service, '"and blue"') == [2]


async def test_what_tools_were_given_and_put_out_is_found_but_no_ids_nor_models(
    service: SessionService,
) -> None:
    call = {
        "id": "toolu_0123",
        "name": "read_file",
        "input": {"file_path": "/etc/hostname", "lines": [12345, {"deep": "inside"}]},
    }
    result = {"tool_use_id": "toolu_0123", "content": "no such file", "is_error": True}
    unknown = {"message": "of a later version", "id": "known"}
    await store_session(
        service,
        Event.new("tool_call", call),
        Event.new("tool_result", result),
        Event.new("x.later", unknown),
        Event.new("text", {"content": "I cannot read it.", "model": "acme/large"}),
    )
    for query in ("read_file", "file_path hostname", "12345", "inside", "deep"):
        assert await seqs(service, query) == [1], query
    assert await seqs(service, "such file") == [2]
    assert await seqs(service, "later known") == [3]
    assert await seqs(service, "toolu_0123") == await seqs(service, "acme") == []


async def test_titles_are_found_and_what_they_were_before_is_not(service: SessionService) -> None:
    id = await store_session(service, user_message("The first question"), note("more"))
    assert await seqs(service, "question first") == [0, 1]
    await service.set_title(id, "Naïve ÜBERSCHRIFT")
    assert await seqs(service, "question first") == [1]
    (hit,) = await hits(service, "überschrift")
    assert hit.event is None
    assert marked(hit) == "Naïve [ÜBERSCHRIFT]"
    assert await seqs(service, "überschrift", types=["text"]) == []


async def test_the_newest_sessions_come_first_and_in_each_the_newest_events(
    service: SessionService, clock: FakeClock
) -> None:
    old = await store_session(service, note("word 1"), note("word 2"))
    clock.now += MINUTE
    new = await store_session(service, note("word 1"))
    clock.now += MINUTE
    assert await sessions(service, "word") == [new, old]
    await append_to_head(service, old, note("something else"), note("word 4"))
    found = await hits(service, "word")
    assert [(hit.session.id, hit.event and hit.event.seq) for hit in found] == [
        (old, 4),
        (old, 2),
        (old, 1),
        (new, 1),
    ]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 200])
async def test_pages_have_every_hit_once(service: SessionService, limit: int) -> None:
    for number in range(5):
        await store_session(service, user_message(f"word {number}"), note("word"), note("no"))
    one = await hits(service, "word", limit=200)
    found = await pages(service, "word", limit=limit)
    assert [hit for page in found for hit in page.hits] == one
    assert all(len(page.hits) <= limit for page in found)
    assert all(page.complete for page in found)
    assert len(one) == 15


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "A" * 32 + "B", "é", "\ud83d"])
async def test_a_cursor_of_something_else_is_refused(service: SessionService, cursor: str) -> None:
    with pytest.raises(InvalidInputError, match="session/search") as caught:
        await service.search("word", cursor=cursor)
    assert caught.value.faults[0].path == "$.cursor"


async def test_sessions_are_found_by_their_place_state_source_and_id(
    service: SessionService,
) -> None:
    root = {"git_root": "/r", "git_common_dir": "/r/.git"}
    here = await store_session(service, note("word"), directory="/r/here", **root)
    other = await store_session(
        service, note("word"), directory="/w", git_root="/w", git_common_dir="/r/.git"
    )
    imported = await store_session(service, note("word"), directory="/x", source="codex")
    archived = await store_session(service, note("word"), directory="/x")
    await service.archive(archived)
    assert set(await sessions(service, "word")) == {here, other, imported}
    assert await sessions(service, "word", directory="/r/here") == [here]
    assert set(await sessions(service, "word", directory="/r", **root)) == {here, other}
    assert await sessions(service, "word", directory="/x") == [imported]
    assert await sessions(service, "word", directory="/x", archived=True) == [archived, imported]
    assert await sessions(service, "word", directory="/y", aliases=["/w"]) == [other]
    assert await sessions(service, "word", sources=["codex", "gemini-cli"]) == [imported]
    assert await sessions(service, "word", sources=["gemini-cli"]) == []
    assert await sessions(service, "word", session_id=archived) == [archived]
    assert await sessions(service, "word", session_id=here, directory="/x") == []
    with pytest.raises(SessionNotFound):
        await service.search("word", session_id="none")


async def test_only_events_of_the_types_that_are_asked_for_are_found(
    service: SessionService,
) -> None:
    await store_session(
        service, user_message("word"), note("word"), Event.new("x.y", {"a": "word"})
    )
    assert await seqs(service, "word", types=["system_context", "x.y"]) == [3, 2]
    assert await seqs(service, "word", types=["user_message"]) == [1]
    assert await seqs(service, "word", types=["none"]) == []


async def test_what_a_fork_has_in_common_with_others_is_found_once(
    service: SessionService, clock: FakeClock
) -> None:
    original = await store_session(service, note("word 1"), note("word 2"), note("word 3"))
    at = (await service.load_events(original)).events[1].id
    forks = []
    for _ in range(2):
        clock.now += MINUTE
        fork = NewFork(id=new_session().id, at=at, title="A fork")
        forks.append((await service.fork_session(original, fork)).id)
    older, newer = forks
    await append_to_head(service, older, note("word of the older one"))
    await service.set_title(older, "older")

    async def found(**filters: Any) -> list[tuple[str, int | None]]:
        return [
            (hit.session.id, None if hit.event is None else hit.event.seq)
            for hit in await hits(service, "word", **filters)
        ]

    written = [(original, 3), (original, 2), (original, 1)]
    assert sorted(await found()) == sorted([(older, 3), *written])
    assert await found(session_id=newer) == [(newer, 2), (newer, 1)]
    await service.archive(original)
    shown = [(older, 3), (newer, 2), (newer, 1)]
    assert sorted(await found()) == sorted(shown)
    assert sorted(await found(archived=True)) == sorted([(older, 3), *written])
    await service.delete(original)
    assert sorted(await found(archived=True)) == sorted(shown)
    await service.delete(newer)
    assert sorted(await found()) == sorted([(older, 3), (older, 2), (older, 1)])


async def test_what_is_deleted_is_not_found(service: SessionService) -> None:
    kept = await store_session(service, note("word kept"))
    gone = await store_session(service, note("word gone"))
    assert len(await hits(service, "word")) == 2
    await service.delete(gone)
    assert await sessions(service, "word") == [kept]
    again = await store_session(service, note("other"), note("words again"))
    assert await sessions(service, "word") == [again, kept]


async def test_the_beginning_and_the_end_of_a_long_text_are_searched(
    service: SessionService,
) -> None:
    text = f"begin{'.' * HEAD}middle{'.' * TAIL}the end"
    await store_session(service, note(text))
    assert await seqs(service, "begin end") == [1]
    assert await seqs(service, "middle") == []
    await store_session(service, note(text[: HEAD - 100] + "middle" + text[-TAIL:]))
    assert len(await hits(service, "middle")) == 1


async def test_any_string_that_can_be_stored_can_be_searched(service: SessionService) -> None:
    await store_session(service, note("before\0after \ud83d half \x01函\x01 \ufffe\uffff end"))
    for query in ("before", "after", "half", "函", "end", "\x01函"):
        assert await seqs(service, query) == [1], query
    for page in await pages(service, "half"):
        assert len(page.hits) == 1


async def test_what_was_acknowledged_before_is_found(service: SessionService) -> None:
    id = await store_session(service, note("word 0"))
    for number in range(1, 60):
        await append_to_head(service, id, note(f"word {number} unique{number}x"))
        assert await seqs(service, f"unique{number}x") == [number + 1]


async def test_a_search_that_runs_out_of_time_goes_on_at_its_cursor(
    service: SessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        await store_session(service, user_message(f"word {number}"), note("word"), note("no"))
    expected = await hits(service, "word")
    monkeypatch.setattr(searching, "BUDGET_S", -1.0)
    found = await pages(service, "word")
    assert [hit for page in found for hit in page.hits] == expected
    assert not any(page.complete for page in found[:-1])
    assert len(found) > 4


async def test_searches_at_once_end_with_what_they_have(service: SessionService) -> None:
    for number in range(20):
        await store_session(service, *(note(f"word {number} {each}") for each in range(20)))
    calls = [service.search("nowhere at all") for _ in range(10)]
    found = await asyncio.gather(*calls)
    assert all(page.hits == [] for page in found)
    assert found[-1].next_cursor is None
    assert found[-1].complete


LETTERS = (
    "abcXYZ  \n.,:;(){}<>_-+*/\\\"'%0123456789éßİ…™ﬁe\u0301КирилицаяЯ"  # noqa: RUF001  scripts that look alike are meant
    "函数見積書かなカナｶﾅ파이썬한국어خطأعربيไทย🙂"
)


def multilingual(rng: random.Random, length: int) -> str:
    """Return a text of words in several scripts."""
    words: list[str] = []
    while len(" ".join(words)) < length:
        first = rng.randrange(len(LETTERS) - 8)
        alphabet = LETTERS[first : first + 8]
        words.append("".join(rng.choice(alphabet) for _ in range(rng.randint(1, 9))))
    return " ".join(words)


async def test_random_parts_of_texts_are_found_exactly_where_they_are(
    service: SessionService,
) -> None:
    rng = random.Random(5)
    texts: dict[tuple[str, int], str] = {}
    for _ in range(8):
        events = [note(multilingual(rng, rng.choice((20, 100, 400)))) for _ in range(15)]
        id = await store_session(service, *events)
        for seq, event in enumerate(events, 1):
            texts[id, seq] = fold(searched_text(event.type, event.json_text))
    for _ in range(200):
        part = rng.choice(list(texts.values()))
        first = rng.randrange(len(part) - 2)
        term = part[first : first + rng.randint(2, 12)].replace('"', " ").strip()
        if len(term) < 2:
            continue
        expected = {place for place, text in texts.items() if fold(term) in text}
        found = {
            (hit.session.id, hit.event.seq)
            for hit in await hits(service, f'"{term}"', limit=200)
            if hit.event is not None
        }
        assert found == expected, term
