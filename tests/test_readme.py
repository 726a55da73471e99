"""The README says what is true."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import airflow_batch_gemini
from airflow_batch_gemini.operators.cancel import GeminiBatchCancelOperator
from airflow_batch_gemini.operators.load import GeminiBatchLoadOperator
from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator
from airflow_batch_gemini.operators.publish import GeminiBatchPublishOperator
from airflow_batch_gemini.operators.repair import GeminiBatchRepairOperator
from airflow_batch_gemini.operators.submit import GeminiBatchSubmitOperator
from airflow_batch_gemini.sensors.job import GeminiBatchSensor
from airflow_batch_gemini.sql.results import ERRORS, RESULTS
from airflow_batch_gemini.task_groups.gemini_batch import gemini_batch

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
INCLUDED = re.findall(r"<!-- from (\S+?):.*?-->\n```\w+\n(.*?)```", README, re.DOTALL)
LINKS = re.findall(r"\]\((?!https?://|#)([^)#]+)", README)


@pytest.mark.parametrize(("path", "snippet"), INCLUDED)
def test_every_included_snippet_is_the_file_it_names(path: str, snippet: str) -> None:
    """A snippet cannot drift from the file that the tests run."""
    assert snippet == (ROOT / path).read_text()


@pytest.mark.parametrize("target", LINKS)
def test_every_link_into_the_project_leads_somewhere(target: str) -> None:
    """A file that moves takes its links along."""
    assert (ROOT / target).exists()


def test_the_dag_of_the_readme_is_among_the_snippets() -> None:
    """The first thing a reader copies is run by the tests."""
    assert next(path for path, _ in INCLUDED) == "tests/dags/readme_dag.py"


@pytest.mark.parametrize("target", re.findall(r"^make (\w+)", README, re.MULTILINE))
def test_every_make_command_of_the_readme_exists(target: str) -> None:
    """The two commands are targets of the Makefile."""
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


PIECES: list[Any] = [
    GeminiBatchPrepareOperator,
    GeminiBatchSubmitOperator,
    GeminiBatchSensor,
    GeminiBatchLoadOperator,
    GeminiBatchRepairOperator,
    GeminiBatchPublishOperator,
    GeminiBatchCancelOperator,
    gemini_batch,
    airflow_batch_gemini.GeminiTemplate,
    airflow_batch_gemini.EmbeddingTemplate,
]


def words(cell: str) -> set[str]:
    """Return what stands in a cell as code."""
    return set(re.findall(r"`(\w+)`", cell))


@pytest.mark.parametrize("piece", PIECES, ids=lambda piece: piece.__name__)
def test_every_parameter_in_the_table_of_pieces_exists(piece: Any) -> None:
    """Nobody copies an argument that is refused."""
    rows = [line.split("|") for line in README.splitlines() if line.startswith("|")]
    told = words(next(row[3] for row in rows if row[1].lstrip().startswith(f"`{piece.__name__}")))
    sources = [piece] if inspect.isfunction(piece) else [one.__init__ for one in piece.__mro__]
    known = {name for source in sources[:-1] or sources for name in inspect.signature(source).parameters}
    assert told
    assert told <= known


def test_the_table_of_columns_is_that_of_the_results() -> None:
    """Each column once, and no other."""
    table = README.split("| results table | |\n|---|---|\n")[1].split("\n\n")[0]
    told = [name for line in table.splitlines() for name in re.findall(r"`(\w+)`", line.split("|")[1])]
    assert sorted(told) == sorted(column.name for column in RESULTS)


def test_the_columns_of_the_errors_are_told() -> None:
    """Those that the results have not."""
    sentence = " ".join(README.split()).split("The errors table has ")[1].split(" in the place of")[0]
    assert words(sentence) - {"text"} == {column.name for column in ERRORS} - {
        column.name for column in RESULTS
    }
