"""``gemini-batch report``: what became of a batch."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_batch_gemini.batch.manifest import Workspace
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.commands._google import add_connection, google
from airflow_batch_gemini.exceptions import GeminiBatchError, InvalidNameError, SourceError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_FATE = "Nothing was read"
_FIRST = ("batch_id", "model", "rows", "outcomes", "tokens", "cost_usd")


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to ``gemini-batch``."""
    parser = commands.add_parser(
        "report",
        help="print what became of a batch: rows, outcomes, tokens, cost",
        description="Print the report that the load of a batch has left in its workspace.",
        epilog="Exit status: 0 printed, 1 there is no report or it cannot be read, 2 wrong arguments.",
    )
    parser.add_argument("uri", help="a workspace or its report.json: gs://bucket/… or a path")
    parser.add_argument(
        "--format", choices=["text", "json"], default="text", help="how to print (default: %(default)s)"
    )
    add_connection(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print, and return the exit status."""
    try:
        data = _read(options.uri, options.gcp_conn_id)
        document = _document(data, options.uri)
    except InvalidNameError as error:
        print(error, file=sys.stderr)
        return 2
    except GeminiBatchError as error:
        print(error, file=sys.stderr)
        return 1
    print(data.decode() if options.format == "json" else "\n".join(_lines(_in_order(document))))
    return 0


def _read(uri: str, gcp_conn_id: str) -> bytes:
    if not uri.startswith("gs://"):
        path = Path(uri)
        try:
            return (path / "report.json" if path.is_dir() else path).read_bytes()
        except OSError as error:
            raise SourceError(f"{uri} holds no report: {error.strerror}. {_FATE}.") from error
    place = GcsUri.parse(uri)
    place = place if place.name.endswith(".json") else Workspace(place).report
    with google(gcp_conn_id, fate=_FATE) as services:
        stored = services.workspace.read(place)
    if stored is None:
        raise SourceError(f"There is no {place}: no load of that batch has come to its end. {_FATE}.")
    return stored.data


def _document(data: bytes, uri: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError:
        document = None
    whole = isinstance(document, dict) and {"batch_id", "rows", "outcomes"} <= document.keys()
    if not whole or not isinstance(document["outcomes"], dict):
        raise SourceError(f"{uri} is no report of a batch. {_FATE}.")
    return dict(document)


def _in_order(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a reader wants first before the rest; a report of a version that says more is printed whole."""
    first = {name: document[name] for name in _FIRST if name in document}
    outcomes = sorted(document["outcomes"].items(), key=lambda one: -one[1])
    return {**first, **document, "outcomes": dict(outcomes)}


def _lines(document: Mapping[str, Any], indent: str = "") -> list[str]:
    """Return a line for each thing that there is to say, and for what has parts a block."""
    said = {name: value for name, value in document.items() if _worth_a_line(name, value)}
    width = max(map(len, said), default=0)
    lines = []
    for name, value in said.items():
        label = f"{indent}{name.replace('_', ' '):<{width}}"
        if isinstance(value, Mapping):
            lines += [label.rstrip(), *_lines(value, f"{indent}  ")]
        elif isinstance(value, list):
            for item in value:
                text = "  ".join(map(_cell, item.values())) if isinstance(item, Mapping) else _cell(item)
                lines.append(f"{label}  {text}")
        else:
            lines.append(f"{label}  {_cell(value)}")
    return lines


def _worth_a_line(name: str, value: object) -> bool:
    """A cost is told also when nobody knows it; other things only where there are some."""
    return name == "cost_usd" or value not in (None, 0, "", [], {})


def _cell(value: object) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
