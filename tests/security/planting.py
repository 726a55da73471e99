"""Texts to plant in a batch that runs under a real Airflow, and the search for them in all that Airflow keeps.

Works with any running stack: give it :meth:`Plants.settings` before its start, then :meth:`Plants.seed`, :func:`watch`
and :func:`dumped` over its metadata database, whichever that is.
"""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from airflow_api import call
from cryptography.fernet import Fernet
from stack import BUCKET, DATASET, PROJECT, Stack

CONN_ID = "planted"
DAGS = Path(__file__).parent / "dags"
DAG_ID = "planted_markers"
ROWS = 12
TIMEOUT_SECONDS = 240
SETTLING_SECONDS = 8

Pieces = Iterator[tuple[str, str]]
"""Where a text lies, and the text."""
Dump = Callable[[], Pieces]


@dataclass(frozen=True)
class Plants:
    """The texts of one run. *secrets* must turn up nowhere, each of *controls* where ``CONTROLS`` says."""

    folder: Path
    secrets: dict[str, str] = field(default_factory=lambda: {name: _mark(name) for name in SECRETS})
    controls: dict[str, str] = field(default_factory=lambda: {name: _mark(name) for name in CONTROLS})
    fernet_key: str = field(default_factory=lambda: Fernet.generate_key().decode())

    @property
    def trigger_file(self) -> Path:
        """What the control's trigger waits for; its name is a planted text too."""
        return self.folder / self.controls["trigger"]

    def settings(self) -> dict[str, str]:
        """Write down the texts for the DAG file, and return what Airflow's environment needs beside its DAG folders."""
        self.folder.mkdir(parents=True, exist_ok=True)
        planted = self.folder / "planted.json"
        texts = {
            "conn_id": CONN_ID,
            "bucket": BUCKET,
            "dataset": DATASET,
            "prompt": f"What is {self.secrets['prompt']} about? Here it is: {{text}}",
            "system": f"You never say {self.secrets['system']} to anybody",
            "controls": {**self.controls, "trigger": str(self.trigger_file)},
        }
        planted.write_text(json.dumps(texts))
        return {
            "PLANTED": str(planted),
            "AIRFLOW__CORE__FERNET_KEY": self.fernet_key,
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
        }

    def seed(self, stack: Stack) -> dict[str, str]:
        """Fill bucket, dataset and Airflow's connections; return the knobs as they were.

        The connection has the local cloud's key in it; the lines of that key join the secrets.
        """
        before = dict(call("GET", f"{stack.cloud_url}/admin/knobs"))
        knobs = {"answers": "echo", "row_error_rate": 0.3, "access_token": self.secrets["token"]}
        call("PUT", f"{stack.cloud_url}/admin/knobs", knobs)
        key = json.loads((stack.home / "cloud/credentials.json").read_text())
        runs = re.findall(r"[A-Za-z0-9]{20,}", key["private_key"])
        self.secrets.update({f"key {number}": run for number, run in enumerate(runs)})
        extra = json.dumps({"project": PROJECT, "keyfile_dict": json.dumps(key)})
        connection = {"connection_id": CONN_ID, "conn_type": "google_cloud_platform", "extra": extra}
        call("POST", f"{stack.api.base}/api/v2/connections", connection)
        for name, text in self._files().items():
            _upload(stack, name, text)
        _query(stack, self._table())
        return {name: before[name] for name in knobs}

    def _row(self, number: int) -> dict[str, str]:
        return {"key": f"row-{number}", "text": f"the story of {self.secrets['row']} no. {number}"}

    def _files(self) -> dict[str, str]:
        rows = [self._row(number) for number in range(ROWS)]
        row, text = json.dumps(rows[0]), rows[0]["text"]
        return {
            "rows.jsonl": "".join(json.dumps(one) + "\n" for one in rows),
            "bad-media.jsonl": json.dumps({**rows[0], "file": f"not a URI but {text}"}) + "\n",
            "no-json.jsonl": f"{row}\n{row[:-2]}\n",
            "no-header.csv": f"row-1,{text}\nrow-2,{text}\n",
            "ragged.csv": f"key,text\nrow-1,{text},{text}\n",
        }

    def _table(self) -> str:
        rows = map(self._row, range(ROWS))
        selects = " UNION ALL ".join(f"SELECT '{row['key']}' AS key, '{row['text']}' AS text" for row in rows)
        return f"CREATE OR REPLACE TABLE {PROJECT}.{DATASET}.planted_rows AS {selects}"


