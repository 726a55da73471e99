"""Cloud Storage's wire: Google's own client library against the local cloud, and what racing writers see."""

from __future__ import annotations

import base64
import hashlib
import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import google_crc32c
import pytest
from google.api_core.exceptions import Conflict, GoogleAPICallError, NotFound, PreconditionFailed
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage as gcs
from google.cloud.storage.exceptions import InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY
from storage_server import Server

CHUNK = 256 * 1024
NAMES = [
    "requests/part-00000.jsonl",
    "prediction-model-2026-11-22T10:00:00.123456Z/predictions.jsonl",
    "with space + plus & ampersand?.txt",
    "already%2Fencoded%20.txt",
    "日本語/ünïcode 🐍.txt",
    "folder/",
    "double//slash",
    "/leading",
    "../../escape",
    "a/../b",
    "x" * 300,
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("cloud"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[gcs.Client]:
    made = gcs.Client(
        project="demo", credentials=AnonymousCredentials(), client_options={"api_endpoint": server.url}
    )
    yield made
    made.close()


@pytest.fixture
def bucket(client: gcs.Client, request: pytest.FixtureRequest) -> gcs.Bucket:
    """A fresh bucket for every test."""
    number = len(list(client.list_buckets()))
    return client.create_bucket(f"test-{number:04}", location="europe-west4")


def crc32c(data: bytes) -> str:
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


def test_a_bucket_is_created_found_labelled_and_deleted(client: gcs.Client) -> None:
    """The life of a bucket; its location is shown in capitals as Google does."""
    made = client.create_bucket("life-of-a-bucket", location="us-central1")
    assert client.get_bucket("life-of-a-bucket").location == "US-CENTRAL1"
    assert "life-of-a-bucket" in [found.name for found in client.list_buckets(prefix="life-")]
    made.labels = {"team": "data"}
    made.patch()
    assert client.get_bucket("life-of-a-bucket").labels == {"team": "data"}
    with pytest.raises(Conflict):
        client.create_bucket("life-of-a-bucket")
    blob = made.blob("x")
    blob.upload_from_string("x")
    with pytest.raises(Conflict, match="not empty"):
        made.delete()
    blob.delete()
    made.delete()
    assert client.lookup_bucket("life-of-a-bucket") is None


def test_versioning_is_refused_rather_than_pretended(client: gcs.Client, bucket: gcs.Bucket) -> None:
    """A feature that would lose data silently is an error."""
    bucket.versioning_enabled = True
    with pytest.raises(Exception, match="noncurrent"):
        bucket.patch()


@pytest.mark.parametrize("name", NAMES)
def test_an_object_of_any_name_comes_back_and_lists(bucket: gcs.Bucket, name: str) -> None:
    """Names with slashes, colons, percent signs, other scripts, and names that try to leave the root."""
    bucket.blob(name).upload_from_string(name.encode())
    assert bucket.blob(name).download_as_bytes() == name.encode()
    found = bucket.get_blob(name)
    assert (found.name, found.size, found.crc32c) == (name, len(name.encode()), crc32c(name.encode()))
    assert [blob.name for blob in bucket.list_blobs()] == [name]
    found.delete()
    assert not bucket.blob(name).exists()


def test_no_name_ever_writes_outside_of_the_root(server: Server, bucket: gcs.Bucket) -> None:
    """`..` and absolute names stay in the folder that holds what has no readable path."""
    for name in ("../up", "../../up", "/etc/up", "a/../../../up"):
        bucket.blob(name).upload_from_string("x")
    assert not list(server.root.parent.rglob("up"))
    assert not list(server.root.rglob("up"))
    assert sorted(blob.name for blob in bucket.list_blobs()) == [
        "../../up",
        "../up",
        "/etc/up",
        "a/../../../up",
    ]


def test_a_file_and_a_folder_of_the_same_name_live_side_by_side(server: Server, bucket: gcs.Bucket) -> None:
    """`a`, `a/b` and `a/b/c` are three objects."""
    for name in ("a/b", "a", "a/b/c"):
        bucket.blob(name).upload_from_string(name)
    assert [blob.name for blob in bucket.list_blobs()] == ["a", "a/b", "a/b/c"]
    assert [bucket.blob(name).download_as_text() for name in ("a", "a/b", "a/b/c")] == ["a", "a/b", "a/b/c"]
    assert (server.root / bucket.name / "a" / "b").read_text() == "a/b"


def test_an_ordinary_object_is_a_plain_file(server: Server, bucket: gcs.Bucket) -> None:
    """What a person sees in the folder is what was uploaded."""
    bucket.blob("jobs/one/rows.jsonl").upload_from_string("{}\n", content_type="application/jsonl")
    assert (server.root / bucket.name / "jobs/one/rows.jsonl").read_text() == "{}\n"
    assert bucket.get_blob("jobs/one/rows.jsonl").content_type == "application/jsonl"


def test_a_file_that_appears_is_an_object_and_a_changed_one_has_a_new_generation(
    server: Server, bucket: gcs.Bucket
) -> None:
    """Files of other programs get generations, checksums and a guessed type."""
    file = server.root / bucket.name / "export" / "page.html"
    file.parent.mkdir()
    file.write_bytes(b"<p>one</p>")
    first = bucket.get_blob("export/page.html")
    assert (first.content_type, first.md5_hash) == (
        "text/html",
        base64.b64encode(hashlib.md5(b"<p>one</p>").digest()).decode(),
    )
    assert bucket.get_blob("export/page.html").generation == first.generation
    file.write_bytes(b"<p>two</p>")
    second = bucket.get_blob("export/page.html")
    assert second.generation > first.generation
    assert second.download_as_bytes() == b"<p>two</p>"
    with pytest.raises(PreconditionFailed):
        bucket.blob("export/page.html").delete(if_generation_match=first.generation)


def test_generations_grow_over_overwriting_and_deleting(bucket: gcs.Bucket) -> None:
    """A deleted and rewritten object is another one."""
    seen = []
    for _ in range(3):
        blob = bucket.blob("again")
        blob.upload_from_string("a")
        seen.append(blob.generation)
        blob.upload_from_string("b")
        seen.append(blob.generation)
        blob.delete()
    assert seen == sorted(set(seen))


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 9 * 1024 * 1024])
@pytest.mark.parametrize("chunk_size", [None, CHUNK], ids=["one-piece", "resumable"])
def test_an_upload_of_any_size_comes_back_checked(
    bucket: gcs.Bucket, size: int, chunk_size: int | None
) -> None:
    """Multipart below 8 MB, resumable above or in chunks; the client checks crc32c both ways."""
    data = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    blob = bucket.blob("data.bin", chunk_size=chunk_size)
    blob.upload_from_file(io.BytesIO(data), size=size, checksum="crc32c")
    assert (blob.size, blob.crc32c) == (size, crc32c(data))
    assert blob.md5_hash == base64.b64encode(hashlib.md5(data).digest()).decode()
    assert bucket.blob("data.bin").download_as_bytes(checksum="crc32c") == data
    assert bucket.blob("data.bin", chunk_size=chunk_size).download_as_bytes() == data


