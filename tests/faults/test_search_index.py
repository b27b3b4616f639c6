"""Searches beside appends and deletions, and their negative controls."""

from pathlib import Path

import pytest

from tests.faults import search_index
from tests.faults.runner import Guard, run_programme, run_without

INDEX = "store/sqlite/search_index.py"

CONTROLS = [
    pytest.param(
        Guard(
            file="store/rules/trigrams.py",
            code="""    return _RUN.sub(lambda run: "\\1" + "\\1".join(run[0]) + "\\1", usable)""",
            replacement="    return usable",
        ),
        search_index.NARROW,
        id="no spreading",
    ),
    pytest.param(
        Guard(
            file="store/sqlite/search.py",
            code="return text if self._what.query.matches(text) else None",
            replacement="return text",
        ),
        search_index.EXACT,
        id="no comparison",
    ),
    pytest.param(
        Guard(
            file=INDEX,
            code='return row is not None and row["id"] == changed["known_head"]',
            replacement="return True",
        ),
        search_index.EXACT,
        id="no head",
    ),
    pytest.param(
        Guard(
            file="store/sqlite/service.py",
            code="        await self._forget(numbers)\n",
            replacement="",
        ),
        search_index.ERASED,
        id="nothing forgotten",
    ),
    pytest.param(
        Guard(
            file="store/sqlite/service.py",
            code="""        if (thread := self._search_thread()) is not None:
            with""",
            replacement="""        if (thread := None) is not None:
            with""",
        ),
        search_index.BESIDE,
        id="no connection of its own",
    ),
    pytest.param(
        Guard(
            file=INDEX,
            code="tokenize = 'trigram case_sensitive 1'",
            replacement="tokenize = 'unicode61'",
        ),
        search_index.FOUND,
        id="words instead of trigrams",
    ),
]


def test_an_index_that_many_use_stays_as_one_made_afresh() -> None:
    report = run_programme("search_index")

    assert report.broken == []
    assert report.counts["kills"] == 2
    assert report.counts["calls"] > 50
    assert report.counts["hits compared"] > 1_000
    assert report.counts["trigrams compared"] > 1_000


@pytest.mark.parametrize(("guard", "promise"), CONTROLS)
def test_control_search_index(guard: Guard, promise: str, tmp_path: Path) -> None:
    assert promise in run_without(guard, "search_index", tmp_path).violations
