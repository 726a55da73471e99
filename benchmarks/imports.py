"""What importing the operators costs, in CPU seconds over ``import airflow.sdk``, beside the Google provider's."""

from __future__ import annotations

import statistics
import subprocess
import sys

RUNS = 3
OURS = [
    "airflow_batch_gemini.operators.prepare",
    "airflow_batch_gemini.operators.submit",
    "airflow_batch_gemini.operators.load",
    "airflow_batch_gemini.operators.cancel",
    "airflow_batch_gemini.sensors.job",
    "airflow_batch_gemini.triggers.job",
    "airflow_batch_gemini.triggers.warehouse",
]
PROVIDER = "airflow.providers.google.cloud.operators"
SUBJECTS = {
    "airflow.sdk alone": [],
    "all of airflow_batch_gemini's operators, sensors, triggers": OURS,
    "the Google provider's gen_ai": [f"{PROVIDER}.gen_ai"],
    "the Google provider's vertex_ai.batch_prediction_job": [f"{PROVIDER}.vertex_ai.batch_prediction_job"],
}
CODE = """
import importlib, sys, time
import airflow.sdk as sdk
# The names every DAG file takes from it; they load on first use.
sdk.dag, sdk.task, sdk.Param, sdk.BaseOperator, sdk.BaseSensorOperator, sdk.BaseHook, sdk.BaseOperatorLink, sdk.conf
began = time.process_time()
for name in sys.argv[1:]:
    importlib.import_module(name)
print(time.process_time() - began if sys.argv[1:] else began)
"""


def cpu_seconds(modules: list[str]) -> float:
    """Return the CPU seconds of importing *modules* in a fresh process that has ``airflow.sdk``."""
    command = [sys.executable, "-c", CODE, *modules]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    return float(done.stdout.split()[-1])


def main() -> None:
    """Print one line a subject, the median of some runs."""
    for subject, modules in SUBJECTS.items():
        seconds = statistics.median(cpu_seconds(modules) for _ in range(RUNS))
        print(f"{seconds:7.2f} s  {subject}")


if __name__ == "__main__":
    main()
