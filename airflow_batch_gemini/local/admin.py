"""The admin endpoint: what was billed and called, and the knobs. Not part of any Google interface."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from airflow_batch_gemini.local.calls import CallCount
from airflow_batch_gemini.local.errors import invalid
from airflow_batch_gemini.local.knobs import KnobBoard
from airflow_batch_gemini.local.vertex.api import answer, read_json
from airflow_batch_gemini.local.vertex.service import Vertex

_COUNTS = ("rows", "prompt_tokens", "cached_tokens", "output_tokens", "thoughts_tokens")


class Admin:
    """Reads the counts and turns the knobs."""

    def __init__(self, *, vertex: Vertex, board: KnobBoard, calls: CallCount) -> None:
        self._vertex = vertex
        self.board = board
        self.calls = calls

    def stats(self) -> dict[str, Any]:
        """Return calls by route, what was billed in all, per job and per model called directly.

        ``billed_rows`` and the tokens of a job survive a restart, a kill and the deletion of the job; calls are
        counted since the start. Both begin anew at a reset.
        """
        bills = self._vertex.book.bills()
        jobs = {
            job.name: {
                "display_name": job.display_name,
                "state": job.state,
                "model": job.model_id,
                "rows": job.progress.total,
                **_bill(bills.pop(job.name, {})),
            }
            for job in self._vertex.engine.jobs()
        }
        direct = {
            source.removeprefix("generateContent "): _bill(bills.pop(source))
            for source in list(bills)
            if source.startswith("generateContent ")
        }
        deleted = {
            source: {"model": bill["model"], "state": "DELETED", **_bill(bill)}
            for source, bill in bills.items()
        }
        per_job = jobs | deleted
        return {
            "calls": self.calls.as_dict(),
            "billed_rows": sum(job["billed_rows"] for job in per_job.values()),
            "jobs": per_job,
            "generate_content": direct,
        }

    def turn(self, changes: Any) -> dict[str, Any]:
        """Turn knobs, all or none; 400 names the one that cannot be turned so."""
        if not isinstance(changes, dict):
            raise invalid("Knobs come as a JSON object, name to value.")
        try:
            return self.board.turn(changes).as_dict()
        except ValueError as error:
            raise invalid(str(error)) from None

    def reset(self) -> None:
        """Count calls and bills from nothing; jobs, files and knobs stay."""
        self.calls.clear()
        self._vertex.book.forget_bills()

    def routes(self) -> list[Route]:
        """Return the admin routes."""

        def stats(_request: Request) -> Response:
            return answer(self.stats())

        def knobs(_request: Request) -> Response:
            return answer(self.board.now.as_dict())

        async def turn(request: Request) -> Response:
            return answer(self.turn(await read_json(request)))

        def reset(_request: Request) -> Response:
            self.reset()
            return answer({})

        return [
            Route("/admin/stats", stats, methods=["GET"]),
            Route("/admin/knobs", knobs, methods=["GET"]),
            Route("/admin/knobs", turn, methods=["PUT"]),
            Route("/admin/reset", reset, methods=["POST"]),
        ]


def _bill(bill: dict[str, Any]) -> dict[str, int]:
    return {"billed_rows" if name == "rows" else name: bill.get(name, 0) for name in _COUNTS}
