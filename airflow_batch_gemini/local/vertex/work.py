"""The work of one job: its rows answered in shuffled order into a spool, which export then copies out.

A slice of work ends with one transaction that says how far the spool is and what is billed. After a kill the
spool is cut back to that, and the work goes on behind it: no row is answered into the output twice, none is
billed twice.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from airflow_batch_gemini.local.bigquery import Warehouse
from airflow_batch_gemini.local.dice import shuffled
from airflow_batch_gemini.local.knobs import KnobBoard
from airflow_batch_gemini.local.storage.store import Storage
from airflow_batch_gemini.local.vertex.answers import Source
from airflow_batch_gemini.local.vertex.export import choose_output, export, export_increment
from airflow_batch_gemini.local.vertex.intake import Intake, take_in
from airflow_batch_gemini.local.vertex.media import reader
from airflow_batch_gemini.local.vertex.records import Job, Progress
from airflow_batch_gemini.local.vertex.rows import Desk, ReadLine, RowResult, answer_row, unfinished_line
from airflow_batch_gemini.local.vertex.spoiling import Spoiler

SLICE_SECONDS = 0.25
_CHUNK = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What the work of every job is done with.

    :param pool: answers rows side by side when their source waits for another server; None in this process.
    """

    folder: Path
    storage: Storage
    warehouse: Warehouse
    board: KnobBoard
    seed: int
    sources: dict[str, Source]
    pool: ThreadPoolExecutor

    def source(self) -> Source:
        """Return where answers come from now."""
        return self.sources[self.board.now.answers]


class Work:
    """The input of one running job and what has been answered of it."""

    def __init__(self, job: Job, bench: Bench, *, stop: Callable[[], bool]) -> None:
        """Take the input in.

        :raises JobFailedError: the import failed.
        :raises InterruptedImportError: ``stop`` said so.
        """
        self._bench = bench
        self._folder = bench.folder / job.id
        self._folder.mkdir(parents=True, exist_ok=True)
        self.output = job.output or choose_output(
            job, now=time.time(), storage=bench.storage, warehouse=bench.warehouse
        )
        self._intake: Intake = take_in(
            job,
            self._folder,
            storage=bench.storage,
            warehouse=bench.warehouse,
            knobs=bench.board.now,
            stop=stop,
        )
        self._order: array[int] = shuffled(len(self._intake), bench.seed, job.id)
        self._spool = self._folder / "answered.jsonl"
        self._cut_back(job)

    @property
    def total(self) -> int:
        """Return the number of rows."""
        return len(self._intake)

    def answer(self, job: Job, *, until: int, stop: Callable[[], bool]) -> Progress:
        """Answer rows until so many are done, a slice of time is over, or ``stop`` says so."""
        progress = replace(job.progress, total=self.total)
        deadline = time.monotonic() + SLICE_SECONDS
        with self._intake.reader() as read, self._spool.open("ab") as spool:
            answer = self._answerer(job, read)
            while progress.done < until and time.monotonic() < deadline and not stop():
                rows = self._order[progress.done : min(until, progress.done + _CHUNK)]
                results = list(answer(rows))
                spool.writelines(result.lines for result in results)
                progress = _counted(progress, results)
        return progress

    def _answerer(self, job: Job, read: ReadLine) -> Callable[[Iterable[int]], Iterator[RowResult]]:
        one = partial(answer_row, self._desk(job), read=read)
        if self._bench.board.now.answers == "openai":
            return partial(self._bench.pool.map, one)
        return partial(map, one)

    def _desk(self, job: Job) -> Desk:
        return Desk(
            job=job.id,
            model=job.model_id,
            embeds="embedding" in job.model_id,
            seed=self._bench.seed,
            knobs=self._bench.board.now,
            source=self._bench.source(),
            siblings=self._intake.siblings,
            normalise=self._intake.columns is None,
            rows=self.total,
            read=reader(self._bench.storage),
        )

    def export(self, job: Job, *, early: bool = False) -> None:
        """Write what is answered to the job's output.

        :param early: the job ends before all rows are answered.
        """
        bench = self._bench
        if early and bench.board.now.unfinished_lines:
            self._add_unfinished(job)
        export(
            job,
            self._spool,
            self._intake,
            storage=bench.storage,
            warehouse=bench.warehouse,
            shards=bench.board.now.output_shards,
            spoiler=Spoiler(bench.board.now, bench.seed, job.id),
        )
        self._cut_back(job)

    def _add_unfinished(self, job: Job) -> None:
        """Put the rows that were not come to behind the others, until :meth:`_cut_back`."""
        desk = self._desk(job)
        with self._intake.reader() as read, self._spool.open("ab") as spool:
            spool.writelines(unfinished_line(desk, row, read) for row in self._order[job.progress.done :])

    def _cut_back(self, job: Job) -> None:
        """Let the spool hold what is answered and nothing else: a job may go on after all."""
        with self._spool.open("ab") as spool:
            spool.truncate(job.progress.spooled)

    def export_increment(self, job: Job) -> Progress:
        """Write what is newly answered, when the knob asks for it and the output is a folder."""
        progress = job.progress
        wanted = self._bench.board.now.continuous_export and job.destination.kind == "gcs"
        if not wanted or progress.spooled <= progress.exported:
            return progress
        export_increment(job, self._spool, storage=self._bench.storage)
        return replace(progress, exported=progress.spooled, exports=progress.exports + 1)


def _counted(progress: Progress, results: list[RowResult]) -> Progress:
    tokens = progress.tokens
    for result in results:
        tokens += result.tokens
    return replace(
        progress,
        done=progress.done + len(results),
        succeeded=progress.succeeded + sum(result.outcome == "succeeded" for result in results),
        failed=progress.failed + sum(result.outcome == "failed" for result in results),
        billed=progress.billed + sum(result.billed for result in results),
        spooled=progress.spooled + sum(len(result.lines) for result in results),
        tokens=tokens,
    )
