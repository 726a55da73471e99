"""A stream read ahead is the same stream, a piece earlier."""

from __future__ import annotations

import io
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_batch_gemini.operators._ahead import ReadAhead


class Slow(io.BytesIO):
    """Counts what is read of it, and stops at a number of reads until it is told to go on."""

    def __init__(self, data: bytes, *, stop_at: int) -> None:
        super().__init__(data)
        self.reads = 0
        self.began = threading.Semaphore(0)
        self.go_on = threading.Event()
        self._stop_at = stop_at

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        self.began.release()
        if self.reads >= self._stop_at:
            assert self.go_on.wait(30)
        return super().read(size)


class Broken(io.BytesIO):
    """Fails once it was read to its end."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if data:
            return data
        raise ConnectionResetError("gone")


def wait_for_reads(source: Slow, count: int) -> None:
    assert all(source.began.acquire(timeout=30) for _ in range(count))


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


@given(
    st.binary(max_size=60),
    st.integers(1, 70),
    st.none() | st.integers(1, 70),
    st.lists(st.integers(-1, 30), max_size=20),
)
def test_any_pieces_and_any_reads_give_the_same_bytes(
    data: bytes, piece: int, first: int | None, sizes: list[int]
) -> None:
    """Reads of nothing and of everything included; after the end there is nothing more."""
    with ReadAhead(io.BytesIO(data), piece_bytes=piece, first_bytes=first) as ahead:
        found = [ahead.read(size) for size in sizes]
        assert all(len(one) <= size for one, size in zip(found, sizes, strict=True) if size >= 0)
        assert b"".join(found) + ahead.read() == data
        assert ahead.read(1) == b""
    assert threads() == []


def test_it_is_a_stream_for_whoever_wants_one() -> None:
    """Text and buffers on top of it."""
    with ReadAhead(io.BytesIO("žluťoučký\nkůň".encode()), piece_bytes=3) as ahead:
        assert list(io.TextIOWrapper(io.BufferedReader(ahead), encoding="utf-8")) == ["žluťoučký\n", "kůň"]


@pytest.mark.parametrize(("first", "pieces"), [(1, [1, 2, 4, 5, 5]), (9, [5, 5, 5]), (None, [5, 5, 5])])
def test_pieces_grow_until_they_are_as_large_as_they_may_be(first: int | None, pieces: list[int]) -> None:
    """Small ones come sooner, large ones cost less."""
    asked: list[int] = []

    class Asked(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            asked.append(size or 0)
            return super().read(size)

    with ReadAhead(Asked(b"0123456789"), piece_bytes=5, first_bytes=first) as ahead:
        assert ahead.readall() == b"0123456789"
    assert asked == pieces


def test_one_piece_is_read_before_it_is_asked_for_and_no_more() -> None:
    """However long nobody asks, the memory is that of two pieces."""
    source = Slow(b"abcdef", stop_at=3)
    ahead = ReadAhead(source, piece_bytes=2)
    assert ahead.read(2) == b"ab"
    assert ahead.read(1) == b"c"
    wait_for_reads(source, 3)
    source.go_on.set()
    ahead.close()
    assert source.reads == 3
    assert source.tell() == 6


def test_what_the_stream_raises_is_raised_where_its_bytes_were_wanted() -> None:
    """Behind all that came before it, and again by whoever asks again."""
    with ReadAhead(Broken(b"abc"), piece_bytes=2) as ahead:
        assert (ahead.read(2), ahead.read(2)) == (b"ab", b"c")
        for _ in range(2):
            with pytest.raises(ConnectionResetError, match="gone"):
                ahead.read(2)
    assert threads() == []


def test_closing_waits_for_the_piece_that_is_on_its_way() -> None:
    """So that the other stream can be closed; a closed one is read no more."""
    source = Slow(b"abcd", stop_at=2)
    ahead = ReadAhead(source, piece_bytes=2)
    assert ahead.read(2) == b"ab"
    wait_for_reads(source, 2)
    threading.Timer(0.05, source.go_on.set).start()
    ahead.close()
    assert source.tell() == 4
    assert threads() == []
    with pytest.raises(ValueError, match="closed"):
        ahead.read(1)
