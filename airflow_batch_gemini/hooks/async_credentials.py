"""Ordinary Google credentials for an event loop: the token is fetched in a thread, once for all who wait for it."""

from __future__ import annotations

import asyncio
from typing import Any

from google.auth.aio.credentials import Credentials


class ThreadedCredentials(Credentials):  # type: ignore[misc]  # mypy skips google.*: the base class is Any to it
    """Credentials of ``google.auth.aio`` around synchronous ones of any kind.

    Reading a key file, asking a metadata server and impersonating all block; none of it may happen on the loop.
    """

    def __init__(self, credentials: Any) -> None:
        super().__init__()
        self._wrapped = credentials
        self._fetching = asyncio.Lock()

    async def before_request(self, _request: Any, _method: str, _url: str, headers: dict[str, str]) -> None:
        """Put the token, fetched anew when it is about to expire, and the quota project into *headers*."""
        if not self._wrapped.valid:
            await self.refresh(None)
        self._wrapped.apply(headers)

    async def refresh(self, _request: Any) -> None:
        """Fetch a token; whoever asks meanwhile shares it."""
        stale = self._wrapped.token
        async with self._fetching:
            if self._wrapped.token == stale or not self._wrapped.valid:
                await asyncio.to_thread(self._fetch)

    def _fetch(self) -> None:
        from google.auth.transport.requests import Request

        request = Request()
        try:
            self._wrapped.refresh(request)
        finally:
            request.session.close()
