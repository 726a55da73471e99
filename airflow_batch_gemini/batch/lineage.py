"""What a task read and what it wrote, in names that a lineage service knows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from airflow_batch_gemini.batch.globs import fixed_prefix
from airflow_batch_gemini.batch.landing import Column
from airflow_batch_gemini.batch.manifest import Manifest
from airflow_batch_gemini.batch.names import GcsUri, TableName


@dataclass(frozen=True)
class Data:
    """A table, or files on Cloud Storage."""

    place: TableName | GcsUri
    columns: tuple[Column, ...] = ()
    """As far as they are known without asking."""

    @classmethod
    def at(cls, uri: str) -> Data:
        """Read ``gs://…`` or ``bq://…``."""
        return cls(GcsUri.parse(uri) if uri.startswith("gs://") else TableName.parse(uri))


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """What went in and what came out, each once."""

    inputs: tuple[Data, ...]
    outputs: tuple[Data, ...]


def of_preparation(
    manifest: Manifest, *, tables: Iterable[TableName], source_uri: str | Iterable[str] | None
) -> Lineage:
    """Return the lineage of a preparation: its source, as far as it has a name, and its requests.

    :param tables: those that were read: the one that was named, or what BigQuery says that the query read.
    :param source_uri: files that were read, of which those on Cloud Storage are told; of a pattern the part before its
        first wildcard.
    """
    uris = [source_uri] if isinstance(source_uri, str) else list(source_uri or ())
    patterns = [GcsUri.parse(uri) for uri in uris if uri.startswith("gs://")]
    files = [Data(GcsUri(one.bucket, fixed_prefix(one.name).rstrip("/"))) for one in patterns]
    return Lineage(inputs=tuple(dict.fromkeys([*map(Data, tables), *files])), outputs=requests_of(manifest))


def requests_of(manifest: Manifest) -> tuple[Data, ...]:
    """Return where the requests lie: a table a part, or the one folder of all files."""
    if manifest.requests == "bigquery":
        return tuple(Data.at(part.uri) for part in manifest.parts)
    return (Data(GcsUri.parse(manifest.workspace) / "requests"),)
