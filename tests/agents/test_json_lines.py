"""What every source of JSON lines promises: growth is continued, twice is once, nothing raises."""

import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from segue.agents import jsonl
from segue.store.sqlite.service import LocalSessionService
from tests.agents import samples
from tests.agents.conftest import Imports
from tests.agents.samples import Sample, as_lines, stored

SAMPLES = {
    "claude-code": samples.claude_code(),
    "claude-code, no id": samples.without_id(samples.claude_code(), 8),
    "codex": samples.codex(),
    "codex, paginated": samples.codex(
        samples.meta(),
        samples.message("user", "<environment_context>"),
        samples.message("user", "List", "<image>"),
        samples.completed(
            {"type": "text", "text": "List"}, {"type": "image", "image_url": samples.IMAGE}
        ),
        samples.message("assistant", "One."),
        samples.message("user", "A process ended"),
        samples.message("assistant", "Noted."),
    ),
    "codex, flat": samples.codex(
        {"id": samples.ONE, "timestamp": samples.TIME.format(1), "instructions": None},
        {"record_type": "state"},
        *(each["payload"] for each in samples.codex().records if each["type"] == "response_item"),
    ),
    "copilot-cli": samples.copilot_cli(),
    "copilot-cli, no id": samples.without_id(samples.copilot_cli(), 4),
    "copilot-cli, old": samples.legacy_copilot_cli(),
}
WRONG: list[Any] = [None, True, 5, -1e300, "", "\ud800\0", [], [None, 7, {}], {}, {"type": []}]


OpenStore = Callable[[str], Awaitable[Imports]]


@pytest.fixture(params=SAMPLES.values(), ids=list(SAMPLES))
def sample(request: pytest.FixtureRequest) -> Sample:
    """Each sample."""
    found: Sample = request.param
    return found


@pytest.fixture
async def open_store(tmp_path: Path) -> AsyncIterator[OpenStore]:
    """Return a function that opens another store, until the test ends."""
    opened: list[Imports] = []

    async def open_one(name: str) -> Imports:
        service = await LocalSessionService.open(tmp_path / name / "sessions.db")
        opened.append(Imports(service))
        return opened[-1]

    yield open_one
    for each in opened:
        await each.service.close()


async def whole(sample: Sample, home: Path, open_store: OpenStore) -> Any:
    """Return what one import of the whole file stores."""
    imports = await open_store("whole")
    await imports.run(sample.source, sample.write(home))
    return await stored(imports.service)


def cuts(content: bytes) -> Iterator[list[int]]:
    """Yield lists of places at which the file is cut while it grows."""
    ends = [at + 1 for at, byte in enumerate(content) if byte == 10]
    yield ends
    yield [end - 1 for end in ends]
    for seed in range(6):
        yield sorted(random.Random(seed).sample(range(1, len(content)), 12))


async def test_growing_is_continued(sample: Sample, tmp_path: Path, open_store: OpenStore) -> None:
    expected = await whole(sample, tmp_path, open_store)
    content = as_lines(sample.records)
    path = sample.write(tmp_path)
    for number, places in enumerate(cuts(content)):
        imports = await open_store(str(number))
        path.write_bytes(b"")
        for begin, end in zip([0, *places], [*places, len(content)], strict=True):
            with path.open("ab") as file:
                file.write(content[begin:end])
            await imports.run(sample.source, path)
        assert await stored(imports.service) == expected


async def test_twice_is_once(sample: Sample, tmp_path: Path, open_store: OpenStore) -> None:
    imports = await open_store("twice")
    path = sample.write(tmp_path)
    first = await imports.run(sample.source, path)
    assert first.events > 0
    expected = await stored(imports.service)
    again = await imports.run(sample.source, path)
    assert (again.events, again.unchanged, again.skipped) == (0, 1, {})
    os.utime(path, (0, 0))
    assert (await imports.run(sample.source, path)).events == 0
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)
    assert (await imports.run(sample.source, path)).events == 0
    assert await stored(imports.service) == expected


async def test_a_cut_file_that_goes_on_becomes_a_fork(
    tmp_path: Path, open_store: OpenStore
) -> None:
    records = samples.copilot_cli().records
    imports = await open_store("cut")
    path = samples.copilot_cli(*records[:8]).write(tmp_path)
    await imports.run("copilot-cli", path)
    before = await stored(imports.service)
    others = [{**each, "id": f"other-{each['id']}"} for each in records[7:]]
    path.write_bytes(as_lines([*records[:7], *others]))
    report = await imports.run("copilot-cli", path)
    assert report.forks == 1
    after = await stored(imports.service)
    assert len(after) == 2
    assert after[samples.ONE][-1] == before[samples.ONE][-1]
    (fork,) = (session for session in after.values() if session[2] == samples.ONE)
    assert fork[-1][:4] == before[samples.ONE][-1][:4]
    assert {id.partition("-")[0] for id, *_ in fork[-1][4:]} == {"other"}


