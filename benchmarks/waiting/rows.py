"""What a scheduler and its workers leave in Airflow's metadata database when many sensors are deferred.

python -m waiting.rows < WAITS

WAITS is JSON: the class path of a trigger, and the arguments of each one. Whatever was deferred before is forgotten.
"""

from __future__ import annotations

import json
import sys
from typing import Any

DAG_ID, TASK_ID, RUN_ID, BUNDLE, VERSION = "bench", "wait", "bench", "bench", "1"


def defer(classpath: str, waits: list[dict[str, Any]]) -> None:
    """Leave one deferred task instance and one trigger for each of *waits*."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.trigger import Trigger
    from airflow.utils.session import create_session
    from sqlalchemy import delete, insert, select

    with create_session() as session:
        task, run, version = dag_run(session)
        session.execute(delete(TaskInstance))
        session.execute(delete(Trigger))
        session.add_all(Trigger(classpath=classpath, kwargs=kwargs) for kwargs in waits)
        session.flush()
        triggers = session.scalars(select(Trigger.id).order_by(Trigger.id)).all()
        session.execute(
            insert(TaskInstance),
            [
                TaskInstance.insert_mapping(RUN_ID, task, index, dag_version_id=version, dag_run=run)
                | {
                    "state": "deferred",
                    "try_number": 1,
                    "trigger_id": trigger,
                    "next_method": "execute_complete",
                    "next_kwargs": {},
                }
                for index, trigger in enumerate(triggers)
            ],
        )


def dag_run(session: Any) -> tuple[Any, Any, Any]:
    """Return the task, the run and the version of a DAG whose one task waits for many jobs."""
    from airflow.models.dag_version import DagVersion
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.dagrun import DagRun
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.sdk import timezone
    from airflow.serialization.definitions.dag import SerializedDAG
    from airflow.serialization.serialized_objects import LazyDeserializedDAG
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType
    from sqlalchemy import select

    run = session.scalar(select(DagRun).where(DagRun.dag_id == DAG_ID))
    if run is None:
        session.add(DagBundleModel(name=BUNDLE))
        session.flush()
        lazy = LazyDeserializedDAG.from_dag(dag())
        SerializedDAG.bulk_write_to_db(BUNDLE, VERSION, [lazy], session=session)
        session.flush()
        SerializedDagModel.write_dag(lazy, bundle_name=BUNDLE, bundle_version=VERSION, session=session)
        session.flush()
        run = SerializedDagModel.get(DAG_ID, session=session).dag.create_dagrun(
            run_id=RUN_ID,
            run_after=timezone.utcnow(),
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state=DagRunState.RUNNING,
            session=session,
        )
        session.flush()
    version = DagVersion.get_latest_version(DAG_ID, session=session)
    task = SerializedDagModel.get(DAG_ID, session=session).dag.get_task(TASK_ID)
    return task, run, version.id


def dag() -> Any:
    """Return a DAG of one sensor, mapped over the jobs."""
    from airflow.sdk import DAG, task

    from airflow_batch_gemini.sensors.job import GeminiBatchSensor

    @task
    def submit() -> list[str]:
        return []

    with DAG(DAG_ID, schedule=None) as made:
        GeminiBatchSensor.partial(task_id=TASK_ID).expand(job_name=submit())
    return made


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    defer(asked["classpath"], asked["waits"])
