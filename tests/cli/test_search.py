"""`segue search`."""

import json
from pathlib import Path

import pytest

from segue.store.sqlite.service import LocalSessionService
from tests.cli.helpers import run
from tests.factories import note, store_session


@pytest.fixture
async def stored(service: LocalSessionService, tmp_path: Path) -> str:
    await store_session(service, note("a word far away"), directory="/elsewhere")
    here = str(Path.cwd().resolve())
    id = await store_session(service, note("git --no-verify, a Word \x1b[2J here"), directory=here)
    await service.close()
    return id


def test_what_was_said_here_is_found_with_its_conversation(stored: str) -> None:
    done = run("search", "word")
    assert (done.returncode, done.stderr) == (0, "")
    assert stored in done.stdout
    assert "1 system_context · " in done.stdout
    assert "git --no-verify, a Word \\x1b[2J here" in done.stdout
    assert "far away" not in done.stdout


def test_everything_is_searched_on_request_and_json_is_that_of_the_protocol(stored: str) -> None:
    done = run("search", "--all", "--json", "word")
    page = json.loads(done.stdout)
    assert {hit["session"]["directory"] for hit in page["hits"]} > {"/elsewhere"}
    assert {"text": "word", "match": True} in [
        piece for hit in page["hits"] for piece in hit["excerpt"]
    ]
    assert (page["nextCursor"], page["complete"]) == (None, True)


def test_a_limit_ends_the_hits_and_says_that_there_may_be_more(stored: str) -> None:
    done = run("search", "--all", "--limit", "1", "word")
    assert done.stdout.count("system_context") == 1
    assert done.stderr == "There may be more; --limit N shows more.\n"


@pytest.mark.parametrize("words", [["--no-verify"], ["no-verify, a"], ["verify", "here"]])
def test_options_of_others_phrases_and_several_words_are_found(
    stored: str, words: list[str]
) -> None:
    assert stored in run("search", *words).stdout


def test_nothing_found_is_said_and_has_its_exit_code(stored: str) -> None:
    done = run("search", "a word", "here far")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Nothing found in this workspace; --all searches everywhere.\n"
    assert run("search", "--all", "nowhere").stderr == "Nothing found.\n"


def test_a_query_that_cannot_be_looked_for_is_refused_with_the_reason(stored: str) -> None:
    done = run("search", "a")
    assert done.returncode == 1
    assert "must have a word of two letters" in done.stderr


def test_the_index_is_made_by_searches_and_by_doctor(stored: str, database: Path) -> None:
    index = Path(f"{database}-search")
    run("search", "--all", "word")
    assert index.exists()
    done = run("doctor", "--index")
    assert (done.returncode, done.stdout) == (0, "2 events are indexed\n")
    assert stored in run("search", "word").stdout
    assert str(index) in run("doctor", "--json").stdout
    index.unlink()
    index.mkdir()
    done = run("doctor", "--index")
    assert done.returncode == 1
    assert "There can be no index here" in done.stderr
