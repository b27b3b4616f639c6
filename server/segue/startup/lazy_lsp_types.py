"""Builds only the LSP types that are asked for: half of a server's start is spent on the others.

`lsprotocol.types` makes some 600 classes when it is imported, and attrs compiles code for each; a
session server uses about thirty. `install` puts a module in its place whose classes are made from
the same source when they are first named. Where the source is not as expected, the real module is
imported instead: the names and their meaning are the same either way (test_lsp_lazy_types).
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.machinery import ModuleSpec, PathFinder
from types import CodeType, ModuleType
from typing import Any

NAME = "lsprotocol.types"

_TABLES = ("ALL_TYPES_MAP", "METHOD_TO_TYPES")
"""What names every class, and is imported by pygls long before one is looked up."""

# The line's end before it is what makes it quick to find.
_STATEMENT = re.compile(rb"\n(?:@\w+\.\w+|class \w+[:(]|def \w+\(|\w+(?:: [^=\n]+)? = )")
_DEFINES = re.compile(rb"\n(?:class |def )?(\w+)")


class LazyTable(Mapping[str, Any]):
    """A table that is made when it is first read."""

    def __init__(self, make: Callable[[], Mapping[str, Any]]) -> None:
        self._make = make
        self._made: Mapping[str, Any] | None = None

    def _table(self) -> Mapping[str, Any]:
        if self._made is None:
            self._made = self._make()
        return self._made

    def __getitem__(self, key: str) -> Any:
        return self._table()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._table())

    def __len__(self) -> int:
        return len(self._table())


class LazyTypesModule(ModuleType):
    """`lsprotocol.types`, made one statement at a time."""

    def __init__(self, spec: ModuleSpec, source: bytes) -> None:
        super().__init__(spec.name)
        self.__spec__ = spec
        self.__file__ = spec.origin
        self.__loader__ = spec.loader
        self.__package__ = spec.parent
        # As bytes: it holds a letter for which Python would take four for each one.
        self._source = source
        self._spans: dict[str, tuple[int, int]] = {}
        preamble_end = self._index()
        exec(compile(source[:preamble_end], spec.origin or NAME, "exec"), self.__dict__)  # noqa: S102
        for table in _TABLES:
            if table not in self._spans:
                raise ImportError(f"{NAME} has no {table}")
            self.__dict__[table] = LazyTable(lambda table=table: self._define(table))  # type: ignore[misc]

    def _index(self) -> int:
        """Learn where each name is defined; return where the first definition begins."""
        begin = None
        starts = [match.start() for match in _STATEMENT.finditer(self._source)]
        for start, end in zip(starts, [*starts[1:], len(self._source)], strict=True):
            begin = start if begin is None else begin
            if self._source[start + 1 : start + 2] == b"@":
                continue  # a decorator belongs to what it decorates
            defined = _DEFINES.match(self._source, start)
            if defined is not None:
                self._spans[defined[1].decode()] = (begin, end)
            begin = None
        return starts[0]

    def __getattr__(self, name: str) -> Any:
        if name not in self.__dict__["_spans"]:
            raise AttributeError(f"module {NAME!r} has no attribute {name!r}")
        return self._define(name)

    def _define(self, name: str) -> Any:
        """Run the statement that defines *name*, after those that it uses."""
        span = self._spans.pop(name)
        code = compile(self._source[span[0] : span[1]], self.__file__ or NAME, "exec")
        for used in _names(code):
            if used in self._spans:
                self._define(used)
        exec(code, self.__dict__)  # noqa: S102
        return self.__dict__[name]

    def __dir__(self) -> list[str]:
        return [*self.__dict__, *self._spans]


def install() -> None:
    """Make `lsprotocol.types` lazy, unless it is imported already or cannot be."""
    if NAME in sys.modules:
        return
    try:
        import lsprotocol

        spec = PathFinder.find_spec(NAME, lsprotocol.__path__)
        source = spec.loader.get_data(spec.origin)  # type: ignore[union-attr]
        module = LazyTypesModule(spec, source)  # type: ignore[arg-type]
    except (AttributeError, ImportError, IndexError, SyntaxError, TypeError, ValueError):
        return
    sys.modules[NAME] = module
    lsprotocol.types = module  # type: ignore[attr-defined]


def _names(code: CodeType) -> set[str]:
    """Return every name that *code*, or a function in it, may look up."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names
