"""The local Vertex AI, driven by Google's own clients and by bare HTTP."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from cloud_side import SAMPLE_REQUEST, as_new
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform_v1
from google.oauth2.service_account import Credentials

from airflow_batch_gemini.local.server import LocalCloud
from airflow_batch_gemini.local.settings import Settings
from airflow_batch_gemini.local.vertex.records import project_number

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

PARENT = "projects/demo/locations/us-central1"
MODEL = "publishers/google/models/gemini-2.5-flash"
TESTER_STATUS = (
    'Bad Request: {"error": {"code": 400, "message": "Please use a valid role: user, model.", '
    '"status": "INVALID_ARGUMENT"}}'
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    folder = tmp_path_factory.mktemp("cloud")
    settings = Settings(data_dir=folder, bucket="bucket-1", dataset="ds", answers="echo")
    with LocalCloud(settings) as cloud:
        yield cloud


@pytest.fixture
def cloud(running: LocalCloud) -> Iterator[LocalCloud]:
    """One local cloud for all tests, each of which finds it without jobs, counts and troubles."""
    yield running
    as_new(running)


@pytest.fixture(scope="module")
def client(running: LocalCloud) -> Iterator[aiplatform_v1.JobServiceClient]:
    with aiplatform_v1.JobServiceClient(
        transport="rest",
        client_options=ClientOptions(api_endpoint=running.url),
        credentials=AnonymousCredentials(),
    ) as made:
        yield made


def call(cloud: LocalCloud, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{cloud.url}{path}", data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def row(key: str, text: str = "hello", *, role: str = "user", **request: Any) -> dict[str, Any]:
    return {"key": key, "request": {"contents": [{"role": role, "parts": [{"text": text}]}]} | request}


def put(cloud: LocalCloud, rows: list[Any], name: str = "in.jsonl") -> str:
    with cloud.parts.storage.writer("bucket-1", name) as file:
        file.write("".join(json.dumps(item) + "\n" for item in rows).encode())
    return f"gs://bucket-1/{name}"


def body_of(uri: str, **changes: Any) -> dict[str, Any]:
    return {
        "displayName": "nightly",
        "model": MODEL,
        "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": [uri]}},
        "outputConfig": {
            "predictionsFormat": "jsonl",
            "gcsDestination": {"outputUriPrefix": "gs://bucket-1/out"},
        },
    } | changes


def create(cloud: LocalCloud, body: dict[str, Any]) -> dict[str, Any]:
    status, job = call(cloud, "POST", f"/v1/{PARENT}/batchPredictionJobs", body)
    assert status == 200, job
    return job


def finish(cloud: LocalCloud, job: dict[str, Any]) -> dict[str, Any]:
    cloud.settle(20)
    status, ended = call(cloud, "GET", f"/v1/{job['name']}")
    assert status == 200
    return ended


def output(cloud: LocalCloud, job: dict[str, Any], name: str = "predictions.jsonl") -> list[dict[str, Any]]:
    folder = job["outputInfo"]["gcsOutputDirectory"].removeprefix("gs://bucket-1/")
    with cloud.parts.storage.open("bucket-1", f"{folder}/{name}") as file:
        return [json.loads(line) for line in file]


def run(cloud: LocalCloud, rows: list[Any], **changes: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    job = finish(cloud, create(cloud, body_of(put(cloud, rows), **changes)))
    return job, output(cloud, job)


# Google's own pages


def test_googles_sample_line_comes_back_with_its_echo_and_the_job_succeeds(cloud: LocalCloud) -> None:
    """The request of the page 'Batch inference from Cloud Storage', `uris` as the bare string it shows."""
    uri = put(cloud, [{"request": SAMPLE_REQUEST}])
    source = {"inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": uri}}}
    job = finish(cloud, create(cloud, body_of(uri) | source))
    assert job["state"] == "JOB_STATE_SUCCEEDED"
    assert job["inputConfig"]["gcsSource"]["uris"] == [uri]
    assert job["completionStats"] == {"successfulCount": "1"}
    (line,) = output(cloud, job)
    assert line["status"] == ""
    parts = line["request"]["contents"][0]["parts"]
    assert parts[0] == {"fileData": None, "text": SAMPLE_REQUEST["contents"][0]["parts"][0]["text"]}
    assert parts[1]["fileData"]["fileUri"].endswith("animals.mp4")
    assert parts[1]["text"] is None
    assert line["response"]["candidates"][0]["finishReason"] == "STOP"


def test_a_row_with_role_tester_fails_alone_and_its_neighbours_succeed(cloud: LocalCloud) -> None:
    """The job ends SUCCEEDED, the bad row has no response and is not billed."""
    rows = [row("k1"), row("k2", role="tester"), row("k3")]
    job, lines = run(cloud, rows)
    by_key = {line["key"]: line for line in lines}
    assert job["state"] == "JOB_STATE_SUCCEEDED"
    assert job["completionStats"] == {"successfulCount": "2", "failedCount": "1"}
    assert by_key["k2"]["status"] == TESTER_STATUS
    assert by_key["k2"]["response"] == {}
    assert [by_key[key]["status"] for key in ("k1", "k3")] == ["", ""]
    assert cloud.stats()["jobs"][job["name"]]["billed_rows"] == 2


def test_a_job_whose_every_row_failed_still_succeeds(cloud: LocalCloud) -> None:
    """As seen of the service: 1 bad row of 1 is SUCCEEDED, 0 of 1."""
    job, _ = run(cloud, [row("k1", role="tester")])
    assert job["state"] == "JOB_STATE_SUCCEEDED"
    assert job["completionStats"] == {"failedCount": "1"}


def test_a_missing_bucket_is_accepted_and_fails_the_job_late(cloud: LocalCloud) -> None:
    """Creation does not look at buckets; the job ends FAILED with code 9, nothing billed."""
    job = finish(cloud, create(cloud, body_of("gs://nobody-has-this/in.jsonl")))
    assert job["state"] == "JOB_STATE_FAILED"
    assert job["error"]["code"] == 9
    assert job["error"]["message"].startswith("Failed to get GCS bucket location for nobody-has-this")
    assert cloud.stats()["billed_rows"] == 0


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (b'{"request": {"contents": [{"parts": [{"text": "x"}]}], "generationConfig": {}}}', "no fields"),
        (b'{"request": {"contents": []}}\nnot json', "line 2"),
        (b"", "empty"),
    ],
)
def test_a_breach_of_an_importer_rule_fails_the_whole_job(
    cloud: LocalCloud, content: bytes, fragment: str
) -> None:
    """Code 3 and the service's sentence, then the detail."""
    with cloud.parts.storage.writer("bucket-1", "bad.jsonl") as file:
        file.write(content)
    job = finish(cloud, create(cloud, body_of("gs://bucket-1/bad.jsonl")))
    assert (job["state"], job["error"]["code"]) == ("JOB_STATE_FAILED", 3)
    assert job["error"]["message"].startswith("Failed to import data. Please check 'Prepare input' section")
    assert fragment in job["error"]["message"]


