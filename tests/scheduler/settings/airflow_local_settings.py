"""Imported by every Airflow process. The workers are forks of the scheduler: what it has loaded they need not load."""

from __future__ import annotations

import sys
from importlib import import_module

HEAVY = (
    "google.cloud.aiplatform_v1",
    "google.cloud.bigquery",
    "google.cloud.storage",
    "airflow_batch_gemini.operators.load",
    "airflow_batch_gemini.operators.prepare",
    "airflow_batch_gemini.operators.submit",
    "airflow_batch_gemini.sensors.job",
)

if "scheduler" in sys.argv:
    for name in HEAVY:
        import_module(name)
