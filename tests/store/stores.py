"""The stores that the contract suites run on. A new store is a new entry in STORES."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs

from segue.model.records import Clock, Timestamp
from segue.store.service import SessionService, StoreAdmin
from segue.store.sqlite.admin import LocalStoreAdmin
from segue.store.sqlite.service import LocalSessionService


@attrs.define
class FakeClock:
    """A clock that stands still until a test moves `now`, in milliseconds since 1970."""

    now: int = 1_800_000_000_000

    def __call__(self) -> Timestamp:
        return Timestamp(self.now)


@attrs.frozen
class StoreFactory:
    """Makes one store: `open_service(folder, clock)` creates it in an empty folder, or reopens it.

    `make_admin(folder)` returns the admin of the same store; None if it ends with its service.
    """

    open_service: Callable[[Path, Clock], Awaitable[SessionService]]
    make_admin: Callable[[Path], StoreAdmin] | None


STORES = {
    "sqlite file": StoreFactory(
        lambda folder, clock: LocalSessionService.open(folder / "sessions.db", clock),
        lambda folder: LocalStoreAdmin(folder / "sessions.db"),
    ),
    "sqlite memory": StoreFactory(
        lambda _, clock: LocalSessionService.open(":memory:", clock),
        None,
    ),
}
