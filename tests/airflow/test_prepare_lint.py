"""on_lint=: rows that break a rule fail the preparation, are dropped and accounted for, or are sent all the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest
from prepare_side import Place
from test_prepare_reuse import Batches

from airflow_batch_gemini import GeminiTemplate, Media
from airflow_batch_gemini.exceptions import ConfigurationError, RowError, SourceError
from airflow_batch_gemini.hooks.warehouse import WarehouseHook
from airflow_batch_gemini.hooks.workspace import WorkspaceHook
from airflow_batch_gemini.sql import rules

if TYPE_CHECKING:
    from airflow_batch_gemini.batch.manifest import Manifest
    from airflow_batch_gemini.local.server import LocalCloud

TEMPLATE = GeminiTemplate(prompt="What is {text}?", media=[Media(column="file")])
ROWS: Sequence[dict[str, Any]] = [
    {"key": "a", "text": "x", "file": None},
    {"key": "b", "text": "secret", "file": "no uri"},
    {"key": "c", "text": "y", "file": "gs://b/c.png"},
    {"key": "", "text": "secret", "file": None},
    {"key": "a", "text": "secret", "file": None},
    {"key": "b", "text": "secret", "file": None},
    {"key": "d", "text": "z", "file": None},
]
USER = {"role": "user", "parts": [{"text": "x"}]}
READY: Sequence[dict[str, Any]] = [
    {"request": {"contents": [USER]}},
    {"request": {"contents": [{**USER, "role": "system"}]}},
    {"key": "c", "request": {"contents": [USER], "x": {}}},
    {"request": {"contents": [USER]}},
]


def put(place: Place, rows: Sequence[dict[str, Any]]) -> str:
    return place.put("rows/a.jsonl", b"".join(json.dumps(row).encode() + b"\n" for row in rows))


def prepared(place: Place, rows: Sequence[dict[str, Any]] = ROWS, **options: Any) -> Manifest:
    return place.prepare(source_uri=put(place, rows), **{"template": TEMPLATE, **options})


def rejected(place: Place) -> list[tuple[str, str]]:
    """Key and rule of each row that was left out."""
    stored = place.storage.read(place.folder.rejected)
    assert stored is not None
    assert b"secret" not in stored.data
    found = map(json.loads, stored.data.splitlines())
    return [(row["key"].rpartition("/")[2], row["rule"]) for row in found]


def test_by_default_the_first_bad_row_fails_it_all(place: Place) -> None:
    """Keys are looked at first. Nothing is left."""
    with pytest.raises(RowError, match=r"GB121 .* line 4"):
        prepared(place)
    assert place.files() == []


def test_bad_rows_are_dropped_and_written_down(place: Place) -> None:
    """By key, or by place where the key is no row's own; the others are sent as if those had never been there."""
    manifest = prepared(place, on_lint="drop")
    assert [line["key"] for line in place.lines(manifest)[0]] == ["k_a", "k_c", "k_d"]
    assert rejected(place) == [
        ("b", "GB109"), ("a.jsonl line 4", "GB121"), ("a.jsonl line 5", "GB122"), ("a.jsonl line 6", "GB122"),
    ]  # fmt: skip
    assert manifest.rejected is not None
    assert (manifest.rows, manifest.rejected.rows, manifest.accounted_rows) == (3, 4, 7)
    good = [row for row, bad in zip(ROWS, (0, 1, 0, 1, 1, 1, 0), strict=True) if not bad]
    again = prepared(place, good, on_lint="drop")
    assert again.fingerprint(0) == manifest.fingerprint(0)
    assert again.rejected is None


def test_a_bad_row_never_takes_the_key_of_a_good_one_before_it(place: Place) -> None:
    """The good row is sent, though both are made in one go; the bad one is called by its place."""
    rows = [{"key": "a", "text": "x", "file": None}, {"key": "a", "text": "secret", "file": "no uri"}]
    manifest = prepared(place, rows, on_lint="drop")
    assert [line["key"] for line in place.lines(manifest)[0]] == ["k_a"]
    assert rejected(place) == [("a.jsonl line 2", "GB109")]


def test_a_key_that_is_no_text_is_dropped_by_its_place(place: Place) -> None:
    """Such as the name of a file in another encoding: Python stands half a character for each byte it cannot read."""
    keys = [b"caf\xe9.eml".decode(errors="surrogateescape"), "b.eml", "\ud800", "\ud800"]
    manifest = place.prepare(
        rows=lambda: ({"key": key, "text": "x", "file": None} for key in keys),
        template=TEMPLATE,
        on_lint="drop",
    )
    assert [line["key"] for line in place.lines(manifest)[0]] == ["k_b.eml"]
    assert rejected(place) == [(f"rows= row {number}", "GB125") for number in (1, 3, 4)]


def test_a_dropped_row_ends_in_the_errors_table_once(cloud: LocalCloud, bucket: str, dataset: str) -> None:
    """With the rule and what it says; loading again changes nothing."""
    place = Place(bucket, dataset, WorkspaceHook(), WarehouseHook())
    batches = Batches(place, cloud, "worker")
    batches.prepare = lambda _rows, _run, **_: prepared(place, on_lint="drop")  # type: ignore[method-assign]
    for _ in range(2):
        report = batches.run([], "run")
        assert report["outcomes"] == {
            "succeeded": 3, "truncated": 0, "invalid": 0, "blocked": 0, "failed": 0, "missing": 0, "mismatched": 0,
            "rejected": 4,
        }  # fmt: skip
        sql = f"SELECT key, outcome, reason, message FROM `{batches.results}_errors` ORDER BY key"
        errors = list(place.warehouse.query_rows(sql, project="demo", location="us-central1"))
        assert [(row["key"].rpartition("/")[2], row["reason"]) for row in errors] == [
            ("b", "GB109"), ("a.jsonl line 4", "GB121"), ("a.jsonl line 5", "GB122"), ("a.jsonl line 6", "GB122"),
        ]  # fmt: skip
        assert "media URI is malformed (column 'file')" in errors[0]["message"]
    assert batches.billed() == 3


