"""Rows that a Python function yields: one by one, and an error says at which."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from airflow_batch_gemini.exceptions import ConfigurationError, NothingPaidError, SourceError
from airflow_batch_gemini.operators._yielded import called, yielded_batches


def test_a_function_is_called_with_what_it_asks_for() -> None:
    """Its own arguments, and of the context what it names."""

    def rows(first: str, *, second: str, ds: str) -> Iterator[dict[str, Any]]:
        yield {"key": first + second + ds}

    context = {"ds": "3", "ti": object(), "second": "of the context"}
    assert list(called(rows, op_args=["1"], op_kwargs={"second": "2"}, context=context)) == [{"key": "123"}]
    assert list(called(lambda **context: [context], op_args=(), op_kwargs={}, context={"ds": 1})) == [
        {"ds": 1}
    ]


@pytest.mark.parametrize("returned", [None, "rows", {"key": 1}, 5])
def test_a_function_must_return_rows(returned: Any) -> None:
    """A text and a dict can be gone through too, and are none."""
    with pytest.raises(ConfigurationError, match="wants a function that yields rows"):
        called(lambda: returned, op_args=(), op_kwargs={}, context={})


def test_rows_come_in_batches_and_one_dict_may_be_filled_again_and_again() -> None:
    """What is yielded is copied."""

    def rows() -> Iterator[dict[str, Any]]:
        row: dict[str, Any] = {}
        for i in range(750):
            row["key"] = i
            yield row

    batches = list(yielded_batches(rows()))
    assert [len(batch.rows) for batch in batches] == [300, 300, 150]
    assert [row["key"] for batch in batches for row in batch.rows] == list(range(750))
    assert batches[2].place(4) == "rows= row 605"
    assert batches[0].columns is None
    assert list(yielded_batches(iter(()))) == []


def test_large_rows_make_small_batches() -> None:
    """So that a batch never holds more than a few megabytes."""
    rows = ({"text": "x" * 1_000_000} for _ in range(12))
    assert [len(batch.rows) for batch in yielded_batches(rows)] == [5, 5, 2]


class Row(dict[str, Any]):
    """Counts how many of it are alive."""

    alive = most = 0

    def __init__(self, **values: Any) -> None:
        super().__init__(values)
        Row.alive += 1
        Row.most = max(Row.most, Row.alive)

    def __del__(self) -> None:
        Row.alive -= 1


def test_rows_never_become_a_list() -> None:
    """Of 200,000 no more than one is alive beside the batch."""
    count = 0
    for batch in yielded_batches(Row(key=i) for i in range(200_000)):
        count += len(batch.rows)
    assert count == 200_000
    assert Row.most <= 2


def test_an_error_of_the_function_is_told_with_its_row_and_may_be_retried() -> None:
    """The error itself is kept for whoever looks for it; our message does not quote it."""

    def rows() -> Iterator[dict[str, Any]]:
        yield {"key": "a"}
        raise KeyError("secret")

    with pytest.raises(NothingPaidError, match=r"rows= raised KeyError at row 2.*a retry") as caught:
        list(yielded_batches(rows()))
    assert type(caught.value) is NothingPaidError  # no kind that Airflow fails for good
    assert isinstance(caught.value.__cause__, KeyError)
    assert "secret" not in str(caught.value)


def test_what_the_function_says_to_airflow_is_heard() -> None:
    """A skip stays a skip."""

    def rows() -> Iterator[dict[str, Any]]:
        yield {"key": "a"}
        raise AirflowSkipException("no rows today")

    with pytest.raises(AirflowSkipException, match="no rows today") as caught:
        list(yielded_batches(rows()))
    assert caught.value.__notes__ == ["It came from rows=, at row 2."]


@pytest.mark.parametrize("row", [None, "secret", ["secret"], 5])
def test_a_row_is_a_dict(row: Any) -> None:
    """What is none is told by its place and its type."""
    with pytest.raises(SourceError, match=f"yielded a {type(row).__name__} as row 2") as caught:
        list(yielded_batches(iter([{"key": "a"}, row])))
    assert "secret" not in str(caught.value)


def test_a_generator_is_closed_when_reading_ends_early() -> None:
    """So that what it holds open is let go."""
    closed = []

    def rows() -> Iterator[dict[str, Any]]:
        try:
            while True:
                yield {"key": "a"}
        finally:
            closed.append(True)

    source = rows()
    batches = yielded_batches(source)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert closed == [True]
