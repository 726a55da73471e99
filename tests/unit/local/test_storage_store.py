"""The store under everything one may do to it, and under being killed between any two of its steps."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import google_crc32c
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from airflow_batch_gemini.local.storage import store
from airflow_batch_gemini.local.storage.copying import Source, compose, copy
from airflow_batch_gemini.local.storage.disk import Disk
from airflow_batch_gemini.local.storage.errors import (
    Conflict,
    Invalid,
    NotFound,
    PreconditionFailed,
    SourceChanged,
)
from airflow_batch_gemini.local.storage.index import Index
from airflow_batch_gemini.local.storage.model import Conditions, Draft
from airflow_batch_gemini.local.storage.store import Storage

BUCKET = "demo"


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    with Storage(tmp_path / "root") as made:
        made.create_bucket(BUCKET)
        yield made


def put(storage: Storage, name: str, data: bytes, **options: object) -> int:
    with storage.writer(BUCKET, name, **options) as file:
        file.write(data)
    return storage.stat(BUCKET, name).generation


def content(storage: Storage, name: str) -> bytes:
    with storage.open(BUCKET, name) as file:
        return file.read()


def checksum(data: bytes) -> int:
    return google_crc32c.value(data)


def test_nothing_is_visible_before_the_block_ends_nor_after_it_raised(storage: Storage) -> None:
    """A writer commits at the end of its block or never."""
    writer = storage.writer(BUCKET, "x")
    file = writer.__enter__()
    file.write(b"half")
    file.flush()
    assert storage.find(BUCKET, "x") is None
    error = RuntimeError("changed my mind")
    assert not writer.__exit__(RuntimeError, error, None)
    assert [*storage.list(BUCKET)] == []
    assert [*(storage.uploads_folder.parent / "scratch").iterdir()] == []


def test_a_writer_judges_its_condition_at_the_commit(storage: Storage) -> None:
    """Of two writers with `if_generation_match=0` the second to end loses, though both began on nothing."""
    slow = storage.writer(BUCKET, "x", if_generation_match=0)
    slow.__enter__().write(b"slow")
    put(storage, "x", b"fast", if_generation_match=0)
    with pytest.raises(PreconditionFailed):
        slow.__exit__(None, None, None)
    assert content(storage, "x") == b"fast"


def test_a_text_layer_may_close_the_file(storage: Storage) -> None:
    """csv, json and gzip writers close what they wrap."""
    import gzip

    with storage.writer(BUCKET, "x.gz") as file, gzip.GzipFile(fileobj=file, mode="wb") as packed:
        packed.write(b"rows")
    assert gzip.decompress(content(storage, "x.gz")) == b"rows"


def test_an_open_file_keeps_reading_what_it_opened(storage: Storage) -> None:
    """A later write is a new file."""
    put(storage, "x", b"old")
    with storage.open(BUCKET, "x") as file:
        put(storage, "x", b"new")
        storage.delete(BUCKET, "x")
        assert file.read() == b"old"


def test_a_second_process_is_kept_out(storage: Storage, tmp_path: Path) -> None:
    """One process holds a root; it is free again when the first has closed it."""
    with pytest.raises(Conflict, match="in use"):
        Storage(tmp_path / "root")
    storage.close()
    Storage(tmp_path / "root").close()


def test_an_index_of_a_newer_version_is_not_touched(tmp_path: Path) -> None:
    """A downgrade is refused instead of misreading the index."""
    import sqlite3

    Storage(tmp_path).close()
    with sqlite3.connect(tmp_path / ".storage" / "index.sqlite") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(Conflict, match="newer"):
        Storage(tmp_path)


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("gs://demo/in/part-*.jsonl", ["in/part-0.jsonl", "in/part-1.jsonl"]),
        ("gs://demo/in/*", ["in/deep/part-2.jsonl", "in/part-0.jsonl", "in/part-1.jsonl", "in/x.csv"]),
        ("gs://demo/*part-*.jsonl", ["in/deep/part-2.jsonl", "in/part-0.jsonl", "in/part-1.jsonl"]),
        ("gs://demo/in/x.csv", ["in/x.csv"]),
        ("gs://demo/in", []),
        ("gs://demo/in/part-[0].jsonl", []),
        ("gs://nothing/here*", []),
        ("gs://nothing/here", []),
    ],
)
def test_a_uri_matches_plain_names_and_stars(storage: Storage, uri: str, found: list[str]) -> None:
    """`*` stands for anything, folders included; nothing else is special."""
    for name in ("in/part-0.jsonl", "in/part-1.jsonl", "in/deep/part-2.jsonl", "in/x.csv"):
        put(storage, name, b"")
    assert [stored.name for stored in storage.match(uri)] == found


@pytest.mark.parametrize("uri", ["demo/x", "gs://demo", "gs://demo/", "gs://*/x", "s3://demo/x"])
def test_what_is_no_uri_is_refused(storage: Storage, uri: str) -> None:
    """A wrong address is an error, not an empty result."""
    with pytest.raises(Invalid, match="gs://bucket/object"):
        storage.match(uri)


def test_a_path_is_where_the_object_lies_or_would(storage: Storage, tmp_path: Path) -> None:
    """For programs that read by path; a name that is no path has one only once it is written."""
    put(storage, "a/b.txt", b"x")
    assert storage.path(BUCKET, "a/b.txt") == tmp_path / "root" / BUCKET / "a" / "b.txt"
    assert storage.path(BUCKET, "new.txt") == tmp_path / "root" / BUCKET / "new.txt"
    with pytest.raises(Invalid, match="no plain path"):
        storage.path(BUCKET, "../escape")
    put(storage, "../escape", b"y")
    assert storage.path(BUCKET, "../escape").read_bytes() == b"y"
    assert storage.path(BUCKET, "../escape").is_relative_to(tmp_path / "root")


def test_a_scratch_file_is_published_with_its_checksums(storage: Storage) -> None:
    """A program that writes by path gets the same atomic, conditional commit."""
    file = storage.scratch()
    file.write_bytes(b"rows\n")
    stored = storage.publish(
        file,
        Draft(
            bucket=BUCKET, name="e.csv", content_type="text/csv", conditions=Conditions(generation_match=0)
        ),
    )
    assert (stored.size, stored.content_type, content(storage, "e.csv")) == (5, "text/csv", b"rows\n")
    assert not file.exists()


def test_a_folder_somebody_made_is_a_bucket(storage: Storage, tmp_path: Path) -> None:
    """Its location is the default; a folder whose name cannot be a bucket's is not one."""
    (tmp_path / "root" / "by-hand").mkdir()
    (tmp_path / "root" / "Not_A_Bucket!").mkdir()
    (tmp_path / "root" / "by-hand" / "x").write_bytes(b"x")
    assert [bucket.name for bucket in storage.buckets()] == ["by-hand", BUCKET]
    assert storage.bucket_location("by-hand") == "us-central1"
    assert [stored.name for stored in storage.list("by-hand")] == ["x"]
    with pytest.raises(NotFound):
        storage.bucket_location("Not_A_Bucket!")


