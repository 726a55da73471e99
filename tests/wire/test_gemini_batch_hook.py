"""GeminiBatchHook through the real job service client: against the local Vertex AI, and against hostile answers."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.auth import credentials as google_credentials
from google.auth.exceptions import RefreshError

from airflow_batch_gemini.batch.job import Counts
from airflow_batch_gemini.batch.job_body import job_labels, part_filter
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.exceptions import (
    EndpointError,
    InvalidNameError,
    JobLostError,
    PaymentUnknownError,
    RefusedForNowError,
    ServiceError,
    SubmitRefusedError,
)
from airflow_batch_gemini.hooks import _vertex, gemini_batch
from airflow_batch_gemini.hooks.async_credentials import ThreadedCredentials
from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
from airflow_batch_gemini.hooks.workspace import WorkspaceHook

if TYPE_CHECKING:
    from airflow_batch_gemini.batch.job import Job
    from airflow_batch_gemini.local.server import LocalCloud

LABELS = job_labels(batch_id="b" * 32, part=0, epoch=1, nonce="n" * 32, fingerprint="f" * 32)
NAME = "projects/demo/locations/us-central1/batchPredictionJobs/123"
ANONYMOUS = {"conn_type": "google_cloud_platform", "extra": {"is_anonymous": True, "project": "demo"}}
LINE = {"key": "k_1", "request": {"contents": [{"role": "user", "parts": [{"text": "Say hello."}]}]}}


@pytest.fixture
def hook(cloud: LocalCloud) -> Iterator[GeminiBatchHook]:
    """A hook on the local cloud."""
    hook = GeminiBatchHook()
    yield hook
    hook.close()


@pytest.fixture
def source(bucket: str, cloud: LocalCloud) -> Iterator[GcsUri]:
    """A request file with one line."""
    storage = WorkspaceHook()
    uri = GcsUri.parse(f"gs://{bucket}/in.jsonl")
    storage.write(uri, json.dumps(LINE).encode() + b"\n")
    yield uri
    storage.close()


def create(hook: GeminiBatchHook, source: object, **changes: Any) -> Job:
    values: dict[str, Any] = {
        "project_id": "demo",
        "location": "us-central1",
        "display_name": "a job",
        "model": "gemini-2.5-flash",
        "source_uri": str(source),
        "destination_uri": f"{str(source).rpartition('/')[0]}/out",
        "labels": LABELS,
    }
    return hook.create(**(values | changes))


def test_a_job_is_created_and_ends_with_counts_times_and_output(
    hook: GeminiBatchHook, source: GcsUri, cloud: LocalCloud
) -> None:
    """Names by Google, times by Google's clock, the output where the job says."""
    created = create(hook, source)
    cloud.settle()
    job = hook.get(created.name)
    assert (job.state, job.counts) == ("JOB_STATE_SUCCEEDED", Counts(succeeded=1, failed=0, incomplete=0))
    assert (job.display_name, job.labels, job.input_uri) == ("a job", LABELS, str(source))
    assert job.model == "publishers/google/models/gemini-2.5-flash"
    assert job.output_uri.startswith(f"gs://{source.bucket}/out/prediction-model-")
    assert job.create_time is not None
    assert job.end_time is not None
    assert 1_700_000_000 < job.create_time <= job.end_time
    assert job.ended


def test_a_pending_job_has_no_counts_yet(hook: GeminiBatchHook, source: GcsUri, cloud: LocalCloud) -> None:
    """Absent is unknown, not zero."""
    cloud.knobs(stuck_pending=True)
    job = hook.get(create(hook, source).name)
    assert (job.state, job.counts, job.output_uri) == ("JOB_STATE_PENDING", Counts(), "")
    hook.cancel(job.name)


