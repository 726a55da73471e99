"""Why a trigger is being killed: Airflow does not say, its own record of the task does."""

from __future__ import annotations

from typing import Any

from airflow_batch_gemini.exceptions import ServiceError


def failed_on_purpose(ti: Any) -> bool:
    """Return whether the waiting task is failed by Airflow's record; blocks, so not on the event loop.

    Airflow kills a trigger when its task was failed, but also when it was cleared, marked successful or skipped, and
    when the trigger was merely handed to another triggerer (apache/airflow#73454): the task is then deferred as before.

    :raises ServiceError: the record could not be read.
    """
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    mapped = ti.map_index is not None and ti.map_index >= 0
    try:
        states = RuntimeTaskInstance.get_task_states(
            dag_id=ti.dag_id,
            task_ids=[ti.task_id],
            run_ids=[ti.run_id],
            map_index=ti.map_index if mapped else None,
        )
    except Exception as error:
        raise ServiceError(
            f"Airflow could not say how {ti.dag_id}.{ti.task_id} is ({type(error).__name__}: {error}). "
            "The job runs on; cancel it by hand if it should not."
        ) from error
    key = f"{ti.task_id}_{ti.map_index}" if mapped else ti.task_id
    return bool(states.get(ti.run_id, {}).get(key) == "failed")
