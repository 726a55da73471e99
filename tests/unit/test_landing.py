"""BigQuery jobs as values, and what a load starts from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_batch_gemini.batch.job import Counts, Job
from airflow_batch_gemini.batch.landing import (
    Column,
    JobOutcome,
    TableInfo,
    WarehouseJob,
    job_id,
    outcome_of_error,
    redacted,
    same_configuration,
)
from airflow_batch_gemini.batch.layout import BatchTables
from airflow_batch_gemini.batch.ledger import Ledger
from airflow_batch_gemini.batch.loading import (
    PartJob,
    check_answered,
    check_returned,
    missing_shards,
    paid_ledger,
    part_job,
    prediction_files,
)
from airflow_batch_gemini.batch.manifest import Identity, Manifest, Part
from airflow_batch_gemini.batch.names import DatasetName, GcsUri, TableName
from airflow_batch_gemini.batch.parameters import job_parameters
from airflow_batch_gemini.batch.parts import MAX_BYTES
from airflow_batch_gemini.batch.resuming import Lost, Resumed, Stored, why_not
from airflow_batch_gemini.exceptions import OutputError
from airflow_batch_gemini.sql.landing import load_predictions, query, query_into
from airflow_batch_gemini.sql.parts import PartPlan, StoredFile, plan_part
from airflow_batch_gemini.sql.plan import Landed, LoadPlan

QUERY = {"query": {"query": "SELECT 1", "useLegacySql": False}}
JOB_NAME = "projects/p/locations/us-central1/batchPredictionJobs/7"
PART = Part(index=0, uri="gs://my-bucket/w/requests/part-00000.jsonl", rows=3, size=9, checksum="crc==")
MANIFEST = Manifest(
    identity=Identity(dag_id="d", run_id="r", task_id="t"),
    workspace="gs://my-bucket/w",
    project_id="p",
    location="us-central1",
    model="publishers/google/models/gemini-3.5-flash",
    requests="gcs",
    predictions="gcs",
    predictions_dataset=None,
    parts=(PART,),
    template_fingerprint="f",
    response_schema=None,
    created_at="2026-09-01T00:00:00+00:00",
)
TABLES = BatchTables(DatasetName("p", "d"), MANIFEST.batch_id)
LEDGER = Ledger(
    state="SUBMITTED",
    epoch=2,
    since=1,
    nonce="n",
    owner="o",
    fingerprint=MANIFEST.fingerprint(0),
    input_uri="gs://my-bucket/w/input/part-00000/e2-n.jsonl",
    destination_uri="gs://my-bucket/w/predictions/part-00000",
    job_name=JOB_NAME,
)
FOLDER = "gs://my-bucket/w/predictions/part-00000/prediction-model-2026-09-01T10:00:00.123456Z"


def job(state: str = "JOB_STATE_SUCCEEDED", output_uri: str = FOLDER) -> Job:
    return Job(name=JOB_NAME, state=state, output_uri=output_uri)


def ended(output_uri: str | None = FOLDER, state: str = "JOB_STATE_SUCCEEDED", part: Part = PART) -> PartJob:
    return PartJob(part=part, epoch=2, job=job(state, output_uri or ""), output_uri=output_uri)


# ------------------------------------------------------------------------------------------------- BigQuery jobs


def test_a_job_is_named_after_what_it_does() -> None:
    """Equal work, equal name; the order of the keys says nothing."""
    turned = {"query": {"useLegacySql": False, "query": "SELECT 1"}}
    assert job_id(QUERY, purpose="audit") == job_id(turned, purpose="audit")
    names = {
        job_id(QUERY, purpose="audit"),
        job_id(QUERY, purpose="audit", salt="x"),
        job_id(QUERY, purpose="audit", attempt=1),
        job_id(QUERY, purpose="publish"),
        job_id(query("SELECT 2"), purpose="audit"),
    }
    assert len(names) == 5


def test_the_name_tells_the_attempt() -> None:
    """Names of other makers count as first attempts."""
    name = job_id(QUERY, purpose="audit", attempt=12)
    assert WarehouseJob(project="p", location="US", job_id=name).attempt == 12
    assert WarehouseJob(project="p", location="US", job_id="other").attempt == 0


def test_a_job_travels_as_a_list_of_names() -> None:
    """And comes back."""
    found = WarehouseJob(project="p", location="US", job_id="j")
    assert WarehouseJob.from_list(found.to_list()) == found
    assert str(found) == "p:US.j"


@pytest.mark.parametrize(
    ("theirs", "same"),
    [
        (QUERY, True),
        ({"query": {**QUERY["query"], "priority": "INTERACTIVE"}, "jobType": "QUERY"}, True),
        ({"query": {"query": "SELECT 1", "useLegacySql": "false"}}, True),
        ({"query": {"query": "SELECT 2", "useLegacySql": False}}, False),
        ({"query": {"query": "SELECT 1"}}, False),
        ({"load": {}}, False),
        (None, False),
    ],
)
def test_a_job_is_the_same_when_it_does_all_that_was_asked(theirs: Any, same: bool) -> None:
    """BigQuery adds defaults of its own and writes numbers as strings."""
    assert same_configuration(QUERY, theirs) is same


@pytest.mark.parametrize(("most", "same"), [(0, True), (3, False)])
def test_what_is_the_default_anyway_need_not_be_repeated(most: int, same: bool) -> None:
    """Else a load that goes on after a deferral would take its own job for somebody else's."""
    target = DatasetName("p", "d").table("t")
    asked = load_predictions([GcsUri.parse("gs://my-bucket/a")], target, max_corrupt_lines=most)
    fields = [{"name": one["name"], "type": one["type"]} for one in asked["load"]["schema"]["fields"]]
    theirs = {"load": {**asked["load"], "schema": {"fields": fields}}}
    del theirs["load"]["maxBadRecords"]
    assert same_configuration(asked, theirs) is same


