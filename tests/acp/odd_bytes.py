"""Bytes that no client or agent should send, and some do."""

import json
import random
from collections.abc import Iterator

_WORDS = (
    "session/update",
    "session/prompt",
    "sessionId",
    "id",
    "method",
    "params",
    "result",
    "é\u2028",
)


def odd_lines(rng: random.Random, size: int) -> Iterator[bytes]:
    """Yield about *size* bytes of lines, and of what is none."""
    while size > 0:
        line = _odd_line(rng, size)
        size -= len(line)
        yield line


def _odd_line(rng: random.Random, size: int) -> bytes:
    end = rng.choice((b"\n", b"\n", b"\r\n", b"\n\n"))
    match rng.randrange(12):
        case 0:
            return rng.randbytes(rng.randrange(2_000)) + end
        case 1:
            return b"\xff\xfe{not utf-8}" + end
        case 2:
            return b'{"id": ' + b"9" * 5_000 + b', "method": "session/update"}' + end
        case 3:
            depth = rng.choice((100, 10_000))
            return b'{"params": ' + b"[" * depth + b"]" * depth + b"}" + end
        case 4:
            return b'{"method": "session/update", "params": {"sessionId": "\\ud800"}}' + end
        case 5:
            return json.dumps([_message(rng), _message(rng)]).encode() + end
        case 6:
            return b" \t" + json.dumps(_message(rng)).encode() + b" " + end
        case 7:
            long = rng.choice((1_000, 100_000, 3_000_000))
            return json.dumps(_message(rng) | {"x": "y" * min(long, size)}).encode() + end
        case 8:
            return b"NaN" + end + b"null" + end + b"{}" + end + b"\0\0" + end
        case 9:
            return b'{"id": 1, "id": 2, "result": null, "result": {"sessionId": 5}}' + end
        case 10:
            return json.dumps(_message(rng)).encode()[: rng.randrange(1, 40)] + end
        case _:
            return json.dumps(_message(rng), ensure_ascii=rng.random() < 0.5).encode() + end


def _message(rng: random.Random) -> dict[str, object]:
    """Return an object with the right words at the wrong places."""

    def value(depth: int) -> object:
        match rng.randrange(7 if depth else 4):
            case 0:
                return rng.choice((None, True, 1.5, -0.0, 1e300, 10**18, ""))
            case 1 | 2:
                return rng.choice(_WORDS)
            case 3:
                return rng.randrange(100)
            case 4:
                return [value(depth - 1) for _ in range(rng.randrange(3))]
            case _:
                return {rng.choice(_WORDS): value(depth - 1) for _ in range(rng.randrange(4))}

    methods = ("session/update", "session/cancel", "x", 5, None, "session/request_permission")
    return {"method": rng.choice(methods), "id": value(1), "params": value(3)}