def test_creating_a_bucket_twice_is_a_conflict_unless_allowed(storage: Storage) -> None:
    """`exist_ok` returns the bucket as it is."""
    with pytest.raises(Conflict):
        storage.create_bucket(BUCKET)
    with pytest.raises(Invalid, match="bucket name"):
        storage.create_bucket("Not/A/Bucket")
    assert storage.create_bucket(BUCKET, location="eu", exist_ok=True).location == "us-central1"


def test_deleting_an_aside_object_of_a_blocked_name_reveals_nothing_older(storage: Storage) -> None:
    """Overwriting an object that lies aside leaves one generation of it, and deleting leaves none."""
    put(storage, "a/b", b"folder")
    for data in (b"1", b"2", b"3"):
        put(storage, "a", data)
    storage.delete(BUCKET, "a")
    assert [stored.name for stored in storage.list(BUCKET)] == ["a/b"]
    storage.delete(BUCKET, "a/b")
    put(storage, "a", b"plain now")
    assert storage.path(BUCKET, "a").parent.name == BUCKET
    storage.delete(BUCKET, "a")
    storage.delete_bucket(BUCKET)
    assert storage.buckets() == []


def test_overwriting_leaves_no_files_of_older_generations(storage: Storage, tmp_path: Path) -> None:
    """What lies aside does not pile up."""
    for data in (b"1", b"2", b"3"):
        put(storage, "folder/", data)
    assert [*tmp_path.glob("root/.storage/aside/demo/*")] == [storage.path(BUCKET, "folder/")]
    storage.delete(BUCKET, "folder/")
    assert [*tmp_path.glob("root/.storage/aside/demo/*")] == []


