"""A hostile name is refused wherever it may come in: before a credential is loaded and before a byte is sent."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.google.common.hooks import base_google

from airflow_batch_gemini import GeminiTemplate
from airflow_batch_gemini.batch.landing import WarehouseJob
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.exceptions import ConfigurationError, InvalidNameError
from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
from airflow_batch_gemini.hooks.warehouse import WarehouseHook
from airflow_batch_gemini.hooks.workspace import WorkspaceHook
from airflow_batch_gemini.links.job import console_url
from airflow_batch_gemini.operators.cancel import GeminiBatchCancelOperator
from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator
from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator
from airflow_batch_gemini.operators.repair import GeminiBatchRepairOperator
from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator
from airflow_batch_gemini.sensors.job import GeminiBatchSensor
from airflow_batch_gemini.triggers.job import GeminiBatchJobTrigger

JOB = "projects/123/locations/us-central1/batchPredictionJobs/456"
REF = {"batch_id": "b" * 32, "workspace": "gs://bucket/w", "rows": 1, "size": 1, "parts": 1}
TI = SimpleNamespace(id="attempt")
JOB_ARGUMENTS: dict[str, Any] = {
    "project_id": "p",
    "location": "us-central1",
    "display_name": "a job",
    "model": "gemini-3.5-flash",
    "source_uri": "gs://bucket/in.jsonl",
    "destination_uri": "gs://bucket/out",
    "labels": {},
}

EVERYWHERE = [
    "..",
    "../other",
    "a/../../b",
    "..%2f..%2fother",
    "name\nHost: evil.example",
    "name\r\n",
    "name\x00",
    "name`; DROP TABLE x; --",
    "name' OR ''='",
    'name"',
    "name\\",
    "name?alt=media",
    "name#",
    "ｎame",  # a full-width letter
    "nаme",  # a Cyrillic one
    "name\u2028",
    "na\ud800me",
    " name",
    "x" * 5000,
]
JOBS = [
    f"{JOB}?alt=",
    f"{JOB}/../1",
    f"{JOB}:cancel",
    f"{JOB}\n",
    JOB.replace("456", "٤٥٦"),
    JOB.replace("us-central1", "us-central1.evil.example#"),
    JOB.replace("projects/", "projects/../projects/"),
    JOB.replace("123", "..:p"),
    f"https://evil.example/{JOB}",
]
FOLDERS = [
    "gs://bucket/../x",
    "gs://bucket/a/./b",
    "gs://bucket/a//b",
    "gs://bucket/a\nb",
    "gs://bucket/\x00",
    "gs://bucket/\ud800",
    "gs://bucket/" + "é" * 513,
    "gs://bucket/.well-known/acme-challenge/x",
    "gs://bucket%2fother/x",
    "gs://buck..et/x",
    "gs://192.168.5.4/x",
    "gs://user@bucket/x",
    "gs://bucket:443/x",
    "gs://bucket?alt=media",
    "gs://" + "b" * 64 + "/x",
    "gs://" + "b" * 64 + ".com/x",
    "gs://" + ".".join(["b" * 60] * 4) + "/x",
    "GS://bucket/x",
]
WILDCARDS = ["gs://bucket/a*/b", "gs://bucket/a?", "gs://bucket/[ab]"]
SOURCES = [*FOLDERS, "gcs://bucket/x", "gs:bucket", "s3://bucket/a\nb", "file:///a\x00", "s3://bucket/\udfff"]
TABLES = ["p.d.t$20260101", "p.d.t@-3600000", "p.d.t*", "p.d-e.t", "p.d.ü", "p.d. t", "P.d.t", "..:p.d.t"]
LOCATIONS = [
    "us@evil.example",
    "us-central1.evil.example#",
    "us-central1/",
    "US",
    "us-central1:443",
    "a" * 33,
    "us_central1",
]
MODELS = ["publishers/google/models/../x", "models/x:predict", "publishers/a/b/models/x", "endpoints/1"]
PROJECTS = [
    "p.q",
    "name@evil.example",
    "..:p",
    "evil.example/:p",
    "example.com:",
    "com:p",
    "1p",
    "p-",
    "-",
    "example..com:p",
]


def prepare(name: str) -> Callable[[str], object]:
    """The prepare operator with one argument of the caller's."""
    others: dict[str, Any] = {"sql": "SELECT 1 AS key"} if name != "source_uri" else {}

    def run(value: str) -> object:
        operator = GeminiBatchPrepareOperator(
            **{
                "task_id": "t",
                "template": GeminiTemplate(prompt="{key}"),
                "model": "gemini-3.5-flash",
                "location": "us-central1",
                "work_uri": "gs://bucket/w",
                **others,
                name: value,
            }
        )
        return operator.execute({"ti": None})

    return run


