"""Fault programmes for the contract, the wire, values and clocks, with their negative controls."""

from pathlib import Path

import pytest

from tests.faults import (
    backpressure,
    clock_skew,
    frame_fuzzing,
    json_roundtrip,
    service_model,
    stalled_mount,
)
from tests.faults.runner import (
    PACKAGE,
    Guard,
    Report,
    run_programme,
    run_without,
    without,
    without_all,
)

SEED = 7


# -- service_model -----------------------------------------------------------------------------


@pytest.mark.timeout(400)
def test_the_service_behaves_like_its_model() -> None:
    report = run_programme("service_model", seed=SEED)

    assert report.broken == []
    counts = report.counts
    assert counts["histories"] >= 40
    assert counts["steps"] > 4_000
    assert counts["calls"] > 3_000
    assert counts["pages"] > 5_000
    assert min(counts[each] for each in ("crashed", "reopened", "forks", "deleted")) > 20
    assert min(counts["pruned"], counts["held"]) > 0
    assert counts["cancelled, stored"] + counts["cancelled, not stored"] > 20
    kinds = ("HeadMoved", "EventConflict", "EventNotFound", "SessionNotFound")
    assert min(counts[kind] for kind in kinds) > 0


@pytest.mark.parametrize(
    ("guard", "said"),
    [
        pytest.param(
            Guard(
                file="store/sqlite/append.py",
                code="                raise HeadMoved(self._head, self.count)\n",
                replacement="                pass\n",
            ),
            "got ",
            id="no check of the head",
        ),
        pytest.param(
            Guard(
                file="store/sqlite/spans.py",
                code="""    db.execute("DELETE FROM events WHERE key > ? AND key <= ?", """
                """(first + last, first + MAX_SEQ))\n""",
                replacement="",
            ),
            "events stored, but shown by nobody",
            id="no trim of a stub",
        ),
        pytest.param(
            Guard(
                file="store/sqlite/spans.py",
                code="        due += [strand for (strand,) in "
                "db.execute(_STUB_STRANDS, (number,)).fetchall()]\n",
                replacement="",
            ),
            "stored, but shown by nobody",
            id="no look at the stubs of a deleted fork",
        ),
        pytest.param(
            Guard(
                file="store/sqlite/spans.py",
                code="    db.execute(_UNUSED_INVOCATIONS, (number, first, first + last))\n",
                replacement="",
            ),
            "invocations stored, but shown by nobody",
            id="no removal of a stub's invocations",
        ),
        pytest.param(
            Guard(
                file="store/sqlite/queries.py",
                code="min(high, span.last + 1)",
                replacement="high",
            ),
            "StorageCorrupt",
            id="no end of a span, in a page",
        ),
        pytest.param(
            Guard(
                file="store/sqlite/spans.py",
                code=" AND (events.key & 4294967295) <= (spans.key & 4294967295)\n",
                replacement="\n",
            ),
            "got ",
            id="no end of a span, in the lookup of ids",
        ),
        pytest.param(
            Guard(
                file="store/sqlite/append.py",
                code="            if stored is None and self._fork_seq:\n",
                replacement="            if False:\n",
            ),
            "got ",
            id="no lookup of ids in the spans",
        ),
        pytest.param(
            Guard(
                file="store/sqlite/service.py",
                code='free = [row for row in rows if row["id"] in ids]',
                replacement="free = list(rows)",
            ),
            "got Pruned",
            id="no look at what is held",
        ),
    ],
)
def test_control_service_model(guard: Guard, said: str, tmp_path: Path) -> None:
    report = run_without(
        guard, "service_model", tmp_path, seed=SEED, until=[service_model.CONTRACT]
    )

    assert len(report.broken) == 1
    assert report.broken[0].startswith(f"{service_model.CONTRACT}: local: ")
    assert said in report.broken[0]
    assert "state.begin_with_two_sessions" in report.broken[0], "it has the steps"


# -- frame_fuzzing -----------------------------------------------------------------------------


