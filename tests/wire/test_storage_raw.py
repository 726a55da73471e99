"""Cloud Storage's wire, byte by byte: what gcloud, gcsfs and hand-written clients send, and what is answered."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import json
import os
import socket
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.parser import BytesParser

import pytest
from storage_server import Server

BUCKET = "raw"
UPLOAD = f"/upload/storage/v1/b/{BUCKET}/o"
OBJECTS = f"/storage/v1/b/{BUCKET}/o"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        return self.json["error"]["errors"][0]["reason"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("cloud"))
    made.storage.create_bucket(BUCKET, location="europe-west4")
    yield made
    made.stop()


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    """The one server, its bucket empty again after each test."""
    yield running
    for stored in list(running.storage.list(BUCKET)):
        running.storage.delete(BUCKET, stored.name)


def ask(
    server: Server,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    parts = urllib.parse.urlsplit(server.url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    try:
        connection.request(method, path.removeprefix(server.url), body=body, headers=dict(headers or {}))
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())
    finally:
        connection.close()


def put(server: Server, name: str, data: bytes) -> None:
    with server.storage.writer(BUCKET, name) as file:
        file.write(data)


def content(server: Server, name: str) -> bytes:
    with server.storage.open(BUCKET, name) as file:
        return file.read()


def start_resumable(server: Server, name: str, query: str = "") -> str:
    answer = ask(server, "POST", f"{UPLOAD}?uploadType=resumable&name={name}{query}", b"{}")
    assert (answer.status, answer.body) == (200, b"")
    return answer.headers["location"]


def send(server: Server, place: str, data: bytes, content_range: str, method: str = "PUT") -> Answer:
    return ask(server, method, place, data, {"Content-Range": content_range})


MULTIPART = {
    "gcloud, single quotes in the header only": (
        "multipart/related; boundary='===============0123=='",
        "--===============0123==\n{head}\n\n{meta}\n--===============0123==\n{type}\n\n{data}\n--===============0123==--",
    ),
    "gcsfs, bare line feeds": (
        'multipart/related; boundary="==0=="',
        "--==0==\n{head}\n\n{meta}\n--==0==\n{type}\n\n{data}\n--==0==--",
    ),
    "Python client, CRLF": (
        'multipart/related; boundary="=====abc=="',
        "--=====abc==\r\n{head}\r\n\r\n{meta}\r\n--=====abc==\r\n{type}\r\n\r\n{data}\r\n--=====abc==--",
    ),
    "bare boundary, no headers in the first part": (
        "multipart/related; charset=utf-8; boundary=b",
        "\r\n--b\r\n\r\n{meta}\r\n--b\r\n{type}\r\n\r\n{data}\r\n--b--\r\n",
    ),
    "single quotes that belong to the boundary": (
        "multipart/related; boundary='q'",
        "--'q'\r\n{head}\r\n\r\n{meta}\r\n--'q'\r\n{type}\r\n\r\n{data}\r\n--'q'--\r\n",
    ),
}


@pytest.mark.parametrize(("content_type", "template"), MULTIPART.values(), ids=MULTIPART.keys())
@pytest.mark.parametrize("data", ["", "x", "line\r\n", "\n--==0=\r\n--b-", "\r\n\r\n"], ids=repr)
def test_every_style_of_multipart_upload_is_read(
    server: Server, content_type: str, template: str, data: str
) -> None:
    """Quotes and line ends as real clients send them; data that looks like a boundary stays data."""
    body = template.format(
        head="Content-Type: application/json", meta='{"name": "m"}', type="Content-Type: text/x", data=data
    )
    answer = ask(
        server, "POST", f"{UPLOAD}?uploadType=multipart", body.encode(), {"Content-Type": content_type}
    )
    assert answer.status == 200, answer.body
    assert answer.json["contentType"] == "text/x"
    assert content(server, "m") == data.encode()


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/related; boundary=b", b"--b\r\n\r\n{}\r\n--b\r\n\r\ndata"),
        ("multipart/related; boundary=b", b"--c\r\n\r\n{}\r\n--c\r\n\r\ndata\r\n--c--"),
        ("multipart/related", b"--b\r\n\r\n{}\r\n--b\r\n\r\ndata\r\n--b--"),
        ("multipart/related; boundary=b", b'--b\r\n\r\n{"name": \r\n--b\r\n\r\ndata\r\n--b--'),
        ("multipart/related; boundary=b", b"--b\r\n\r\n[1]\r\n--b\r\n\r\ndata\r\n--b--"),
    ],
    ids=["cut off", "another boundary", "no boundary", "resource is not JSON", "resource is a list"],
)
def test_a_broken_multipart_upload_is_refused_and_leaves_nothing(
    server: Server, content_type: str, body: bytes
) -> None:
    """400 with a reason, no object, no scratch file."""
    answer = ask(
        server, "POST", f"{UPLOAD}?uploadType=multipart&name=m", body, {"Content-Type": content_type}
    )
    assert (answer.status, answer.reason) == (400, "invalid")
    assert list(server.storage.list(BUCKET)) == []
    assert list((server.root / ".storage" / "scratch").iterdir()) == []


def test_a_connection_lost_during_an_upload_leaves_nothing(server: Server) -> None:
    """Half of the announced bytes are no object."""
    parts = urllib.parse.urlsplit(server.url)
    with socket.create_connection((parts.hostname, parts.port)) as wire:
        wire.sendall(
            f"POST {UPLOAD}?uploadType=media&name=half HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n".encode()
        )
        wire.sendall(b"x" * 2_000_000)
    scratch = server.root / ".storage" / "scratch"
    deadline = time.monotonic() + 5
    while any(scratch.iterdir()) and time.monotonic() < deadline:
        ask(server, "GET", OBJECTS)
    assert list(scratch.iterdir()) == []
    assert list(server.storage.list(BUCKET)) == []


def test_a_resumable_upload_goes_on_where_it_stopped(server: Server) -> None:
    """308 with the range so far, chunks sent twice are taken once, a gap is not taken, the end may be unknown."""
    place = start_resumable(server, "r")
    assert (
        send(server, place, b"", "bytes */*").status,
        "range" in send(server, place, b"", "bytes */9").headers,
    ) == (
        308,
        False,
    )
    first = send(server, place, b"abcd", "bytes 0-3/*")
    assert (first.status, first.headers["range"]) == (308, "bytes=0-3")
    overlap = send(server, place, b"cdef", "bytes 2-5/*", method="POST")
    assert overlap.headers["range"] == "bytes=0-5"
    gap = send(server, place, b"zz", "bytes 8-9/10")
    assert (gap.status, gap.headers["range"]) == (308, "bytes=0-5")
    assert send(server, place, b"", "bytes */10").headers["range"] == "bytes=0-5"
    assert list(server.storage.list(BUCKET)) == []
    last = send(server, place, b"gh", "bytes 6-7/8")
    assert (last.status, last.json["size"], "range" in last.headers) == (200, "8", False)
    assert content(server, "r") == b"abcdefgh"
    again = send(server, place, b"", "bytes */8")
    assert (again.status, again.json["generation"]) == (200, last.json["generation"])


@pytest.mark.parametrize(
    ("chunks", "total"),
    [([], 0), ([b"abc"], 3), ([b"abc", b"de"], 5)],
    ids=["empty", "one chunk", "two chunks"],
)
def test_a_resumable_upload_is_closed_by_naming_its_total(
    server: Server, chunks: list[bytes], total: int
) -> None:
    """Open-ended chunks, then `bytes */N`: the last word of a writer who learns the end late."""
    place = start_resumable(server, "late")
    at = 0
    for chunk in chunks:
        assert send(server, place, chunk, f"bytes {at}-{at + len(chunk) - 1}/*").status == 308
        at += len(chunk)
    assert send(server, place, b"", f"bytes */{total}").status == 200
    assert content(server, "late") == b"".join(chunks)


def test_a_resumable_upload_in_one_request_needs_no_range(server: Server) -> None:
    """A PUT without Content-Range is the whole object."""
    place = start_resumable(server, "whole").replace("/upload/", "/resumable/upload/")
    assert ask(server, "PUT", place, b"all of it").json["size"] == "9"


def test_a_resumable_upload_outlives_the_server(tmp_path) -> None:
    """The session, its bytes and its checksums are taken up by the next process; so is a finished one."""
    first = Server(tmp_path)
    first.storage.create_bucket(BUCKET)
    place = start_resumable(first, "r").removeprefix(first.url)
    done = start_resumable(first, "done").removeprefix(first.url)
    send(first, place, b"abcd", "bytes 0-3/*")
    finished = send(first, done, b"xy", "bytes 0-1/2").json
    first.stop()
    second = Server(tmp_path)
    try:
        assert send(second, place, b"", "bytes */8").headers["range"] == "bytes=0-3"
        answer = send(second, place, b"efgh", "bytes 4-7/8")
        assert (answer.status, answer.json["md5Hash"]) == (
            200,
            base64.b64encode(hashlib.md5(b"abcdefgh").digest()).decode(),
        )
        again = send(second, done, b"", "bytes */2")
        assert (again.status, again.json["generation"]) == (200, finished["generation"])
    finally:
        second.stop()


def test_a_cancelled_upload_is_gone(server: Server) -> None:
    """499 to the one who cancels and to whoever comes later; an unknown upload is a 404."""
    place = start_resumable(server, "c")
    send(server, place, b"abcd", "bytes 0-3/*")
    assert ask(server, "DELETE", place).status == 499
    assert send(server, place, b"e", "bytes 4-4/5").status == 499
    assert list((server.root / ".storage" / "uploads").glob(f"*{place.rpartition('=')[2]}*")) == []
    assert ask(server, "PUT", f"{UPLOAD}?upload_id=nothing").status == 404
    assert ask(server, "PUT", f"{UPLOAD}?upload_id=..%2Findex").status == 404


def test_the_condition_of_a_resumable_upload_is_judged_at_its_end_too(server: Server) -> None:
    """Whoever commits between start and end wins; the loser hears 412 as often as it asks."""
    place = start_resumable(server, "cas", "&ifGenerationMatch=0")
    put(server, "cas", b"first")
    for _ in range(2):
        answer = send(server, place, b"second", "bytes 0-5/6")
        assert (answer.status, answer.reason) == (412, "conditionNotMet")
    assert content(server, "cas") == b"first"
    early = ask(server, "POST", f"{UPLOAD}?uploadType=resumable&name=cas&ifGenerationMatch=0", b"{}")
    assert early.status == 412


@pytest.mark.parametrize("header", ["bytes 0-3", "bytes a-b/c", "lines 1-2/3", "bytes 5-*/9"])
def test_a_content_range_that_is_none_is_refused(server: Server, header: str) -> None:
    """A chunk whose place is unclear is not taken."""
    place = start_resumable(server, "x")
    assert send(server, place, b"abcd", header).status == 400
    assert "range" not in send(server, place, b"", "bytes */*").headers


def test_more_bytes_than_announced_are_refused(server: Server) -> None:
    """An upload longer than its total never becomes an object."""
    place = start_resumable(server, "x")
    assert send(server, place, b"abcdef", "bytes 0-5/4").status == 400
    assert list(server.storage.list(BUCKET)) == []


def test_bytes_packed_for_the_way_are_refused_rather_than_stored_packed(server: Server) -> None:
    """`gcloud --gzip-in-flight`: the real service unpacks, we say that we do not."""
    answer = ask(server, "POST", f"{UPLOAD}?uploadType=media&name=x", b"x", {"Content-Encoding": "gzip"})
    assert (answer.status, answer.reason) == (501, "notImplemented")
    assert list(server.storage.list(BUCKET)) == []


def test_a_wrong_hash_in_a_header_is_refused(server: Server) -> None:
    """`x-goog-hash` on the last chunk is what Google's client promises."""
    place = start_resumable(server, "h")
    answer = ask(
        server,
        "PUT",
        place,
        b"abcd",
        {"Content-Range": "bytes 0-3/4", "X-Goog-Hash": "crc32c=AAAAAA==,md5=x"},
    )
    assert answer.status == 400
    assert list(server.storage.list(BUCKET)) == []


