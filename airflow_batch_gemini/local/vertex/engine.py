"""The engine: moves jobs from state to state in a few background threads."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Iterable
from concurrent.futures import CancelledError
from dataclasses import replace
from operator import attrgetter
from typing import Any

from airflow_batch_gemini.local.vertex.book import Book
from airflow_batch_gemini.local.vertex.intake import InterruptedImportError
from airflow_batch_gemini.local.vertex.pace import Pace
from airflow_batch_gemini.local.vertex.places import JobFailedError
from airflow_batch_gemini.local.vertex.records import (
    CANCELLING,
    EXPIRED,
    FAILED,
    PARTIALLY_SUCCEEDED,
    PENDING,
    RUNNING,
    SUCCEEDED,
    Job,
)
from airflow_batch_gemini.local.vertex.schedule import Schedule
from airflow_batch_gemini.local.vertex.work import Bench, Work

log = logging.getLogger(__name__)

THREADS = 2
PATIENCE_SECONDS = 2.0
"""How long a look waits for what it has set off, so that few looks end a small job."""
FINISH_SECONDS = 60.0


class Engine:
    """All jobs, in memory and in the book. Each job is stepped by one thread at a time."""

    def __init__(self, bench: Bench, book: Book) -> None:
        self._bench = bench
        self._book = book
        self._jobs = {job.id: job for job in book.load()}
        self._looks = dict.fromkeys(self._jobs, 0)
        self._works: dict[str, Work] = {}
        self._hurried: set[str] = set()
        self._schedule = Schedule()
        self._lock = self._schedule.lock
        self._threads = [
            threading.Thread(target=self._run, name=f"vertex-{n}", daemon=True) for n in range(THREADS)
        ]

    def start(self) -> None:
        """Start the threads; jobs that a stop or a kill interrupted go on."""
        self._bench.board.when_turned(self._stir)
        self._stir()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads after the slice they are at."""
        self._schedule.stop()
        for thread in self._threads:
            thread.join()

    def jobs(self) -> list[Job]:
        """Return all jobs, newest first."""
        with self._lock:
            return sorted(self._jobs.values(), key=attrgetter("sequence"), reverse=True)

    def get(self, job_id: str) -> Job | None:
        """Return one job as it is now."""
        return self._jobs.get(job_id)

    def add(self, job: Job) -> None:
        """Take a job on; it is in the book when this returns."""
        self._book.save(job)
        with self._lock:
            self._jobs[job.id] = job
            self._looks[job.id] = 0
            self._schedule.add(job.id)

    def forget(self, job_id: str) -> None:
        """Forget a job that has ended."""
        with self._lock:
            self._jobs.pop(job_id, None)
            self._looks.pop(job_id, None)
        self._book.delete(job_id)

    def cancel(self, job_id: str) -> bool:
        """Ask for the end of a job; False when it has ended already."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None or job.ended_for_good:
                return False
            if job.state != CANCELLING:
                self._change(job, state=CANCELLING)
                self._looks[job_id] = 0
            self._schedule.add(job_id)
            return True

    def finish(self, job_id: str) -> None:
        """Let a job go on to its end at once, whatever the pace."""
        self._hurried.add(job_id)
        self._schedule.add(job_id)
        self._schedule.wait_for([job_id], FINISH_SECONDS)

    def look(self, job_ids: Iterable[str]) -> None:
        """Count a look at each job and, at the paces that go by looks or at once, wait for what it sets off."""
        if Pace.parse(self._bench.board.now.pace).kind == "seconds":
            return
        with self._lock:
            seen = [
                job_id for job_id in job_ids if job_id in self._jobs and not self._jobs[job_id].ended_for_good
            ]
            for job_id in seen:
                self._looks[job_id] += 1
                self._schedule.add(job_id)
        self._schedule.wait_for(seen, PATIENCE_SECONDS)

    def settle(self, timeout: float) -> bool:
        """Wait until no job can go on by itself; say whether that came about in time."""
        return self._schedule.wait_for_all(timeout)

    def _stir(self) -> None:
        with self._lock:
            for job in self._jobs.values():
                if not job.ended_for_good:
                    self._schedule.add(job.id)

    def _run(self) -> None:
        while (job_id := self._schedule.next()) is not None:
            try:
                wait = self._step(job_id)
            except (InterruptedImportError, CancelledError):
                wait = None  # the engine stops; the job goes on at the next start
            except JobFailedError as error:
                wait = self._fail(job_id, error.code, error.message)
            except Exception:
                log.exception("the local cloud failed at job %s", job_id)
                wait = self._fail(job_id, 13, "Internal error encountered; see the log of the local cloud.")
            with self._lock:
                if wait is not None and job_id in self._jobs:
                    self._schedule.add(job_id, wait=wait)
                self._schedule.done(job_id)

    def _step(self, job_id: str) -> float | None:
        """Move a job as far as it may go now; return when it wants to be stepped again."""
        job = self._jobs.get(job_id)
        if job is None or job.ended_for_good:
            return None
        pace = Pace.parse(self._bench.board.now.pace)
        elapsed = time.time() - job.stage_since
        hurried = job_id in self._hurried
        share = 1.0 if hurried else pace.share(looks=self._looks[job_id], elapsed=elapsed)
        if job.state == PENDING:
            step = self._step_pending(job, share)
        elif job.state == RUNNING:
            step = self._step_running(job, share)
        else:
            step = self._step_cancelling(job, share)
        return step if step is not None else self._later(job_id, pace)

    def _later(self, job_id: str, pace: Pace) -> float | None:
        job = self._jobs.get(job_id)  # an ended job may have been deleted by now
        if (
            job is None
            or job.ended_for_good
            or (job.state == PENDING and self._bench.board.now.stuck_pending)
        ):
            return None
        wait = pace.next_step(elapsed=time.time() - job.stage_since)
        return wait if wait is None else max(wait, 0.01)

    def _step_pending(self, job: Job, share: float) -> float | None:
        knobs = self._bench.board.now
        if share < 1 or knobs.stuck_pending:
            return None
        if knobs.expire:
            self._end(job, EXPIRED)
        else:
            self._move(job, RUNNING, started=time.time())
        return 0.0

    def _step_running(self, job: Job, share: float) -> float | None:
        """Answer the rows that are due; ``None`` when the rest has to wait."""
        work = self._work(job)
        job = self._jobs[job.id]
        knobs = self._bench.board.now
        limit = knobs.fail_after_rows or knobs.partial_after_rows or knobs.expire_after_rows or work.total
        allowed = min(limit, int(work.total * share))
        job = self._answered(job, work, allowed)
        if job.state != RUNNING or job.progress.done < allowed:
            return 0.0
        self._keep(job.id, work.export_increment(job))
        if limit < work.total and job.progress.done >= limit:
            work.export(job, early=True)
            if knobs.fail_after_rows:
                self._end(job, FAILED, error_code=13, error_message=f"The job failed after {limit} rows.")
            else:
                self._end(job, PARTIALLY_SUCCEEDED if knobs.partial_after_rows else EXPIRED)
        elif share >= 1:
            work.export(job)
            self._end(job, SUCCEEDED)
        return None

    def _step_cancelling(self, job: Job, share: float) -> float | None:
        """End a job that somebody cancelled: with the rows that are done, or, by the knob, with all of them."""
        if share < 1:
            return None
        outcome = f"JOB_STATE_{self._bench.board.now.cancel_outcome}"
        if outcome == SUCCEEDED or job.progress.done:
            work = self._work(job)
            job = self._jobs[job.id]
            if outcome == SUCCEEDED:
                job = self._answered(job, work, work.total)
                if job.progress.done < work.total:
                    return 0.0
            work.export(job, early=outcome != SUCCEEDED)
        if outcome == FAILED:
            self._end(
                job, FAILED, error_code=13, error_message="The job failed while it was being cancelled."
            )
        else:
            self._end(job, outcome)
        return None

    def _work(self, job: Job) -> Work:
        work = self._works.get(job.id)
        if work is None:
            work = self._works[job.id] = Work(job, self._bench, stop=lambda: self._schedule.stopping)
            with self._lock:
                current = self._jobs[job.id]
                self._change(
                    current, output=work.output, progress=replace(current.progress, total=work.total)
                )
        return work

    def _answered(self, job: Job, work: Work, until: int) -> Job:
        state = job.state
        progress = work.answer(
            job, until=until, stop=lambda: self._schedule.stopping or self._jobs[job.id].state != state
        )
        return self._keep(job.id, progress)

    def _keep(self, job_id: str, progress: Any) -> Job:
        with self._lock:
            job = self._jobs[job_id]
            return job if progress == job.progress else self._change(job, progress=progress)

    def _change(self, job: Job, **changes: Any) -> Job:
        """Write a change of a job's record; the lock is held."""
        now = time.time()
        if changes.get("state", job.state) != job.state:
            changes["stage_since"] = now
            self._looks[job.id] = min(self._looks[job.id], 1)
        changed = replace(job, updated=now, **changes)
        self._book.save(changed, before=job.progress)
        self._jobs[job.id] = changed
        return changed

    def _move(self, job: Job, state: str, **changes: Any) -> None:
        """Change the state, unless somebody else has changed it meanwhile."""
        with self._lock:
            current = self._jobs[job.id]
            if current.state == job.state:
                self._change(current, state=state, **changes)
            else:
                self._schedule.add(job.id)

    def _end(self, job: Job, state: str, **changes: Any) -> None:
        self._move(job, state, ended=time.time(), **changes)
        current = self._jobs.get(job.id)
        if current is None or current.ended_for_good:
            self._works.pop(job.id, None)
            self._hurried.discard(job.id)
            shutil.rmtree(self._bench.folder / job.id, ignore_errors=True)

    def _fail(self, job_id: str, code: int, message: str) -> float | None:
        job = self._jobs.get(job_id)
        if job is not None and not job.ended_for_good:
            self._end(job, FAILED, error_code=code, error_message=message)
        return None