def mutants(value: Any) -> Iterator[Any]:
    """Yield *value* with each part of it replaced by values of wrong types, or left out."""
    yield from WRONG
    if isinstance(value, dict):
        for key in value:
            yield {k: v for k, v in value.items() if k != key}
            yield from ({**value, key: mutant} for mutant in mutants(value[key]))
    elif isinstance(value, list):
        for at, each in enumerate(value):
            yield from ([*value[:at], mutant, *value[at + 1 :]] for mutant in mutants(each))


async def test_values_of_wrong_types_never_raise(
    sample: Sample, tmp_path: Path, open_store: OpenStore
) -> None:
    imports = await open_store("types")
    for number, record in enumerate(sample.records):
        others = [{"run": number}, *sample.records[:1], *mutants(record), *sample.records]
        path = sample.write(tmp_path, others)
        report = await imports.run(sample.source, path)
        assert sum("not a JSON object" in reason for reason in report.broken) > 5
        path.unlink()
        for first in mutants(record) if number == 0 else ():
            path = sample.write(tmp_path, [first, *sample.records[1:3]])
            await imports.run(sample.source, path)
            path.unlink()


@pytest.mark.parametrize(
    ("begin", "end", "reason"),
    [
        (b"", b"", None),
        (b"\xef\xbb\xbf", b"", None),
        (b"", b'{"type": "us', None),
        (b"", b"\0" * 4_096, None),
        (b"", b"\0\0{}\n", None),
        (b"", b"\n\n  \n", None),
        (b"", b"\0\0\n", "not JSON"),
        (b"", b"not JSON\n", "not JSON"),
        (b"", b"[1, 2]\n", "not a JSON object"),
        (b"", b"\xff\xfe\n", "not JSON"),
        (b"", b"\x1b\x00\x01\n", "not JSON"),
        (b"", b"[" * 9_000 + b"\n", "not JSON"),
        (b"", b'{"a": ' + b"9" * 5_000 + b"}\n", "not JSON"),
        (b"", b'{"a": "' + b"x" * 20_000 + b'"}\n', "longer than"),
    ],
)
async def test_what_cannot_be_read_is_said_and_the_rest_is_kept(
    sample: Sample,
    begin: bytes,
    end: bytes,
    reason: str | None,
    tmp_path: Path,
    open_store: OpenStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jsonl, "MAX_LINE", 10_000)
    imports = await open_store("bad")
    path = sample.write(tmp_path)
    content = path.read_bytes()
    path.write_bytes(begin + content + end)
    report = await imports.run(sample.source, path)
    count = content.count(b"\n") + 1
    if reason is None:
        assert report.broken == []
    else:
        (said,) = report.broken
        assert said.startswith(f"{path}, line {count}: {reason}")
    assert len(await stored(imports.service)) == len(await whole(sample, tmp_path, open_store))


async def test_lines_that_end_as_on_windows_are_kept(
    sample: Sample, tmp_path: Path, open_store: OpenStore
) -> None:
    imports = await open_store("crlf")
    path = sample.write(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    await imports.run(sample.source, path)
    found = [
        [event[1:] for event in session[-1]] for session in (await stored(imports.service)).values()
    ]
    expected = (await whole(sample, tmp_path, open_store)).values()
    assert sorted(found, key=str) == sorted(
        ([event[1:] for event in session[-1]] for session in expected), key=str
    )


async def test_what_is_no_file_is_said(
    sample: Sample, tmp_path: Path, open_store: OpenStore
) -> None:
    imports = await open_store("none")
    path = sample.write(tmp_path)
    path.unlink()
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    makers: list[tuple[Callable[[], object], str]] = [
        (lambda: path.write_bytes(b""), ""),
        (lambda: os.mkfifo(path), "not a file"),
        (path.mkdir, "not a file"),
        (lambda: path.symlink_to(tmp_path / "nowhere"), "No such file"),
        (lambda: path.symlink_to("/dev/zero"), "not a file"),
        (lambda: path.symlink_to(secret), "not JSON"),
    ]
    for make, reason in makers:
        make()
        report = await imports.run(sample.source, path)
        assert report.events == 0
        assert len(report.broken) == bool(reason)
        assert reason in "".join(report.broken)
        assert "hunter2" not in "".join(report.broken)
        path.rmdir() if path.is_dir() else path.unlink()
    assert await stored(imports.service) == {}
