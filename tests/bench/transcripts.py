"""Transcripts of Claude Code of any size, with real code in them."""

import itertools
import json
import random
import sysconfig
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.agents import claude

_PER_FILE = 8_000_000
_TOOLS = 4
"""How many tools run in a turn."""


def write(home: Path, megabytes: int) -> list[Path]:
    """Write transcripts of so many megabytes below *home*; return their paths."""
    rng = random.Random(1)
    texts = _texts(rng)
    paths = []
    left = megabytes * 1_000_000
    while left > 0:
        content = b"".join(_lines(rng, texts, min(left, _PER_FILE)))
        paths.append(claude.transcript(home, content, str(uuid.UUID(int=rng.getrandbits(128)))))
        left -= len(content)
    return paths


def _lines(rng: random.Random, texts: Iterator[str], size: int) -> Iterator[bytes]:
    numbers = itertools.count(1)
    last = None
    while size > 0:
        records, last = _turn(rng, texts, numbers, last)
        lines = claude.lines(*(_timed(each) for each in records))
        size -= len(lines)
        yield lines


def _turn(
    rng: random.Random, texts: Iterator[str], numbers: Iterator[int], last: int | None
) -> tuple[list[Any], int]:
    """Return the records of a turn: a third is progress that no import keeps, as in real ones."""
    prompt = next(numbers)
    records = [claude.user(prompt, next(texts)[:300], last)]
    last = prompt
    for _ in range(_TOOLS):
        used, done = next(numbers), next(numbers)
        output = next(texts)[: int(rng.paretovariate(1.2) * 300)]
        result = claude.tool_result(done, f"call-{used}", used, output)
        records += [
            claude.tool_use(used, f"call-{used}", last),
            claude.record(next(numbers), "progress", [], used, data={"type": "bash_progress"}),
            result | {"toolUseResult": {"stdout": output}},
        ]
        last = done
    answer = next(numbers)
    records.append(claude.text(answer, next(texts)[:800], last))
    return records, answer


def _timed(record: Any) -> Any:
    return json.loads(json.dumps(record)) | {"timestamp": "2026-11-20T10:00:00.000Z"}


def _texts(rng: random.Random) -> Iterator[str]:
    """Yield pieces of code of up to 20,000 characters, for ever."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    while True:
        text = rng.choice(files).read_text(encoding="utf-8", errors="replace")
        begin = rng.randrange(max(1, len(text) - 1_000))
        yield text[begin : begin + 20_000]