def test_malformed_frames_do_no_harm() -> None:
    report = run_programme("frame_fuzzing", seed=SEED)

    assert report.broken == []
    counts = report.counts
    assert counts["frames in process"] == 20_000
    assert counts["valid requests in process"] > 10_000
    assert counts["responses in process"] > 20_000
    assert counts["frames over stdio"] == 300
    assert counts["responses over stdio"] > 250


def test_control_frame_fuzzing_with_one_spelling_of_the_header(tmp_path: Path) -> None:
    guard = Guard(
        file="lsp/framing/reader.py",
        code=r'(rb"content-length\s*:\s*(\d{1,10})\s*$", re.IGNORECASE)',
        replacement=r'(rb"Content-Length\s*:\s*(\d{1,10})\s*$")',
    )
    promise = frame_fuzzing.NO_LOSS
    report = run_without(guard, "frame_fuzzing", tmp_path, seed=SEED, until=[promise])
    assert promise in report.violations


def test_control_frame_fuzzing_without_the_check_of_nesting(tmp_path: Path) -> None:
    guard = Guard(
        file="lsp/transport.py",
        code="        except (ValueError, RecursionError) as error:",
        replacement="        except ValueError as error:",
    )
    promises = {frame_fuzzing.NO_CRASH, frame_fuzzing.ALL_RESPONSES}
    report = run_without(guard, "frame_fuzzing", tmp_path, seed=SEED, until=promises)
    assert promises <= report.violations.keys()


# -- backpressure ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def overloaded() -> Report:
    return run_programme("backpressure", seed=SEED)


def test_a_client_that_overloads_the_server_harms_nobody_else(overloaded: Report) -> None:
    assert overloaded.broken == []
    assert overloaded.counts["cancellations"] == 5_000
    assert overloaded.counts["events stored in the flood"] == 200
    assert overloaded.counts["responses read late"] == 72
    assert overloaded.counts["appends of other windows"] == 40


def test_a_client_that_reads_nothing_costs_bounded_memory(overloaded: Report) -> None:
    assert backpressure.MEMORY not in overloaded.violations


def test_the_end_of_stdin_ends_a_server_with_responses_unread(overloaded: Report) -> None:
    assert backpressure.UNREAD_EXIT not in overloaded.violations


@pytest.mark.parametrize(
    ("guard", "promise"),
    [
        pytest.param(
            Guard(
                file="stdio/writer.py",
                code="        while self._is_full and not self._discarding:\n",
                replacement="        while False:\n",
            ),
            backpressure.MEMORY,
            id="no wait for capacity",
        ),
        pytest.param(
            Guard(
                file="lsp/transport.py",
                code="            self._respond_error(msg_id, "
                'JsonRpcRequestCancelled("Request Cancelled"))\n',
                replacement="            pass\n",
            ),
            backpressure.FLOOD_RESPONSES,
            id="no response to a cancelled request",
        ),
    ],
)
def test_control_backpressure(guard: Guard, promise: str, tmp_path: Path) -> None:
    assert promise in run_without(guard, "backpressure", tmp_path, seed=SEED).violations


def test_control_backpressure_without_a_check_for_a_hang_up(tmp_path: Path) -> None:
    guards = [
        Guard(
            file="stdio/reader.py",
            code="        if has_hung_up(self._fd):\n",
            replacement="        if False:\n",
        ),
        Guard(
            file="stdio/watchdog.py",
            code="            elif event != _UNSUPPORTED:\n",
            replacement="            elif False:\n",
        ),
    ]
    report = run_programme("backpressure", seed=SEED, package=without_all(guards, tmp_path))
    assert backpressure.UNREAD_EXIT in report.violations


# -- stalled_mount -----------------------------------------------------------------------------


def run_stalled_mount(package: Path = PACKAGE) -> Report:
    report = run_programme("stalled_mount", seed=SEED, package=package)
    if "skipped" in report.counts:
        pytest.skip(report.counts["skipped"])
    return report


def test_a_mount_that_hangs_delays_only_its_own_requests() -> None:
    report = run_stalled_mount()

    assert report.broken == []
    assert report.counts["requests for folders that hang"] == 31
    assert report.counts["other requests meanwhile"] == 12
    assert report.counts["exits"] == 2


