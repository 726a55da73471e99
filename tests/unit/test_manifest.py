"""The manifest is the single truth about a batch, and equal work has equal fingerprints."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from airflow_batch_gemini.batch.canary import CanaryFigures, Judged, figures
from airflow_batch_gemini.batch.canary_answer import CanaryAnswer
from airflow_batch_gemini.batch.estimate import BatchEstimate, PartEstimate, Usd
from airflow_batch_gemini.batch.estimating import estimate
from airflow_batch_gemini.batch.manifest import Aside, FirstBatch, Identity, Manifest, Part
from airflow_batch_gemini.batch.media_tokens import Tokens
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.batch.pricing import PRICES
from airflow_batch_gemini.batch.ref import BatchRef
from airflow_batch_gemini.batch.resuming import Resumed, Stored
from airflow_batch_gemini.batch.sampling import PartSize
from airflow_batch_gemini.batch.schema import Shape
from airflow_batch_gemini.exceptions import SourceError

IDENTITY = Identity(dag_id="dag", run_id="run", task_id="prepare")
PARTS = (
    Part(index=0, uri="gs://team/w/requests/part-00000.jsonl", rows=2, size=20, checksum="AAAA"),
    Part(index=1, uri="gs://team/w/requests/part-00001.jsonl", rows=1, size=10, checksum="BBBB"),
)
MANIFEST = Manifest(
    identity=IDENTITY,
    workspace="gs://team/w",
    project_id="p",
    location="us-central1",
    model="publishers/google/models/gemini-3.5-flash",
    requests="gcs",
    predictions="gcs",
    predictions_dataset=None,
    parts=PARTS,
    template_fingerprint="f",
    response_schema={"type": "STRING"},
    created_at="2026-11-22T06:00:00+00:00",
)


def test_an_identity_is_the_task_instance_and_nothing_else() -> None:
    """Joining its words differently gives another; it is a legal label value."""
    same = Identity(dag_id="dag", run_id="run", task_id="prepare", map_index=-1)
    assert same.batch_id == IDENTITY.batch_id
    others = [
        replace(IDENTITY, dag_id="da", run_id="grun"),
        replace(IDENTITY, run_id="x"),
        replace(IDENTITY, task_id="x"),
        replace(IDENTITY, map_index=0),
    ]
    assert len({IDENTITY.batch_id, *(one.batch_id for one in others)}) == 5
    assert len(IDENTITY.batch_id) == 32


def test_a_workspace_is_a_folder_per_task_instance() -> None:
    """A mapped one has its index as one more folder."""
    work = GcsUri.parse("gs://team/x")
    assert str(IDENTITY.workspace(work)) == "gs://team/x/dag/run/prepare"
    assert str(replace(IDENTITY, map_index=3).workspace(work)) == "gs://team/x/dag/run/prepare/3"


def test_a_manifest_survives_its_file() -> None:
    """Equal manifests are equal bytes."""
    data = MANIFEST.to_json()
    assert Manifest.from_json(data) == MANIFEST
    assert Manifest.from_json(data).to_json() == data
    assert (MANIFEST.rows, MANIFEST.size) == (3, 30)


def test_a_manifest_carries_its_estimate_and_does_without_one() -> None:
    """One that was written before there were estimates is read; neither changes what a job is bought for."""
    sizes = [PartSize(part=part.index, rows=part.rows, size=part.size) for part in PARTS]
    found = estimate(model=MANIFEST.model, price=PRICES["gemini-3.5-flash"], sizes=sizes, lines=())
    priced = replace(MANIFEST, estimate=found)
    assert Manifest.from_json(priced.to_json()) == priced
    assert [priced.fingerprint(i) for i in (0, 1)] == [MANIFEST.fingerprint(i) for i in (0, 1)]
    older = json.loads(MANIFEST.to_json())
    del older["estimate"]
    assert Manifest.from_json(json.dumps(older).encode()) == MANIFEST


def test_a_manifest_carries_what_its_canary_showed_and_does_without_one() -> None:
    """Counts travel with every part; one that was written before there were canaries is read."""
    failed = CanaryAnswer(request_id="r", key="k", nonce="n").failed(500)
    judged = [Judged(answer=failed), Judged(answer=replace(failed, request_id="s"))]
    found = figures(judged, shape=Shape.TEXT, population=3)
    asked = replace(MANIFEST, canary=found)
    assert Manifest.from_json(asked.to_json()) == replace(
        asked, canary=CanaryFigures.from_dict(found.to_dict())
    )
    assert asked.fingerprint(0) == MANIFEST.fingerprint(0)
    assert {(one["canary_rows"], one["canary_failures"]) for one in asked.to_xcom()} == {(2, 2)}
    older = json.loads(MANIFEST.to_json())
    del older["canary"]
    assert Manifest.from_json(json.dumps(older).encode()) == MANIFEST
    before = {name: value for name, value in MANIFEST.to_xcom()[0].items() if not name.startswith("canary_")}
    assert BatchRef.from_xcom(before).canary_rows == 0


def test_a_part_may_go_on_with_a_job_and_then_buys_something_else() -> None:
    """Another output of that job is another purchase; a manifest from before there were such parts is read."""
    resumed = Resumed(
        job_name="projects/p/locations/us-central1/batchPredictionJobs/1",
        ended=1_790_000_000.5,
        requests=Stored(uri=PARTS[0].uri, checksum=PARTS[0].checksum),
        outputs=(Stored(uri="gs://team/o/predictions.jsonl", checksum="CCCC"),),
    )
    made = replace(MANIFEST, parts=(replace(PARTS[0], resumes=resumed), PARTS[1]))
    assert Manifest.from_json(made.to_json()) == made
    other = replace(resumed, outputs=(Stored(uri="gs://team/o/predictions.jsonl", checksum="DDDD"),))
    changed = replace(MANIFEST, parts=(replace(PARTS[0], resumes=other), PARTS[1]))
    assert len({found.fingerprint(0) for found in (MANIFEST, made, changed)}) == 3
    assert made.fingerprint(1) == MANIFEST.fingerprint(1)
    older = json.loads(MANIFEST.to_json())
    for part in older["parts"]:
        del part["resumes"]
    assert Manifest.from_json(json.dumps(older).encode()) == MANIFEST


def test_every_part_travels_with_what_the_batch_will_cost() -> None:
    """As numbers, which templates and people can read; a batch of an unknown price with none."""
    total = PartEstimate(
        part=0, rows=3, input_tokens=Tokens(), output_tokens=Tokens(), usd=Usd(*map(Decimal, "123"))
    )
    known = BatchEstimate(
        model="m", parts=(total,), price_date="d", sampled=1, counted=0, output_from="limits"
    )
    for found, usd in ((known, (1.0, 2.0, 3.0)), (None, (None, None, None))):
        sent = replace(MANIFEST, estimate=found).to_xcom()
        assert [(one["usd_low"], one["usd_expected"], one["usd_high"]) for one in sent] == [usd, usd]
        assert BatchRef.from_xcom(sent).usd_high == usd[2]
    before = {name: value for name, value in sent[0].items() if not name.startswith("usd_")}
    assert BatchRef.from_xcom(before).usd_high is None


def _changed(**changes: Any) -> bytes:
    return json.dumps({**json.loads(MANIFEST.to_json()), **changes}).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        _changed(format=2),
        _changed(rows=4),
        _changed(batch_id="x"),
        _changed(more=1),
        _changed(estimate={"parts": []}),
        _changed(estimate=1),
        _changed(canary={"rows": 1}),
        _changed(canary="text"),
        _changed(parts=[{"index": 0}]),
    ],
)
def test_anything_else_is_no_manifest(data: bytes) -> None:
    """Cut off, of another format, or contradicting itself."""
    with pytest.raises(SourceError, match=r"manifest\.json"):
        Manifest.from_json(data)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"model": "publishers/google/models/other"}, False),
        ({"project_id": "q"}, False),
        ({"location": "europe-west1"}, False),
        ({"template_fingerprint": "g"}, False),
        ({"predictions": "bigquery", "predictions_dataset": "p.d"}, False),
        ({"parts": (replace(PARTS[0], checksum="CCCC"), PARTS[1])}, False),
        ({"parts": (replace(PARTS[0], rows=3), PARTS[1])}, False),
        ({"requests": "bigquery"}, False),
        ({"parts": (replace(PARTS[0], uri="gs://b/of-another-attempt"), PARTS[1])}, True),
        ({"created_at": "2027-01-01T00:00:00+00:00"}, True),
        ({"parts": (PARTS[0], replace(PARTS[1], checksum="CCCC"))}, True),
    ],
)
def test_a_fingerprint_changes_with_what_decides_the_answers(change: dict[str, Any], same: bool) -> None:
    """And with nothing else: not with time, not with another part."""
    assert (replace(MANIFEST, **change).fingerprint(0) == MANIFEST.fingerprint(0)) is same


def test_the_reference_in_xcom_holds_names_and_counts_only() -> None:
    """It is read back from what prepare returned, or from one element of it, which is one part."""
    whole = MANIFEST.to_xcom()
    assert BatchRef.from_xcom(whole) == MANIFEST.ref
    assert [BatchRef.from_xcom(part).indexes for part in whole] == [range(1), range(1, 2)]
    assert BatchRef.from_xcom(MANIFEST.ref.to_dict()).indexes == range(2)
    ref = MANIFEST.ref
    assert (ref.rows, ref.size, ref.parts, str(ref.folder)) == (3, 30, 2, "gs://team/w")


@pytest.mark.parametrize(
    "wrong",
    [
        {**MANIFEST.ref.to_dict(), "more": 1},
        {},
        [],
        ["text"],
        "text",
        b"bytes",
        None,
        7,
        [MANIFEST.ref.to_dict(), replace(MANIFEST.ref, batch_id="0" * 32).to_dict()],
    ],
)
def test_what_prepare_did_not_return_is_no_batch(wrong: object) -> None:
    """Two batches at once neither."""
    with pytest.raises(SourceError, match="GeminiBatchPrepareOperator returned"):
        BatchRef.from_xcom(wrong)


@pytest.mark.parametrize("map_index", [-1, 0, 7])
@pytest.mark.parametrize("work_uri", ["gs://team", "gs://team/work/of us"])
def test_a_manifest_knows_the_folder_that_its_workspace_was_made_in(work_uri: str, map_index: int) -> None:
    """Whatever the names of DAG, run and task hold."""
    identity = Identity(
        dag_id="a/b", run_id="manual__2026-01-01T00:00:00+00:00", task_id="g.t", map_index=map_index
    )
    made = replace(MANIFEST, identity=identity, workspace=str(identity.workspace(GcsUri.parse(work_uri))))
    assert str(made.work_uri) == work_uri


def test_the_rounds_of_a_batch_share_its_id_its_rows_and_what_was_asked_first() -> None:
    """Whatever a round itself asks."""
    root = replace(MANIFEST, rejected=Aside("gs://team/w/requests/rejected.jsonl", 2, "CCCC"))
    first = FirstBatch(
        batch_id=root.batch_id,
        workspace=root.workspace,
        fingerprint=root.batch_fingerprint,
        rows=root.accounted_rows,
        basis="b",
    )
    made = replace(
        MANIFEST, identity=replace(IDENTITY, task_id="repair"), parts=PARTS[:1], round=1, first=first
    )
    assert Manifest.from_json(made.to_json()) == made
    assert made.batch_id != root.batch_id
    assert (made.root_batch_id, made.batch_fingerprint, made.whole_rows) == (
        root.batch_id,
        root.batch_fingerprint,
        5,
    )
    assert (root.root_batch_id, root.whole_rows, made.accounted_rows) == (root.batch_id, 5, 2)


@pytest.mark.parametrize(
    "changed",
    [
        {"parts": PARTS[:1]},
        {"template_fingerprint": "g"},
        {"model": "publishers/google/models/gemini-2.5-pro"},
        {"copies": Aside("gs://team/w/requests/copies.jsonl", 1, "CCCC")},
        {"rejected": Aside("gs://team/w/requests/rejected.jsonl", 1, "CCCC")},
    ],
)
def test_what_was_asked_first_is_told_by_all_that_makes_a_row(changed: dict[str, Any]) -> None:
    """Of another preparation no answer is kept."""
    assert replace(MANIFEST, **changed).batch_fingerprint != MANIFEST.batch_fingerprint
    assert replace(MANIFEST, attempt="2", created_at="later").batch_fingerprint == MANIFEST.batch_fingerprint