@pytest.mark.parametrize(
    ("header", "status", "body", "content_range"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=4-", 206, b"456789", "bytes 4-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=10-12", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("bytes=5-2", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
    ],
)
def test_ranges(
    server: Server, header: str, status: int, body: bytes | None, content_range: str | None
) -> None:
    """First and last, open, suffix, behind the end, and what HTTP says to ignore; under both paths."""
    put(server, "r", b"0123456789")
    for path in (f"{OBJECTS}/r?alt=media", f"/download{OBJECTS}/r?alt=media"):
        answer = ask(server, "GET", path, headers={"Range": header})
        assert (answer.status, answer.headers.get("content-range")) == (status, content_range)
        if body is None:
            assert answer.reason == "requestedRangeNotSatisfiable"
        else:
            assert answer.body == body


def test_a_download_says_which_bytes_it_sends(server: Server) -> None:
    """Generation and checksums travel in headers; HEAD sends them alone; an empty object has no first byte."""
    put(server, "r", b"0123456789")
    answer = ask(server, "GET", f"/download{OBJECTS}/r?alt=media")
    resource = ask(server, "GET", f"{OBJECTS}/r").json
    assert answer.headers["x-goog-generation"] == resource["generation"]
    assert answer.headers["x-goog-hash"] == f"crc32c={resource['crc32c']},md5={resource['md5Hash']}"
    assert answer.headers["content-length"] == "10"
    head = ask(server, "HEAD", f"/download{OBJECTS}/r?alt=media")
    assert (head.status, head.headers["content-length"], head.body) == (200, "10", b"")
    assert ask(server, "GET", resource["mediaLink"]).body == b"0123456789"
    put(server, "empty", b"")
    assert ask(server, "GET", f"{OBJECTS}/empty?alt=media").body == b""
    assert ask(server, "GET", f"{OBJECTS}/empty?alt=media", headers={"Range": "bytes=0-"}).status == 416


