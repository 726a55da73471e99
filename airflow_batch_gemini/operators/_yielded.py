"""Rows that a Python function yields: called with what it asks for, read one by one, never a list."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from typing import Any

from airflow.sdk.exceptions import AirflowException

from airflow_batch_gemini.batch import rows as limits
from airflow_batch_gemini.batch.rows import Row, RowBatch
from airflow_batch_gemini.exceptions import ConfigurationError, NothingPaidError, SourceError

YIELDED = "rows="


def called(
    rows: Callable[..., object],
    *,
    op_args: Collection[Any],
    op_kwargs: Mapping[str, Any],
    context: Mapping[str, Any],
) -> Iterable[object]:
    """Call *rows* as ``PythonOperator`` calls its function.

    It gets *op_kwargs*, and of the context what it names.

    :raises ConfigurationError: when what it returns cannot be gone through row by row.
    """
    from airflow.sdk.bases.decorator import determine_kwargs

    keywords = determine_kwargs(rows, op_args, {**context, **op_kwargs})
    found = rows(*op_args, **keywords)
    if isinstance(found, Iterable) and not isinstance(found, (str, bytes, Mapping)):
        return found
    raise ConfigurationError(
        f"{YIELDED} wants a function that yields rows; it returned a {type(found).__name__}. Nothing was sent."
    )


def yielded_batches(rows: Iterable[object], *, source: str = YIELDED) -> Generator[RowBatch]:
    """Yield rows that come one by one, dicts that may leave columns out; a generator is closed in the end.

    :raises SourceError: naming the row, counted from 1, for anything but a dict.
    :raises NothingPaidError: naming the row, for what the generator raises; a retry helps. Airflow's own exceptions and
        ours pass, with a note that names the row.
    """
    number, held, size, rest = 0, list[Row](), 0, iter(rows)
    try:
        while (row := _next(rest, source, number + 1)) is not None:
            number += 1
            held.append(row)
            size += sum([len(value) for value in row.values() if type(value) is str])
            if len(held) == limits.ROWS_PER_BATCH or size >= limits.BYTES_PER_BATCH:
                yield RowBatch(source=source, unit="row", first=number - len(held) + 1, rows=held)
                held, size = [], 0
    finally:
        if isinstance(rest, Generator):
            rest.close()
    if held:
        yield RowBatch(source=source, unit="row", first=number - len(held) + 1, rows=held)


def _next(rows: Iterator[object], source: str, number: int) -> Row | None:
    try:
        row = next(rows)
    except StopIteration:
        return None
    except AirflowException as error:
        error.add_note(f"It came from {source}, at row {number}.")
        raise
    except Exception as error:
        raise NothingPaidError(
            f"{source} raised {type(error).__name__} at row {number}. Nothing was sent, and no prepared request was "
            "kept; a retry begins with its first row again."
        ) from error
    if type(row) is dict or isinstance(row, Mapping):  # the one is the other too, but takes long to say so
        return dict(row)  # whoever yields may fill the same dict again
    raise SourceError(
        f"{source} yielded a {type(row).__name__} as row {number}: a row is a dict. Nothing was sent."
    )
