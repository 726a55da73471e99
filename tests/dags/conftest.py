"""The example DAGs, for every test of them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

DAGS = Path(__file__).parents[2] / "dags"


@pytest.fixture(scope="session")
def dags() -> dict[str, Any]:
    """Every DAG of the folder, parsed as the dag processor does."""
    from airflow.dag_processing.dagbag import DagBag

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="GitWildMatchPattern")  # how Airflow reads .airflowignore
        bag = DagBag(str(DAGS))
    assert bag.import_errors == {}
    return dict(bag.dags)
