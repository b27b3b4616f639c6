"""Put the server's wheel, those of what it needs, and pip's, into the folder `server`.

The extension makes its private environment from them without a network. Wheels of pure Python
serve every machine; pysqlite3 has one for each platform and each version of Python.
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
PLATFORMS = ("manylinux_2_28_x86_64", "macosx_11_0_arm64", "win_amd64")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PIP = "pip==26.3 --hash=sha256:f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"


def main() -> None:
    """Fill the folder anew. Every file is verified by its hash before it is used."""
    shutil.rmtree(WHEELS, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        fetched = Path(folder)
        pip("download", "--require-hashes", "--dest", folder, "-r", str(LOCK))
        pip("wheel", "--no-index", "--find-links", folder, "--wheel-dir", str(WHEELS), str(ROOT))
        for wheel in WHEELS.glob("pysqlite3-*"):
            wheel.unlink()  # the one of this machine: those of all come next
        several = fetched / "pysqlite3.txt"
        several.write_text(locked("pysqlite3"), encoding="utf-8")
        with ThreadPoolExecutor(max_workers=4) as pool:
            for python, platform in itertools.product(PYTHONS, PLATFORMS):
                where = ("--python-version", python, "--platform", platform)
                pool.submit(fetch, several, *where, "--only-binary=:all:")
        alone = fetched / "pip.txt"
        alone.write_text(PIP, encoding="utf-8")
        fetch(alone)
    expected = len(PYTHONS) * len(PLATFORMS)
    if len(list(WHEELS.glob("pysqlite3-*"))) != expected:
        sys.exit(f"expected {expected} wheels of pysqlite3")
    (WHEELS / "stamp").write_text(f"{stamp()}\n", encoding="utf-8")


def locked(name: str) -> str:
    """Return the lock's entry of one package, for any platform."""
    entry = re.search(
        rf"^({name}==\S+)[^\\\n]*(\\\n(?:    --hash=\S+(?: \\)?\n)+)", LOCK.read_text(), re.M
    )
    if entry is None:
        sys.exit(f"{LOCK} does not lock {name}")
    return f"{entry[1]} {entry[2]}"


def fetch(requirements: Path, *where: str) -> None:
    """Download what is locked, and nothing that it needs."""
    pip(
        "download",
        "--require-hashes",
        "--no-deps",
        *where,
        "--dest",
        str(WHEELS),
        "-r",
        str(requirements),
    )


def pip(*arguments: str) -> None:
    """Run pip, quietly."""
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"]
    subprocess.run(command, check=True)  # noqa: S603  the arguments are ours


def stamp() -> str:
    """Return what tells one bundle from another: a private environment is made from each."""
    digest = hashlib.sha256()
    for wheel in sorted(WHEELS.glob("*.whl")):
        digest.update(wheel.name.encode() + hashlib.sha256(wheel.read_bytes()).digest())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    main()
