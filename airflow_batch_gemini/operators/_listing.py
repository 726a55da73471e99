"""The files that URIs mean: by name, each once, and no table of another kind taken for a folder of files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from airflow_batch_gemini.batch.folders import is_hidden, refuse_tables
from airflow_batch_gemini.batch.globs import fixed_prefix, has_wildcard
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.batch.rows import Format, format_of
from airflow_batch_gemini.exceptions import SourceError

if TYPE_CHECKING:
    from airflow_batch_gemini.hooks.source import SourceFile
    from airflow_batch_gemini.hooks.workspace import WorkspaceHook

Glob = Callable[[str], "list[SourceFile]"]


def listed(
    uris: Iterable[str], workspace: WorkspaceHook, source_format: Format | None
) -> list[tuple[str, SourceFile]]:
    """Return the files that *uris* mean, each with the URI that means it: in the order of *uris*, then by name.

    A URI that ends in ``/`` is a folder and means every file below it but those that are no data. A file that two URIs
    mean is read once.

    :raises SourceError: when a URI means no file, or when a folder or a wildcard leads into a table that keeps files of
        rows it no longer has: Iceberg, Delta Lake, Hudi.
    """
    found: dict[str, tuple[str, SourceFile]] = {}
    for uri in uris:
        glob = _glob_of(uri, workspace)
        files = _below(uri, glob) if uri.endswith("/") else glob(uri)
        if not files:
            folder = "" if uri.endswith("/") else ", or end it with / when it is a folder"
            raise SourceError(f"There is no file {uri}. Nothing was sent; correct the URI{folder}.")
        if _is_open(uri) and any(format_of(file.uri, source_format) == "parquet" for file in files):
            _refuse_table(uri, glob)
        for file in files:
            found.setdefault(file.uri, (uri, file))
    return list(found.values())


def _glob_of(uri: str, workspace: WorkspaceHook) -> Glob:
    from airflow_batch_gemini.hooks.source import ObjectStorage, SourceFile

    def on_cloud_storage(pattern: str) -> list[SourceFile]:
        return [SourceFile(uri=one.uri, size=one.size) for one in workspace.glob(GcsUri.parse(pattern))]

    return on_cloud_storage if uri.startswith("gs://") else ObjectStorage().glob


def _below(uri: str, glob: Glob) -> list[SourceFile]:
    """Return the data files below a folder, which may have wildcards in its name."""
    files = glob(f"{uri}**")
    refuse_tables((file.uri for file in files), folder=uri)
    depth = len(_path(fixed_prefix(uri)))
    return [file for file in files if not is_hidden(_path(file.uri)[depth:])]


def _path(uri: str) -> str:
    """Return what follows the bucket; before it, a store spells a URI in its own way, and a local path has neither."""
    _, scheme, rest = uri.partition("://")
    return rest.partition("/")[2] if scheme else uri.lstrip("/")


def _refuse_table(uri: str, glob: Glob) -> None:
    """Look where a table would keep its metadata: beside the files, or beside a folder ``data``."""
    folder = fixed_prefix(uri).rpartition("/")[0]
    parents = [] if uri == f"{folder}/" else [folder]  # a folder's own files were looked at
    if folder.endswith("/data"):
        parents.append(folder.removesuffix("/data"))
    for parent in parents:
        for place in ("metadata/*.metadata.json", "_delta_log/*.json", ".hoodie/hoodie.properties"):
            refuse_tables((file.uri for file in glob(f"{parent}/{place}")), folder=parent)


def _is_open(uri: str) -> bool:
    """Whether *uri* means whatever files there are."""
    return uri.endswith("/") or has_wildcard(uri)
