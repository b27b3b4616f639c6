"""Structures JSON into typed values without coercion; every fault is reported with its path."""

import math
import re
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar, get_args, get_origin

import attrs
import cattrs
from cattrs.cols import is_sequence
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

T = TypeVar("T")
Rename = Callable[[str], str]


@attrs.frozen
class IntRange:
    """The range of an integer, both ends included: `Annotated[int, IntRange(0, 1_000)]`."""

    low: int
    high: int

    def check(self, value: Any) -> int:
        """Return *value*; raise TypeError or ValueError if it is not such an integer."""
        if type(value) is not int:
            raise expected("an integer", value)
        if not self.low <= value <= self.high:
            raise ValueError(f"must be {self.low:,} to {self.high:,}")
        return value


@attrs.frozen
class StringLength:
    """The length of a string, 1 to *most* characters; none may be half a surrogate pair."""

    most: int
    or_null: bool = False

    def check(self, value: Any) -> str | None:
        """Return *value*; raise TypeError or ValueError if it is not such a string."""
        if value is None and self.or_null:
            return None
        if type(value) is not str:
            raise expected("a string", value)
        if not 1 <= len(value) <= self.most:
            raise ValueError(f"must have 1 to {self.most:,} characters")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("must not hold half a surrogate pair") from None
        return value


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Control characters, among them all line breaks."""


@attrs.frozen
class Line(StringLength):
    """A string that is one line: without line breaks and other control characters."""

    def check(self, value: Any) -> str | None:
        """Return *value*; raise TypeError or ValueError if it is not such a string."""
        line = super().check(value)
        if line is not None and (_CONTROL.search(line) or not line.strip()):
            raise ValueError("must be one line that is not blank, without control characters")
        return line


@attrs.frozen
class ItemCount:
    """The length of an array, at most *most*, checked before its items."""

    most: int

    def check(self, value: Any) -> None:
        """Raise ValueError if *value* is an array with more items."""
        if type(value) is list and len(value) > self.most:
            raise ValueError(f"has {len(value):,} items; send at most {self.most:,} at once")


JSON_NAMES: dict[type, str] = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    dict: "an object",
    list: "an array",
    type(None): "null",
}
"""The names of the JSON types in error messages."""


MAX_FAULTS = 100
"""How many errors of an input are reported; the others are only counted."""


@attrs.frozen
class Fault:
    """One error in an input: the path of the value (`$.events[2].type`) and the message."""

    path: str
    message: str


class InvalidInputError(ValueError):
    """Invalid input: `faults` has the first `MAX_FAULTS` errors in it, `count` is that of all."""

    def __init__(self, *faults: Fault, count: int = 0) -> None:
        self.faults = faults[:MAX_FAULTS]
        self.count = max(count, len(faults))
        message = "; ".join(f"{fault.path}: {fault.message}" for fault in self.faults)
        more = self.count - len(self.faults)
        super().__init__(f"{message}; and {more:,} more" if more else message)

    @classmethod
    def joined(cls, errors: "Iterable[InvalidInputError]") -> "InvalidInputError":
        """Return one error with the faults of all *errors*."""
        faults: list[Fault] = []
        count = 0
        for error in errors:
            faults += error.faults[: MAX_FAULTS - len(faults)]
            count += error.count
        return cls(*faults, count=count)

    def prefixed(self, path: str) -> "InvalidInputError":
        """Return the same faults for the value that contains this one at *path*."""
        faults = (
            attrs.evolve(fault, path=path + fault.path.removeprefix("$")) for fault in self.faults
        )
        return InvalidInputError(*faults, count=self.count)


def camel_case(name: str) -> str:
    """Return a Python name as it is written on the wire: `session_id` becomes `sessionId`."""
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), name)


def as_is(name: str) -> str:
    """Return *name*, for a converter whose JSON names are the Python names."""
    return name


def make_converter(rename: Rename = as_is, *, forbid_extra_keys: bool = False) -> cattrs.Converter:
    """Return a converter between JSON and attrs classes that refuses a value of another type.

    A field's JSON name is `rename(name)`, or what its metadata has under `json`: a name, or None
    for a field that is never in the JSON. A field whose metadata has `omit_if_default` is left out
    while it has its default.
    """
    converter = cattrs.Converter(forbid_extra_keys=forbid_extra_keys)
    for kind in (str, bool, int):
        converter.register_structure_hook(kind, _exactly(kind))
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook_func(_is_literal, _one_of)
    converter.register_structure_hook_factory(_has_rule, _by_rule)

    @converter.register_structure_hook_factory(_has_item_count)
    def structure_bounded(cls: Any, conv: cattrs.Converter) -> Any:
        kind, rule = get_args(cls)
        hook = conv.get_structure_hook(kind)

        def check(value: Any, _: Any) -> Any:
            rule.check(value)
            return hook(value, kind)

        return check

    @converter.register_structure_hook_factory(is_sequence)
    def structure_list(cls: Any, conv: cattrs.Converter) -> Any:
        (kind,) = get_args(cls)
        hook = conv.get_structure_hook(kind)
        return _only(list, lambda values, _: _structure_each(hook, values, kind, rename))

    @converter.register_structure_hook_factory(attrs.has)
    def structure_class(cls: Any, conv: cattrs.Converter) -> Any:
        names = {field.name: override(rename=rename(field.name)) for field in attrs.fields(cls)}
        return _only(
            dict,
            make_dict_structure_fn(
                cls,
                conv,
                _cattrs_forbid_extra_keys=forbid_extra_keys,
                **names,  # type: ignore[arg-type]  # cattrs takes overrides and flags as one
            ),
        )

    @converter.register_unstructure_hook_factory(attrs.has)
    def unstructure_class(cls: Any, conv: cattrs.Converter) -> Any:
        names = {
            field.name: override(
                rename=json_name(field, rename),
                omit=json_name(field, rename) is None,
                omit_if_default=field.metadata.get("omit_if_default", False),
            )
            for field in attrs.fields(cls)
        }
        return make_dict_unstructure_fn(cls, conv, **names)  # type: ignore[arg-type]  # as above

    # A field of type Any is JSON already: walking it would take a millisecond per 100 objects.
    converter.register_unstructure_hook(Any, lambda value: value)
    return converter


def json_name(field: "attrs.Attribute[Any]", rename: Rename = as_is) -> str | None:
    """Return the name of *field* in JSON, or None if it is never there."""
    name: str | None = field.metadata.get("json", rename(field.name))
    return name


def structure(converter: cattrs.Converter, value: Any, kind: type[T], rename: Rename = as_is) -> T:
    """Return *value*, which is JSON, as a *kind*; raise InvalidInputError with all its faults."""
    try:
        return converter.structure(value, kind)
    except _INVALID as error:
        raise _invalid(error, rename) from None


def expected(what: str, value: Any) -> TypeError:
    """Return the error for a *value* of another JSON type than *what*, such as `a string`."""
    return TypeError(f"expected {what}, got {JSON_NAMES.get(type(value), type(value).__name__)}")


def _exactly(kind: type) -> Callable[[Any, Any], Any]:
    def check(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            raise expected(JSON_NAMES[kind], value)
        return value

    return check


def _number(value: Any, _: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise expected("a finite number", value)
    return float(value)


def _rules_of(kind: Any) -> list[IntRange | StringLength]:
    rules = getattr(kind, "__metadata__", ())
    return [rule for rule in rules if isinstance(rule, IntRange | StringLength)]


def _has_item_count(kind: Any) -> bool:
    return isinstance(next(iter(getattr(kind, "__metadata__", ())), None), ItemCount)


def _has_rule(kind: Any) -> bool:
    return bool(_rules_of(kind))


def _by_rule(kind: Any) -> Callable[[Any, Any], Any]:
    (rule,) = _rules_of(kind)
    return lambda value, _: rule.check(value)


def _is_literal(kind: Any) -> bool:
    origin: Any = get_origin(kind)
    return origin is Literal


def _one_of(value: Any, kind: Any) -> Any:
    if type(value) is not str or value not in get_args(kind):
        raise ValueError(f"expected one of {', '.join(map(repr, get_args(kind)))}")
    return value


def _only(kind: type, hook: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def check(value: Any, cls: Any) -> Any:
        if type(value) is not kind:
            raise expected(JSON_NAMES[kind], value)
        return hook(value, cls)

    return check


def _structure_each(
    hook: Callable[[Any, Any], Any], values: list[Any], kind: Any, rename: Rename
) -> list[Any]:
    # Not by cattrs, which keeps an exception with its traceback for each wrong element.
    elements: list[Any] = []
    faults: list[Fault] = []
    count = 0
    for index, value in enumerate(values):
        try:
            elements.append(hook(value, kind))
        except _INVALID as error:
            invalid = _invalid(error, rename)
            count += invalid.count
            if len(faults) < MAX_FAULTS:
                faults += invalid.prefixed(f"$[{index}]").faults
    if count:
        raise InvalidInputError(*faults, count=count)
    return elements


_INVALID = (cattrs.BaseValidationError, TypeError, ValueError, KeyError)
"""What a hook raises for an invalid value."""


def _invalid(error: BaseException, rename: Rename) -> InvalidInputError:
    match error:
        case cattrs.ClassValidationError():
            located, other = error.group_exceptions()
            fields = (
                _invalid(each, rename).prefixed(f"$.{rename(note.name)}") for each, note in located
            )
            return InvalidInputError.joined([*fields, *(_invalid(each, rename) for each in other)])
        case InvalidInputError():
            return error
        case _:
            return InvalidInputError(Fault("$", _describe(error)))


def _describe(error: BaseException) -> str:
    match error:
        case KeyError():
            return "is required"
        case cattrs.ForbiddenExtraKeysError():
            return f"unknown: {', '.join(sorted(error.extra_fields))}"
        case _:
            return str(error)
