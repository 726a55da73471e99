"""The request files of a batch: written whole one after the other, or taken away again."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from io import BufferedReader
from typing import TYPE_CHECKING, BinaryIO, Self, cast

import orjson

from airflow_batch_gemini.batch import lint
from airflow_batch_gemini.batch.keys import KeyMemory, first_duplicate
from airflow_batch_gemini.batch.layout import Workspace
from airflow_batch_gemini.batch.lint import OnLint
from airflow_batch_gemini.batch.manifest import Aside, Part
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.batch.parts import Limits, Slice, slices
from airflow_batch_gemini.batch.progress import Progress, counted, duration, size
from airflow_batch_gemini.batch.ready import ReadyMade
from airflow_batch_gemini.batch.render import Renderer, key_of
from airflow_batch_gemini.batch.request_lines import RequestLines
from airflow_batch_gemini.batch.reuse import RowSet, Sieve, key_number
from airflow_batch_gemini.batch.rows import Places, RowBatch
from airflow_batch_gemini.batch.sampling import Sampler
from airflow_batch_gemini.exceptions import GeminiBatchError, OwnershipLostError, RowError
from airflow_batch_gemini.operators._asides import AsideFile, created
from airflow_batch_gemini.operators._unsent import Unsent

if TYPE_CHECKING:
    from io import RawIOBase
    from types import TracebackType

    from airflow.sdk.types import Logger

    from airflow_batch_gemini.batch.mending import Mending
    from airflow_batch_gemini.hooks.workspace import ObjectInfo, ObjectWriter, WorkspaceHook

    Maker = Renderer | ReadyMade | Mending
    """What makes request lines of what is read."""

PROGRESS_SECONDS = 10.0
_SO_FAR = "so far"
_LINE_BUFFER_BYTES = 1 << 20
_SWITCH_SECONDS = 0.001


class RequestFiles:
    """Renders rows, opens a file for each part, and knows what it wrote.

    Leaving the ``with`` block by an error deletes every file it wrote, in exactly the generation it wrote.

    :param progress: how far the rows have been read; tells how long the rest will take.
    :param sieve: holds back what need not be sent.
    :param on_lint: whether a row that breaks a rule fails the preparation, or is left out and written down.
    """

    def __init__(
        self,
        hook: WorkspaceHook,
        workspace: Workspace,
        log: Logger,
        *,
        progress: Progress | None = None,
        sieve: Sieve | None = None,
        on_lint: OnLint = "fail",
    ) -> None:
        self._hook = hook
        self._workspace = workspace
        self._log = log
        self._progress = progress or Progress()
        self._sieve = sieve
        self._unsent = Unsent()
        self._on_lint = on_lint
        self._seen = RowSet()
        self._keys = KeyMemory()
        self._places = Places()
        self._open = ExitStack()
        self._copies = AsideFile(hook, workspace.copies)
        self._rejected = AsideFile(hook, workspace.rejected)
        self.broken: Counter[str] = Counter()
        """Rules that rows were left out for: how often."""
        self.sampler = Sampler()
        """Has seen every line that was written."""
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
        all_of_it = ExitStack()  # each is left, though leaving another raises what became of its upload
        all_of_it.callback(self._take_away)
        for stack in (self._rejected.open, self._copies.open, self._open):
            all_of_it.push(stack)
        all_of_it.__exit__(kind, error, traceback)

    def write(self, batches: Iterable[RowBatch], *, renderer: Maker, limits: Limits) -> tuple[Part, ...]:
        """Write a request for every row and return the parts, none for no rows.

        :raises RowError: for the first row that is wrong, or a key that is used twice.
        """
        with _prompt_switches():
            for piece in slices(self._rendered(batches, renderer), limits):
                self._add(piece)
            suspects = self._keys.suspects()  # while the last requests are on their way
            self._finish_part()
        self._copies.finish()
        self._rejected.finish()
        self._refuse_duplicates(suspects)
        self._tell("in all")
        return tuple(
            Part(index=index, uri=info.uri, rows=rows, size=info.size, checksum=info.crc32c)
            for index, (rows, info) in enumerate(zip(self._rows, self._written, strict=True))
        )

    @property
    def copies(self) -> Aside | None:
        """Rows that get another row's answer."""
        return self._copies.aside

    @property
    def rejected(self) -> Aside | None:
        """Rows that were left out because they break a rule."""
        return self._rejected.aside

    @property
    def answered(self) -> int:
        """Rows that were left out because an earlier batch has their answer."""
        return len(self._unsent) - self._copies.rows

    def verify(self) -> None:
        """Make sure that every file is still the one that was written here.

        :raises OwnershipLostError: when another attempt of the task writes the same batch.
        """
        for info in self._all_written():
            found = self._hook.stat(GcsUri.parse(info.uri))
            if found is None or found.generation != info.generation:
                raise OwnershipLostError(
                    f"{info.uri} was replaced while it was prepared: another attempt of this task is at work. Nothing "
                    "was sent; that attempt goes on."
                )

    def _rendered(self, batches: Iterable[RowBatch], renderer: Maker) -> Iterator[RequestLines]:
        for read in batches:
            batch = replace(read, before=self._places.rows)
            keys, lines = self._made(batch, renderer)
            self._places.add(batch)
            yield lines if self._sieve is None else self._sifted(self._sieve, keys, lines, batch.before)

    def _made(self, batch: RowBatch, renderer: Maker) -> tuple[list[str], RequestLines]:
        """Return key and line of every row that is to be sent."""
        if self._on_lint == "drop":
            return self._made_or_dropped(batch, renderer)
        keys, lines = renderer.make(batch)
        self._keys.add(keys)
        return keys, lines

    def _made_or_dropped(self, batch: RowBatch, renderer: Maker) -> tuple[list[str], RequestLines]:
        made: Iterable[tuple[str, bytes] | RowError]
        try:
            made = zip(*renderer.make(batch), strict=True)
        except RowError:
            made = self._row_by_row(batch, renderer)
        keys, lines = list[str](), list[bytes]()
        for index, one in enumerate(made):
            if isinstance(one, RowError):
                known = one.key if one.key and _names_a_row(one.key) else None
                fresh = known is not None and self._seen.add(key_number(known))
                self._reject(known if known is not None and fresh else batch.place(index), one.rule, one.said)
            elif self._seen.add(key_number(one[0])):
                keys.append(one[0])
                lines.append(one[1])
            else:
                twice = lint.Finding(rule=lint.RULES["GB122"])
                self._reject(batch.place(index), twice.rule.id, f"key {one[0][:100]!r}: {twice.said}")
        return keys, RequestLines.of(lines)

    def _row_by_row(self, batch: RowBatch, renderer: Maker) -> Iterator[tuple[str, bytes] | RowError]:
        """Yield what can be made of each row of a batch of which one cannot: its key and line, or why not."""
        for index, row in enumerate(batch.rows):
            raw = None if batch.lines is None else batch.lines[index : index + 1]
            one = replace(
                batch, first=batch.first + index, before=batch.before + index, rows=(row,), lines=raw
            )
            try:
                [key], [line] = renderer.make(one)
            except RowError as error:
                yield error
            else:
                yield key, line

    def _reject(self, key: str, rule: str, said: str) -> None:
        """Write down a row that is not sent, by its key or, where it has none of its own, by its place."""
        self.broken[rule] += 1
        self._rejected.write([orjson.dumps({"key": key, "rule": rule, "message": said}) + b"\n"])

    def _sifted(self, sieve: Sieve, keys: Sequence[str], lines: RequestLines, first: int) -> RequestLines:
        sifted = sieve.sift(keys, lines)
        self._unsent.add((first + place, keys[place]) for place in sifted.unsent)
        self._copies.write(sifted.copies)
        return RequestLines.of(sifted.lines)

    def _add(self, piece: Slice) -> None:
        if piece.opens or self._writer is None:
            self._finish_part()
            self._writer = self._open.enter_context(
                created(self._hook, self._workspace.requests(len(self._rows)))
            )
            self._rows.append(0)
        self._writer.write(piece.lines.data)
        self.sampler.add(len(self._rows) - 1, piece.lines)
        self._rows[-1] += len(piece.lines)
        self._size += piece.lines.size
        if time.monotonic() - self._told >= PROGRESS_SECONDS:
            self._tell(_SO_FAR)

    def _finish_part(self) -> None:
        self._open.close()
        if self._writer is not None and self._writer.info is not None:
            self._written.append(self._writer.info)
        self._writer = None

    def _all_written(self) -> Iterator[ObjectInfo]:
        yield from self._written
        yield from filter(None, (self._copies.info, self._rejected.info))

    def _refuse_duplicates(self, suspects: frozenset[int]) -> None:
        """Hashes tell whether a key may be used twice; what was written tells whether one is."""
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
        seconds = max(self._told - self._began, 1e-3)
        left = self._progress.left(seconds) if when == _SO_FAR else None
        self._log.info(
            "%s, %s at %s/s, %s %s%s.",
            counted(sum(self._rows), "request"),
            size(self._size),
            size(self._size / seconds),
            counted(len(self._rows), "part"),
            when,
            "" if left is None else f", about {duration(left)} left",
        )

    def _take_away(self) -> None:
        for info in self._all_written():
            try:
                self._hook.delete(GcsUri.parse(info.uri), if_generation=info.generation)
            except GeminiBatchError as error:
                self._log.warning("%s is left behind without a manifest: %s", info.uri, error)


def _names_a_row(key: str) -> bool:
    """Whether *key* can be written down; half a character in it cannot."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return lint.key_rule(key) is None


@contextmanager
def _prompt_switches() -> Iterator[None]:
    """Let threads take turns more often.

    One that uploads wants its turn a few times a chunk; waiting for each as long as is usual, 5 ms, while rows are
    rendered, it falls behind, and then rendering waits for it.
    """
    usual = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


@contextmanager
def _by_line(stream: BinaryIO) -> Iterator[BinaryIO]:
    """Left to itself, the storage client's stream reads a line byte by byte."""
    with BufferedReader(cast("RawIOBase", stream), _LINE_BUFFER_BYTES) as lines:
        yield cast("BinaryIO", lines)
