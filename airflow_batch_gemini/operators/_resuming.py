"""Which jobs of the first round ended early and left an output that another job can go on with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_batch_gemini.batch.job import Job
from airflow_batch_gemini.batch.layout import Workspace
from airflow_batch_gemini.batch.loading import prediction_files
from airflow_batch_gemini.batch.manifest import Part
from airflow_batch_gemini.batch.names import GcsUri, TableName
from airflow_batch_gemini.batch.repair import Action
from airflow_batch_gemini.batch.report import Report
from airflow_batch_gemini.batch.resuming import Lost, Resumed, Stored, why_not
from airflow_batch_gemini.exceptions import JobLostError
from airflow_batch_gemini.sql import repair as statements

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

    from airflow_batch_gemini.batch.allowance import Allowance
    from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
    from airflow_batch_gemini.hooks.warehouse import WarehouseHook
    from airflow_batch_gemini.hooks.workspace import WorkspaceHook
    from airflow_batch_gemini.operators._repairing import RepairPlan

_TOO_MANY = "max_rows= or max_cost_usd= allows less than all that it would run"


@dataclass(frozen=True, kw_only=True)
class DeadJob:
    """A job that another one is to go on with."""

    part: Part
    """What it was asked: a part of the first round."""
    resumed: Resumed


@dataclass(frozen=True, kw_only=True)
class DeadJobs:
    """Finds them. Whatever keeps a job from being resumed, its rows are sent as without that, and the log says so."""

    plan: RepairPlan
    hook: WorkspaceHook
    warehouse: WarehouseHook
    vertex: GeminiBatchHook
    log: Logger

    def take(self, allowance: Allowance) -> tuple[tuple[DeadJob, ...], Allowance]:
        """Return the jobs that may be resumed, and what may be sent beside what they run."""
        found = {job.name: (part, job) for part, job in self._cut_short()}
        lost, taken = self._lost(list(found)), list[DeadJob]()
        for part, job in found.values():
            rows, outputs = lost.get(job.name, Lost()), self._outputs(job)
            why = rows.why_not or self._why_not(job, outputs)
            less = None if why else allowance.without(rows.rows, self._same)
            if less is None:
                self.log.info("%s (%s) is not resumed: %s.", job.name, job.state, why or _TOO_MANY)
                continue
            self.log.info("Resuming %s (%s) for %s rows.", job.name, job.state, f"{rows.rows:,}")
            taken.append(DeadJob(part=part, resumed=_resumed(part, job, outputs)))
            allowance = less
        return tuple(taken), allowance

    @property
    def _same(self) -> int:
        """The place of the treatment that a resumed job amounts to."""
        return [treatment.action for treatment in self.plan.treatments].index(Action.SAME)

    def _cut_short(self) -> Iterator[tuple[Part, Job]]:
        """Yield the jobs of the first round that ended before all rows were run, with their parts."""
        for part, name in zip(self.plan.root.parts, self.plan.job_names, strict=True):
            try:
                job = self.vertex.get(name) if name else None
            except JobLostError as error:
                self.log.info("%s", error)
                continue
            if job is not None and job.rule.cut_short:
                yield part, job

    def _lost(self, names: list[str]) -> dict[str, Lost]:
        """Return what a job would run that goes on with each."""
        plan = self.plan
        if not names:
            return {}
        since = any(row["row_count"] for row in self._rows(statements.asked_since(plan.loaded)))
        sql = statements.lost_rows(plan.loaded, names, plan.policy, plan.treatments)
        return {
            str(row["job_name"]): Lost(
                rows=int(row["row_count"]),
                sent_again=int(row["sent_again"]),
                mismatched=int(row["mismatched"]),
                asked_since=since,
            )
            for row in self._rows(sql)
        }

    def _rows(self, sql: str) -> Iterator[dict[str, Any]]:
        return self.warehouse.query_rows(sql, project=self.plan.project, location="")

    def _outputs(self, job: Job) -> list[tuple[Stored, int]]:
        """Return what a job wrote, with the bytes that a job which reads it has to bear."""
        if not job.output_uri or not job.rule.has_output:
            return []
        if job.output_uri.startswith("bq://"):
            table = TableName.parse(job.output_uri)
            return [(Stored(uri=table.uri), 0)] if self.warehouse.table_info(table) else []
        infos = {info.uri: info for info in self.hook.list(GcsUri.parse(job.output_uri)) if info.size}
        return [
            (Stored(uri=name, checksum=infos[name].crc32c), infos[name].size)
            for name in prediction_files(infos)
        ]

    def _why_not(self, job: Job, outputs: list[tuple[Stored, int]]) -> str | None:
        return why_not(readable=self._readable(job, outputs), sizes=[size for _, size in outputs])

    def _readable(self, job: Job, outputs: list[tuple[Stored, int]]) -> bool:
        """Whether every line was read by the load, once, and stays a line when files are put together."""
        stored = self.hook.read(Workspace(GcsUri.parse(self.plan.root.workspace)).report)
        if stored is None or not Report.tells_of_whole_output(stored.data, job.name):
            return False
        return len(outputs) == 1 or all(self._ends_in_a_line_feed(one.uri, size) for one, size in outputs)

    def _ends_in_a_line_feed(self, uri: str, size: int) -> bool:
        with self.hook.reader(GcsUri.parse(uri), chunk_bytes=1) as stream:
            stream.seek(size - 1)
            return stream.read(1) == b"\n"


def _resumed(part: Part, job: Job, outputs: list[tuple[Stored, int]]) -> Resumed:
    return Resumed(
        job_name=job.name,
        ended=job.end_time,
        requests=Stored(uri=part.uri, checksum=part.checksum),
        outputs=tuple(stored for stored, _ in outputs),
    )
