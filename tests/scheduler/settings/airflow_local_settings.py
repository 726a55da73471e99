"""Imported by every Airflow process. The workers are forks of the scheduler: what it has loaded they need not load."""

from __future__ import annotations

import sys

if "scheduler" in sys.argv:
    import airflow_batch_gemini.operators.load
    import airflow_batch_gemini.operators.prepare
    import airflow_batch_gemini.operators.submit
    import airflow_batch_gemini.sensors.job  # noqa: F401
