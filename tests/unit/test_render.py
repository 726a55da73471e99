"""A row becomes exactly the line that building the request the long way would give."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_batch_gemini.batch.media import Media, mime_type_of
from airflow_batch_gemini.batch.render import Renderer, key_of
from airflow_batch_gemini.batch.request import GeminiTemplate
from airflow_batch_gemini.batch.rows import RowBatch
from airflow_batch_gemini.batch.text import text_of
from airflow_batch_gemini.exceptions import RowError

HOSTILE = [
    "{",
    "}",
    "{{",
    '"',
    "'",
    "\\",
    "\n",
    "\u2028",
    "\u2029",
    "é",
    "😀",
    "\x00",
    "\x7f",
    "`",
    "${a}",
    "</s>",
]
WORDS = st.lists(st.one_of(st.sampled_from(HOSTILE), st.characters(codec="utf-8")), max_size=9).map("".join)
NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="{}"), min_size=1, max_size=8
)
VALUES = st.none() | WORDS | st.integers() | st.booleans() | st.floats(allow_nan=False) | st.lists(WORDS)


def line_of(template: GeminiTemplate, row: Mapping[str, Any], *, key_column: str = "key") -> bytes:
    """Render one row."""
    renderer = Renderer(template, key_column=key_column)
    batch = RowBatch(source="rows.jsonl", unit="line", first=7, rows=[row])
    [line] = renderer.lines(batch, renderer.keys(batch))
    return line


@given(
    st.lists(st.one_of(WORDS, st.tuples(NAMES)), min_size=1, max_size=6),
    st.lists(st.one_of(WORDS, st.tuples(NAMES)), max_size=3),
    st.dictionaries(NAMES, VALUES, max_size=6),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=10),
    WORDS,
)
def test_a_line_is_the_request_built_the_long_way(
    prompt: list[str | tuple[str]],
    system: list[str | tuple[str]],
    row: dict[str, Any],
    key: str,
    null_as: str,
) -> None:
    """Whatever prompt, column names and values hold: one line of valid JSON that says just that."""

    def spelled(pieces: list[str | tuple[str]]) -> str:
        return "".join(
            one.replace("{", "{{").replace("}", "}}") if isinstance(one, str) else f"{{{one[0]}}}"
            for one in pieces
        )

    def filled(pieces: list[str | tuple[str]]) -> str:
        values = [one if isinstance(one, str) else row.get(one[0]) for one in pieces]
        return "".join(null_as if value is None else text_of(value) for value in values)

    row = {**row, "key": key}
    template = GeminiTemplate(
        prompt=f"x{spelled(prompt)}",
        system_instruction=f"y{spelled(system)}" if system else None,
        generation_config={"seed": 7},
        null_as=null_as,
    )
    expected: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": f"x{filled(prompt)}"}]}]}
    if system:
        expected["systemInstruction"] = {"parts": [{"text": f"y{filled(system)}"}]}
    expected["generationConfig"] = {"seed": 7}
    line = line_of(template, row)
    assert json.loads(line) == {"key": f"k_{key}", "request": expected}
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert key_of(line) == key


@given(
    st.lists(st.sampled_from(["gs://b/a.png", 'gs://b/é ".mp4', "https://h/x.pdf?y", "", None]), max_size=4)
)
def test_every_file_is_a_part_and_a_missing_one_is_none(uris: list[str | None]) -> None:
    """In the order of the columns; NULL and empty are left out."""
    template = GeminiTemplate(prompt="x", media=[Media(column=f"m{i}") for i in range(len(uris))])
    line = line_of(template, {"key": "a", **{f"m{i}": uri for i, uri in enumerate(uris)}})
    assert json.loads(line)["request"]["contents"][0]["parts"] == [
        {"text": "x"},
        *({"fileData": {"fileUri": uri, "mimeType": mime_type_of(uri)}} for uri in uris if uri),
    ]


def test_a_mime_type_that_is_said_is_not_guessed() -> None:
    """Not even known."""
    template = GeminiTemplate(prompt="x", media=[Media(column="m", mime_type="image/x-raw")])
    line = line_of(template, {"key": "a", "m": "gs://b/photo"})
    part = json.loads(line)["request"]["contents"][0]["parts"][1]
    assert part == {"fileData": {"fileUri": "gs://b/photo", "mimeType": "image/x-raw"}}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, r"GB121 rows\.jsonl line 7, column 'key': the key is missing"),
        ({"key": None}, "GB121"),
        ({"key": ""}, "GB121"),
        ({"key": "x" * 1025}, "GB123"),
        ({"key": "a\nb"}, r"GB124 rows\.jsonl line 7, key 'a\\nb'"),
        ({"key": object()}, "GB125 .* type object has no text"),
        ({"key": "\ud800"}, "GB125 .* column 'key': .* lone surrogate"),
        ({"key": "a", "text": "secret \ud800"}, r"GB125 rows\.jsonl line 7, key 'a', column 'text': .*surrogate"),
        ({"key": "a", "text": ["secret \ud800"]}, "GB125 .* column 'text': .*surrogate"),
        ({"key": "a", "text": {1: "secret"}}, "GB125 .* column 'text'"),
        ({"key": "a", "file": "secret.png"}, "GB109 .* column 'file'"),
        ({"key": "a", "file": 7}, "GB109"),
        ({"key": "a", "file": "gs://b/secret"}, "GB110 .* set mime_type="),
        ({"key": "a", "file": "gs://b/secret\ud800.png"}, "GB125 .* column 'file'"),
        ({"key": "a", "text": "secret " * 3_000_000}, r"GB108 .* key 'a': .*21,000,\d+ bytes where 20,000,000 fit"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_sent_is_told_by_place_key_and_column(row: dict[str, Any], message: str) -> None:
    """And never by what is in it."""
    template = GeminiTemplate(prompt="{text}", media=[Media(column="file")])
    with pytest.raises(RowError, match=message) as caught:
        line_of(template, row)
    assert "secret" not in str(caught.value)


def test_a_line_must_fit_into_a_part() -> None:
    """However small the part is."""
    renderer = Renderer(GeminiTemplate(prompt="{text}"), key_column="key", max_line_bytes=200)
    batch = RowBatch(source="s", unit="row", first=1, rows=[{"key": 1, "text": "x" * 200}])
    with pytest.raises(RowError, match="where 200 fit"):
        renderer.lines(batch, renderer.keys(batch))


def test_a_key_of_any_type_is_its_text() -> None:
    """The same that BigQuery would give it."""
    template = GeminiTemplate(prompt="x")
    assert key_of(line_of(template, {"id": 7}, key_column="id")) == "7"
    assert key_of(line_of(template, {"key": 1.0})) == "1"
    assert key_of(line_of(template, {"key": True})) == "true"


def test_a_line_of_somebody_else_has_no_key() -> None:
    """It is not guessed at."""
    with pytest.raises(ValueError, match="not a request line"):
        key_of(b'{"request":{}}')
