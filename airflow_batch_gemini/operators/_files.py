"""The request files of a batch: written whole one after the other, or taken away again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import BufferedReader
from typing import TYPE_CHECKING, BinaryIO, Self, cast

from airflow_batch_gemini.batch import lint
from airflow_batch_gemini.batch.keys import KeyMemory, first_duplicate
from airflow_batch_gemini.batch.manifest import Aside, Part, Workspace
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.batch.parts import Limits, Slice, slices
from airflow_batch_gemini.batch.progress import Progress, duration
from airflow_batch_gemini.batch.ready import ReadyMade
from airflow_batch_gemini.batch.render import Renderer, key_of
from airflow_batch_gemini.batch.reuse import Sieve
from airflow_batch_gemini.batch.rows import Places, RowBatch
from airflow_batch_gemini.exceptions import GeminiBatchError, OwnershipLostError, ServiceError
from airflow_batch_gemini.operators._unsent import Unsent

if TYPE_CHECKING:
    from io import RawIOBase
    from types import TracebackType

    from airflow.sdk.types import Logger

    from airflow_batch_gemini.hooks.workspace import ObjectInfo, ObjectWriter, WorkspaceHook

PROGRESS_SECONDS = 10.0
_SO_FAR = "so far"
_LINE_BUFFER_BYTES = 1 << 20


class RequestFiles:
    """Renders rows, opens a file for each part, and knows what it wrote.

    Leaving the ``with`` block by an error deletes every file it wrote, in exactly the generation it wrote.

    :param progress: how far the rows have been read; tells how long the rest will take.
    :param sieve: holds back what need not be sent.
    """

    def __init__(
        self,
        hook: WorkspaceHook,
        workspace: Workspace,
        log: Logger,
        progress: Progress | None = None,
        sieve: Sieve | None = None,
    ) -> None:
        self._hook = hook
        self._workspace = workspace
        self._log = log
        self._progress = progress or Progress()
        self._sieve = sieve
        self._unsent = Unsent()
        self._keys = KeyMemory()
        self._places = Places()
        self._open = ExitStack()
        self._beside = ExitStack()
        self._copies: ObjectWriter | None = None
        self._copied = 0
        self._put_aside: list[ObjectInfo] = []
        self._writer: ObjectWriter | None = None
        self._rows: list[int] = []
        self._written: list[ObjectInfo] = []
        self._size = 0
        self._began = self._told = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._unsent.close()
        if kind is None:
            return
        try:
            self._open.__exit__(kind, error, traceback)
            self._beside.__exit__(kind, error, traceback)
        finally:
            self._take_away()

    def write(
        self, batches: Iterable[RowBatch], *, renderer: Renderer | ReadyMade, limits: Limits
    ) -> tuple[Part, ...]:
        """Write a request for every row and return the parts, none for no rows.

        :raises RowError: for the first row that is wrong, or a key that is used twice.
        """
        for piece in slices(self._rendered(batches, renderer), limits):
            self._add(piece)
        self._finish_part()
        self._finish_copies()
        self._refuse_duplicates()
        self._tell("in all")
        return tuple(
            Part(index=index, uri=info.uri, rows=rows, size=info.size, checksum=info.crc32c)
            for index, (rows, info) in enumerate(zip(self._rows, self._written, strict=True))
        )

    @property
    def copies(self) -> Aside | None:
        """Rows that get another row's answer."""
        return next((Aside(info.uri, self._copied, info.crc32c) for info in self._put_aside), None)

    @property
    def answered(self) -> int:
        """Rows that were left out because an earlier batch has their answer."""
        return len(self._unsent) - self._copied

    def verify(self) -> None:
        """Make sure that every file is still the one that was written here.

        :raises OwnershipLostError: when another attempt of the task writes the same batch.
        """
        for info in (*self._written, *self._put_aside):
            found = self._hook.stat(GcsUri.parse(info.uri))
            if found is None or found.generation != info.generation:
                raise OwnershipLostError(
                    f"{info.uri} was replaced while it was prepared: another attempt of this task is at work. Nothing "
                    "was sent; that attempt goes on."
                )

    def _rendered(
        self, batches: Iterable[RowBatch], renderer: Renderer | ReadyMade
    ) -> Iterator[Sequence[bytes]]:
        for batch in batches:
            keys = renderer.keys(batch)
            first = self._places.rows
            self._keys.add(keys)
            self._places.add(batch)
            lines = renderer.lines(batch, keys)
            yield lines if self._sieve is None else self._sifted(self._sieve, keys, lines, first)

    def _sifted(
        self, sieve: Sieve, keys: Sequence[str], lines: Sequence[bytes], first: int
    ) -> Sequence[bytes]:
        sifted = sieve.sift(keys, lines)
        self._unsent.add((first + place, keys[place]) for place in sifted.unsent)
        if sifted.copies:
            if self._copies is None:
                self._copies = self._beside.enter_context(_created(self._hook, self._workspace.copies))
            self._copies.writelines(sifted.copies)
            self._copied += len(sifted.copies)
        return sifted.lines

    def _add(self, piece: Slice) -> None:
        if piece.opens or self._writer is None:
            self._finish_part()
            self._writer = self._open.enter_context(
                _created(self._hook, self._workspace.requests(len(self._rows)))
            )
            self._rows.append(0)
        self._writer.writelines(piece.lines)
        self._rows[-1] += len(piece.lines)
        self._size += sum(map(len, piece.lines))
        if time.monotonic() - self._told >= PROGRESS_SECONDS:
            self._tell(_SO_FAR)

    def _finish_part(self) -> None:
        self._open.close()
        if self._writer is not None and self._writer.info is not None:
            self._written.append(self._writer.info)
        self._writer = None

    def _finish_copies(self) -> None:
        self._beside.close()
        if self._copies is not None and self._copies.info is not None:
            self._put_aside.append(self._copies.info)

    def _refuse_duplicates(self) -> None:
        """Hashes tell whether a key may be used twice; what was written tells whether one is."""
        suspects = self._keys.suspects()
        twice = first_duplicate(self._unsent.among(self._keys_written()), suspects) if suspects else None
        if twice is not None:
            first, second = self._places.of(twice.first), self._places.of(twice.second)
            lint.refuse_row("GB122", row=second, key=twice.key, detail=f"first by {first}")

    def _keys_written(self) -> Iterator[str]:
        for info in self._written:
            with self._hook.reader(GcsUri.parse(info.uri)) as stream, _by_line(stream) as lines:
                yield from map(key_of, lines)

    def _tell(self, when: str) -> None:
        self._told = time.monotonic()
        mb, seconds = self._size / 1e6, max(self._told - self._began, 1e-3)
        left = self._progress.left(seconds) if when == _SO_FAR else None
        self._log.info(
            "%s requests, %.1f MB, %.1f MB/s, %d part(s) %s%s.",
            f"{sum(self._rows):,}",
            mb,
            mb / seconds,
            len(self._rows),
            when,
            "" if left is None else f", about {duration(left)} left",
        )

    def _take_away(self) -> None:
        for info in (*self._written, *self._put_aside):
            try:
                self._hook.delete(GcsUri.parse(info.uri), if_generation=info.generation)
            except GeminiBatchError as error:
                self._log.warning("%s is left behind without a manifest: %s", info.uri, error)


@contextmanager
def _created(hook: WorkspaceHook, uri: GcsUri) -> Iterator[ObjectWriter]:
    """Write a file that must not be there yet: an attempt that was believed dead overwrites nothing."""
    from airflow_batch_gemini.hooks.workspace import PreconditionLost

    try:
        with hook.writer(uri, if_generation=0) as writer:
            yield writer
    except PreconditionLost as lost:
        raise ServiceError(
            f"{uri} was there before it was written whole: another attempt of this task is at work, or the answer to "
            "this upload was lost. Nothing was sent; a retry starts over."
        ) from lost


@contextmanager
def _by_line(stream: BinaryIO) -> Iterator[BinaryIO]:
    """Left to itself, the storage client's stream reads a line byte by byte."""
    with BufferedReader(cast("RawIOBase", stream), _LINE_BUFFER_BYTES) as lines:
        yield cast("BinaryIO", lines)
