"""The pure parts of the storage: names, wildcards, pages, boundaries, preconditions, checksums."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import string
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import google_crc32c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_batch_gemini.local.storage.errors import Invalid, NotModified, PreconditionFailed
from airflow_batch_gemini.local.storage.listing import Query, glob_pattern, page, walk
from airflow_batch_gemini.local.storage.model import Conditions, StoredObject
from airflow_batch_gemini.local.storage.multipart import Related, split_mixed
from airflow_batch_gemini.local.storage.names import is_bucket_name, is_object_name, is_plain
from airflow_batch_gemini.local.storage.sink import Sink


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("demo", True),
        ("a1-b_c.d", True),
        ("ab", False),
        (".storage", False),
        ("..", False),
        ("Demo", False),
        ("a/b", False),
        ("demo-", False),
        ("", False),
    ],
)
def test_bucket_names(name: str, good: bool) -> None:
    """What Google accepts is also safe as a folder's name."""
    assert is_bucket_name(name) is good


@pytest.mark.parametrize(
    ("name", "good", "plain"),
    [
        ("a", True, True),
        ("a/b.c", True, True),
        (".hidden", True, True),
        ("...", True, True),
        ("prediction-model-2026-11-22T10:00:00.123456Z/p.jsonl", True, True),
        ("é/日本", True, True),
        ("folder/", True, False),
        ("/root", True, False),
        ("a//b", True, False),
        ("a/./b", True, False),
        ("../b", True, False),
        ("é" * 128, True, False),
        ("x" * 255, True, True),
        ("x" * 256, True, False),
        ("x" * 1025, False, False),
        (".", False, False),
        ("..", False, False),
        ("", False, False),
        ("a\nb", False, True),
        ("a\0b", False, True),
        ("\ud800", False, None),
        (".well-known/acme-challenge/x", False, True),
    ],
)
def test_object_names(name: str, good: bool, plain: bool | None) -> None:
    """Many good names are bad paths."""
    assert is_object_name(name) is good
    if plain is not None:
        assert is_plain(name) is plain


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("*.csv", ["a.csv", ".csv"], ["a/b.csv", "a.csv.gz"]),
        ("**.csv", ["a.csv", "a/b.csv"], ["a.cs"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["ab", "a/xb"]),
        ("**/b", ["b", "x/b", "x/y/b"], ["xb"]),
        ("a?c", ["abc"], ["a/c", "ac"]),
        ("[a-c]1", ["b1"], ["d1", "-1"]),
        ("[!a-c]1", ["d1"], ["b1"]),
        ("[^a]", ["b"], ["a"]),
        ("x.{csv,json*}", ["x.csv", "x.jsonl"], ["x.txt", "x.{csv,json*}"]),
        ("a.b", ["a.b"], ["axb"]),
        ("a\\*b", ["a*b"], ["axb"]),
        ("a[b", ["a[b"], ["ab"]),
        ("a}b,c", ["a}b,c"], ["ab"]),
    ],
)
def test_globs(glob: str, yes: list[str], no: list[str]) -> None:
    """Stars stop at slashes, double stars do not; classes and alternatives; nothing else is special."""
    pattern = glob_pattern(glob)
    assert [name for name in yes + no if pattern.fullmatch(name)] == yes


NAMES = st.lists(st.text("ab/.", min_size=1, max_size=6), unique=True, max_size=12)


def naive_page(names: list[str], query: Query) -> tuple[list[str], list[str]]:
    """The whole listing by its definition."""
    found, prefixes = [], []
    for name in sorted(names):
        if not name.startswith(query.prefix) or name < query.start or (query.end and name >= query.end):
            continue
        rest = name[len(query.prefix) :]
        if query.delimiter and query.delimiter in rest:
            rolled = query.prefix + rest.split(query.delimiter)[0] + query.delimiter
            if rolled not in prefixes:
                prefixes.append(rolled)
            if not (query.trailing_delimiter and name == rolled):
                continue
        found.append(name)
    return found, prefixes


