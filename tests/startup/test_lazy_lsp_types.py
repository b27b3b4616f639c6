import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from segue.cli.client import Client

DESCRIBE = """
import collections.abc, enum, inspect, json, re, sys
import attrs
if "lazy" in sys.argv:
    from segue.startup import lazy_lsp_types
    lazy_lsp_types.install()
from lsprotocol import types
assert (type(types).__name__ == "LazyTypesModule") is ("lazy" in sys.argv)

def text(value):
    return re.sub(" at 0x[0-9a-f]+", "", repr(value))

def default(value):
    return ["factory", text(value.factory)] if isinstance(value, attrs.Factory) else text(value)

def describe(value):
    if isinstance(value, type) and issubclass(value, enum.Enum):
        members = {name: member.value for name, member in value.__members__.items()}
        return ["enum", [base.__name__ for base in value.__mro__], members, value.__doc__]
    if isinstance(value, type) and attrs.has(value):
        attrs.resolve_types(value)
        fields = [
            [
                field.name, text(field.type), default(field.default), field.kw_only, field.init,
                text(field.validator),
            ]
            for field in attrs.fields(value)
        ]
        own = sorted(name for name in vars(value) if name != "__weakref__")
        bases = [base.__name__ for base in value.__mro__]
        return ["class", value.__module__, value.__qualname__, bases, fields, own, value.__doc__]
    if inspect.isfunction(value):
        return ["function", value.__module__, str(inspect.signature(value)), value.__doc__,
                value.__code__.co_code.hex(), list(value.__code__.co_names)]
    if isinstance(value, type):
        return ["type", value.__module__, value.__qualname__]
    if inspect.ismodule(value):
        return ["module", value.__name__]
    if isinstance(value, collections.abc.Mapping):
        return ["table", [[key, text(value[key])] for key in value]]
    return [type(value).__name__, text(value)]

names = sorted(name for name in dir(types) if not name.startswith("_"))
json.dump({name: describe(getattr(types, name)) for name in names}, sys.stdout)
"""


def run(program: str, *arguments: str) -> Any:
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_every_name_is_as_in_the_real_module() -> None:
    real, lazy = run(DESCRIBE), run(DESCRIBE, "lazy")

    assert len(real) > 600
    assert sorted(lazy) == sorted(real)
    for name, meaning in real.items():
        assert lazy[name] == meaning, name


CONVERT = """
import json, sys
if "lazy" in sys.argv:
    from segue.startup import lazy_lsp_types
    lazy_lsp_types.install()
from lsprotocol import converters, types
converter = converters.get_converter()
given = {"processId": 1, "rootUri": None, "capabilities": {"general": {"positionEncodings": ["x"]}},
         "workspaceFolders": [{"uri": "file:///a", "name": "a"}]}
params = converter.structure(given, types.InitializeParams)
hover = types.Hover(contents=types.MarkupContent(kind=types.MarkupKind.Markdown, value="v"))
json.dump([repr(params), converter.unstructure(params), converter.unstructure(hover)], sys.stdout)
"""


def test_messages_are_converted_as_with_the_real_module() -> None:
    assert run(CONVERT, "lazy") == run(CONVERT)


OTHER_NAMES = """
import json, sys
from segue.startup import lazy_lsp_types
lazy_lsp_types.install()
from lsprotocol import types
missing = []
for name in ("Nothing", "__path__", "_hidden"):
    try:
        getattr(types, name)
    except AttributeError as error:
        missing.append(str(error))
same = types.Position is types.Position and types is sys.modules["lsprotocol.types"]
import lsprotocol.types
same = same and lsprotocol.types is types and types.__spec__.name == "lsprotocol.types"
json.dump([len(missing), "lsprotocol.types" in missing[0], same], sys.stdout)
"""


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert run(OTHER_NAMES) == [3, True, True]


COUNT = """
import sys
from segue.startup import lazy_lsp_types
lazy_lsp_types.install()
module = sys.modules["lsprotocol.types"]
names = len(module._spans)
from segue.startup.compose import serve
code = serve([])
sys.stderr.write(f"built {names - len(module._spans)} of {names}")
sys.exit(code)
"""


def test_a_server_builds_fewer_than_30_names(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    client = Client(tmp_path, command=[sys.executable, "-c", COUNT])
    client.initialize()
    opened = client.request("session/open")
    event = {"type": "user_message", "data": {"content": "one"}}
    params = {"sessionId": opened["session"]["sessionId"], "events": [event]}
    client.request("session/append", params)
    assert client.shutdown() == 0

    counted = re.search(r"built (\d+) of (\d+)", capfd.readouterr().err)
    assert counted is not None
    assert 0 < int(counted[1]) < 30
    assert int(counted[2]) > 600


UNEXPECTED = """
import json, os, sys
from importlib.machinery import SourceFileLoader
get_data = SourceFileLoader.get_data
def unexpected(self, path):
    if self.name != "lsprotocol.types":
        return get_data(self, path)
    SourceFileLoader.get_data = get_data  # the real module is read after that
    source = json.loads(os.environ["SOURCE"])
    return None if source is None else source.encode()
SourceFileLoader.get_data = unexpected
from segue.startup.compose import serve
code = serve([])
from lsprotocol import types
assert type(types).__name__ == "module"
sys.exit(code)
"""


@pytest.mark.parametrize(
    "source",
    [
        None,
        "",
        "nothing that is Python: (",
        "import enum\n",
        "from lsprotocol._types import *\n",
        "import nowhere.at.all\n\nclass Position:\n    pass\n",
        "class Position:\n    pass\n",
    ],
)
def test_an_unexpected_source_falls_back_to_the_real_module(
    tmp_path: Path, source: str | None
) -> None:
    environment = {"SOURCE": json.dumps(source)}
    client = Client(tmp_path, environment, [sys.executable, "-c", UNEXPECTED])
    try:
        assert "experimental" in client.initialize()["capabilities"]
    finally:
        code = client.close_stdin()
    assert code == 0