def test_what_was_set_on_an_object_travels_with_its_bytes(server: Server) -> None:
    """Cache, disposition and language headers; a composed object has one checksum."""
    put(server, "r", b"x")
    fields = {"cacheControl": "no-store", "contentDisposition": "inline", "contentLanguage": "de"}
    body = json.dumps({"sourceObjects": [{"name": "r"}, {"name": "r"}], "destination": fields}).encode()
    made = ask(server, "POST", f"{OBJECTS}/two/compose", body).json
    headers = ask(server, "GET", f"{OBJECTS}/two?alt=media").headers
    assert [headers[name] for name in ("cache-control", "content-disposition", "content-language")] == [
        "no-store",
        "inline",
        "de",
    ]
    assert (headers["x-goog-hash"], "md5Hash" in made) == (f"crc32c={made['crc32c']}", False)


def test_a_file_that_never_stands_still_is_sent_without_checksums(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No checksum is better than a wrong one."""
    put(server, "r", b"x")
    monkeypatch.setattr(type(server.storage), "_fill", lambda *_: None)
    server.storage.path(BUCKET, "r").write_bytes(b"by hand")
    answer = ask(server, "GET", f"{OBJECTS}/r?alt=media")
    assert (answer.body, "x-goog-hash" in answer.headers) == (b"by hand", False)
    assert "crc32c" not in ask(server, "GET", f"{OBJECTS}/r").json


def test_a_reader_who_has_it_is_told_so(server: Server) -> None:
    """`ifGenerationNotMatch` and `If-None-Match` are 304 for readers."""
    put(server, "r", b"x")
    resource = ask(server, "GET", f"{OBJECTS}/r").json
    for path in (f"{OBJECTS}/r?x=y", f"{OBJECTS}/r?alt=media"):
        same = f"{path}&ifGenerationNotMatch={resource['generation']}"
        assert (ask(server, "GET", same).status, ask(server, "GET", same).body) == (304, b"")
        assert ask(server, "GET", path, headers={"If-None-Match": resource["etag"]}).status == 304
        assert ask(server, "GET", path, headers={"If-Match": "other"}).status == 412
        assert ask(server, "GET", path, headers={"If-Match": f'"{resource["etag"]}"'}).status == 200


def test_gzip_is_undone_for_a_reader_without_it(server: Server) -> None:
    """A reader that does not say it accepts gzip gets the plain bytes, of a length not known before."""
    packed = gzip.compress(b"text " * 300_000)
    ask(server, "POST", f"{UPLOAD}?uploadType=media&name=z&contentEncoding=gzip", packed)
    plain = ask(server, "GET", f"{OBJECTS}/z?alt=media")
    assert (plain.body, "content-encoding" in plain.headers) == (b"text " * 300_000, False)
    stored = ask(server, "GET", f"{OBJECTS}/z?alt=media", headers={"Accept-Encoding": "gzip"})
    assert (stored.body, stored.headers["content-encoding"]) == (packed, "gzip")


def test_blank_parameters_are_absent_ones(server: Server) -> None:
    """gcloud and others send `prefix=&pageToken=&ifGenerationMatch=`."""
    put(server, "r", b"x")
    listed = ask(
        server, "GET", f"{OBJECTS}?prefix=&delimiter=&pageToken=&maxResults=&matchGlob=&fields=items"
    )
    assert [item["name"] for item in listed.json["items"]] == ["r"]
    assert ask(server, "GET", f"{OBJECTS}/r?ifGenerationMatch=&generation=").status == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", f"{OBJECTS}?maxResults=many", 400, "invalid"),
        ("GET", f"{OBJECTS}?pageToken=%25%25%25", 400, "invalid"),
        ("GET", f"{OBJECTS}/r?ifGenerationMatch=x", 400, "invalid"),
        ("GET", f"{OBJECTS}/nothing", 404, "notFound"),
        ("GET", f"{OBJECTS}/%FF", 400, "invalid"),
        ("GET", "/storage/v1/b/nothing/o", 404, "notFound"),
        ("GET", "/storage/v1/b/.storage/o", 404, "notFound"),
        ("GET", "/storage/v1/b/..%2F/o", 404, "notFound"),
        ("POST", f"{UPLOAD}?uploadType=media", 400, "invalid"),
        ("POST", f"{UPLOAD}?uploadType=media&name=..", 400, "invalid"),
        ("POST", f"{UPLOAD}?uploadType=media&name=a%0Ab", 400, "invalid"),
        ("POST", f"{UPLOAD}?uploadType=media&name={'x' * 1025}", 400, "invalid"),
        ("POST", f"{UPLOAD}?uploadType=odd&name=x", 400, "invalid"),
        ("POST", "/upload/storage/v1/b/nothing/o?uploadType=media&name=x", 404, "notFound"),
        ("PUT", UPLOAD, 404, "notFound"),
        ("POST", f"{OBJECTS}/r/compose", 400, "invalid"),
        ("POST", f"{OBJECTS}/r/restore", 501, "notImplemented"),
        ("GET", "/storage/v1/b/raw/iam", 501, "notImplemented"),
        ("GET", "/storage/v1/b/raw/managedFolders/x", 404, "notFound"),
        ("POST", "/storage/v1/b?project=p", 400, "invalid"),
        ("GET", "/download/storage/v1/b/raw/x", 501, "notImplemented"),
        ("PATCH", "/storage/v1/b/%FF", 400, "invalid"),
    ],
)
def test_refusals_carry_a_status_and_a_reason(
    server: Server, method: str, path: str, status: int, reason: str
) -> None:
    """Every error has Google's shape; what the local cloud does not do is refused aloud."""
    put(server, "r", b"x")
    answer = ask(server, method, path, b"" if method != "GET" else None)
    assert (answer.status, answer.reason, answer.json["error"]["code"]) == (status, reason, status)


def test_buckets_are_listed_in_pages_replaced_and_guarded(server: Server) -> None:
    """Pages by name, PUT replaces the configuration, metageneration guards it, labels merge by PATCH."""
    for name in ("page-1", "page-2"):
        body = json.dumps({"name": name, "labels": {"a": "1", "b": "2"}}).encode()
        assert ask(server, "POST", "/storage/v1/b?project=demo", body).json["location"] == "US"
    first = ask(server, "GET", "/storage/v1/b?project=demo&prefix=page&maxResults=1").json
    rest = ask(server, "GET", f"/storage/v1/b?prefix=page&pageToken={first['nextPageToken']}").json
    assert [page["items"][0]["name"] for page in (first, rest)] == ["page-1", "page-2"]
    assert "nextPageToken" not in rest
    place = "/storage/v1/b/page-1"
    assert ask(server, "PATCH", f"{place}?ifMetagenerationMatch=7", b"{}").status == 412
    assert ask(server, "GET", f"{place}?ifMetagenerationNotMatch=1").status == 412
    merged = ask(
        server, "PATCH", f"{place}?ifMetagenerationMatch=1", b'{"labels": {"a": null, "c": "3"}}'
    ).json
    assert (merged["labels"], merged["metageneration"]) == ({"b": "2", "c": "3"}, "2")
    replaced = ask(server, "PUT", place, b'{"storageClass": "NEARLINE"}').json
    assert (replaced["storageClass"], "labels" in replaced) == ("NEARLINE", False)
    flat = ask(
        server, "POST", "/storage/v1/b", b'{"name": "hns", "hierarchicalNamespace": {"enabled": true}}'
    )
    assert flat.status == 501
    for name in ("page-1", "page-2"):
        assert ask(server, "DELETE", f"/storage/v1/b/{name}").status == 204


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", f"{OBJECTS}/r", b'{"metadata": "text"}'),
        ("PATCH", f"{OBJECTS}/r", b'{"contentType": 7}'),
        ("PATCH", f"{OBJECTS}/r", b"not json"),
        ("POST", f"{OBJECTS}/r/compose", b'{"sourceObjects": [{"generation": "1"}]}'),
        ("POST", f"{OBJECTS}/r/compose", b'{"sourceObjects": [{"name": "r", "generation": "x"}]}'),
        ("POST", f"{OBJECTS}/r/compose", b'{"sourceObjects": []}'),
        ("POST", f"{OBJECTS}/r/moveTo/o/r", b""),
    ],
)
def test_a_body_that_makes_no_sense_is_refused_and_changes_nothing(
    server: Server, method: str, path: str, body: bytes
) -> None:
    """400, and the object is what it was."""
    put(server, "r", b"x")
    before = server.storage.stat(BUCKET, "r")
    assert (ask(server, method, path, body).status, server.storage.stat(BUCKET, "r")) == (400, before)


