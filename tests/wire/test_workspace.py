"""WorkspaceHook through the real storage client against the local Cloud Storage."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import google_crc32c
import pytest
import requests
from google.api_core.exceptions import NotFound, RetryError, ServiceUnavailable
from google.auth.exceptions import TransportError
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from storage_server import Server

from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.exceptions import EndpointError, ServiceError
from airflow_batch_gemini.hooks import _storage
from airflow_batch_gemini.hooks.workspace import ObjectWriter, PreconditionLost, WorkspaceHook

FOLDER = GcsUri.parse("gs://team/folder")
ANONYMOUS = {"conn_type": "google_cloud_platform", "extra": {"is_anonymous": True, "project": "demo"}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Cloud Storage on a free port."""
    server = Server(tmp_path_factory.mktemp("storage"))
    yield server
    server.stop()


@pytest.fixture
def hook(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkspaceHook]:
    """A hook that talks to it, and an empty bucket ``work`` in us-central1."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(ANONYMOUS))
    server.storage.create_bucket("team", location="us-central1", exist_ok=True)
    for found in list(server.storage.list("team")):
        server.storage.delete("team", found.name)
    hook = WorkspaceHook()
    yield hook
    hook.close()
    hook.close()


def test_what_is_written_is_read_with_its_generation_and_checksum(hook: WorkspaceHook) -> None:
    """The info of a write is the info of the read after it."""
    written = hook.write(FOLDER / "a.json", b'{"a": 1}')
    stored = hook.read(FOLDER / "a.json")
    assert stored is not None
    assert stored.data == b'{"a": 1}'
    assert stored.info == written == hook.stat(FOLDER / "a.json")
    assert (written.uri, written.size) == ("gs://team/folder/a.json", 8)
    assert written.generation > 0
    assert written.updated > 1_700_000_000


def test_an_object_that_is_not_there_is_none(hook: WorkspaceHook) -> None:
    """And only that."""
    assert hook.read(FOLDER / "none") is None
    assert hook.stat(FOLDER / "none") is None
    assert hook.delete(FOLDER / "none") is False


def test_a_condition_on_the_generation_decides_who_writes(hook: WorkspaceHook) -> None:
    """0 creates, a number replaces exactly that, anything else is lost."""
    uri = FOLDER / "ledger.json"
    first = hook.write(uri, b"1", if_generation=0)
    with pytest.raises(PreconditionLost, match=r"ledger\.json"):
        hook.write(uri, b"2", if_generation=0)
    second = hook.write(uri, b"2", if_generation=first.generation)
    with pytest.raises(PreconditionLost):
        hook.write(uri, b"3", if_generation=first.generation)
    assert hook.read(uri).info == second  # type: ignore[union-attr]  # it was written two lines above
    assert hook.delete(uri, if_generation=first.generation) is False
    assert hook.delete(uri, if_generation=second.generation) is True
    assert hook.stat(uri) is None


@pytest.mark.parametrize("size", [0, 1, _storage.CHUNK_BYTES, 2 * _storage.CHUNK_BYTES + 5])
def test_a_stream_of_any_length_appears_whole(hook: WorkspaceHook, size: int) -> None:
    """Empty, small, exactly one chunk, several chunks: the checksum is that of what was written."""
    data = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    with hook.writer(FOLDER / "big.bin") as out:
        for start in range(0, size, 1_000_000):
            assert out.write(data[start : start + 1_000_000]) == len(data[start : start + 1_000_000])
        assert hook.stat(FOLDER / "big.bin") is None
    assert out.info is not None
    assert (out.info.size, out.size) == (size, size)
    assert out.info == hook.stat(FOLDER / "big.bin")
    stored = hook.read(FOLDER / "big.bin")
    assert stored is not None
    assert stored.data == data
    assert int.from_bytes(_decoded(out.info.crc32c), "big") == google_crc32c.value(data)


@pytest.mark.parametrize("written", [10, _storage.CHUNK_BYTES + 10])
def test_a_stream_that_breaks_off_leaves_nothing(hook: WorkspaceHook, written: int) -> None:
    """Not even when the garbage collector closes what was left open."""
    with pytest.raises(KeyboardInterrupt), hook.writer(FOLDER / "half.bin") as out:
        out.write(b"x" * written)
        raise KeyboardInterrupt
    del out
    gc.collect()
    assert hook.stat(FOLDER / "half.bin") is None


def uploading() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("upload")]


def test_a_stream_that_is_stopped_as_it_begins_leaves_no_thread(
    hook: WorkspaceHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task's time may be over while the thread starts; one that waits for ever keeps its process alive."""
    submit = ThreadPoolExecutor.submit

    def stopped(self: ThreadPoolExecutor, *work: Any) -> Any:
        submit(self, *work)
        raise KeyboardInterrupt

    monkeypatch.setattr(ThreadPoolExecutor, "submit", stopped)
    with pytest.raises(KeyboardInterrupt), hook.writer(FOLDER / "half.bin"):
        pytest.fail("it began")
    assert uploading() == []
    assert hook.stat(FOLDER / "half.bin") is None


