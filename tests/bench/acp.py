"""What `segue acp` adds between a client and an agent, beside the agent alone."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.bench import append, stores
from tests.bench.measure import (
    Row,
    Samples,
    Side,
    Sizes,
    alternate,
    at_most,
    format_mib,
    format_seconds,
)
from tests.bench.wire import CHECKOUT, environment

_AGENT = (sys.executable, "-I", str(Path(__file__).parents[1] / "acp" / "clock_agent.py"))
_PROXY = (sys.executable, "-P", "-m", "segue", "acp", "--")
_BARE = (sys.executable, "-I", str(Path(__file__).with_name("bare_relay.py")))
_CHUNKS = 100
"""How many chunks of an answer are timed at once, 10 ms apart."""

_SESSIONS = 100_000
_LISTS = 20


def measure(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Compare chunks, prompts and memory with the agent alone and with a bare commit."""
    folder /= "acp"
    folder.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        direct, bare, proxied = (
            stack.enter_context(_Agent((*before, *_AGENT), folder))
            for before in ((), _BARE, _PROXY)
        )
        db = append.connect_raw(stack, folder / "bare")
        keys = iter(range((1 << 32) + 1, 1 << 33))

        def commit() -> float:
            row = append.event_row(next(keys))
            begin = time.perf_counter()
            append.commit(db, [row])
            return time.perf_counter() - begin

        def prompts(calls: int) -> Samples:
            # One after the other: a disk and a processor that were idle are slower for all.
            sides = {"commit": commit, "direct prompt": direct.time_prompt}
            sides["proxied prompt"] = proxied.time_prompt
            samples: dict[str, list[float]] = {name: [] for name in sides}
            for _ in range(calls):
                for name, time_once in sides.items():
                    samples[name].append(time_once())
            return samples

        figures = alternate(
            [
                _chunks("direct", direct),
                _chunks("bare", bare),
                _chunks("proxied", proxied),
                prompts,
            ],
            rounds=sizes.rounds,
            calls=_CHUNKS,
        )
        memory = proxied.resident_memory()
    for name in ("p50", "p99"):
        direct_s = getattr(figures["direct chunk"], name)
        bare_s = getattr(figures["bare chunk"], name)
        proxied_s = getattr(figures["proxied chunk"], name)
        yield Row(
            number=27,
            quantity=f"added to a chunk of an answer, 100 a second, {name}",
            measured=format_seconds(proxied_s),
            baseline=f"without the proxy, {format_seconds(direct_s)}; "
            f"a bare asyncio relay, {format_seconds(bare_s)}",
            value=(proxied_s - direct_s) * 1e3,
            unit=" ms",
            goal=at_most(0.1 if name == "p50" else 2),
        )
    added = figures["proxied prompt"].p50 - figures["direct prompt"].p50
    yield Row(
        number=28,
        quantity="added to a prompt, which is on disk before the agent gets it",
        measured=format_seconds(added),
        baseline=f"raw sqlite3 commit, {format_seconds(figures['commit'].p50)}",
        value=added / figures["commit"].p50,
        goal=at_most(5),
        stretch=at_most(2),
    )
    yield Row(
        number=29,
        quantity="resident memory of the proxy",
        measured=format_mib(memory),
        baseline="",
        value=memory / 2**20,
        unit=" MiB",
        goal=at_most(30),
    )
    yield from _list(sizes, folder)


def _list(sizes: Sizes, folder: Path) -> Iterator[Row]:
    count = min(_SESSIONS, sizes.sessions[-1])
    place = folder / "many"
    with stores.create_database(place / "sessions.db") as db:
        stores.add_sessions(db, count, count // 10)
    with _Agent((*_PROXY, *_AGENT), place) as agent:
        seconds = []
        for _ in range(_LISTS):
            begin = time.perf_counter()
            agent.request("session/list", {})
            seconds.append(time.perf_counter() - begin)
    median = sorted(seconds)[len(seconds) // 2]
    yield Row(
        number=30,
        quantity=f"`session/list` with {count:,} sessions",
        measured=format_seconds(median),
        baseline="",
        value=median * 1e3,
        unit=" ms",
        goal=at_most(50),
    )


class _Agent:
    """An agent that says the time, and a client that reads each line as it comes."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(CHECKOUT)
            | {"SEGUE_DATABASE": str(folder / "sessions.db"), "XDG_CONFIG_HOME": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._id = 0
        self._buffer = b""
        self.request("initialize", {"protocolVersion": 1})
        self.session = self.request("session/new", {"cwd": str(folder), "mcpServers": []})[
            "sessionId"
        ]

    def __enter__(self) -> "_Agent":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def resident_memory(self) -> int:
        """Return the bytes of resident memory now."""
        status = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))

    def request(self, method: str, params: Any) -> Any:
        """Return the result of a request."""
        return self.turn(method, params)[0]["result"]

    def turn(self, method: str, params: Any) -> tuple[Any, list[tuple[float, Any]]]:
        """Send a request; return its answer, and what came before, each with its time."""
        assert self._process.stdin is not None
        self._id += 1
        body = {"jsonrpc": "2.0", "id": self._id, "method": method, "params": params}
        self._process.stdin.write(json.dumps(body).encode() + b"\n")
        came: list[tuple[float, Any]] = []
        while True:
            line, when = self._line()
            message = json.loads(line)
            if message.get("id") == self._id:
                return message, came
            came.append((when, message))

    def _line(self) -> tuple[bytes, float]:
        assert self._process.stdout is not None
        while b"\n" not in self._buffer:
            self._buffer += os.read(self._process.stdout.fileno(), 65_536)
        when = time.monotonic()
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line, when

    def prompt(self, text: str) -> tuple[Any, list[tuple[float, Any]]]:
        """Say *text*; return as `turn` does."""
        blocks = [{"type": "text", "text": text}]
        return self.turn("session/prompt", {"sessionId": self.session, "prompt": blocks})

    def time_prompt(self) -> float:
        """Return how many seconds it takes until the agent has a prompt."""
        begin = time.monotonic()
        _, came = self.prompt("TALK 1")
        return float(came[-1][1]["params"]["update"]["content"]["text"]) - begin


def _chunks(name: str, agent: _Agent) -> Side:
    def measure(calls: int) -> Samples:
        _, came = agent.prompt(f"TALK {calls}")
        texts = [(when, each["params"]["update"]) for when, each in came]
        chunks = [each for each in texts if each[1]["sessionUpdate"] == "agent_message_chunk"]
        return {f"{name} chunk": [when - float(u["content"]["text"]) for when, u in chunks]}

    return measure
