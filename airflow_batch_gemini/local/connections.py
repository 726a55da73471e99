"""Connections that can be cut from within a request: how a lost answer is made."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any, cast

from uvicorn.protocols.http.auto import AutoHTTPProtocol

_open: dict[Any, asyncio.Transport] = {}


class _Remembering(asyncio.Protocol):
    """Keeps the transport of each connection under the addresses of its two ends."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._ends = _ends(transport.get_extra_info("peername"), transport.get_extra_info("sockname"))
        _open[self._ends] = cast("asyncio.Transport", transport)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        _open.pop(self._ends, None)
        super().connection_lost(exc)


CuttableProtocol = cast(
    "type[asyncio.Protocol]", type("CuttableProtocol", (_Remembering, AutoHTTPProtocol), {})
)
"""The HTTP protocol to run uvicorn with."""


def cut(peer: Any, here: Any) -> bool:
    """Reset the connection between two addresses without an answer; False when it is not one of ours."""
    transport = _open.get(_ends(peer, here))
    if transport is None:
        return False
    raw = transport.get_extra_info("socket")
    if raw is not None:
        # No lingering: the peer sees a reset, as from a machine that died.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    return True


def _ends(peer: Any, here: Any) -> tuple[Any, ...]:
    """Host and port of either end; IPv6 addresses have more to them, which uvicorn leaves out."""
    return (*(peer or ())[:2], *(here or ())[:2])