@pytest.mark.parametrize(
    ("guard", "promise"),
    [
        pytest.param(
            Guard(
                file="sessions/window.py",
                code="_KEEPS_ITS_TURN_S = 0.1\n",
                replacement="_KEEPS_ITS_TURN_S = 60.0\n",
            ),
            stalled_mount.BY_ID,
            id="a request keeps its place in the queue",
        ),
        pytest.param(
            Guard(
                file="sessions/locator.py",
                code="                raise _BehindStuckError(other)\n",
                replacement="                pass\n",
            ),
            stalled_mount.FEW_THREADS,
            id="no thread for each mount",
        ),
    ],
)
def test_control_stalled_mount(guard: Guard, promise: str, tmp_path: Path) -> None:
    assert promise in run_stalled_mount(without(guard, tmp_path)).violations


# -- json_roundtrip ----------------------------------------------------------------------------


def test_every_value_comes_back_as_it_was_sent() -> None:
    report = run_programme("json_roundtrip", seed=SEED)

    assert report.broken == []
    counts = report.counts
    assert counts["values through the service"] == 2_400
    assert counts["values over stdio"] == 600
    assert counts["Unicode categories"] == 30
    assert counts["rejected"] == 60
    kinds = ("deep", "list", "long", "number", "object", "string")
    assert min(counts[f"kind: {kind}"] for kind in kinds) > 100


STORED_ENCODER = "json.JSONEncoder(allow_nan=False, "


@pytest.mark.parametrize(
    ("guard", "promise"),
    [
        pytest.param(
            Guard(
                file="model/json_text.py",
                code=STORED_ENCODER,
                replacement=f"{STORED_ENCODER}ensure_ascii=False, ",
            ),
            json_roundtrip.NO_ERROR,
            id="no ASCII in the store",
        ),
        pytest.param(
            Guard(
                file="model/json_text.py",
                code=STORED_ENCODER,
                replacement=f"{STORED_ENCODER}sort_keys=True, ",
            ),
            json_roundtrip.unchanged("through the service"),
            id="keys sorted",
        ),
        pytest.param(
            Guard(
                file="lsp/transport.py",
                code="_encoder.encode(data).encode()",
                replacement='json.dumps(data, ensure_ascii=False).encode("utf-8", "replace")',
            ),
            json_roundtrip.unchanged("over stdio"),
            id="no ASCII on the wire",
        ),
        pytest.param(
            Guard(
                file="model/json_text.py",
                code="> MAX_DEPTH and depth(value) > MAX_DEPTH",
                replacement="> MAX_DEPTH and False",
            ),
            json_roundtrip.REJECTED,
            id="no limit of depth",
        ),
    ],
)
def test_control_json_roundtrip(guard: Guard, promise: str, tmp_path: Path) -> None:
    report = run_without(guard, "json_roundtrip", tmp_path, seed=SEED, until=[promise])
    assert promise in report.violations


# -- clock_skew --------------------------------------------------------------------------------


def test_the_clock_does_not_change_the_order_of_events() -> None:
    report = run_programme("clock_skew", seed=SEED)

    assert report.broken == []
    assert report.counts["appends"] == report.counts["clock jumps"] == 1_000
    assert report.counts["backward time steps within a session"] > 100
    assert report.counts["left, with a time in the future"] == 1_000
    assert report.counts["opened by id with a time in the future"] > 100


def test_control_clock_skew_without_the_check_for_a_time_in_the_future(tmp_path: Path) -> None:
    guard = Guard(
        file="store/sqlite/service.py",
        code=" now + MAX_SKEW_MS\n",
        replacement=" MAX_TIMESTAMP\n",
    )
    report = run_without(guard, "clock_skew", tmp_path, seed=SEED)
    assert clock_skew.NOT_FRESH in report.violations
    assert clock_skew.SAID in report.violations


def test_control_clock_skew_with_events_ordered_by_time(tmp_path: Path) -> None:
    guard = Guard(
        file="store/sqlite/queries.py",
        code="ORDER BY key LIMIT +?",
        replacement="ORDER BY created_at LIMIT +?",
    )
    report = run_without(guard, "clock_skew", tmp_path, seed=SEED)
    assert clock_skew.ORDER in report.violations
