"""Keys are unique in eight bytes a row, and lines are cut into as few parts as the limits allow."""

from __future__ import annotations

from itertools import zip_longest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_batch_gemini.batch.keys import Duplicate, KeyMemory, first_duplicate
from airflow_batch_gemini.batch.parts import MAX_BYTES, MAX_ROWS, Limits, slices
from airflow_batch_gemini.batch.request_lines import RequestLines
from airflow_batch_gemini.exceptions import ConfigurationError

KEYS = st.lists(st.text(max_size=3), max_size=60)


@given(KEYS)
def test_the_memory_of_keys_suspects_exactly_what_came_twice(keys: list[str]) -> None:
    """And the second look names the first such key with both of its rows."""
    memory = KeyMemory()
    memory.add(keys[:20])
    memory.add(keys[20:])
    assert len(memory) == len(keys)
    seen: dict[str, int] = {}
    expected = None
    for row, key in enumerate(keys):
        if key in seen:
            expected = expected or Duplicate(key, seen[key], row)
        seen.setdefault(key, row)
    assert bool(memory.suspects()) == (expected is not None)
    assert first_duplicate(keys, memory.suspects()) == expected


def test_a_key_that_came_three_times_is_suspected_once() -> None:
    """However often it came again."""
    memory = KeyMemory()
    memory.add(["a", "b", "a", "a"])
    assert memory.suspects() == {hash("a")}


def test_two_keys_of_one_hash_are_no_duplicate() -> None:
    """The second look decides by the keys themselves."""
    assert first_duplicate(["a", "b", "c"], frozenset({hash("a"), hash("b")})) is None


@given(
    st.lists(st.lists(st.binary(min_size=1, max_size=9), max_size=8), max_size=12),
    st.integers(1, 7),
    st.integers(9, 30),
)
def test_parts_keep_every_line_in_order_and_every_limit(
    batches: list[list[bytes]], rows: int, size: int
) -> None:
    """A part ends only where the next line would not fit."""
    parts: list[list[bytes]] = []
    for piece in slices(map(RequestLines.of, batches), Limits(rows=rows, size=size)):
        assert piece.lines
        if piece.opens:
            parts.append([])
        parts[-1] += piece.lines
    lines = [line for batch in batches for line in batch]
    assert [line for part in parts for line in part] == lines
    for part, following in zip_longest(parts, parts[1:]):
        assert len(part) <= rows
        assert sum(map(len, part)) <= size
        if following:
            assert len(part) == rows or sum(map(len, part)) + len(following[0]) > size


def test_a_batch_that_fits_is_not_copied() -> None:
    """The common case costs a comparison."""
    lines = RequestLines.of([b"a", b"b"])
    [piece] = slices([lines], Limits())
    assert piece.lines is lines


def test_lines_of_several_pieces_are_joined_once_and_shown_one_by_one() -> None:
    """Whatever is asked of them, they are what they would be as a list."""
    lines = [b"a1\n", b"b2\n", b"c3\n"]
    made = RequestLines([b"a", b"1\n", b"b", b"2\n", b"c", b"3\n"], count=3)
    assert (made.data, made.size, len(made), list(made)) == (b"".join(lines), 9, 3, lines)
    assert (made[1], made[-1], list(made[1:]), list(made[:0])) == (lines[1], lines[-1], lines[1:], [])
    with pytest.raises(IndexError):
        made[3]
    assert (list(RequestLines.of([])), RequestLines.of([]).data) == ([], b"")


@pytest.mark.parametrize("wrong", [0, -1, True, 1.5, "1", None])
@pytest.mark.parametrize(("name", "most"), [("rows", MAX_ROWS), ("size", MAX_BYTES)])
def test_a_limit_is_a_whole_number_that_vertex_ai_takes(name: str, most: int, wrong: object) -> None:
    """More than a job takes is refused as well."""
    for value in (wrong, most + 1):
        with pytest.raises(ConfigurationError, match="per_part"):
            Limits(**{name: value})  # type: ignore[arg-type]  # the wrong type is what is tested
    Limits(**{name: most})
