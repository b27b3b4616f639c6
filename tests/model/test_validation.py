from typing import Annotated, Any, Literal

import attrs
import pytest

from segue.model import validation
from segue.model.validation import Fault, IntRange, InvalidInputError, Line, StringLength


@attrs.frozen(kw_only=True)
class Inner:
    some_flag: bool


@attrs.frozen(kw_only=True)
class Outer:
    a_text: str = ""
    a_count: int | None = None
    a_number: float = 0.0
    a_mode: Literal["auto", "new"] = "auto"
    a_limit: Annotated[int, IntRange(1, 1_000)] = 1
    a_name: Annotated[str, StringLength(3)] = "x"
    a_parent: Annotated[Any, StringLength(3, or_null=True)] = None
    a_line: Annotated[str, Line(9)] = "x"
    some_inner: list[Inner] = attrs.field(factory=list)
    anything: Any = attrs.field(default=None, metadata={"omit_if_default": True})


wire = validation.make_converter(validation.camel_case)
config = validation.make_converter(forbid_extra_keys=True)


def structure(value: Any) -> Outer:
    return validation.structure(wire, value, Outer, validation.camel_case)


def faults(value: Any) -> dict[str, str]:
    with pytest.raises(InvalidInputError) as refused:
        structure(value)
    return {fault.path: fault.message for fault in refused.value.faults}


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("aText", 5),
        ("aText", None),
        ("aText", b"bytes"),
        ("aCount", "7"),
        ("aCount", 7.0),
        ("aCount", True),
        ("aNumber", "1"),
        ("aNumber", True),
        ("aNumber", float("nan")),
        ("aNumber", float("inf")),
        ("aMode", "resume"),
        ("aMode", ["auto"]),
        ("aLimit", 0),
        ("aLimit", 1_001),
        ("aLimit", True),
        ("aName", ""),
        ("aName", "four"),
        ("aName", "\ud83d"),
        ("aName", None),
        ("aParent", 5),
        ("aParent", "four"),
        ("aLine", " "),
        ("aLine", "a\nb"),
        ("aLine", "a\n"),
        ("aLine", "a\x1b[1m"),
        ("aLine", "a\u2028b"),
        ("aLine", 10 * "a"),
        ("someInner", {}),
        ("someInner", "ab"),
        ("someInner", None),
    ],
)
def test_a_value_that_needs_coercion_is_refused_by_its_wire_name(field: str, wrong: Any) -> None:
    assert list(faults({field: wrong})) == [f"$.{field}"]


@pytest.mark.parametrize("wrong", [[], "text", None, 5])
def test_a_value_that_is_not_an_object_is_refused(wrong: Any) -> None:
    assert list(faults(wrong)) == ["$"]


def test_all_faults_are_reported_with_their_paths() -> None:
    wrong = {"aCount": "7", "someInner": [{"someFlag": True}, {"someFlag": 1}, {}]}
    assert faults(wrong) == {
        "$.aCount": "expected an integer, got a string",
        "$.someInner[1].someFlag": "expected a boolean, got an integer",
        "$.someInner[2].someFlag": "is required",
    }


def test_an_integer_is_accepted_as_a_number() -> None:
    assert structure({"aNumber": 3}).a_number == 3.0


def test_an_integer_beyond_the_range_of_a_float_is_refused() -> None:
    assert list(faults({"aNumber": 10**400})) == ["$.aNumber"]


def test_unknown_fields_are_ignored_on_the_wire_and_refused_in_a_file() -> None:
    assert structure({"fromLater": 1}) == Outer()
    with pytest.raises(InvalidInputError, match="from_later"):
        validation.structure(config, {"from_later": 1}, Outer)


def test_any_is_passed_through_unchanged() -> None:
    value = {"jsonrpc": "2.0", "snake_case": [{"id": None}]}
    assert structure({"anything": value}).anything is value
    assert wire.unstructure(Outer(anything=value))["anything"] is value


def test_json_names_are_camel_case_and_omit_if_default_is_respected() -> None:
    sent = wire.unstructure(Outer(some_inner=[Inner(some_flag=True)]))
    assert sent["someInner"] == [{"someFlag": True}]
    assert "anything" not in sent


def test_prefixed_moves_every_fault_below_a_path() -> None:
    inner = InvalidInputError(Fault("$.content", "is required"), Fault("$", "is odd"))
    assert [fault.path for fault in inner.prefixed("$.events[2].data").faults] == [
        "$.events[2].data.content",
        "$.events[2].data",
    ]
