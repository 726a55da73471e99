"""Cloud Storage: the objects of a batch, read whole or streamed, written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from airflow.providers.google.common.hooks.base_google import GoogleBaseHook

from airflow_batch_gemini.batch.globs import fixed_prefix, glob_pattern
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.exceptions import GeminiBatchError, ServiceError
from airflow_batch_gemini.hooks._endpoint import checked_override, fitting_credentials
from airflow_batch_gemini.hooks._storage import (
    CHUNK_BYTES,
    REQUEST_SECONDS,
    ObjectInfo,
    ObjectWriter,
    PreconditionLost,
    StoredObject,
    info_of,
    translated,
)

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.cloud.storage import Blob, Client

__all__ = ["ObjectInfo", "ObjectWriter", "PreconditionLost", "StoredObject", "WorkspaceHook"]

READ_TRIES = 5
MOST_COMPOSED = 32
"""Objects that Cloud Storage puts together at a time."""
_Infos = list[ObjectInfo]  # spelled here, because a method of the hook is called `list`


class WorkspaceHook(GoogleBaseHook):
    """Cloud Storage by an Airflow connection of type ``google_cloud_platform``.

    With ``STORAGE_EMULATOR_HOST`` it talks to a local stand-in, and then only with credentials that no Google
    service would honour.

    :param gcp_conn_id: the connection.
    :param impersonation_chain: service account to impersonate, or a chain of them.
    """

    def __init__(
        self,
        *,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(gcp_conn_id=gcp_conn_id, impersonation_chain=impersonation_chain)
        self._storage: Client | None = None

    def get_credentials_and_project_id(self) -> tuple[Credentials, str | None]:
        """Load the connection's credentials, after a look at where they would be sent."""
        override = checked_override(self, "STORAGE_EMULATOR_HOST")
        credentials, project = super().get_credentials_and_project_id()
        return fitting_credentials(credentials, override), project

    def client(self) -> Client:
        """Return the storage client."""
        from google.cloud.storage import Client

        if self._storage is None:
            credentials, project = self.get_credentials_and_project_id()
            self._storage = Client(project=project, credentials=credentials)
        return self._storage

    def close(self) -> None:
        """Close every connection; the next call opens new ones."""
        if self._storage is not None:
            self._storage.close()
            self._storage = None

    def read(self, uri: GcsUri) -> StoredObject | None:
        """Return the object with exactly the generation its bytes are of; ``None`` only when there is none."""
        from google.api_core.exceptions import NotFound

        for _ in range(READ_TRIES):
            if (info := self.stat(uri)) is None:
                return None
            with translated(f"reading {uri}"):
                try:
                    blob = self._blob(uri, generation=info.generation)
                    return StoredObject(data=blob.download_as_bytes(timeout=REQUEST_SECONDS), info=info)
                except NotFound:
                    continue  # replaced between the two calls: look again
        raise ServiceError(f"{uri} changed {READ_TRIES} times while it was read. A retry helps.")

    def stat(self, uri: GcsUri) -> ObjectInfo | None:
        """Return what the object is; ``None`` only when Cloud Storage says that there is none."""
        with translated(f"looking at {uri}"):
            blob = self.client().bucket(uri.bucket).get_blob(uri.name, timeout=REQUEST_SECONDS)
        return None if blob is None else info_of(blob)

    def write(self, uri: GcsUri, data: bytes, *, if_generation: int | None = None) -> ObjectInfo:
        """Write the object in one piece.

        :param if_generation: the generation to replace; 0 when the object must not exist yet.
        :raises PreconditionLost: when the object is in another generation.
        """
        with translated(f"writing {uri}"):
            blob = self._blob(uri)
            blob.upload_from_string(
                data,
                content_type=_content_type(uri),
                if_generation_match=if_generation,
                timeout=REQUEST_SECONDS,
                checksum="crc32c",
            )
            return info_of(blob)

    @contextmanager
    def writer(self, uri: GcsUri, *, if_generation: int | None = None) -> Iterator[ObjectWriter]:
        """Stream an object: it appears when the block ends, and never when the block raises.

        Memory is that of a few chunks. The checksum is compared with what Cloud Storage has before ``info`` is set. Of
        what breaks off, Cloud Storage forgets within a week what it has; until then nobody sees it.
        """
        blob = self._blob(uri)
        blob.chunk_size = CHUNK_BYTES
        upload = partial(
            blob.upload_from_file,
            content_type=_content_type(uri),
            if_generation_match=if_generation,
            timeout=REQUEST_SECONDS,
            checksum="crc32c",
        )
        with translated(f"writing {uri}"):
            out = ObjectWriter(upload)
            try:
                out.begin()
                yield out
                out.finish()
            except BaseException:
                if out.stop():
                    with suppress(GeminiBatchError):
                        self.delete(uri, if_generation=info_of(blob).generation)
                raise
            out.info = info_of(blob)

    @contextmanager
    def reader(self, uri: GcsUri, *, chunk_bytes: int = CHUNK_BYTES) -> Iterator[BinaryIO]:
        """Open one generation of the object, just as it is stored, as a seekable stream.

        :param chunk_bytes: fetched at a time, at least.
        :raises ServiceError: in the block too, with ``http_status`` 404 when it is gone or was replaced meanwhile.
        """
        info = self.stat(uri)
        if info is None:
            raise ServiceError(f"{uri} does not exist.", http_status=404)
        with translated(f"reading {uri}"):
            blob = self._blob(uri, generation=info.generation)
            with (
                blob.open(
                    "rb",
                    chunk_size=chunk_bytes,
                    timeout=REQUEST_SECONDS,
                    single_shot_download=True,
                    raw_download=True,  # of an object with a content encoding a range says nothing once it is decoded
                ) as stream
            ):
                yield stream

    def copy(self, source: GcsUri, target: GcsUri) -> ObjectInfo:
        """Copy on the server: not a byte passes here."""
        with translated(f"copying {source} to {target}"):
            blob = self._blob(target)
            token, _, _ = blob.rewrite(self._blob(source), timeout=REQUEST_SECONDS)
            while token is not None:
                token, _, _ = blob.rewrite(self._blob(source), token=token, timeout=REQUEST_SECONDS)
            return info_of(blob)

    def compose(self, sources: Sequence[GcsUri], target: GcsUri) -> ObjectInfo:
        """Put objects of one bucket together in one, in their order, on the server: not a byte passes here.

        No step is repeated by itself: repeated after a lost answer it would append twice.
        """
        with translated(f"putting {target} together"):
            blob, put = self._blob(target), 0
            while put < len(sources):
                room = MOST_COMPOSED - (put > 0)
                more = [self._blob(source) for source in sources[put : put + room]]
                blob.compose([blob, *more] if put else more, timeout=REQUEST_SECONDS, retry=None)
                put += room
            return info_of(blob)

    def delete(self, uri: GcsUri, *, if_generation: int | None = None) -> bool:
        """Delete the object; ``False`` when there was none, or when only another generation of it."""
        from google.api_core.exceptions import NotFound

        try:
            with translated(f"deleting {uri}"):
                try:
                    self._blob(uri).delete(if_generation_match=if_generation, timeout=REQUEST_SECONDS)
                except NotFound:
                    return False
        except PreconditionLost:
            return False
        return True

    def list(self, folder: GcsUri) -> _Infos:
        """Return every object below *folder*, by name."""
        return self._listed(folder.bucket, f"{folder.name}/" if folder.name else "")

    def glob(self, pattern: GcsUri) -> _Infos:
        """Return the objects that *pattern* means, by name: ``*`` and ``?`` within a segment, ``**`` across them."""
        wanted = glob_pattern(pattern.name)
        found = self._listed(pattern.bucket, fixed_prefix(pattern.name))
        # A name that GcsUri refuses may lie beside those that are meant.
        start = len(f"gs://{pattern.bucket}/")
        return [info for info in found if wanted.fullmatch(info.uri[start:])]

    def bucket_location(self, bucket: str) -> str:
        """Return where *bucket* lies, as Cloud Storage spells it: ``US-CENTRAL1``, ``US``."""
        name = GcsUri(bucket, "").bucket
        with translated(f"looking at bucket {name}"):
            return str(self.client().get_bucket(name, timeout=REQUEST_SECONDS).location)

    def _listed(self, bucket: str, prefix: str) -> _Infos:
        with translated(f"listing gs://{bucket}/{prefix}"):
            blobs = self.client().list_blobs(bucket, prefix=prefix or None, timeout=REQUEST_SECONDS)
            # A name that ends in a slash is a console's idea of a folder, not an object of ours.
            return [info_of(blob) for blob in blobs if not blob.name.endswith("/")]

    def _blob(self, uri: GcsUri, *, generation: int | None = None) -> Blob:
        return self.client().bucket(uri.bucket).blob(uri.name, generation=generation)


def _content_type(uri: GcsUri) -> str:
    return "application/json" if uri.name.endswith(".json") else "application/octet-stream"
