"""A batch with every trouble there is, repaired twice: what is left, what was billed, and what preparing a round takes.

Fails unless every report's cost is what the tokens that were billed come to by the price list.

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
from collections import Counter
from decimal import Decimal
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
DEAR = {"thought_rate": 0.2, "cached_rate": 0.3}
"""Tokens of every kind that is paid for, in all rounds."""
CALM = {**dict.fromkeys(TROUBLES, 0.0), "blocked_rate": TROUBLES["blocked_rate"]}
"""What is blocked is blocked in every job."""
KNOBS = (TROUBLES | DEAR, TROUBLES, CALM)
"""Of each round. The last one is calm: what then is left is what cannot be mended."""
KINDS = ("prompt_tokens", "cached_tokens", "output_tokens", "thoughts_tokens")
INPUT, OUTPUT = Decimal("1.50"), Decimal("9")
"""USD per million tokens of MODEL. A batch costs half, and what is found in a cache a tenth instead."""


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
            jobs = cloud.stats()["jobs"].values()
            bill = {count: sum(job[count] for job in jobs) for count in ("billed_rows", *KINDS)}
            print(json.dumps(bill), flush=True)


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


def told(cloud: tuple[IO[str], IO[str]], **knobs: float) -> Counter[str]:
    """Turn knobs, wait for all jobs, and return the rows and the tokens that were billed so far."""
    print(json.dumps(knobs), file=cloud[0], flush=True)
    return Counter(json.loads(cloud[1].readline()))


def usd(bill: Counter[str]) -> Decimal:
    """Return what a bill comes to, by the price list."""
    prompt, cached, output, thoughts = (bill[kind] for kind in KINDS)
    return (
        (prompt - cached) * INPUT / 2 + cached * INPUT / 10 + (output + thoughts) * OUTPUT / 2
    ) / 1_000_000


def bought(
    cloud: tuple[IO[str], IO[str]], batch: list[dict[str, Any]], number: int, rows: int
) -> dict[str, Any]:
    """Submit, wait and load a round; return its report, with the rows and the USD that were billed for it."""
    from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator
    from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator

    before = told(cloud, **KNOBS[number])
    for part in batch:
        submit = GeminiBatchSubmitOperator(task_id=f"submit_{number}", batch=part, settle_seconds=0)
        submit.execute(context(f"submit_{number}", rows))
    bill = told(cloud)
    bill.subtract(before)
    load = GeminiBatchLoadOperator(
        task_id=f"load_{number}", batch=batch, results_table=results(rows), poll_interval=1
    )
    report = load.execute(context(f"load_{number}", rows))
    if Decimal(str(report["cost_usd"])) != usd(bill):
        raise RuntimeError(
            f"round {number} says it cost {report['cost_usd']} USD, and was billed {usd(bill)}"
        )
    return {**report, "billed": bill["billed_rows"]}


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
            f"{rows:>9,} {number:>5} {report['rows']:>9,} {report['billed']:>9,} {report['cost_usd']:>11.7f} "
            f"{took['seconds']:>8.1f} {took['over_idle'] / 1e6:>8.0f} MB  {standing}",
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
                f"{'rows':>9} round {'sent':>9} {'billed':>9} {'USD':>11} {'seconds':>8} "
                f"{'memory':>11}  how all rows stand"
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
