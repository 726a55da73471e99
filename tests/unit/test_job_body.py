"""The body of a job and its labels."""

from __future__ import annotations

import pytest

from airflow_batch_gemini.batch.job import Job
from airflow_batch_gemini.batch.job_body import (
    batch_filter,
    belongs,
    check_labels,
    epoch_of,
    job_body,
    job_labels,
    part_filter,
)
from airflow_batch_gemini.exceptions import ConfigurationError, InvalidNameError

OURS = {"batch_id": "b" * 32, "part": 3, "epoch": 2, "nonce": "n" * 32, "fingerprint": "f" * 32}


def body(**changes: str) -> dict[str, object]:
    values: dict[str, object] = {
        "display_name": "a job",
        "model": "gemini-3.5-flash",
        "source_uri": "gs://bucket/in.jsonl",
        "destination_uri": "gs://bucket/out",
        "labels": {"a": "b"},
    }
    return job_body(**(values | changes))  # type: ignore[arg-type]  # a table of odd cases


def test_files_in_and_files_out() -> None:
    """uris is a list, of one file."""
    assert body() == {
        "displayName": "a job",
        "model": "publishers/google/models/gemini-3.5-flash",
        "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": ["gs://bucket/in.jsonl"]}},
        "outputConfig": {
            "predictionsFormat": "jsonl",
            "gcsDestination": {"outputUriPrefix": "gs://bucket/out"},
        },
        "labels": {"a": "b"},
    }


def test_tables_in_and_tables_out() -> None:
    """With Vertex AI's prefix, given or not."""
    made = body(source_uri="bq://p-1.d.t", destination_uri="bq://p-1.d.u")
    assert made["inputConfig"] == {
        "instancesFormat": "bigquery",
        "bigquerySource": {"inputUri": "bq://p-1.d.t"},
    }
    assert made["outputConfig"] == {
        "predictionsFormat": "bigquery",
        "bigqueryDestination": {"outputUri": "bq://p-1.d.u"},
    }


def test_kinds_may_be_mixed() -> None:
    """A file in, a table out."""
    made = body(destination_uri="bq://p-1.d.u")
    assert made["inputConfig"]["instancesFormat"] == "jsonl"  # type: ignore[index]  # it is a dict
    assert made["outputConfig"]["predictionsFormat"] == "bigquery"  # type: ignore[index]  # it is a dict


@pytest.mark.parametrize(
    "uri", ["", "file:///x", "gs://", "gs://Bad/x", "bq://p", "bq://p.d.t$1", "s3://b/k"]
)
@pytest.mark.parametrize("side", ["source_uri", "destination_uri"])
def test_a_place_that_is_neither_file_nor_table_is_refused(side: str, uri: str) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidNameError):
        body(**{side: uri})


def test_a_display_name_is_cut_to_what_google_takes_and_never_empty() -> None:
    """128 characters."""
    assert body(display_name="x" * 500)["displayName"] == "x" * 128
    with pytest.raises(ConfigurationError):
        body(display_name="  ")


def test_labels_carry_identity_epoch_nonce_and_fingerprint_beside_the_users() -> None:
    """All of them fit Google's grammar, and 63 characters."""
    labels = job_labels(**OURS, user={"team": "search"})  # type: ignore[arg-type]  # one dict for all tests
    assert labels == {
        "team": "search",
        "gemini_batch": "b" * 33,
        "gemini_part": "p3",
        "gemini_epoch": "2",
        "gemini_nonce": "n" * 32,
        "gemini_fingerprint": "f" * 32,
    }
    ours = {key: value for key, value in labels.items() if key != "team"}
    assert max(map(len, [*labels, *labels.values()])) <= 63
    with pytest.raises(ConfigurationError, match="identity"):
        check_labels(ours)


@pytest.mark.parametrize(
    "labels",
    [
        {"Team": "x"},
        {"1st": "x"},
        {"": "x"},
        {"k" * 64: "x"},
        {"team": "Search"},
        {"team": "a b"},
        {"team": "x" * 64},
        {"team": 7},
        {7: "x"},
        {f"k{n}": "" for n in range(60)},
        {"gemini_part": "0"},
    ],
)
def test_labels_google_would_refuse_are_refused_first(labels: dict[str, str]) -> None:
    """Grammar, number, and our own."""
    with pytest.raises(ConfigurationError, match="Nothing was sent"):
        check_labels(labels)


def test_an_empty_label_value_is_legal() -> None:
    """And so is none at all."""
    assert check_labels({"flag": ""}) == {"flag": ""}
    assert check_labels(None) == {}


def test_a_part_is_found_by_label_and_known_by_its_own_labels() -> None:
    """The filter is Google's to obey; the labels decide."""
    assert part_filter("abc", 3) == f"{batch_filter('abc')} AND labels.gemini_part=p3"
    labels = job_labels(**OURS)  # type: ignore[arg-type]  # one dict for all tests
    job = Job(name="j", state="JOB_STATE_PENDING", labels=labels)
    assert belongs(job, batch_id="b" * 32, part=3)
    assert not belongs(job, batch_id="b" * 32, part=30)
    assert not belongs(job, batch_id="c" * 32, part=3)
    assert epoch_of(job) == 2


@pytest.mark.parametrize("text", ["", "x", "-1", "²"])
def test_an_epoch_label_that_somebody_edited_is_no_epoch(text: str) -> None:
    """Labels can be changed in the console."""
    assert epoch_of(Job(name="j", state="S", labels={"gemini_epoch": text})) == 0
