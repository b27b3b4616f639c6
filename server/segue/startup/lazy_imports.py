"""Imports libraries without what they would import in turn and a server never uses.

`lean_imports` does it before anything else is imported, so the modules themselves need not know.
It spares a quarter of a server's start and a third of its memory; tests/test_start.py lists what is
loaded, and what it may be. What is left out is found where it always was by whoever imports it
later. A library that does not take it is imported as it is.
"""

import contextlib
import importlib
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any


class LazyAttribute:
    """What a module has under a name: the module is imported when this is used."""

    def __init__(self, module: str, name: str) -> None:
        self._deferred = module, name

    def _real(self) -> Any:
        name, attribute = self._deferred
        module = importlib.import_module(name)
        if isinstance(module, LazyModule):
            raise ImportError(f"{name} is needed at once")
        return getattr(module, attribute)

    def __call__(self, *values: Any, **named: Any) -> Any:
        return self._real()(*values, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real(), name)

    def __instancecheck__(self, value: Any) -> bool:
        return isinstance(value, self._real())

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self._real(),)


class LazyModule(ModuleType):
    """A module that has every name, and is imported when one of them is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return LazyAttribute(self.__name__, name)


def trim_imports() -> None:
    """Import what can be imported lean; what is loaded already stays as it is."""
    # asyncio does without TLS where there is none, and nothing here has a socket.
    _import("asyncio", {"ssl": None})
    # Asks for its own version, which takes the parsers of e-mail, zip and CSV. Its random numbers
    # come from `secrets`, which for a comparison that nobody makes loads OpenSSL.
    metadata = ModuleType("importlib.metadata")
    metadata.version = lambda name: name  # type: ignore[attr-defined]
    _import("uuid6", {"importlib.metadata": metadata, "hmac": LazyModule("hmac")})
    # Reads the addresses of hosts, which no path has.
    _import("urllib.parse", {"ipaddress": LazyModule("ipaddress")})
    # Temporary files, which have no part in where a person's files lie.
    _import("platformdirs", {"tempfile": LazyModule("tempfile")})
    # Text documents, what an editor can do with them, and the LSP types of both.
    documents = ("lsprotocol.converters", "pygls.lsp", "pygls.protocol.language_server")
    _import("pygls.protocol", {name: LazyModule(name) for name in documents})


def import_aiosqlite_on_pysqlite3() -> None:
    """Import aiosqlite with the SQLite that is used, instead of with a second one."""
    try:
        newer = importlib.import_module("pysqlite3.dbapi2")
    except ImportError:
        return
    _import("aiosqlite", {"sqlite3": newer})


def _import(library: str, replaced: Mapping[str, ModuleType | None]) -> None:
    """Import *library* while other modules, or none, stand in the place of those *replaced*."""
    if library in sys.modules or any(name in sys.modules for name in replaced):
        return
    packages = {name: sys.modules.get(name.rpartition(".")[0]) for name in replaced}
    for name, module in replaced.items():
        sys.modules[name] = module  # type: ignore[assignment]
        if packages[name] is not None:
            setattr(packages[name], name.rpartition(".")[2], module)
    try:
        with contextlib.suppress(Exception):  # who needs it imports it as it is, and learns why
            importlib.import_module(library)
    finally:
        for name in replaced:
            del sys.modules[name]
            if packages[name] is not None:
                delattr(packages[name], name.rpartition(".")[2])