def test_a_parameter_that_is_nothing_need_not_be_repeated() -> None:
    """JSON leaves out a null and an empty list; a value that is gone is another job."""
    given = {"a": {"value": None, "type": "DATE"}, "b": {"value": [], "type": "ARRAY<INT64>"}, "c": "x"}
    asked = job_parameters(given)
    *nothing, last = [{**one, "parameterValue": {}} for one in asked["queryParameters"]]
    del nothing[0]["parameterValue"]
    assert same_configuration(asked, {**asked, "queryParameters": [*nothing, asked["queryParameters"][-1]]})
    assert not same_configuration(asked, {**asked, "queryParameters": [*nothing, last]})


def test_lists_are_the_same_only_element_by_element() -> None:
    """A load of two files is not a load of one."""
    one, two = {"a": ["x"]}, {"a": ["x", "y"]}
    assert not same_configuration(one, two)
    assert not same_configuration(one, {"a": "x"})
    assert same_configuration({"a": [{"n": 1}]}, {"a": [{"n": "1", "mode": "NULLABLE"}]})


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        (
            "Not found: Table p:d.t was not found in location US",
            "Not found: Table p:d.t was not found in location US",
        ),
        ("Unexpected string literal 'my secret' at [1:8]", "Unexpected string literal '…' at [1:8]"),
        (
            "Could not parse 'it's \"secret\"' as INT64 for field x",
            "Could not parse '…' as INT64 for field x",
        ),
        ('Bad "a" and "b"', "Bad '…'"),
        ("Bad int64 value: secret", "Bad int64 value: …"),
        (
            "Couldn't convert value to timestamp: Could not parse 'a secret' as a timestamp. Field: ts; Value: secret",
            "Couldn't convert value to timestamp: Could not parse '…' as a timestamp. Field: ts; Value: …",
        ),
        ("Could not parse 'a secret that BigQuery cut o", "Could not parse '…'"),
        ("first line\nsecret second", "first line"),
        ("x" * 500, "x" * 300),
        ("", ""),
    ],
)
def test_an_error_message_loses_whatever_it_quotes(message: str, kept: str) -> None:
    """A literal or a value may be a prompt or an answer."""
    assert redacted(message) == kept


