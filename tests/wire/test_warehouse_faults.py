"""The warehouse hook through Google's own client against a service that loses answers, refuses and fails."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from google.auth.exceptions import RefreshError

from airflow_batch_gemini.batch.names import DatasetName, TableName
from airflow_batch_gemini.exceptions import (
    ConfigurationError,
    EndpointError,
    LandingError,
    ServiceError,
    SourceError,
)
from airflow_batch_gemini.hooks._bigquery import translated
from airflow_batch_gemini.hooks.warehouse import WarehouseHook, WarehouseJob
from airflow_batch_gemini.sql.landing import query

SELECT = query("SELECT 'a secret prompt'")
LOAD = {
    "load": {
        "sourceUris": ["gs://my-bucket/a.jsonl"],
        "destinationTable": {"projectId": "demo", "datasetId": "d", "tableId": "t"},
        "sourceFormat": "NEWLINE_DELIMITED_JSON",
    }
}
TABLE = TableName.parse("demo.d.t")
PLACE = {"project": "demo", "location": "us-central1", "purpose": "test"}


class Service(ThreadingHTTPServer):
    """BigQuery's jobs, and nothing more: a job id is unique for ever."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.jobs: dict[str, dict[str, Any]] = {}
        self.posts = 0
        self.troubles: list[int | str] = []
        """For each coming request: an HTTP status to answer with, or ``lose`` to act and then say nothing."""
        self.error: dict[str, str] | None = None
        """What new jobs end with."""
        self.looks_until_done = 0
        self.tables = {"t"}
        self.tampered = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def post(self, job: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.posts += 1
        name = job["jobReference"]["jobId"]
        if name in self.jobs:
            return 409, _error(409, "duplicate", f"Already Exists: Job demo:us-central1.{name}")
        if self.tampered:
            job["configuration"] = query("SELECT 'something else'")
        if "query" in job["configuration"]:
            job["configuration"]["query"]["priority"] = "INTERACTIVE"
        job["status"] = {"state": "RUNNING"} if self.looks_until_done else self._end()
        job["statistics"] = {"creationTime": "1"}
        self.jobs[name] = job
        return 200, job

    def look(self, name: str) -> tuple[int, dict[str, Any]]:
        if name not in self.jobs:
            return 404, _error(404, "notFound", f"Not found: Job demo:{name}")
        self.looks_until_done -= 1
        if self.looks_until_done <= 0 and self.jobs[name]["status"]["state"] != "DONE":
            self.jobs[name]["status"] = self._end()
        return 200, self.jobs[name]

    def _end(self) -> dict[str, Any]:
        return {
            "state": "DONE",
            **({"errorResult": self.error, "errors": [self.error]} if self.error else {}),
        }


def _error(code: int, reason: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "errors": [{"reason": reason, "message": message}]}}


class _Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(lambda: self.server.post(body))

    def do_GET(self) -> None:
        kind, name = self.path.partition("?")[0].rsplit("/", 2)[1:]
        if kind == "jobs":
            self._answer(lambda: self.server.look(name))
        elif kind == "tables" and name in self.server.tables:
            reference = {"projectId": "demo", "datasetId": "d", "tableId": name}
            self._answer(
                lambda: (200, {"tableReference": reference, "schema": {"fields": []}, "location": "US"})
            )
        else:
            self._answer(lambda: (404, _error(404, "notFound", f"Not found: {kind} {name}")))

    def _answer(self, act: Any) -> None:
        trouble = self.server.troubles.pop(0) if self.server.troubles else None
        if isinstance(trouble, int):
            reason = {403: "accessDenied", 400: "invalid", 404: "notFound"}.get(trouble, "backendError")
            return self._send(trouble, _error(trouble, reason, "told 'a secret prompt'"))
        status, body = act()
        if trouble == "lose":
            self.close_connection = True
            return None
        return self._send(status, body)

    def _send(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    with Service() as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", found.url)
        monkeypatch.setattr("google.api_core.retry.retry_unary.time.sleep", lambda _: None)
        yield found
        found.shutdown()
        thread.join()


def connect(monkeypatch: pytest.MonkeyPatch, **extra: Any) -> None:
    connection = {"conn_type": "google_cloud_platform", "extra": {"project": "demo", **extra}}
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(connection))


