"""What the documents say is what the code does."""

import collections.abc
import os
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import attrs
import pytest

from segue.model.events import PAYLOADS
from segue.model.validation import StringLength, camel_case
from segue.protocol import messages

ROOT = Path(__file__).parent.parent
PROTOCOL = (ROOT / "server" / "PROTOCOL.md").read_text()
VSCODE = ROOT / "editors" / "vscode"
README = (ROOT / "README.md").read_text()

Shape = dict[str, str]


def written_interfaces(text: str) -> dict[str, Shape]:
    blocks = re.findall(r"^(?:export )?interface (\w+) \{\n(.*?)^\}", text, re.M | re.S)
    return {name: dict(re.findall(r"^  (\w+\??): (.*?);", body, re.M)) for name, body in blocks}


def implemented_interfaces() -> dict[str, Shape]:
    named = {"Event", "NewEvent", "Placement", "Session", "Boundary"}
    classes = {getattr(protocol, name) for name in named}
    for method in messages.METHODS.values():
        classes |= {method.params, method.result}
    return {cls.__name__: shape(cls) for cls in classes}


def shape(cls: Any) -> Shape:
    fields = {}
    for field in attrs.fields(cls):
        optional = "?" if field.default is not attrs.NOTHING else ""
        fields[camel_case(field.name) + optional] = typescript(field.type)
    return fields


def typescript(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        rule = arguments[1]
        may_be_null = isinstance(rule, StringLength) and rule.or_null
        return "string | null" if may_be_null else typescript(arguments[0])
    if origin is Literal:
        return " | ".join(f'"{value}"' for value in arguments)
    if origin in (Union, types.UnionType):
        return " | ".join(map(typescript, arguments))
    if origin is dict:
        return f"{{ [key: string]: {typescript(arguments[1])} }}"
    if origin in (list, collections.abc.Sequence):
        return typescript(arguments[0]) + "[]"
    simple = {str: "string", int: "number", float: "number", bool: "boolean", Any: "unknown"}
    return "null" if kind is type(None) else simple.get(kind) or str(kind.__name__)


def test_the_vscode_extension_mirrors_the_protocol() -> None:
    written = (VSCODE / "segue.d.ts").read_text() + (VSCODE / "src" / "protocol.ts").read_text()
    interfaces = written_interfaces(written)
    implemented = implemented_interfaces()
    assert {name: interfaces.get(name) for name in implemented} == implemented
    table = {
        method: [types.params.__name__, types.result.__name__]
        for method, types in messages.METHODS.items()
    }
    rows = re.findall(r'^  "(session/\w+)": \[(\w+), (\w+)\];$', written, re.M)
    assert {method: names for method, *names in rows} == table


def test_every_interface_is_documented_as_it_is_implemented() -> None:
    assert written_interfaces(PROTOCOL) == implemented_interfaces()


@pytest.mark.parametrize("method", messages.METHODS)
def test_every_method_is_documented_with_its_params_and_result(method: str) -> None:
    section = re.search(rf"^### {method}\n(.*?)(?=^##)", PROTOCOL, re.M | re.S)
    assert section is not None
    for cls in (messages.METHODS[method].params, messages.METHODS[method].result):
        assert f"interface {cls.__name__} " in section[1] or f"`{cls.__name__}`" in section[1]


def test_no_method_is_documented_that_is_not_there() -> None:
    assert set(re.findall(r"^### (session/\w+)$", PROTOCOL, re.M)) == set(messages.METHODS)


def test_the_neovim_plugin_knows_every_method() -> None:
    client = (ROOT / "editors" / "nvim" / "lua" / "segue" / "server.lua").read_text()
    assert set(re.findall(r'"(session/\w+)"', client)) == set(messages.METHODS)


@pytest.mark.parametrize("type", PAYLOADS)
def test_every_event_type_is_documented_with_its_fields(type: str) -> None:
    row = re.search(rf"^\| `{type}` \| (.*?) \|", PROTOCOL, re.M)
    assert row is not None
    fields = {
        field.name + ("?" if field.default is not attrs.NOTHING else "")
        for field in attrs.fields(PAYLOADS[type])
    }
    assert set(re.sub(r"`(\w+)`", r"\1", re.sub(r" \(.*?\)", "", row[1])).split(", ")) == fields


def test_the_readmes_example_client_runs(repository: Path, tmp_path: Path) -> None:
    example = re.search(r"^```python\n(.*?)^```", README, re.M | re.S)
    assert example is not None
    script = tmp_path / "example.py"
    script.write_text(example[1])
    done = [
        subprocess.run(
            [sys.executable, script],
            cwd=repository,
            env={**os.environ, "PATH": str(Path(sys.executable).parent)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for _ in range(2)
    ]
    assert "resumed: False" in done[0]
    assert "resumed: True" in done[1]
    assert "Where were we?" in done[1]


def test_the_readme_gives_the_commands_that_ci_runs() -> None:
    assert "python3 tests" in README
    assert "python3 tests" in (ROOT / ".ci" / "run").read_text()
