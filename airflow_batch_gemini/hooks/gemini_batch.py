"""Vertex AI batch prediction jobs for Gemini: create, get, list, cancel, delete, from a worker or an event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self

from airflow.providers.google.common.hooks.base_google import GoogleBaseHook

from airflow_batch_gemini.batch import names
from airflow_batch_gemini.batch.endpoints import vertex_host
from airflow_batch_gemini.batch.job import Job
from airflow_batch_gemini.batch.job_body import job_body
from airflow_batch_gemini.batch.names import JobName, model_path
from airflow_batch_gemini.batch.names import location as checked_location
from airflow_batch_gemini.batch.names import project_id as checked_project
from airflow_batch_gemini.batch.weighing import countable
from airflow_batch_gemini.exceptions import ServiceError
from airflow_batch_gemini.hooks._calls import again, posted, reading
from airflow_batch_gemini.hooks._clients import AsyncJobClients, JobClients
from airflow_batch_gemini.hooks._endpoint import checked_override, fitting_credentials
from airflow_batch_gemini.hooks._generating import DirectCalls
from airflow_batch_gemini.hooks._sharing import lend
from airflow_batch_gemini.hooks._vertex import (
    REQUEST_SECONDS,
    counting,
    one_payment,
    to_job,
    to_proto,
    translated,
)
from airflow_batch_gemini.hooks.looks import SharedLooks

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1 import JobServiceAsyncClient, JobServiceClient

CancelAnswer = Literal["asked", "ended", "gone"]
"""What came of a cancel request: Vertex AI will try; the job had ended; there is no such job."""

_PAGE = 100
COUNT_SECONDS = 10.0
"""So long a count that is refused for now is asked for again: it can be done without."""


class GeminiBatchHook(GoogleBaseHook):
    """Vertex AI's job service over REST, by an Airflow connection of type ``google_cloud_platform``.

    With ``VERTEX_AI_EMULATOR_HOST`` it talks to a local stand-in, and then only with credentials that no Google
    service would honour. Methods with an ``a`` in front are for event loops; :meth:`shared` gives the hook for those.

    :param gcp_conn_id: the connection.
    :param impersonation_chain: service account to impersonate, or a chain of them.
    """

    def __init__(
        self,
        *,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(gcp_conn_id=gcp_conn_id, impersonation_chain=impersonation_chain)
        self._clients = JobClients(self._place)
        self._async_clients = AsyncJobClients(self._place)
        self._direct = DirectCalls(self._place)
        self._looks: dict[str, SharedLooks] = {}

    def create(
        self,
        *,
        project_id: str,
        location: str,
        display_name: str,
        model: str,
        source_uri: str,
        destination_uri: str,
        labels: Mapping[str, str],
    ) -> Job:
        """Create a job by exactly one POST: no client repeats it, whatever comes back.

        Only a 401, an expired token that Vertex AI did not let in, is sent again with a fresh one.

        :param source_uri: ``gs://…`` (JSONL) or ``bq://project.dataset.table``; so is *destination_uri*.
        :raises SubmitRefusedError: Vertex AI refused (4xx): nothing was created.
        :raises ServiceError: 429, or no token could be had: nothing was created.
        :raises PaymentUnknownError: anything else: the job may exist.
        """
        body = job_body(
            display_name=display_name,
            model=model,
            source_uri=source_uri,
            destination_uri=destination_uri,
            labels=labels,
        )
        request = {"parent": _parent(project_id, location), "batch_prediction_job": to_proto(body)}
        client = self.client(location)
        with one_payment(display_name):
            job = to_job(
                client.create_batch_prediction_job(request=request, retry=None, timeout=REQUEST_SECONDS)
            )
            JobName.parse(job.name)  # an answer without a name is no answer
        return job

    def get(self, job_name: str) -> Job:
        """Look at a job; 403 and 404 raise :class:`JobLostError`."""
        name = JobName.parse(job_name)
        with translated(f"Looking at {name}", job_name=str(name)):
            return to_job(self.client(name.location).get_batch_prediction_job(name=str(name), **reading()))

    def list(self, *, project_id: str, location: str, filter: str = "") -> tuple[Job, ...]:  # noqa: A002  # Google's word
        """Return all jobs that *filter* lets through, of every page."""
        request = {"parent": _parent(project_id, location), "filter": filter, "page_size": _PAGE}
        with translated(f"Listing the jobs of {request['parent']}"):
            pages = self.client(location).list_batch_prediction_jobs(request=request, **reading())
            return tuple(to_job(job) for job in pages)

    def cancel(self, job_name: str) -> CancelAnswer:
        """Ask Vertex AI to cancel a job. It may still end otherwise; answered rows are kept and paid for."""
        name = JobName.parse(job_name)
        try:
            with translated(f"Cancelling {name}"):
                self.client(name.location).cancel_batch_prediction_job(name=str(name), **reading())
        except ServiceError as error:
            return _cancel_answer(error)
        return "asked"

    def delete(self, job_name: str) -> None:
        """Delete an ended job from Vertex AI; what it answered stays at its destination."""
        name = JobName.parse(job_name)
        with translated(f"Deleting {name}", job_name=str(name)):
            self.client(name.location).delete_batch_prediction_job(
                name=str(name), retry=None, timeout=REQUEST_SECONDS
            )

    def count_tokens(
        self, *, location: str, model: str, request: Mapping[str, Any], project_id: str | None = None
    ) -> int:
        """Return the tokens that the model reads of *request*. It is answered by nobody and costs nothing.

        :param model: a publisher's model, ``publishers/google/models/…``.
        :param request: a request for an answer or a vector.
        :param project_id: by default the connection's.
        :raises ServiceError: they cannot be counted, for whatever reason.
        """
        with counting(model):
            endpoint, session = self._direct.session(location)
            parent = _parent(project_id or self.project_id, location)
            url = f"{endpoint}/v1/{parent}/{names.model_path(model)}:countTokens"
            answer = again(COUNT_SECONDS)(partial(posted, session, url, countable(request)))()
            return int(answer["totalTokens"])

    def generate_content(
        self,
        *,
        project_id: str,
        location: str,
        model: str,
        request: Mapping[str, Any],
        patience: float = 60.0,
        wanted: Callable[[], bool] = lambda: True,
    ) -> dict[str, Any]:
        """Ask for one answer at once, at the standard price, and return the response. Safe from several threads.

        It is sent again only where nothing can have been billed: refused for want of quota (429), or never connected.

        :param model: a model id, or a model's path.
        :param patience: seconds for which such a call is tried again.
        :param wanted: asked before it is.
        :raises RequestRefusedError: Vertex AI refused it (4xx): nothing was billed.
        :raises ServiceError: 429 until the end, no connection, or no token: nothing was billed.
        :raises PaymentUnknownError: anything else: an answer may have been billed.
        """
        parent, path = _parent(project_id, location), model_path(model)
        name = path if path.startswith("projects/") else f"{parent}/{path}"
        return self._direct.ask(location, f"/v1/{name}:generateContent", request, patience, wanted)

    def client(self, location: str) -> JobServiceClient:
        """Return the client that talks to *location*'s host."""
        return self._clients.of(location)

    def close(self) -> None:
        """Close the connections that the synchronous methods opened; the next call opens new ones."""
        self._clients.close()
        self._direct.close()

    @classmethod
    def shared(
        cls, *, gcp_conn_id: str, impersonation_chain: str | Sequence[str] | None = None
    ) -> AbstractAsyncContextManager[Self]:
        """Lend the one hook that everybody on this event loop shares for a connection.

        Its HTTP session is opened by the first and closed by the last who borrows it, so a changed connection is
        read anew once nobody waits any more.
        """
        chain = tuple(impersonation_chain) if isinstance(impersonation_chain, list) else impersonation_chain
        opened = partial(cls, gcp_conn_id=gcp_conn_id, impersonation_chain=impersonation_chain)
        return lend((cls, gcp_conn_id, chain), opened)

    async def aget(self, job_name: str) -> Job:
        """Look at a job once; 403 and 404 raise :class:`JobLostError`."""
        name = JobName.parse(job_name)
        with translated(f"Looking at {name}", job_name=str(name)):
            client = await self.aclient(name.location)
            answer = await client.get_batch_prediction_job(
                name=str(name), retry=None, timeout=REQUEST_SECONDS
            )
            return to_job(answer)

    async def alist(self, *, project_id: str, location: str, filter: str = "") -> tuple[Job, ...]:  # noqa: A002  # Google's word
        """Return all jobs that *filter* lets through, of every page."""
        pages = self.apages(project_id=project_id, location=location, filter=filter)
        return tuple([job async for page in pages for job in page])

    async def apages(
        self,
        *,
        project_id: str,
        location: str,
        filter: str = "",  # noqa: A002  # Google's word
        read_mask: Sequence[str] = (),
    ) -> AsyncIterator[tuple[Job, ...]]:
        """Yield the jobs that *filter* lets through page by page.

        :param read_mask: the fields to read, in snake_case; others stay empty. All by default.
        """
        request = {
            "parent": _parent(project_id, location),
            "filter": filter,
            "page_size": _PAGE,
            "read_mask": {"paths": list(read_mask)} if read_mask else None,
        }
        with translated(f"Listing the jobs of {request['parent']}"):
            client = await self.aclient(location)
            pager = await client.list_batch_prediction_jobs(
                request=request, retry=None, timeout=REQUEST_SECONDS
            )
            async for page in pager.pages:
                yield tuple(to_job(job) for job in page.batch_prediction_jobs)

    async def acancel(self, job_name: str) -> CancelAnswer:
        """Ask Vertex AI to cancel a job, as :meth:`cancel` does."""
        name = JobName.parse(job_name)
        try:
            with translated(f"Cancelling {name}"):
                client = await self.aclient(name.location)
                await client.cancel_batch_prediction_job(name=str(name), retry=None, timeout=REQUEST_SECONDS)
        except ServiceError as error:
            return _cancel_answer(error)
        return "asked"

    def looks(self, job_name: str) -> SharedLooks:
        """Return the looks shared by all who wait for jobs of that job's project and location."""
        name = JobName.parse(job_name)
        if name.parent not in self._looks:
            self._looks[name.parent] = SharedLooks(self, project_id=name.project, location=name.location)
        return self._looks[name.parent]

    async def aclient(self, location: str) -> JobServiceAsyncClient:
        """Return the asynchronous client that talks to *location*'s host."""
        return await self._async_clients.of(location)

    async def aclose(self) -> None:
        """Close the HTTP sessions that the asynchronous methods opened."""
        await self._async_clients.close()

    def _place(self, location: str) -> tuple[str, Any]:
        """Return a location's endpoint, and the credentials that may be sent there."""
        host = vertex_host(checked_location(location))
        override = checked_override(self, "VERTEX_AI_EMULATOR_HOST")
        with translated("Reading the connection's credentials"):
            credentials = fitting_credentials(self.get_credentials(), override)
        return override or f"https://{host}", credentials


def _parent(project: str, location: str) -> str:
    return f"projects/{checked_project(project)}/locations/{checked_location(location)}"


def _cancel_answer(error: ServiceError) -> CancelAnswer:
    """400 is FAILED_PRECONDITION: the job has ended. 404: it was deleted. Anything else is an error."""
    if error.http_status == 400:
        return "ended"
    if error.http_status == 404:
        return "gone"
    raise error