def test_too_many_rows_or_bytes_fail_the_import(cloud: LocalCloud) -> None:
    """The limits are knobs, so that they can be met with few rows."""
    cloud.knobs(max_input_rows=2)
    job = finish(cloud, create(cloud, body_of(put(cloud, [row("a"), row("b"), row("c")]))))
    assert "more than 2 rows" in job["error"]["message"]
    cloud.knobs(max_input_bytes=10)
    job = finish(cloud, create(cloud, body_of("gs://bucket-1/in.jsonl")))
    assert "more than 10 bytes" in job["error"]["message"]


def test_an_input_deleted_before_the_job_starts_fails_unbilled(cloud: LocalCloud) -> None:
    """What fences off a job whose epoch is over."""
    cloud.knobs(stuck_pending=True)
    job = create(cloud, body_of(put(cloud, [row("a")])))
    cloud.parts.storage.delete("bucket-1", "in.jsonl")
    cloud.knobs(stuck_pending=False)
    job = finish(cloud, job)
    assert (job["state"], job["error"]["code"]) == ("JOB_STATE_FAILED", 3)
    assert cloud.stats()["billed_rows"] == 0


def test_several_inputs_and_wildcards_are_read_as_one(cloud: LocalCloud) -> None:
    """One page says one file, others say many: both work."""
    put(cloud, [row("a"), row("b")], "many/1.jsonl")
    put(cloud, [row("c")], "many/2.jsonl")
    job = finish(cloud, create(cloud, body_of("gs://bucket-1/many/*.jsonl")))
    assert sorted(line["key"] for line in output(cloud, job)) == ["a", "b", "c"]


# Rows


def test_siblings_come_back_and_keys_that_look_like_numbers_become_numbers(cloud: LocalCloud) -> None:
    """On succeeded and failed rows alike; a column with one other value stays text."""
    rows = [
        {**row("a", role="tester"), "number": "000000", "mixed": "1", "extra": {"x": [1]}},
        {**row("b"), "number": "17", "mixed": "one", "extra": {"x": [2]}},
    ]
    _, lines = run(cloud, rows)
    by_key = {line["key"]: line for line in lines}
    assert [by_key[key]["number"] for key in "ab"] == [0, 17]
    assert [by_key[key]["mixed"] for key in "ab"] == ["1", "one"]
    assert by_key["a"]["extra"] == {"x": [1]}


def test_lines_come_back_in_another_order_the_same_for_the_same_seed(cloud: LocalCloud) -> None:
    """Whoever joins by position gets it wrong every time."""
    keys = [f"k{number}" for number in range(60)]
    _, lines = run(cloud, [row(key) for key in keys])
    found = [line["key"] for line in lines]
    assert sorted(found) == sorted(keys)
    assert found != keys


def test_snake_case_requests_are_answered_and_echoed_in_camel_case(cloud: LocalCloud) -> None:
    """The user's own property names stay as they are; nulls are dropped."""
    schema = {"type": "OBJECT", "properties": {"first_name": {"type": "STRING", "max_length": "5"}}}
    request = {
        "contents": [{"role": "user", "parts": [{"text": "My name is Ada Lovelace"}]}],
        "generation_config": {
            "response_mime_type": "application/json",
            "response_schema": schema,
            "top_p": None,
        },
    }
    cloud.knobs(answers="schema")
    _, (line,) = run(cloud, [{"key": "k", "request": request}])
    config = line["request"]["generationConfig"]
    assert config == {
        "responseMimeType": "application/json",
        "responseSchema": {
            "properties": {"first_name": {"maxLength": "5", "type": "STRING"}},
            "type": "OBJECT",
        },
    }
    text = line["response"]["candidates"][0]["content"]["parts"][0]["text"]
    assert len(json.loads(text)["first_name"]) <= 5


