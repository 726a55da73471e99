"""A local cloud and a real Airflow beside it: scheduler, triggerer, dag processor, API server, SQLite."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from airflow_api import AirflowApi, call
from processes import Process, free_port, load, own_python, save, stop, tail, wait_for

ROOT = Path(__file__).resolve().parents[1]
DAGS = ROOT / "dags"
PROJECT, LOCATION, BUCKET, DATASET = "demo", "us-central1", "gemini-demo", "gemini_demo"
COMPONENTS: Mapping[str, tuple[str, ...]] = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Everything runs below *home*; nothing outside of it is written.

    :param ui_port: of Airflow's API server and UI; 0 takes a free one.
    :param pace: how fast the local cloud's jobs go.
    :param settings: more environment variables for Airflow.
    """

    home: Path
    ui_port: int = 0
    pace: str = "seconds:5"
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def _record(self) -> Path:
        return self.home / "processes.json"

    @property
    def _addresses(self) -> Path:
        return self.home / "addresses.json"

    def processes(self) -> list[Process]:
        """Return what :meth:`start` started, running or not."""
        return load(self._record)

    def running(self) -> list[Process]:
        """Return what still runs."""
        return [process for process in self.processes() if process.running]

    @property
    def api(self) -> AirflowApi:
        """Airflow's REST API."""
        return AirflowApi(self._address("airflow"))

    @property
    def cloud_url(self) -> str:
        """Where the local cloud listens."""
        return self._address("cloud")

    def _address(self, name: str) -> str:
        return str(json.loads(self._addresses.read_text())[name])

    def start(self) -> None:
        """Start everything and return when it is ready; on failure stop it again and raise with the reason."""
        self.home.mkdir(parents=True, exist_ok=True)
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop what :meth:`start` started, and nothing else."""
        stop(self.processes())
        self._record.unlink(missing_ok=True)

    def _start(self) -> None:
        python, env = own_python()
        airflow_url = f"http://127.0.0.1:{free_port(wish=self.ui_port)}"
        cloud_port = free_port()
        cloud_url = f"http://127.0.0.1:{cloud_port}"
        self._addresses.write_text(json.dumps({"airflow": airflow_url, "cloud": cloud_url}))
        exports = self.home / "cloud.env"
        exports.unlink(missing_ok=True)
        cloud = Process.start(
            "local cloud",
            [python, "-m", "airflow_batch_gemini.local", *self._cloud_options(cloud_port, exports)],
            env=env,
            log=self.log("local-cloud"),
        )
        save([cloud], self._record)
        env |= self._airflow_settings(airflow_url)
        self._migrate(python, env)
        wait_for(lambda: exports.exists() and _answers(cloud_url), timeout=60, alive=[cloud])
        env |= read_env(exports)
        started = [cloud]
        for name, command in COMPONENTS.items():
            started.append(
                Process.start(name, [python, "-m", "airflow", *command], env=env, log=self.log(name))
            )
            save(started, self._record)
        wait_for(lambda: not self.api.unhealthy(), timeout=180, alive=started)
        wait_for(self._dags_are_there, timeout=120, alive=started)

    def _cloud_options(self, port: int, exports: Path) -> Iterable[str]:
        return [
            *("--port", str(port), "--data-dir", str(self.home / "cloud"), "--env", str(exports)),
            *("--project", PROJECT, "--location", LOCATION, "--bucket", BUCKET, "--dataset", DATASET),
            *("--answers", "schema", "--pace", self.pace),
        ]

    def _airflow_settings(self, url: str) -> dict[str, str]:
        port = url.rpartition(":")[2]
        return {
            "AIRFLOW_HOME": str(self.home / "airflow"),
            "AIRFLOW__API__BASE_URL": url,
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": port,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW_VAR_GEMINI_BATCH_BUCKET": BUCKET,
            "AIRFLOW_VAR_GEMINI_BATCH_DATASET": DATASET,
            **self.settings,
        }

    def _migrate(self, python: str, env: Mapping[str, str]) -> None:
        log = self.log("migrate")
        with log.open("ab") as output:
            done = subprocess.run(  # noqa: S603  # the demo's own command
                [python, "-m", "airflow", "db", "migrate"],
                env=env,
                stdout=output,
                stderr=output,
                check=False,
            )
        if done.returncode:
            raise RuntimeError(f"airflow db migrate failed:\n{tail(log, 40)}")

    def _dags_are_there(self) -> bool:
        errors = self.api.import_errors()
        if errors:
            raise RuntimeError("A DAG file cannot be imported:\n" + "\n".join(errors))
        return {path.stem for path in DAGS.glob("*.py")} <= set(self.api.dag_ids())

    def log(self, name: str) -> Path:
        """Return where a component writes its log."""
        folder = self.home / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.log"

    def task_log(self, dag_id: str, run_id: str, task_id: str) -> Path | None:
        """Return the newest log of a task."""
        folder = self.home / f"airflow/logs/dag_id={dag_id}/run_id={run_id}/task_id={task_id}"
        logs = sorted(folder.rglob("attempt=*.log"), key=lambda path: path.stat().st_mtime)
        return logs[-1] if logs else None


def _answers(url: str) -> bool:
    try:
        call("GET", f"{url}/admin/knobs")
    except OSError:
        return False
    return True


def read_env(path: Path) -> dict[str, str]:
    """Read ``NAME='value'`` lines as a shell would."""
    assignments = shlex.split(path.read_text(), comments=True)
    return dict(part.split("=", 1) for part in assignments if "=" in part)
