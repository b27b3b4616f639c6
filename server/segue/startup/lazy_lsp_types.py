"""Builds only the LSP types that are used: the others would take half of a server's start time.

`lsprotocol.types` builds some 600 classes when it is imported, and attrs compiles code for each; a
session server uses about thirty. `install` replaces it by a module whose classes are built from
the same source when they are first used. Where the source is not as expected, the real module is
imported: names and classes are the same either way (tests/startup/test_lazy_lsp_types.py).
"""

import functools
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.machinery import ModuleSpec, PathFinder
from types import CodeType, ModuleType
from typing import Any

NAME = "lsprotocol.types"

_TABLES = ("ALL_TYPES_MAP", "METHOD_TO_TYPES")
"""These name every class; pygls imports them long before it looks one up."""

# It begins with a line end because that makes the search fast.
_STATEMENT = re.compile(rb"\n(?:@\w+\.\w+|class \w+[:(]|def \w+\(|\w+(?:: [^=\n]+)? = )")
_DEFINES = re.compile(rb"\n(?:class |def )?(\w+)")


class LazyTable(Mapping[str, Any]):
    """A mapping that is built by *build* when it is first read."""

    def __init__(self, build: Callable[[], Mapping[str, Any]]) -> None:
        self._build = build
        self._built: Mapping[str, Any] | None = None

    def _table(self) -> Mapping[str, Any]:
        if self._built is None:
            self._built = self._build()
        return self._built

    def __getitem__(self, key: str) -> Any:
        return self._table()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._table())

    def __len__(self) -> int:
        return len(self._table())


class LazyTypesModule(ModuleType):
    """`lsprotocol.types`, whose statements are executed when the names that they define are used.

    Raises ImportError, or IndexError or SyntaxError, if *source* is not as expected.
    """

    def __init__(self, spec: ModuleSpec, source: bytes) -> None:
        super().__init__(spec.name)
        self.__spec__ = spec
        self.__file__ = spec.origin
        self.__loader__ = spec.loader
        self.__package__ = spec.parent
        # Bytes take a quarter of the memory: one character in it is outside of the BMP.
        self._source = source
        self._spans: dict[str, tuple[int, int]] = {}
        preamble_end = self._index()
        preamble = compile(source[:preamble_end], spec.origin or NAME, "exec")
        exec(preamble, self.__dict__)  # noqa: S102  the installed library's own source
        for table in _TABLES:
            if table not in self._spans:
                raise ImportError(f"{NAME} has no {table}")
            self.__dict__[table] = LazyTable(functools.partial(self._define, table))

    def _index(self) -> int:
        """Record the span of each definition; return the offset of the first one."""
        begin = None
        starts = [match.start() for match in _STATEMENT.finditer(self._source)]
        for start, end in zip(starts, [*starts[1:], len(self._source)], strict=True):
            begin = start if begin is None else begin
            if self._source[start + 1 : start + 2] == b"@":
                continue  # a decorator belongs to the definition after it
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
        """Execute the statement that defines *name*, after those that define the names it uses."""
        span = self._spans.pop(name)
        code = compile(self._source[span[0] : span[1]], self.__file__ or NAME, "exec")
        for used in _names(code):
            if used in self._spans:
                self._define(used)
        exec(code, self.__dict__)  # noqa: S102  the installed library's own source
        return self.__dict__[name]

    def __dir__(self) -> list[str]:
        return [*self.__dict__, *self._spans]


def install() -> None:
    """Make `lsprotocol.types` lazy, unless it is imported already or its source is unexpected."""
    if NAME in sys.modules:
        return
    try:
        import lsprotocol

        spec = PathFinder.find_spec(NAME, lsprotocol.__path__)
        source = spec.loader.get_data(spec.origin)  # type: ignore[union-attr]  # see except
        module = LazyTypesModule(spec, source)  # type: ignore[arg-type]  # see except
    except (AttributeError, ImportError, IndexError, SyntaxError, TypeError, ValueError):
        return
    sys.modules[NAME] = module
    lsprotocol.types = module  # type: ignore[attr-defined]  # as import does it


def _names(code: CodeType) -> set[str]:
    """Return every name that *code*, or a function in it, may look up."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names
