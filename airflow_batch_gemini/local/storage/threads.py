"""Moving work that blocks out of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import ParamSpec, TypeVar

import anyio
import anyio.to_thread

from .sink import BLOCK

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 16


class Threads:
    """Threads of the storage's own, so that long queries elsewhere in the process do not stop uploads."""

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(_THREADS)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do the work in a thread."""
        return await anyio.to_thread.run_sync(lambda: work(*args, **kwargs), limiter=self._limiter)

    async def pump(self, chunks: AsyncIterator[bytes], append: Callable[[list[bytes]], None]) -> None:
        """Append a stream in blocks; while one block is hashed and written, the next one arrives.

        When the stream breaks off, everything that came before is appended, then the error is raised.
        """
        held: list[bytes] = []
        size = 0
        writing: asyncio.Task[None] | None = None
        try:
            async for chunk in chunks:
                held.append(chunk)
                size += len(chunk)
                if size >= BLOCK:
                    if writing is not None:
                        await writing
                    writing = asyncio.create_task(self.run(append, held))
                    held, size = [], 0
        finally:
            if writing is not None:
                await writing
            if held:
                await self.run(append, held)
