"""JSON values made to be spoiled, there and back: through the service, and a share over stdio.

What is read back equals what was sent, as JSON: compared as ASCII text, which tells 1 from 1.0 and
from true, -0.0 from 0.0, one order of keys from another, and half a surrogate pair from a question
mark.
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
from tests.faults.sandbox import Json, database_in, open_new, stage

VALUES: dict[Size, int] = {"short": 3_000, "long": 100_000}
OVER_STDIO = 0.2
REFUSED: dict[Size, int] = {"short": 60, "long": 2_000}
TOGETHER = 25
WRAPPING = 1
"""How many levels deep an event's `data` holds the value."""

FORBIDDEN = [float("nan"), float("inf"), -float("inf"), 10**4_300, -(10**4_300)]


def _by_category() -> dict[str, list[int]]:
    found: dict[str, list[int]] = collections.defaultdict(list)
    for point in range(0x110000):
        found[unicodedata.category(chr(point))].append(point)
    return found


CATEGORIES = _by_category()
PECULIAR = [
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


class Torturer:
    """Makes values, and knows what it has made them of."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self.categories: set[str] = set()
        self.kinds: collections.Counter[str] = collections.Counter()

    def value(self) -> Any:
        made: Callable[[], Any] = self._chance.choice(
            [self._text, self._text, self._number, self._object, self._list, self._deep, self._long]
        )
        self.kinds[made.__name__.strip("_")] += 1
        return made()

    def forbidden(self) -> Any:
        """Return a value that JSON or the store has no place for."""
        if self._chance.random() < 0.5:
            return self._nested(self._chance.choice([1, "x"]), MAX_DEPTH - WRAPPING + 1)
        return self._nested(self._chance.choice(FORBIDDEN), self._chance.randrange(5))

    def _text(self) -> str:
        if self._chance.random() < 0.3:
            return "".join(self._chance.choices(PECULIAR, k=self._chance.randrange(1, 4)))
        names = self._chance.choices(list(CATEGORIES), k=self._chance.randrange(1, 12))
        self.categories.update(names)
        return "".join(chr(self._chance.choice(CATEGORIES[name])) for name in names)

    def _long(self) -> str:
        return self._text() * self._chance.choice([10, 100, 1_000])

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
                return self._text()

    def _object(self) -> Json:
        keys = self._chance.sample(KEYS, self._chance.randrange(1, 10))
        keys += [self._text() for _ in range(self._chance.randrange(3))]
        self._chance.shuffle(keys)
        return {key: self._leaf() for key in keys}

    def _list(self) -> list[Any]:
        return [
            self._object() if self._chance.random() < 0.2 else self._leaf()
            for _ in range(self._chance.randrange(8))
        ]

    def _deep(self) -> Any:
        # The value itself may be one level: a list or an object in the middle.
        return self._nested(self._text(), self._chance.randrange(200, MAX_DEPTH - WRAPPING + 1))

    def _nested(self, value: Any, levels: int) -> Any:
        for _ in range(levels):
            value = [value] if self._chance.random() < 0.5 else {self._chance.choice(KEYS): value}
        return value


def as_text(value: Any) -> str:
    """Return what two values are compared by."""
    return json.dumps(value)


def placed(chance: Random, value: Any) -> tuple[str, Json]:
    """Return a type and the data that holds *value*, where such a type may hold it."""
    if isinstance(value, str) and chance.random() < 0.5:
        return chance.choice(["user_message", "text", "system_context"]), {"content": value}
    if chance.random() < 0.4:
        return "tool_call", {"id": "1", "name": "n", "input": value}
    return "x_tortured", {"value": value}


def compare(report: Report, way: str, sent: list[Json], got: list[Any]) -> None:
    """Note each value that did not come back as it went."""
    report.expect(len(sent) == len(got), f"{way}: as many come back as were sent")
    for one, other in zip(sent, got, strict=False):
        same = as_text(one) == as_text(other)
        example = f"sent {as_text(one)[:200]}, got {as_text(other)[:200]}"
        report.expect(same, f"{way}: every value comes back as it was", example)
    report.count(f"values {way}", len(got))


async def through_service(report: Report, chance: Random, service: SessionService) -> None:
    """Store batches of values as events, and some as metadata, and read them again."""
    torturer = Torturer(chance)
    count = int(VALUES[report.size] * (1 - OVER_STDIO))
    for _ in range(count // TOGETHER):
        values = [torturer.value() for _ in range(TOGETHER)]
        try:
            await _one_session(report, chance, service, values)
        except Exception as error:
            report.expect(False, "no value is refused or fails", repr(error)[:300])
    await _refuse(report, torturer, service)
    report.counts["categories of code points"] = len(torturer.categories)
    report.counts |= {f"kind: {kind}": n for kind, n in sorted(torturer.kinds.items())}


async def _one_session(
    report: Report, chance: Random, service: SessionService, values: list[Any]
) -> None:
    sent = [placed(chance, value) for value in values]
    events = [Event.new(type, data) for type, data in sent]
    new = NewSession(id=new_id(), directory="/", metadata={"kept": values[0]})
    await service.create_session(new, events, invocation_id="1")
    page = await service.load_events(new.id, after=0)
    got = [event.data for event in page.events]
    compare(report, "through the service", [data for _, data in sent], got)
    await service.set_metadata(new.id, "key", values[-1])
    kept = [await service.get_metadata(new.id, key) for key in ("kept", "key")]
    compare(report, "as metadata", [values[0], values[-1]], kept)
    # What is a duplicate is decided by the value: a retry of all that must be none but duplicates.
    again = await service.append_events(new.id, events, parent_id=None, invocation_id="1")
    report.expect(again.duplicates == len(events), "a retry of any value is known as one")


async def _refuse(report: Report, torturer: Torturer, service: SessionService) -> None:
    for _ in range(REFUSED[report.size]):
        value = torturer.forbidden()
        try:
            Event.new("x_tortured", {"value": value})
        except InvalidInputError:
            report.count("refused")
        except Exception as error:
            report.expect(False, "what JSON lacks is refused by name", repr(error)[:200])
        else:
            report.expect(False, "what JSON lacks is refused")


def over_stdio(report: Report, chance: Random, client: Client) -> None:
    """Send values to a real server, in escapes or as UTF-8, and read them again."""
    torturer = Torturer(chance)
    client.initialize()
    for _ in range(int(VALUES[report.size] * OVER_STDIO) // TOGETHER):
        session = open_new(client)
        sent = [placed(chance, torturer.value()) for _ in range(TOGETHER)]
        _append(chance, client, session, [{"type": type, "data": data} for type, data in sent])
        page = client.request("session/events", {"sessionId": session, "after": 0})
        got = [event["data"] for event in page["events"]]
        compare(report, "over stdio", [data for _, data in sent], got)


def _append(chance: Random, client: Client, session: str, events: list[Json]) -> None:
    params = {"sessionId": session, "events": events}
    message = {"jsonrpc": "2.0", "id": session, "method": "session/append", "params": params}
    body = json.dumps(message).encode()
    if chance.random() < 0.5:
        # As UTF-8, but for what has none; no other escape ends in what looks like half a pair.
        text = json.dumps(message, ensure_ascii=False)
        body = text.encode("utf-8", "backslashreplace")
    client.write_bytes(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    client.result(session)


async def _in_process(report: Report, chance: Random, where: str) -> None:
    service = await LocalSessionService.open(where)
    try:
        await through_service(report, chance, service)
    finally:
        await service.close()


def run(report: Report, chance: Random) -> None:
    """Torture both ways."""
    with stage() as folder:
        asyncio.run(_in_process(report, chance, str(database_in(folder))))
        client = Client(folder)
        try:
            over_stdio(report, chance, client)
        except Exception as error:
            report.expect(False, "no value is refused or fails over stdio", repr(error)[:300])
        client.close_stdin()


if __name__ == "__main__":
    main(run)
