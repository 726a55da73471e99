"""The one script that publishes a round of a batch to the results table and the errors table."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from airflow_batch_gemini.batch.landing import Column
from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.batch.repair import MAX_ROUNDS
from airflow_batch_gemini.sql.batches import BatchRow
from airflow_batch_gemini.sql.growing import item
from airflow_batch_gemini.sql.literal import identifier, string_literal
from airflow_batch_gemini.sql.results import ERRORS, RESULTS, SOURCE, TARGET, LoadedBatch, create

_KEY = ("batch_id", "key")
_LOADED_AT = "loaded_at"
SUPERSEDED = "a newer attempt has published this batch"
"""What BigQuery says of a publish that comes too late."""
UNACCOUNTED = "the rows of all rounds do not add up"
"""What BigQuery says of one after which a row would have two outcomes or none."""
_INCOMPARABLE = frozenset({"JSON", "STRUCT"})
"""Types that cannot be compared, and no list can; their texts can."""


@dataclass(frozen=True, kw_only=True)
class Publication:
    """One round of a batch, to be published where all its rounds meet."""

    batch: LoadedBatch
    rows: int
    """Of all rounds."""
    round: int = 0
    whole: bool = False
    """It has every row of the batch as all its rounds left it: what is there of the batch gives way, whatever round."""


def publish(
    publication: Publication,
    *,
    attempt: str,
    outcomes: TableName,
    published: TableName,
    columns: Sequence[Column] = (),
    found: Sequence[Column] = (),
    row: BatchRow | None = None,
) -> str:
    """Return the script that makes both tables say of this round what *outcomes* says, and that of batches, too.

    Of two outcomes of a row success wins, and of two successes or two errors the one of the later round: whichever
    round is loaded last, and however often, the tables end the same. The first round also takes away what is of an
    earlier preparation, or of an earlier load of its own. The script is atomic, and it touches only rows that differ:
    run again it changes nothing, ``loaded_at`` included.

    It fails with :data:`SUPERSEDED` once an attempt newer than *attempt* has published the round: what a stalled one
    knows is older. Every publish changes a row of *published*, so of two at a time BigQuery lets one through; the
    tables themselves would not do for that, since two publishes need not touch the same one. It fails with
    :data:`UNACCOUNTED` when not every row of the batch would have exactly one outcome, such as for a round whose first
    one was prepared anew since.

    :param columns: of the results table, beside those that every result has.
    :param found: what the results table has already; its STRUCTs keep their shape.
    :param row: what the table of batches is to say of this round; ``None``: there is no such table.
    """
    every = (*RESULTS, *columns)
    return "\n".join(
        [
            create(publication.batch.results, every),
            create(publication.batch.errors, ERRORS),
            *([row.create()] if row else []),
            _first_turn(published),
            "BEGIN TRANSACTION;",
            _take_turn(published, publication.round, string_literal(attempt)),
            # What a later round adds to must be there, of the same preparation, before it adds anything.
            *([_adds_up(publication)] if publication.round else []),
            _merge_results(publication, every, found, outcomes),
            _merge_errors(publication, outcomes),
            _adds_up(publication),
            *([row.merge(round=publication.round, batch=publication.batch)] if row else []),
            "COMMIT TRANSACTION;",
        ]
    )


def published_table(results: TableName, errors: TableName, batch_id: str) -> TableName:
    """Return the table that says which attempt published a round of a batch to *results* and *errors* last.

    It lies beside the results whatever else changes, so that all who publish there meet in it.
    """
    pair = hashlib.sha256(f"{results} {errors}".encode()).hexdigest()[:8]
    return results.dataset_name.table(f"gemini_published_{batch_id}_{pair}")


def _first_turn(published: TableName) -> str:
    return (
        f"CREATE TABLE IF NOT EXISTS {identifier(str(published))} AS\n"
        "SELECT round, '' AS attempt, CURRENT_TIMESTAMP() AS published_at\n"
        f"FROM UNNEST(GENERATE_ARRAY(0, {MAX_ROUNDS})) AS round;"
    )


def _take_turn(published: TableName, number: int, attempt: str) -> str:
    """Later attempts at a round have greater ids; the older one always gives way."""
    table = identifier(str(published))
    return f"""UPDATE {table}