@pytest.mark.parametrize(
    ("request_", "fragment"),
    [
        ({"tools": [{"googleSearch": {"x": 1}}]}, "at least one contents"),
        ({"contents": [{"role": "user"}]}, "at least one parts field"),
        ({"contents": [{"parts": [{"text": ""}]}]}, "empty text"),
        ({"contents": [{"parts": [{"fileData": {"fileUri": "/tmp/x", "mimeType": "a/b"}}]}]}, "fileUri"),
        ({"contents": [{"parts": [{"fileData": {"fileUri": "gs://b/x"}}]}]}, "mimeType"),
        ({"contents": [{"parts": [{"text": "x"}]}], "cachedContent": "c"}, "cached_content"),
        ({"contents": [{"parts": [{"text": "x"}]}], "contens": "c"}, 'Unknown name "contens"'),
        (
            {
                "contents": [{"parts": [{"text": "x"}]}],
                "generationConfig": {
                    "responseMimeType": "application/json",
                    "responseSchema": {"type": "TEXT"},
                },
            },
            "response_schema",
        ),
    ],
)
def test_what_is_wrong_with_a_request_fails_its_row(
    cloud: LocalCloud, request_: dict[str, Any], fragment: str
) -> None:
    """The status is a prefix and then JSON."""
    _, lines = run(cloud, [{"key": "bad", "request": request_}])
    prefix, _, rest = lines[0]["status"].partition(": ")
    error = json.loads(rest)["error"]
    assert (prefix, error["code"], error["status"]) == ("Bad Request", 400, "INVALID_ARGUMENT")
    assert fragment in error["message"]


def test_too_few_output_tokens_cut_the_answer_off(cloud: LocalCloud) -> None:
    """MAX_TOKENS, with as much text as the limit allows, and billed."""
    job, (line,) = run(cloud, [row("k", "word " * 100, generationConfig={"maxOutputTokens": 3})])
    (candidate,) = line["response"]["candidates"]
    assert candidate["finishReason"] == "MAX_TOKENS"
    assert candidate["content"]["parts"][0]["text"] == "word word wo"
    assert line["response"]["usageMetadata"] == {
        "promptTokenCount": 125,
        "candidatesTokenCount": 3,
        "totalTokenCount": 128,
    }
    bill = cloud.stats()["jobs"][job["name"]]
    assert (bill["prompt_tokens"], bill["output_tokens"]) == (125, 3)


def test_several_candidates_are_given_when_asked_for(cloud: LocalCloud) -> None:
    """Each with its index."""
    _, (line,) = run(cloud, [row("k", generationConfig={"candidateCount": 3})])
    assert [item["index"] for item in line["response"]["candidates"]] == [0, 1, 2]


def test_embedding_rows_get_vectors_of_length_one(cloud: LocalCloud) -> None:
    """The same text, the same vector; the dimension is the one asked for."""
    model = {"model": "publishers/google/models/gemini-embedding-001"}
    request = {
        "content": {"parts": [{"text": "Hello there"}]},
        "embed_content_config": {"output_dimensionality": 8},
    }
    job, lines = run(cloud, [{"key": "a", "request": request}, {"key": "b", "request": request}], **model)
    vectors = [line["response"]["embedding"]["values"] for line in lines]
    assert vectors[0] == vectors[1]
    assert sum(value * value for value in vectors[0]) == pytest.approx(1)
    assert lines[0]["response"]["tokenCount"] == "3"
    assert cloud.stats()["jobs"][job["name"]]["prompt_tokens"] == 6


# States


def test_a_job_goes_through_its_states_look_by_look(cloud: LocalCloud) -> None:
    """looks:2: two looks see PENDING, two see RUNNING; counts appear with the rows."""
    cloud.knobs(pace="looks:2")
    job = create(cloud, body_of(put(cloud, [row(str(number) + "k") for number in range(9)])))
    looks = [call(cloud, "GET", f"/v1/{job['name']}")[1] for _ in range(5)]
    assert [look["state"].removeprefix("JOB_STATE_") for look in looks] == [
        "PENDING", "PENDING", "RUNNING", "RUNNING", "SUCCEEDED",
    ]  # fmt: skip
    assert [look.get("completionStats") for look in looks] == [
        None, None, {"successfulCount": "3"}, {"successfulCount": "6"}, {"successfulCount": "9"},
    ]  # fmt: skip
    assert "startTime" not in looks[1]
    assert "endTime" in looks[4]


def test_a_cancelled_job_exports_and_bills_the_rows_it_had_done(cloud: LocalCloud) -> None:
    """And a second cancel is refused, as the job has ended."""
    cloud.knobs(pace="looks:2")
    job = create(cloud, body_of(put(cloud, [row(f"k{number}") for number in range(9)])))
    for _ in range(3):
        call(cloud, "GET", f"/v1/{job['name']}")
    assert call(cloud, "POST", f"/v1/{job['name']}:cancel") == (200, {})
    assert call(cloud, "GET", f"/v1/{job['name']}")[1]["state"] == "JOB_STATE_CANCELLING"
    cloud.knobs(pace="immediate")
    ended = finish(cloud, job)
    assert ended["state"] == "JOB_STATE_CANCELLED"
    assert ended["completionStats"] == {"successfulCount": "3", "incompleteCount": "6"}
    assert len(output(cloud, ended)) == 3
    assert cloud.stats()["billed_rows"] == 3
    status, refusal = call(cloud, "POST", f"/v1/{job['name']}:cancel", {})
    assert (status, refusal["error"]["status"]) == (400, "FAILED_PRECONDITION")


