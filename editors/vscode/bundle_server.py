"""Collects the wheels of the server and its dependencies in the folder `server`.

The extension installs its private environment from them without a network. Pure Python wheels fit
every machine; the others need one wheel for each platform, some for each version of Python. The
variable SEGUE_TARGET, such as `linux-x64`, selects those of one platform, for
`vsce package --target`. SEGUE_WHEEL names a wheel of the server that was built already.
`--downloads` prints the folder of the wheels as they are in the registry, and bundles nothing.
"""

import contextlib
import hashlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from slim_wheels import merge_wheels, slim_wheel

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUNDLE = HERE / "server"
INSTALLER = HERE / "install_server.py"
INSTALLER_PACKAGE = "packaging"
LOCK = ROOT / "server" / "requirements.txt"
DOWNLOADS = Path(os.environ.get("SEGUE_WHEELS_CACHE") or HERE / ".build" / "wheels")
"""What was downloaded, as it is in the registry; a later run needs no network."""
PLATFORMS = {
    "pysqlite3": ("manylinux_2_28_x86_64", "macosx_11_0_arm64", "win_amd64"),
    "watchdog": (
        "manylinux_2_17_x86_64", "manylinux_2_17_aarch64", "macosx_11_0_arm64",
        "macosx_11_0_x86_64", "win_amd64",
    ),
}  # fmt: skip
WHEEL_COUNTS = {"pysqlite3": 12, "watchdog": 11}
"""On Linux and Windows, one wheel of watchdog fits every version of Python."""
MERGED = ("watchdog",)
"""Of these the extension modules are small, so that one wheel has those of every Python."""
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
TARGETS = {
    "linux-x64": "manylinux_*_x86_64",
    "linux-arm64": "manylinux_*_aarch64",
    "darwin-x64": "macosx_*_x86_64",
    "darwin-arm64": "macosx_*_arm64",
    "win32-x64": "win_amd64",
}
"""The platforms that get an extension of their own, with the tags of their wheels."""


def main() -> None:
    """Rebuild the folder `server`. Every download is verified by its hash before it is used."""
    target = os.environ.get("SEGUE_TARGET")
    if target and target not in TARGETS:
        sys.exit(f"SEGUE_TARGET is {target}; known are {', '.join(TARGETS)}")
    downloads = download()
    shutil.rmtree(BUNDLE, ignore_errors=True)
    BUNDLE.mkdir()
    with tempfile.TemporaryDirectory() as folder:
        offline = ("--no-index", "--find-links", str(downloads))
        pip("wheel", *offline, "--wheel-dir", folder, os.environ.get("SEGUE_WHEEL") or str(ROOT))
        portable = [each for each in Path(folder).glob("*.whl") if name_of(each) not in PLATFORMS]
        for wheel in (*portable, *downloads.glob(f"{INSTALLER_PACKAGE}-*.whl")):
            shutil.copyfile(wheel, BUNDLE / wheel.name)
    for name, tags in itertools.product(
        PLATFORMS, [TARGETS[target]] if target else TARGETS.values()
    ):
        wheels = sorted(downloads.glob(f"{name}-*-{tags}.whl"))
        if name in MERGED and len(wheels) > 1:
            merge_wheels(wheels, BUNDLE)
        else:
            for wheel in wheels:
                slim_wheel(wheel, BUNDLE / wheel.name)
    shutil.copyfile(INSTALLER, BUNDLE / INSTALLER.name)
    # The extension verifies all files by this list, and makes one environment for each list.
    sums = [f"{compute_hash(path)}  {path.name}\n" for path in sorted(BUNDLE.iterdir())]
    (BUNDLE / "SHA256SUMS").write_text("".join(sums), encoding="utf-8", newline="\n")


def download() -> Path:
    """Return the folder with all wheels, which are downloaded unless they are there.

    Its name says what is wanted, and it appears when it is complete: processes that want other
    wheels, or the same, may run at once. Exits if a wheel is missing or is not a locked one.
    """
    wanted = f"{LOCK.read_text(encoding='utf-8')}{PLATFORMS}{PYTHONS}"
    folder = DOWNLOADS / hashlib.sha256(wanted.encode()).hexdigest()[:16]
    if not folder.exists():
        DOWNLOADS.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix="making-", dir=DOWNLOADS))
        fetch_all(draft)
        with contextlib.suppress(OSError):  # another process was first
            draft.rename(folder)
        shutil.rmtree(draft, ignore_errors=True)
    for wheel in folder.glob("*.whl"):
        if f"sha256:{compute_hash(wheel)}" not in find_locked(name_of(wheel)):
            sys.exit(f"{LOCK} has no such hash of {wheel}")
    for name, expected in WHEEL_COUNTS.items():
        found = {each for tags in TARGETS.values() for each in folder.glob(f"{name}-*-{tags}.whl")}
        if len(found) != expected:
            sys.exit(f"expected {expected} wheels of {name} in {folder}, got {len(found)}")
    return folder


def fetch_all(downloads: Path) -> None:
    """Download all locked wheels, of the packages in PLATFORMS those of all platforms."""
    require_hashes = ("download", "--require-hashes", "--dest", str(downloads), "-r")
    pip(*require_hashes, str(LOCK))
    for name in PLATFORMS:
        for wheel in downloads.glob(f"{name}-*"):
            wheel.unlink()  # it may be for this machine only
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(max_workers=4) as pool:
        started = []
        for name, platforms in PLATFORMS.items():
            locked = Path(folder) / f"{name}.txt"
            locked.write_text(find_locked(name), encoding="utf-8")
            for python, platform in itertools.product(PYTHONS, platforms):
                only = ("--python-version", python, "--platform", platform, "--only-binary=:all:")
                started.append(pool.submit(pip, *require_hashes, str(locked), "--no-deps", *only))
        for each in started:
            each.result()


def find_locked(name: str) -> str:
    """Return the lock file's entry for one package, without its platform marker."""
    entry = re.search(
        rf"^({name}==\S+)[^\\\n]*(\\\n(?:    --hash=\S+(?: \\)?\n)+)", LOCK.read_text(), re.M
    )
    if entry is None:
        sys.exit(f"{LOCK} does not lock {name}")
    return f"{entry[1]} {entry[2]}"


def name_of(wheel: Path) -> str:
    """Return the name of a wheel's package, as lock files spell it."""
    return wheel.name.partition("-")[0].replace("_", "-").lower()


def compute_hash(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pip(*arguments: str) -> None:
    """Run pip. Raises CalledProcessError if it fails."""
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"]
    subprocess.run(command, check=True)  # noqa: S603  all arguments come from this file


if __name__ == "__main__":
    if sys.argv[1:] == ["--downloads"]:
        print(download())  # noqa: T201  for the release
    else:
        main()
