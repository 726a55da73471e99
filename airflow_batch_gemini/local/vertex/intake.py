"""Taking the input of a job in: a snapshot of its files, the importer's rules, and where each line lies.

Memory grows by 14 bytes a row, whatever the rows hold.
"""

from __future__ import annotations

import os
import shutil
from array import array
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from airflow_batch_gemini.local.bigquery import Column, Warehouse
from airflow_batch_gemini.local.knobs import Knobs
from airflow_batch_gemini.local.storage.store import Storage
from airflow_batch_gemini.local.vertex.bodies import TableName, split_table
from airflow_batch_gemini.local.vertex.importer import Importer, ImportRefusedError, SiblingType
from airflow_batch_gemini.local.vertex.places import import_failure, require_bucket, source_columns
from airflow_batch_gemini.local.vertex.records import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """The input of a job, ready to be read in any order."""

    files: tuple[Path, ...]
    file_of: array[int]
    starts: array[int]
    lengths: array[int]
    siblings: dict[str, SiblingType]
    columns: tuple[Column, ...] | None

    def __len__(self) -> int:
        return len(self.starts)

    @contextmanager
    def reader(self) -> Iterator[Callable[[int], bytes]]:
        """Open the files; the function given returns the line of a row."""
        with ExitStack() as stack:
            handles = [stack.enter_context(path.open("rb")).fileno() for path in self.files]
            yield lambda row: os.pread(handles[self.file_of[row]], self.lengths[row], self.starts[row])


class InterruptedImportError(Exception):
    """The local cloud stops; the import begins anew when it starts again."""


def take_in(
    job: Job,
    folder: Path,
    *,
    storage: Storage,
    warehouse: Warehouse,
    knobs: Knobs,
    stop: Callable[[], bool] = lambda: False,
) -> Intake:
    """Import the input of a job into its folder; a folder that holds the snapshot already is used as it is.

    :raises InterruptedImportError: ``stop`` said so.
    :raises JobFailedError: the input or the place for the output is missing, or breaks a rule.
    """
    files = sorted((folder / "input").glob("*"))
    columns = None
    if job.source.kind == "bigquery":
        columns = source_columns(job, warehouse)
        files = files or _dump(split_table(job.source.uris[0]), folder, warehouse)
    elif not files:
        files = _snapshot(job, folder, storage, knobs)
    return _scan(files, columns, limit=_limit(job, knobs), stop=stop)


def _limit(job: Job, knobs: Knobs) -> int:
    return knobs.max_embedding_rows if "embedding" in job.model_id else knobs.max_input_rows


def _snapshot(job: Job, folder: Path, storage: Storage, knobs: Knobs) -> list[Path]:
    """Keep the files as they are now: what is written or deleted later changes nothing for this job."""
    found = []
    for uri in job.source.uris:
        require_bucket(storage, uri)
        matches = storage.match(uri)
        if not matches:
            raise import_failure(f"Not found: no object matches {uri}.")
        found += matches
    if sum(item.size for item in found) > knobs.max_input_bytes:
        raise import_failure(f"The input files have more than {knobs.max_input_bytes} bytes.")
    taking = _fresh(folder)
    for number, item in enumerate(found):
        try:
            _link(storage.path(item.bucket, item.name), taking / f"{number:05d}")
        except FileNotFoundError:
            raise import_failure(f"Not found: gs://{item.bucket}/{item.name}.") from None
    return _settled(taking)


def _fresh(folder: Path) -> Path:
    """Return an empty folder for a snapshot in the making."""
    taking = folder / "taking"
    shutil.rmtree(taking, ignore_errors=True)
    taking.mkdir(parents=True)
    return taking


def _settled(taking: Path) -> list[Path]:
    """Give the snapshot its final name in one step: where that name exists, all of it exists."""
    return sorted(taking.rename(taking.with_name("input")).iterdir())


def _link(source: Path, target: Path) -> None:
    """Hold on to the bytes of a file; they stay when an object is written anew, which is by renaming."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)


def _dump(table: TableName, folder: Path, warehouse: Warehouse) -> list[Path]:
    """Write the rows of a table as lines, request and JSON columns as they are."""
    taking = _fresh(folder)
    with (taking / "00000").open("wb") as file:
        for rows in warehouse.read_rows(table.project, table.dataset, str(table.table)):
            file.write(
                b"".join(orjson.dumps(row, default=_plain, option=orjson.OPT_APPEND_NEWLINE) for row in rows)
            )
    return _settled(taking)


def _plain(value: object) -> str:
    """Write the values JSON has no word for as BigQuery's JSON files do."""
    return b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _scan(
    files: list[Path], columns: tuple[Column, ...] | None, *, limit: int, stop: Callable[[], bool]
) -> Intake:
    importer = Importer()
    file_of, starts, lengths = array("H"), array("Q"), array("I")
    try:
        for number, path in enumerate(files):
            for start, line in _lines(path):
                if len(starts) >= limit:
                    raise ImportRefusedError(f"The input has more than {limit} rows.")
                if len(starts) % 1000 == 0 and stop():
                    raise InterruptedImportError
                if columns is None:
                    importer.take(line)
                file_of.append(number)
                starts.append(start)
                lengths.append(len(line))
        if columns is None:
            importer.finish()
        elif not starts:
            raise ImportRefusedError("The input is empty.")
    except ImportRefusedError as error:
        raise import_failure(str(error)) from None
    siblings = importer.sibling_types()
    return Intake(
        files=tuple(files),
        file_of=file_of,
        starts=starts,
        lengths=lengths,
        siblings=siblings,
        columns=columns,
    )


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield offset and bytes of each line that is not blank; only line feeds end a line."""
    at = 0
    with path.open("rb", buffering=1 << 20) as file:
        for line in file:
            if not line.isspace():
                yield at, line
            at += len(line)
