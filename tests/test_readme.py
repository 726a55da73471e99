"""The README says what is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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