def test_a_compose_judges_the_generation_of_each_source(server: Server) -> None:
    """`objectPreconditions` as gcloud sends them, and a generation that is gone."""
    put(server, "r", b"x")
    generation = server.storage.stat(BUCKET, "r").generation
    for source, status in (
        ({"name": "r", "generation": str(generation)}, 200),
        ({"name": "r", "generation": str(generation - 1)}, 404),
        ({"name": "r", "objectPreconditions": {"ifGenerationMatch": str(generation)}}, 200),
        ({"name": "r", "objectPreconditions": {"ifGenerationMatch": str(generation - 1)}}, 412),
    ):
        body = json.dumps({"sourceObjects": [source]}).encode()
        assert ask(server, "POST", f"{OBJECTS}/to/compose", body).status == status


def test_gcloud_learns_that_the_bucket_is_flat(server: Server) -> None:
    """`gcloud storage` asks for layout and managed folders before it copies or removes."""
    layout = ask(server, "GET", "/storage/v1/b/raw/storageLayout").json
    assert (layout["location"], layout["hierarchicalNamespace"]) == ("EUROPE-WEST4", {"enabled": False})
    assert ask(server, "GET", "/storage/v1/b/raw/managedFolders").json["items"] == []
    assert "email_address" in ask(server, "GET", "/storage/v1/projects/demo/serviceAccount").json


