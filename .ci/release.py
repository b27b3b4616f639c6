#!/usr/bin/env python3
"""Makes what is published of a version: `.ci/release.py FOLDER`.

From the commit that is checked out, and from nothing else in the working tree: the VS Code
extension for all platforms and for each of them, the wheel and the source distribution of the
server, an archive of the Neovim plugin, a software bill of materials (CycloneDX), and SHA256SUMS of
them. The same commit gives the same bytes, with the same versions of Python and Node. Needs Linux
on x86-64, Node 20 or later, and the registries of npm and Python packages. Uploads nothing.
"""

import argparse
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv" / "bin"
EXTENSION = Path("editors", "vscode")
WHEELS = Path(os.environ.get("SEGUE_WHEELS_CACHE") or ROOT / EXTENSION / ".build" / "wheels")
UNIVERSAL = "universal"
TARGETS = (UNIVERSAL, "linux-x64", "linux-arm64", "darwin-x64", "darwin-arm64", "win32-x64")
"""The first fits every platform, and is for those that have none of their own."""
NPM = ("npm", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error")


def main() -> None:
    """Make a release, or exit with a message that says why there can be none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where to write it; must not exist")
    parser.add_argument("--target", action="append", choices=TARGETS, help="default: all")
    arguments = parser.parse_args()
    folder: Path = arguments.folder.absolute()
    if changed := output("git", "status", "--porcelain"):
        sys.exit(f"commit first; a release is made from a commit:\n{changed}")
    if folder.exists():
        sys.exit(f"{folder} exists already")
    os.umask(0o022)  # modes are part of the archives
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or output("git", "log", "-1", "--format=%ct")
    os.environ |= {
        "SOURCE_DATE_EPOCH": epoch,
        "TZ": "UTC",  # the times in a .vsix are local
        "SEGUE_WHEELS_CACHE": str(WHEELS),
        "PATH": f"{VENV}{os.pathsep}{os.environ['PATH']}",
    }
    made = folder.with_name(f"{folder.name}.making")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="segue-release-") as name:
        checkout = Path(name) / "segue"
        export(checkout)
        make(checkout, made, arguments.target or TARGETS, int(epoch))
    made.rename(folder)


def make(checkout: Path, folder: Path, targets: Sequence[str], epoch: int) -> None:
    """Make a release of the sources in *checkout*."""
    version: str = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]["version"]
    run([VENV / "python", "-m", "hatchling", "build", "--directory", folder], checkout)
    (wheel,) = folder.glob("segue-*.whl")
    os.environ["SEGUE_WHEEL"] = str(wheel)  # the extension contains the one that is published
    archive_plugin(checkout, folder / f"segue-nvim-{version}.tar.gz", epoch)
    package_extension(checkout / EXTENSION, folder, targets, version)
    # Not at the top: only here the packages of the tests are installed for certain.
    from sbom import write_sbom

    bundle = checkout / EXTENSION
    downloads = Path(output("python3", str(bundle / "bundle_server.py"), "--downloads"))
    write_sbom(folder / f"segue-{version}.cdx.json", version, bundle, downloads, epoch)
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(folder.iterdir())
    ]
    (folder / "SHA256SUMS").write_text("".join(sums))


def export(checkout: Path) -> None:
    """Write the files of the commit to a new folder."""
    archive = checkout.with_suffix(".tar")
    run(["git", "archive", "--output", archive, "HEAD"], ROOT)
    with tarfile.open(archive) as files:
        files.extractall(checkout, filter="data")


def package_extension(extension: Path, folder: Path, targets: Sequence[str], version: str) -> None:
    """Package the extension for each of *targets*, the universal one last.

    So the bundle that is left in *extension* is that of all platforms, if it was wanted.
    """
    run([*NPM, "ci"], extension)
    for target in sorted(targets, key=UNIVERSAL.__eq__):
        name = f"segue-{version}.vsix" if target == UNIVERSAL else f"segue-{target}-{version}.vsix"
        options = [] if target == UNIVERSAL else ["--target", target]
        os.environ["SEGUE_TARGET"] = "" if target == UNIVERSAL else target
        run([*NPM, "run", "package", "--", *options, "--out", folder / name], extension)


def archive_plugin(checkout: Path, path: Path, epoch: int) -> None:
    """Write the Neovim plugin as a folder `segue`, which belongs into a package's `start`."""

    def normalize(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime = epoch
        return member

    with (
        path.open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=epoch) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as archive,
    ):
        archive.add(checkout / "editors" / "nvim", "segue", filter=normalize)
        archive.add(checkout / "LICENSE", "segue/LICENSE", filter=normalize)


def run(command: Sequence[str | Path], folder: Path) -> None:
    """Run a command, or exit with its output if it fails."""
    done = subprocess.run(  # noqa: S603  all commands are in this file
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")


def output(*command: str) -> str:
    """Return what a command prints, without the end of its last line."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603  see above
    return done.stdout.strip()


if __name__ == "__main__":
    if Path(sys.prefix) != VENV.parent:
        run([sys.executable, "tests", "--prepare"], ROOT)
        os.execv(VENV / "python", ["python", *sys.argv])  # noqa: S606  the same script
    main()
