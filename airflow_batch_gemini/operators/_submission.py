"""One attempt to submit one part: look, ask :func:`next_step`, obey. All decisions are made there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from uuid import uuid4

from airflow_batch_gemini.batch import steps
from airflow_batch_gemini.batch.job import Job
from airflow_batch_gemini.batch.job_body import NONCE, belongs, part_filter
from airflow_batch_gemini.batch.ledger import Ledger
from airflow_batch_gemini.batch.manifest import Manifest
from airflow_batch_gemini.batch.purchase import adopted, intent, labels_of
from airflow_batch_gemini.batch.submission import Rules, Sight, next_step
from airflow_batch_gemini.exceptions import (
    GeminiBatchError,
    JobLostError,
    NothingPaidError,
    OwnershipLostError,
    PaymentUnknownError,
    ServiceError,
)

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

    from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
    from airflow_batch_gemini.hooks.ledger import LedgerStore
    from airflow_batch_gemini.operators._inputs import JobInputs
    from airflow_batch_gemini.operators._outputs import JobOutputs


@dataclass(kw_only=True)
class Submission:
    """What an attempt holds in its hands."""

    manifest: Manifest
    part: int
    rules: Rules
    store: LedgerStore
    vertex: GeminiBatchHook
    inputs: JobInputs
    outputs: JobOutputs
    display_name: str
    labels: Mapping[str, str]
    killed: Callable[[], bool]
    log: Logger
    _sight: Sight = field(default=Sight(ledger=None), init=False)

    def run(self) -> Job | steps.WaitFor:
        """Return the part's one job, or how long to wait before another attempt to find that out.

        :raises OwnershipLostError: a newer attempt has taken over.
        :raises PaymentUnknownError: a job may have been paid and ``on_ambiguous="fail"``.
        :raises SubmitRefusedError: Vertex AI refused the job; nothing was created.
        :raises ServiceError: a service could not be reached; with status 429 and a REFUSED ledger nothing was created.
        """
        self.store.read()
        self._see()
        while True:
            outcome = self._obey(next_step(self._sight, self.rules))
            if outcome is not None:
                return outcome

    @property
    def _ledger(self) -> Ledger:
        if self.store.ledger is None:
            raise OwnershipLostError(
                f"{self.store.uri} was deleted while this attempt worked with it. Nothing more was sent; "
                "a retry looks for jobs by their labels."
            )
        return self.store.ledger

    def _obey(self, step: steps.Step) -> Job | steps.WaitFor | None:
        match step:
            case steps.ListJobs():
                self._list()
            case steps.LookAt():
                self._sight = replace(self._sight, jobs=(self.vertex.get(step.job_name),))
            case steps.LookForAnswers():
                self._look_for_answers(step.job)
            case steps.WriteIntent():
                self._intend(step)
            case steps.Post():
                return self._post()
            case steps.Adopt():
                return self._adopt(step)
            case steps.Cancel():
                self._cancel(step.job, step.why)
                self._sight = replace(self._sight, jobs=None)
            case steps.Fence() | steps.DeleteInputs():
                self._fence(step)
            case steps.WaitFor():
                return step
            case steps.AskHuman() | steps.GiveWay():
                raise self._stop(step)
        return None

    def _see(self, *, armed: bool = False) -> None:
        """Begin anew from the ledger as it is: what was listed before a change of it proves nothing."""
        self._sight = Sight(
            ledger=self.store.ledger,
            written=self.store.written,
            armed=armed,
            cancelled=self._sight.cancelled,
            answered=self._sight.answered,
        )

    def _write(self, ledger: Ledger, *, arm: bool = False) -> bool:
        done = self.store.write(ledger)
        self._see(armed=arm and done)
        return done

    def _list(self) -> None:
        now = self.store.now()
        jobs = {
            job.name: job
            for job in self.vertex.list(
                project_id=self.manifest.project_id,
                location=self.manifest.location,
                filter=part_filter(self.manifest.batch_id, self.part),
            )
            if belongs(job, batch_id=self.manifest.batch_id, part=self.part)
        }
        known = self.store.ledger.job_name if self.store.ledger else None
        if known and known not in jobs:
            try:
                jobs[known] = self.vertex.get(known)
            except JobLostError as error:
                self.log.warning("%s", error)
        self._sight = replace(self._sight, jobs=tuple(jobs.values()), now=now)

    def _intend(self, step: steps.WriteIntent) -> None:
        nonce = uuid4().hex
        ledger = intent(
            self.manifest,
            self.part,
            epoch=step.epoch,
            since=step.since,
            nonce=nonce,
            owner=self.rules.owner,
            input_uri=self.inputs.copy(step.epoch, nonce),
            before=self.store.ledger,
        )
        if not self._write(ledger, arm=True):
            self.inputs.delete(ledger.input_uri)
            return
        for job in step.stale:
            self._cancel(job, "it answers requests that have changed since")

    def _cancel(self, job: Job, why: str) -> None:
        self.log.warning("Cancelling %s: %s.", job.name, why)
        self.vertex.cancel(job.name)
        self._sight = replace(self._sight, cancelled=self._sight.cancelled | {job.name})

    def _look_for_answers(self, job: Job) -> None:
        found = self.outputs.any_answer(job.output_uri)
        left = "something" if found else "nothing"
        self.log.info("%s (%s) told no counts; at %s lies %s.", job.name, job.state, job.output_uri, left)
        self._sight = replace(self._sight, answered={**self._sight.answered, job.name: found})

    def _post(self) -> Job | None:
        ledger = self._ledger
        if self.killed():
            self._withdraw(ledger)
            raise NothingPaidError("The task was told to stop before it posted. Nothing was created or paid.")
        self.log.info("Creating job %r from %s.", self.display_name, ledger.input_uri)
        try:
            job = self.vertex.create(
                project_id=self.manifest.project_id,
                location=self.manifest.location,
                display_name=self.display_name,
                model=self.manifest.model,
                source_uri=ledger.input_uri,
                destination_uri=ledger.destination_uri,
                labels=labels_of(self.manifest, self.part, ledger, self.labels),
            )
        except PaymentUnknownError as error:
            self.log.warning("%s", error)
            self._see()
            return None
        except (NothingPaidError, ServiceError):
            self._withdraw(ledger)
            raise
        self.log.info("Created %s.", job.name)
        return self._record(job, ledger)

    def _record(self, job: Job, ledger: Ledger) -> Job:
        submitted = ledger.submitted(
            owner=self.rules.owner, job_name=job.name, destination_uri=ledger.destination_uri
        )
        if not self._write(submitted):
            raise self._overtaken(job)
        if self.killed():
            raise GeminiBatchError(
                f"The task was told to stop. {job.name} was created, is in the ledger and runs on; a retry adopts it."
            )
        return job

    def _overtaken(self, job: Job) -> OwnershipLostError:
        """A newer attempt owns the ledger: cancel *job* unless it has adopted it or is still going to look for it."""
        now = self.store.ledger
        if now is None or now.job_name == job.name or now.state in {"FENCING", "FENCED"}:
            fate = "runs on for it"
        else:
            fate = f"is cancelled ({self.vertex.cancel(job.name)})"
        owner = now.owner if now else "nobody"
        return OwnershipLostError(f"Attempt {owner} has taken over this part. {job.name} {fate}.")

    def _withdraw(self, ledger: Ledger) -> None:
        """Write down that nothing was created; without that the next attempt finds it out the slow way."""
        try:
            self._write(ledger.refused())
        except ServiceError as error:
            self.log.warning("%s", error)

    def _fence(self, step: steps.Fence | steps.DeleteInputs) -> None:
        owner, fingerprint = self.rules.owner, self.rules.fingerprint
        if isinstance(step, steps.DeleteInputs):
            for uri in step.fences:
                self.inputs.delete(uri)
            self._write(self._ledger.fenced(owner=owner))
            return
        self.log.warning("Taking over from attempt %s, which left no job behind.", self._ledger.owner)
        nonce = uuid4().hex
        self._write(self._ledger.fencing(owner=owner, nonce=nonce, fingerprint=fingerprint, since=step.since))

    def _adopt(self, step: steps.Adopt) -> Job | None:
        job, ledger = step.job, self.store.ledger
        for uri in step.fences:
            self.inputs.delete(uri)
        if ledger is None or not self._stands_for(ledger, job):
            self.log.info("Adopting %s, which is %s.", job.name, job.state)
            taken = adopted(
                self.manifest, self.part, step, owner=self.rules.owner, nonce=uuid4().hex, before=ledger
            )
            if not self._write(taken):
                return None
        for spare in step.spare:
            self.log.error("%s was paid for beside %s for the same requests.", spare.name, job.name)
            self._cancel(spare, "one job is enough")
        return job

    def _stands_for(self, ledger: Ledger, job: Job) -> bool:
        owned = ledger.state == "LOADED" or (ledger.state == "SUBMITTED" and ledger.owner == self.rules.owner)
        return owned and ledger.job_name == job.name and ledger.fingerprint == self.rules.fingerprint

    def _stop(self, step: steps.AskHuman | steps.GiveWay) -> GeminiBatchError:
        ledger = self._ledger
        if isinstance(step, steps.GiveWay):
            return OwnershipLostError(
                f"Attempt {step.owner} of this part is newer and goes on with it; this one stops. Nothing was sent."
            )
        return PaymentUnknownError(
            f"An attempt to submit this part ended without a clear answer, and no job labelled {NONCE}={ledger.nonce} "
            'is listed. on_ambiguous="fail" leaves it to you: look in the console; then delete '
            f"{self.store.uri} to submit anew."
        )
