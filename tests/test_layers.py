"""Each layer imports only the layers beneath it, and a library only where it belongs."""

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

CONTRACT = {"model", "store.service"}
"""All that a store may know of the rest."""

LAYERS = {
    "model": {"model"},
    "redaction": {"redaction"},
    "agents": {"model", "agents"},
    "exporting": {"model", "exporting"},
    "store": set(),
    "store.service": {"model"},
    "store.comparing": CONTRACT,
    "store.replication": {*CONTRACT, "store.comparing"},
    "store.transfer": {*CONTRACT, "store.comparing"},
    "store.rules": {"model", "store.rules"},
    "store.sqlite": {*CONTRACT, "store.rules", "store.sqlite", "store.sqlite.recovery"},
    "store.sqlite.recovery": {*CONTRACT, "store.sqlite", "store.sqlite.recovery"},
    "store.postgres": {*CONTRACT, "store.rules", "store.postgres"},
    "protocol": {"model", "protocol"},
    "sessions": {*CONTRACT, "agents", "exporting", "sessions"},
    "stdio": {"stdio"},
    "lsp": {"model", "protocol", "sessions", "stdio", "lsp", "lsp.framing", "version"},
    "lsp.framing": {"stdio", "lsp.framing"},
    "acp": {*CONTRACT, "agents", "sessions", "stdio", "acp", "version"},
    "mcp": {*CONTRACT, "exporting", "sessions", "stdio", "mcp", "version"},
    "cli": {
        *CONTRACT,
        "acp",
        "agents",
        "exporting",
        "protocol",
        "sessions",
        "store.replication",
        "store.transfer",
        "cli",
        "version",
    },
}
"""What each layer may import, functions included. `startup` and `__main__` may import all."""

OPEN_TO_ALL = {"startup", "__main__"}

ORDER = {
    "model": [
        "plain", "validation", "json_text", "titles", "events", "repository", "workspace", "errors",
        "records", "imports", "maintenance", "replicas", "pieces", "event_text", "told_history",
        "search_text", "git_changes", "store_reports", "database_reports",
    ],
    "redaction": ["checks", "rule", "rules", "view", "keywords", "engine"],
    "store.rules": ["listing", "prompts", "importing", "searching", "trigrams", "pruning"],
    "store.sqlite": [
        "disk", "file_access", "lock_holders", "driver", "locks", "open_files", "high_water",
        "holds", "schema", "header", "row_values", "revisions", "spans", "queries", "relocation",
        "search",
        "search_index", "search_thread", "pruning",
        "append", "importing", "sizes", "check", "commit", "replicas", "replacement",
        "drafts", "copies", "backup", "files", "connection", "service", "admin",
    ],
    "store.postgres": [
        "address", "codec", "errors", "wire", "client", "machine", "rows", "prefixes", "metadata",
        "new_session", "sharing", "append", "forks", "relocation", "importing", "pruning", "search",
        "search_index", "replicas", "changes", "service", "setup", "sizes", "admin", "inspection",
        "vacuuming", "database",
    ],
    "protocol": ["messages", "methods", "schema"],
    "exporting": ["blocks", "jsonl", "markdown", "html"],
    "sessions": [
        "boundary", "branches", "resume", "moving", "manager", "locator", "following", "exporting",
        "pages", "lineage", "resume_command", "window", "proxied", "importing", "rescue", "hooks",
        "folder_changes", "watching",
    ],
    "stdio": ["descriptors", "reader", "writer", "watchdog"],
    "lsp": [
        "framing.reader", "framing.writer", "json_body", "transport", "lifecycle",
        "uris", "server",
    ],
    "acp": [
        "content", "sizes", "message_pieces", "tool_calls", "history", "recording", "tool_kinds",
        "replaying", "messages", "capabilities", "lines", "agent", "conversation", "commands",
        "holding", "saving", "relay", "connection", "loading", "slash", "listing", "proxy",
        "lifecycle",
    ],
    "mcp": ["marking", "arguments", "scope", "reading", "finding", "server", "lines", "lifecycle"],
}  # fmt: skip
"""Inside of a layer a module imports only those before it."""

RECOVERY_IS_KNOWN_TO = {"store.sqlite.connection", "store.sqlite.admin"}

OWNERS = {
    "aiosqlite": {"store.sqlite"},
    # The databases of other programs are only read, which needs no library without the defect.
    "sqlite3": {"store.sqlite", "agents.foreign_database"},
    "pysqlite3": {"store.sqlite"},
    "psycopg": {"store.postgres"},
    "pygls": {"lsp"},
    "lsprotocol": {"lsp", "startup"},
    "uuid6": {"model"},
    "cattrs": {"model"},
    "click": {"cli"},
    "rich": {"cli"},
    "platformdirs": {"startup"},
    "markdown_it": {"exporting", "cli.drawing"},
    "pygments": {"exporting"},
    "watchdog": {"sessions.folder_changes"},
    "mcp": {"mcp"},
    "mcp_types": {"mcp"},
    "pydantic": {"mcp"},
}
"""Which layers a library belongs to."""


