"""A local cloud and a real Airflow beside it: scheduler, triggerer, dag processor, API server, metadata database."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from airflow_api import AirflowApi, call
from postgres import Postgres
from processes import Process, free_port, load, own_python, save, stop, tail, wait_for

ROOT = Path(__file__).resolve().parents[1]
DAGS = ROOT / "dags"
PROJECT, LOCATION, BUCKET, DATASET = "localdemo", "us-central1", "gemini-demo", "gemini_demo"
COMPONENTS: Mapping[str, tuple[str, ...]] = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
"""What is started of Airflow, by name; a second triggerer is ``triggerer-2``."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Everything runs below *home*, but for PostgreSQL, which takes a temporary folder of its own.

    :param ui_port: of Airflow's API server and UI; 0 takes a free one.
    :param pace: how fast the local cloud's jobs go.
    :param dags: folders with DAG files.
    :param triggerers: how many.
    :param postgres: keep Airflow's metadata in PostgreSQL; else in SQLite.
    :param settings: more environment variables for Airflow.
    """

    home: Path
    ui_port: int = 0
    pace: str = "seconds:5"
    dags: Sequence[Path] = (DAGS,)
    triggerers: int = 1
    postgres: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def _record(self) -> Path:
        return self.home / "processes.json"

    @property
    def _addresses(self) -> Path:
        return self.home / "addresses.json"

    @property
    def exports(self) -> Path:
        """The variables that point clients and Airflow at its local cloud, for a shell."""
        return self.home / "cloud.env"

    def processes(self) -> list[Process]:
        """Return what :meth:`start` started, running or not."""
        return load(self._record)

    def running(self) -> list[Process]:
        """Return what still runs."""
        return [process for process in self.processes() if process.running]

    def process(self, name: str) -> Process:
        """Return one of :meth:`processes` by its name."""
        return next(process for process in self.processes() if process.name == name)

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

    @property
    def database(self) -> Postgres | None:
        """Airflow's metadata database; none where it is SQLite."""
        folder = self._address("postgres")
        return Postgres(folder=Path(folder)) if folder else None

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
        processes = self.processes()
        # The database last: whoever still writes to it would only wait for it.
        stop([process for process in processes if process.name != "postgres"])
        stop(processes)
        self._record.unlink(missing_ok=True)
        if self._addresses.exists() and (database := self.database):
            database.remove()

    def revive(self) -> list[str]:
        """Start again what has ended, as a supervisor would, and return what that was; it may not be ready yet."""
        dead = [process.name for process in self.processes() if process.running is None]
        # The others die of a missing database.
        for name in sorted(dead, key="postgres".__ne__):
            self.process(name).kill()  # what it has left behind; in a container that would be gone with it
            self.launch(name)
        return dead

    def dismiss(self, name: str) -> None:
        """Kill one process for good."""
        self.process(name).kill()
        save([other for other in self.processes() if other.name != name], self._record)

    def _start(self) -> None:
        airflow_url = f"http://127.0.0.1:{free_port(wish=self.ui_port)}"
        cloud_url = f"http://127.0.0.1:{free_port()}"
        database = str(Postgres.create().folder) if self.postgres else ""
        addresses = {"airflow": airflow_url, "cloud": cloud_url, "postgres": database}
        self._addresses.write_text(json.dumps(addresses))
        self.exports.unlink(missing_ok=True)
        cloud = self.launch("local cloud")
        if database:
            self.launch("postgres")
        self._migrate()
        wait_for(lambda: self.exports.exists() and _answers(cloud_url), timeout=60, alive=[cloud])
        extra = [f"triggerer-{number}" for number in range(2, self.triggerers + 1)]
        for name in (*COMPONENTS, *extra):
            self.launch(name)
        wait_for(lambda: not self.api.unhealthy(), timeout=180, alive=self.processes())
        wait_for(self.api.serves_workers, timeout=120, alive=self.processes())
        wait_for(self._dags_are_there, timeout=120, alive=self.processes())

    def launch(self, name: str) -> Process:
        """Start one process, like ``triggerer-2``, and put it on record in the place of the one of its name."""
        python, env = own_python()
        log = self.log(name.replace(" ", "-"))
        if name == "postgres" and (database := self.database):
            process = database.start(log)
            wait_for(lambda: database.ready(process), timeout=60, alive=[process])
        elif name == "local cloud":
            command = [python, "-m", "airflow_batch_gemini.local", *self._cloud_options()]
            process = Process.start(name, command, env=env, log=log)
        else:
            component = next(known for known in COMPONENTS if name.startswith(known))
            command = [python, "-m", "airflow", *COMPONENTS[component]]
            process = Process.start(name, command, env=self._airflow_environment(), log=log)
        others = [other for other in self.processes() if other.name != name]
        save([*others, process], self._record)
        return process

    def _cloud_options(self) -> Iterable[str]:
        port = self.cloud_url.rpartition(":")[2]
        return [
            *("--port", port, "--data-dir", str(self.home / "cloud"), "--env", str(self.exports)),
            *("--project", PROJECT, "--location", LOCATION, "--bucket", BUCKET, "--dataset", DATASET),
            *("--answers", "schema", "--pace", self.pace),
        ]

    def _airflow_environment(self) -> dict[str, str]:
        url = self._address("airflow")
        database = self.database
        bundles = [
            {
                "name": f"dags-{number}",
                "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
                "kwargs": {"path": str(folder)},
            }
            for number, folder in enumerate(self.dags)
        ]
        return {
            **own_python()[1],
            "AIRFLOW_HOME": str(self.home / "airflow"),
            "AIRFLOW__API__BASE_URL": url,
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": url.rpartition(":")[2],
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags[0]),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
            # A file that is new in dags/ is there within seconds; Airflow would look for it every five minutes.
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
            "AIRFLOW_VAR_GEMINI_BATCH_BUCKET": BUCKET,
            "AIRFLOW_VAR_GEMINI_BATCH_DATASET": DATASET,
            **({"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database.url_for_airflow} if database else {}),
            **(read_env(self.exports) if self.exports.exists() else {}),
            **self.settings,
        }

    def _migrate(self) -> None:
        log = self.log("migrate")
        with log.open("ab") as output:
            done = subprocess.run(  # the demo's own command
                [sys.executable, "-m", "airflow", "db", "migrate"],
                env=self._airflow_environment(),
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
        # A file's first DAG has its name; it may have more.
        files = {path.stem for folder in self.dags for path in folder.glob("*.py")}
        return files <= set(self.api.dag_ids())

    def log(self, name: str) -> Path:
        """Return where a component writes its log."""
        folder = self.home / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.log"

    def task_log(self, dag_id: str, run_id: str, task_id: str) -> Path | None:
        """Return the newest log of a task."""
        logs = self.task_logs(dag_id, run_id, task_id)
        return logs[-1] if logs else None

    def task_logs(self, dag_id: str, run_id: str, task_id: str) -> list[Path]:
        """Return all logs of a task, those of its triggers too, the newest last."""
        folder = self.home / f"airflow/logs/dag_id={dag_id}/run_id={run_id}/task_id={task_id}"
        return sorted(folder.rglob("attempt=*.log"), key=lambda path: path.stat().st_mtime)


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