@pytest.mark.parametrize(
    ("reason", "message", "transient"),
    [
        ("backendError", "", True),
        ("rateLimitExceeded", "", True),
        ("invalidQuery", "Syntax error", False),
        ("invalidQuery", "Transaction is aborted due to concurrent update against table p.d.t", True),
        ("invalidQuery", "Could not serialize access to table p.d.t", True),
        ("notFound", "", False),
        (None, "", False),
    ],
)
def test_a_failure_that_may_pass_is_told_from_one_that_will_not(
    reason: str | None, message: str, transient: bool
) -> None:
    """Two loads into one results table may abort each other; the loser simply runs again."""
    outcome = outcome_of_error(reason, message)
    assert outcome.done
    assert outcome.failed
    assert outcome.transient is transient
    assert outcome.contended is (reason == "invalidQuery" and transient)
    assert not JobOutcome(done=True).failed


# ---------------------------------------------------------------------------------------- what the load starts from


def test_a_part_needs_a_ledger_with_a_job() -> None:
    """An answer that was never bought cannot be loaded."""
    assert paid_ledger(MANIFEST, 0, LEDGER) is LEDGER
    with pytest.raises(OutputError, match="Part 0 has no ledger"):
        paid_ledger(MANIFEST, 0, None)
    with pytest.raises(OutputError, match="Part 0 is INTENT"):
        paid_ledger(MANIFEST, 0, replace(LEDGER, state="INTENT", job_name=None))


def test_a_job_for_other_requests_is_not_this_parts_job() -> None:
    """Prepared anew after the submit: the answers would stand on the wrong rows."""
    with pytest.raises(OutputError, match="prepared anew"):
        paid_ledger(MANIFEST, 0, replace(LEDGER, fingerprint="0" * 32))


@pytest.mark.parametrize(
    "state", ["JOB_STATE_PENDING", "JOB_STATE_RUNNING", "JOB_STATE_CANCELLING", "NEW_WORD"]
)
def test_a_job_at_work_is_waited_for_first(state: str) -> None:
    """Half an output is no output."""
    with pytest.raises(OutputError, match="wait for it first"):
        part_job(PART, LEDGER, job(state))


@pytest.mark.parametrize(
    ("state", "uri", "landed"),
    [
        ("JOB_STATE_SUCCEEDED", FOLDER, FOLDER),
        ("JOB_STATE_PARTIALLY_SUCCEEDED", FOLDER, FOLDER),
        ("JOB_STATE_FAILED", FOLDER, FOLDER),
        ("JOB_STATE_CANCELLED", FOLDER, FOLDER),
        ("JOB_STATE_FAILED", "", None),
        ("JOB_STATE_EXPIRED", FOLDER, FOLDER),
        ("JOB_STATE_EXPIRED", "", None),
    ],
)
def test_what_a_dead_job_answered_is_kept(state: str, uri: str, landed: str | None) -> None:
    """It was paid for."""
    assert part_job(PART, LEDGER, job(state, uri)).output_uri == landed


def test_a_succeeded_job_that_wrote_nowhere_stops_the_load() -> None:
    """Its answers are somewhere, and were paid for."""
    with pytest.raises(OutputError, match="does not say where"):
        part_job(PART, LEDGER, job(output_uri=""))


SHARD = "w/predictions.jsonl-{:05d}-of-{:05d}"


@pytest.mark.parametrize(
    ("names", "gone"),
    [
        ([], []),
        (["w/predictions.jsonl"], []),
        ([SHARD.format(n, 3) for n in (2, 0, 1)], []),
        ([SHARD.format(n, 3) for n in (2, 0)], ["predictions.jsonl-00001-of-00003"]),
        ([SHARD.format(0, 3)], ["predictions.jsonl-00001-of-00003", "predictions.jsonl-00002-of-00003"]),
        ([SHARD.format(1, 2), "other/" + SHARD.format(0, 2)], []),
        ([SHARD.format(0, 1), SHARD.format(1, 2)], ["predictions.jsonl-00000-of-00002"]),
        (["w/incremental_predictions.jsonl-00000-of-00002"], []),
        (["w/predictions.jsonl-1-of-2", "w/predictions.jsonl"], ["predictions.jsonl-00000-of-00002"]),
    ],
)
def test_a_set_of_shards_says_itself_which_are_missing(names: list[str], gone: list[str]) -> None:
    """In whatever folder below the output they lie."""
    assert missing_shards(names) == gone


