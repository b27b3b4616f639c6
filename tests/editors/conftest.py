"""The lives of real Neovims, which leave nobody behind."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.editors.neovim import SERVER, Begin, Life, Live, Seen, wait_until_nobody_is_left


@pytest.fixture
def begin(tmp_path: Path, repository: Path, database: Path) -> Iterator[Begin]:
    """Begin the life of a Neovim: `begin("file.function", directory, something="given")`."""
    lives: list[Life] = []

    def begin_life(
        spec: str, directory: Path = repository, /, cmd: object = SERVER, **given: Any
    ) -> Life:
        signs = tmp_path / "signs"
        signs.mkdir(exist_ok=True)
        report = tmp_path / f"report{len(lives)}.json"
        life = Life(report, spec, directory, given | {"signs": str(signs)}, cmd)
        lives.append(life)
        return life

    yield begin_life
    for life in lives:
        if life.process.poll() is None:
            life.process.kill()
            life.process.communicate()
    left = wait_until_nobody_is_left(database)
    assert not left, "left behind"


@pytest.fixture
def live(begin: Begin) -> Live:
    """Let a Neovim live until it quits; return what it saw."""

    def live_life(*args: Any, **given: Any) -> Seen:
        return begin(*args, **given).end()

    return live_life