def test_a_stream_of_unknown_length_is_uploaded(bucket: gcs.Bucket) -> None:
    """`blob.open("wb")` does not know the total before the last chunk."""
    with bucket.blob("stream").open("wb", chunk_size=CHUNK) as file:
        for _ in range(10):
            file.write(b"x" * 100_000)
    assert bucket.get_blob("stream").size == 1_000_000
    with bucket.blob("stream").open("rb", chunk_size=CHUNK) as file:
        file.seek(999_990)
        assert file.read() == b"x" * 10


def race(work: Callable[[int], None], *, writers: int = 16) -> list[Exception | None]:
    """Let many threads do the work at the same moment; return what each of them got."""
    gate = threading.Barrier(writers)

    def one(number: int) -> Exception | None:
        gate.wait()
        try:
            work(number)
        except (GoogleAPICallError, InvalidResponse) as error:
            return error
        return None

    with ThreadPoolExecutor(writers) as pool:
        return list(pool.map(one, range(writers)))


def test_of_sixteen_racing_creators_exactly_one_wins(bucket: gcs.Bucket) -> None:
    """`if_generation_match=0` is judged together with the commit."""
    for turn in range(5):
        name = f"ledger/{turn}.json"
        outcomes = race(
            lambda number, name=name: bucket.blob(name).upload_from_string(str(number), if_generation_match=0)
        )
        winners = [number for number, outcome in enumerate(outcomes) if outcome is None]
        assert len(winners) == 1
        assert all(isinstance(outcome, PreconditionFailed) for outcome in outcomes if outcome)
        assert bucket.blob(name).download_as_text() == str(winners[0])


