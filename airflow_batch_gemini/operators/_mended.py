"""The requests of a repair: written to files, or made by BigQuery, where those of the first round lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

from airflow_batch_gemini.batch.allowance import Allowance
from airflow_batch_gemini.batch.layout import BatchTables
from airflow_batch_gemini.batch.manifest import Aside, Manifest, Part
from airflow_batch_gemini.batch.mending import Mending
from airflow_batch_gemini.batch.names import GcsUri, TableName
from airflow_batch_gemini.batch.parts import Limits
from airflow_batch_gemini.batch.repair import Action, Treatment
from airflow_batch_gemini.batch.reuse import RowSet, key_number
from airflow_batch_gemini.batch.row_files import jsonl_batches
from airflow_batch_gemini.batch.rows import RowBatch
from airflow_batch_gemini.exceptions import SourceError
from airflow_batch_gemini.operators._files import RequestFiles
from airflow_batch_gemini.operators._place import check_place
from airflow_batch_gemini.operators._tables import RequestTables
from airflow_batch_gemini.sql import repair as statements

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

    from airflow_batch_gemini.hooks.warehouse import WarehouseHook
    from airflow_batch_gemini.hooks.workspace import WorkspaceHook
    from airflow_batch_gemini.operators._repairing import RepairPlan
    from airflow_batch_gemini.operators._resuming import DeadJob

_SAME = Treatment(action=Action.SAME)
_KEYS_PER_PAGE = 10_000


@dataclass(frozen=True, kw_only=True)
class Mender:
    """Makes the round's batch; its manifest comes last, as that of every batch."""

    plan: RepairPlan
    allowance: Allowance
    """What may be sent beside what resumed jobs run."""
    resumed: tuple[DeadJob, ...] = ()
    """Jobs that others go on with: one part of the round for each, the last ones."""
    hook: WorkspaceHook
    warehouse: WarehouseHook
    created_at: str
    log: Logger

    def mend(self) -> Manifest | None:
        """Return the batch; ``None`` when no row deserves another try."""
        return self._in_bigquery() if self.plan.root.requests == "bigquery" else self._on_storage()

    def _on_storage(self) -> Manifest | None:
        """Pick the rows out of the request files of the first round; of the tables only their keys come here."""
        plan, chosen, lost = self.plan, self._chosen(), self._lost()
        if not chosen and not lost:
            return None
        mending = Mending(plan.treatments, chosen, self.allowance)
        resuming = Mending([_SAME], {0: lost}, Allowance())
        plan.keeper.start_over()
        with RequestFiles(self.hook, plan.places, self.log) as files:
            parts = files.write(self._lines(), renderer=mending, limits=Limits()) if chosen else ()
            for dead in self.resumed:
                all_of_it = Limits(rows=dead.part.rows, most_rows=dead.part.rows)
                *_, part = files.write(self._of_part(dead.part), renderer=resuming, limits=all_of_it)
                parts = (*parts, replace(part, resumes=dead.resumed))
            if mending.given_up:
                self.log.info("Given up: %s rows that ask for all there is.", f"{mending.given_up:,}")
            if mending.left:
                self.log.warning(
                    "Left as they are: %s rows beyond max_rows= or max_cost_usd=.", f"{mending.left:,}"
                )
            if not parts:
                return None
            sent = [f"{rows:,} {action}" for action, rows in mending.sent.items()]
            sent += [f"{rows:,} by resumed jobs" for rows in resuming.sent.values()]
            self.log.info("To be sent: %s.", ", ".join(sent))
            files.verify()
            return self._keep(parts=parts, copies=self._copies(mending, resuming))

    def _chosen(self) -> dict[int, RowSet]:
        plan, chosen = self.plan, dict[int, RowSet]()
        sql = statements.deserving(plan.loaded, plan.policy, plan.treatments, resumed=self._job_names)
        for row in self.warehouse.query_rows(
            sql, project=plan.project, location="", page_size=_KEYS_PER_PAGE
        ):
            chosen.setdefault(int(row["treatment"]), RowSet()).add(key_number(row["key"]))
        return chosen

    @property
    def _job_names(self) -> list[str]:
        return [dead.resumed.job_name for dead in self.resumed]

    def _lost(self) -> RowSet:
        """Return the rows that resumed jobs run."""
        lost = RowSet()
        if self.resumed:
            sql = statements.lost_keys(self.plan.loaded, self._job_names)
            for row in self.warehouse.query_rows(
                sql, project=self.plan.project, location="", page_size=_KEYS_PER_PAGE
            ):
                lost.add(key_number(row["key"]))
        return lost

    def _lines(self) -> Iterator[RowBatch]:
        for part in self.plan.root.parts:
            yield from self._of_part(part)

    def _of_part(self, part: Part) -> Iterator[RowBatch]:
        yield from self._read(Aside(part.uri, part.rows, part.checksum))

    def _read(self, file: Aside) -> Iterator[RowBatch]:
        """Read a file of the first round, if it is the one that was prepared."""
        uri = GcsUri.parse(file.uri)
        info = self.hook.stat(uri)
        if info is None or info.crc32c != file.checksum:
            raise SourceError(
                f"{uri} is {'gone' if info is None else 'not what was prepared'}, so nobody can say what these rows "
                "asked. Nothing was sent; put the file back, or clear prepare."
            )
        with self.hook.reader(uri) as stream:
            yield from jsonl_batches(stream, source=file.uri, keep_lines=True)

    def _copies(self, *mendings: Mending) -> Aside | None:
        """Return the copies of the first round with the number of those whose request is sent again."""
        copies = self.plan.root.copies
        if copies is None:
            return None
        marks = (str(row["fingerprint"]) for batch in self._read(copies) for row in batch.rows)
        rows = sum(any(mending.sends(mark) for mending in mendings) for mark in marks)
        return replace(copies, rows=rows) if rows else None

    def _in_bigquery(self) -> Manifest | None:
        """Let BigQuery pick the rows out of the request tables of the first round, and change them."""
        plan = self.plan
        dataset = TableName.parse(plan.root.parts[0].uri).dataset_name
        location = check_place(self.warehouse, dataset, plan.root.location)
        plan.keeper.start_over()
        with RequestTables(
            self.warehouse,
            BatchTables(dataset, plan.identity.batch_id),
            project=plan.project,
            location=location,
            salt=uuid4().hex,
            log=self.log,
        ) as tables:
            parts = tables.take(self._statement, limits=Limits())
            for dead in self.resumed:
                part = tables.add(partial(self._resumed_statement, dead), index=len(parts))
                parts = (*parts, replace(part, resumes=dead.resumed))
            if not parts:
                return None
            return self._keep(parts=parts, copies=self._copies_in_tables(parts, location))

    def _statement(self, table: TableName) -> str:
        plan = self.plan
        return statements.create_repairs(
            table,
            plan.loaded,
            requests=[TableName.parse(part.uri) for part in plan.root.parts],
            fingerprinted=plan.root.fingerprinted,
            policy=plan.policy,
            treatments=plan.treatments,
            allowance=self.allowance,
            resumed=self._job_names,
        )

    def _resumed_statement(self, dead: DeadJob, table: TableName) -> str:
        return statements.create_resumed(
            table,
            self.plan.loaded,
            job_name=dead.resumed.job_name,
            requests=TableName.parse(dead.part.uri),
            fingerprinted=self.plan.root.fingerprinted,
        )

    def _copies_in_tables(self, parts: Sequence[Part], location: str) -> Aside | None:
        copies = self.plan.root.copies
        if copies is None:
            return None
        sql = statements.copies_of([TableName.parse(part.uri) for part in parts], TableName.parse(copies.uri))
        [found] = self.warehouse.query_rows(sql, project=self.plan.project, location=location)
        rows = int(found["row_count"])
        return replace(copies, rows=rows) if rows else None

    def _keep(self, **made: object) -> Manifest:
        manifest = self.plan.manifest(created_at=self.created_at, **made)
        self.plan.keeper.keep(manifest)
        return manifest
