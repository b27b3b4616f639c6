"""Trims imports: loads a library without the modules that it imports and a server never uses.

`trim_imports`, and in a server `trim_pygls`, run before anything else is imported, so the other
modules need not know of it. It saves a quarter of a server's start time and a third of its memory;
tests/startup lists what may be loaded. A module that was left out can be imported normally later.
If a library cannot be imported without it, nothing is left out, and the reason is returned to be
logged.
"""

import importlib
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

_MCP_UNUSED = (
    "mcp.client",
    "mcp.client._input_required",
    "mcp.client.client",
    "mcp.client.session",
    "mcp.client.session_group",
    "mcp.client.stdio",
    "mcp.server.auth",
    "mcp.server.auth.middleware",
    "mcp.server.auth.middleware.auth_context",
    "mcp.server.auth.middleware.bearer_auth",
    "mcp.server.auth.provider",
    "mcp.server.auth.routes",
    "mcp.server.auth.settings",
    "mcp.server.mcpserver",
    "mcp.server.streamable_http",
    "mcp.server.streamable_http_manager",
    "mcp.server.transport_security",
    "starlette",
    "starlette.applications",
    "starlette.middleware",
    "starlette.middleware.authentication",
    "starlette.routing",
)
"""The modules of the SDK, and of what it brings, that a server on stdio never uses."""


class LazyAttribute:
    """An attribute of a module that is imported when the attribute is used."""

    def __init__(self, module: str, name: str) -> None:
        self._source = module, name

    def _load(self) -> Any:
        name, attribute = self._source
        module = importlib.import_module(name)
        if isinstance(module, LazyModule):
            raise ImportError(f"{name}.{attribute} is used during the import")
        return getattr(module, attribute)

    def __call__(self, *values: Any, **named: Any) -> Any:  # noqa: D102  as the attribute's own
        return self._load()(*values, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._load(), name)

    def __instancecheck__(self, value: Any) -> bool:
        return isinstance(value, self._load())

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self._load(),)


class LazyModule(ModuleType):
    """A module that has every attribute, and is imported when one of them is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return LazyAttribute(self.__name__, name)


def trim_imports() -> list[str]:
    """Import the trimmed libraries; return one message for each that was not imported trimmed.

    A library that is loaded already, in whole or in part, stays as it is and has no message.
    """
    # uuid6 asks for its own version, which would load the e-mail, zip and CSV parsers.
    metadata = ModuleType("importlib.metadata")
    metadata.version = lambda name: name  # type: ignore[attr-defined]  # a module made here
    return _messages(
        # asyncio works without TLS if `ssl` cannot be imported, and a server has no socket.
        _import("asyncio", {"ssl": None}),
        # `hmac`, which uuid6 imports through `secrets`, loads OpenSSL for a comparison.
        _import("uuid6", {"importlib.metadata": metadata, "hmac": LazyModule("hmac")}),
        # Paths have no host whose IP address would be parsed.
        _import("urllib.parse", {"ipaddress": LazyModule("ipaddress")}),
    )


def trim_pygls() -> list[str]:
    """Import pygls, which only a server needs, as `trim_imports` does the others, after them."""
    # Its language server would load text documents and the LSP types of their features.
    lsp_only = ("lsprotocol.converters", "pygls.lsp", "pygls.protocol.language_server")
    return _messages(_import("pygls.protocol", {name: LazyModule(name) for name in lsp_only}))


def trim_mcp() -> list[str]:
    """Import the MCP SDK, which only `segue mcp` needs, as `trim_imports` does, after that.

    It would load its client and two web servers, which takes as long as all the rest.
    """
    return _messages(_import("mcp", {name: LazyModule(name) for name in _MCP_UNUSED}))


def trim_hashlib() -> list[str]:
    """Import hashlib without OpenSSL, as `trim_imports` does: for a few digests Python's own do."""
    failed = _messages(_import("hashlib", {"_hashlib": None}))
    if not hasattr(sys.modules.get("hashlib"), "sha256"):  # a Python that is built without them
        sys.modules.pop("hashlib", None)
    return failed


def import_aiosqlite_on_pysqlite3() -> list[str]:
    """Import aiosqlite on pysqlite3, where that is installed, so that no second SQLite is loaded.

    Returns messages as `trim_imports` does.
    """
    try:
        pysqlite3 = importlib.import_module("pysqlite3.dbapi2")
    except ImportError:
        return []
    return _messages(_import("aiosqlite", {"sqlite3": pysqlite3}))


def _messages(*errors: str | None) -> list[str]:
    return [error for error in errors if error is not None]


def _import(library: str, replacements: Mapping[str, ModuleType | None]) -> str | None:
    """Import *library* while each of *replacements* is imported instead of the module of its name.

    None as a replacement makes the import of that module fail. Returns why the import failed.
    """
    if library in sys.modules or any(name in sys.modules for name in replacements):
        return None
    packages = {name: sys.modules.get(name.rpartition(".")[0]) for name in replacements}
    for name, module in replacements.items():
        sys.modules[name] = module  # type: ignore[assignment]  # None is allowed: see importlib
        if packages[name] is not None:
            setattr(packages[name], name.rpartition(".")[2], module)
    try:
        importlib.import_module(library)
    except Exception as error:  # of any kind: the library's users then import all of it
        return f"{library} cannot be imported without {', '.join(replacements)}: {error!r}"
    finally:
        for name in replacements:
            del sys.modules[name]
            if packages[name] is not None:
                delattr(packages[name], name.rpartition(".")[2])
    return None