def rendered(name: str) -> Callable[[str], object]:
    """The same, where the argument has its value only after templates are rendered."""

    def run(value: str) -> object:
        operator = GeminiBatchPrepareOperator(
            task_id="t",
            template=GeminiTemplate(prompt="{key}"),
            model="gemini-3.5-flash",
            location="us-central1",
            work_uri="gs://bucket/w",
            sql="SELECT 1 AS key",
        )
        setattr(operator, name, value)
        return operator.execute({"ti": None})

    return run


def load(name: str) -> Callable[[str], object]:
    """The load operator with one argument of the caller's."""

    def run(value: str) -> object:
        arguments = {"task_id": "t", "batch": [REF], "results_table": "p.d.t", name: value}
        return GeminiBatchLoadOperator(**arguments).execute({"ti": TI, "ds": "2026-11-30"})

    return run


def repair(name: str) -> Callable[[str], object]:
    """The repair operator with one argument of the caller's."""

    def run(value: str) -> object:
        arguments = {"task_id": "t", "batch": [REF], "results_table": "p.d.t", name: value}
        return GeminiBatchRepairOperator(**arguments).execute({"ti": TI})

    return run


def batch(operator: type, **arguments: Any) -> Callable[[str], object]:
    """An operator whose batch lies in a folder of the caller's."""

    def run(value: str) -> object:
        ref = [{**REF, "workspace": value}]
        return operator(task_id="t", batch=ref, **arguments).execute({"ti": TI, "ds": "2026-11-30"})

    return run


def create(name: str) -> Callable[[str], object]:
    return lambda value: GeminiBatchHook().create(**{**JOB_ARGUMENTS, name: value})


def label(value: str) -> object:
    operator = GeminiBatchSubmitOperator(task_id="t", batch=[REF], labels={"team": value})
    return operator.execute({"ti": None})


async def looked(value: str) -> object:
    trigger = GeminiBatchJobTrigger(job_name=value, deadline=2e9)
    return [event async for event in trigger.run()]


