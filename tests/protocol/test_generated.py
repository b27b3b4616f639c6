"""The clients and the documents agree with the server's method table."""

import re
from pathlib import Path
from typing import Any

import pytest

from segue.lsp.server import HANDLERS
from segue.protocol.methods import METHODS, NOTIFICATIONS
from segue.protocol.schema import build_schema
from tests.generate import DECLARED, ROOT, generated_files, shape

PROTOCOL = (ROOT / "server" / "PROTOCOL.md").read_text()
DECLARATIONS = (ROOT / "editors" / "vscode" / "segue.d.ts").read_text()
SCHEMA = build_schema()
PAYLOADS = {kind["data"]["$ref"].rpartition("/")[2] for kind in SCHEMA["eventTypes"].values()}
MESSAGES = {name: shape(each) for name, each in SCHEMA["$defs"].items() if name not in PAYLOADS}


def interfaces(text: str) -> dict[str, dict[str, str]]:
    blocks = re.findall(r"^(?:export )?interface (\w+) \{\n(.*?)^\}", text, re.M | re.S)
    return {name: dict(re.findall(r"^  (\w+\??): (.*?);", body, re.M)) for name, body in blocks}


def ref(schema: Any) -> str:
    return str(schema["$ref"].rpartition("/")[2])


@pytest.mark.parametrize("path", generated_files(), ids=lambda path: Path(path).name)
def test_a_generated_file_is_up_to_date(path: Path) -> None:
    assert path.read_text() == generated_files()[path], "run `python tests/generate.py`"


def test_the_public_interfaces_of_the_extension_match_the_protocol() -> None:
    declared = interfaces(DECLARATIONS)
    assert {name: declared[name] for name in DECLARED} == {
        name: MESSAGES[name] for name in DECLARED
    }


def test_every_method_has_a_handler() -> None:
    assert HANDLERS.keys() == METHODS.keys()


def test_every_request_that_only_reads_may_be_retried() -> None:
    assert all(method.retriable for method in METHODS.values() if method.reads)


def test_every_interface_is_documented_as_it_is_implemented() -> None:
    assert interfaces(PROTOCOL) == MESSAGES


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_documented_with_its_params_and_result(method: str) -> None:
    section = re.search(rf"^### {method}\n(.*?)(?=^##)", PROTOCOL, re.M | re.S)
    assert section is not None
    for part in ("params", "result"):
        name = ref(SCHEMA["methods"][method][part])
        assert f"interface {name} " in section[1] or f"`{name}`" in section[1]


def test_the_retriable_methods_are_documented() -> None:
    paragraph = re.search(r"^Other requests (.*?)\n\n", PROTOCOL, re.M | re.S)
    assert paragraph is not None
    retriable = [name for name, method in METHODS.items() if method.retriable]
    assert re.findall(r"`(session/\w+)`", paragraph[1]) == retriable


@pytest.mark.parametrize("name", NOTIFICATIONS)
def test_every_notification_is_documented_with_its_params(name: str) -> None:
    section = re.search(rf"^### {name}\n(.*?)(?=^##)", PROTOCOL, re.M | re.S)
    assert section is not None
    params = ref(SCHEMA["notifications"][name]["params"])
    assert f"interface {params} " in section[1] or f"`{params}`" in section[1]


def test_nothing_is_documented_that_does_not_exist() -> None:
    documented = re.findall(r"^### (session/\w+)$", PROTOCOL, re.M)
    assert set(documented) == {*METHODS, *NOTIFICATIONS}


@pytest.mark.parametrize("type", SCHEMA["eventTypes"])
def test_every_event_type_is_documented_with_its_fields(type: str) -> None:
    row = re.search(rf"^\| `{type}` \| (.*?) \| (yes|no) \|", PROTOCOL, re.M)
    assert row is not None
    kind = SCHEMA["eventTypes"][type]
    documented = re.sub(r"`(\w+)`", r"\1", re.sub(r" \(.*?\)", "", row[1])).split(", ")
    assert set(documented) == shape(SCHEMA["$defs"][ref(kind["data"])]).keys()
    assert row[2] == ("yes" if kind["modelVisible"] else "no")
