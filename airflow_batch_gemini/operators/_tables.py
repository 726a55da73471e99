"""The request tables of a batch: made, checked and cut by BigQuery, or dropped again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from airflow_batch_gemini.batch import lint
from airflow_batch_gemini.batch.layout import BatchTables
from airflow_batch_gemini.batch.lint import OnLint
from airflow_batch_gemini.batch.manifest import Aside, Part
from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.batch.parameters import job_parameters
from airflow_batch_gemini.batch.parts import Limits
from airflow_batch_gemini.batch.progress import counted, size
from airflow_batch_gemini.batch.ready import check_ready_columns
from airflow_batch_gemini.batch.request import WIRE_KEY_PREFIX, Template
from airflow_batch_gemini.batch.sampling import SampledLine
from airflow_batch_gemini.batch.template import check_columns
from airflow_batch_gemini.exceptions import GeminiBatchError, ServiceError, SourceError
from airflow_batch_gemini.sql import prepare as statements
from airflow_batch_gemini.sql import reuse as sifting
from airflow_batch_gemini.sql import rules as rejecting
from airflow_batch_gemini.sql import sampling
from airflow_batch_gemini.sql.clone import drop_table
from airflow_batch_gemini.sql.rules import TableRules

if TYPE_CHECKING:
    from types import TracebackType

    from airflow.sdk.types import Logger

    from airflow_batch_gemini.batch.landing import Column, JobOutcome
    from airflow_batch_gemini.hooks.warehouse import WarehouseHook
    from airflow_batch_gemini.operators._answered import Reuse

_MAX_STATEMENT_SECONDS = 6 * 3600.0
_PAUSES = (5.0, 10.0, 20.0)
"""Seconds before a statement is tried again that came too soon: BigQuery lets a table be replaced five times in ten
seconds, and the statements of a preparation take less where rows are few."""
_QUERY = "the query"
_NONE: Mapping[str, Any] = MappingProxyType({})


class RequestTables:
    """Runs the statements of one preparation; leaving the ``with`` block by an error drops every table it made.

    :param location: where the dataset lies.
    :param salt: of this attempt alone, so that a repeated preparation reads its source again, and that an attempt
        believed dead neither replaces nor drops the tables of the one that went on.
    """

    def __init__(
        self,
        hook: WarehouseHook,
        tables: BatchTables,
        *,
        project: str,
        location: str,
        salt: str,
        log: Logger,
        parameters: Mapping[str, Any] | None = None,
        on_lint: OnLint = "fail",
    ) -> None:
        self._hook = hook
        self._tables = tables
        self._project = project
        self._location = location
        self._salt = salt
        self._log = log
        self._parameters = job_parameters(parameters)
        self._on_lint = on_lint
        self._made: list[TableName] = []
        self.read: tuple[TableName, ...] = ()
        """Tables that the query turned out to read."""
        self.copies: Aside | None = None
        """Rows that get another row's answer."""
        self.rejected: Aside | None = None
        """Rows that were left out because they break a rule."""
        self.broken = Counter[str]()
        """Rules that rows were left out for: how often."""
        self.answered = 0
        """Rows left out because an earlier batch has their answer."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for table in self._made if kind is not None else []:
            try:
                self._run(drop_table(table))
            except GeminiBatchError as failed:
                self._log.warning("%s is left behind without a manifest: %s", table, failed)

    def make(
        self,
        sql: str,
        *,
        template: Template | None,
        key_column: str,
        limits: Limits,
        reuse: Reuse | None = None,
    ) -> tuple[Part, ...]:
        """Make the requests of every row of *sql*, check them, and return the parts.

        :param reuse: which requests to hold back; with all of them held back, or rejected, there are no parts.
        """
        whole = self._tables.requests(0, self._salt)
        columns = self._columns(sql, whole)
        made = self._make(whole, _statement(sql, whole, template, key_column, columns), self._parameters)
        self.read = tuple(table for table in made.read if table != whole)
        largest = self._check(whole, template, limits)
        nothing_left = self.rejected is not None and not self._count(whole)
        if nothing_left or (reuse is not None and not self._hold_back(whole, reuse)):
            self._run(drop_table(whole))
            return ()
        return tuple(self._part(index) for index in self._cut(whole, limits, largest))

    def take(self, statement: Callable[[TableName], str], *, limits: Limits) -> tuple[Part, ...]:
        """Let *statement* make the requests out of others that were checked, and return the parts; none for no rows.

        :param statement: given the table that it is to make.
        """
        whole = self._tables.requests(0, self._salt)
        self._make(whole, statement(whole))
        [found] = self._rows(statements.totals(whole))
        if not found["row_count"]:
            self._run(drop_table(whole))
            return ()
        fits = found["row_count"] <= limits.rows and found["total_size"] <= limits.size
        largest = 0 if fits else int(found["largest"])
        return tuple(self._part(index) for index in self._cut(whole, limits, largest))

    def add(self, statement: Callable[[TableName], str], *, index: int) -> Part:
        """Let *statement* make one part more of requests that fitted into one before.

        :param statement: given the table that it is to make.
        """
        table = self._tables.requests(index, self._salt)
        self._make(table, statement(table))
        return self._part(index)

    def sample(self, parts: Sequence[Part]) -> tuple[SampledLine, ...]:
        """Return some requests, a few hundred at most, of parts that were made; the same ones every time."""
        chosen = sampling.chosen_parts(len(parts))
        rows = (
            (index, row)
            for index in chosen
            for row in self._rows(
                sampling.sample(self._tables.requests(index, self._salt), share=len(chosen))
            )
        )
        return tuple(
            SampledLine(part=part, row=number, line=f"{row['line']}\n".encode())
            for number, (part, row) in enumerate(rows)
        )

    def _columns(self, sql: str, table: TableName) -> tuple[Column, ...]:
        self._make(table, statements.create_probe(sql, table=table), self._parameters)
        info = self._hook.table_info(table)
        if info is None:
            raise ServiceError(f"{table} was made and is gone. Nothing was sent; a retry makes it anew.")
        return info.columns

    def _check(self, table: TableName, template: Template | None, limits: Limits) -> int:
        """Refuse a table with a bad row, or leave such rows out; return the size of the largest request that is left.

        Where all fit into one part that size is of no use, and 0.
        """
        found = self._totals(table)
        if not found["row_count"]:
            raise SourceError("The query has no rows. Nothing was sent.")
        rules = TableRules.of(
            None if template is None else template.segments,
            max_line_bytes=min(lint.MAX_LINE_BYTES, limits.size),
            strict=self._on_lint != "ignore",
        )
        if self._on_lint == "drop":
            self._reject(table, rules)
            found = self._totals(table)
        else:
            for bad in self._rows(rules.first_broken(table)):
                _refuse(**bad)
        if found["row_count"] <= limits.rows and found["total_size"] <= limits.size:
            return 0
        return int(found["largest"])

    def _totals(self, table: TableName) -> dict[str, Any]:
        [found] = self._rows(statements.totals(table))
        return found

    def _reject(self, table: TableName, rules: TableRules) -> None:
        """Take the rows that break a rule out of *table*, and write them down."""
        self._make(table, rules.mark(table))
        for found in self._rows(rejecting.broken_rules(table)):
            self.broken[found["rule"]] = int(found["row_count"])
        if self.broken:
            rejected = self._tables.rejected(self._salt)
            self._make(rejected, rejecting.create_rejected(rejected, table=table, rules=tuple(self.broken)))
            self.rejected = self._aside(rejected, self.broken.total(), ("key", "rule", "message"))
        self._make(table, rejecting.leave_out_broken(table))

    def _hold_back(self, table: TableName, reuse: Reuse) -> int:
        """Take out of *table* what need not be sent, and return how many requests are left."""
        self._make(table, sifting.mark(table, model=reuse.model))
        rows = self._count(table)
        if reuse.results is not None:
            self._make(
                table, sifting.leave_out_answered(table, results=reuse.results, batch_id=reuse.batch_id)
            )
        left = self._count(table)
        self.answered = rows - left
        if reuse.dedupe:
            copies = self._tables.copies(self._salt)
            self._make(copies, sifting.create_copies(copies, table=table))
            if (copied := self._count(copies)) > 0:
                self.copies = self._aside(copies, copied, ("key", "fingerprint"))
                self._make(table, sifting.leave_out_copies(table))
            else:
                self._run(drop_table(copies))
        return left

    def _aside(self, table: TableName, rows: int, columns: Sequence[str]) -> Aside:
        [found] = self._rows(sifting.checksum(table, columns))
        return Aside(table.uri, rows, str(found["checksum"]))

    def _count(self, table: TableName) -> int:
        [found] = self._rows(sifting.count(table))
        return int(found["row_count"])

    def _cut(self, whole: TableName, limits: Limits, largest: int) -> range:
        """Cut the requests into parts where they are too many for one; the first part is cut last, out of itself."""
        if not largest:
            return range(1)
        [found] = self._rows(statements.last_part(whole, limits=limits, largest=largest))
        parts = range(int(found["last_part"]) + 1)
        for index in reversed(parts):
            target = self._tables.requests(index, self._salt)
            self._make(
                target,
                statements.create_part(target, source=whole, part=index, limits=limits, largest=largest),
            )
        return parts

    def _part(self, index: int) -> Part:
        table = self._tables.requests(index, self._salt)
        [found] = self._rows(statements.checksum(table))
        rows = counted(int(found["row_count"]), "request")
        self._log.info("Part %d: %s, %s.", index, rows, size(found["total_size"]))
        return Part(
            index=index,
            uri=table.uri,
            rows=int(found["row_count"]),
            size=int(found["total_size"]),
            checksum=str(found["checksum"]),
        )

    def _make(self, table: TableName, statement: str, parameters: Mapping[str, Any] = _NONE) -> JobOutcome:
        if table not in self._made:
            self._made.append(table)
        return self._run(statement, parameters)

    def _run(self, statement: str, parameters: Mapping[str, Any] = _NONE) -> JobOutcome:
        for pause in (*_PAUSES, None):
            job = self._hook.ensure_job(
                configuration={"query": {"query": statement, "useLegacySql": False, **parameters}},
                purpose="prepare",
                salt=self._salt,
                project=self._project,
                location=self._location,
                failure=SourceError,
            )
            outcome = self._hook.until_done(job, timeout=_MAX_STATEMENT_SECONDS, failure=ServiceError)
            if not outcome.failed:
                return outcome
            if pause is None or not outcome.limited:
                break
            self._log.info("%s Trying again in %.0f s.", outcome.sentence(job), pause)
            time.sleep(pause)  # BigQuery tells nobody when there is room again
        failure = ServiceError if outcome.transient else SourceError
        raise failure(f"{outcome.sentence(job)} Nothing was sent.")

    def _rows(self, sql: str) -> Iterator[dict[str, Any]]:
        return self._hook.query_rows(sql, project=self._project, location=self._location)


def _statement(
    sql: str, table: TableName, template: Template | None, key_column: str, columns: Sequence[Column]
) -> str:
    """Return what makes the requests, once the columns of *sql* are known to suit."""
    names = [column.name for column in columns]
    check_columns(
        template.segments if template else (), key_column=key_column, available=names, source=_QUERY
    )
    if template is not None:
        return statements.create_requests(
            sql, table=table, template=template, key_column=key_column, columns=columns
        )
    check_ready_columns(names, _QUERY)
    return statements.create_ready_made(sql, table=table, key_column=key_column, columns=columns)


def _refuse(*, key: str | None, rule: str, path: str | None, row_count: int) -> NoReturn:
    """Raise for the first row that breaks a rule."""
    name = (key or "").removeprefix(WIRE_KEY_PREFIX)
    if rule == "GB133":
        raise SourceError(
            f"The request of the row with key {name[:100]!r} is no JSON object that BigQuery can read. Nothing was "
            "sent; correct the query."
        )
    more = f"{row_count:,} rows have it" if rule == "GB122" else f"{row_count:,} rows"
    lint.refuse_row(rule, row=_QUERY, key=name or None, path=path or "", detail=more if row_count > 1 else "")
