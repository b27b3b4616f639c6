"""The proxy before an agent: odd bytes, kills, and their negative controls."""

from pathlib import Path

import pytest

from tests.faults import acp_bytes, acp_kill
from tests.faults.runner import Guard, breaks, run_programme, run_without


def test_every_byte_arrives_in_both_directions() -> None:
    report = run_programme("acp_bytes")

    assert report.broken == []
    assert report.counts["bytes"] > 5_000_000


@pytest.mark.parametrize(
    ("guard", "promise"),
    [
        pytest.param(
            Guard(
                file="acp/relay.py",
                code="            out.forward(line.data)\n            return None\n",
                replacement="            return None\n",
            ),
            acp_bytes.TO_AGENT,
            id="what is no message is dropped",
        ),
        pytest.param(
            Guard(
                file="acp/relay.py",
                code="            self._gone_on += unsent\n",
                replacement="            pass\n",
            ),
            acp_bytes.TO_CLIENT,
            id="what has gone on is not counted",
        ),
    ],
)
def test_control_acp_bytes(guard: Guard, promise: str, tmp_path: Path) -> None:
    assert promise in run_without(guard, "acp_bytes", tmp_path).violations


def test_what_an_agent_got_and_said_survives_a_kill() -> None:
    report = run_programme("acp_kill")

    assert report.broken == []
    assert report.counts["prompts that the agent got"] > 5


def test_control_acp_kill_without_the_wait_for_the_disk(tmp_path: Path) -> None:
    guard = Guard(
        file="acp/proxy.py",
        code="            await self._is.saver.saved(STORE_TIMEOUT_S)\n        return _renamed",
        replacement="            pass\n        return _renamed",
    )
    assert breaks(acp_kill.PROMPT, "acp_kill", guard, tmp_path)


def test_control_acp_kill_without_pieces(tmp_path: Path) -> None:
    guard = Guard(file="acp/message_pieces.py", code="PERIOD = 2.0", replacement="PERIOD = 60.0")
    # The programme must go on to expect what was promised.
    assert breaks(acp_kill.TEXT, "acp_kill", guard, tmp_path)