def test_only_final_files_hold_answers() -> None:
    """What a running job had so far comes again in them."""
    names = [
        "b/predictions.jsonl",
        "a/predictions.jsonl-00000-of-00001",
        "incremental_predictions.jsonl",
        "x.txt",
    ]
    assert prediction_files(names) == ["a/predictions.jsonl-00000-of-00001", "b/predictions.jsonl"]


@pytest.mark.parametrize(
    ("state", "said", "came", "note"),
    [
        ("JOB_STATE_SUCCEEDED", 3, 3, None),
        ("JOB_STATE_SUCCEEDED", None, 3, None),
        ("JOB_STATE_SUCCEEDED", 2, 3, None),
        ("JOB_STATE_SUCCEEDED", 3, 2, "answered 3 rows of part 0, but 2 came back"),
        ("JOB_STATE_SUCCEEDED", None, 0, "no answer came back: all rows of part 0 are missing"),
        ("JOB_STATE_SUCCEEDED", 0, 0, "no answer came back"),
        ("JOB_STATE_CANCELLED", 3, 0, "answered 3 rows of part 0, but 0 came back"),
        ("JOB_STATE_EXPIRED", None, 0, None),
    ],
)
def test_what_came_back_is_compared_with_what_the_job_says(
    state: str, said: int | None, came: int, note: str | None
) -> None:
    """A difference is told; the rows are missing either way."""
    found = check_answered({0: replace(job(state), counts=Counts(succeeded=said))}, {0: came} if came else {})
    assert len(found) == (note is not None)
    assert all(str(note) in text for text in found)


def test_a_job_that_claims_answers_and_left_none_stops_the_load() -> None:
    """They were paid for: landed as missing, the next repair would buy them again."""
    with pytest.raises(
        OutputError, match=r"says that it answered 3 rows, but its output .* has none of them"
    ):
        check_answered({0: replace(job(), counts=Counts(succeeded=3))}, {})


def test_a_resumed_job_may_count_what_another_one_had_answered() -> None:
    """Or not: neither way a row is taken for lost. Answers that seem to be new are told."""
    both, own = (replace(job(), counts=Counts(succeeded=said)) for said in (5, 2))
    assert check_answered({0: both}, {0: 2}, {0: 3}) == check_answered({0: own}, {0: 2}, {0: 3}) == []
    [note] = check_answered({0: both}, {}, {0: 3})
    assert "answered 5 rows of part 0, but 3 came back" in note
    resumed = Resumed(
        job_name=f"{JOB_NAME}8",
        ended=None,
        requests=Stored(uri=PART.uri),
        outputs=(Stored(uri="bq://p.d.t"),),
    )
    manifest = replace(MANIFEST, parts=(replace(PART, resumes=resumed),))
    assert check_returned(manifest, {0: both}, {0: 0}) == check_returned(MANIFEST, {0: both}, {}) == []
    [note] = check_returned(manifest, {0: both}, {0: 3})
    assert f"went on with {JOB_NAME}8, and 3 rows that the latter" in note


@pytest.mark.parametrize(
    ("lost", "why"),
    [
        (Lost(), "no row that it would be run for"),
        (Lost(rows=3), "no row that it would be run for"),
        (Lost(rows=3, sent_again=1), None),
        (Lost(rows=3, sent_again=1, mismatched=1), "ask what others ask"),
        (Lost(rows=3, sent_again=3, asked_since=True), "since"),
    ],
)
def test_rows_are_worth_going_on_for_or_not(lost: Lost, why: str | None) -> None:
    """Nothing is bought that nobody wants, that asks something else, or that was answered meanwhile."""
    assert (lost.why_not is None) == (why is None)
    assert str(why) in str(lost.why_not)


@pytest.mark.parametrize(
    ("readable", "sizes", "why"),
    [
        (True, [1], None),
        (True, [0], None),
        (True, [], "wrote no output"),
        (False, [1], "every line"),
        (True, [MAX_BYTES, 1], "more than the 1,000,000,000 bytes"),
    ],
)
def test_an_output_can_be_gone_on_with_or_not(readable: bool, sizes: list[int], why: str | None) -> None:
    """A job that could not read it would fail, and its rows be lost once more."""
    found = why_not(readable=readable, sizes=sizes)
    assert (found is None) == (why is None)
    assert str(why) in str(found)


