"""The stores that the contract suites run on. A new store is a new entry in STORES."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from segue.model.records import Clock, Timestamp
from segue.store.postgres.service import PostgresSessionService
from segue.store.service import SessionService, StoreAdmin
from segue.store.sqlite.admin import LocalStoreAdmin
from segue.store.sqlite.service import LocalSessionService
from tests.store import postgres_server


def _tell(clock: "FakeClock", _: Any, now: int) -> int:
    for listener in clock.listeners:
        listener(now)
    return now


@attrs.define
class FakeClock:
    """A clock that stands still until a test moves `now`, in milliseconds since 1970.

    The listeners are told where it was moved to.
    """

    now: int = attrs.field(default=1_800_000_000_000, on_setattr=_tell)
    listeners: list[Callable[[int], None]] = attrs.field(factory=list)

    def __call__(self) -> Timestamp:
        return Timestamp(self.now)


@attrs.frozen
class StoreFactory:
    """Makes one store: `open_service(folder, clock)` creates it in an empty folder, or reopens it.

    `make_admin(folder)` returns the admin of the same store; None if it ends with its service.
    """

    open_service: Callable[[Path, Clock], Awaitable[SessionService]]
    make_admin: Callable[[Path], StoreAdmin] | None
    can_hold: bool = True
    """Whether it can know which sessions are open in windows: not through a pool of connections."""


async def _open_on_postgres(
    name: str, folder: Path, clock: Clock, *, through_pool: bool = False
) -> SessionService:
    server = postgres_server.server(name)
    role = server.role_of(folder)
    if isinstance(clock, FakeClock):
        server.set_clock(role, clock.now)
        clock.listeners.append(partial(server.set_clock, role))
    url = server.url(role)
    if through_pool:
        url = url.replace(str(server.folder), str(postgres_server.pool(name)))
    return await PostgresSessionService.open(url, machine=postgres_server.MACHINE)


STORES = {
    "sqlite file": StoreFactory(
        lambda folder, clock: LocalSessionService.open(folder / "sessions.db", clock),
        lambda folder: LocalStoreAdmin(folder / "sessions.db"),
    ),
    "sqlite memory": StoreFactory(
        lambda _, clock: LocalSessionService.open(":memory:", clock),
        None,
    ),
    **{
        name: StoreFactory(partial(_open_on_postgres, name), None)
        for name in postgres_server.find_programs()
    },
    **{
        f"pool of {name}": StoreFactory(
            partial(_open_on_postgres, name, through_pool=True),
            None,
            can_hold=False,
        )
        for name in postgres_server.find_programs()
        if postgres_server.find_pool() is not None
    },
}
