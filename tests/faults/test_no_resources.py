"""The fault programme `no_resources`, with its negative controls."""

import sys
from pathlib import Path

import pytest

from tests.faults.runner import Guard, run_programme, run_without, without_all

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit and setpriv")

if sys.platform == "linux":
    from tests.faults import no_resources


def test_a_server_without_threads_memory_or_descriptors_answers_and_ends() -> None:
    report = run_programme("no_resources")

    assert report.broken == []
    assert report.counts["servers"] == 9
    assert report.counts["answers"] >= 9 * 4
    assert report.counts["errors in words"] >= 9
    assert report.counts["acknowledged"] >= 9 * 2


def test_control_no_resources_without_the_watchdog(tmp_path: Path) -> None:
    package = without_all(
        [
            Guard(
                file="stdio/watchdog.py",
                code="time.monotonic() >= self._deadline:\n            os._exit(1)\n",
                replacement="time.monotonic() >= self._deadline:\n            time.sleep(1)\n",
            ),
            Guard(
                file="stdio/watchdog.py",
                code="signal.setitimer(signal.ITIMER_REAL, timeout_s + _BACKSTOP_S)",
                replacement="pass",
            ),
        ],
        tmp_path,
    )
    report = run_programme("no_resources", package=package)
    assert no_resources.IN_TIME in report.violations


def test_control_no_resources_without_an_answer_when_memory_is_out(tmp_path: Path) -> None:
    guard = Guard(
        file="lsp/transport.py",
        code="        except MemoryError as error:\n",
        replacement="        except ZeroDivisionError as error:\n",
    )
    report = run_without(guard, "no_resources", tmp_path)
    assert no_resources.ANSWERED in report.violations
