"""Shared by the fault programmes: sizes, seeds, reports, and copies of Segue without a guard.

A fault programme is a file of this folder that injects one kind of fault into the real components
and reports what it counted and which promises were broken. `python -m tests.faults.NAME --size long
--seed 7` prints the report as one line of JSON and exits with 1 if a promise was broken. The tests
run the same command in its short size. The negative control of a programme runs it against a copy
of the package from which one guard was removed: it must report the broken promise, otherwise the
programme proves nothing. It stops there: `--until` names the promise.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, Literal

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PACKAGE = ROOT / "server" / "segue"

MAX_VIOLATIONS = 100

Size = Literal["short", "long"]


@dataclasses.dataclass(kw_only=True)
class Report:
    """What a programme counted, and each promise that was broken.

    `broken` has each promise once, with its first example; `violations` counts how often each was
    broken. The run stops when all promises of `until` are broken.
    """

    name: str
    size: Size
    seed: int
    seconds: float = 0.0
    counts: dict[str, Any] = dataclasses.field(default_factory=dict)
    broken: list[str] = dataclasses.field(default_factory=list)
    violations: dict[str, int] = dataclasses.field(default_factory=dict)
    until: dataclasses.InitVar[Collection[str]] = ()

    def __post_init__(self, until: Collection[str]) -> None:
        self.is_control = bool(until)
        self._until = frozenset(until)

    def expect(self, holds: bool, promise: str, example: str = "") -> None:
        """Record a violation of *promise*, with *example*, unless it *holds*.

        Raises AllBroken if that was the last one that the run was made for.
        """
        if holds:
            return
        if promise not in self.violations:
            self.broken.append(f"{promise}: {example}" if example else promise)
        self.violations[promise] = self.violations.get(promise, 0) + 1
        if self._until and self._until <= self.violations.keys():
            raise AllBroken

    @property
    def has_failed(self) -> bool:
        """Whether so many promises were broken that going on shows nothing new."""
        return sum(self.violations.values()) >= MAX_VIOLATIONS

    def count(self, label: str, more: int = 1) -> None:
        """Add *more* to the count *label*."""
        self.counts[label] = self.counts.get(label, 0) + more


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guard:
    """A piece of the package's source, and the text that replaces it to remove the guard."""

    file: str
    """Relative to the package: `store/sqlite/driver.py`."""

    code: str
    """The anchor. It must occur exactly once in the file."""

    replacement: str


class AllBroken(BaseException):  # not an Exception, which programmes handle
    """All promises are broken that a negative control waits for."""


class LostAnchorError(Exception):
    """The source text that a negative control replaces is not, or not once, in its file."""


def main(run: Callable[[Report, random.Random], None]) -> None:
    """Run a programme as a command. *run* fills in the report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", choices=("short", "long"), default="short")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--until", action="append", default=[], metavar="PROMISE")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    report = Report(name=Path(sys.argv[0]).stem, size=given.size, seed=seed, until=given.until)
    began = time.monotonic()
    with contextlib.suppress(AllBroken):
        run(report, random.Random(seed))
    report.seconds = round(time.monotonic() - began, 1)
    print(json.dumps(dataclasses.asdict(report)))  # noqa: T201  the report is the output
    sys.exit(1 if report.broken else 0)


def run_programme(
    name: str,
    *,
    size: Size = "short",
    seed: int | None = None,
    package: Path = PACKAGE,
    until: Collection[str] = (),
) -> Report:
    """Run the programme *name* in a process of its own, with the `segue` at *package*.

    It stops when all promises of *until* are broken, if there are any: only for programmes that
    then leave no process and no open service behind.
    """
    command = [sys.executable, "-m", f"tests.faults.{name}", "--size", size]
    if seed is not None:
        command += ["--seed", str(seed)]
    command += [f"--until={promise}" for promise in until]
    environment = os.environ | {"PYTHONPATH": str(package.parent)}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode not in (0, 1) or not done.stdout.strip():
        raise RuntimeError(f"{name} printed no report (exit code {done.returncode})")
    return Report(**json.loads(done.stdout.splitlines()[-1]))


def run_without(
    guard: Guard,
    name: str,
    folder: Path,
    *,
    until: Collection[str] = (),
    seed: int | None = None,
) -> Report:
    """Run the programme *name* against a copy of the package in *folder* that lacks *guard*."""
    return run_programme(name, seed=seed, package=without(guard, folder), until=until)


def breaks(promise: str, name: str, guard: Guard, folder: Path) -> bool:
    """Return whether a Segue without *guard* breaks *promise* in one of five random runs.

    For a fault whose timing matters, so that a single run may not show it.
    """
    package = without(guard, folder)
    return any(promise in run_programme(name, package=package).violations for _ in range(5))


def without(guard: Guard, folder: Path) -> Path:
    """Return a copy of the package in *folder* that lacks *guard*."""
    return without_all([guard], folder)


def without_all(guards: Iterable[Guard], folder: Path) -> Path:
    """Return a copy of the package in *folder* that lacks all *guards*.

    Raises LostAnchorError, naming file and anchor of every guard that cannot be removed.
    """
    package = folder / "segue"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    lost = [fault for guard in guards if (fault := _remove(guard, package))]
    if lost:
        raise LostAnchorError("update the negative control's guard:\n" + "\n".join(lost))
    return package


def _remove(guard: Guard, package: Path) -> str | None:
    """Replace the guard's code; return what is wrong with its anchor, or None."""
    path = package / guard.file
    if not path.exists():
        return f"segue/{guard.file} does not exist (anchor: {guard.code!r})"
    source = path.read_text(encoding="utf-8")
    if (found := source.count(guard.code)) != 1:
        return f"segue/{guard.file} has the anchor {found} times instead of once: {guard.code!r}"
    path.write_text(source.replace(guard.code, guard.replacement), encoding="utf-8")
    if path.suffix != ".py":
        return None
    # A name that the module does not import would fail at run time, in place of the guard.
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--quiet", "--select", "F821,E9"]
    done = subprocess.run([*ruff, str(path)], stdout=subprocess.PIPE, text=True)
    return (
        f"the replacement of {guard.code!r} cannot run:\n{done.stdout}" if done.returncode else None
    )