# --------------------------------------------------------------------------------------------------------- the plan


REQUESTS = StoredFile(GcsUri.parse(PART.uri), 42, PART.checksum)


def plan(part_ended: PartJob, **kwargs: Any) -> PartPlan:
    return plan_part(part_ended, TABLES, **{"requests_file": REQUESTS, **kwargs})


def files(*names: str) -> list[StoredFile]:
    folder = GcsUri.parse(FOLDER)
    return [StoredFile(folder / name, generation, "c") for generation, name in enumerate(names, start=1)]


def test_every_prediction_file_below_the_folder_is_landed_and_nothing_else() -> None:
    """Shards in any order; what a running job had so far comes again in the final file."""
    found = files("predictions.jsonl-00001-of-00002", "incremental_predictions.jsonl", "errors.txt",
                  "sub/predictions.jsonl-00000-of-00002")  # fmt: skip
    planned = plan(ended(), files=found)
    requests, predictions = planned.loads
    assert predictions.configuration["load"]["sourceUris"] == [
        f"{FOLDER}/predictions.jsonl-00001-of-00002",
        f"{FOLDER}/sub/predictions.jsonl-00000-of-00002",
    ]
    assert predictions.table == planned.tables.predictions
    assert predictions.table.table.startswith(TABLES.landing(0, 2).table)
    assert requests.configuration["load"]["sourceUris"] == [PART.uri]
    assert requests.salt == "42"


def test_files_written_anew_are_loaded_anew() -> None:
    """The generation of an object is part of the job's name."""
    first = plan(ended(), files=[StoredFile(GcsUri.parse(f"{FOLDER}/predictions.jsonl"), 1, "c")])
    again = plan(ended(), files=[StoredFile(GcsUri.parse(f"{FOLDER}/predictions.jsonl"), 2, "c")])
    assert first.loads[1].salt != again.loads[1].salt
    assert first.loads[1].table != again.loads[1].table


@pytest.mark.parametrize("found", [None, replace(REQUESTS, checksum="other")])
def test_without_the_request_file_that_was_prepared_nobody_knows_whose_answers_these_are(
    found: StoredFile | None,
) -> None:
    """The keys are in it."""
    with pytest.raises(OutputError, match="whose answers"):
        plan(ended(), requests_file=found, files=files("predictions.jsonl"))


def test_a_missing_shard_stops_the_load_unless_the_job_died() -> None:
    """A job that died may have died while it wrote them."""
    found = files("predictions.jsonl-00000-of-00012")
    with pytest.raises(
        OutputError, match=r"11 of its output files .*-00010-of-00012 and 1 more\. Nothing was"
    ):
        plan(ended(), files=found)
    assert len(plan(ended(state="JOB_STATE_CANCELLED"), files=found).loads) == 2


def test_corrupt_lines_are_allowed_in_answers_only_and_land_elsewhere() -> None:
    """The request file is known to the byte; a load that allows more is another load, into another table."""
    strict, lenient = (plan(ended(), files=files("predictions.jsonl"), max_corrupt_lines=n) for n in (0, 7))
    assert [load.configuration["load"]["maxBadRecords"] for load in lenient.loads] == [0, 7]
    assert strict.loads[0] == lenient.loads[0]
    assert strict.loads[1].table != lenient.loads[1].table


def test_a_succeeded_job_without_files_stops_the_load() -> None:
    """Somebody moved what was paid for."""
    with pytest.raises(OutputError, match=r"no predictions\.jsonl below"):
        plan(ended(), files=files("incremental_predictions.jsonl"))


@pytest.mark.parametrize("part_ended", [ended(state="JOB_STATE_FAILED"), ended(None, "JOB_STATE_EXPIRED")])
def test_a_dead_job_without_files_leaves_its_rows_missing(part_ended: PartJob) -> None:
    """They are accounted for all the same."""
    planned = plan(part_ended)
    assert planned.tables.predictions is None
    assert [load.purpose for load in planned.loads] == ["requests"]


