"""How the commands read a request file, and show how far they are."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.batch.progress import Progress, duration
from airflow_batch_gemini.commands._google import cloud_storage
from airflow_batch_gemini.exceptions import SourceError

_WIDTH = 30
_TELL_SECONDS = 0.2


@contextmanager
def opened(file: str, gcp_conn_id: str, *, fate: str) -> Iterator[tuple[BinaryIO, int]]:
    """Open what is to be read, and tell its bytes; 0 when nobody knows.

    :param fate: what an error says of the work, like ``"Nothing was checked."``.
    """
    if file == "-":
        with nullcontext(sys.stdin.buffer) as stream:
            yield stream, 0
    elif file.startswith("gs://"):
        with closing(cloud_storage(gcp_conn_id, fate=fate)) as hook:
            uri = GcsUri.parse(file)
            info = hook.stat(uri)
            if info is None:
                raise SourceError(f"{file} cannot be read: there is no such object. {fate}")
            with hook.reader(uri) as stream:
                yield stream, info.size
    else:
        try:
            with Path(file).open("rb") as stream:
                yield stream, Path(file).stat().st_size
        except OSError as error:
            raise SourceError(f"{file} cannot be read: {error.strerror}. {fate}") from error


class Bar:
    """A progress bar on the terminal; nothing where standard error is none."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._on = sys.stderr.isatty()
        self._began = self._told = time.monotonic()

    def show(self, rows: int) -> None:
        """Draw it, a few times a second at most."""
        now = time.monotonic()
        if not self._on or now - self._told < _TELL_SECONDS:
            return
        self._told, elapsed = now, now - self._began
        share = min(self._progress.done / self._progress.total, 1.0) if self._progress.total else 0.0
        left = self._progress.left(elapsed)
        bar = "█" * round(_WIDTH * share) + "·" * (_WIDTH - round(_WIDTH * share))
        speed = self._progress.done / 1e6 / elapsed
        rest = "" if left is None else f", {duration(left)} left"
        print(f"\r{bar} {rows:,} requests, {speed:.0f} MB/s{rest}\x1b[K", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take it away."""
        if self._on:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
