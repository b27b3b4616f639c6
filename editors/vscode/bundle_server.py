"""Put the server's wheel, those of what it needs, and pip's, into the folder `server`.

The extension makes its private environment from them without a network. Wheels of pure Python
serve every machine; pysqlite3 has one for each platform and each version of Python.
"""

import hashlib
import itertools
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WHEELS = HERE / "server"
PLATFORMS = ("manylinux_2_28_x86_64", "macosx_11_0_arm64", "win_amd64")
PIP = "pip==26.3"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
CONSTRAINTS = ("-c", str(ROOT / "server" / "constraints.txt"))


def main() -> None:
    """Fill the folder anew."""
    shutil.rmtree(WHEELS, ignore_errors=True)
    pip("wheel", *CONSTRAINTS, "--wheel-dir", str(WHEELS), str(ROOT))
    pip("download", "--dest", str(WHEELS), "--no-deps", PIP)
    for wheel in WHEELS.glob("*.whl"):
        if not wheel.name.endswith("-none-any.whl"):
            wheel.unlink()
    with ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(download_sqlite, *zip(*itertools.product(PYTHONS, PLATFORMS), strict=True)))
    (WHEELS / "stamp").write_text(f"{stamp()}\n")


def download_sqlite(python: str, platform: str) -> None:
    """Fetch the wheel that carries a current SQLite for one Python on one platform."""
    where = ("--python-version", python, "--platform", platform, "--dest", str(WHEELS))
    pip("download", *CONSTRAINTS, *where, "--only-binary=:all:", "--no-deps", "pysqlite3")


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
