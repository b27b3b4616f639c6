"""The short sizes of five programmes, and each of them against a Segue that lacks one guard.

A promise that is known to be broken has a test of its own, marked with what the bug is: when it is
mended, that test says so by passing.
"""

from pathlib import Path

import pytest

from tests.faults.runner import Guard, Report, run_programme, without

SEED = 7


def lacking(folder: Path, name: str, file: str, code: str, instead: str) -> Report:
    """Run a programme against a copy of the package that lacks a guard."""
    guard = Guard(file=file, code=code, instead=instead)
    return run_programme(name, seed=SEED, package=without(guard, folder))


# -- the contract ------------------------------------------------------------------------------


def test_the_contract_holds_against_its_model() -> None:
    report = run_programme("service_model", seed=SEED)

    assert report.broken == []
    counts = report.counts
    assert counts["histories"] >= 100
    assert counts["calls"] > 1_000
    assert min(counts["crashed"], counts["reopened"]) > 50
    assert counts["cancelled and kept"] + counts["cancelled and nothing"] > 20
    kinds = ("HeadMoved", "EventConflict", "SessionArchived", "SessionNotFound")
    assert min(counts[kind] for kind in kinds) > 0


def test_control_of_the_model_without_the_comparison_of_the_head(tmp_path: Path) -> None:
    code, instead = "        if self._head not in known:\n", "        if False:\n"
    report = lacking(tmp_path, "service_model", "storage/chain.py", code, instead)

    assert len(report.broken) == 1
    assert report.broken[0].startswith("local: ")
    assert "state.begin_with_two_sessions" in report.broken[0], "it tells how"


# -- frames ------------------------------------------------------------------------------------


def test_frames_of_every_wrong_kind_do_no_harm() -> None:
    report = run_programme("frame_fuzzing", seed=SEED)

    assert report.broken == []
    counts = report.counts
    assert counts["frames in process"] == 20_000
    assert counts["sound requests in process"] > 10_000
    assert counts["answers in process"] > 20_000
    assert counts["frames over stdio"] == 300
    assert counts["answers over stdio"] > 250


def test_control_of_frames_one_spelling_of_a_header(tmp_path: Path) -> None:
    report = lacking(
        tmp_path,
        "frame_fuzzing",
        "lsp/framing.py",
        r'(rb"content-length\s*:\s*(\d{1,10})\s*$", re.IGNORECASE)',
        r'(rb"Content-Length\s*:\s*(\d{1,10})\s*$")',
    )
    assert "no sound request is lost" in report.times


def test_control_of_frames_deep_nesting(tmp_path: Path) -> None:
    report = lacking(
        tmp_path,
        "frame_fuzzing",
        "lsp/transport.py",
        "            except (ValueError, RecursionError) as error:",
        "            except ValueError as error:",
    )
    assert "no frame crashes the protocol" in report.times
    assert "every request is answered" in report.times


# -- backpressure ----------------------------------------------------------------------------------

DEAF = "a client that reads nothing costs less than 150 MiB"
UNREAD_END = "the end of stdin ends a server whose answers nobody reads"


@pytest.fixture(scope="module")
def pressed() -> Report:
    return run_programme("backpressure", seed=SEED)


def test_a_client_that_presses_harms_nobody_else(pressed: Report) -> None:
    assert pressed.broken == []
    assert pressed.counts["cancels"] == 5_000
    assert pressed.counts["stored in the storm"] == 200
    assert pressed.counts["unread answers"] == 72
    assert pressed.counts["appends of other windows"] == 40


def test_a_client_that_reads_nothing_costs_little(pressed: Report) -> None:
    assert DEAF not in pressed.times


def test_the_end_of_stdin_ends_a_server_whose_answers_nobody_reads(pressed: Report) -> None:
    assert UNREAD_END not in pressed.times


@pytest.mark.parametrize(
    ("file", "code", "instead", "promise"),
    [
        ("window.py", "            await window.ready()", "            pass", DEAF),
        ("lsp/framing.py", "        if has_hung_up(self._fd):", "        if False:", UNREAD_END),
    ],
    ids=["room for an answer", "the look for the end"],
)
def test_control_of_pressing_answers_unread(
    tmp_path: Path, file: str, code: str, instead: str, promise: str
) -> None:
    assert promise in lacking(tmp_path, "backpressure", file, code, instead).times


def test_control_of_pressing_a_cancel_without_an_answer(tmp_path: Path) -> None:
    report = lacking(
        tmp_path,
        "backpressure",
        "lsp/transport.py",
        '            self._refuse(msg_id, JsonRpcRequestCancelled("Request Cancelled"))',
        "            pass",
    )
    assert "every request of a storm is answered once" in report.times


# -- values ------------------------------------------------------------------------------------


def test_every_value_comes_back_as_it_was() -> None:
    report = run_programme("json_roundtrip", seed=SEED)

    assert report.broken == []
    counts = report.counts
    assert counts["values through the service"] == 2_400
    assert counts["values over stdio"] == 600
    assert counts["categories of code points"] == 30
    assert counts["refused"] == 60
    kinds = ("deep", "list", "long", "number", "object", "text")
    assert min(counts[f"kind: {kind}"] for kind in kinds) > 100


@pytest.mark.parametrize(
    ("file", "code", "instead", "promise"),
    [
        (
            "events.py",
            "json.JSONEncoder(allow_nan=False, ",
            "json.JSONEncoder(allow_nan=False, ensure_ascii=False, ",
            "no value is refused or fails",
        ),
        (
            "events.py",
            "json.JSONEncoder(allow_nan=False, ",
            "json.JSONEncoder(allow_nan=False, sort_keys=True, ",
            "through the service: every value comes back as it was",
        ),
        (
            "lsp/transport.py",
            "_encoder.encode(data).encode()",
            'json.dumps(data, ensure_ascii=False).encode("utf-8", "replace")',
            "over stdio: every value comes back as it was",
        ),
        (
            "events.py",
            "> MAX_DEPTH and _depth(value) > MAX_DEPTH",
            "> MAX_DEPTH and False",
            "what JSON lacks is refused",
        ),
    ],
    ids=["ASCII in the store", "order of keys", "ASCII on the wire", "depth"],
)
def test_control_of_values(
    tmp_path: Path, file: str, code: str, instead: str, promise: str
) -> None:
    assert promise in lacking(tmp_path, "json_roundtrip", file, code, instead).times


# -- clocks ------------------------------------------------------------------------------------


def test_no_clock_moves_an_event() -> None:
    report = run_programme("clock_skew", seed=SEED)

    assert report.broken == []
    assert report.counts["appends"] == report.counts["jumps of the clock"] == 1_000
    assert report.counts["steps back in time within a chain"] > 100
    assert report.counts["resumed from the future"] > 100


def test_control_of_clocks_an_order_by_time(tmp_path: Path) -> None:
    report = lacking(
        tmp_path,
        "clock_skew",
        "storage/rows.py",
        "ORDER BY key LIMIT +?",
        "ORDER BY created_at LIMIT +?",
    )
    assert "the order is the order of appending" in report.times