QUERIES = st.builds(
    Query,
    prefix=st.text("ab/", max_size=3),
    delimiter=st.sampled_from(["", "/", "a/"]),
    start=st.text("ab/", max_size=3),
    end=st.text("ab/", max_size=3),
    limit=st.integers(1, 5),
    trailing_delimiter=st.booleans(),
)


@settings(deadline=None)
@given(names=NAMES, query=QUERIES)
def test_pages_together_are_the_whole_listing(names: list[str], query: Query) -> None:
    """Whatever the page size: nothing missing, nothing twice, in order, and no page longer than asked (plus one)."""

    def source(first: str) -> Iterator[str]:
        return iter([name for name in sorted(names) if name >= first])

    part = page(source, query)
    found, prefixes = part.names, part.prefixes
    while part.next_start is not None:
        part = page(source, replace(query, start=part.next_start))
        assert len(part.names) + len(part.prefixes) <= query.limit + 1
        found = found + part.names
        prefixes = prefixes + part.prefixes
    assert (found, prefixes) == naive_page(names, query)


PATHS = st.lists(st.text("ab.-0", min_size=1, max_size=3), min_size=1, max_size=3).map("/".join)


@settings(deadline=None, max_examples=60)
@given(
    names=st.lists(PATHS, max_size=10), start=st.text("ab./", max_size=4), prefix=st.text("ab./", max_size=3)
)
def test_a_walk_is_sorted_by_name_and_not_by_folder(names: list[str], start: str, prefix: str) -> None:
    """`a.b` comes before `a/b` though `a` comes before `a.b`."""
    made = set()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in names:
            if is_plain(name):
                with contextlib.suppress(OSError):
                    (root / name).parent.mkdir(parents=True, exist_ok=True)
                    (root / name).open("xb").close()
                    made.add(name)
        expected = [name for name in sorted(made) if name >= start and name.startswith(prefix)]
        assert [*walk(root, start=start, prefix=prefix)] == expected


def test_a_walk_leaves_out_what_can_be_no_object(tmp_path: Path) -> None:
    """Links to folders (they may lead in circles), broken links, and names that are not UTF-8."""
    (tmp_path / "x").write_bytes(b"")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "broken").symlink_to(tmp_path / "nothing")
    (tmp_path / "linked").symlink_to(tmp_path / "x")
    Path(str(tmp_path).encode().decode() + "/\udcff").write_bytes(b"")
    (tmp_path / "line\nbreak").write_bytes(b"")
    assert [*walk(tmp_path)] == ["linked", "x"]
    assert [*walk(tmp_path / "nothing")] == []


BOUNDARY = st.text(string.ascii_letters + string.digits + "=_'", min_size=1, max_size=12).filter(
    lambda text: text[0] != "'"
)


@settings(deadline=None)
@given(
    boundary=BOUNDARY,
    eol=st.sampled_from([b"\n", b"\r\n"]),
    media=st.binary(max_size=60)
    | st.lists(st.sampled_from([b"\r", b"\n", b"-", b"--", b"x"]), max_size=20).map(b"".join),
    sizes=st.lists(st.integers(1, 7), min_size=1),
)
def test_a_related_body_is_read_alike_however_it_is_cut(
    boundary: str, eol: bytes, media: bytes, sizes: list[int]
) -> None:
    """Bytes come in any pieces; what comes out is the resource and the medium, byte by byte."""
    mark = b"--" + boundary.encode()
    if mark in media:
        return
    body = eol.join(
        [mark, b"A: b", b"", b'{"name": "n"}', mark, b"Content-Type: t/s", b"", media, mark + b"--", b""]
    )
    related = Related(f'multipart/related; boundary="{boundary}"')
    out, at, turn = b"", 0, 0
    while at < len(body):
        size = sizes[turn % len(sizes)]
        out += related.feed(body[at : at + size])
        at, turn = at + size, turn + 1
    related.finish()
    assert (out, related.resource, related.media_type) == (media, b'{"name": "n"}', "t/s")


def test_a_head_without_end_is_refused() -> None:
    """Memory stays flat even for a body that never gets to its media."""
    related = Related("multipart/related; boundary=b")
    related.feed(b"--b\n\n")
    related.feed(b"x" * 1_000_000)
    with pytest.raises(Invalid, match="too long"):
        related.feed(b"x" * 100_000)