@pytest.mark.parametrize("written", [10, _storage.CHUNK_BYTES])
def test_a_stream_that_is_stopped_while_its_last_chunk_arrives_leaves_nothing(
    hook: WorkspaceHook, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """It may be whole by then; what was there before is not brought back, and nobody takes it for what it was."""
    result, waits = Future.result, []

    def stopped(self: Future[Any], timeout: float | None = None) -> Any:
        waits.append(result(self, timeout))
        raise KeyboardInterrupt

    monkeypatch.setattr(Future, "result", stopped)
    with pytest.raises(KeyboardInterrupt), hook.writer(FOLDER / "half.bin") as out:
        out.write(b"x" * written)
    assert waits == [None]
    assert uploading() == []
    assert hook.stat(FOLDER / "half.bin") is None


def test_a_stream_whose_upload_dies_is_told_while_it_is_written(hook: WorkspaceHook, server: Server) -> None:
    """Nobody waits for a thread that is gone, nor learns the upload's address, by which it could be gone on with."""

    def uploads() -> set[str]:
        return {note.stem for note in server.storage.uploads_folder.glob("*.json")}

    before = uploads()
    with pytest.raises(ServiceError, match="499") as caught, hook.writer(FOLDER / "half.bin") as out:
        out.write(b"x" * (2 * _storage.CHUNK_BYTES))  # the second one waits until the first is taken
        [upload] = uploads() - before
        address = f"{server.url}/upload/storage/v1/b/team/o"
        assert requests.delete(address, params={"upload_id": upload}, timeout=10).status_code == 499
        for _ in range(4):
            out.write(b"x" * _storage.CHUNK_BYTES)
        pytest.fail("the stream took four more chunks that nobody can have")
    assert upload not in str(caught.value)
    assert hook.stat(FOLDER / "half.bin") is None


@pytest.mark.parametrize("after", ["", " refused", ": 410 Gone: (x)"])
def test_an_error_tells_an_address_without_its_query(after: str) -> None:
    """Wherever in the client's words it stands."""
    said = f"PUT https://host/upload/b/o?uploadType=resumable&upload_id=AB:C-d{after}"
    with pytest.raises(ServiceError) as caught, _storage.translated("writing gs://team/a"):
        raise ServiceUnavailable(said)
    assert f"PUT https://host/upload/b/o{after}" in str(caught.value)
    assert "upload_id" not in str(caught.value)


def test_a_stream_keeps_the_old_object_until_it_is_whole(hook: WorkspaceHook) -> None:
    """A conditional stream that comes too late changes nothing."""
    old = hook.write(FOLDER / "a", b"old")
    with pytest.raises(PreconditionLost), hook.writer(FOLDER / "a", if_generation=old.generation) as out:
        out.write(b"late")
        new = hook.write(FOLDER / "a", b"new")
    del out
    gc.collect()
    assert hook.stat(FOLDER / "a") == new


def test_a_stream_that_somebody_overwrites_at_once_is_still_what_was_written(
    hook: WorkspaceHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks later finds another generation."""
    finish = ObjectWriter.finish

    def overwritten(self: ObjectWriter) -> None:
        finish(self)
        hook.write(FOLDER / "a", b"somebody else")

    monkeypatch.setattr(ObjectWriter, "finish", overwritten)
    with hook.writer(FOLDER / "a") as out:
        out.write(b"mine")
    there = hook.stat(FOLDER / "a")
    assert out.info is not None
    assert there is not None
    assert (out.info.size, there.size) == (4, 13)
    assert out.info.generation < there.generation


def test_a_reader_sees_one_generation(hook: WorkspaceHook) -> None:
    """Seekable; an object replaced meanwhile breaks it off instead of mixing two."""
    hook.write(FOLDER / "a", b"0123456789" * 100_000)
    with hook.reader(FOLDER / "a", chunk_bytes=1 << 18) as stream:
        assert stream.read(10) == b"0123456789"
        stream.seek(999_995)
        assert stream.read() == b"56789"
        stream.seek(0)
        hook.write(FOLDER / "a", b"other")
        with pytest.raises(NotFound):
            stream.read(600_000)
    with pytest.raises(ServiceError, match="reading") as caught, hook.reader(FOLDER / "a") as stream:
        hook.delete(FOLDER / "a")
        stream.read()
    assert caught.value.http_status == 404
    with pytest.raises(ServiceError, match="does not exist"), hook.reader(FOLDER / "a"):
        pass


def test_a_read_that_meets_a_replacement_looks_again(
    hook: WorkspaceHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes are always those of the generation that is returned with them."""
    stat, left = hook.stat, [2]
    hook.write(FOLDER / "a", b"0")

    def replaced(uri: GcsUri) -> Any:
        info = stat(uri)
        if left[0]:
            left[0] -= 1
            hook.write(uri, b"%d" % left[0])
        return info

    monkeypatch.setattr(hook, "stat", replaced)
    stored = hook.read(FOLDER / "a")
    assert stored is not None
    assert stored.info == stat(FOLDER / "a")
    left[0] = 99
    with pytest.raises(ServiceError, match="changed 5 times"):
        hook.read(FOLDER / "a")


def test_a_copy_is_the_same_bytes_under_another_name(hook: WorkspaceHook) -> None:
    """Made by the server; a source that is missing is an error."""
    source = hook.write(FOLDER / "a", b"data")
    copied = hook.copy(FOLDER / "a", FOLDER / "b/c")
    assert (copied.size, copied.crc32c) == (source.size, source.crc32c)
    assert copied.uri == "gs://team/folder/b/c"
    with pytest.raises(ServiceError) as caught:
        hook.copy(FOLDER / "none", FOLDER / "d")
    assert caught.value.http_status == 404


@pytest.mark.parametrize("count", [1, 2, 32, 33, 70])
def test_objects_are_put_together_in_their_order(hook: WorkspaceHook, count: int) -> None:
    """However many there are, and with a checksum."""
    pieces = [f"{number}\n".encode() for number in range(count)]
    for number, piece in enumerate(pieces):
        hook.write(FOLDER / f"p/{number}", piece)
    info = hook.compose([FOLDER / f"p/{number}" for number in range(count)], FOLDER / "whole")
    stored = hook.read(FOLDER / "whole")
    assert stored is not None
    assert (stored.data, stored.info) == (b"".join(pieces), info)
    with pytest.raises(ServiceError, match="together: 404"):
        hook.compose([FOLDER / "p/0", FOLDER / "none"], FOLDER / "d")
    assert hook.stat(FOLDER / "d") is None


def test_a_copy_goes_on_where_the_server_paused(hook: WorkspaceHook, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large copy answers a token until it is done."""
    tokens: list[Any] = []
    hook.write(FOLDER / "a", b"data")
    rewrite = type(hook.client().bucket("team").blob("a")).rewrite

    def in_two_steps(blob: Any, source: Any, token: str | None = None, **kwargs: Any) -> Any:
        tokens.append(token)
        return ("more", 2, 4) if token is None else rewrite(blob, source, **kwargs)

    monkeypatch.setattr("google.cloud.storage.Blob.rewrite", in_two_steps)
    assert hook.copy(FOLDER / "a", FOLDER / "b").size == 4
    assert tokens == [None, "more"]


def test_listing_and_globbing_find_what_lies_below(hook: WorkspaceHook) -> None:
    """By name; the folder's name is not a mere prefix; a star stays in its segment."""
    for name in ["rows/a.jsonl", "rows/b.jsonl", "rows/b.csv", "rows/x/c.jsonl", "rows2/d.jsonl"]:
        hook.write(FOLDER / name, b"")
    hook.client().bucket("team").blob("folder/rows/").upload_from_string(b"")

    def names(found: list[Any]) -> list[str]:
        return [info.uri.removeprefix("gs://team/folder/") for info in found]

    assert names(hook.list(FOLDER / "rows")) == [
        "rows/a.jsonl",
        "rows/b.csv",
        "rows/b.jsonl",
        "rows/x/c.jsonl",
    ]
    assert len(hook.list(GcsUri.parse("gs://team"))) == 5
    assert names(hook.glob(FOLDER / "rows/*.jsonl")) == ["rows/a.jsonl", "rows/b.jsonl"]
    assert names(hook.glob(FOLDER / "rows*/**/?.jsonl")) == [
        "rows/a.jsonl",
        "rows/b.jsonl",
        "rows/x/c.jsonl",
        "rows2/d.jsonl",
    ]
    assert names(hook.glob(FOLDER / "rows/b.csv")) == ["rows/b.csv"]


def test_an_oddly_named_object_beside_those_that_are_meant_is_passed_over(hook: WorkspaceHook) -> None:
    """Somebody else put it there; a name that is refused as input is not asked for here."""
    hook.write(FOLDER / "rows/a.jsonl", b"")
    for odd in ("folder/rows//b.jsonl", "folder/rows/./c.jsonl"):
        hook.client().bucket("team").blob(odd).upload_from_string(b"")
    assert [info.uri for info in hook.glob(FOLDER / "rows/*.jsonl")] == ["gs://team/folder/rows/a.jsonl"]


def test_a_bucket_has_a_location_or_is_an_error(hook: WorkspaceHook) -> None:
    """As the service spells it."""
    assert hook.bucket_location("team").lower() == "us-central1"
    with pytest.raises(ServiceError) as caught:
        hook.bucket_location("no-such-bucket")
    assert caught.value.http_status == 404


def test_writing_to_a_missing_bucket_is_an_error_with_its_status(hook: WorkspaceHook) -> None:
    """In one piece and as a stream."""
    uri = GcsUri.parse("gs://no-such-bucket/a")
    with pytest.raises(ServiceError) as caught:
        hook.write(uri, b"data")
    assert caught.value.http_status == 404
    with pytest.raises(ServiceError) as caught, hook.writer(uri) as out:
        out.write(b"data")
    assert caught.value.http_status == 404


def test_an_endpoint_that_is_not_local_gets_no_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check comes before any credential is loaded."""
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(ANONYMOUS))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://storage.example.com")
    monkeypatch.setattr(WorkspaceHook, "get_credentials", lambda _: pytest.fail("a credential was loaded"))
    with pytest.raises(EndpointError, match="STORAGE_EMULATOR_HOST"):
        WorkspaceHook().stat(FOLDER)


def test_without_an_override_the_client_talks_to_google(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent to find that out."""
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(ANONYMOUS))
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    assert WorkspaceHook().client().api_endpoint == "https://storage.googleapis.com"


def _answer(status: int) -> requests.Response:
    answer = requests.Response()
    answer.status_code = status
    return answer


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (ServiceUnavailable("busy"), 503),
        (RetryError("late", ServiceUnavailable("busy")), 503),
        (RetryError("late", InvalidResponse(_answer(503), "Request failed")), 503),
        (RetryError("late", None), None),
        (TransportError("no token"), None),
        (requests.ConnectionError("reset"), None),
        (ConnectionResetError(), None),
        (DataCorruption(requests.Response(), "checksum"), None),
    ],
)
def test_whatever_the_client_raises_becomes_a_service_error(raised: Exception, status: int | None) -> None:
    """With the HTTP status where one came."""
    with pytest.raises(ServiceError) as caught, _storage.translated("testing"):
        raise raised
    assert caught.value.http_status == status
    assert "while testing" in str(caught.value)


def _decoded(crc32c: str) -> bytes:
    import base64

    return base64.b64decode(crc32c)
