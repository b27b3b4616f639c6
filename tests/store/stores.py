"""The stores that the contract suites run on. A new store is a new entry in STORES."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs

from segue.model.records import Clock, Timestamp
from segue.store.service import SessionService
from segue.store.sqlite.service import LocalSessionService


@attrs.define
class FakeClock:
    """A clock that stands still until a test moves `now`, in milliseconds since 1970."""

    now: int = 1_800_000_000_000

    def __call__(self) -> Timestamp:
        return Timestamp(self.now)


@attrs.frozen
class StoreFactory:
    """Makes one store: `open_service(folder, clock)` creates it in an empty folder, or reopens it."""

    open_service: Callable[[Path, Clock], Awaitable[SessionService]]


STORES = {
    "sqlite file": StoreFactory(
        lambda folder, clock: LocalSessionService.open(folder / "sessions.db", clock),
    ),
    "sqlite memory": StoreFactory(
        lambda _, clock: LocalSessionService.open(":memory:", clock),
    ),
}