def test_of_sixteen_racing_resumable_creators_exactly_one_wins(bucket: gcs.Bucket) -> None:
    """The condition of a resumable upload is judged at its end; there the client calls a 412 InvalidResponse."""

    def upload(number: int) -> None:
        blob = bucket.blob("big", chunk_size=CHUNK)
        blob.upload_from_file(io.BytesIO(bytes([number]) * (2 * CHUNK)), if_generation_match=0)

    outcomes = race(upload)
    winners = [number for number, outcome in enumerate(outcomes) if outcome is None]
    assert len(winners) == 1
    assert all(isinstance(outcome, PreconditionFailed | InvalidResponse) for outcome in outcomes if outcome)
    assert bucket.blob("big").download_as_bytes() == bytes([winners[0]]) * (2 * CHUNK)


def test_racing_compare_and_set_loses_no_update(bucket: gcs.Bucket) -> None:
    """Eight writers add one to a counter until each of them has succeeded: the counter is eight."""
    bucket.blob("counter").upload_from_string("0")

    def add(_: int) -> None:
        while True:
            blob = bucket.get_blob("counter")
            try:
                value = int(blob.download_as_text(if_generation_match=blob.generation)) + 1
                bucket.blob("counter").upload_from_string(str(value), if_generation_match=blob.generation)
            except (PreconditionFailed, NotFound):
                continue
            return

    assert race(add, writers=8) == [None] * 8
    assert bucket.blob("counter").download_as_text() == "8"


Act = Callable[[gcs.Blob, dict[str, int]], object]
ACTS: dict[str, Act] = {
    "upload": lambda blob, conditions: blob.upload_from_string("new", **conditions),
    "patch": lambda blob, conditions: blob.patch(**conditions),
    "delete": lambda blob, conditions: blob.delete(**conditions),
    "reload": lambda blob, conditions: blob.reload(**conditions),
    "download": lambda blob, conditions: blob.download_as_bytes(**conditions),
    "compose": lambda blob, conditions: blob.compose([blob.bucket.blob("other")], **conditions),
    "rewrite": lambda blob, conditions: blob.rewrite(blob.bucket.blob("other"), **conditions),
    "copy": lambda blob, conditions: blob.bucket.copy_blob(
        blob.bucket.blob("other"), blob.bucket, blob.name, **conditions
    ),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())
@pytest.mark.parametrize("condition", ["if_generation_match", "if_metageneration_match"])
def test_a_wrong_match_is_refused_and_a_right_one_is_not(
    bucket: gcs.Bucket, act: Act, condition: str
) -> None:
    """Every call on an object honours both kinds of match."""
    bucket.blob("other").upload_from_string("other")
    blob = bucket.blob("thing")
    blob.upload_from_string("old")
    right = {"if_generation_match": blob.generation, "if_metageneration_match": blob.metageneration}[
        condition
    ]
    blob = bucket.blob("thing")
    blob.metadata = {"k": "v"}
    with pytest.raises(PreconditionFailed):
        act(blob, {condition: right + 1})
    assert bucket.blob("thing").download_as_bytes() == b"old"
    act(blob, {condition: right})


@pytest.mark.parametrize("act", ["upload", "patch", "delete"])
def test_a_not_match_refuses_a_writer(bucket: gcs.Bucket, act: str) -> None:
    """`ifGenerationNotMatch` of the live generation is a 412 for writers."""
    blob = bucket.blob("thing")
    blob.upload_from_string("old")
    with pytest.raises(PreconditionFailed):
        ACTS[act](bucket.blob("thing"), {"if_generation_not_match": blob.generation})
    with pytest.raises(PreconditionFailed):
        ACTS[act](bucket.blob("thing"), {"if_metageneration_not_match": 1})
    ACTS[act](bucket.blob("thing"), {"if_generation_not_match": 7})


