"""Store unusual JSON values and read them back: through the service, and a share over stdio.

A value must come back as it was sent. Values are compared as ASCII JSON, which distinguishes 1 from
1.0 and true, -0.0 from 0.0, orders of keys, and a lone surrogate from a question mark.
"""

import asyncio
import collections
import json
import unicodedata
from collections.abc import Callable
from random import Random
from typing import Any

from segue.cli.client import Client
from segue.model.events import Event, new_id
from segue.model.json_text import MAX_DEPTH
from segue.model.records import NewSession
from segue.model.validation import InvalidInputError
from segue.store.service import SessionService
from segue.store.sqlite.service import LocalSessionService
from tests.faults.runner import Report, Size, main
from tests.faults.sandbox import Json, database_in, open_new, sandbox

VALUES: dict[Size, int] = {"short": 3_000, "long": 100_000}
SHARE_OVER_STDIO = 0.2
INVALID_VALUES: dict[Size, int] = {"short": 60, "long": 2_000}
VALUES_PER_SESSION = 25
DATA_DEPTH = 1
"""At how many levels an event's `data` holds the value."""

NO_ERROR = "no valid value raises an error"
NO_ERROR_STDIO = "no valid value raises an error over stdio"
RETRY = "a retry of any value is recognised as a duplicate"
REJECTED = "an invalid value is rejected"
REJECTED_BY_NAME = "an invalid value is rejected with InvalidInputError"

NOT_JSON = [float("nan"), float("inf"), -float("inf"), 10**4_300, -(10**4_300)]


def _by_category() -> dict[str, list[int]]:
    found: dict[str, list[int]] = collections.defaultdict(list)
    for point in range(0x110000):
        found[unicodedata.category(chr(point))].append(point)
    return found


CATEGORIES = _by_category()
STRINGS = [
    "", "\x00", "\ud83d", "\ude00", "\ude00\ud83d", "\ud83d\ude00", "a\ud800b", "e\u0301",
    "\u00e9", "\u202eabc\u202c", "\u2066\u2069", "\ufeff", "\ufffe", "\uffff", "\U0010ffff",
    "\u2028\u2029", "\r\n", "\\u0000", "\\", '"', "\x7f\x80\x9f", "\u200d\u200c", "\ufdd0",
    "\u1100\u1161\u11a8", "\u0130i\u0307", "'; DROP TABLE events; --", "NaN", "null",
    "\x1b]52;c;AAAA\x07", "\u0300" * 50,
]  # fmt: skip
KEYS = [
    "__proto__", "constructor", "jsonrpc", "id", "method", "params", "", "type", "data", "content",
    "a", "A", "a ", "\u00e9", "e\u0301", "\u212b", "\u00c5", "0", "00", "-0", "true", "$ref",
    "__class__", "\x00", "\ud83d", "corrupt",
]  # fmt: skip
NUMBERS = [
    0, -1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**4_299, 10**4_300 - 1,
    -(10**4_300) + 1, -0.0, 0.0, 1.0, -1.0, 1e308, -1e308, 1.7976931348623157e308, 5e-324,
    2.225073858507201e-308, 2.2250738585072014e-308, 0.1, 1e16, 1e22, 123456789012345680.0, 1e-7,
]  # fmt: skip


