"""The two engines that judge statements over request tables."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from bigquery_engine import Engine
from sql_judge import Judge


@pytest.fixture(scope="module")
def judge() -> Judge:
    """Google's own implementation."""
    return Judge()


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """The local BigQuery's."""
    made = Engine()
    yield made
    made.close()