PLACES: list[tuple[str, Callable[[str], object], list[str]]] = [
    *((f"prepare {name}", prepare(name), values) for name, values in (
        ("model", MODELS), ("location", LOCATIONS), ("work_uri", [*FOLDERS, *WILDCARDS]), ("project_id", PROJECTS),
        ("requests_dataset", ["p.d-e", "p.d.t"]), ("predictions_dataset", ["p.d-e", "p.d.t"]),
    )),
    ("prepare requests_dataset, rendered", rendered("requests_dataset"), ["p.d-e"]),
    ("prepare work_uri, rendered", rendered("work_uri"), [*FOLDERS, *WILDCARDS]),
    *((f"load {name}", load(name), values) for name, values in (
        ("results_table", TABLES), ("errors_table", TABLES), ("batches_table", TABLES),
        ("landing_dataset", ["p.d-e"]), ("project_id", PROJECTS),
    )),
    ("load batch", batch(GeminiBatchLoadOperator, results_table="p.d.t"), FOLDERS),
    *((f"repair {name}", repair(name), values) for name, values in (
        ("results_table", TABLES), ("errors_table", TABLES), ("model", MODELS), ("project_id", PROJECTS),
    )),
    ("repair batch", batch(GeminiBatchRepairOperator, results_table="p.d.t"), FOLDERS),
    ("submit batch", batch(GeminiBatchSubmitOperator), FOLDERS),
    ("submit labels", label, ["A", "x" * 64]),
    ("cancel batch", batch(GeminiBatchCancelOperator), FOLDERS),
    ("cancel job", lambda v: GeminiBatchCancelOperator(task_id="t", job_name=[JOB, v]).execute({}), JOBS),
    ("sensor", lambda v: GeminiBatchSensor(task_id="t", job_name=v).execute({"ti": None}), JOBS),
    ("trigger", lambda v: asyncio.run(looked(v)), JOBS),  # type: ignore[arg-type]
    ("link", console_url, JOBS),
    *((f"hook.create {name}", create(name), values) for name, values in (
        ("project_id", PROJECTS), ("location", LOCATIONS), ("model", MODELS), ("source_uri", [*FOLDERS, *TABLES]),
        ("destination_uri", FOLDERS),
    )),
    ("hook.get", lambda v: GeminiBatchHook().get(v), JOBS),
    ("hook.cancel", lambda v: GeminiBatchHook().cancel(v), JOBS),
    ("hook.delete", lambda v: GeminiBatchHook().delete(v), JOBS),
    ("hook.list project", lambda v: GeminiBatchHook().list(project_id=v, location="us"), PROJECTS),
    ("hook.list location", lambda v: GeminiBatchHook().list(project_id="p", location=v), LOCATIONS),
    ("hook.alist", lambda v: asyncio.run(GeminiBatchHook().alist(project_id=v, location="us")), PROJECTS),
    ("warehouse project", lambda v: list(WarehouseHook().query_rows("SELECT 1", project=v, location="")), PROJECTS),
    ("warehouse job", lambda v: WarehouseHook().look(WarehouseJob.from_list(["p", "US", v])), ["a.b"]),
    ("bucket", lambda v: WorkspaceHook().bucket_location(v), ["a/b", "b" * 64]),
    *((f"impersonation by {hook.__name__}", lambda v, hook=hook: hook(impersonation_chain=v).client("p"), ["a@b/c"])
      for hook in (GeminiBatchHook, WarehouseHook)),
    ("impersonation by WorkspaceHook", lambda v: WorkspaceHook(impersonation_chain=[v]).client(), ["a@b/c"]),
]  # fmt: skip


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection whose credential must not be loaded, and no way out."""
    connection = {"conn_type": "google_cloud_platform", "extra": {}}
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(connection))
    monkeypatch.setattr(
        base_google, "get_credentials_and_project_id", lambda **_: pytest.fail("a credential was loaded")
    )
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection was opened"))


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("place", "values"), [place[1:] for place in PLACES], ids=[place[0] for place in PLACES]
)
def test_a_hostile_name_is_refused_before_a_credential_is_loaded(
    place: Callable[[str], object], values: list[str]
) -> None:
    """The message says what is wrong and that nothing was sent, and quotes a long name only in part."""
    for value in [*EVERYWHERE, *values]:
        with pytest.raises((InvalidNameError, ConfigurationError), match=r"Nothing was sent") as refused:
            place(value)
        assert len(str(refused.value)) < 1000, value


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["a//b", "../b", "a/..", ".", "a\r\nb", "a\x00", "é" * 513, "\ud800"])
def test_an_object_of_a_hostile_name_cannot_even_be_spoken_of(name: str) -> None:
    """However its URI is made; ``?``, ``#`` and ``%2f`` are characters of a name like any other."""
    for make in (GcsUri, lambda bucket, name: GcsUri(bucket, "") / name):
        with pytest.raises(InvalidNameError, match="Nothing was sent"):
            make("bucket", name)
    assert GcsUri.parse("gs://bucket/a?alt=media#1%2f..").name == "a?alt=media#1%2f.."


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("value", SOURCES)
def test_files_of_rows_are_named_by_the_same_rules(value: str) -> None:
    """Other spellings of ``gs://`` would go around the checks of where a credential goes."""
    with pytest.raises((InvalidNameError, ConfigurationError), match="Nothing was sent"):
        prepare("source_uri")(value)


@pytest.mark.usefixtures("offline")
def test_the_guard_of_this_file_notices_a_credential_that_is_loaded() -> None:
    """A good name gets as far as the credential; so the others did not."""
    with pytest.raises(pytest.fail.Exception, match="a credential was loaded"):
        GeminiBatchHook().get(JOB)
    with pytest.raises(pytest.fail.Exception, match="a credential was loaded"):
        load("results_table")("d.t")
