"""Jobs: their ids, their way through the states, and the threads that work on them."""

from __future__ import annotations

import logging
import re
import threading
import uuid
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .datatypes import fields_to_rest
from .errors import BigQueryError, NotFound, invalid, not_found
from .outcome import Outcome
from .records import now_ms
from .registry import Job, Registry
from .script import names_table
from .session import Session
from .sql.lexer import statements
from .work import Work

if TYPE_CHECKING:
    from .warehouse import Warehouse

_LOG = logging.getLogger(__name__)
_KINDS = ("load", "query", "copy", "extract")
_ID = re.compile(r"[A-Za-z0-9_-]{1,1024}")
_WORKERS = 4
_INTERRUPTED = (
    "The local cloud was stopped while the job was running; nothing of its last transaction was kept. "
    "Retry the job."
)


class Jobs:
    """Takes jobs, works on them one after the other per thread, and tells how they are."""

    def __init__(self, warehouse: Warehouse, registry: Registry) -> None:
        self._warehouse = warehouse
        self._registry = registry
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="bigquery-job")
        self._lock = threading.Lock()
        self._running: dict[tuple[str, str], Future[None]] = {}
        self._sessions: dict[tuple[str, str], Session] = {}
        self._cancelled: set[tuple[str, str]] = set()
        self._looks: dict[tuple[str, str], int] = {}

    def close(self) -> None:
        """Stop what runs; jobs that were not done say so at the next start."""
        with self._lock:
            sessions = list(self._sessions.values())
        for session in sessions:
            session.cursor.interrupt()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._registry.close()

    def recover(self, committed: set[tuple[str, str]]) -> None:
        """End the jobs that were at work when the process died: done if their one commit is there, else failed."""
        for job in self._registry.unfinished():
            error = (
                None
                if (job.project, job.id) in committed
                else {"reason": "backendError", "message": _INTERRUPTED}
            )
            self._registry.save(_ended(job, Outcome(), error))

    # Taking jobs

    def insert(self, project: str, body: Mapping[str, Any], *, media: Path | None = None) -> Job:
        """Take a job; raises duplicate when its id was ever used."""
        configuration = dict(body.get("configuration") or {})
        kinds = [kind for kind in _KINDS if configuration.get(kind) is not None]
        if len(kinds) != 1:
            raise invalid("Required parameter is missing: exactly one of load, query, copy and extract")
        reference = body.get("jobReference") or {}
        job_id = str(reference.get("jobId") or uuid.uuid4())
        if _ID.fullmatch(job_id) is None:
            raise invalid(
                f'Invalid job ID "{job_id}". Job IDs must be letters, numbers, underscores or dashes'
            )
        if str(reference.get("projectId") or project) != project:
            raise invalid("The project of the job reference is another one than that of the request")
        location = str(reference.get("location") or "") or self._location(project, configuration, kinds[0])
        configuration["jobType"] = kinds[0].upper()
        moment = now_ms()
        job = Job(
            project, job_id, location, moment, "RUNNING", {"configuration": configuration, "started": moment}
        )
        if configuration.get("dryRun"):
            return self._dry_run(job)
        self._registry.add(job)
        key = (project, job_id)
        with self._lock:
            if self._warehouse.job_delay_looks:
                self._looks[key] = self._warehouse.job_delay_looks
            self._running[key] = self._pool.submit(self._work, job, media)
        return job

    def _dry_run(self, job: Job) -> Job:
        if job.doc["configuration"].get("query") is None:
            raise invalid("Only query jobs can be run dry")
        with self._warehouse.session() as session:
            work = Work(session, self._warehouse.storage, job.project, job.location, job.id)
            outcome = work.run(job.doc["configuration"], dry_run=True)
        return _ended(job, outcome, None)

    def _location(self, project: str, configuration: Mapping[str, Any], kind: str) -> str:
        """Find where a job runs that does not say it: where its data lies."""
        config = configuration[kind]
        places: list[tuple[str, str]] = []
        for name in ("defaultDataset", "destinationTable", "sourceTable"):
            reference = config.get(name) or {}
            if reference.get("datasetId"):
                places.append((str(reference.get("projectId") or project), str(reference["datasetId"])))
        if kind == "query":
            places += _named_datasets(str(config.get("query") or ""), project)
        for owner, dataset in places:
            try:
                return self._warehouse.dataset_location(owner, dataset)
            except NotFound:
                continue
        return self._warehouse.default_location

    # Working on them

    def _work(self, job: Job, media: Path | None) -> None:
        key = (job.project, job.id)
        outcome, error = Outcome(), None
        try:
            with self._warehouse.session() as session:
                with self._lock:
                    self._sessions[key] = session
                    stopped = key in self._cancelled
                if stopped:
                    raise BigQueryError("stopped", "Job execution was cancelled: User requested cancellation")
                work = Work(session, self._warehouse.storage, job.project, job.location, job.id, media)
                outcome = work.run(job.doc["configuration"])
        except BigQueryError as failure:
            error = failure.proto()
            outcome.errors = getattr(failure, "errors", ())
        except Exception as failure:  # noqa: BLE001 - whatever fails, the job has to end and say so
            _LOG.exception("job %s:%s failed inside the local BigQuery", *key)
            error = {"reason": "internalError", "message": f"The local BigQuery failed: {failure}"}
        finally:
            with self._lock:
                self._sessions.pop(key, None)
        self._end(job, outcome, error)
        if media is not None:
            media.unlink(missing_ok=True)

    def _end(self, job: Job, outcome: Outcome, error: Mapping[str, str] | None) -> None:
        family = uuid.uuid4().hex
        for number, child in enumerate(outcome.children):
            doc = {
                "configuration": {"jobType": "QUERY", "query": {"query": child["sql"], "useLegacySql": False}},
                "statistics": {"query": child["query"]}, "started": child["started"], "ended": child["ended"],
            }  # fmt: skip
            name = f"script_job_{family}_{number:05d}"
            self._registry.add(Job(job.project, name, job.location, child["started"], "DONE", doc, job.id))
        self._registry.save(_ended(job, outcome, error))
        with self._lock:
            self._running.pop((job.project, job.id), None)

    # Telling about them

    def get(self, project: str, job_id: str, location: str | None = None) -> Job:
        """Return a job as it is; a job of another location is not there."""
        job = self._registry.get(project, job_id)
        if location and location.lower() != job.location.lower():
            raise not_found("Job", f"{project}:{job_id}")
        return job

    def look(self, project: str, job_id: str, location: str | None = None) -> Job:
        """Return a job as a client that polls is told: not done before the looks that were asked for."""
        job = self.get(project, job_id, location)
        with self._lock:
            left = self._looks.get((project, job_id), 0)
            if left:
                self._looks[project, job_id] = left - 1
        return job.changed(state="RUNNING") if left else job

    def wait(self, project: str, job_id: str, *, seconds: float) -> None:
        """Wait until a job has ended, or for the time given; never raises for what the job did."""
        with self._lock:
            future = self._running.get((project, job_id))
        if future is not None:
            try:
                future.result(timeout=seconds)
            except TimeoutError:
                return

    def cancel(self, project: str, job_id: str, location: str | None = None) -> Job:
        """Ask a job to stop; one that has ended stays as it is."""
        job = self.get(project, job_id, location)
        key = (project, job_id)
        with self._lock:
            self._looks.pop(key, None)
            if job.state != "DONE":
                self._cancelled.add(key)
            session = self._sessions.get(key)
        if session is not None and job.state != "DONE":
            session.cursor.interrupt()
            self.wait(project, job_id, seconds=2)
        return self.get(project, job_id)

    def page(self, project: str, **query: Any) -> list[Job]:
        """List jobs, the newest first."""
        return self._registry.page(project, **query)

    def remove(self, project: str, job_id: str) -> None:
        """Delete the metadata of a job that has ended."""
        if self._registry.get(project, job_id).state != "DONE":
            raise invalid(f"Job {project}:{job_id} is still running")
        self._registry.remove(project, job_id)


def _ended(job: Job, outcome: Outcome, error: Mapping[str, str] | None) -> Job:
    doc: dict[str, Any] = {
        "statistics": outcome.statistics,
        "ended": now_ms(),
        "errors": list(outcome.errors),
    }
    if error is not None:
        doc |= {"error": dict(error), "errors": [*outcome.errors] or [dict(error)]}
    if outcome.children:
        doc["children"] = len(outcome.children)
    if outcome.result is not None:
        table = outcome.result
        doc["result"] = {"projectId": table.project, "datasetId": table.dataset, "tableId": table.name}
        doc |= {"schema": fields_to_rest(table.fields), "select": outcome.select}
    return job.changed(state="DONE", **doc)


def _named_datasets(sql: str, project: str) -> list[tuple[str, str]]:
    found = []
    try:
        parts = statements(sql)
    except BigQueryError:
        return []
    for part in parts:
        path = names_table(part.text)
        if path is not None and len(path) > 1:
            found.append((path[0], path[1]) if len(path) > 2 else (project, path[0]))
    return found