def layer(module: str) -> str:
    """Return the layer of a module: the longest name in LAYERS that it begins with."""
    parts = module.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((name for name in names if name in LAYERS or name in OPEN_TO_ALL), parts[0])


def imports(module: str) -> Iterator[str]:
    """Yield what *module* imports, wherever in its source, by full names."""
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


def modules_imported(module: str) -> set[str]:
    """Return the modules of Segue that *module* imports; the bare package counts as `version`."""
    names = {name for name in imports(module) if name.partition(".")[0] == "segue"}
    return {name.removeprefix("segue").removeprefix(".") or "version" for name in names}


def test_every_layer_is_known_here() -> None:
    assert {layer(module) for module in MODULES} == LAYERS.keys() | OPEN_TO_ALL


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_only_the_layers_beneath_it(module: str) -> None:
    if layer(module) not in OPEN_TO_ALL:
        assert {layer(name) for name in modules_imported(module)} <= LAYERS[layer(module)] | {
            layer(module)
        }


@pytest.mark.parametrize("folder", ORDER)
def test_every_module_has_its_place_in_the_order(folder: str) -> None:
    inside = {name.removeprefix(f"{folder}.") for name in MODULES if name.startswith(f"{folder}.")}
    packages = {name for name in inside if MODULES[f"{folder}.{name}"].name == "__init__.py"}
    recovery = {name for name in inside if name.startswith("recovery")}
    assert inside - packages - recovery == set(ORDER[folder])


@pytest.mark.parametrize(
    ("folder", "name"), [(folder, name) for folder, names in ORDER.items() for name in names]
)
def test_a_module_imports_only_those_before_it_in_its_layer(folder: str, name: str) -> None:
    names = ORDER[folder]
    later = {f"{folder}.{each}" for each in names[names.index(name) :]}
    assert modules_imported(f"{folder}.{name}") & later == set()


@pytest.mark.parametrize("module", sorted(MODULES))
def test_recovery_is_imported_in_trouble_only(module: str) -> None:
    recovers = {
        name for name in modules_imported(module) if name.startswith("store.sqlite.recovery")
    }
    if module not in RECOVERY_IS_KNOWN_TO and layer(module) != "store.sqlite.recovery":
        assert recovers == set()


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_library_is_imported_only_where_it_belongs(module: str) -> None:
    libraries = {name.partition(".")[0] for name in imports(module)}
    foreign = {
        name
        for name in libraries & OWNERS.keys()
        if not any(f"{module}.".startswith(f"{owner}.") for owner in OWNERS[name])
    }
    assert foreign == set()


BARE: dict[str, set[str]] = {
    "model": {"attrs", "cattrs", "uuid6"},
    "redaction": set(),
    "store.service": {"attrs"},
}
"""Which libraries the lowest layers make do with, beside Python's own."""


@pytest.mark.parametrize("module", sorted(name for name in MODULES if layer(name) in BARE))
def test_the_lowest_layers_need_little_beside_python(module: str) -> None:
    roots = {name.partition(".")[0] for name in imports(module)}
    assert roots - sys.stdlib_module_names - {"segue"} <= BARE[layer(module)]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_only_the_composition_root_chooses_a_store(module: str) -> None:
    if layer(module) not in {
        "store.sqlite", "store.sqlite.recovery", "store.postgres", *OPEN_TO_ALL,
    }:  # fmt: skip
        source = MODULES[module].read_text(encoding="utf-8")
        names = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
        assert not names & {
            "LocalSessionService",
            "LocalStoreAdmin",
            "PostgresSessionService",
            "PostgresStoreAdmin",
        }


def run(program: str, *lines: str) -> str:
    """Run *program* in a fresh interpreter in which every warning is an error."""
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(
        command, input="\n".join(lines), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_importing_the_package_is_silent() -> None:
    assert run("import segue") == ""


def test_every_module_can_be_imported_first_and_without_a_warning() -> None:
    program = """
import importlib, sys
for module in sys.stdin.read().split():
    for name in [name for name in sys.modules if name.partition(".")[0] == "segue"]:
        del sys.modules[name]
    importlib.import_module(module)
"""
    assert run(program, *(f"segue.{module}" for module in sorted(MODULES))) == ""


def test_the_contract_loads_no_implementation() -> None:
    loaded = run("import segue.sessions.window, sys; print(*sys.modules)").split()
    libraries = {name.partition(".")[0] for name in loaded}
    assert not libraries & {"aiosqlite", "sqlite3", "pysqlite3", "pygls", "lsprotocol", "click"}