def test_a_batch_in_the_style_of_gcsfs_is_answered(server: Server) -> None:
    """Bare line feeds, no blank line behind the inner headers, Content-IDs that come back."""
    put(server, "a/b", b"x")
    part = (
        "\n--==7==\nContent-Type: application/http\nContent-Transfer-Encoding: binary\nContent-ID: <id+{number}>\n"
        "\nDELETE /storage/v1/b/raw/o/{name} HTTP/1.1\nContent-Type: application/json\ncontent-length: 0\n"
    )
    body = "".join(part.format(number=n, name=name) for n, name in enumerate(("a%2Fb", "nothing"), start=1))
    answer = ask(
        server,
        "POST",
        "/batch/storage/v1",
        (body + "\n--==7==--").encode(),
        {"Content-Type": 'multipart/mixed; boundary="==7=="'},
    )
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    first, second = BytesParser().parsebytes(head + answer.body).get_payload()
    assert (first["Content-ID"], first.get_payload().split("\r\n")[0]) == (
        "<response-id+1>",
        "HTTP/1.1 204 No Content",
    )
    assert (second["Content-ID"], second.get_payload().split("\r\n")[0]) == (
        "<response-id+2>",
        "HTTP/1.1 404 Not Found",
    )
    assert list(server.storage.list(BUCKET)) == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"--b\r\nContent-Type: application/http\r\n\r\nGET /storage/v1/b/raw HTTP/1.1\r\n\r\n", 400),
        (b"--b--", 400),
        (b"nonsense", 400),
    ],
    ids=["cut off", "empty", "no boundary"],
)
def test_a_broken_batch_is_refused_as_a_whole(server: Server, body: bytes, status: int) -> None:
    """Nothing of a batch that is not whole is done."""
    answer = ask(server, "POST", "/batch/storage/v1", body, {"Content-Type": "multipart/mixed; boundary=b"})
    assert answer.status == status


