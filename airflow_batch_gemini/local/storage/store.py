"""The store: Cloud Storage's buckets and objects over plain files, without any HTTP.

Safe to use from many threads; one process at a time holds a root folder. Whatever kills the process, an object
is afterwards either what it was or what the last commit made of it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Self

from .catalog import Catalog
from .disk import Disk
from .errors import Conflict, Invalid, NotFound, StorageError
from .listing import Page, Query, merged, page, walk, wildcard_pattern
from .model import (
    ALWAYS,
    DEFAULT_CONTENT_TYPE,
    DEFAULT_LOCATION,
    DEFAULT_PROJECT,
    Bucket,
    Conditions,
    Draft,
    Staged,
    StoredObject,
)
from .names import require_object_name
from .sink import BLOCK, Checksums, Sink, SinkFile, blocks

_TRIES = 3  # looks at a file that another program keeps changing, before it is shown without checksums


Objects = list[StoredObject]  # spelled here, because a method of the store is called `list`


class Storage:
    """Objects as plain files `<root>/<bucket>/<object>`; files put there by anyone are objects too.

    Generations are strictly increasing over the whole store and for ever: over restarts, and over deleting and
    writing an object anew. A file changed by hand has a new generation at the next look.
    """

    def __init__(self, root: Path) -> None:
        """Open the folder, making it if need be; Conflict when another process has it open."""
        root.mkdir(parents=True, exist_ok=True)
        self._disk = Disk(root)
        self._catalog = Catalog(self._disk)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let another process open the folder. The store cannot be used afterwards."""
        self._catalog.close()

    @property
    def uploads_folder(self) -> Path:
        """Where resumable uploads wait for their next bytes."""
        return self._disk.uploads

    # Buckets

    def create_bucket(
        self,
        name: str,
        *,
        location: str = DEFAULT_LOCATION,
        project: str = DEFAULT_PROJECT,
        exist_ok: bool = False,
        config: Mapping[str, object] | None = None,
    ) -> Bucket:
        """Create a bucket. Conflict when it exists, unless `exist_ok`; then it is returned as it is."""
        now = datetime.now(UTC)
        wanted = Bucket(
            name=name, location=location, project=project, created=now, updated=now, config=config or {}
        )
        try:
            return self._catalog.buckets.create(wanted)
        except Conflict:
            if not exist_ok:
                raise
            return self._catalog.buckets.get(name)

    def buckets(self) -> list[Bucket]:
        """All buckets by name."""
        return self._catalog.buckets.all()

    def bucket(self, name: str) -> Bucket:
        """Return one bucket; NotFound when there is none."""
        return self._catalog.buckets.get(name)

    def bucket_location(self, name: str) -> str:
        """Return the location as it was given at creation; NotFound when there is no such bucket."""
        return self._catalog.buckets.get(name).location

    def change_bucket(self, name: str, change: Callable[[Bucket], Bucket]) -> Bucket:
        """Apply `change` to the bucket's configuration."""
        return self._catalog.buckets.change(name, change)

    def delete_bucket(self, name: str) -> None:
        """Delete an empty bucket; Conflict when it is not empty."""
        self._catalog.buckets.delete(name)

    # Reading

    def stat(self, bucket: str, name: str, *, generation: int | None = None) -> StoredObject:
        """Return what is known of the live object, checksums included; NotFound when there is none."""
        for _ in range(_TRIES):
            stored = self._catalog.get(bucket, name, generation)
            known = stored if stored.crc32c is not None else self._fill(stored)
            if known is not None and generation in (None, known.generation):
                return known
        return stored

    def find(self, bucket: str, name: str) -> StoredObject | None:
        """Return the live object (a foreign file perhaps still without checksums), None when there is none."""
        return self._catalog.find(bucket, name)

    def open(self, bucket: str, name: str) -> BinaryIO:
        """Open the object's bytes, those of this moment; NotFound when there is none."""
        return self._catalog.open(bucket, name)[1]

    def fetch(
        self, bucket: str, name: str, *, conditions: Conditions = ALWAYS, generation: int | None = None
    ) -> tuple[StoredObject, BinaryIO]:
        """Return an object together with its bytes, both of one generation, if the conditions hold."""
        self.stat(bucket, name, generation=generation)
        stored, file = self._catalog.open(bucket, name, generation)
        try:
            conditions.require(stored, reading=True)
        except StorageError:
            file.close()
            raise
        return stored, file

    def path(self, bucket: str, name: str) -> Path:
        """Return the file the object lies in, or would lie in when it does not exist yet.

        To be read by whoever wants a path instead of a stream. Writing there works too, as any foreign write does,
        but neither atomically nor on conditions: `writer` and `publish` are better.
        """
        return self._catalog.path(bucket, name)

    def list(self, bucket: str, *, prefix: str = "") -> Iterator[StoredObject]:
        """Yield the objects whose names begin with `prefix`, sorted by name; NotFound when there is no bucket."""
        self._catalog.buckets.get(bucket)
        return self._stats(bucket, self._names(bucket, start=prefix, prefix=prefix))

    def page(self, bucket: str, query: Query) -> tuple[Objects, Page]:
        """Return one page of a listing: its objects, and the page with its prefixes and where the next one starts."""
        self._catalog.buckets.get(bucket)
        found = page(lambda start: self._names(bucket, start=start, prefix=query.prefix), query)
        return [*self._stats(bucket, iter(found.names))], found

    def match(self, uri: str) -> Objects:
        """Return the objects that `gs://bucket/name` names, `*` standing for anything; [] when there are none."""
        bucket, slash, pattern = uri.removeprefix("gs://").partition("/")
        if not uri.startswith("gs://") or not slash or not pattern or "*" in bucket:
            raise Invalid(f"Not a Cloud Storage URI: {uri!r}; expected gs://bucket/object")
        wanted = wildcard_pattern(pattern)
        prefix = pattern.partition("*")[0]
        try:
            if "*" not in pattern:
                return [self.stat(bucket, pattern)]
            return [stored for stored in self.list(bucket, prefix=prefix) if wanted.fullmatch(stored.name)]
        except NotFound:
            return []

    # Writing

    def sink(self, *, with_md5: bool = True) -> Sink:
        """Open a scratch file to be committed later. Whoever asks for it discards it in the end."""
        return Sink(self._disk.scratch(), with_md5=with_md5)

    def commit(self, staged: Staged, draft: Draft) -> StoredObject:
        """Make staged bytes the live object.

        Invalid when the name is impossible or the bytes are not the ones the draft promises; PreconditionFailed
        when the object is not what the draft's conditions say. Then nothing has changed.
        """
        require_object_name(draft.name)
        for kind, promised, found in (
            ("MD5", draft.md5, staged.md5),
            ("CRC32C", draft.crc32c, staged.crc32c),
        ):
            if promised is not None and found is not None and promised != found:
                raise Invalid(
                    f'Provided {kind} hash "{promised}" doesn\'t match calculated {kind} hash "{found}".'
                )
        return self._catalog.commit(staged, draft)

    @contextmanager
    def writer(
        self,
        bucket: str,
        name: str,
        *,
        content_type: str = DEFAULT_CONTENT_TYPE,
        if_generation_match: int | None = None,
    ) -> Iterator[BinaryIO]:
        """Write an object: nothing is visible before the block ends, and nothing ever if it raises.

        A text layer put around the file has to be flushed inside the block.
        """
        require_object_name(name)
        self._catalog.buckets.get(bucket)
        conditions = Conditions(generation_match=if_generation_match)
        sink = self.sink()
        try:
            with io.BufferedWriter(SinkFile(sink), BLOCK) as file:
                yield file
            self.commit(
                sink.finish(),
                Draft(bucket=bucket, name=name, content_type=content_type, conditions=conditions),
            )
        finally:
            sink.discard()

    def scratch(self) -> Path:
        """Name a new file in the same file system, for a program that writes by path; see `publish`."""
        return self._disk.scratch()

    def publish(self, file: Path, draft: Draft) -> StoredObject:
        """Make a finished scratch file the live object. It is read once for its checksums, then renamed."""
        return self.commit(Sink.resume(file).finish(), draft)

    def change(
        self,
        bucket: str,
        name: str,
        change: Callable[[StoredObject], StoredObject],
        *,
        conditions: Conditions = ALWAYS,
        generation: int | None = None,
    ) -> StoredObject:
        """Apply `change` to the object's metadata."""
        self.stat(bucket, name, generation=generation)
        return self._catalog.change(bucket, name, change, conditions=conditions, generation=generation)

    def delete(self, bucket: str, name: str, *, if_generation_match: int | None = None) -> None:
        """Delete the live object; NotFound when there is none, PreconditionFailed when it is another one."""
        self.remove(bucket, name, conditions=Conditions(generation_match=if_generation_match))

    def remove(
        self, bucket: str, name: str, *, conditions: Conditions = ALWAYS, generation: int | None = None
    ) -> None:
        """Delete the live object if all conditions hold."""
        self._catalog.remove(bucket, name, conditions=conditions, generation=generation)

    def move(
        self,
        bucket: str,
        source: str,
        target: str,
        *,
        conditions: Conditions = ALWAYS,
        source_conditions: Conditions = ALWAYS,
        generation: int | None = None,
    ) -> StoredObject:
        """Rename an object within its bucket, in one step; what was at the target is gone."""
        require_object_name(target)
        if source == target:
            raise Invalid("The source and the destination of a move are the same object.")
        self.stat(bucket, source, generation=generation)
        draft = Draft(bucket=bucket, name=target, conditions=conditions)
        return self._catalog.move(bucket, source, draft, conditions=source_conditions, generation=generation)

    def _names(self, bucket: str, *, start: str, prefix: str) -> Iterator[str]:
        first = max(start, prefix)
        asides = (name for name in self._catalog.aside_names(bucket, first) if name.startswith(prefix))
        return merged(walk(self._disk.bucket(bucket), start=first, prefix=prefix), asides)

    def _stats(self, bucket: str, names: Iterator[str]) -> Iterator[StoredObject]:
        """Look at every name; one that has vanished meanwhile is left out."""
        for name in names:
            try:
                yield self.stat(bucket, name)
            except NotFound:
                continue

    def _fill(self, stored: StoredObject) -> StoredObject | None:
        """Make the checksums of a file that another program wrote; None when it changed under our eyes."""
        stored, file = self._catalog.open(stored.bucket, stored.name)
        sums = Checksums()
        with file:
            for block in blocks(file):
                sums.feed(block)
        return self._catalog.note_checksums(stored, crc32c=sums.crc32c, md5=sums.md5)
