"""``gemini-batch report``: what became of a batch."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_batch_gemini.batch.layout import Workspace
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.batch.report_table import report_lines
from airflow_batch_gemini.commands._google import add_connection, google
from airflow_batch_gemini.exceptions import GeminiBatchError, InvalidNameError, SourceError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_FATE = "Nothing was read"


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
        text = _text(data, options)
    except InvalidNameError as error:
        print(error, file=sys.stderr)
        return 2
    except GeminiBatchError as error:
        print(error, file=sys.stderr)
        return 1
    print(text)
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


def _text(data: bytes, options: argparse.Namespace) -> str:
    document = _document(data, options.uri)
    try:
        return data.decode() if options.format == "json" else "\n".join(report_lines(document))
    except (ValueError, TypeError, AttributeError, LookupError) as error:  # somebody has written into it
        raise SourceError(f"{options.uri} is no report of a batch. {_FATE}.") from error


def _document(data: bytes, uri: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError:
        document = None
    whole = isinstance(document, dict) and {"batch_id", "rows", "outcomes"} <= document.keys()
    if not whole or not isinstance(document["outcomes"], dict):
        raise SourceError(f"{uri} is no report of a batch. {_FATE}.")
    return dict(document)
