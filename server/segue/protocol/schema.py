"""The JSON Schema of the protocol, made from the method table and the event types.

`server/schema.json` holds it; `python tests/generate.py` writes it anew.
"""

import collections.abc
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import attrs

from segue.model.events import EVENT_TYPES, Event, NewEvent
from segue.model.records import (
    EventPage,
    ExportPage,
    FindResult,
    SearchPage,
    SessionPage,
    StoredEvent,
    Timestamp,
)
from segue.model.validation import (
    IntRange,
    ItemCount,
    Rename,
    StringLength,
    as_is,
    camel_case,
    json_name,
)
from segue.protocol.methods import METHODS, NOTIFICATIONS, VERSION

_RESULT_NAMES: dict[type, str] = {
    Event: "Boundary",
    StoredEvent: "Event",
    EventPage: "EventsResult",
    ExportPage: "ExportResult",
    SessionPage: "ListResult",
    SearchPage: "SearchResult",
    FindResult: "FindResumableResult",
}
"""Which records have another name in a result than in Python."""


def build_schema() -> dict[str, Any]:
    """Return the schema: `$defs` of all messages, and what refers to them.

    That is `methods`, `notifications` and `eventTypes`.
    """
    defs: dict[str, Any] = {}
    params = _Definitions(defs, {})
    results = _Definitions(defs, _RESULT_NAMES, always_complete=True)
    payloads = _Definitions(defs, {}, rename=as_is)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"The protocol of Segue, version {VERSION}",
        "version": VERSION,
        "methods": {
            name: {
                "params": params.schema_of(method.params),
                "result": results.schema_of(method.result),
                "reads": method.reads,
                "retriable": method.retriable,
            }
            for name, method in METHODS.items()
        },
        "notifications": {
            name: {"params": results.schema_of(kind)} for name, kind in NOTIFICATIONS.items()
        },
        "eventTypes": {
            name: {"modelVisible": kind.model_visible, "data": payloads.schema_of(kind.payload)}
            for name, kind in EVENT_TYPES.items()
        },
        "$defs": defs,
    }


class _Definitions:
    """Adds the classes of params, of results or of payloads to `$defs`.

    A field with a default may be missing, unless the message is *always_complete*.
    """

    def __init__(
        self,
        defs: dict[str, Any],
        names: dict[type, str],
        *,
        always_complete: bool = False,
        rename: Rename = camel_case,
    ) -> None:
        self._defs = defs
        self._names = names
        self._always_complete = always_complete
        self._rename = rename

    def schema_of(self, kind: Any) -> dict[str, Any]:
        """Return the schema of a type, as JSON."""
        if kind is Event and not self._always_complete:
            kind = NewEvent  # which is what `Event.parse` takes
        if attrs.has(kind):
            return self._reference(kind)
        origin, arguments = get_origin(kind), get_args(kind)
        if origin is Annotated:
            return self._restricted(*arguments)
        if origin is Literal:
            return {"enum": list(arguments)}
        if origin in (Union, types.UnionType):
            return {"anyOf": [self.schema_of(each) for each in arguments]}
        if origin in (list, collections.abc.Sequence):
            return {"type": "array", "items": self.schema_of(arguments[0])}
        if origin is dict:
            return {"type": "object"}
        return _SIMPLE[kind].copy()

    def _restricted(self, kind: Any, rule: Any) -> dict[str, Any]:
        match rule:
            case IntRange():
                return {"type": "integer", "minimum": rule.low, "maximum": rule.high}
            case StringLength():
                string = {"type": "string", "minLength": 1, "maxLength": rule.most}
                return {"anyOf": [string, {"type": "null"}]} if rule.or_null else string
            case ItemCount():
                return self.schema_of(kind) | {"maxItems": rule.most}
            case _:
                return self.schema_of(kind)

    def _reference(self, cls: type) -> dict[str, Any]:
        name = self._names.get(cls, cls.__name__)
        if name not in self._defs:
            self._defs[name] = self._definition(cls)
        return {"$ref": f"#/$defs/{name}"}

    def _definition(self, cls: Any) -> dict[str, Any]:
        properties, required = {}, []
        for field in attrs.fields(cls):
            if (name := json_name(field, self._rename)) is None:
                continue
            properties[name] = field.metadata.get("schema") or self.schema_of(field.type)
            if self._is_required(field):
                required.append(name)
        return {"type": "object", "properties": properties, "required": required}

    def _is_required(self, field: "attrs.Attribute[Any]") -> bool:
        if self._always_complete:
            return not field.metadata.get("omit_if_default", False)
        return field.default is attrs.NOTHING


_SIMPLE: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    Timestamp: {"type": "string", "format": "date-time"},
    Any: {},
}
