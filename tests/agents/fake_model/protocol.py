"""What the protocols of the models have in common: a request, and an answer or its events."""

from collections.abc import Iterator
from typing import Any, Protocol

import attrs

from tests.agents.fake_model.behaviour import Answer

Json = dict[str, Any]


@attrs.frozen
class Event:
    """An event of a stream; without data it only says that the stream goes on."""

    data: Json | str | None
    name: str | None = None


WAIT = Event(None)
DONE = Event("[DONE]")


class ModelProtocol(Protocol):
    """How an agent and a model speak."""

    def answer(self, body: Json) -> Answer:
        """Return the answer to a request."""

    def whole(self, body: Json, given: Answer) -> Json:
        """Return an answer that is not streamed."""

    def stream(self, body: Json, given: Answer) -> Iterator[Event]:
        """Yield the events of an answer."""