def test_ready_made_requests_are_dropped_by_rule_and_keep_their_places(place: Place) -> None:
    """What is called by its place is called the same with and without its neighbours."""
    manifest = prepared(place, READY, template=None, on_lint="drop")
    assert [line["key"] for line in place.lines(manifest)[0]] == ["k_row-0000000001", "k_row-0000000004"]
    assert rejected(place) == [("row-0000000002", "GB107"), ("c", "GB102")]


def test_ready_made_requests_may_be_sent_against_all_advice(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rules that were broken are counted in the log."""
    manifest = prepared(place, READY, template=None, on_lint="ignore")
    assert (manifest.rows, manifest.rejected) == (4, None)
    told = capsys.readouterr().out
    assert "GB102, 1 rows: an object is empty" in told
    assert "GB107, 1 rows: a role is unknown" in told


def test_a_batch_of_bad_rows_only_is_refused(place: Place) -> None:
    """Nothing is left behind, the list of them included."""
    with pytest.raises(SourceError, match="has no row that breaks no rule"):
        prepared(place, [ROWS[1]], on_lint="drop")
    assert place.files() == []


def in_bigquery(place: Place, rows: Sequence[dict[str, Any]] = ROWS, **options: Any) -> Manifest:
    values = ", ".join(
        f"STRUCT('{row['key']}' AS key, '{row['text']}' AS text, {_literal(row['file'])} AS file)"
        for row in rows
    )
    arguments = {"template": TEMPLATE, "requests_dataset": place.dataset, **options}
    return place.prepare(sql=f"SELECT * FROM UNNEST([{values}])", **arguments)


def _literal(text: str | None) -> str:
    return "CAST(NULL AS STRING)" if text is None else f"'{text}'"


def test_bigquery_drops_bad_rows_too_and_they_end_in_the_errors_table_once(
    cloud: LocalCloud, bucket: str, dataset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first of two good rows with one key stays. A batch that is prepared again is the same."""
    place = Place(bucket, dataset, WorkspaceHook(), WarehouseHook())
    batches = Batches(place, cloud, "bigquery")
    batches.prepare = lambda _rows, _run, **_: in_bigquery(place, on_lint="drop")  # type: ignore[method-assign]
    manifest = in_bigquery(place, on_lint="drop", dedupe=True)
    assert (manifest.rows, manifest.copies and manifest.copies.rows, manifest.accounted_rows) == (3, 1, 7)
    told = capsys.readouterr().out
    assert "GB122, 1 rows: the key is used twice" in told
    assert "secret" not in told
    for _ in range(2):
        report = batches.run([], "run")
        assert (report["outcomes"]["succeeded"], report["outcomes"]["rejected"], report["rows"]) == (4, 3, 7)
        sql = f"SELECT key, outcome, reason, message FROM `{batches.results}_errors` ORDER BY key"
        errors = list(place.warehouse.query_rows(sql, project="demo", location="us-central1"))
        assert sorted(row["reason"] for row in errors) == ["GB109", "GB121", "GB122"]
        assert {row["key"][: len(rules.PLACE)] for row in errors} == {rules.PLACE}
        assert "secret" not in str(errors)
    assert batches.billed() == 4
    good = [ROWS[0], ROWS[2], {**ROWS[1], "file": None}, ROWS[6]]
    assert in_bigquery(place, good, on_lint="drop").rejected is None


def test_bigquery_refuses_a_batch_of_bad_rows_only(place: Place) -> None:
    """And drops what it made on the way."""
    with pytest.raises(SourceError, match="has no row that breaks no rule"):
        in_bigquery(place, [ROWS[1]], on_lint="drop")
    assert (place.files(), place.tables()) == ([], [])


@pytest.mark.parametrize(("on_lint", "kept"), [("drop", ["k_a"]), ("ignore", ["k_a", "k_b"])])
def test_bigquery_drops_or_sends_ready_made_requests_that_break_a_rule(
    place: Place, on_lint: str, kept: list[str]
) -> None:
    """What is no request at all is sent in no case."""
    good, odd = (json.dumps(READY[i]["request"]) for i in (0, 1))
    rows = f"SELECT 'a' AS key, JSON '{good}' AS request UNION ALL SELECT 'b', JSON '{odd}'"
    options = {"template": None, "requests_dataset": place.dataset, "on_lint": on_lint}
    manifest = place.prepare(sql=rows, **options)
    assert sorted(row["key"] for row in place.rows(manifest.parts[0].uri)) == kept
    nothing = f"{rows} UNION ALL SELECT 'c', JSON '7'"
    if on_lint == "drop":
        assert place.prepare(sql=nothing, **options).accounted_rows == 3
    else:
        with pytest.raises(SourceError, match="'c' is no JSON object"):
            place.prepare(sql=nothing, **options)


def test_a_word_that_is_none_is_refused_when_the_dag_is_parsed() -> None:
    """Before anything is read."""
    with pytest.raises(ConfigurationError, match="on_lint"):
        Place("b", "d", None, None).operator(sql="SELECT 1", on_lint="warn")  # type: ignore[arg-type]