PREDICTIONS = TableName.parse("p.d.predictions")
COLUMNS = (Column("key", "STRING"), Column("status", "STRING"), Column("response", "JSON"))


def info(*columns: Column) -> TableInfo:
    return TableInfo(table=PREDICTIONS, location="us-central1", rows=1, size=1, columns=columns)


@pytest.mark.parametrize(
    ("columns", "response", "time"),
    [
        (COLUMNS, "JSON", None),
        ((*COLUMNS, Column("processed_time", "TIMESTAMP")), "JSON", "TIMESTAMP"),
        (
            (*COLUMNS[:2], Column("response", "STRING"), Column("processed_time", "STRING")),
            "STRING",
            "STRING",
        ),
    ],
)
def test_predictions_in_bigquery_are_read_where_they_are(
    columns: tuple[Column, ...], response: str, time: str | None
) -> None:
    """Nothing is loaded; the statement is rendered for the columns there are."""
    part = replace(PART, uri="bq://p.d.requests")
    planned = plan(ended(f"bq://{PREDICTIONS}", part=part), predictions=info(*columns))
    assert planned.loads == ()
    assert planned.tables.requests == TableName.parse("p.d.requests")
    assert (planned.tables.predictions, planned.tables.response_type, planned.tables.time_type) == (
        PREDICTIONS,
        response,
        time,
    )


def test_a_table_that_is_no_output_of_ours_stops_the_load() -> None:
    """Without key, status and response nobody can say whose answer it is."""
    with pytest.raises(OutputError, match="no column status, response"):
        plan(ended(f"bq://{PREDICTIONS}"), predictions=info(COLUMNS[0]))


def test_a_missing_output_table_stops_the_load_unless_the_job_died() -> None:
    """A dead job may have written none."""
    with pytest.raises(OutputError, match="does not exist"):
        plan(ended(f"bq://{PREDICTIONS}"))
    assert plan(ended(f"bq://{PREDICTIONS}", "JOB_STATE_CANCELLED")).tables.predictions is None


def test_the_raw_landing_has_an_explicit_schema_and_replaces_itself() -> None:
    """No value of a row decides the type of a column, and a second load is the first one."""
    load = load_predictions([GcsUri.parse(f"{FOLDER}/predictions.jsonl")], TABLES.landing(0, 2))["load"]
    assert [(field["name"], field["type"]) for field in load["schema"]["fields"]] == [
        ("key", "STRING"),
        ("status", "STRING"),
        ("processed_time", "STRING"),
        ("request", "JSON"),
        ("response", "JSON"),
    ]
    assert load["writeDisposition"] == "WRITE_TRUNCATE"
    assert load["ignoreUnknownValues"] is True
    assert load["maxBadRecords"] == 0


def test_the_plan_knows_every_table_it_makes() -> None:
    """They stay for a while and then go by themselves."""
    parts = (plan(ended(), files=files("predictions.jsonl")),)
    whole = LoadPlan(
        manifest=MANIFEST,
        project="p",
        location="us-central1",
        parts=parts,
        jobs=(job(),),
        landing=TABLES,
        results=TableName.parse("p.d.results"),
        errors=TableName.parse("p.d.results_errors"),
        attempt="0199",
    )
    assert whole.kept == (*(load.table for load in parts[0].loads), whole.outcomes)
    classified = whole.classify(batch_date="2026-09-01", price=None)["query"]["destinationTable"]["tableId"]
    assert classified == whole.outcomes.table
    assert classified.startswith(f"gemini_outcomes_{MANIFEST.batch_id}_")
    assert replace(whole, attempt="0200").outcomes != whole.outcomes
    assert replace(whole, attempt="0200").published == whole.published
    assert "GROUP BY outcome" in whole.audit()["query"]["query"]
    assert whole.publish() == query(whole.publish()["query"]["query"])
    done = [JobOutcome(done=True, rows=3), JobOutcome(done=True, rows=2, bad_lines=1)]
    assert whole.landed(done) == Landed(lines=2, corrupt=1)
    assert whole.landed([replace(one, rows=None) for one in done]) == Landed(lines=None, corrupt=1)
    assert query_into("SELECT 1", whole.outcomes)["query"]["writeDisposition"] == "WRITE_TRUNCATE"
