"""Where bytes lie: plain readable paths, and a room aside for names that cannot be paths.

    <root>/<bucket>/<object name>              every ordinary object
    <root>/.storage/aside/<bucket>/<number>    names such as `folder/` or `../x`, and `a/b` while a file `a` exists
    <root>/.storage/scratch/                   writes in progress; emptied at start
    <root>/.storage/uploads/                   resumable uploads; they outlive a restart
    <root>/.storage/index.sqlite               what a file cannot say of itself

A bucket's name never starts with a dot, so `.storage` is never a bucket.
"""

from __future__ import annotations

import os
import shutil
import stat
import uuid
from pathlib import Path

from .names import is_bucket_name, is_plain


def regular(path: Path) -> os.stat_result | None:
    """Return the status of a regular file, None for anything else (or nothing)."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status if stat.S_ISREG(status.st_mode) else None


class Disk:
    """The folders of one store. It knows files, not objects; the store's lock is held around every change."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.own = self.root / ".storage"
        self.uploads = self.own / "uploads"
        self._aside = self.own / "aside"
        self._scratch = self.own / "scratch"
        for folder in (self._aside, self._scratch, self.uploads):
            folder.mkdir(parents=True, exist_ok=True)

    def sweep(self) -> None:
        """Throw away what a killed process left half written."""
        shutil.rmtree(self._scratch)
        self._scratch.mkdir()

    def scratch(self) -> Path:
        """Name a new file for a write in progress, in the file system where it will end."""
        return self._scratch / uuid.uuid4().hex

    def buckets(self) -> list[str]:
        """Name every folder that is a bucket, whoever made it."""
        with os.scandir(self.root) as entries:
            return sorted(entry.name for entry in entries if is_bucket_name(entry.name) and entry.is_dir())

    def bucket(self, bucket: str) -> Path:
        """The bucket's folder, which need not exist."""
        return self.root / bucket

    def plain(self, bucket: str, name: str) -> Path | None:
        """The object's readable path, or None for a name that cannot be one."""
        return self.bucket(bucket) / name if is_plain(name) else None

    def aside(self, bucket: str, generation: int) -> Path:
        """The path of an object that has no readable one."""
        return self._aside / bucket / str(generation)

    def make_room(self, bucket: str, name: str, generation: int) -> tuple[Path, bool]:
        """Prepare the place for a commit: (path, whether it is aside).

        A file `a` stands in the way of `a/b`, and a folder `a` with files in it in the way of `a`; whoever
        comes second goes aside. Empty folders make way.
        """
        plain = self.plain(bucket, name)
        if plain is not None:
            try:
                plain.parent.mkdir(parents=True, exist_ok=True)
                if not plain.is_dir() or self._remove_empty(plain):
                    return plain, False
            except OSError:
                self.prune(plain.parent, bucket)
        aside = self.aside(bucket, generation)
        aside.parent.mkdir(exist_ok=True)
        return aside, True

    def remove(self, path: Path, bucket: str) -> None:
        """Unlink a file and the folders that it leaves empty."""
        path.unlink(missing_ok=True)
        if not path.is_relative_to(self.own):
            self.prune(path.parent, bucket)

    def prune(self, folder: Path, bucket: str) -> None:
        """Remove `folder` and its parents as long as they are empty; the bucket's own folder stays."""
        top = self.bucket(bucket)
        while folder != top and folder.is_relative_to(top):
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass
            except OSError:
                return
            folder = folder.parent

    def remove_bucket(self, bucket: str) -> bool:
        """Remove an empty bucket; False when a file stands in it."""
        if not self._remove_empty(self.bucket(bucket)):
            return False
        shutil.rmtree(self._aside / bucket, ignore_errors=True)
        return True

    def has_asides(self, bucket: str) -> bool:
        """Tell whether any object of the bucket lies aside."""
        return any((self._aside / bucket).glob("*"))

    @staticmethod
    def _remove_empty(folder: Path) -> bool:
        """Remove a tree of empty folders; on the first file stop and return False."""
        for path, _, files in os.walk(folder, topdown=False):
            if files:
                return False
            try:
                os.rmdir(path)
            except OSError:
                return False
        return True
