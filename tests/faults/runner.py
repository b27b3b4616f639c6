"""What every fault programme shares: two sizes, a seed, a report, and a Segue without a guard.

A programme is a file of this folder that does one kind of harm to the real parts, and reports what
it counted and which promises it saw broken. `python -m tests.faults.NAME --size long --seed 7`
prints the report as one line of JSON, and exits with 1 if a promise was broken. The tests run the
same command in its short size; the negative control of a programme is the same command once more,
against a copy of the package from which one guard was taken: it must report the broken promise, or
the programme proves nothing.
"""

import argparse
import dataclasses
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PACKAGE = ROOT / "server" / "segue"

ENOUGH = 100

Size = Literal["short", "long"]


@dataclasses.dataclass(kw_only=True)
class Report:
    """What a programme counted, and each promise that it saw broken, in words.

    `broken` has each promise once, with its first example; `times` has how often it was broken.
    """

    name: str
    size: Size
    seed: int
    seconds: float = 0.0
    counts: dict[str, Any] = dataclasses.field(default_factory=dict)
    broken: list[str] = dataclasses.field(default_factory=list)
    times: dict[str, int] = dataclasses.field(default_factory=dict)

    def expect(self, holds: bool, promise: str, example: str = "") -> None:
        """Note that *promise* is broken, and where, unless it *holds*."""
        if holds:
            return
        if promise not in self.times:
            self.broken.append(f"{promise}: {example}" if example else promise)
        self.times[promise] = self.times.get(promise, 0) + 1

    @property
    def hopeless(self) -> bool:
        """Whether so much was broken that there is nothing to be learned from going on."""
        return sum(self.times.values()) >= ENOUGH

    def count(self, what: str, more: int = 1) -> None:
        """Count *more* of *what*."""
        self.counts[what] = self.counts.get(what, 0) + more


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guard:
    """A piece of the package, and what stands in its place when the guard is taken away."""

    file: str
    code: str
    instead: str


def main(run: Callable[[Report, random.Random], None]) -> None:
    """Run a programme as a command. *run* fills in the report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", choices=("short", "long"), default="short")
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    report = Report(name=Path(sys.argv[0]).stem, size=given.size, seed=seed)
    began = time.monotonic()
    run(report, random.Random(seed))
    report.seconds = round(time.monotonic() - began, 1)
    print(json.dumps(dataclasses.asdict(report)))  # noqa: T201
    sys.exit(1 if report.broken else 0)


def run_programme(
    name: str, *, size: Size = "short", seed: int | None = None, package: Path = PACKAGE
) -> Report:
    """Run the programme *name* in a process of its own, against the `segue` at *package*."""
    command = [sys.executable, "-m", f"tests.faults.{name}", "--size", size]
    if seed is not None:
        command += ["--seed", str(seed)]
    environment = os.environ | {"PYTHONPATH": str(package.parent)}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode not in (0, 1) or not done.stdout.strip():
        raise RuntimeError(f"{name} did not end by itself (exit code {done.returncode})")
    return Report(**json.loads(done.stdout.splitlines()[-1]))


def without(guard: Guard, folder: Path) -> Path:
    """Return a copy of the package in *folder* that lacks *guard*."""
    return without_all([guard], folder)


def without_all(guards: Iterable[Guard], folder: Path) -> Path:
    """Return a copy of the package in *folder* that lacks all *guards*."""
    package = folder / "segue"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    for guard in guards:
        file = package / guard.file
        text = file.read_text(encoding="utf-8")
        if text.count(guard.code) != 1:
            raise ValueError(f"{guard.file} has no longer exactly one {guard.code!r}: name it anew")
        file.write_text(text.replace(guard.code, guard.instead), encoding="utf-8")
    return package