@pytest.mark.parametrize(
    ("knobs", "state", "lines", "billed"),
    [
        ({"expire": True}, "JOB_STATE_EXPIRED", None, 0),
        ({"fail_after_rows": 4}, "JOB_STATE_FAILED", 4, 4),
        ({"partial_after_rows": 4}, "JOB_STATE_PARTIALLY_SUCCEEDED", 4, 4),
        ({"expire_after_rows": 4}, "JOB_STATE_EXPIRED", 4, 4),
    ],
)
def test_other_ends_export_what_was_done(
    cloud: LocalCloud, knobs: dict[str, Any], state: str, lines: int | None, billed: int
) -> None:
    """A job that expired in the queue ran nothing; one that ends later keeps what it had."""
    cloud.knobs(**knobs)
    job = finish(cloud, create(cloud, body_of(put(cloud, [row(f"k{number}") for number in range(9)]))))
    assert job["state"] == state
    assert (len(output(cloud, job)) if "outputInfo" in job else None) == lines
    assert cloud.stats()["billed_rows"] == billed


@pytest.mark.parametrize(("outcome", "lines"), [("SUCCEEDED", 2), ("FAILED", None), ("CANCELLED", None)])
def test_a_cancel_may_come_too_late(cloud: LocalCloud, outcome: str, lines: int | None) -> None:
    """CANCELLING may still end SUCCEEDED or FAILED; a queued job that is cancelled ran nothing."""
    cloud.knobs(stuck_pending=True, cancel_outcome=outcome)
    job = create(cloud, body_of(put(cloud, [row("a"), row("b")])))
    call(cloud, "POST", f"/v1/{job['name']}:cancel", {})
    ended = finish(cloud, job)
    assert ended["state"] == f"JOB_STATE_{outcome}"
    assert (len(output(cloud, ended)) if "outputInfo" in ended else None) == lines


def test_continuous_export_writes_increments_while_the_job_runs(cloud: LocalCloud) -> None:
    """The increments together are the whole; predictions.jsonl comes at the end."""
    cloud.knobs(pace="looks:1", continuous_export=True)
    job = create(cloud, body_of(put(cloud, [row(f"k{number}") for number in range(8)])))
    for _ in range(2):
        look = call(cloud, "GET", f"/v1/{job['name']}")[1]
    assert look["state"] == "JOB_STATE_RUNNING"
    assert len(output(cloud, look, "incremental_predictions-00000.jsonl")) == 4
    ended = call(cloud, "GET", f"/v1/{job['name']}")[1]
    assert len(output(cloud, ended, "incremental_predictions-00001.jsonl")) == 4
    assert len(output(cloud, ended)) == 8


def test_output_may_come_in_shards(cloud: LocalCloud) -> None:
    """predictions.jsonl-00000-of-00002 and its like."""
    cloud.knobs(output_shards=2)
    job = finish(cloud, create(cloud, body_of(put(cloud, [row(f"k{number}") for number in range(5)]))))
    shards = [output(cloud, job, f"predictions.jsonl-0000{number}-of-00002") for number in range(2)]
    assert sorted(line["key"] for shard in shards for line in shard) == [f"k{number}" for number in range(5)]


def test_an_output_is_resumed_by_being_the_next_jobs_input(cloud: LocalCloud) -> None:
    """Only the rows without an answer are run and billed; the others are merged in."""
    cloud.knobs(row_error_rate=0.5)
    rows = [row(f"k{number}") for number in range(20)]
    first, lines = run(cloud, rows)
    failed = int(first["completionStats"]["failedCount"])
    assert 0 < failed < 20
    assert {line["status"][:4] for line in lines} == {"", "Too "}
    cloud.knobs(row_error_rate=0)
    folder = first["outputInfo"]["gcsOutputDirectory"]
    second = finish(cloud, create(cloud, body_of(f"{folder}/predictions.jsonl")))
    merged = output(cloud, second)
    assert sorted(line["key"] for line in merged) == sorted(item["key"] for item in rows)
    assert {line["status"] for line in merged} == {""}
    assert cloud.stats()["jobs"][second["name"]]["billed_rows"] == failed


@pytest.mark.parametrize("medium", ["file", "table"])
def test_a_job_that_ended_early_is_resumed_when_its_unfinished_rows_are_in_its_output(
    cloud: LocalCloud, medium: str
) -> None:
    """Rows that failed and rows that were not come to are run; it may die itself, and be resumed in its turn."""
    cloud.knobs(fail_after_rows=12, unfinished_lines=True, row_error_rate=0.5)
    source, bills = put(cloud, [row(f"k{number}") for number in range(20)]), []
    jobs: list[Any] = []
    for changes in (
        {},
        {"fail_after_rows": 15, "row_error_rate": 0.2},
        {"fail_after_rows": 0, "row_error_rate": 0},
    ):
        cloud.knobs(**changes)
        jobs.append(finish(cloud, create(cloud, _reading(source, medium, len(jobs)))))
        lines = _written(cloud, jobs[-1], medium)
        assert sorted(line["key"] for line in lines) == sorted(f"k{number}" for number in range(20))
        bills.append(cloud.stats()["jobs"][jobs[-1]["name"]]["billed_rows"])
        assert sum(bills) == sum(bool(line["response"]) for line in lines)
        source = _place(jobs[-1], medium)
    assert [job["state"] for job in jobs] == ["JOB_STATE_FAILED", "JOB_STATE_FAILED", "JOB_STATE_SUCCEEDED"]
    assert all(bills)
    assert sum(bills) == 20


def test_a_resumed_job_may_run_the_finished_rows_too(cloud: LocalCloud) -> None:
    """Nobody knows how the service tells them apart; whoever resumes has to bear this."""
    uri = put(cloud, [row(f"k{number}") for number in range(4)])
    first = finish(cloud, create(cloud, body_of(uri)))
    cloud.knobs(rerun_finished=True)
    second = finish(cloud, create(cloud, body_of(_place(first, "file"))))
    assert cloud.stats()["jobs"][second["name"]]["billed_rows"] == 4


