"""Installs the wheels beside this file into the environment of the Python that runs it, offline.

The extension runs it after it has verified the wheels: `python -I install_server.py`. Of each
package it takes the wheel that fits this Python and platform best. A package that has none for
them is left out and named on the standard output: Segue does without it, on another SQLite or
without watching files. Scripts are installed as they are; `segue` finds its Python by itself.
"""

import shutil
import sys
import sysconfig
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
INSTALLER = "packaging"
sys.path.insert(0, str(next(HERE.glob(f"{INSTALLER}-*.whl"))))

from packaging.tags import sys_tags  # noqa: E402  from the wheel
from packaging.utils import parse_wheel_filename  # noqa: E402  from the wheel


def main() -> None:
    """Install one wheel of each package. Raises OSError if a file cannot be written."""
    ranks = {tag: rank for rank, tag in enumerate(sys_tags())}
    fitting: dict[str, list[tuple[int, Path]]] = {}
    for wheel in sorted(HERE.glob("*.whl")):
        name, _, _, tags = parse_wheel_filename(wheel.name)
        found = fitting.setdefault(name, [])
        found.extend((ranks[tag], wheel) for tag in tags if tag in ranks)
    del fitting[INSTALLER]
    for name, found in fitting.items():
        if found:
            install(min(found)[1])
        else:
            print(f"{name}: no wheel fits this machine")  # noqa: T201  for the extension's log


def install(wheel: Path) -> None:
    """Unpack a wheel, and move what does not belong among the modules."""
    paths = sysconfig.get_paths()
    modules = Path(paths["purelib"])
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(modules)
    data = modules / ("-".join(wheel.name.split("-")[:2]) + ".data")
    for scheme in data.glob("*"):
        for path in [each for each in scheme.rglob("*") if each.is_file()]:
            target = Path(paths[scheme.name]) / path.relative_to(scheme)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
            if scheme.name == "scripts":
                target.chmod(0o755)
    shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    main()