def test_a_batch_is_of_limited_size(server: Server) -> None:
    """As many as Google's client puts into one, not more."""
    one = f"--b\r\nContent-Type: application/http\r\n\r\nGET {OBJECTS} HTTP/1.1\r\n\r\n\r\n"
    answer = ask(
        server,
        "POST",
        "/batch/storage/v1",
        (one * 1001 + "--b--").encode(),
        {"Content-Type": "multipart/mixed; boundary=b"},
    )
    assert (answer.status, answer.reason) == (400, "invalid")


def test_a_batch_carries_no_media(server: Server) -> None:
    """Downloads and uploads inside a batch are refused in their part."""
    inner = "".join(
        f"--b\r\nContent-Type: application/http\r\n\r\n{line} HTTP/1.1\r\n\r\n\r\n"
        for line in (f"GET {OBJECTS}/r?alt=media", f"POST {UPLOAD}?uploadType=media&name=x", f"GET {OBJECTS}")
    )
    answer = ask(
        server,
        "POST",
        "/batch/storage/v1",
        f"{inner}--b--".encode(),
        {"Content-Type": "multipart/mixed; boundary=b"},
    )
    statuses = [line.split()[1] for line in answer.body.decode().splitlines() if line.startswith("HTTP/1.1")]
    assert statuses == ["400", "400", "200"]