def _reading(source: str, medium: str, number: int) -> Any:
    """A job that reads *source* and writes to *medium*."""
    body = body_of(source)
    if medium == "table":
        output = {"outputUri": f"bq://demo.ds.early_{number}"}
        body |= {"outputConfig": {"predictionsFormat": "bigquery", "bigqueryDestination": output}}
    if source.startswith("bq://"):
        body["inputConfig"] = {"instancesFormat": "bigquery", "bigquerySource": {"inputUri": source}}
    return body


def _place(job: Any, medium: str) -> str:
    info = job["outputInfo"]
    return (
        info["bigqueryOutputTable"]
        if medium == "table"
        else f"{info['gcsOutputDirectory']}/predictions.jsonl"
    )


def _written(cloud: LocalCloud, job: Any, medium: str) -> list[Any]:
    if medium == "file":
        return output(cloud, job)
    name = _place(job, medium).rpartition(".")[2]
    rows = [item for batch in cloud.parts.warehouse.read_rows("demo", "ds", name) for item in batch]
    return [{**item, "response": json.loads(item["response"])} for item in rows]


# Create, list, delete


@pytest.mark.parametrize(
    ("changes", "status", "fragment"),
    [
        ({"model": "publishers/google/models/gemini-0"}, 404, "The PublisherModel gemini-0 does not exist."),
        ({"model": "gemini-2.5-flash"}, 400, "Invalid resource name"),
        ({"model": "publishers/google/models/gemini-3.7-flash"}, 400, "not served in us-central1"),
        ({"model": None}, 400, "model is required"),
        ({"model": f"projects/demo/locations/global/{MODEL}"}, 400, "not in the location"),
        ({"displayName": ""}, 400, "display_name"),
        ({"labels": ["a"]}, 400, "labels is a map"),
        ({"inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": []}}}, 400, "uris is required"),
        ({"inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": "gs://bbb"}}}, 400, "a bucket"),
        ({"inputConfig": {"gcsSource": {"uris": "gs://bbb/x"}, "bigquerySource": {}}}, 400, "exactly one"),
        (
            {"outputConfig": {"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": 7}}},
            400,
            "output_uri_prefix is required",
        ),
        (
            {
                "model": "publishers/google/models/gemini-embedding-001",
                "inputConfig": {"instancesFormat": "bigquery", "bigquerySource": {"inputUri": "bq://p.d.t"}},
            },
            400,
            "from Cloud Storage only",
        ),
        ({"labels": {"a": "b" * 64}}, 400, "Invalid label"),
        ({"labels": {"1a": "b"}}, 400, "Invalid label"),
        ({"inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": ["s3://b/x"]}}}, 400, "URI"),
        ({"inputConfig": {"instancesFormat": "csv", "gcsSource": {"uris": ["gs://bbb/x"]}}}, 400, "jsonl"),
        (
            {"inputConfig": {"instancesFormat": "bigquery", "bigquerySource": {"inputUri": "bq://p.d"}}},
            400,
            "bq://",
        ),
        ({"outputConfig": {}}, 400, "output_config is required"),
        (
            {
                "outputConfig": {
                    "predictionsFormat": "bigquery",
                    "bigqueryDestination": {"outputUri": "bq://demo-1"},
                }
            },
            400,
            "BigQuery URI",
        ),
    ],
)
def test_what_is_malformed_is_refused_at_creation(
    cloud: LocalCloud, changes: dict[str, Any], status: int, fragment: str
) -> None:
    """In the shape of Google's errors; no job comes of it."""
    found, refusal = call(
        cloud, "POST", f"/v1/{PARENT}/batchPredictionJobs", body_of("gs://bucket-1/x") | changes
    )
    assert found == refusal["error"]["code"] == status
    assert fragment in refusal["error"]["message"]
    assert call(cloud, "GET", f"/v1/{PARENT}/batchPredictionJobs")[1]["batchPredictionJobs"] == []


@pytest.mark.parametrize(
    ("path", "body", "fragment"),
    [
        (f"/v1/{PARENT}/batchPredictionJobs", b"{", "Invalid JSON payload"),
        (f"/v1/{PARENT}/batchPredictionJobs", b"[]", "not a JSON object"),
        (f"/v1/{MODEL}:countTokens", b"[]", "not a JSON object"),
        ("/v1/projects/demo/locations/moon/batchPredictionJobs", b"{}", "Unsupported location"),
    ],
)
def test_a_body_that_is_not_one_is_refused(cloud: LocalCloud, path: str, body: bytes, fragment: str) -> None:
    """Before anything else is looked at."""
    request = urllib.request.Request(f"{cloud.url}{path}", body, method="POST")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    with caught.value as refusal:
        assert refusal.code == 400
        assert fragment in json.loads(refusal.read())["error"]["message"]


def test_a_job_is_found_under_its_projects_number_and_in_no_other_place(cloud: LocalCloud) -> None:
    """The name keeps the spelling it was created with."""
    job = create(cloud, body_of(put(cloud, [row("k")])))
    number = job["name"].rpartition("/")[2]
    by_number = f"projects/{project_number('demo')}/locations/us-central1/batchPredictionJobs/{number}"
    assert call(cloud, "GET", f"/v1/{by_number}")[1]["name"] == job["name"]
    for other in ("projects/demo/locations/global", "projects/other/locations/us-central1"):
        status, refusal = call(cloud, "GET", f"/v1/{other}/batchPredictionJobs/{number}")
        assert (status, refusal["error"]["status"]) == (404, "NOT_FOUND")


def test_a_model_the_knob_names_exists(cloud: LocalCloud) -> None:
    """For models younger than this local cloud."""
    cloud.knobs(extra_models="gemini-9, other")
    assert "name" in create(cloud, body_of("gs://bucket-1/x", model="publishers/google/models/gemini-9"))


