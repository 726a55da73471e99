"""What happens around every HTTP call: it is counted, and troubles may befall it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
from collections import Counter

import orjson
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from airflow_batch_gemini.local.connections import cut
from airflow_batch_gemini.local.dice import draw
from airflow_batch_gemini.local.errors import error_body
from airflow_batch_gemini.local.knobs import KnobBoard, Knobs


class CallCount:
    """Calls by method and route template, since the start or the last reset."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: Counter[str] = Counter()

    def add(self, scope: Scope) -> None:
        """Count a call that has been routed; one that no route took counts as such."""
        with self._lock:
            self._calls[f"{scope['method']} {_template(scope)}"] += 1

    def as_dict(self) -> dict[str, int]:
        """Return ``"GET /v1/…" → calls``."""
        with self._lock:
            return dict(sorted(self._calls.items()))

    def clear(self) -> None:
        """Start from nothing."""
        with self._lock:
            self._calls.clear()


def _template(scope: Scope) -> str:
    """Return the route's template; a call that was refused before it was routed is looked up."""
    route = scope.get("route")
    if route is None:
        matching = (item for item in scope["app"].routes if item.matches(scope)[0] is Match.FULL)
        route = next(matching, None)
    return str(getattr(route, "path", "(no such route)"))


class CallCounting:
    """Counts every call, also those that troubles befall."""

    def __init__(self, app: ASGIApp, count: CallCount) -> None:
        self._app = app
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._count.add(scope)


class Troubles:
    """Refuses, delays, resets and loses calls as the knobs say."""

    def __init__(self, app: ASGIApp, board: KnobBoard, seed: int) -> None:
        self._app = app
        self._board = board
        self._seed = seed
        self._number = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a call, or not."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        knobs, call = self._board.now, f"{scope['method']} {scope['path']}"
        if re.search(knobs.die_routes, call) and self._board.count_down("die_before_commit"):
            _die()
        sending = self._sending(scope, send, knobs, call)
        if not re.search(knobs.fault_routes, call):
            await self._app(scope, receive, sending)
            return
        self._number += 1
        if draw(self._seed, "reset", self._number) < knobs.reset_rate and await _reset(scope):
            return
        refusal = self._refusal(knobs)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, sending)

    def _refusal(self, knobs: Knobs) -> Response | None:
        chance = draw(self._seed, "refusal", self._number)
        if chance < knobs.http_429_rate:
            return _refused(429, "Quota exceeded. Please try again later.", knobs)
        if chance < knobs.http_429_rate + knobs.http_503_rate:
            return _refused(503, "The service is currently unavailable.", knobs)
        return None

    def _sending(self, scope: Scope, send: Send, knobs: Knobs, call: str) -> Send:
        """Return what sends an answer, or does not: by then the call has taken effect, or was refused."""
        slow = knobs.slow_answer_seconds if re.search(knobs.fault_routes, call) else 0.0
        losable = re.search(knobs.lost_answer_routes, call)
        deadly = re.search(knobs.die_routes, call)
        lost = False

        async def sending(message: Message) -> None:
            nonlocal lost
            if message["type"] == "http.response.start":
                done = message["status"] < 400
                if done and deadly and self._board.count_down("die_after_commit"):
                    _die()
                if slow:
                    await asyncio.sleep(slow)
                lost = bool(done and losable) and self._board.take("answer_lost_after_commit")
                if lost and await _reset(scope):
                    return
            if not lost:
                await send(message)

        return sending


def _die() -> None:
    """End like a machine that lost its power: nothing is written any more, nobody is told."""
    os.kill(os.getpid(), signal.SIGKILL)


async def _reset(scope: Scope) -> bool:
    if not cut(scope.get("client"), scope.get("server")):
        return False
    # Let the server learn that the connection is gone, so that it sends nothing itself.
    await asyncio.sleep(0.01)
    return True


def _refused(code: int, message: str, knobs: Knobs) -> Response:
    headers = {"Retry-After": str(knobs.retry_after_seconds)} if knobs.retry_after_seconds else {}
    return Response(orjson.dumps(error_body(code, message)), code, headers, "application/json")
