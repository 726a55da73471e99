"""Airflow's REST API, as far as the demo and its test read it."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
import uuid
from dataclasses import dataclass
from typing import Any


def call(method: str, url: str, body: object = None, *, timeout: float = 20) -> Any:
    """Send JSON, return JSON; an HTTP error or an unreachable server raises :class:`OSError`."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(  # noqa: S310  # only ever 127.0.0.1
        url, data=data, method=method, headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310  # as above
            text = answer.read()
    except urllib.error.HTTPError as error:
        error.close()
        raise
    return json.loads(text) if text else None


@dataclass(frozen=True)
class AirflowApi:
    """One API server that lets anybody in (simple auth manager, everybody an admin)."""

    base: str

    def _call(self, method: str, path: str, body: object = None) -> Any:
        return call(method, f"{self.base}/api/v2/{path}", body)

    def unhealthy(self) -> list[str]:
        """Return the components that are not up yet; all of them while nobody answers."""
        names = ["metadatabase", "scheduler", "triggerer", "dag_processor"]
        try:
            health = self._call("GET", "monitor/health")
        except OSError:
            return ["api-server", *names]
        return [name for name in names if (health.get(name) or {}).get("status") != "healthy"]

    def triggerers(self) -> list[int]:
        """Return the ids of the triggerers that send heartbeats."""
        return [job["id"] for job in self._call("GET", "jobs?job_type=TriggererJob&is_alive=true")["jobs"]]

    def serves_workers(self) -> bool:
        """Have the server build what workers call; it does so at the first call, for longer than a worker waits."""
        try:
            call("PATCH", f"{self.base}/execution/task-instances/{uuid.UUID(int=0)}/run", {}, timeout=60)
        except urllib.error.HTTPError as error:
            return error.code in {401, 403}
        except OSError:
            return False
        return True

    def dag_ids(self) -> list[str]:
        """Return the DAGs that are parsed."""
        return [dag["dag_id"] for dag in self._call("GET", "dags?limit=100")["dags"]]

    def import_errors(self) -> list[str]:
        """Return what is wrong with DAG files."""
        errors = self._call("GET", "importErrors")["import_errors"]
        return [f"{error['filename']}\n{error['stack_trace']}" for error in errors]

    def unpause(self, dag_id: str) -> None:
        """Let the scheduler have the DAG."""
        self._call("PATCH", f"dags/{dag_id}", {"is_paused": False})

    def asked(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return what tasks of a run ask a person, as far as nobody has answered."""
        path = f"{self._run(dag_id, run_id)}/hitlDetails"
        return [one for one in self._call("GET", path)["hitl_details"] if not one["response_received"]]

    def decide(self, dag_id: str, run_id: str, task_id: str, option: str) -> None:
        """Answer a task that waits for a person."""
        path = f"{self._run(dag_id, run_id)}/taskInstances/{task_id}/-1/hitlDetails"
        self._call("PATCH", path, {"chosen_options": [option], "params_input": {}})

    def trigger(self, dag_id: str, params: dict[str, Any] | None = None, *, run_id: str | None = None) -> str:
        """Unpause the DAG, start a run and return its id."""
        self.unpause(dag_id)
        body = {"logical_date": None, "conf": params or {}, "dag_run_id": run_id}
        run = self._call("POST", f"dags/{dag_id}/dagRuns", body)
        return str(run["dag_run_id"])

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """Return the record of every run."""
        return list(self._call("GET", f"dags/{dag_id}/dagRuns?limit=100")["dag_runs"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of the run."""
        return str(self._call("GET", self._run(dag_id, run_id))["state"])

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the record of every task instance."""
        answer = self._call("GET", f"{self._run(dag_id, run_id)}/taskInstances?limit=100")
        return list(answer["task_instances"])

    def clear(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> None:
        """Clear one task instance, as the button in the UI does."""
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": [[task_id, map_index]],
            "only_failed": False,
            "reset_dag_runs": True,
        }
        self._call("POST", f"dags/{dag_id}/clearTaskInstances", body)

    def mark(self, dag_id: str, run_id: str, task_id: str, map_index: int, state: str) -> None:
        """Mark one task instance, as the button in the UI does."""
        path = f"{self._run(dag_id, run_id)}/taskInstances/{task_id}/{map_index}"
        self._call("PATCH", path, {"new_state": state})

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """Return what a task pushed."""
        path = f"{self._run(dag_id, run_id)}/taskInstances/{task_id}/xcomEntries/{key}?deserialize=true"
        return self._call("GET", path)["value"]

    def pool(self, name: str = "default_pool") -> dict[str, Any]:
        """Return the pool with its occupied, running and deferred slots."""
        return dict(self._call("GET", f"pools/{name}"))

    @staticmethod
    def _run(dag_id: str, run_id: str) -> str:
        return f"dags/{dag_id}/dagRuns/{urllib.parse.quote(run_id, safe='')}"