def test_generations_grow_though_the_clock_is_set_back(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a deletion and a restart, when nothing but the index remembers the last one."""
    generation = put(storage, "x", b"1")
    storage.delete(BUCKET, "x")
    storage.close()
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000)
    with Storage(storage.uploads_folder.parent.parent) as reopened:
        assert put(reopened, "x", b"2") > generation


def test_a_committed_file_carries_its_generation_as_its_time(storage: Storage) -> None:
    """Two commits in one tick of the file system's clock are told apart, even after a kill between them."""
    for data in (b"1", b"2"):
        generation = put(storage, "x", data)
        assert storage.path(BUCKET, "x").stat().st_mtime_ns == generation * 1000


@pytest.mark.parametrize(("changes", "known"), [(1, True), (99, False)], ids=["once", "for ever"])
def test_a_file_changed_while_it_is_hashed_is_hashed_again(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, changes: int, known: bool
) -> None:
    """Checksums are those of the bytes that are there, or none: never those of an earlier state."""
    path = storage.path(BUCKET, "growing.log")
    path.write_bytes(b"0")
    left = [changes]

    def blocks_of_a_changing_file(file: BinaryIO) -> Iterator[bytes]:
        yield file.read()
        if left[0]:
            left[0] -= 1
            with path.open("ab") as log:
                log.write(b"more")

    monkeypatch.setattr(store, "blocks", blocks_of_a_changing_file)
    found = storage.stat(BUCKET, "growing.log")
    assert (found.crc32c is not None) is known
    if known:
        assert int.from_bytes(base64.b64decode(found.crc32c or ""), "big") == checksum(b"0more")


def test_a_copy_of_a_file_that_changes_meanwhile_is_refused(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checksums of a copy are those of its source, so the source must have stood still."""
    put(storage, "x", b"12345")

    def copy_and_disturb(source: BinaryIO, target: BinaryIO, _size: int) -> None:
        target.write(source.read())
        storage.path(BUCKET, "x").write_bytes(b"54321")

    monkeypatch.setattr(shutil, "copyfileobj", copy_and_disturb)
    with pytest.raises(SourceChanged):
        copy(storage, Source(bucket=BUCKET, name="x"), lambda _: Draft(bucket=BUCKET, name="y"))
    assert storage.find(BUCKET, "y") is None


@pytest.mark.parametrize("count", [0, 33])
def test_compose_takes_one_to_thirty_two_sources(storage: Storage, count: int) -> None:
    """As Google's does."""
    put(storage, "x", b"1")
    with pytest.raises(Invalid, match="1 to 32"):
        compose(storage, [Source(bucket=BUCKET, name="x")] * count, Draft(bucket=BUCKET, name="y"))


def test_a_bucket_whose_folder_holds_what_is_no_object_is_not_deleted(
    storage: Storage, tmp_path: Path
) -> None:
    """Nothing that somebody put there is thrown away."""
    odd = tmp_path / "root" / BUCKET / "deep" / "line\nbreak"
    odd.parent.mkdir()
    odd.write_bytes(b"")
    with pytest.raises(Conflict, match="not objects"):
        storage.delete_bucket(BUCKET)
    odd.unlink()
    storage.delete_bucket(BUCKET)


# Being killed


class Killed(BaseException):
    """The process ends here: no handler of the store may run after it."""


def _kill_before(
    monkeypatch: pytest.MonkeyPatch, owner: type, method: str, when: Callable[..., bool]
) -> None:
    real = getattr(owner, method)

    def dying(self: object, *args: object, **options: object) -> object:
        if when(self, *args):
            raise Killed
        return real(self, *args, **options)

    monkeypatch.setattr(owner, method, dying)


STEPS: dict[str, tuple[type, str, Callable[..., bool]]] = {
    "before the generation": (Index, "next_generation", lambda *_: True),
    "before the row": (Index, "put", lambda *_: True),
    "before the rename": (Path, "replace", lambda *_: True),
    "before old rows go": (Index, "forget", lambda *_: True),
    "before an old file goes": (Path, "unlink", lambda path, *_: "aside" in str(path) or BUCKET in str(path)),
    "before a removal": (Disk, "remove", lambda *_: True),
}
ACTIONS: dict[str, Callable[[Storage, str], object]] = {
    "overwrite": lambda storage, name: put(storage, name, b"NEW", content_type="text/new"),
    "delete": lambda storage, name: storage.delete(BUCKET, name),
    "move away": lambda storage, name: storage.move(BUCKET, name, "moved"),
    "move onto": lambda storage, name: storage.move(BUCKET, "third", name),
}


@pytest.mark.parametrize("name", ["plain.txt", "a", "folder/"], ids=["plain", "blocked", "unusual"])
@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS.keys())
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS.keys())
def test_a_kill_at_any_step_leaves_the_old_object_or_the_new_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: tuple[type, str, Callable[..., bool]],
    action: Callable[[Storage, str], object],
    name: str,
) -> None:
    """Whole, with its own type and checksum, and under a generation that still means the same bytes."""
    storage = Storage(tmp_path)
    storage.create_bucket(BUCKET)
    put(storage, "a/b", b"makes `a` a folder")
    put(storage, "third", b"THIRD", content_type="text/third")
    put(storage, name, b"older", content_type="text/older")
    put(storage, name, b"OLD", content_type="text/old")
    before = {stored.name: stored for stored in storage.list(BUCKET)}
    with monkeypatch.context() as patched:
        _kill_before(patched, *step)
        with contextlib.suppress(Killed):
            action(storage, name)
    storage.close()
    with Storage(tmp_path) as reopened:
        after = {stored.name: stored for stored in reopened.list(BUCKET)}
        types = {b"OLD": "text/old", b"NEW": "text/new", b"THIRD": "text/third"}
        for found in after.values():
            data = content(reopened, found.name)
            assert data != b"older"
            assert (found.size, found.content_type) == (
                len(data),
                types.get(data, "application/octet-stream"),
            )
            assert int.from_bytes(base64.b64decode(found.crc32c), "big") == checksum(data)
            if found.name in before and before[found.name].generation == found.generation:
                assert before[found.name] == found
        if name in after:
            reopened.move(BUCKET, name, "elsewhere/")
        assert reopened.find(BUCKET, name) is None
        assert put(reopened, name, b"LAST") > max(stored.generation for stored in before.values())
        assert content(reopened, name) == b"LAST"
        _empty(reopened)