SET attempt = {attempt}, published_at = CURRENT_TIMESTAMP()
WHERE round = {number} AND attempt <= {attempt};
SELECT IF(COUNT(*) = 1, 'mine', ERROR({string_literal(SUPERSEDED)})) AS turn
FROM {table}
WHERE round = {number} AND attempt = {attempt};"""


def _merge_results(
    publication: Publication, columns: Sequence[Column], found: Sequence[Column], outcomes: TableName
) -> str:
    items = ", ".join(item(column, found) for column in columns if column.name != _LOADED_AT)
    return f"""MERGE {identifier(str(publication.batch.results))} AS {TARGET}
USING (
  SELECT {items}, CURRENT_TIMESTAMP() AS {_LOADED_AT}
  FROM {identifier(str(outcomes))}
  WHERE outcome = 'succeeded'
) AS {SOURCE}
ON {TARGET}.batch_id = {SOURCE}.batch_id AND {TARGET}.key = {SOURCE}.key
WHEN MATCHED AND {_no_newer(publication)} AND (
    {_differs(columns)}
  ) THEN UPDATE SET
    {_changes(columns)}
WHEN NOT MATCHED BY TARGET THEN
  {_insert(columns)}{_leave_out_what_is_gone(publication)};"""


def _merge_errors(publication: Publication, outcomes: TableName) -> str:
    """What has succeeded, in whatever round, is no error any more."""
    names = ", ".join(f"outcomes.{identifier(column.name)}" for column in ERRORS if column.name != _LOADED_AT)
    return f"""MERGE {identifier(str(publication.batch.errors))} AS {TARGET}
USING (
  SELECT {names}, CURRENT_TIMESTAMP() AS {_LOADED_AT}, succeeded.key IS NOT NULL AS settled
  FROM {identifier(str(outcomes))} AS outcomes
  LEFT JOIN (
    SELECT key FROM {identifier(str(publication.batch.results))} WHERE {publication.batch.rows}
  ) AS succeeded ON succeeded.key = outcomes.key
) AS {SOURCE}
ON {TARGET}.batch_id = {SOURCE}.batch_id AND {TARGET}.key = {SOURCE}.key
WHEN MATCHED AND {SOURCE}.settled THEN DELETE
WHEN MATCHED AND {_no_newer(publication)} AND (
    {_differs(ERRORS)}
  ) THEN UPDATE SET
    {_changes(ERRORS)}
WHEN NOT MATCHED BY TARGET AND NOT {SOURCE}.settled THEN
  {_insert(ERRORS)}{_leave_out_what_is_gone(publication)};"""


def _adds_up(publication: Publication) -> str:
    counts = " + ".join(
        f"(SELECT COUNT(*) FROM {identifier(str(table))} WHERE {publication.batch.rows})"
        for table in (publication.batch.results, publication.batch.errors)
    )
    return (
        f"SELECT IF({counts} = {publication.rows}, 'all', ERROR({string_literal(UNACCOUNTED)})) AS accounted;"
    )


def _no_newer(publication: Publication) -> str:
    if publication.whole:
        return "TRUE"
    return f"(IFNULL({TARGET}.round, 0) <= {publication.round} OR {_of_another(publication)})"


def _of_another(publication: Publication) -> str:
    return f"{TARGET}.batch_fingerprint IS DISTINCT FROM {string_literal(publication.batch.fingerprint)}"


def _leave_out_what_is_gone(publication: Publication) -> str:
    """Only the first round has all rows: what a later one does not have is none of its business."""
    if publication.round:
        return ""
    its = "TRUE" if publication.whole else f"(IFNULL({TARGET}.round, 0) = 0 OR {_of_another(publication)})"
    return f"""
WHEN NOT MATCHED BY SOURCE AND {TARGET}.batch_id = {string_literal(publication.batch.batch_id)}
  AND {its} THEN DELETE"""


def _differs(columns: Sequence[Column]) -> str:
    return "\n    OR ".join(
        f"{_comparable(column, TARGET)} IS DISTINCT FROM {_comparable(column, SOURCE)}"
        for column in columns
        if column.name not in (*_KEY, _LOADED_AT)
    )


def _comparable(column: Column, side: str) -> str:
    name = f"{side}.{identifier(column.name)}"
    whole = column.type in _INCOMPARABLE or column.mode == "REPEATED"
    return f"TO_JSON_STRING({name})" if whole else name


def _changes(columns: Sequence[Column]) -> str:
    names = [identifier(column.name) for column in columns if column.name not in _KEY]
    return ",\n    ".join(f"{name} = {SOURCE}.{name}" for name in names)


def _insert(columns: Sequence[Column]) -> str:
    names = [identifier(column.name) for column in columns]
    return f"INSERT ({', '.join(names)})\n  VALUES ({', '.join(f'{SOURCE}.{name}' for name in names)})"
