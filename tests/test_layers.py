"""Each room knows only what lies beneath it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

import pytest

import segue

PACKAGE = Path(segue.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
    if path != PACKAGE / "__init__.py"
}

ROOMS = {
    "lean": set(),
    "strict": set(),
    "events": {"strict"},
    "service": {"events"},
    "workspace": set(),
    "settings": {"strict"},
    "redact": set(),
    "storage": {"strict", "events", "service", "storage"},
    "manager": {"strict", "events", "service", "workspace"},
    "window": {"strict", "events", "service", "workspace", "manager"},
    "lsp": {"strict", "events", "service", "workspace", "manager", "window", "lsp", "version"},
}
"""Which rooms each room may import, functions included; `cli` and `__main__` may import all."""

OPEN_TO_ALL = {"cli", "__main__"}

OWNERS = {
    "aiosqlite": {"storage"},
    "sqlite3": {"storage"},
    "pysqlite3": {"storage"},
    "pygls": {"lsp"},
    "lsprotocol": {"lsp"},
    "uuid6": {"events"},
    "cattrs": {"strict"},
    "click": {"cli"},
    "rich": {"cli"},
    "platformdirs": {"settings"},
}
"""Which rooms a library belongs to."""

BARE: dict[str, set[str]] = {
    "lean": set(),
    "strict": {"attrs", "cattrs"},
    "events": {"attrs", "uuid6"},
    "service": {"attrs"},
    "redact": set(),
}
"""Which libraries the lowest rooms make do with, beside Python's own."""


def room(module: str) -> str:
    return module.partition(".")[0]


def imports(module: str) -> Iterator[str]:
    """Yield what *module* imports, wherever in its text, by full names."""
    path = MODULES[module]
    package = (
        f"segue.{module}" if path.name == "__init__.py" else f"segue.{module}".rpartition(".")[0]
    )
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = resolve_name("." * node.level + (node.module or ""), package)
            for alias in node.names:
                inner = f"{source}.{alias.name}".removeprefix("segue.")
                yield f"segue.{inner}" if inner in MODULES else source


def rooms_imported(module: str) -> set[str]:
    """Return the rooms that *module* imports; the bare package counts as `version`."""
    names = {name for name in imports(module) if room(name) == "segue"}
    return {room(name.removeprefix("segue").removeprefix(".")) or "version" for name in names}


def test_every_room_is_known_here() -> None:
    assert {room(module) for module in MODULES} == ROOMS.keys() | OPEN_TO_ALL


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_room_imports_only_what_lies_beneath_it(module: str) -> None:
    if room(module) not in OPEN_TO_ALL:
        assert rooms_imported(module) <= ROOMS[room(module)]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_library_is_imported_only_where_it_belongs(module: str) -> None:
    libraries = {room(name) for name in imports(module)}
    strangers = {name for name in libraries & OWNERS.keys() if room(module) not in OWNERS[name]}
    assert strangers == set()


@pytest.mark.parametrize("module", BARE)
def test_the_lowest_rooms_need_little_beside_python(module: str) -> None:
    libraries = {room(name) for name in imports(module)} - sys.stdlib_module_names - {"segue"}
    assert libraries <= BARE[module]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_only_the_composition_root_and_the_commands_choose_a_store(module: str) -> None:
    if room(module) not in {"storage", *OPEN_TO_ALL}:
        text = MODULES[module].read_text(encoding="utf-8")
        names = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
        assert "LocalSessionService" not in names


def run(text: str, *lines: str) -> str:
    """Run *text* in a fresh interpreter in which every warning is an error."""
    command = [sys.executable, "-W", "error", "-c", text]
    done = subprocess.run(
        command, input="\n".join(lines), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_importing_the_package_is_silent() -> None:
    assert run("import segue") == ""


def test_every_module_can_be_imported_first_and_without_a_warning() -> None:
    text = """
import importlib, sys
for module in sys.stdin.read().split():
    for name in [name for name in sys.modules if name.partition(".")[0] == "segue"]:
        del sys.modules[name]
    importlib.import_module(module)
"""
    assert run(text, *(f"segue.{module}" for module in sorted(MODULES))) == ""


def test_the_contract_loads_no_implementation() -> None:
    text = "import segue.window, sys; print(*sys.modules)"
    loaded = {room(name) for name in run(text).split()}
    assert not loaded & {"aiosqlite", "sqlite3", "pysqlite3", "pygls", "lsprotocol", "click"}
