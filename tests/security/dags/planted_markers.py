"""A batch and everything that can go wrong with one, over texts that must turn up nowhere in Airflow.

The texts come from a file: what is written in a DAG file itself is in the database by nature, in ``dag_code`` and, as
far as it is an operator's argument, in ``serialized_dag`` and ``rendered_task_instance_fields``.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
from pathlib import Path
from typing import Any

from airflow.providers.standard.triggers.file import FileTrigger
from airflow.sdk import BaseOperator, dag, task
from airflow.sdk.exceptions import AirflowFailException

from airflow_batch_gemini import GeminiTemplate, Media
from airflow_batch_gemini.exceptions import NothingPaidError
from airflow_batch_gemini.operators._plan import plan_of
from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator
from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator
from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator
from airflow_batch_gemini.sensors.job import GeminiBatchSensor

log = logging.getLogger(__name__)

PLANTED: dict[str, Any] = json.loads(Path(os.environ["PLANTED"]).read_text())
CONN_ID, BUCKET, DATASET = PLANTED["conn_id"], PLANTED["bucket"], PLANTED["dataset"]
CONTROLS: dict[str, str] = PLANTED["controls"]
TEMPLATE = GeminiTemplate(prompt=PLANTED["prompt"], system_instruction=PLANTED["system"])
WITH_MEDIA = GeminiTemplate(prompt=PLANTED["prompt"], media=[Media(column="file")])


class Control(BaseOperator):
    """Leaks on purpose, in every way there is: what does not find this would find nothing."""

    template_fields = ("text",)

    def __init__(self, *, text: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.text = text

    def execute(self, context: Any) -> None:
        self.log.info("%s", CONTROLS["task log"])
        logging.getLogger("urllib3.connectionpool").debug("%s", CONTROLS["debug log"])
        print(CONTROLS["output"])  # noqa: T201
        context["ti"].xcom_push(key="control", value=CONTROLS["xcom"])
        self.defer(
            trigger=FileTrigger(filepath=CONTROLS["trigger"], poke_interval=0.5),
            method_name="resume",
            kwargs={"text": CONTROLS["next kwargs"]},
        )

    def resume(self, context: Any, event: Any, text: str) -> None:
        try:
            raise ValueError(CONTROLS["cause"])
        except ValueError as error:
            raise AirflowFailException(CONTROLS["error"]) from error


def prepare(
    task_id: str, *, template: GeminiTemplate = TEMPLATE, **source: Any
) -> GeminiBatchPrepareOperator:
    return GeminiBatchPrepareOperator(
        **{
            "task_id": task_id,
            "template": template,
            "model": "gemini-2.5-flash",
            "location": "us-central1",
            "work_uri": f"gs://{BUCKET}/planted",
            "gcp_conn_id": CONN_ID,
            **source,
        }
    )


@task
def spoil(report: dict[str, Any]) -> int:
    """Put half a line with a row in it at the end of the answers, as a writer that died would."""
    from airflow_batch_gemini.batch.names import GcsUri
    from airflow_batch_gemini.hooks.workspace import WorkspaceHook

    hook = WorkspaceHook(gcp_conn_id=CONN_ID)
    [found] = [
        info
        for info in hook.list(GcsUri.parse(f"gs://{BUCKET}/planted/planted_markers"))
        if info.uri.endswith("predictions.jsonl")
    ]
    stored = hook.read(GcsUri.parse(found.uri))
    assert stored is not None
    last = stored.data.splitlines()[-1]
    hook.write(
        GcsUri.parse(found.uri), stored.data + last[: len(last) - 9] + b"\n" + b'{"key": 1, "x": "\xff"\n'
    )
    hook.close()
    return int(report["rows"])


@task
def other_refusals() -> list[str]:
    """Be refused in every other way that has a row or a prompt at hand, and log the error as Airflow would."""
    prompt, system = PLANTED["prompt"], PLANTED["system"]
    attempts = [
        lambda: GeminiTemplate(prompt=prompt + "{"),
        lambda: GeminiTemplate(prompt="x", system_instruction=system + " } "),
        lambda: GeminiTemplate(prompt=prompt, generation_config={"nonsense": system}),
        lambda: GeminiTemplate(prompt=prompt, response_schema={"type": system}),
        lambda: GeminiTemplate(prompt=prompt + "\ud800"),
        lambda: read(template=GeminiTemplate(prompt=f"{{{system}}}"), source_uri=f"gs://{BUCKET}/rows.jsonl"),
        lambda: read(source_uri=f"gs://{BUCKET}/no-json.jsonl"),
        lambda: read(source_uri=f"gs://{BUCKET}/no-header.csv"),
        lambda: read(source_uri=f"gs://{BUCKET}/ragged.csv"),
        lambda: read(source_uri=f"gs://{BUCKET}/rows.jsonl", max_bytes_per_part=100),
        lambda: read(source_uri=f"gs://{BUCKET}/rows.jsonl", key_column="nokey"),
        lambda: read(template=WITH_MEDIA, source_uri=f"gs://{BUCKET}/bad-media.jsonl"),
        lambda: read(template=WITH_MEDIA, source_uri=f"gs://{BUCKET}/bad-media.jsonl", on_lint="drop"),
        lambda: read(template=None, source_uri=f"gs://{BUCKET}/rows.jsonl"),
        lambda: read(sql=f"SELECT CAST(text AS INT64) AS key, text FROM {DATASET}.planted_rows"),
        lambda: read(sql=f"SELECT key, PARSE_JSON(text) AS text FROM {DATASET}.planted_rows"),
    ]
    refused = []
    for attempt in attempts:
        try:
            attempt()
        except NothingPaidError as error:
            log.exception("Refused")
            refused.append(type(error).__name__)
        else:
            refused.append("not refused")
    return refused


def read(**arguments: Any) -> None:
    """Prepare as far as the rows go, in a folder that is nobody's."""
    from contextlib import closing
    from types import SimpleNamespace

    from airflow_batch_gemini.hooks.workspace import WorkspaceHook

    operator = prepare("unbound", **arguments)
    with closing(WorkspaceHook(gcp_conn_id=CONN_ID)) as hook:
        ti = SimpleNamespace(id="nobody", dag_id="nobody", run_id="nobody", task_id="nobody", map_index=-1)
        context: Any = {"ti": ti}
        operator._on_storage(plan_of(operator, context, hook), hook, context)