@pytest.fixture
def files(server: Server) -> Iterator[object]:
    """gcsfs, as pandas, Airflow's ObjectStoragePath and others use it."""
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    fsspec = pytest.importorskip("fsspec")
    pytest.importorskip("gcsfs")
    made = fsspec.filesystem(
        "gcs",
        endpoint_url=server.url,
        token="anon",
        project="demo",
        skip_instance_cache=True,
        consistency="md5",
    )
    made.invalidate_cache()
    return made


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # aiohttp's, about gcsfs
def test_gcsfs_reads_writes_lists_moves_and_removes(files, server: Server) -> None:
    """The file-system view: small and large files, exclusive creation, ranges, recursive removal by batch."""
    files.pipe("raw/dir/small.txt", b"small")
    assert files.cat("raw/dir/small.txt") == b"small"
    big = os.urandom(6 * 1024 * 1024)
    with files.open("raw/dir/big.bin", "wb", block_size=5 * 1024 * 1024) as file:
        file.write(big)
    assert files.cat_file("raw/dir/big.bin", start=5_000_000, end=5_000_010) == big[5_000_000:5_000_010]
    assert content(server, "dir/big.bin") == big
    with pytest.raises(FileExistsError), files.open("raw/dir/small.txt", "xb") as file:
        file.write(b"other")
    assert sorted(files.ls("raw/dir", detail=False)) == ["raw/dir/big.bin", "raw/dir/small.txt"]
    assert files.info("raw/dir/small.txt")["size"] == 5
    files.cp("raw/dir/small.txt", "raw/copy 1:2.txt")
    files.mv("raw/dir/small.txt", "raw/deep/er/moved.txt")
    files.merge("raw/merged", ["raw/copy 1:2.txt", "raw/deep/er/moved.txt"])
    assert files.cat("raw/merged") == b"smallsmall"
    assert sorted(files.find("raw")) == [
        "raw/copy 1:2.txt",
        "raw/deep/er/moved.txt",
        "raw/dir/big.bin",
        "raw/merged",
    ]
    files.rm("raw/d*", recursive=True)
    assert sorted(files.find("raw")) == ["raw/copy 1:2.txt", "raw/merged"]