def test_an_input_source_wrapper_and_snake_case_are_accepted(cloud: LocalCloud) -> None:
    """As an older page shows them."""
    uri = put(cloud, [row("k")])
    body = {
        "display_name": "old",
        "model": MODEL,
        "input_config": {"inputSource": {"instances_format": "jsonl", "gcs_source": {"uris": [uri]}}},
        "output_config": {
            "predictions_format": "jsonl",
            "gcs_destination": {"output_uri_prefix": "gs://bucket-1/o/"},
        },
    }
    assert finish(cloud, create(cloud, body))["state"] == "JOB_STATE_SUCCEEDED"


def test_jobs_are_listed_newest_first_in_pages_and_by_label(cloud: LocalCloud) -> None:
    """Under the project's id and, when that is how it was created, its number."""
    uri = put(cloud, [row("k")])
    for number in range(5):
        create(cloud, body_of(uri, displayName=f"job-{number}", labels={"n": str(number % 2)}))
    first = call(cloud, "GET", f"/v1beta1/{PARENT}/batchPredictionJobs?pageSize=3")[1]
    token = first["nextPageToken"]
    second = call(cloud, "GET", f"/v1beta1/{PARENT}/batchPredictionJobs?pageSize=3&pageToken={token}")[1]
    names = [job["displayName"] for page in (first, second) for job in page["batchPredictionJobs"]]
    assert names == ["job-4", "job-3", "job-2", "job-1", "job-0"]
    assert "nextPageToken" not in second
    query = "filter=labels.n%3D1%20AND%20displayName%3A%22job-*%22&readMask=name,displayName"
    masked = call(cloud, "GET", f"/v1/{PARENT}/batchPredictionJobs?{query}")[1]["batchPredictionJobs"]
    assert [set(job) for job in masked] == [{"name", "displayName"}] * 2
    assert call(cloud, "GET", f"/v1/{PARENT}/batchPredictionJobs?filter=nope%3D1")[0] == 400


def test_a_new_job_is_missing_from_listings_for_the_lag(cloud: LocalCloud) -> None:
    """But can be got by its name at once."""
    cloud.knobs(listing_lag_seconds=3600)
    job = create(cloud, body_of(put(cloud, [row("k")])))
    assert call(cloud, "GET", f"/v1/{PARENT}/batchPredictionJobs")[1]["batchPredictionJobs"] == []
    assert call(cloud, "GET", f"/v1/{job['name']}")[0] == 200


def test_the_job_client_drives_a_whole_job(cloud: LocalCloud, client: aiplatform_v1.JobServiceClient) -> None:
    """google-cloud-aiplatform over REST: create, get, list, cancel refused, delete, gone."""
    uri = put(cloud, [row("k1"), row("k2", role="tester")])
    made = client.create_batch_prediction_job(
        parent=PARENT,
        batch_prediction_job=aiplatform_v1.BatchPredictionJob(
            display_name="typed",
            model=MODEL,
            labels={"who": "me"},
            input_config={"instances_format": "jsonl", "gcs_source": {"uris": [uri]}},
            output_config={
                "predictions_format": "jsonl",
                "gcs_destination": {"output_uri_prefix": "gs://bucket-1/o"},
            },
        ),
    )
    assert made.state == aiplatform_v1.JobState.JOB_STATE_PENDING
    job = client.get_batch_prediction_job(name=made.name)
    assert job.state == aiplatform_v1.JobState.JOB_STATE_SUCCEEDED
    assert (job.completion_stats.successful_count, job.completion_stats.failed_count) == (1, 1)
    assert job.output_info.gcs_output_directory.startswith("gs://bucket-1/o/prediction-model-")
    listed = client.list_batch_prediction_jobs(request={"parent": PARENT, "filter": 'labels.who="me"'})
    assert [item.name for item in listed] == [made.name]
    with pytest.raises(exceptions.BadRequest):
        client.cancel_batch_prediction_job(name=made.name)
    client.delete_batch_prediction_job(name=made.name).result(timeout=5)
    with pytest.raises(exceptions.NotFound):
        client.get_batch_prediction_job(name=made.name)
    assert (
        cloud.stats()["jobs"][made.name] | {"state": "DELETED", "billed_rows": 1}
        == cloud.stats()["jobs"][made.name]
    )


def test_a_job_that_has_not_ended_cannot_be_deleted(
    cloud: LocalCloud, client: aiplatform_v1.JobServiceClient
) -> None:
    """400 FAILED_PRECONDITION, and the job stays."""
    cloud.knobs(stuck_pending=True)
    job = create(cloud, body_of(put(cloud, [row("k")])))
    with pytest.raises(exceptions.BadRequest):
        client.delete_batch_prediction_job(name=job["name"])
    client.cancel_batch_prediction_job(name=job["name"])
    cloud.settle()
    assert finish(cloud, job)["state"] == "JOB_STATE_CANCELLED"