SECRETS = ("row", "prompt", "system", "token")
CONTROLS: Mapping[str, str] = {
    "task log": r"log .*/task_id=control/attempt=\d\.log",
    "debug log": r"log .*/task_id=control/attempt=\d\.log",
    "output": r"log .*/task_id=control/attempt=\d\.log",
    "error": r"log .*/task_id=control/attempt=\d\.log",
    "cause": r"log .*/task_id=control/attempt=\d\.log",
    "xcom": r"xcom\.value",
    "rendered": r"rendered_task_instance_fields\.rendered_fields",
    "trigger": r"trigger\.kwargs(, decrypted)?",
    "next kwargs": r"task_instance\.next_kwargs",
}
"""Each way of leaking that the control task goes, and where that must be found."""


def _mark(name: str) -> str:
    return f"planted{name.replace(' ', '')}{uuid4().hex}"


def dumped(url: str, fernet_key: str) -> Dump:
    """Return a function that yields every value of every column in the metadata database at *url*.

    Encrypted values are yielded in clear text too, but for those of connections and variables: they are where a
    credential belongs.
    """
    from sqlalchemy import MetaData, create_engine, select

    engine, tables = create_engine(url), MetaData()
    tables.reflect(engine)
    fernet = Fernet(fernet_key)

    def pieces() -> Pieces:
        for table in tables.tables.values():
            with engine.connect() as connection:  # for as short as can be: SQLite lets nobody write meanwhile
                rows = connection.execute(select(table)).mappings().all()
            for column, value in (item for row in rows for item in row.items()):
                place, text = f"{table.name}.{column}", _text(value)
                yield place, text
                if text.startswith("gAAAA") and table.name not in {"connection", "variable"}:
                    yield f"{place}, decrypted", fernet.decrypt(text.encode()).decode()

    return pieces


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def logs(stack: Stack) -> Pieces:
    """Yield every log of Airflow and of its tasks; the local cloud stands for Google and is not asked."""
    for path in sorted([*stack.home.glob("logs/*"), *stack.home.glob("airflow/logs/**/*")]):
        if path.is_file() and path.name != "local-cloud.log":
            yield f"log {path.relative_to(stack.home)}", path.read_text(errors="replace")


@dataclass
class Findings:
    """Where each planted text was found, with a little of what stood around it."""

    plants: Plants
    places: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))

    def search(self, pieces: Pieces) -> None:
        """Look for all of them in *pieces*."""
        marks = {**self.plants.controls, **self.plants.secrets}
        for place, text in pieces:
            for name, mark in marks.items():
                if mark in text and place not in self.places[name]:
                    at = text.index(mark)
                    self.places[name][place] = text[max(at - 300, 0) : at + 100]

    def leaked(self) -> dict[str, dict[str, str]]:
        """Return the secrets that were found, and where."""
        return {name: self.places[name] for name in self.plants.secrets if self.places[name]}

    def unseen(self) -> dict[str, list[str]]:
        """Return the controls that were not found where they were left, and where they were found instead."""
        return {
            name: list(self.places[name])
            for name, where in CONTROLS.items()
            if not any(re.fullmatch(where, place) for place in self.places[name])
        }


def watch(stack: Stack, plants: Plants, dump: Dump) -> tuple[str, Findings]:
    """Run the DAG and search the database all the while: triggers, XComs and kwargs go when they are done with."""
    findings = Findings(plants)
    run_id = stack.api.trigger(DAG_ID)
    deadline, seen = time.monotonic() + TIMEOUT_SECONDS, 0.0
    while _state(stack, run_id) not in {"success", "failed"}:
        findings.search(dump())
        if findings.places["trigger"]:
            seen = seen or time.monotonic()
        # Not at once: Airflow takes a trigger that fires while its task is on its way out for a failure.
        if seen and time.monotonic() > seen + SETTLING_SECONDS:
            plants.trigger_file.touch()
        assert time.monotonic() < deadline, stack.api.tasks(DAG_ID, run_id)
        time.sleep(1)
    findings.search(dump())
    findings.search(logs(stack))
    return run_id, findings


def _state(stack: Stack, run_id: str) -> str:
    try:
        return stack.api.run_state(DAG_ID, run_id)
    except OSError:  # a busy machine; the deadline watches over it
        return ""


def _upload(stack: Stack, name: str, text: str) -> None:
    url = f"{stack.cloud_url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={name}"
    with urllib.request.urlopen(urllib.request.Request(url, data=text.encode(), method="POST"), timeout=20):
        pass


def _query(stack: Stack, sql: str) -> dict[str, Any]:
    body = {"query": sql, "useLegacySql": False, "location": "us-central1"}
    answer: dict[str, Any] = call("POST", f"{stack.cloud_url}/bigquery/v2/projects/{PROJECT}/queries", body)
    assert answer.get("jobComplete"), answer
    return answer


def count(stack: Stack, sql: str) -> int:
    """Return the number that a query against the local BigQuery answers."""
    return int(_query(stack, sql)["rows"][0]["f"][0]["v"])