def test_tables_in_and_out_are_named_with_their_dataset(
    hook: GeminiBatchHook, dataset: str, cloud: LocalCloud
) -> None:
    """BigQuery on both sides."""
    from airflow_batch_gemini.local.bigquery import Column

    project, name = dataset.split(".")
    columns = [
        Column(name="key", type="STRING", mode="NULLABLE"),
        Column(name="request", type="JSON", mode="NULLABLE"),
    ]
    row = {"key": "k_1", "request": json.dumps(LINE["request"])}
    cloud.parts.warehouse.write_table(project, name, "requests", columns, [row])
    made = create(
        hook, "", source_uri=f"bq://{dataset}.requests", destination_uri=f"bq://{dataset}.predictions"
    )
    cloud.settle()
    job = hook.get(made.name)
    assert (job.state, job.error_message) == ("JOB_STATE_SUCCEEDED", "")
    assert (job.input_uri, job.output_uri) == (f"bq://{dataset}.requests", f"bq://{dataset}.predictions")


def test_listing_goes_through_all_pages_and_filters_by_label(
    hook: GeminiBatchHook, source: GcsUri, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven jobs of a part in pages of three, and none of another part."""
    monkeypatch.setattr("airflow_batch_gemini.hooks.gemini_batch._PAGE", 3)
    mine = job_labels(batch_id="c" * 32, part=1, epoch=1, nonce="n" * 32, fingerprint="f" * 32)
    names = {create(hook, source, labels=mine).name for _ in range(7)}
    create(hook, source, labels=mine | {"gemini_part": "10"})
    where: dict[str, str] = {"project_id": "demo", "location": "us-central1"}
    listed = hook.list(**where, filter=part_filter("c" * 32, 1))
    assert {job.name for job in listed} == names

    async def listing() -> set[str]:
        async with GeminiBatchHook.shared(gcp_conn_id="google_cloud_default") as shared:
            return {job.name for job in await shared.alist(**where, filter=part_filter("c" * 32, 1))}

    assert asyncio.run(listing()) == names
    assert names < {job.name for job in hook.list(**where)}


def test_cancel_says_what_came_of_it(hook: GeminiBatchHook, source: GcsUri, cloud: LocalCloud) -> None:
    """Asked, ended already, or no such job."""
    cloud.knobs(pace="looks:2")
    name = create(hook, source).name
    assert hook.cancel(name) == "asked"
    while not hook.get(name).ended:
        pass
    assert hook.get(name).state == "JOB_STATE_CANCELLED"
    assert hook.cancel(name) == "ended"
    hook.delete(name)
    with pytest.raises(JobLostError, match="cannot be looked at"):
        hook.get(name)
    assert hook.cancel(name) == "gone"

    async def cancelling() -> str:
        async with GeminiBatchHook.shared(gcp_conn_id="google_cloud_default") as shared:
            with pytest.raises(JobLostError, match="cannot be looked at"):
                await shared.aget(name)
            return await shared.acancel(name)

    assert asyncio.run(cancelling()) == "gone"


def test_an_unknown_model_is_refused_and_nothing_is_created(
    hook: GeminiBatchHook, source: GcsUri, cloud: LocalCloud
) -> None:
    """404 at create is definite."""
    with pytest.raises(SubmitRefusedError, match="Nothing was created or paid"):
        create(hook, source, model="gemini-0.1-nope", display_name="refused")
    listed = hook.list(project_id="demo", location="us-central1", filter='display_name="refused"')
    assert listed == ()


def test_a_lost_answer_leaves_the_payment_unknown_and_one_job_behind(
    hook: GeminiBatchHook, source: GcsUri, cloud: LocalCloud
) -> None:
    """The job is there; no client repeated the request."""
    cloud.knobs(answer_lost_after_commit=1)
    with pytest.raises(PaymentUnknownError, match="may exist"):
        create(hook, source, display_name="lost answer")
    listed = hook.list(project_id="demo", location="us-central1", filter='display_name="lost answer"')
    assert len(listed) == 1


def test_all_who_wait_on_a_loop_share_one_session_and_the_last_closes_it(
    hook: GeminiBatchHook, source: GcsUri
) -> None:
    """Thirty borrowers, one hook, one client; nothing is left open, and the next one begins anew."""
    name = create(hook, source).name

    async def look(seen: list[Any]) -> None:
        async with GeminiBatchHook.shared(gcp_conn_id="google_cloud_default") as shared:
            assert (await shared.aget(name)).name == name
            seen.append((shared, await shared.aclient("us-central1")))

    async def crowd() -> tuple[list[Any], list[Any]]:
        first: list[Any] = []
        await asyncio.gather(*(look(first) for _ in range(30)))
        second: list[Any] = []
        await look(second)
        return first, second

    first, second = asyncio.run(crowd())
    assert len({id(shared) for shared, _ in first}) == len({id(client) for _, client in first}) == 1
    assert first[0][0] is not second[0][0]
    del first, second
    gc.collect()  # an unclosed session would warn here


def test_a_borrower_that_is_cancelled_takes_nothing_from_the_others(
    hook: GeminiBatchHook, source: GcsUri
) -> None:
    """The one that leaves may be the one that opened."""
    name = create(hook, source).name

    async def look() -> str:
        async with GeminiBatchHook.shared(gcp_conn_id="google_cloud_default") as shared:
            return (await shared.aget(name)).name

    async def story() -> str:
        first, second = asyncio.create_task(look()), asyncio.create_task(look())
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        return await second

    assert asyncio.run(story()) == name


def test_a_connection_that_cannot_be_read_fails_every_borrower(cloud: LocalCloud) -> None:
    """And the next one tries again."""

    async def borrow() -> None:
        async with GeminiBatchHook.shared(gcp_conn_id="no_such_connection", impersonation_chain=["a", "b"]):
            pytest.fail("there is no such connection")

    with pytest.raises(Exception, match="no_such_connection"):
        asyncio.run(borrow())


class Hostile:
    """A server that answers what the test says, and counts."""

    def __init__(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                outer.requests.append(f"{self.command} {self.path}")
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, body = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                if status == 0:
                    self.connection.close()
                    return
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_DELETE = handle_any

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self.requests: list[str] = []
        self.answers: list[tuple[int, bytes]] = [(200, b"{}")]
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hostile]:
    """A hostile server, and the environment pointing to it with anonymous credentials."""
    server = Hostile()
    monkeypatch.setenv("VERTEX_AI_EMULATOR_HOST", server.url)
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(ANONYMOUS))
    yield server
    server.stop()


def error_of(status: int) -> bytes:
    return json.dumps({"error": {"code": status, "message": "no", "status": "X"}}).encode()


SETTING_UP = (
    b'{"error": {"code": 400, "message": "Service agents are being provisioned. Please try again in a few minutes.",'
    b' "status": "FAILED_PRECONDITION"}}'
)


@pytest.mark.parametrize(
    ("status", "body", "error", "http_status"),
    [
        (400, None, SubmitRefusedError, None),
        (401, None, ServiceError, None),
        (403, None, SubmitRefusedError, None),
        (404, None, SubmitRefusedError, None),
        (422, b"<html>", SubmitRefusedError, None),
        (429, None, RefusedForNowError, 429),
        (400, SETTING_UP, RefusedForNowError, 400),
        (408, None, PaymentUnknownError, None),
        (409, None, PaymentUnknownError, None),
        (499, None, PaymentUnknownError, None),
        (500, None, PaymentUnknownError, None),
        (502, b"<html>", PaymentUnknownError, None),
        (503, None, PaymentUnknownError, None),
        (504, None, PaymentUnknownError, None),
        (0, b"", PaymentUnknownError, None),
        (200, b"not JSON", PaymentUnknownError, None),
        (200, b"{}", PaymentUnknownError, None),
        (200, b'{"name": "operations/7"}', PaymentUnknownError, None),
    ],
)
def test_what_follows_a_create_request_is_definite_or_it_is_not(
    hostile: Hostile, status: int, body: bytes | None, error: type[Exception], http_status: int | None
) -> None:
    """Only a clear refusal means that nothing was created; and no answer makes a client post again."""
    hostile.answers = [(status, error_of(status) if body is None else body)]
    hook = GeminiBatchHook()
    with pytest.raises(error) as caught:
        create(hook, "gs://bucket/in.jsonl")
    hook.close()
    assert type(caught.value) is error
    assert getattr(caught.value, "http_status", None) == http_status
    assert len(hostile.requests) == 1


def test_no_token_means_that_nothing_was_created(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request was not even sent."""
    monkeypatch.setattr(GeminiBatchHook, "get_credentials", lambda _self: Sleeping(fails=True))
    hook = GeminiBatchHook()
    with pytest.raises(ServiceError, match="No token"):
        create(hook, "gs://bucket/in.jsonl")
    hook.close()
    assert hostile.requests == []


@pytest.mark.parametrize("status", [403, 404])
def test_a_job_that_may_not_be_seen_is_lost_at_once(hostile: Hostile, status: int) -> None:
    """Neither is repeated."""
    hostile.answers = [(status, error_of(status))]
    hook = GeminiBatchHook()
    with pytest.raises(JobLostError):
        hook.get(NAME)
    hook.close()
    assert len(hostile.requests) == 1


@pytest.mark.parametrize("trouble", [429, 500, 503, 504, 0])
def test_a_look_is_repeated_after_a_passing_trouble(
    hostile: Hostile, trouble: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking costs nothing."""
    impatient(monkeypatch, seconds=30)
    good = json.dumps({"name": NAME, "state": "JOB_STATE_RUNNING"}).encode()
    hostile.answers = [(trouble, error_of(trouble)), (200, good)]
    hook = GeminiBatchHook()
    assert hook.get(NAME).state == "JOB_STATE_RUNNING"
    hook.close()


def impatient(monkeypatch: pytest.MonkeyPatch, *, seconds: float = 0.05) -> None:
    from google.api_core import retry

    original = retry.Retry

    def quick(**options: Any) -> Any:
        return original(**(options | {"initial": 0.001, "maximum": 0.001, "timeout": seconds}))

    monkeypatch.setattr(retry, "Retry", quick)


def test_a_trouble_that_stays_is_told_with_its_status(
    hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the repetitions, the last answer counts."""
    impatient(monkeypatch)
    hostile.answers = [(503, error_of(503))]
    hook = GeminiBatchHook()
    with pytest.raises(ServiceError) as caught:
        hook.list(project_id="demo", location="us-central1")
    assert caught.value.http_status == 503
    with pytest.raises(ServiceError):
        hook.cancel(NAME)
    hook.close()


@pytest.mark.parametrize(
    ("status", "body"), [(501, b"<html>"), (0, b""), (200, b"not JSON"), (401, error_of(401))]
)
def test_an_asynchronous_look_that_fails_is_a_miss(hostile: Hostile, status: int, body: bytes) -> None:
    """Whatever the client raises, it is one of our errors."""
    hostile.answers = [(status, body)]

    async def look() -> None:
        async with GeminiBatchHook.shared(gcp_conn_id="google_cloud_default") as hook:
            await hook.aget(NAME)

    with pytest.raises(ServiceError):
        asyncio.run(look())


def test_an_asynchronous_cancel_that_fails_says_so(hostile: Hostile) -> None:
    """403 is not "ended"."""
    hostile.answers = [(403, error_of(403))]

    async def cancel() -> None:
        async with GeminiBatchHook.shared(gcp_conn_id="google_cloud_default") as hook:
            await hook.acancel(NAME)

    with pytest.raises(ServiceError):
        asyncio.run(cancel())


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ({"state": 3}, "JOB_STATE_RUNNING"),
        ({"state": "JOB_STATE_EXPIRED"}, "JOB_STATE_EXPIRED"),
        ({"state": 77}, "77"),
        ({"state": "JOB_STATE_NEVER_HEARD_OF"}, "JOB_STATE_UNSPECIFIED"),
        ({}, "JOB_STATE_UNSPECIFIED"),
    ],
)
def test_a_state_is_read_by_name_and_an_unknown_one_waits(
    hostile: Hostile, answer: dict[str, Any], state: str
) -> None:
    """Names or numbers, known or not."""
    hostile.answers = [(200, json.dumps({"name": NAME} | answer).encode())]
    hook = GeminiBatchHook()
    job = hook.get(NAME)
    hook.close()
    assert (job.state, job.ended) == (state, state == "JOB_STATE_EXPIRED")