def test_google_genai_creates_polls_lists_and_deletes_a_job(cloud: LocalCloud) -> None:
    """The polling loop of Google's page, with the service-account file the local cloud made."""
    from google import genai
    from google.genai.types import CreateBatchJobConfig, HttpOptions

    uri = put(cloud, [{"request": SAMPLE_REQUEST}])
    credentials = Credentials.from_service_account_file(
        cloud.credentials_path, scopes=["https://www.googleapis.com/auth/cloud-platform"]
    )
    with genai.Client(
        vertexai=True,
        project="demo",
        location="us-central1",
        credentials=credentials,
        http_options=HttpOptions(base_url=cloud.url, api_version="v1"),
    ) as made:
        job = made.batches.create(
            model="gemini-2.5-flash", src=uri, config=CreateBatchJobConfig(dest="gs://bucket-1/genai")
        )
        states = [job.state.name]
        while states[-1] in ("JOB_STATE_PENDING", "JOB_STATE_RUNNING"):
            job = made.batches.get(name=job.name)
            states.append(job.state.name)
        assert states[-1] == "JOB_STATE_SUCCEEDED"
        assert job.name in [item.name for item in made.batches.list()]
        answer = made.models.generate_content(model="gemini-2.5-flash", contents="How are you?")
        assert answer.text == "How are you?"
        assert made.models.count_tokens(model="gemini-2.5-flash", contents="12345678").total_tokens == 2
        made.batches.delete(name=job.name)
        assert list(made.batches.list()) == []
    assert cloud.stats()["calls"]["POST /token"] >= 1


# BigQuery


def test_a_table_in_and_a_table_out(cloud: LocalCloud) -> None:
    """Columns beside the request pass through; the request is given back as JSON."""
    from airflow_batch_gemini.local.bigquery import Column

    columns = [
        Column(name="id", type="INT64", mode="NULLABLE"),
        Column(name="request", type="JSON", mode="NULLABLE"),
    ]
    rows = [
        {"id": 1, "request": json.dumps(row("x")["request"])},
        {"id": 2, "request": json.dumps(row("x", role="tester")["request"])},
    ]
    warehouse = cloud.parts.warehouse
    warehouse.write_table("demo", "ds", "requests", columns, rows)
    changes = {
        "inputConfig": {
            "instancesFormat": "bigquery",
            "bigquerySource": {"inputUri": "bq://demo.ds.requests"},
        },
        "outputConfig": {
            "predictionsFormat": "bigquery",
            "bigqueryDestination": {"outputUri": "bq://demo.ds.answers"},
        },
    }
    job = finish(cloud, create(cloud, body_of("gs://bucket-1/unused") | changes))
    assert job["state"] == "JOB_STATE_SUCCEEDED", job
    assert job["outputInfo"] == {"bigqueryOutputTable": "bq://demo.ds.answers"}
    types = {column.name: column.type for column in warehouse.columns("demo", "ds", "answers")}
    assert types == {
        "request": "JSON",
        "response": "JSON",
        "status": "STRING",
        "processed_time": "TIMESTAMP",
        "id": "INT64",
    }
    found = {item["id"]: item for batch in warehouse.read_rows("demo", "ds", "answers") for item in batch}
    assert found[1]["status"] == ""
    assert json.loads(found[1]["request"]) == row("x")["request"]
    assert json.loads(found[1]["response"])["candidates"][0]["content"]["parts"] == [{"text": "hello"}]
    assert found[2]["status"] == TESTER_STATUS
    again = finish(cloud, create(cloud, body_of("gs://bucket-1/unused") | changes))
    assert (again["state"], again["error"]["code"]) == ("JOB_STATE_FAILED", 6)


def test_columns_of_every_allowed_type_pass_through_unchanged(cloud: LocalCloud) -> None:
    """What came out of the source table is what goes into the output table, NULLs included."""
    from airflow_batch_gemini.local.bigquery import Column

    kinds = ["STRING", "INT64", "FLOAT64", "NUMERIC", "BOOL", "BYTES", "DATE", "TIME", "TIMESTAMP", "JSON"]
    columns = [Column(name=f"c_{kind.lower()}", type=kind, mode="NULLABLE") for kind in kinds]
    full = {
        "c_string": "007",
        "c_int64": 2**53 + 1,
        "c_float64": 0.1,
        "c_numeric": "12345678901234567.123456789",
        "c_bool": True,
        "c_bytes": "AP+A",
        "c_date": "2026-02-28",
        "c_time": "23:59:59.000001",
        "c_timestamp": "2026-02-28T23:59:59.000001Z",
        "c_json": '{"a": [1, null, "x"]}',
    }
    request = {"request": json.dumps(row("x")["request"])}
    source_columns = [Column(name="request", type="JSON", mode="NULLABLE"), *columns]
    warehouse = cloud.parts.warehouse
    warehouse.write_table("demo", "ds", "typed", source_columns, [request | full, request])
    changes = {
        "inputConfig": {"instancesFormat": "bigquery", "bigquerySource": {"inputUri": "bq://demo.ds.typed"}},
        "outputConfig": {
            "predictionsFormat": "bigquery",
            "bigqueryDestination": {"outputUri": "bq://demo.ds.typed_out"},
        },
    }
    job = finish(cloud, create(cloud, body_of("gs://bucket-1/unused") | changes))
    assert job["state"] == "JOB_STATE_SUCCEEDED", job
    assert warehouse.columns("demo", "ds", "typed_out")[4:] == columns

    def values(table: str) -> list[str]:
        rows = [item for batch in warehouse.read_rows("demo", "ds", table) for item in batch]
        return sorted(repr([item[column.name] for column in columns]) for item in rows)

    assert values("typed_out") == values("typed")


def test_files_in_and_a_new_table_out_when_only_a_dataset_is_given(cloud: LocalCloud) -> None:
    """Kinds may be mixed; siblings become columns."""
    uri = put(cloud, [row("a"), row("b")])
    changes = {
        "outputConfig": {
            "predictionsFormat": "bigquery",
            "bigqueryDestination": {"outputUri": "bq://demo.ds"},
        }
    }
    job = finish(cloud, create(cloud, body_of(uri) | changes))
    table = job["outputInfo"]["bigqueryOutputTable"].removeprefix("bq://demo.ds.")
    assert table.startswith("predictions_")
    rows = [item for batch in cloud.parts.warehouse.read_rows("demo", "ds", table) for item in batch]
    assert sorted(item["key"] for item in rows) == ["a", "b"]