def test_the_conditions_on_the_source_of_a_copy_are_judged(bucket: gcs.Bucket) -> None:
    """`ifSourceGenerationMatch` guards rewrite, copy and move."""
    source = bucket.blob("source")
    source.upload_from_string("data")
    wrong = source.generation + 1
    with pytest.raises(PreconditionFailed):
        bucket.blob("copy").rewrite(source, if_source_generation_match=wrong)
    with pytest.raises(PreconditionFailed):
        bucket.copy_blob(source, bucket, "copy", if_source_generation_match=wrong)
    with pytest.raises(PreconditionFailed):
        bucket.move_blob(source, "copy", if_source_generation_match=wrong)
    assert [blob.name for blob in bucket.list_blobs()] == ["source"]
    bucket.blob("copy").rewrite(source, if_source_generation_match=source.generation)
    assert bucket.blob("copy").download_as_bytes() == b"data"


def test_a_rewrite_keeps_type_and_metadata_and_gets_its_own_generation(
    client: gcs.Client, bucket: gcs.Bucket
) -> None:
    """One call is enough, also between buckets; checksums travel with the bytes."""
    source = bucket.blob("in.csv")
    source.metadata = {"owner": "me"}
    source.upload_from_string(b"a,b\n" * 1000, content_type="text/csv")
    other = client.create_bucket(f"{bucket.name}-other")
    target = other.blob("copies/in.csv")
    token, rewritten, total = target.rewrite(source)
    assert (token, rewritten, total) == (None, 4000, 4000)
    target.reload()
    assert (target.content_type, target.metadata, target.crc32c) == (
        "text/csv",
        {"owner": "me"},
        source.crc32c,
    )
    assert target.generation > source.generation
    assert target.download_as_bytes(checksum="md5") == b"a,b\n" * 1000


def test_a_move_renames_in_one_step(server: Server, bucket: gcs.Bucket) -> None:
    """The source is gone, the target has a new generation, an empty folder does not remain."""
    source = bucket.blob("deep/er/source")
    source.metadata = {"k": "v"}
    source.upload_from_string("data")
    old = source.generation
    moved = bucket.move_blob(source, "target")
    assert [blob.name for blob in bucket.list_blobs()] == ["target"]
    moved.reload()
    assert (moved.metadata, moved.generation > old) == ({"k": "v"}, True)
    assert not (server.root / bucket.name / "deep").exists()


def test_compose_concatenates_and_has_no_md5(bucket: gcs.Bucket) -> None:
    """Up to 32 sources, in order; composed objects count their components."""
    for number in range(3):
        bucket.blob(f"part-{number}").upload_from_string(str(number) * 10, content_type="text/plain")
    whole = bucket.blob("whole")
    whole.compose([bucket.blob(f"part-{number}") for number in range(3)], if_generation_match=0)
    assert (whole.component_count, whole.md5_hash, whole.size) == (3, None, 30)
    assert whole.download_as_text() == "0" * 10 + "1" * 10 + "2" * 10
    with pytest.raises(NotFound):
        whole.compose([bucket.blob("part-0"), bucket.blob("nothing")])
    assert whole.download_as_text() == "0" * 10 + "1" * 10 + "2" * 10


def test_metadata_changes_leave_the_bytes_and_count_up(bucket: gcs.Bucket) -> None:
    """Patch merges, null removes, update replaces; the generation stays."""
    blob = bucket.blob("m")
    blob.metadata = {"a": "1", "b": "2"}
    blob.upload_from_string("x")
    generation = blob.generation
    blob.metadata = {"a": None, "c": "3"}
    blob.cache_control = "no-cache"
    blob.patch()
    fresh = bucket.get_blob("m")
    assert fresh.metadata == {"b": "2", "c": "3"}
    assert (fresh.generation, fresh.metageneration, fresh.cache_control) == (generation, 2, "no-cache")
    assert fresh.updated > fresh.time_created
    fresh.metadata = {"only": "this"}
    fresh.update()
    assert bucket.get_blob("m").metadata == {"only": "this"}