@pytest.mark.parametrize(
    ("info", "uri"),
    [
        ({"gcsOutputDirectory": "gs://b/out/prediction-model-1"}, "gs://b/out/prediction-model-1"),
        ({"bigqueryOutputDataset": "bq://p.d", "bigqueryOutputTable": "t"}, "bq://p.d.t"),
        ({"bigqueryOutputDataset": "bq://p.d", "bigqueryOutputTable": "bq://p.d.t"}, "bq://p.d.t"),
        ({"bigqueryOutputTable": "bq://p.d.t"}, "bq://p.d.t"),
        ({"bigqueryOutputDataset": "bq://p.d"}, ""),
        ({}, ""),
    ],
)
def test_the_output_is_told_by_its_full_name(hostile: Hostile, info: dict[str, str], uri: str) -> None:
    """Vertex AI may name dataset and table apart."""
    hostile.answers = [(200, json.dumps({"name": NAME, "outputInfo": info}).encode())]
    hook = GeminiBatchHook()
    assert hook.get(NAME).output_uri == uri
    hook.close()


def test_counts_come_as_text_zero_is_left_out_and_minus_one_is_unknown(hostile: Hostile) -> None:
    """int64 as JSON has it."""
    stats = {"successfulCount": "5", "incompleteCount": "-1"}
    answer = {"name": NAME, "completionStats": stats, "error": {"code": 3, "message": "bad input"}}
    hostile.answers = [(200, json.dumps(answer).encode())]
    hook = GeminiBatchHook()
    job = hook.get(NAME)
    hook.close()
    assert job.counts == Counts(succeeded=5, failed=0, incomplete=None)
    assert (job.error_code, job.error_message) == (3, "bad input")


