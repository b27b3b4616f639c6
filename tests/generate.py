"""`python tests/generate.py`: write the files that are made from the server's method table.

They are committed, and `tests/protocol/test_generated.py` compares them with the table.
"""

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "server"))

from segue import agents  # noqa: E402  found by the line above
from segue.protocol.schema import build_schema  # noqa: E402  the same

Schema = dict[str, Any]

NOTE = "Made from the server's method table by `python tests/generate.py`. Do not edit."
DECLARED = ("Boundary", "Event", "EventPosition", "Invocation", "NewEvent", "Session")
"""The interfaces of segue.d.ts, which are public and documented there."""


def generated_files() -> dict[Path, str]:
    """Return the content of each generated file by its path."""
    schema = build_schema()
    return {
        ROOT / "server" / "schema.json": json.dumps(schema, indent=2) + "\n",
        ROOT / "editors" / "vscode" / "src" / "protocol.ts": typescript(schema),
        ROOT / "editors" / "nvim" / "lua" / "segue" / "protocol.lua": lua(schema),
    }


def typescript(schema: Schema) -> str:
    """Return the interfaces, the method table, the event types and the names of the sources."""
    methods = schema["methods"]
    rows = (
        f'  "{name}": [{_name(each["params"])}, {_name(each["result"])}];'
        for name, each in methods.items()
    )
    notifications = (
        f'  "{name}": {_name(each["params"])};' for name, each in schema["notifications"].items()
    )
    retriable = (f'  "{name}",' for name, each in methods.items() if each["retriable"])
    types = (
        f"  {name}: {json.dumps(kind['modelVisible'])},"
        for name, kind in schema["eventTypes"].items()
    )
    sources = (f"  {json.dumps(name)}: {json.dumps(title)}," for name, title in source_titles())
    own = (name for name in _definitions(schema) if name not in DECLARED)
    interfaces = "\n".join(interface(name, schema["$defs"][name]) for name in own)
    declared = ", ".join(DECLARED)
    return f"""// {NOTE}

import type {{ {declared} }} from "../segue";

export type {{ {declared} }};

{interfaces}
/** Every method of the server, with its params and its result. */
export interface Methods {{
{_lines(rows)}}}

/** The name of a method of the server. */
export type Method = keyof Methods;

/** Every notification of the server, with its params. */
export interface Notifications {{
{_lines(notifications)}}}

/** May be sent again, unchanged, after the response was lost with the server. */
export const RETRIABLE_METHODS: readonly Method[] = [
{_lines(retriable)}];

/** The known event types, and whether they are sent to a model. */
export const EVENT_TYPES = {{
{_lines(types)}}} as const;

/** What people call the program that a conversation was imported from, by its `source`. */
export const SOURCE_TITLES: {{ readonly [source: string]: string }} = {{
{_lines(sources)}}};
"""


def source_titles() -> list[tuple[str, str]]:
    """Return the names of all sources in the store, and those for people."""
    return [(each.NAME, each.TITLE) for each in map(agents.load, agents.SOURCES)]


def interface(name: str, definition: Schema) -> str:
    """Return a definition of the schema as an exported TypeScript interface."""
    return f"export interface {name} {{\n{_fields(definition)}}}\n"


def shape(definition: Schema) -> dict[str, str]:
    """Return the fields of a definition, an optional one with `?`, and their TypeScript types."""
    return {
        name if name in definition["required"] else f"{name}?": typescript_type(each)
        for name, each in definition["properties"].items()
    }


def typescript_type(schema: Schema) -> str:
    """Return the TypeScript type of a schema."""
    match schema:
        case {"$ref": _}:
            return _name(schema)
        case {"enum": values}:
            return " | ".join(map(json.dumps, values))
        case {"anyOf": kinds}:
            return " | ".join(map(typescript_type, kinds))
        case {"type": "array", "items": items}:
            return f"{typescript_type(items)}[]"
        case {"type": "object"}:
            return "{ [key: string]: unknown }"
        case {"type": "integer"}:
            return "number"
        case {"type": kind}:
            return str(kind)
        case _:
            return "unknown"


def lua(schema: Schema) -> str:
    """Return the method names, those that may be retried, the event types and the sources."""
    names = (f'---| "{name}"' for name in schema["methods"])
    retriable = (
        f'  ["{name}"] = true,' for name, each in schema["methods"].items() if each["retriable"]
    )
    types = (
        f"  {name} = {json.dumps(kind['modelVisible'])},"
        for name, kind in schema["eventTypes"].items()
    )
    sources = (f"  [{json.dumps(name)}] = {json.dumps(title)}," for name, title in source_titles())
    return f"""--- {NOTE}

local M = {{}}

M.VERSION = {schema["version"]}

---@alias segue.Method
{_lines(names)}
--- May be sent again, unchanged, after the response was lost with the server.
---@type table<segue.Method, true>
M.RETRIABLE = {{
{_lines(retriable)}}}

--- The known event types, and whether they are sent to a model. Others are kept as JSON.
---@type table<string, boolean>
M.EVENT_TYPES = {{
{_lines(types)}}}

--- What people call the programs that conversations are imported from, by the name in the store.
---@type table<string, string>
M.SOURCE_TITLES = {{
{_lines(sources)}}}

return M
"""


def _definitions(schema: Schema) -> list[str]:
    """Return the names of all messages, and of what is in them."""
    names = list(dict.fromkeys(_message_names(schema)))
    for name in names:  # grows meanwhile
        if name not in DECLARED:
            inner = re.findall(r'"#/\$defs/(\w+)"', json.dumps(schema["$defs"][name]))
            names += [each for each in dict.fromkeys(inner) if each not in names]
    return names


def _message_names(schema: Schema) -> list[str]:
    methods, notifications = schema["methods"].values(), schema["notifications"].values()
    names = [_name(method[part]) for method in methods for part in ("params", "result")]
    return [*names, *(_name(each["params"]) for each in notifications)]


def _name(reference: Schema) -> str:
    return str(reference["$ref"].rpartition("/")[2])


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _fields(definition: Schema) -> str:
    return "".join(f"  {name}: {kind};\n" for name, kind in shape(definition).items())


if __name__ == "__main__":
    for path, content in generated_files().items():
        path.write_text(content)
        print(path.relative_to(ROOT))  # noqa: T201  what the command did
