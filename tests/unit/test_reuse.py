"""Requests that need not be sent: found by what would be sent, whatever the key."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_batch_gemini.batch.reuse import RowSet, Sieve, Sifted, row_number, split_line

MODEL = "publishers/google/models/gemini-3.5-flash"


def line(key: str, text: str) -> bytes:
    """A request line as a renderer makes it."""
    request = {"contents": [{"role": "user", "parts": [{"text": text}]}]}
    document = {"key": f"k_{key}", "request": request}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def sift(rows: Iterable[tuple[str, str]], **options: object) -> Sifted:
    """Sift lines of keys and texts."""
    found = list(rows)
    sieve = Sieve(**{"model": MODEL, "dedupe": True, "answered": None, **options})  # type: ignore[arg-type]
    return sieve.sift([key for key, _ in found], [line(key, text) for key, text in found])


def read(lines: Iterable[bytes]) -> list[dict[str, str]]:
    return [json.loads(one) for one in lines]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)


@given(st.lists(st.tuples(texts, texts), max_size=12, unique_by=lambda row: row[0]))
def test_each_request_is_sent_once_and_every_other_row_names_it(rows: list[tuple[str, str]]) -> None:
    """The first one in order, unchanged but for its fingerprint; sent and copies are the rows."""
    found = sift(rows)
    sent = {one["fingerprint"]: one for one in read(found.lines)}
    first: dict[str, str] = {}
    for key, text in rows:
        first.setdefault(text, key)
    assert [one["key"] for one in sent.values()] == [f"k_{key}" for key in first.values()]
    assert len(sent) == len(found.lines) == len(first)
    told = {f"k_{key}": text for key, text in rows}
    for copy in read(found.copies):
        original = sent[copy["fingerprint"]]
        assert original["key"] == f"k_{first[told[copy['key']]]}"
    assert len(found.lines) + len(found.copies) == len(rows)
    for one in sent.values():
        plain = {name: value for name, value in one.items() if name != "fingerprint"}
        key = one["key"].removeprefix("k_")
        assert plain == json.loads(line(key, told[one["key"]]))


def test_a_request_is_another_one_for_another_model() -> None:
    """Its answer would be another one too; a place or a path before the model's name changes nothing."""
    fingerprints = [
        read(sift([("a", "x")], model=model).lines)[0]["fingerprint"]
        for model in (MODEL, "gemini-3.5-flash", "gemini-3.5-pro")
    ]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_without_dedupe_equal_requests_are_sent_and_carry_one_fingerprint() -> None:
    """As for a batch that only looks for earlier answers."""
    found = sift([("a", "x"), ("b", "x")], dedupe=False, answered=RowSet())
    assert len({one["fingerprint"] for one in read(found.lines)}) == 1
    assert (len(found.lines), found.copies, found.answered) == (2, [], 0)


def test_what_an_earlier_batch_answered_for_the_same_key_is_left_out() -> None:
    """Another key with the same request is another row, and asks."""
    [first] = read(sift([("a", "x")]).lines)
    answered = RowSet()
    answered.add(row_number("a", first["fingerprint"]))
    found = sift([("a", "x"), ("b", "x"), ("c", "y")], answered=answered)
    assert [one["key"] for one in read(found.lines)] == ["k_b", "k_c"]
    assert found.answered == 1
    changed = sift([("a", "changed")], answered=answered)
    assert (len(changed.lines), changed.answered) == (1, 0)


@given(st.lists(st.integers(0, 2**80 - 1) | st.integers(0, 5) | st.integers(2**64 - 2, 2**64 + 2)))
def test_a_row_set_is_a_set(numbers: list[int]) -> None:
    """Numbers that share a bucket, or the lower half, are told apart."""
    found, seen = RowSet(), set[int]()
    for number in numbers:
        assert (number in found) == (number in seen)
        assert found.add(number) == (number not in seen)
        seen.add(number)


@pytest.mark.parametrize("key", ['"', "\\", '\\"', 'a","request":{}', "\u2028", "ž\n"])
def test_a_line_is_cut_behind_its_key_whatever_the_key(key: str) -> None:
    """Quotes in a key are escaped in the line."""
    head, request = split_line(line(key, "x"))
    assert json.loads(head + b"}")["key"] == f"k_{key}"
    assert request.startswith(b',"request":{"contents"')


@pytest.mark.parametrize("bad", [b"", b"{}", b'{"key":"a"}', b'{"request":{},"key":"k_a"}'])
def test_what_no_renderer_made_is_no_line(bad: bytes) -> None:
    """Nothing is taken for a key that is none."""
    with pytest.raises(ValueError, match="not a request line"):
        split_line(bad)