def test_a_dataset_in_another_region_fails_the_job_late(cloud: LocalCloud) -> None:
    """Accepted at creation, FAILED when it starts, nothing billed."""
    cloud.parts.warehouse.create_dataset("demo", "far", location="europe-west4")
    destination = {"predictionsFormat": "bigquery", "bigqueryDestination": {"outputUri": "bq://demo.far.t"}}
    job = finish(cloud, create(cloud, body_of(put(cloud, [row("a")])) | {"outputConfig": destination}))
    assert (job["state"], job["error"]["code"]) == ("JOB_STATE_FAILED", 3)
    assert "europe-west4" in job["error"]["message"]


@pytest.mark.parametrize(
    ("name", "kind", "mode", "fragment"),
    [
        ("tags", "STRING", "REPEATED", "not supported"),
        ("at", "DATETIME", "NULLABLE", "not supported"),
        ("status", "STRING", "NULLABLE", "reserved"),
    ],
)
def test_a_table_with_a_forbidden_column_fails_the_import(
    cloud: LocalCloud, name: str, kind: str, mode: str, fragment: str
) -> None:
    """ARRAY, STRUCT, RANGE, DATETIME, GEOGRAPHY; response and status."""
    from airflow_batch_gemini.local.bigquery import Column

    columns = [
        Column(name="request", type="STRING", mode="NULLABLE"),
        Column(name=name, type=kind, mode=mode),
    ]
    cloud.parts.warehouse.write_table("demo", "ds", "bad", columns, [])
    source = {"instancesFormat": "bigquery", "bigquerySource": {"inputUri": "bq://demo.ds.bad"}}
    job = finish(cloud, create(cloud, body_of("gs://bucket-1/unused") | {"inputConfig": source}))
    assert (job["state"], job["error"]["code"]) == ("JOB_STATE_FAILED", 3)
    assert fragment in job["error"]["message"]


def test_a_missing_table_or_dataset_fails_the_job_late(cloud: LocalCloud) -> None:
    """Neither is looked for at creation."""
    source = {"instancesFormat": "bigquery", "bigquerySource": {"inputUri": "bq://demo.ds.nowhere"}}
    job = finish(cloud, create(cloud, body_of("gs://bucket-1/unused") | {"inputConfig": source}))
    assert (job["state"], job["error"]["code"]) == ("JOB_STATE_FAILED", 3)
    destination = {"predictionsFormat": "bigquery", "bigqueryDestination": {"outputUri": "bq://demo.no.t"}}
    job = finish(cloud, create(cloud, body_of(put(cloud, [row("a")])) | {"outputConfig": destination}))
    assert (job["state"], job["error"]["code"]) == ("JOB_STATE_FAILED", 5)


def test_an_output_table_is_resumed_by_being_the_next_jobs_input(cloud: LocalCloud) -> None:
    """Answered rows are taken over unbilled, from a table as from a file."""
    cloud.knobs(row_error_rate=0.5)
    uri = put(cloud, [row(f"k{number}") for number in range(20)])
    tables = [
        {
            "predictionsFormat": "bigquery",
            "bigqueryDestination": {"outputUri": f"bq://demo.ds.resume_{number}"},
        }
        for number in (1, 2)
    ]
    first = finish(cloud, create(cloud, body_of(uri) | {"outputConfig": tables[0]}))
    failed = int(first["completionStats"]["failedCount"])
    cloud.knobs(row_error_rate=0)
    source = {"instancesFormat": "bigquery", "bigquerySource": {"inputUri": "bq://demo.ds.resume_1"}}
    second = finish(cloud, create(cloud, body_of(uri) | {"inputConfig": source, "outputConfig": tables[1]}))
    assert second["completionStats"] == {"successfulCount": "20"}
    assert cloud.stats()["jobs"][second["name"]]["billed_rows"] == failed
    rows = [item for batch in cloud.parts.warehouse.read_rows("demo", "ds", "resume_2") for item in batch]
    assert sorted(item["key"] for item in rows) == sorted(f"k{number}" for number in range(20))
    assert all("candidates" in json.loads(item["response"]) for item in rows)


# Direct calls


@pytest.mark.parametrize("prefix", ["", f"/{PARENT}"])
@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_a_model_is_called_directly(cloud: LocalCloud, version: str, prefix: str) -> None:
    """By the short and by the full path; billed apart from jobs."""
    body = row("k", "12345678")["request"]
    path = f"/{version}{prefix}/{MODEL}"
    status, answer = call(cloud, "POST", f"{path}:generateContent", body)
    assert status == 200
    assert answer["candidates"][0]["content"]["parts"][0]["text"] == "12345678"
    assert call(cloud, "POST", f"{path}:countTokens", body)[1]["totalTokens"] == 2
    assert cloud.stats()["generate_content"]["gemini-2.5-flash"]["billed_rows"] == 1
    assert cloud.stats()["billed_rows"] == 0


def test_a_bad_direct_call_is_refused_as_an_http_error(cloud: LocalCloud) -> None:
    """Not as a row."""
    status, refusal = call(cloud, "POST", f"/v1/{MODEL}:generateContent", row("k", role="tester")["request"])
    assert (status, refusal["error"]["message"]) == (400, "Please use a valid role: user, model.")
    cloud.knobs(row_error_rate=1, row_error_code=503)
    assert call(cloud, "POST", f"/v1/{MODEL}:generateContent", row("k")["request"])[0] == 503
