"""Clients of the job service, one a location: opened when they are first asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1 import JobServiceAsyncClient, JobServiceClient

EndpointOf = Callable[[str], tuple[str, Any]]
"""Returns a location's endpoint, and the credentials that may be sent there; it may block."""


class JobClients:
    """Clients for a worker."""

    def __init__(self, endpoint_of: EndpointOf) -> None:
        self._endpoint_of = endpoint_of
        self._open: dict[str, JobServiceClient] = {}

    def of(self, location: str) -> JobServiceClient:
        """Return the client that talks to *location*'s host."""
        if location not in self._open:
            from google.cloud.aiplatform_v1 import JobServiceClient

            endpoint, credentials = self._endpoint_of(location)
            self._open[location] = JobServiceClient(
                credentials=credentials, transport="rest", client_options={"api_endpoint": endpoint}
            )
        return self._open[location]

    def close(self) -> None:
        """Close every connection; the next call opens new ones."""
        while self._open:
            self._open.popitem()[1].transport.close()


class AsyncJobClients:
    """Clients for one event loop, which nothing here blocks."""

    def __init__(self, endpoint_of: EndpointOf) -> None:
        self._endpoint_of = endpoint_of
        self._open: dict[str, JobServiceAsyncClient] = {}
        self._opening: asyncio.Lock | None = None

    async def of(self, location: str) -> JobServiceAsyncClient:
        """Return the client that talks to *location*'s host."""
        self._opening = self._opening or asyncio.Lock()
        async with self._opening:
            if location not in self._open:
                endpoint, credentials = await asyncio.to_thread(self._parts, location)
                self._open[location] = _async_client(endpoint, credentials)
        return self._open[location]

    async def close(self) -> None:
        """Close every HTTP session; the next call opens new ones."""
        while self._open:
            await self._open.popitem()[1].transport.close()

    def _parts(self, location: str) -> tuple[str, Any]:
        """Return endpoint and credentials; what takes long happens here, in a thread."""
        from google.cloud import aiplatform_v1  # noqa: F401  # importing it takes seconds

        return self._endpoint_of(location)


def _async_client(endpoint: str, credentials: Any) -> JobServiceAsyncClient:
    from google.cloud.aiplatform_v1 import JobServiceAsyncClient

    from airflow_batch_gemini.hooks.async_credentials import ThreadedCredentials

    return JobServiceAsyncClient(
        credentials=ThreadedCredentials(credentials),
        transport="rest_asyncio",
        client_options={"api_endpoint": endpoint},
    )