def test_a_mixed_body_is_split_into_its_parts() -> None:
    """Headers and bodies of each part, whatever the line ends."""
    body = (
        b"--b\r\nContent-ID: <1>\r\n\r\nGET /x HTTP/1.1\r\nA: b\r\n\r\nbody\r\n--b\nC: d\n\nsecond\n--b--\n"
    )
    parts = [*split_mixed("multipart/mixed; boundary=b", body)]
    assert [part.headers for part in parts] == [{"content-id": "<1>"}, {"c": "d"}]
    assert [part.body for part in parts] == [b"GET /x HTTP/1.1\r\nA: b\r\n\r\nbody", b"second"]


def stored(generation: int, metageneration: int) -> StoredObject:
    now = datetime.now(UTC)
    return StoredObject(
        bucket="b",
        name="n",
        size=0,
        generation=generation,
        metageneration=metageneration,
        content_type="x/y",
        crc32c=None,
        md5=None,
        created=now,
        updated=now,
    )


@pytest.mark.parametrize(
    ("conditions", "missing", "same", "other"),
    [
        (Conditions(), True, True, True),
        (Conditions(generation_match=0), True, False, False),
        (Conditions(generation_match=7), False, True, False),
        (Conditions(generation_not_match=0), False, True, True),
        (Conditions(generation_not_match=7), True, False, True),
        (Conditions(metageneration_match=2), False, True, False),
        (Conditions(metageneration_not_match=2), False, False, True),
        (Conditions(etag_match=stored(7, 2).etag), False, True, False),
        (Conditions(etag_not_match=stored(7, 2).etag), True, False, True),
        (Conditions(generation_match=7, metageneration_match=3), False, False, False),
    ],
)
def test_preconditions(conditions: Conditions, missing: bool, same: bool, other: bool) -> None:
    """Against no object, the object of the conditions (generation 7, metageneration 2), and another one."""
    for current, holds in ((None, missing), (stored(7, 2), same), (stored(8, 3), other)):
        if holds:
            conditions.require(current)
        else:
            with pytest.raises(PreconditionFailed):
                conditions.require(current)


def test_a_reader_whose_not_match_fails_is_told_not_modified() -> None:
    """304 instead of 412; a failed match stays a 412."""
    with pytest.raises(NotModified):
        Conditions(generation_not_match=7).require(stored(7, 1), reading=True)
    with pytest.raises(PreconditionFailed):
        Conditions(generation_match=8).require(stored(7, 1), reading=True)


@settings(deadline=None, max_examples=40)
@given(chunks=st.lists(st.binary(max_size=50)), cut=st.integers(0, 10))
def test_a_sink_has_the_checksums_of_what_it_took_also_when_taken_up_again(
    chunks: list[bytes], cut: int
) -> None:
    """Paused, resumed by another process, finished: always the checksums of the whole."""
    with tempfile.TemporaryDirectory() as folder:
        _check_sink(Path(folder) / "x", chunks, cut)


def _check_sink(path: Path, chunks: list[bytes], cut: int) -> None:
    first = Sink(path)
    first.write_all([b"", *chunks[:cut]])
    first.pause()
    second = Sink.resume(path)
    second.write_all(chunks[cut:])
    staged = second.finish()
    data = b"".join(chunks)
    assert path.read_bytes() == data
    assert staged.size == len(data)
    assert staged.crc32c == base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()
    assert staged.md5 == base64.b64encode(hashlib.md5(data).digest()).decode()


def test_a_write_that_failed_half_way_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk in the middle of a block: the bytes that got through are written over or cut off."""
    sink = Sink(tmp_path / "x")
    sink.write(b"good ")
    real = os.pwrite

    def full(descriptor: int, data: bytes, offset: int) -> int:
        if offset == 5:
            return real(descriptor, data[:2], offset)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space"):
        sink.write(b"rubbish")
    monkeypatch.undo()
    assert sink.size == 5
    assert sink.finish().size == 5
    assert (tmp_path / "x").read_bytes() == b"good "
