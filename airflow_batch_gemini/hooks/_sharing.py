"""One hook for all who wait on an event loop: opened by the first, closed by the last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary


class _Closable(Protocol):
    async def aclose(self) -> None: ...


H = TypeVar("H", bound=_Closable)


@dataclass
class _Share(Generic[H]):
    hook: asyncio.Task[H]
    users: int = 0

    async def close(self) -> None:
        """Close the hook if there is one: its reading may have failed, or nobody stayed to see it."""
        if self.hook.done() and not self.hook.cancelled() and self.hook.exception() is None:
            await self.hook.result().aclose()


_SHARES: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, _Share[Any]]] = WeakKeyDictionary()


@asynccontextmanager
async def lend(key: Hashable, opened: Callable[[], H]) -> AsyncIterator[H]:
    """Lend what *opened* returns to everybody on this event loop who names the same *key*.

    *opened* blocks (it reads a connection), so it runs in a thread, once; a borrower who is cancelled meanwhile
    takes nothing from the others.
    """
    shares = _SHARES.setdefault(asyncio.get_running_loop(), {})
    share = shares.get(key)
    if share is None:
        share = shares[key] = _Share(asyncio.create_task(asyncio.to_thread(opened)))
    share.users += 1
    try:
        yield await asyncio.shield(share.hook)
    finally:
        share.users -= 1
        if not share.users:
            del shares[key]
            await share.close()
