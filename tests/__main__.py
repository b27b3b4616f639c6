"""`python3 tests`: make the environment that the tests need, then run them.

Needs only Python 3.11 or later. Arguments go to pytest. `--prepare` makes the environment, no more.
"""

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
LOCK = ROOT / "tests" / "requirements.txt"


def main() -> int:
    """Run the tests; return pytest's exit code."""
    if sys.version_info < (3, 11):  # noqa: UP036  an older interpreter may well start this
        sys.exit("Segue needs Python 3.11 or later; this is " + sys.version.split()[0])
    python = prepare()
    if sys.argv[1:] == ["--prepare"]:
        return 0
    return subprocess.run([python, "-m", "pytest", *sys.argv[1:]], cwd=ROOT).returncode


def prepare() -> Path:
    """Return the environment's interpreter, after installing what is not installed yet."""
    # The command is copied, not linked, when it is installed.
    sources = (ROOT / "pyproject.toml", LOCK, ROOT / "server" / "scripts" / "segue")
    inputs = b"".join(source.read_bytes() for source in sources)
    wanted = hashlib.sha256(inputs).hexdigest()
    stamp = ENVIRONMENT / "prepared-for-tests"
    python = ENVIRONMENT / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        venv.create(ENVIRONMENT, with_pip=True, symlinks=sys.platform != "win32")
    if not (stamp.exists() and stamp.read_text() == wanted):
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        # Two steps: pip verifies no hashes where a folder is installed, not even its requirements'.
        subprocess.run([*pip, "--require-hashes", "-r", str(LOCK)], cwd=ROOT, check=True)
        here = ["--no-deps", "--no-build-isolation", "-e", "."]
        subprocess.run([*pip, *here], cwd=ROOT, check=True)
        stamp.write_text(wanted)
    return python


if __name__ == "__main__":
    sys.exit(main())