def _empty(storage: Storage) -> None:
    """Delete every object, then the bucket: no file of any older generation is in the way."""
    for stored in [*storage.list(BUCKET)]:
        storage.delete(BUCKET, stored.name)
    assert [*storage.uploads_folder.parent.glob("aside/demo/*")] == []
    storage.delete_bucket(BUCKET)
    assert storage.buckets() == []


WRITER = """
import sys, pathlib
from airflow_batch_gemini.local.storage.store import Storage
with Storage(pathlib.Path(sys.argv[1])) as storage:
    storage.create_bucket("demo", exist_ok=True)
    print("ready", flush=True)
    number = int(sys.argv[2])
    while True:
        number += 1
        for name in ("ledger.json", "folder/"):
            with storage.writer("demo", name, content_type=f"text/{number:09}") as file:
                file.write(f"{number:09}".encode())
        print(number, storage.stat("demo", "ledger.json").generation, flush=True)
"""


def test_a_process_killed_in_the_middle_of_writing_leaves_bytes_and_metadata_that_agree(
    tmp_path: Path,
) -> None:
    """Real kill -9 of a process that overwrites as fast as it can; what it reported as written is there."""
    number, generation = 0, 0
    for turn in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(number)], stdout=subprocess.PIPE, text=True
        )
        with process:
            for _ in range(random.Random(turn).randint(20, 120)):
                last = process.stdout.readline().split()
            os.kill(process.pid, signal.SIGKILL)
            reported = [line.split() for line in process.stdout.read().splitlines()]
        complete = [words for words in [last, *reported] if len(words) == 2]
        with Storage(tmp_path) as storage:
            for name in ("ledger.json", "folder/"):
                stored = storage.stat(BUCKET, name)
                data = content(storage, name)
                assert stored.content_type == f"text/{data.decode()}"
                assert int(data) in (int(complete[-1][0]), int(complete[-1][0]) + 1)
            ledger = storage.stat(BUCKET, "ledger.json")
            assert ledger.generation >= int(complete[-1][1]) > generation
            number, generation = int(content(storage, "ledger.json")), ledger.generation
            assert [*(tmp_path / ".storage" / "scratch").iterdir()] == []


# Everything at once

