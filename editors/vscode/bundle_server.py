"""Collects the wheels of the server, its dependencies and pip in the folder `server`.

The extension installs its private environment from them without a network. Pure Python wheels fit
every machine; the others need one wheel for each platform, some for each version of Python.
"""

import hashlib
import itertools
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WHEELS = HERE / "server"
LOCK = ROOT / "server" / "requirements.txt"
PLATFORMS = {
    "pysqlite3": ("manylinux_2_28_x86_64", "macosx_11_0_arm64", "win_amd64"),
    "watchdog": (
        "manylinux_2_17_x86_64", "manylinux_2_17_aarch64", "macosx_11_0_arm64",
        "macosx_11_0_x86_64", "win_amd64",
    ),
}  # fmt: skip
WHEEL_COUNTS = {"pysqlite3": 12, "watchdog": 11}
"""On Linux and Windows, one wheel of watchdog fits every version of Python."""
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PIP = "pip==26.3 --hash=sha256:f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"


def main() -> None:
    """Rebuild the folder `server`. Every download is verified by its hash before it is used."""
    shutil.rmtree(WHEELS, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        downloads = Path(folder)
        pip("download", "--require-hashes", "--dest", folder, "-r", str(LOCK))
        pip("wheel", "--no-index", "--find-links", folder, "--wheel-dir", str(WHEELS), str(ROOT))
        with ThreadPoolExecutor(max_workers=4) as pool:
            for name, platforms in PLATFORMS.items():
                for wheel in WHEELS.glob(f"{name}-*"):
                    wheel.unlink()  # only for this machine
                locked = downloads / f"{name}.txt"
                locked.write_text(find_locked(name), encoding="utf-8")
                for python, platform in itertools.product(PYTHONS, platforms):
                    target = ("--python-version", python, "--platform", platform)
                    pool.submit(fetch, locked, *target, "--only-binary=:all:")
        pip_only = downloads / "pip.txt"
        pip_only.write_text(PIP, encoding="utf-8")
        fetch(pip_only)
    for name, expected in WHEEL_COUNTS.items():
        if len(list(WHEELS.glob(f"{name}-*"))) != expected:
            sys.exit(f"expected {expected} wheels of {name}")
    (WHEELS / "stamp").write_text(f"{compute_stamp()}\n", encoding="utf-8")


def find_locked(name: str) -> str:
    """Return the lock file's entry for one package, without its platform marker."""
    entry = re.search(
        rf"^({name}==\S+)[^\\\n]*(\\\n(?:    --hash=\S+(?: \\)?\n)+)", LOCK.read_text(), re.M
    )
    if entry is None:
        sys.exit(f"{LOCK} does not lock {name}")
    return f"{entry[1]} {entry[2]}"


def fetch(requirements: Path, *target: str) -> None:
    """Download the locked packages without their dependencies; *target* are options of pip."""
    pip(
        "download",
        "--require-hashes",
        "--no-deps",
        *target,
        "--dest",
        str(WHEELS),
        "-r",
        str(requirements),
    )


def pip(*arguments: str) -> None:
    """Run pip. Raises CalledProcessError if it fails."""
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"]
    subprocess.run(command, check=True)  # noqa: S603  all arguments come from this file


def compute_stamp() -> str:
    """Return a hash of all wheels. The extension creates one environment for each stamp."""
    digest = hashlib.sha256()
    for wheel in sorted(WHEELS.glob("*.whl")):
        digest.update(wheel.name.encode() + hashlib.sha256(wheel.read_bytes()).digest())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    main()