class ValueGenerator:
    """Generates JSON values, and counts their kinds and the Unicode categories in them."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self.categories: set[str] = set()
        self.kinds: collections.Counter[str] = collections.Counter()

    def value(self) -> Any:
        make: Callable[[], Any] = self._chance.choice(
            [
                self._string,
                self._string,
                self._number,
                self._object,
                self._list,
                self._deep,
                self._long,
            ]
        )
        self.kinds[make.__name__.strip("_")] += 1
        return make()

    def invalid_value(self) -> Any:
        """Return a value that JSON cannot express, or that nests too deeply."""
        if self._chance.random() < 0.5:
            return self._nested(self._chance.choice([1, "x"]), MAX_DEPTH - DATA_DEPTH + 1)
        return self._nested(self._chance.choice(NOT_JSON), self._chance.randrange(5))

    def _string(self) -> str:
        if self._chance.random() < 0.3:
            return "".join(self._chance.choices(STRINGS, k=self._chance.randrange(1, 4)))
        names = self._chance.choices(list(CATEGORIES), k=self._chance.randrange(1, 12))
        self.categories.update(names)
        return "".join(chr(self._chance.choice(CATEGORIES[name])) for name in names)

    def _long(self) -> str:
        return self._string() * self._chance.choice([10, 100, 1_000])

    def _number(self) -> int | float:
        match self._chance.randrange(4):
            case 0:
                return self._chance.choice(NUMBERS)
            case 1:
                digits = self._chance.randrange(1, 4_300)
                return self._chance.choice([1, -1]) * self._chance.randrange(10**digits)
            case 2:
                exponent = self._chance.randrange(-323, 309)
                return (
                    float(f"{self._chance.uniform(-9, 9):.17g}e{exponent}")
                    if exponent < 308
                    else 1e308
                )
            case _:
                return self._chance.uniform(-1, 1)

    def _leaf(self) -> Any:
        match self._chance.randrange(6):
            case 0:
                return self._chance.choice([None, True, False, [], {}, "", 0, 1, 0.0])
            case 1 | 2:
                return self._number()
            case _:
                return self._string()

    def _object(self) -> Json:
        keys = self._chance.sample(KEYS, self._chance.randrange(1, 10))
        keys += [self._string() for _ in range(self._chance.randrange(3))]
        self._chance.shuffle(keys)
        return {key: self._leaf() for key in keys}

    def _list(self) -> list[Any]:
        return [
            self._object() if self._chance.random() < 0.2 else self._leaf()
            for _ in range(self._chance.randrange(8))
        ]

    def _deep(self) -> Any:
        return self._nested(self._string(), self._chance.randrange(200, MAX_DEPTH - DATA_DEPTH + 1))

    def _nested(self, value: Any, levels: int) -> Any:
        for _ in range(levels):
            value = [value] if self._chance.random() < 0.5 else {self._chance.choice(KEYS): value}
        return value


def event_with(chance: Random, value: Any) -> tuple[str, Json]:
    """Return the type and the data of an event that holds *value*."""
    if isinstance(value, str) and chance.random() < 0.5:
        return chance.choice(["user_message", "text", "system_context"]), {"content": value}
    if chance.random() < 0.4:
        return "tool_call", {"id": "1", "name": "n", "input": value}
    return "x_roundtrip", {"value": value}


def unchanged(route: str) -> str:
    """Return the promise for values that travel by *route*."""
    return f"{route}: every value comes back as it was sent"


def compare(report: Report, route: str, sent: list[Json], got: list[Any]) -> None:
    """Report each value that came back changed."""
    report.expect(len(sent) == len(got), f"{route}: no value is missing")
    for one, other in zip(sent, got, strict=False):
        before, after = json.dumps(one), json.dumps(other)
        example = f"sent {before[:200]}, got {after[:200]}"
        report.expect(before == after, unchanged(route), example)
    report.count(f"values {route}", len(got))


async def through_service(report: Report, chance: Random, service: SessionService) -> None:
    """Store batches of values as events, and some as metadata, and read them back."""
    generator = ValueGenerator(chance)
    count = int(VALUES[report.size] * (1 - SHARE_OVER_STDIO))
    for _ in range(count // VALUES_PER_SESSION):
        values = [generator.value() for _ in range(VALUES_PER_SESSION)]
        try:
            await _one_session(report, chance, service, values)
        except Exception as error:
            report.expect(False, NO_ERROR, repr(error)[:300])
    await _reject_invalid(report, generator)
    report.counts["Unicode categories"] = len(generator.categories)
    report.counts |= {f"kind: {kind}": n for kind, n in sorted(generator.kinds.items())}


async def _one_session(
    report: Report, chance: Random, service: SessionService, values: list[Any]
) -> None:
    sent = [event_with(chance, value) for value in values]
    events = [Event.new(type, data) for type, data in sent]
    new = NewSession(id=new_id(), directory="/", metadata={"kept": values[0]})
    await service.create_session(new, events, invocation_id="1")
    page = await service.load_events(new.id, after=0)
    got = [event.data for event in page.events]
    compare(report, "through the service", [data for _, data in sent], got)
    await service.set_metadata(new.id, "key", values[-1])
    kept = [await service.get_metadata(new.id, key) for key in ("kept", "key")]
    compare(report, "as metadata", [values[0], values[-1]], kept)
    # A retry compares the values: all of them must be recognised as duplicates.
    again = await service.append_events(new.id, events, parent_id=None, invocation_id="1")
    report.expect(again.duplicates == len(events), RETRY)


async def _reject_invalid(report: Report, generator: ValueGenerator) -> None:
    for _ in range(INVALID_VALUES[report.size]):
        value = generator.invalid_value()
        try:
            Event.new("x_roundtrip", {"value": value})
        except InvalidInputError:
            report.count("rejected")
        except Exception as error:
            report.expect(False, REJECTED_BY_NAME, repr(error)[:200])
        else:
            report.expect(False, REJECTED)


def over_stdio(report: Report, chance: Random, client: Client) -> None:
    """Send values to a real server, escaped or as UTF-8, and read them back."""
    generator = ValueGenerator(chance)
    client.initialize()
    for _ in range(int(VALUES[report.size] * SHARE_OVER_STDIO) // VALUES_PER_SESSION):
        session = open_new(client)
        sent = [event_with(chance, generator.value()) for _ in range(VALUES_PER_SESSION)]
        _append(chance, client, session, [{"type": type, "data": data} for type, data in sent])
        page = client.request("session/events", {"sessionId": session, "after": 0})
        got = [event["data"] for event in page["events"]]
        compare(report, "over stdio", [data for _, data in sent], got)


def _append(chance: Random, client: Client, session: str, events: list[Json]) -> None:
    params = {"sessionId": session, "events": events}
    message = {"jsonrpc": "2.0", "id": session, "method": "session/append", "params": params}
    body = json.dumps(message).encode()
    if chance.random() < 0.5:
        # As UTF-8. A lone surrogate has none; `backslashreplace` escapes it as JSON does.
        body = json.dumps(message, ensure_ascii=False).encode("utf-8", "backslashreplace")
    client.write_bytes(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    client.result(session)


async def _in_process(report: Report, chance: Random, database: str) -> None:
    service = await LocalSessionService.open(database)
    try:
        await through_service(report, chance, service)
    finally:
        await service.close()


def run(report: Report, chance: Random) -> None:
    """Send values through the service, then over stdio."""
    with sandbox() as folder:
        asyncio.run(_in_process(report, chance, str(database_in(folder))))
        client = Client(folder)
        try:
            over_stdio(report, chance, client)
        except Exception as error:
            report.expect(False, NO_ERROR_STDIO, repr(error)[:300])
        finally:
            client.close_stdin()


if __name__ == "__main__":
    main(run)