NAMES = st.sampled_from(["a", "a/b", "a/b/c", "a.x", "b", "b//c", "b/", "../up", "ünï cöde:1", "z" * 260])
DATA = st.binary(max_size=8)


class StoreMachine(RuleBasedStateMachine):
    """The store against a dictionary of name to bytes, with files put, changed and removed by hand in between."""

    @initialize()
    def open(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.storage = Storage(self.root)
        self.storage.create_bucket(BUCKET)
        self.model: dict[str, bytes] = {}
        self.generations: dict[str, int] = {}
        self.highest = 0
        self.hands = 0

    def teardown(self) -> None:
        _empty(self.storage)
        self.storage.close()
        shutil.rmtree(self.root)

    def _wrote(self, name: str, data: bytes, generation: int) -> None:
        assert generation > self.highest
        self.highest = generation
        self.model[name] = data
        self.generations[name] = generation

    @rule(name=NAMES, data=DATA)
    def write(self, name: str, data: bytes) -> None:
        self._wrote(name, data, put(self.storage, name, data))

    @rule(name=NAMES, data=DATA, right=st.booleans())
    def write_if(self, name: str, data: bytes, right: bool) -> None:
        current = self.generations.get(name, 0)
        if right:
            self._wrote(name, data, put(self.storage, name, data, if_generation_match=current))
        else:
            with pytest.raises(PreconditionFailed):
                put(self.storage, name, data, if_generation_match=current + 1)

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        if name in self.model:
            self.storage.delete(BUCKET, name, if_generation_match=self.generations[name])
            del self.model[name], self.generations[name]
        else:
            with pytest.raises(NotFound):
                self.storage.delete(BUCKET, name)

    @precondition(lambda self: self.model)
    @rule(source=st.randoms(use_true_random=False), to=NAMES)
    def move(self, source: random.Random, to: str) -> None:
        name = source.choice(sorted(self.model))
        if name == to:
            with pytest.raises(Invalid):
                self.storage.move(BUCKET, name, to)
            return
        generation = self.storage.move(BUCKET, name, to).generation
        data = self.model.pop(name)
        del self.generations[name]
        self._wrote(to, data, generation)

    @precondition(lambda self: self.model)
    @rule(source=st.randoms(use_true_random=False), to=NAMES)
    def copy_or_compose(self, source: random.Random, to: str) -> None:
        name = source.choice(sorted(self.model))
        draft = Draft(bucket=BUCKET, name=to)
        if source.random() < 0.5:
            made = copy(self.storage, Source(bucket=BUCKET, name=name), lambda _: draft)
            self._wrote(to, self.model[name], made.generation)
        else:
            made = compose(self.storage, [Source(bucket=BUCKET, name=name)] * 2, draft)
            self._wrote(to, self.model[name] * 2, made.generation)

    @rule(name=st.sampled_from(["a", "a/b", "hand", "a.x"]), data=DATA)
    def write_by_hand(self, name: str, data: bytes) -> None:
        path = self.root / BUCKET / name
        if path.is_dir() or any(parent.is_file() for parent in path.relative_to(self.root).parents):
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            return
        path.write_bytes(data)
        # Two writes in one tick of the file system's clock look like one; people are slower.
        self.hands += 1
        os.utime(path, ns=(self.hands, self.hands))
        self._wrote(name, data, self.storage.stat(BUCKET, name).generation)

    @precondition(lambda self: self.model)
    @rule(source=st.randoms(use_true_random=False))
    def remove_by_hand(self, source: random.Random) -> None:
        name = source.choice(sorted(self.model))
        path = self.root / BUCKET / name
        if "z" not in name and ".." not in name and os.path.normpath(name) == name and path.is_file():
            path.unlink()
            del self.model[name], self.generations[name]

    @rule()
    def restart(self) -> None:
        self.storage.close()
        self.storage = Storage(self.root)

    @invariant()
    def the_store_shows_what_the_dictionary_holds(self) -> None:
        if not hasattr(self, "storage"):
            return
        listed = [*self.storage.list(BUCKET)]
        assert [stored.name for stored in listed] == sorted(self.model)
        for stored in listed:
            data = self.model[stored.name]
            assert content(self.storage, stored.name) == data
            assert (stored.size, stored.generation) == (len(data), self.generations[stored.name])
            assert json.dumps(stored.crc32c) != "null"


StoreMachine.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestTheStoreAgainstADictionary = StoreMachine.TestCase
