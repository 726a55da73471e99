"""``gemini-batch lint``: what would break a job of a request file, before it is paid for."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_batch_gemini.batch.lint import RULES, Finding, Rule
from airflow_batch_gemini.batch.lint_lines import LineLinter
from airflow_batch_gemini.batch.models import lint_model
from airflow_batch_gemini.batch.names import location, model_path
from airflow_batch_gemini.batch.progress import Progress, counted, size
from airflow_batch_gemini.batch.row_files import Reads, blocks
from airflow_batch_gemini.commands._reading import Bar, opened
from airflow_batch_gemini.exceptions import GeminiBatchError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

SHOWN = 5
"""Findings of each rule that are told one by one."""


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to ``gemini-batch``."""
    parser = commands.add_parser(
        "lint",
        help="check a request file before a job is made of it",
        description='Check a file of request lines, {"request": ...} or bare requests, as Vertex AI would import it.',
        epilog="Exit status: 0 nothing but warnings, 1 errors or an unreadable file, 2 wrong arguments.",
    )
    parser.add_argument("file", help="a path, gs://bucket/name, or - for standard input")
    parser.add_argument("--model", help="the model that is to answer: tells whether it is retired")
    parser.add_argument("--location", help="where the job is to run: tells whether the model is served there")
    parser.add_argument(
        "--format",
        choices=["text", "json", "github"],
        default="text",
        help="how to print (default: %(default)s)",
    )
    parser.add_argument(
        "--gcp-conn-id", default="google_cloud_default", help="connection for gs:// (default: %(default)s)"
    )
    parser.set_defaults(run=run)


@dataclass
class Findings:
    """What was found: counts of every rule, and the first findings of each."""

    file: str
    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, list[Finding]] = field(default_factory=dict)
    rows: int = 0
    size: int = 0

    def add(self, finding: Finding) -> None:
        """Count one."""
        rule = finding.rule.id
        self.counts[rule] += 1
        shown = self.first.setdefault(rule, [])
        if len(shown) < SHOWN:
            shown.append(finding)

    @property
    def rules(self) -> list[Rule]:
        """The rules that were broken: errors first, then by id."""
        return sorted((RULES[rule] for rule in self.counts), key=lambda rule: (rule.severity, rule.id))

    def total(self, severity: str) -> int:
        """Return how many findings of a severity there are."""
        return sum(count for rule, count in self.counts.items() if RULES[rule].severity == severity)

    @property
    def totals(self) -> str:
        """Both for people."""
        return ", ".join(counted(self.total(severity), severity) for severity in ("error", "warning"))


def run(options: argparse.Namespace) -> int:
    """Lint, print, and return the exit status."""
    try:
        model = None if options.model is None else model_path(options.model)
        place = None if options.location is None else location(options.location)
    except GeminiBatchError as error:
        print(error, file=sys.stderr)
        return 2
    found = Findings(options.file)
    try:
        if model is not None:
            for finding in lint_model(model, location=place, today=dt.datetime.now(dt.UTC).date()):
                found.add(finding)
        with opened(options.file, options.gcp_conn_id, fate="Nothing was checked.") as (stream, size):
            _lint(stream, found, Progress(total=size))
    except GeminiBatchError as error:
        print(error, file=sys.stderr)
        return 1
    print(_PRINTERS[options.format](found))
    return 1 if found.total("error") else 0


def _lint(stream: Reads, found: Findings, progress: Progress) -> None:
    linter, bar = LineLinter(), Bar(progress)
    for lines in blocks(stream, found.file, keep_mark=True):
        for finding in linter.take(lines):
            found.add(finding)
        progress.done = linter.size
        bar.show(linter.rows)
    for finding in linter.finish():
        found.add(finding)
    bar.clear()
    found.rows, found.size = linter.rows, linter.size


def _place(finding: Finding) -> str:
    key = "" if finding.key is None else f"key {finding.key[:100]!r}"
    path = finding.path if finding.path.isprintable() else ascii(finding.path)
    place = ", ".join(filter(None, [finding.row, key, path]))
    return f"{place} ({finding.detail})" if finding.detail else place


def _text(found: Findings) -> str:
    lines = [f"{found.file}: {counted(found.rows, 'request')}, {size(found.size)}"]
    for rule in found.rules:
        count = found.counts[rule.id]
        lines.append(f"\n{rule.id} {rule.severity}, {count:,}×: {rule.says}; {rule.fix}.")
        lines += [f"  {_place(finding)}" for finding in found.first[rule.id]]
        if count > len(found.first[rule.id]):
            lines.append(f"  … and {count - len(found.first[rule.id]):,} more")
    return "\n".join([*lines, "", f"{found.totals}."]) if found.counts else f"{lines[0]}. Nothing found."


def _json(found: Findings) -> str:
    def told(finding: Finding) -> dict[str, Any]:
        return {"row": finding.row, "key": finding.key, "path": finding.path, "detail": finding.detail}

    rules = [
        {
            "id": rule.id,
            "severity": rule.severity,
            "count": found.counts[rule.id],
            "says": rule.says,
            "fix": rule.fix,
            "first": [told(finding) for finding in found.first[rule.id]],
        }
        for rule in found.rules
    ]
    document = {
        "file": found.file,
        "requests": found.rows,
        "bytes": found.size,
        "errors": found.total("error"),
        "warnings": found.total("warning"),
        "rules": rules,
    }
    return json.dumps(document, indent=1, ensure_ascii=False)


def _github(found: Findings) -> str:
    """Source: GitHub's "Workflow commands", setting an error or warning message."""
    lines = []
    for rule in found.rules:
        for finding in found.first[rule.id]:
            line = f",line={finding.row.removeprefix('line ')}" if finding.row.startswith("line ") else ""
            lines.append(
                f"::{rule.severity} file={_property(found.file)}{line},title={rule.id}::{_data(str(finding))}"
            )
    lines.append(f"{found.file}: {found.totals}.")
    return "\n".join(lines)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


_PRINTERS = {"text": _text, "json": _json, "github": _github}