# On a busy machine a worker may not get through to the API server; what the package refuses is not repeated anyway.
PATIENCE = {"retries": 2, "retry_delay": dt.timedelta(seconds=1)}


@dag(dag_id="planted_markers", schedule=None, catchup=False, tags=["test"], default_args=PATIENCE)
def planted_markers() -> None:
    """Wire the tasks."""
    Control(task_id="control", text=CONTROLS["rendered"])
    other_refusals()
    prepare("no_media", template=WITH_MEDIA, source_uri=f"gs://{BUCKET}/bad-media.jsonl")
    prepare(
        "no_number",
        sql=f"SELECT key, CONCAT('', CAST(CAST(text AS INT64) AS STRING)) AS text FROM {DATASET}.planted_rows",
        requests_dataset=DATASET,
    )
    prepared = prepare("prepare", source_uri=f"gs://{BUCKET}/rows.jsonl", canary_rows=4)
    submit = GeminiBatchSubmitOperator.partial(task_id="submit", gcp_conn_id=CONN_ID).expand(
        batch=prepared.output
    )
    wait = GeminiBatchSensor.partial(task_id="wait", poll_interval=1, gcp_conn_id=CONN_ID).expand(
        job_name=submit.output
    )
    load = GeminiBatchLoadOperator(
        task_id="load",
        batch=prepared.output,
        results_table=f"{DATASET}.planted_results",
        gcp_conn_id=CONN_ID,
        deferrable=True,
        poll_interval=1,
    )
    load_spoilt = GeminiBatchLoadOperator(
        task_id="load_spoilt",
        batch=prepared.output,
        results_table=f"{DATASET}.planted_results",
        gcp_conn_id=CONN_ID,
        retries=1,
    )
    wait >> load
    spoil(load.output) >> load_spoilt


planted_markers()
