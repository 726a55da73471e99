"""Requests that are ready-made: not a byte changed, each with a key, and what is none told by its place."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_batch_gemini.batch.ready import ReadyMade, _member, check_ready_columns
from airflow_batch_gemini.batch.render import key_of
from airflow_batch_gemini.batch.row_files import jsonl_batches
from airflow_batch_gemini.batch.rows import RowBatch
from airflow_batch_gemini.exceptions import RowError, SourceError

REQUEST = (
    b'{ "contents" : [{"role":"user","parts":[{"text":"say \\"request\\": \\u00e9 \xc3\xa9"}]}],\t"n":1.50 }'
)
HELLO: dict[str, Any] = {"contents": [{"parts": [{"text": "hello"}]}]}


def taken(data: bytes, **options: Any) -> list[bytes]:
    ready = ReadyMade(**{"key_column": "key", **options})
    batches = jsonl_batches(io.BytesIO(data), source="f", keep_lines=True)
    return [line for batch in batches for line in ready.make(batch)[1]]


def made(rows: Sequence[dict[str, Any]], **options: Any) -> list[bytes]:
    ready = ReadyMade(**{"key_column": "key", **options})
    batch = RowBatch(source="s", unit="row", first=1, rows=rows)
    _, lines = ready.make(batch)
    return lines


LINES = [
    (b'{"request":%s}', b"row-0000000001"),
    (b' { "request" : %s } \r', b"row-0000000001"),
    (b'{"key":"a\\"b","request":%s}', b'a\\"b'),
    (b'{"request":%s,"key":"a"}', b"a"),
    (b'{"key": 7, "request":%s}', b"7"),
    (b'{"tags":["request",{"request":1}],"key":"a","request":%s,"more":{}}', b"a"),
    (b'{"request":{"contents":[]},"request":%s}', b"row-0000000001"),
    (b'{"request":0,"\\u0072equest":%s}', b"row-0000000001"),
    (b"%s", b"row-0000000001"),
]


@pytest.mark.parametrize(("line", "key"), LINES)
def test_a_request_is_taken_byte_for_byte(line: bytes, key: bytes) -> None:
    """Spaces, escapes and numbers as they stand, wherever in the line the request is."""
    [found] = taken(line % REQUEST + b"\n")
    assert found == b'{"key":"k_%s","request":%s}\n' % (key, REQUEST)
    assert key_of(found).encode() == key.replace(b"\\", b"")


@pytest.mark.parametrize("key_column", ["key", "id"])
def test_a_key_inside_a_request_is_no_key_beside_it(key_column: str) -> None:
    """It would be sent as a field of the request, which Vertex AI does not know, and every row would fail."""
    row = {key_column: "a", **HELLO}
    with pytest.raises(SourceError, match=f"f line 1 has its key, '{key_column}', among the fields"):
        taken(json.dumps(row).encode(), key_column=key_column)
    with pytest.raises(SourceError, match=r"s row 1 has its key"):
        made([row], key_column=key_column)


def test_a_request_for_a_vector_is_none_for_a_model_that_answers() -> None:
    """As in a table: ready-made requests are for models that generate, and ``content`` is no ``contents``."""
    line = b'{"key":"a","request":{"content":{"parts":[{"text":"x"}]}}}\n'
    with pytest.raises(RowError, match=r"GB106 f line 1, key 'a', request\.contents"):
        taken(line)
    assert taken(line, strict=False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(st.characters(codec="utf-8"), max_size=5)
    | st.sampled_from(["request", '"request":', "}", "{", ",", "\\"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["request", "key", "a"]), inner),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["key", "a", '"', "requests"]), JSON, max_size=3), JSON, st.data())
def test_the_request_is_found_whatever_stands_around_it(
    others: dict[str, Any], request: Any, data: st.DataObject
) -> None:
    """The bytes between its name and the end of its value, spaces aside."""
    members = data.draw(st.permutations([*others.items(), ("request", request)]))
    ascii_, separators = data.draw(st.booleans()), data.draw(st.sampled_from([(",", ":"), (" , ", " : ")]))
    line = json.dumps(dict(members), ensure_ascii=ascii_, separators=separators).encode()
    expected = json.dumps(request, ensure_ascii=ascii_, separators=separators).encode()
    assert _member(line) == expected


def test_a_request_may_stand_in_a_column_as_an_object_or_as_its_json() -> None:
    """A line end between its tokens, which a line cannot hold, becomes a space."""
    text = json.dumps(HELLO, indent=1)
    lines = made([{"key": "a", "request": HELLO}, {"key": "b", "request": text}, {**HELLO}])
    assert [orjson.loads(line) for line in lines] == [
        {"key": key, "request": HELLO} for key in ("k_a", "k_b", "k_row-0000000003")
    ]
    assert lines[1] == b'{"key":"k_b","request":%s}\n' % text.replace("\n", " ").encode()


def test_a_key_is_kept_or_is_the_place_in_the_batch() -> None:
    """Over all files; another key column, or rows without an order, must have every key."""
    line = b'{"request":%s}\n' % REQUEST
    ready = ReadyMade(key_column="key")
    keys = []
    for data in (line * 2, b'{"key":"x","request":%s}\n' % REQUEST, line):
        [batch] = jsonl_batches(io.BytesIO(data), source="f", keep_lines=True)
        keys += ready.make(replace(batch, before=len(keys)))[0]
    assert keys == ["row-0000000001", "row-0000000002", "x", "row-0000000004"]
    assert key_of(taken(b'{"id":"7","request":%s}' % REQUEST, key_column="id")[0]) == "7"
    for options in ({"key_column": "id"}, {"positions": False}):
        with pytest.raises(RowError, match="GB121 f line 1"):
            taken(line, **options)


BAD = [
    (b'{"prompt":"secret"}', SourceError, "f line 1 has neither 'request' nor 'contents'.*template="),
    (b'{"request":"secret"}', SourceError, "request of f line 1 is no JSON object"),
    (b'{"request":["secret"]}', SourceError, "is no JSON object"),
    (b'{"request":null}', SourceError, "is no JSON object"),
    (b'{"request":%s,"response":{"secret":1}}' % REQUEST, SourceError, "'response' beside its request"),
    (b'{"request":%s,"status":""}' % REQUEST, SourceError, "'status' beside"),
    (b'{"request":%s} secret' % REQUEST, SourceError, "f line 1 is not JSON"),
    (b'{"request":{"secret":1}}', RowError, "GB106 f line 1, key 'row-0000000001', request.contents"),
    (b'{"request":{"contents":[{"parts":[{"text":"a"}]}],"cachedContent":"secret"}}', RowError, "GB105"),
    (b'{"request":{"contents":[{"parts":[null]}]}}', RowError, "GB106"),
    (b'{"key":null,"request":%s}' % REQUEST, RowError, "GB121"),
    (b'{"key":123456789012345678901,"request":%s}' % REQUEST, RowError, "GB125 f line 1, key: .*rounded"),
    (b'{"key":"","request":%s}' % REQUEST, RowError, "GB121"),
    (b'{"key":"a\\u0007","request":%s}' % REQUEST, RowError, "GB124"),
    (b'{"key":"%s","request":%s}' % (b"x" * 2000, REQUEST), RowError, "GB123"),
    (b'{"request":%s}' % (b'{"contents":' + b"[" * 1000 + b"]" * 1000 + b"}"), RowError, "GB"),
]


@pytest.mark.parametrize(("line", "error", "message"), BAD)
def test_what_is_no_request_is_told_by_its_place(line: bytes, error: type[Exception], message: str) -> None:
    """And by the rule that it breaks; without a word of it."""
    with pytest.raises(error, match=message) as caught:
        taken(line)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "error", "message"),
    [
        ({"key": "a", "request": {"contents": object()}}, SourceError, "no JSON object"),
        ({"key": "a", "request": "half \ud800"}, SourceError, "no JSON object"),
        ({"key": "half \ud800", "request": HELLO}, RowError, "GB125"),
        ({"key": object(), "request": HELLO}, RowError, "GB125"),
        ({"key": "a", "request": {**HELLO, "n": [1.0, float("nan")]}}, SourceError, "no JSON object"),
        ({"key": "a", "request": '"text"'}, SourceError, "no JSON object"),
    ],
)
def test_a_row_of_python_that_is_no_request_is_told(
    row: dict[str, Any], error: type[Exception], message: str
) -> None:
    """What JSON cannot write included."""
    with pytest.raises(error, match=message):
        made([row])


def test_a_request_that_is_too_large_for_a_part_is_told() -> None:
    """With its line around it."""
    line = b'{"request":%s}' % REQUEST
    [found] = taken(line)
    assert taken(line, max_line_bytes=len(found)) == [found]
    with pytest.raises(RowError, match="GB108"):
        taken(line, max_line_bytes=len(found) - 1)


def test_a_request_that_is_too_large_says_nothing_of_the_shape_of_the_others() -> None:
    """Where it is dropped, they are sent without it."""

    def batch(text: str, budget: object) -> RowBatch:
        config = {"thinkingConfig": {"thinkingBudget": budget}}
        request = {"contents": [{"role": "user", "parts": [{"text": text}]}], "generationConfig": config}
        return RowBatch(source="s", unit="line", first=1, rows=[{"key": "a", "request": request}])

    maker = ReadyMade(key_column="key", max_line_bytes=1000)
    with pytest.raises(RowError, match="GB108"):
        maker.make(batch("x" * 1000, {"tokens": 5}))
    assert maker.make(batch("x", 5))[0] == ["a"]
    with pytest.raises(RowError, match="GB111"):
        maker.make(batch("x", {"tokens": 5}))


def test_rows_with_columns_need_one_that_holds_requests() -> None:
    """And none that Vertex AI would write."""
    check_ready_columns(["key", "request", "topic"], "t")
    with pytest.raises(SourceError, match=r"t has no column 'request'.*template="):
        check_ready_columns(["key", "prompt"], "t")
    with pytest.raises(SourceError, match="'processed_time' beside"):
        check_ready_columns(["key", "request", "processed_time"], "t")
