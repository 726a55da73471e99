"""Vertex AI as its callers see it, without HTTP."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import Any

import orjson

from airflow_batch_gemini.local.bigquery import Warehouse
from airflow_batch_gemini.local.errors import CloudError, failed_precondition, invalid, not_found
from airflow_batch_gemini.local.knobs import KnobBoard
from airflow_batch_gemini.local.settings import Settings
from airflow_batch_gemini.local.storage.store import Storage
from airflow_batch_gemini.local.vertex.answers import Source, compose, echo, fit_schema
from airflow_batch_gemini.local.vertex.bodies import read_wish
from airflow_batch_gemini.local.vertex.book import Book
from airflow_batch_gemini.local.vertex.casing import camel, camelled
from airflow_batch_gemini.local.vertex.engine import Engine
from airflow_batch_gemini.local.vertex.faults import row_error, row_faults
from airflow_batch_gemini.local.vertex.filters import parse_filter
from airflow_batch_gemini.local.vertex.media import reader
from airflow_batch_gemini.local.vertex.models import Model, find_model
from airflow_batch_gemini.local.vertex.openai import OpenAi
from airflow_batch_gemini.local.vertex.records import Job, filterable, project_number, resource
from airflow_batch_gemini.local.vertex.requests import RowError, check_request
from airflow_batch_gemini.local.vertex.tokens import prompt_characters, prompt_tokens
from airflow_batch_gemini.local.vertex.work import Bench

PAGE_SIZE = 100


class Vertex:
    """Batch prediction jobs and direct calls. Safe to call from many threads."""

    def __init__(
        self, settings: Settings, *, storage: Storage, warehouse: Warehouse, board: KnobBoard
    ) -> None:
        folder = settings.data_dir / "vertex"
        folder.mkdir(parents=True, exist_ok=True)
        self._seed = settings.seed
        self._board = board
        self._storage = storage
        self._pool = ThreadPoolExecutor(settings.openai_concurrency, thread_name_prefix="answers")
        self.book = Book(folder / "book.sqlite")
        self._bench = Bench(
            folder=folder,
            storage=storage,
            warehouse=warehouse,
            board=board,
            seed=settings.seed,
            sources=self._sources(settings),
            pool=self._pool,
        )
        self.engine = Engine(self._bench, self.book)

    def start(self) -> None:
        """Go on with the jobs that have not ended."""
        self.engine.start()

    def stop(self) -> None:
        """Stop between two slices of work; nothing is lost."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.engine.stop()
        self.book.close()

    def lateness(self) -> float:
        """Return the seconds by which the creation that has just come is to take effect late."""
        return self._board.now.late_create_seconds if self._board.take("late_creates") else 0.0

    def create(self, project: str, location: str, body: Any) -> dict[str, Any]:
        """Accept a job; each call makes a new one, as there is no request id."""
        wish = read_wish(body, location=location, extra_models=self._board.now.extra_models)
        sequence = self.book.next_sequence()
        now = time.time()
        job = Job(
            id=_job_id(self._seed, sequence),
            sequence=sequence,
            project=project,
            location=location,
            display_name=wish.display_name,
            model=wish.model_name,
            model_id=wish.model.id,
            labels=wish.labels,
            source=wish.source,
            destination=wish.destination,
            created=now,
            updated=now,
            stage_since=now,
        )
        self.engine.add(job)
        return resource(job)

    def get(self, project: str, location: str, job_id: str) -> dict[str, Any]:
        """Return a job; counts as a look."""
        self._find(project, location, job_id)
        self.engine.look([job_id])
        return resource(self._find(project, location, job_id))

    def list(self, project: str, location: str, query: Mapping[str, str]) -> dict[str, Any]:
        """Return a page of jobs, newest first; counts as a look at those it shows."""
        options = {camel(name): value for name, value in query.items()}
        test = parse_filter(options.get("filter", ""))
        size = _natural(options.get("pageSize"), PAGE_SIZE, "page_size")
        before = _natural(options.get("pageToken"), 0, "page_token")
        newest = time.time() - self._board.now.listing_lag_seconds
        shown: list[Job] = []
        more = False
        for job in self.engine.jobs():
            if job.created > newest or (before and job.sequence >= before):
                continue
            if (
                job.location != location
                or not _same_project(job.project, project)
                or not test(filterable(job))
            ):
                continue
            if len(shown) == size:
                more = True
                break
            shown.append(job)
        self.engine.look([job.id for job in shown])
        current = [self.engine.get(job.id) or job for job in shown]
        page: dict[str, Any] = {
            "batchPredictionJobs": [_masked(resource(job), options.get("readMask")) for job in current]
        }
        return page | ({"nextPageToken": str(shown[-1].sequence)} if more else {})

    def cancel(self, project: str, location: str, job_id: str) -> dict[str, Any]:
        """Ask for the end of a job; what it ends in shows later."""
        job = self._find(project, location, job_id)
        if not job.ended_for_good and self._board.take("late_cancels"):
            self.engine.finish(job_id)
            job = self._find(project, location, job_id)
        if not self.engine.cancel(job_id):
            raise failed_precondition(
                f"The job {job.name} has ended already, in {job.state}; it cannot be cancelled."
            )
        return {}

    def delete(self, project: str, location: str, job_id: str, *, version: str) -> dict[str, Any]:
        """Forget a job that has ended; answers the finished operation."""
        job = self._find(project, location, job_id)
        if not job.ended_for_good:
            raise failed_precondition(f"The job {job.name} is in {job.state}; cancel it before deleting it.")
        self.engine.forget(job_id)
        kind = f"type.googleapis.com/google.cloud.aiplatform.{version}.DeleteOperationMetadata"
        return {
            "name": f"projects/{job.project}/locations/{job.location}/operations/{job.id}",
            "metadata": {"@type": kind},
            "done": True,
            "response": {"@type": "type.googleapis.com/google.protobuf.Empty"},
        }

    def generate(self, model_name: str, location: str, body: Any) -> dict[str, Any]:
        """Answer one request at once, and bill it."""
        model = self._model(model_name, location)
        request = camelled(body)
        number = self.book.next_call()
        faults = row_faults(
            self._board.now,
            seed=self._seed,
            job="generateContent",
            row=number,
            request=orjson.dumps(request, option=orjson.OPT_SORT_KEYS),
        )
        try:
            check_request(request, batch=False)
            if faults.error:
                raise row_error(self._board.now.row_error_code)
            draft = self._bench.source()(request, self._seed)
            answer = compose(
                request, draft, model=model.id, seed=self._seed, faults=faults, read=reader(self._storage)
            )
        except RowError as error:
            raise CloudError(error.code, error.message) from None
        self.book.bill_call(model.id, answer.tokens)
        return answer.response

    def count_tokens(self, model_name: str, location: str, body: Any) -> dict[str, Any]:
        """Count the tokens of a prompt; never billed."""
        model = self._model(model_name, location)
        request = camelled(body)
        if not isinstance(request, dict):
            raise invalid("The request body is not a JSON object.")
        if isinstance(request.get("instances"), list) and "contents" not in request:
            texts = [str(item.get("content", "")) for item in request["instances"] if isinstance(item, dict)]
            request = {"contents": [{"role": "user", "parts": [{"text": text} for text in texts]}]}
        counted = prompt_tokens(request, model=model.id, read=reader(self._storage))
        details = [{"modality": name, "tokenCount": tokens} for name, tokens in counted.items() if tokens]
        return {
            "totalTokens": sum(counted.values()),
            "totalBillableCharacters": prompt_characters(request),
            "promptTokensDetails": details,
        }

    def _model(self, name: str, location: str) -> Model:
        return find_model(name, location=location, extra=self._board.now.extra_models)

    def _find(self, project: str, location: str, job_id: str) -> Job:
        job = self.engine.get(job_id)
        if job is None or job.location != location or not _same_project(job.project, project):
            name = f"projects/{project}/locations/{location}/batchPredictionJobs/{job_id}"
            raise not_found(f"The BatchPredictionJob {name} does not exist.")
        return job

    def _sources(self, settings: Settings) -> dict[str, Source]:
        sources: dict[str, Source] = {"echo": echo, "schema": fit_schema}
        if settings.openai_base_url and settings.openai_model:
            sources["openai"] = OpenAi(
                base_url=settings.openai_base_url,
                model=settings.openai_model,
                api_key=settings.openai_api_key,
                read=reader(self._storage),
            )
        return sources


def _job_id(seed: int, sequence: int) -> str:
    """Return 19 digits that repeat with the seed and look like nothing in particular."""
    number = int.from_bytes(blake2b(f"{seed}/{sequence}".encode(), digest_size=8).digest(), "big")
    return str(10**18 + number % (9 * 10**18))


def _same_project(one: str, other: str) -> bool:
    return one == other or project_number(one) == project_number(other)


def _natural(text: str | None, default: int, name: str) -> int:
    if not text or text == "0":
        return default
    if not text.isdigit():
        raise invalid(f"{name}: {text!r} is not a number of this listing.")
    return int(text)


def _masked(job: dict[str, Any], mask: str | None) -> dict[str, Any]:
    if not mask or mask == "*":
        return job
    wanted = {camel(path.strip().partition(".")[0]) for path in mask.split(",")}
    return {name: value for name, value in job.items() if name in wanted}
