"""A row becomes exactly the line that building the request the long way would give."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from functools import reduce
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from template_cases import Case, cases, line_of

from airflow_batch_gemini.batch.media import Media, mime_type_of
from airflow_batch_gemini.batch.render import Renderer, key_of
from airflow_batch_gemini.batch.request import GeminiTemplate
from airflow_batch_gemini.batch.rows import RowBatch
from airflow_batch_gemini.exceptions import RowError

KEYS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=10)

DEEP: list[Any] = reduce(lambda inner, _: ["secret", inner], range(3000), [])
"""Deeper than any Python goes."""


@given(cases(max_rows=1), KEYS)
def test_a_line_is_the_request_built_the_long_way(case: Case, key: str) -> None:
    """Whatever template, column names and values hold: one line of valid JSON that says just that, or GB126."""
    [row] = case.rows
    expected = case.expected(row)
    if expected is None:
        with pytest.raises(RowError, match=r"GB126 .*request\.generationConfig\..*column .* wants"):
            line_of(case.template, {**row, "key": key})
        return
    line = line_of(case.template, {**row, "key": key})
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


def test_a_column_may_hold_several_files_and_each_says_what_of_it_to_look_at() -> None:
    """A list is a part for each; so is a tuple, as Parquet may have it."""
    media = [
        Media(
            column="m",
            mime_type="video/mp4",
            video_metadata={"start_offset": "1s", "endOffset": "2.5s", "fps": 1},
            media_resolution="MEDIA_RESOLUTION_LOW",
        )
    ]
    template = GeminiTemplate(prompt="x", media=media)
    for uris in (["gs://b/1", "", None, "gs://b/2"], ("gs://b/1", "gs://b/2")):
        [_, *parts] = json.loads(line_of(template, {"key": "a", "m": uris}))["request"]["contents"][0][
            "parts"
        ]
        assert parts == [
            {
                "fileData": {"fileUri": uri, "mimeType": "video/mp4"},
                "videoMetadata": {"startOffset": "1s", "endOffset": "2.5s", "fps": 1},
                "mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"},
            }
            for uri in ("gs://b/1", "gs://b/2")
        ]


def test_a_number_of_a_path_is_always_a_float_and_a_count_never_is() -> None:
    """One type a path over the whole file; whatever the source made of it: CSV has texts, Parquet floats."""
    template = GeminiTemplate(
        prompt="x",
        generation_config={"temperature": 1, "seed": 7},
        config_columns={
            "temperature": "t",
            "max_output_tokens": "m",
            "thinking_config.include_thoughts": "i",
        },
    )

    renderer = Renderer(template, key_column="key")

    def config(**row: Any) -> str:
        batch = RowBatch(source="s", unit="row", first=1, rows=[{"key": "a", **row}])
        _, [line] = renderer.make(batch)
        return line.decode().partition('"generationConfig":')[2]

    assert config() == '{"seed":7,"temperature":1.0}}}\n'
    assert config(t=0, m=512.0, i=True) == (
        '{"seed":7,"maxOutputTokens":512,"temperature":0.0,"thinkingConfig":{"includeThoughts":true}}}}\n'
    )
    assert config(t="0.50", m="512", i="false") == (
        '{"seed":7,"maxOutputTokens":512,"temperature":0.5,"thinkingConfig":{"includeThoughts":false}}}}\n'
    )
    assert config(t="", m=Decimal("8.0"), i=None) == '{"seed":7,"maxOutputTokens":8,"temperature":1.0}}}\n'


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, r"GB121 rows\.jsonl line 7, column 'key': the key is missing"),
        ({"key": None}, "GB121"),
        ({"key": ""}, "GB121"),
        ({"key": "x" * 1025}, "GB123"),
        ({"key": "a\nb"}, r"GB124 rows\.jsonl line 7, key 'a\\nb'"),
        ({"key": object()}, "GB125 .* type object has no text"),
        (orjson.loads('{"key": 18446744073709551616}'), r"GB125 rows\.jsonl line 7, key: .*rounded"),
        ({"key": float("inf")}, "GB125"),
        ({"key": "\ud800"}, "GB125 .* column 'key': .* lone surrogate"),
        ({"key": "a", "text": "secret \ud800"}, r"GB125 rows\.jsonl line 7, key 'a', column 'text': .*surrogate"),
        ({"key": "a", "text": ["secret \ud800"]}, "GB125 .* column 'text': .*surrogate"),
        ({"key": "a", "text": {1: "secret"}}, "GB125 .* column 'text'"),
        ({"key": "a", "text": DEEP}, "GB125 .* column 'text': .*too deep"),
        ({"key": dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1)))}, "GB125 .* key: .*out of range"),
        ({"key": "a", "file": "secret.png"}, "GB109 .* column 'file'"),
        ({"key": "a", "file": 7}, "GB109"),
        ({"key": "a", "file": "gs://b/secret"}, "GB110 .* set mime_type="),
        ({"key": "a", "file": "gs://b/secret\ud800.png"}, "GB125 .* column 'file'"),
        ({"key": "a", "file": ["gs://b/a.png", "secret"]}, "GB109 .* column 'file'"),
        ({"key": "a", "file": ["gs://b/a.png", ["gs://b/a.png"]]}, "GB109"),
        (
            {"key": "a", "heat": "secret"},
            r"GB126 rows\.jsonl line 7, key 'a', request\.generationConfig\.temperature: .*'heat' wants a number",
        ),
        ({"key": "a", "heat": float("nan")}, "GB126"),
        ({"key": "a", "heat": True}, "GB126"),
        ({"key": "a", "heat": [0.5]}, "GB126"),
        ({"key": "a", "heat": object()}, "GB126"),
        ({"key": "a", "budget": 0.5}, r"GB126 .*thinkingConfig\.thinkingBudget: .*a whole number of 32 bits"),
        ({"key": "a", "budget": 2**31}, "GB126"),
        ({"key": "a", "text": "secret " * 3_000_000}, r"GB108 .* key 'a': .*21,000,\d+ bytes where 20,000,000 fit"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_sent_is_told_by_place_key_and_column(row: dict[str, Any], message: str) -> None:
    """And never by what is in it."""
    template = GeminiTemplate(
        prompt="{text}",
        media=[Media(column="file")],
        config_columns={"temperature": "heat", "thinkingConfig.thinkingBudget": "budget"},
    )
    with pytest.raises(RowError, match=message) as caught:
        line_of(template, row)
    assert "secret" not in str(caught.value)


def test_a_line_must_fit_into_a_part() -> None:
    """However small the part is."""
    renderer = Renderer(GeminiTemplate(prompt="{text}"), key_column="key", max_line_bytes=200)
    batch = RowBatch(source="s", unit="row", first=1, rows=[{"key": 1, "text": "x" * 200}])
    with pytest.raises(RowError, match="where 200 fit"):
        renderer.make(batch)


def test_a_key_of_any_type_is_its_text() -> None:
    """The same that BigQuery would give it."""
    template = GeminiTemplate(prompt="x")
    assert key_of(line_of(template, {"id": 7}, key_column="id")) == "7"
    assert key_of(line_of(template, {"key": 1.0})) == "1"
    assert key_of(line_of(template, {"key": True})) == "true"
    assert key_of(line_of(template, {"key": 2.0**53})) == "9007199254740992"
    assert key_of(line_of(template, {"key": 2**64 - 1})) == "18446744073709551615"


def test_a_line_of_somebody_else_has_no_key() -> None:
    """It is not guessed at."""
    with pytest.raises(ValueError, match="not a request line"):
        key_of(b'{"request":{}}')
