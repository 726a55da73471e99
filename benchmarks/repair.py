"""A batch with every trouble there is, repaired twice: what is left, what was billed, and what preparing a round takes.

5 % of the rows fail for now, 2 % are cut off, 1 % do not fit the schema, 1 % are blocked, 0.5 % do not come back, 0.2 %
come back as other rows'. The local cloud runs in a process of its own, and so does each preparation of a round.

    python benchmarks/repair.py [ROWS ...]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

ROWS = (50_000,)
BUCKET, DATASET, MODEL = "bench-bucket", "bench", "gemini-3.5-flash"
SCHEMA = {"type": "OBJECT", "properties": {"topic": {"type": "STRING"}}, "required": ["topic"]}
TROUBLES = {
    "row_error_rate": 0.05,
    "truncate_rate": 0.02,
    "invalid_json_rate": 0.01,
    "blocked_rate": 0.01,
    "missing_rate": 0.005,
    "swap_echo_rate": 0.002,
}
CALM = {**dict.fromkeys(TROUBLES, 0.0), "blocked_rate": TROUBLES["blocked_rate"]}
"""What is blocked is blocked in every job."""
KNOBS = (TROUBLES, TROUBLES, CALM)
"""Of each round. The last one is calm: what then is left is what cannot be mended."""


def serve(data_dir: str) -> None:
    """Start a local cloud; obey what stdin says, knobs to turn or jobs to wait for, and tell the bill on stdout."""
    from airflow_batch_gemini.local.server import LocalCloud
    from airflow_batch_gemini.local.settings import Settings

    settings = Settings(
        data_dir=Path(data_dir), bucket=BUCKET, dataset=DATASET, pace="immediate", project="demo"
    )
    with LocalCloud(settings) as cloud:
        print(json.dumps(cloud.environment()), flush=True)
        for asked in sys.stdin:
            cloud.knobs(**json.loads(asked))
            cloud.settle(3600)
            print(json.dumps(cloud.stats()["billed_rows"]), flush=True)


def context(task: str, rows: int) -> Any:
    """Return as much of a context as the operators see."""
    ti = SimpleNamespace(id=uuid.uuid1(), dag_id="bench", run_id=f"rows-{rows}", task_id=task, map_index=-1)
    ti.xcom_push = lambda **_: None
    return {"ti": ti, "ds": "2026-09-01", "outlet_events": {}}


def prepare(rows: int) -> list[dict[str, Any]]:
    """Prepare the first round."""
    from airflow_batch_gemini import GeminiTemplate
    from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator

    operator = GeminiBatchPrepareOperator(
        task_id="prepare",
        rows=lambda: ({"key": f"{row:07d}", "text": f"thing {row}"} for row in range(rows)),
        template=GeminiTemplate(
            prompt="What is {text}?", response_schema=SCHEMA, generation_config={"maxOutputTokens": 4096}
        ),
        model=MODEL,
        location="us-central1",
        work_uri=f"gs://{BUCKET}/gemini",
        project_id="demo",
    )
    return operator.execute(context("prepare", rows))


def repair(batch: str, number: int, rows: int) -> None:
    """Prepare a round, and print what it took."""
    from airflow_batch_gemini.operators.repair import GeminiBatchRepairOperator

    operator = GeminiBatchRepairOperator(
        task_id=f"repair_{number}", batch=json.loads(batch), results_table=results(rows), round=number
    )
    idle, began = peak(), time.monotonic()
    made = operator.execute(context(f"repair_{number}", rows))
    print(json.dumps({"batch": made, "seconds": time.monotonic() - began, "over_idle": peak() - idle}))


def results(rows: int) -> str:
    """Return the table that a batch is loaded into."""
    return f"demo.{DATASET}.results_{rows}"


def peak() -> int:
    """Return the most memory this program ever held, in bytes; ``getrusage`` would count the one that started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def told(cloud: tuple[IO[str], IO[str]], **knobs: float) -> int:
    """Turn knobs, wait for all jobs, and return the rows that were billed so far."""
    print(json.dumps(knobs), file=cloud[0], flush=True)
    return int(json.loads(cloud[1].readline()))


def bought(
    cloud: tuple[IO[str], IO[str]], batch: list[dict[str, Any]], number: int, rows: int
) -> dict[str, Any]:
    """Submit, wait and load a round; return its report, with the rows that were billed for it."""
    from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator
    from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator

    before = told(cloud, **KNOBS[number])
    for part in batch:
        submit = GeminiBatchSubmitOperator(task_id=f"submit_{number}", batch=part, settle_seconds=0)
        submit.execute(context(f"submit_{number}", rows))
    billed = told(cloud) - before
    load = GeminiBatchLoadOperator(
        task_id=f"load_{number}", batch=batch, results_table=results(rows), poll_interval=1
    )
    return {**load.execute(context(f"load_{number}", rows)), "billed": billed}


def run(cloud: tuple[IO[str], IO[str]], rows: int) -> None:
    """Print one line a round."""
    first = batch = prepare(rows)
    took = {"seconds": 0.0, "over_idle": 0}
    for number in range(len(KNOBS)):
        if number:
            command = [sys.executable, __file__, "--repair", json.dumps(first), str(number), str(rows)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            took = json.loads(done.stdout.splitlines()[-1])
            batch = took["batch"]  # type: ignore[assignment]  # of the three the one that is a list
        report = bought(cloud, batch, number, rows)
        standing = {name: count for name, count in report["standing"].items() if count}
        print(
            f"{rows:>9,} {number:>5} {report['rows']:>9,} {report['billed']:>9,} {took['seconds']:>8.1f} "
            f"{took['over_idle'] / 1e6:>8.0f} MB  {standing}",
            flush=True,
        )
        if sum(standing.values()) != rows:
            raise RuntimeError(f"{rows} rows were to be accounted for: {standing}")


def main(sizes: list[int]) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix="repair-bench-") as folder:
        command = [sys.executable, __file__, "--serve", f"{folder}/cloud"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as cloud:
            if cloud.stdin is None or cloud.stdout is None:
                raise RuntimeError("the local cloud has no pipes")
            os.environ |= {**json.loads(cloud.stdout.readline()), "AIRFLOW_HOME": folder}
            print(
                f"{'rows':>9} round {'sent':>9} {'billed':>9} {'seconds':>8} {'memory':>11}  how all rows stand"
            )
            for rows in sizes:
                run((cloud.stdin, cloud.stdout), rows)
            cloud.stdin.close()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--serve", data_dir]:
            serve(data_dir)
        case ["--repair", batch, number, rows]:
            repair(batch, int(number), int(rows))
        case sizes:
            main([int(size.replace("_", "")) for size in sizes] or list(ROWS))
