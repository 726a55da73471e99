"""An environment for Airflow that owes nothing to the person at the keyboard.

Airflow reads its settings when it is imported: this comes first, so it imports nothing of Airflow.
"""

from __future__ import annotations

import os

_FOREIGN = (
    "AIRFLOW",
    "GOOGLE_",
    "CLOUDSDK_",
    "GEMINI_BATCH_",
    "STORAGE_EMULATOR",
    "BIGQUERY_EMULATOR",
    "VERTEX_AI_",
)


def begin_anew(home: str, **settings: str) -> None:
    """Forget every foreign setting; point Airflow to *home*."""
    for name in [name for name in os.environ if name.startswith(_FOREIGN)]:
        del os.environ[name]
    os.environ |= {
        "AIRFLOW_HOME": home,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        **settings,
    }