@pytest.fixture
def hook(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[WarehouseHook]:
    connect(monkeypatch, is_anonymous=True)
    found = WarehouseHook()
    yield found
    found.close()


def test_asked_twice_the_same_work_is_done_once(hook: WarehouseHook, service: Service) -> None:
    """The second asker attaches."""
    first = hook.ensure_job(configuration=SELECT, **PLACE)
    assert hook.ensure_job(configuration=SELECT, **PLACE) == first
    assert list(service.jobs) == [first.job_id]


def test_a_lost_answer_does_not_start_a_second_job(hook: WarehouseHook, service: Service) -> None:
    """The client posts again, is told 409, and we attach to what the first post made."""
    service.troubles = ["lose"]
    job = hook.ensure_job(configuration=SELECT, **PLACE)
    assert list(service.jobs) == [job.job_id]
    assert service.posts == 2


def test_an_outage_is_sat_out(hook: WarehouseHook, service: Service) -> None:
    """Temporary answers are repeated by the client."""
    service.troubles = [503, 500, "lose", 502]
    job = hook.ensure_job(configuration=LOAD, **PLACE)
    assert list(service.jobs) == [job.job_id]


def test_only_after_a_failed_job_the_next_name_is_used(hook: WarehouseHook, service: Service) -> None:
    """And then that one is attached to."""
    service.error = {"reason": "invalidQuery", "message": "Syntax error: 'a secret prompt' at [1:1]"}
    first = hook.ensure_job(configuration=SELECT, **PLACE)
    service.error = None
    second = hook.ensure_job(configuration=SELECT, **PLACE)
    assert (first.attempt, second.attempt) == (0, 1)
    assert first.job_id[:-1] == second.job_id[:-1]
    assert hook.ensure_job(configuration=SELECT, **PLACE) == second


def test_a_running_job_is_attached_to(hook: WarehouseHook, service: Service) -> None:
    """Nobody starts beside it."""
    service.looks_until_done = 100
    first = hook.ensure_job(configuration=SELECT, **PLACE)
    assert hook.ensure_job(configuration=SELECT, **PLACE, expect_table=TABLE) == first
    assert not hook.look(first).done


def test_a_finished_job_whose_table_is_gone_is_done_again(hook: WarehouseHook, service: Service) -> None:
    """Landing tables expire."""
    first = hook.ensure_job(configuration=LOAD, **PLACE, expect_table=TABLE)
    assert hook.ensure_job(configuration=LOAD, **PLACE, expect_table=TABLE) == first
    service.tables.clear()
    assert hook.ensure_job(configuration=LOAD, **PLACE, expect_table=TABLE).attempt == 1


def test_another_salt_is_another_job(hook: WarehouseHook, service: Service) -> None:
    """Each attempt of a task publishes for itself."""
    hook.ensure_job(configuration=SELECT, **PLACE, salt="a")
    hook.ensure_job(configuration=SELECT, **PLACE, salt="b")
    assert len(service.jobs) == 2


def test_a_job_of_our_name_that_does_something_else_is_not_attached_to(
    hook: WarehouseHook, service: Service
) -> None:
    """Configurations are compared, names are not believed."""
    service.tampered = True
    hook.ensure_job(configuration=SELECT, **PLACE)
    with pytest.raises(LandingError, match="does something else"):
        hook.ensure_job(configuration=SELECT, **PLACE)


def test_a_hundred_failures_are_not_bad_luck(
    hook: WarehouseHook, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names run out."""
    monkeypatch.setattr("airflow_batch_gemini.hooks.warehouse.MAX_ATTEMPTS", 2)
    service.error = {"reason": "invalid", "message": "m"}
    hook.ensure_job(configuration=SELECT, **PLACE)
    hook.ensure_job(configuration=SELECT, **PLACE)
    with pytest.raises(LandingError, match="failed 2 times"):
        hook.ensure_job(configuration=SELECT, **PLACE)


def test_a_job_is_a_query_or_a_load(hook: WarehouseHook) -> None:
    """Nothing else is ever needed."""
    with pytest.raises(ConfigurationError, match="a query or a load"):
        hook.ensure_job(configuration={"extract": {}}, **PLACE)


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_clear_refusal_is_a_landing_error_without_what_it_quotes(
    hook: WarehouseHook, service: Service, status: int
) -> None:
    """The statement holds prompts; its error does not."""
    service.troubles = [status]
    with pytest.raises(LandingError) as caught:
        hook.ensure_job(configuration=SELECT, **PLACE)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert str(status) in str(caught.value)


def test_the_caller_says_what_a_refusal_means(hook: WarehouseHook, service: Service) -> None:
    """For a preparation nothing was paid yet."""
    service.troubles = [403]
    with pytest.raises(SourceError, match="accessDenied"):
        hook.ensure_job(configuration=SELECT, **PLACE, failure=SourceError)


@pytest.mark.parametrize("trouble", [503, "lose"])
def test_a_service_that_stays_away_is_a_service_error(
    hook: WarehouseHook, service: Service, monkeypatch: pytest.MonkeyPatch, trouble: int | str
) -> None:
    """A retry of the task helps."""
    monkeypatch.setattr("airflow_batch_gemini.hooks._bigquery.RETRY_SECONDS", 0.001)
    service.troubles = [trouble] * 1000
    with pytest.raises(ServiceError) as caught:
        hook.ensure_job(configuration=SELECT, **PLACE)
    assert caught.value.http_status == (trouble if isinstance(trouble, int) else None)


def test_a_credential_that_gets_no_token_is_a_service_error() -> None:
    """The token's host may be down; the message names no secret."""
    with pytest.raises(ServiceError, match="RefreshError") as caught, translated(LandingError, "asking"):
        raise RefreshError("secret")
    assert "secret" not in str(caught.value)


def test_waiting_ends_when_the_job_does(hook: WarehouseHook, service: Service) -> None:
    """However many looks it takes."""
    service.looks_until_done = 3
    job = hook.ensure_job(configuration=SELECT, **PLACE)
    assert hook.wait(job, timeout=60, poll_interval=0).done


def test_a_long_wait_is_heard_of(
    hook: WarehouseHook, service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line every ten seconds at most; here every look is one too many."""
    service.looks_until_done = 3
    job = hook.ensure_job(configuration=SELECT, **PLACE)
    monkeypatch.setattr("airflow_batch_gemini.hooks.warehouse.PROGRESS_SECONDS", 0.0)
    hook.wait(job, timeout=60, poll_interval=0)
    heard = capsys.readouterr().out
    assert heard.count(f"BigQuery job {job} has been running for 0 s.") == 2


def test_waiting_for_a_job_that_fails_names_the_reason(hook: WarehouseHook, service: Service) -> None:
    """And not what the statement held."""
    service.looks_until_done, service.error = (
        2,
        {"reason": "invalidQuery", "message": "near 'a secret prompt'"},
    )
    job = hook.ensure_job(configuration=SELECT, **PLACE)
    with pytest.raises(LandingError, match="invalidQuery: near '…'"):
        hook.wait(job, timeout=60, poll_interval=0)


def test_waiting_ends_at_the_timeout_and_the_job_runs_on(hook: WarehouseHook, service: Service) -> None:
    """A retry waits for the same job."""
    service.looks_until_done = 1000
    job = hook.ensure_job(configuration=SELECT, **PLACE)
    with pytest.raises(LandingError, match="runs on"):
        hook.wait(job, timeout=0, poll_interval=0)


def test_a_job_that_is_gone_is_an_error(hook: WarehouseHook) -> None:
    """Somebody deleted it."""
    with pytest.raises(LandingError, match="notFound"):
        hook.look(WarehouseJob(project="demo", location="us-central1", job_id="gone"))


def test_a_dataset_that_is_not_there_is_a_source_error(hook: WarehouseHook) -> None:
    """Before any job."""
    with pytest.raises(SourceError, match=r"dataset demo\.nope"):
        hook.dataset_location(DatasetName.parse("demo.nope"))


def test_only_a_clear_no_means_that_there_is_no_table(hook: WarehouseHook, service: Service) -> None:
    """A refusal is not an absence."""
    assert hook.table_info(TABLE) is not None
    service.tables.clear()
    assert hook.table_info(TABLE) is None
    service.troubles = [403]
    with pytest.raises(SourceError, match="accessDenied"):
        hook.table_info(TABLE)


# ---------------------------------------------------------------------------------------- where credentials may go


def test_nothing_is_sent_to_a_host_that_is_neither_googles_nor_local(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection's key is not even read."""
    connect(monkeypatch, key_path="/nowhere/key.json")
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", "http://bigquery.example.com")
    with pytest.raises(EndpointError, match="nothing was sent"):
        WarehouseHook().client("demo")


KEY = {"type": "service_account", "token_uri": "https://oauth2.googleapis.com/token"}


@pytest.mark.parametrize(
    "extra",
    [
        {"keyfile_dict": KEY},
        {"keyfile_dict": json.dumps(KEY)},
        {"keyfile_dict": {"type": "authorized_user"}},
        {"keyfile_dict": "no json"},
        {"keyfile_dict": "[]"},
        {"key_path": "/nowhere/key.json"},
        {},
        {"key_secret_name": "in-secret-manager"},
        {"idp_issuer_url": "https://login.example.com", "client_id": "x"},
        {"credential_config_file": "{}"},
        {"is_anonymous": True, "impersonation_chain": "sa@p.iam.gserviceaccount.com"},
    ],
)
def test_a_credential_that_google_honours_never_goes_to_a_stand_in(
    service: Service, monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any]
) -> None:
    """Only anonymous ones, or those that the stand-in itself made."""
    connect(monkeypatch, **extra)
    with pytest.raises(EndpointError):
        _ = WarehouseHook().project_id
    assert service.posts == 0


@pytest.mark.parametrize("way", ["keyfile_dict", "key_path", "environment"])
def test_a_key_that_the_stand_in_made_is_taken(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, way: str
) -> None:
    """However the connection names it."""
    from airflow_batch_gemini.hooks._endpoint import checked_override

    key = {**KEY, "token_uri": f"{service.url}/token"}
    path = tmp_path / "key.json"
    path.write_text(json.dumps(key))
    connect(
        monkeypatch,
        **{"keyfile_dict": {"keyfile_dict": key}, "key_path": {"key_path": str(path)}}.get(way, {}),
    )
    if way == "environment":
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    assert checked_override(WarehouseHook(), "BIGQUERY_EMULATOR_HOST") == service.url


def test_without_an_override_every_connection_is_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """Google itself is asked."""
    from airflow_batch_gemini.hooks._endpoint import checked_override

    connect(monkeypatch)
    monkeypatch.delenv("BIGQUERY_EMULATOR_HOST", raising=False)
    assert checked_override(WarehouseHook(), "BIGQUERY_EMULATOR_HOST") is None