def test_listing_rolls_up_pages_and_matches(bucket: gcs.Bucket) -> None:
    """Prefix, delimiter, offsets, globs, small pages: what each asks for, sorted."""
    names = ["a", "a.b", "a/1", "a/2", "a/deep/x", "b/1.csv", "b/2.jsonl", "c0", "c/"]
    for name in names:
        bucket.blob(name).upload_from_string("")

    def listed(**query: object) -> list[str]:
        return [blob.name for blob in bucket.list_blobs(**query)]

    assert listed() == sorted(names)
    assert listed(page_size=2) == sorted(names)
    assert listed(prefix="a/") == ["a/1", "a/2", "a/deep/x"]
    assert listed(start_offset="a/2", end_offset="c") == ["a/2", "a/deep/x", "b/1.csv", "b/2.jsonl"]
    assert listed(match_glob="**/*.{csv,jsonl}") == ["b/1.csv", "b/2.jsonl"]
    assert listed(match_glob="a/*") == ["a/1", "a/2"]
    assert listed(max_results=3) == sorted(names)[:3]
    for page_size in (None, 1):
        found = bucket.list_blobs(delimiter="/", page_size=page_size)
        assert [blob.name for blob in found] == ["a", "a.b", "c0"]
        assert found.prefixes == {"a/", "b/", "c/"}
    found = bucket.list_blobs(delimiter="/", include_trailing_delimiter=True)
    assert [blob.name for blob in found] == ["a", "a.b", "c/", "c0"]


def test_a_batch_answers_each_call_for_itself(client: gcs.Client, bucket: gcs.Bucket) -> None:
    """Deletes and patches in one request; the failing one spoils no other."""
    for name in ("one", "two/ü x", "three"):
        bucket.blob(name).upload_from_string(name)
    three = bucket.blob("three")
    three.metadata = {"k": "v"}
    with client.batch(raise_exception=False) as batch:
        bucket.delete_blob("one")
        bucket.delete_blob("nothing")
        bucket.delete_blob("two/ü x")
        three.patch()
    assert [response.status_code for response in batch._responses] == [204, 404, 204, 200]
    assert [(blob.name, blob.metadata) for blob in bucket.list_blobs()] == [("three", {"k": "v"})]
    with pytest.raises(NotFound), client.batch():
        bucket.delete_blob("nothing")


def test_gzip_is_undone_only_for_readers_who_cannot(bucket: gcs.Bucket) -> None:
    """`contentEncoding: gzip` travels as Google serves it."""
    import gzip

    packed = gzip.compress(b"plain text " * 100)
    blob = bucket.blob("packed.txt")
    blob.content_encoding = "gzip"
    blob.upload_from_string(packed, content_type="text/plain")
    assert bucket.blob("packed.txt").download_as_bytes() == b"plain text " * 100
    assert bucket.blob("packed.txt").download_as_bytes(raw_download=True) == packed


def test_what_is_not_there_is_not_found(client: gcs.Client, bucket: gcs.Bucket) -> None:
    """No object, no generation, no bucket."""
    blob = bucket.blob("gone")
    with pytest.raises(NotFound):
        blob.download_as_bytes()
    with pytest.raises(NotFound):
        blob.delete()
    blob.upload_from_string("x")
    old = blob.generation
    blob.upload_from_string("y")
    with pytest.raises(NotFound):
        bucket.blob("gone", generation=old).download_as_bytes()
    with pytest.raises(NotFound):
        client.bucket("no-such-bucket").blob("x").upload_from_string("x", retry=DEFAULT_RETRY)


def test_a_wrong_checksum_leaves_nothing(bucket: gcs.Bucket) -> None:
    """Bytes that are not what the client promised never become an object."""
    blob = bucket.blob("broken")
    blob.md5_hash = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    with pytest.raises(Exception, match="MD5"):
        blob.upload_from_string("data", checksum=None)
    assert not bucket.blob("broken").exists()
