"""Files that a preparation writes beside its requests: rows for which nothing is sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from airflow_batch_gemini.batch.manifest import Aside
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.exceptions import ServiceError

if TYPE_CHECKING:
    from airflow_batch_gemini.hooks.workspace import ObjectInfo, ObjectWriter, WorkspaceHook


class AsideFile:
    """One such file, begun with its first row."""

    def __init__(self, hook: WorkspaceHook, uri: GcsUri) -> None:
        self._hook = hook
        self._uri = uri
        self.open = ExitStack()
        """Left by an error it leaves no file."""
        self._writer: ObjectWriter | None = None
        self.rows = 0

    def write(self, lines: Sequence[bytes]) -> None:
        """Write rows, a line each."""
        if lines and self._writer is None:
            self._writer = self.open.enter_context(created(self._hook, self._uri))
        if lines and self._writer is not None:
            self._writer.writelines(lines)
            self.rows += len(lines)

    def finish(self) -> None:
        """Make it whole."""
        self.open.close()

    @property
    def info(self) -> ObjectInfo | None:
        """The file, once it is whole."""
        return None if self._writer is None else self._writer.info

    @property
    def aside(self) -> Aside | None:
        """What the manifest says of it."""
        info = self.info
        return None if info is None else Aside(info.uri, self.rows, info.crc32c)


@contextmanager
def created(hook: WorkspaceHook, uri: GcsUri) -> Iterator[ObjectWriter]:
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
