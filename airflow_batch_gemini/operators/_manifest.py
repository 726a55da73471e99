"""The manifest of a workspace: what makes a batch whole, and which attempt may say so."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from airflow_batch_gemini.batch.layout import Workspace
from airflow_batch_gemini.batch.manifest import Manifest
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.batch.ref import BatchRef
from airflow_batch_gemini.exceptions import (
    ConfigurationError,
    GeminiBatchError,
    OwnershipLostError,
    ServiceError,
    SourceError,
)

if TYPE_CHECKING:
    from airflow_batch_gemini.hooks._storage import ObjectInfo
    from airflow_batch_gemini.hooks.workspace import StoredObject, WorkspaceHook

_TRIES = 5


class ManifestKeeper:
    """Takes away and writes the manifest for one attempt to prepare; a newer attempt's it leaves alone.

    An attempt believed dead that wakes up finds its successor's batch whole, and stops.

    :param attempt: the task instance's id; later ones compare greater.
    """

    def __init__(self, hook: WorkspaceHook, places: Workspace, *, attempt: str) -> None:
        self._hook = hook
        self._places = places
        self._attempt = attempt

    def start_over(self) -> None:
        """Take away what an earlier preparation left: its manifest first.

        The files are listed before the claim is made: a newer attempt claims before it writes, so none of its files is
        among them.

        :raises ConfigurationError: there is no such bucket, and no retry makes one.
        """
        files = self._left()
        self._replace(self._places.claim, json.dumps({"attempt": self._attempt}).encode())
        if (stored := self._older(self._places.manifest)) is not None:
            self._hook.delete(self._places.manifest, if_generation=stored.info.generation)
        for found in files:
            self._hook.delete(GcsUri.parse(found.uri), if_generation=found.generation)

    def _left(self) -> list[ObjectInfo]:
        try:
            return self._hook.list(self._places.folder / "requests")
        except ServiceError as error:
            if error.http_status != 404:
                raise
            raise ConfigurationError(
                f"Cloud Storage has no bucket {self._places.folder.bucket}. Nothing was sent; make it in the location "
                "of the jobs, or correct work_uri."
            ) from error

    def keep(self, manifest: Manifest) -> None:
        """Write the manifest, and with it make all that was prepared a batch."""
        try:
            self._replace(self._places.manifest, manifest.to_json())
        except BaseException:
            # The answer may be lost and the manifest there: it must not outlive what it lists.
            with suppress(GeminiBatchError):
                self._forget()
            raise

    def _replace(self, uri: GcsUri, data: bytes) -> None:
        """Write an object that names its attempt, unless a newer attempt's is there."""
        from airflow_batch_gemini.hooks.workspace import PreconditionLost

        for _ in range(_TRIES):
            stored = self._older(uri)
            generation = 0 if stored is None else stored.info.generation
            try:
                self._hook.write(uri, data, if_generation=generation)
            except PreconditionLost:
                continue  # another attempt's was written in between, or it is one's own lost success: look
            return
        raise ServiceError(f"{uri} changed {_TRIES} times while it was written. A retry helps.")

    def _forget(self) -> None:
        stored = self._hook.read(self._places.manifest)
        if stored is not None and _attempt_of(stored) == self._attempt:
            self._hook.delete(self._places.manifest, if_generation=stored.info.generation)

    def _older(self, uri: GcsUri) -> StoredObject | None:
        """Return what is there, of this attempt or an older one."""
        stored = self._hook.read(uri)
        if stored is not None and (newer := _attempt_of(stored)) > self._attempt:
            raise OwnershipLostError(
                f"Attempt {newer} of this task is newer and prepares {self._places.folder}; this one stops and leaves "
                "that batch as it is. Nothing was sent."
            )
        return stored


def manifest_of(hook: WorkspaceHook, ref: BatchRef, *, fate: str = "Nothing was sent") -> Manifest:
    """Return the manifest of a batch.

    :param fate: what came of the task where there is none.
    """
    stored = hook.read(Workspace(ref.folder).manifest)
    if stored is None:
        raise SourceError(
            f"{ref.workspace} holds no manifest, so no whole batch. {fate}; clear the prepare task."
        )
    manifest = Manifest.from_json(stored.data)
    if manifest.batch_id != ref.batch_id:
        raise SourceError(
            f"{ref.workspace} holds batch {manifest.batch_id}, not {ref.batch_id}. {fate}; clear the prepare task."
        )
    return manifest


def _attempt_of(stored: StoredObject) -> str:
    """Return who wrote an object; nobody in particular where that cannot be read: it may be replaced."""
    try:
        return str(json.loads(stored.data)["attempt"])
    except (ValueError, KeyError, TypeError):
        return ""
