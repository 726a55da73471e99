"""Real text to work on: the metadata of every Python distribution in Airflow's own environment."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import Distribution, distributions
from typing import Any

from airflow_batch_gemini.batch.names import GcsUri, TableName
from airflow_batch_gemini.hooks.warehouse import WarehouseHook
from airflow_batch_gemini.hooks.workspace import WorkspaceHook

COLUMNS = ("name", "version", "licence", "classifiers", "summary", "description")
LONGEST_DESCRIPTION = 6_000
"""Characters of a description that are sent: the first pages say what a package is for."""


def installed_packages() -> list[dict[str, str]]:
    """Return one row a distribution, by name; of a name that is found twice, the one that imports would take."""
    rows: dict[str, dict[str, str]] = {}
    for distribution in distributions():
        row = _row(distribution)
        if row["name"]:
            rows.setdefault(row["name"], row)
    return [rows[name] for name in sorted(rows)]


def _row(distribution: Distribution) -> dict[str, str]:
    facts: Mapping[str, Any] = distribution.metadata.json
    classifiers = facts.get("classifier", [])
    licences = [text.rpartition(" :: ")[2] for text in classifiers if text.startswith("License ::")]
    return {
        "name": re.sub(r"[-_.]+", "-", facts.get("name", "")).lower(),
        "version": facts.get("version", ""),
        "licence": facts.get("license_expression") or ", ".join(licences) or "not stated",
        "classifiers": "; ".join(text for text in classifiers if not text.startswith("License ::")),
        "summary": facts.get("summary", ""),
        "description": facts.get("description", "")[:LONGEST_DESCRIPTION],
    }


def save_rows(rows: Iterable[Mapping[str, str]], uri: str) -> int:
    """Write *rows* as JSON lines to Cloud Storage and return how many there were. The object appears whole or not."""
    with WorkspaceHook().writer(GcsUri.parse(uri)) as file:
        return sum(1 for line in _lines(rows) if file.write(line))


def _lines(rows: Iterable[Mapping[str, str]]) -> Iterator[bytes]:
    for row in rows:
        yield json.dumps(row, ensure_ascii=False).encode() + b"\n"


def load_packages(*, uri: str, table: str, project: str, salt: str) -> str:
    """Replace *table* by the JSON lines at *uri* and return its full name; BigQuery reads them itself.

    :param project: runs the load job; empty means the connection's.
    :param salt: the same words attach to the same load job, so that a retry does not load again.
    """
    warehouse = WarehouseHook()
    project = project or warehouse.project_id
    target = TableName.parse(table, default_project=project)
    job = warehouse.ensure_job(
        configuration={
            "load": {
                "sourceUris": [uri],
                "sourceFormat": "NEWLINE_DELIMITED_JSON",
                "schema": {"fields": [{"name": name, "type": "STRING"} for name in COLUMNS]},
                "destinationTable": {
                    "projectId": target.project,
                    "datasetId": target.dataset,
                    "tableId": target.table,
                },
                "writeDisposition": "WRITE_TRUNCATE",
            }
        },
        project=project,
        location=warehouse.dataset_location(target.dataset_name),
        purpose="packages",
        salt=salt,
        expect_table=target,
    )
    warehouse.wait(job, timeout=600)
    return str(target)
