"""Where this Segue is installed."""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from segue.cli.application import CommandError


def installed_program() -> str:
    """Return the absolute path of the installed `segue`; raise CommandError if there is none."""
    name = "segue.cmd" if sys.platform == "win32" else "segue"
    beside = Path(sys.executable).parent
    folders = (beside, beside / "Scripts", Path(sysconfig.get_path("scripts")))
    found = next((str(each / name) for each in folders if (each / name).is_file()), None)
    found = found or shutil.which("segue")
    if found is None or not os.path.isabs(found):
        raise CommandError("the command `segue` is not installed beside this Python")
    return found
