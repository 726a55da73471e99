"""The list filter, as a table over three jobs."""

from typing import Any

import pytest

from airflow_batch_gemini.local.errors import CloudError
from airflow_batch_gemini.local.vertex.filters import parse_filter
from airflow_batch_gemini.local.vertex.records import Job, Place, filterable, resource

JOBS: dict[str, dict[str, Any]] = {
    "a": {
        "displayName": "night-1",
        "state": "JOB_STATE_SUCCEEDED",
        "createTime": "2026-01-01T00:00:00.000000Z",
        "labels": {"team": "x", "part": "0"},
    },
    "b": {
        "displayName": "night-2",
        "state": "JOB_STATE_FAILED",
        "createTime": "2026-01-02T00:00:00.000000Z",
        "labels": {"team": "y"},
    },
    "c": {"displayName": "day", "state": "JOB_STATE_RUNNING", "createTime": "2026-01-03T00:00:00.000000Z"},
}


def matching(text: str) -> str:
    test = parse_filter(text)
    return "".join(name for name, job in JOBS.items() if test(job))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", "abc"),
        ("   ", "abc"),
        ('displayName="day"', "c"),
        ("display_name = day", "c"),
        ("displayName!=day", "ab"),
        ('displayName:"night*"', "ab"),
        ("displayName:*-2", "b"),
        ("displayName:night", ""),
        ('state="JOB_STATE_FAILED"', "b"),
        ("NOT state=JOB_STATE_FAILED", "ac"),
        ("-state=JOB_STATE_FAILED", "ac"),
        ("labels.team=x", "a"),
        ("labels.team!=x", "bc"),
        ("labels.team:*", "ab"),
        ("NOT labels.team:*", "c"),
        ('labels."team"="y"', "b"),
        ("createTime>2026-01-02T00:00:00Z", "c"),
        ('create_time>="2026-01-02T00:00:00Z"', "bc"),
        ("createTime<2026-01-01T12:00:00+00:00", "a"),
        ("labels.team=x AND labels.part=0", "a"),
        ("labels.team=x labels.part=1", ""),
        ("labels.team=x OR state=JOB_STATE_RUNNING", "ac"),
        # OR binds tighter than AND, as in all of Google's list filters.
        ("labels.team=x OR labels.team=y AND state=JOB_STATE_FAILED", "b"),
        ("(labels.team=x) OR (labels.team=y AND state=JOB_STATE_FAILED)", "ab"),
        ("NOT (labels.team=x OR labels.team=y)", "c"),
        ('displayName="a \\"quoted\\" one"', ""),
        ("modelDisplayName!=x", "abc"),
    ],
)
def test_a_filter_takes_the_jobs_it_says(text: str, names: str) -> None:
    """Both spellings of fields, quoted and bare values."""
    assert matching(text) == names


@pytest.mark.parametrize(
    "text",
    [
        "nope=1",
        "state",
        "state=",
        "state=(a)",
        "(state=a",
        "state=a)",
        "AND",
        "state>a",
        "labels.x>1",
        "createTime:x",
        "createTime>yesterday",
        "createTime>2026-01-01T00:00:00",
        'displayName="open',
        "=a",
    ],
)
def test_what_is_not_a_filter_is_refused(text: str) -> None:
    """400 INVALID_ARGUMENT, naming the filter."""
    with pytest.raises(CloudError) as caught:
        parse_filter(text)
    assert caught.value.code == 400
    assert "filter" in caught.value.message


@pytest.mark.parametrize("labels", [{}, {"team": "x"}])
def test_what_a_listing_tests_is_what_it_would_show(labels: dict[str, str]) -> None:
    """The part of a job that filters see agrees with the resource in every field that filters know."""
    place = Place(kind="gcs", uris=("gs://bench/in.jsonl",))
    job = Job(
        id="1",
        sequence=1,
        project="demo",
        location="us-central1",
        display_name="night-1",
        model="publishers/google/models/gemini-3.5-flash",
        model_id="gemini-3.5-flash",
        labels=labels,
        source=place,
        destination=place,
        created=1.5,
        updated=2.5,
    )
    shown, tested = resource(job), filterable(job)
    for field in ("displayName", "modelDisplayName", "state", "createTime"):
        assert tested.get(field) == shown.get(field)
    assert tested["labels"] == shown.get("labels", {})