def test_every_location_has_its_own_google_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an override requests go to Google and nowhere else."""
    monkeypatch.delenv("VERTEX_AI_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(ANONYMOUS))
    hook = GeminiBatchHook()
    hosts = {place: hook.client(place).transport._host for place in ("europe-west4", "global", "us", "eu")}
    hook.close()
    assert hosts == {
        "europe-west4": "https://europe-west4-aiplatform.googleapis.com",
        "global": "https://aiplatform.googleapis.com",
        "us": "https://aiplatform.us.rep.googleapis.com",
        "eu": "https://aiplatform.eu.rep.googleapis.com",
    }


def test_a_foreign_endpoint_gets_no_credential(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The refusal comes before credentials are read, and is not mistaken for a passing trouble."""

    def read(_self: object) -> None:
        pytest.fail("credentials were read")

    monkeypatch.setattr(GeminiBatchHook, "get_credentials", read)
    monkeypatch.setenv("VERTEX_AI_EMULATOR_HOST", "http://vertex.example.com")
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(ANONYMOUS))
    hook = GeminiBatchHook()
    with pytest.raises(EndpointError):
        hook.get(NAME)
    with pytest.raises(EndpointError):
        asyncio.run(hook.aget(NAME))


@pytest.mark.parametrize("field", ["key_secret_name", "idp_issuer_url", "credential_config_file"])
def test_a_credential_from_elsewhere_is_googles_whatever_the_environment_names(
    hostile: Hostile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, field: str
) -> None:
    """The stand-in's own key in the environment is not the one that such a connection would send."""
    key = tmp_path / "key.json"
    key.write_text(json.dumps({"type": "service_account", "token_uri": f"{hostile.url}/token"}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    monkeypatch.setattr(
        GeminiBatchHook, "get_credentials", lambda _self: pytest.fail("credentials were read")
    )
    connection = {"conn_type": "google_cloud_platform", "extra": {field: "x"}}
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(connection))
    with pytest.raises(EndpointError, match="Google's own sign-in"):
        GeminiBatchHook().get(NAME)
    assert hostile.requests == []


@pytest.mark.parametrize(
    "call",
    [
        lambda hook: hook.get("projects/demo/../batchPredictionJobs/1"),
        lambda hook: hook.cancel("123"),
        lambda hook: hook.delete(""),
        lambda hook: hook.list(project_id="demo/../x", location="us-central1"),
        lambda hook: create(hook, "gs://Bad Bucket/x"),
        lambda hook: create(hook, "gs://bucket/x", location="evil.example.com/"),
        lambda hook: create(hook, "gs://bucket/x", model="models/../x"),
    ],
)
def test_a_name_that_is_not_well_formed_is_never_sent(hostile: Hostile, call: Any) -> None:
    """Strict grammar before any request."""
    with pytest.raises(InvalidNameError):
        call(GeminiBatchHook())
    assert hostile.requests == []


class Sleeping(google_credentials.Credentials):
    """Credentials whose token has to be fetched."""

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__()
        self.fetched = 0
        self._fails = fails

    def refresh(self, request: object) -> None:
        """Fetch a token, or fail."""
        assert threading.current_thread() is not threading.main_thread() or self._fails
        self.fetched += 1
        if self._fails:
            raise RefreshError("no token today")
        self.token = f"token-{self.fetched}"


def test_a_token_is_fetched_off_the_loop_once_for_all_who_wait() -> None:
    """Ten requests begin together; an expired token is fetched anew."""
    wrapped = Sleeping()

    async def story() -> list[dict[str, str]]:
        credentials = ThreadedCredentials(wrapped)
        headers: list[dict[str, str]] = [{} for _ in range(10)]
        await asyncio.gather(*(credentials.before_request(None, "GET", "https://x", h) for h in headers))
        await credentials.refresh(None)
        headers.append({})
        await credentials.before_request(None, "GET", "https://x", headers[-1])
        return headers

    headers = asyncio.run(story())
    assert {h["authorization"] for h in headers[:10]} == {"Bearer token-1"}
    assert headers[10]["authorization"] == "Bearer token-2"
    assert wrapped.fetched == 2


def test_an_error_of_ours_is_not_translated_twice() -> None:
    """What already says the fate keeps its words."""
    with pytest.raises(ServiceError, match="as it was"), _vertex.translated("Looking"):
        raise ServiceError("as it was", http_status=418)


def test_the_hook_gives_what_the_table_of_states_is_asked_with(hostile: Hostile) -> None:
    """A job is a value: equal answers are equal jobs."""
    hostile.answers = [(200, json.dumps({"name": NAME, "state": "JOB_STATE_PAUSED"}).encode())]
    hook = GeminiBatchHook()
    first, second = hook.get(NAME), hook.get(NAME)
    hook.close()
    assert first == second == replace(first)


COUNT = {
    "project_id": "demo",
    "location": "us-central1",
    "model": "publishers/google/models/gemini-2.5-flash",
}


def test_tokens_are_counted_and_nothing_is_billed(hook: GeminiBatchHook, cloud: LocalCloud) -> None:
    """Four characters a token there; a field that counts nothing, or that no client knows, does no harm."""
    before = cloud.parts.vertex.book.bills()
    request = {
        "contents": [{"role": "user", "parts": [{"text": "x" * 40, "brandNew": 1}]}],
        "system_instruction": {"parts": [{"text": "y" * 20}]},
        "generationConfig": {"maxOutputTokens": 5},
        "labels": {"a": "b"},
    }
    assert hook.count_tokens(**COUNT, request=request) == 15
    assert cloud.parts.vertex.book.bills() == before


def test_tokens_of_a_text_for_a_vector_are_counted(hook: GeminiBatchHook, cloud: LocalCloud) -> None:
    """Its request has one content and no turns."""
    request = {"content": {"parts": [{"text": "x" * 40}]}}
    assert (
        hook.count_tokens(
            **COUNT | {"model": "publishers/google/models/gemini-embedding-001"}, request=request
        )
        == 10
    )


def test_a_count_that_fails_is_told_without_the_prompt(hook: GeminiBatchHook, cloud: LocalCloud) -> None:
    """The status says why; what was asked stays where it was."""
    request = {"contents": [{"role": "user", "parts": [{"text": "planted"}]}]}
    with pytest.raises(
        ServiceError, match=r"counted with publishers/google/models/gemini-9 \(HTTP 404\)"
    ) as found:
        hook.count_tokens(**COUNT | {"model": "publishers/google/models/gemini-9"}, request=request)
    assert found.value.http_status == 404
    assert "planted" not in str(found.value)


def test_a_short_outage_is_counted_through(hostile: Hostile) -> None:
    """Counting changes nothing, so it may be asked for again; a lost connection counts as an outage."""
    hostile.answers = [(503, error_of(503)), (0, b""), (200, b'{"totalTokens": 3}')]
    assert GeminiBatchHook().count_tokens(**COUNT, request=LINE["request"]) == 3


@pytest.mark.parametrize("body", [b"{}", b"[]", b"<html>", b'{"totalTokens": "many"}'])
def test_an_answer_that_counts_nothing_is_an_error(hostile: Hostile, body: bytes) -> None:
    """A proxy answers 200 as well."""
    hostile.answers = [(200, body)]
    with pytest.raises(ServiceError, match=r"\((ValueError|JSONDecodeError)\)"):
        GeminiBatchHook().count_tokens(**COUNT, request=LINE["request"])


@pytest.mark.parametrize("status", [400, 403, 404, 307])
def test_a_definite_refusal_is_asked_for_once(hostile: Hostile, status: int) -> None:
    """Nor is a prompt sent on to wherever an answer points."""
    hostile.answers = [(status, error_of(status))]
    with pytest.raises(ServiceError) as found:
        GeminiBatchHook().count_tokens(**COUNT, request=LINE["request"])
    assert found.value.http_status == status
    place = "projects/demo/locations/us-central1/publishers/google/models/gemini-2.5-flash"
    assert set(hostile.requests) == {f"POST /v1/{place}:countTokens"}


@pytest.mark.parametrize("status", [429, 503])
def test_a_count_that_is_refused_for_now_is_given_up(
    hostile: Hostile, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """It is asked for again, but the preparation does not wait long for what it can do without."""
    monkeypatch.setattr(gemini_batch, "COUNT_SECONDS", 0.5)
    hostile.answers = [(status, error_of(status))]
    with pytest.raises(ServiceError, match=rf"\(HTTP {status}\)"):
        GeminiBatchHook().count_tokens(**COUNT, request=LINE["request"])


def test_what_cannot_even_be_written_down_is_not_counted(hostile: Hostile) -> None:
    """Nor does it fail otherwise than a count does."""
    deep: dict[str, Any] = {}
    for _ in range(400):
        deep = {"a": deep}
    with pytest.raises(ServiceError, match=r"\(ValueError\)"):
        GeminiBatchHook().count_tokens(**COUNT, request={"contents": [deep]})
    assert hostile.requests == []
