"""The command ``gemini-batch``: a thin door on the package."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence

from airflow_batch_gemini import __version__
from airflow_batch_gemini.commands import estimate, jobs, lint, report

_STOPPED = 130
"""What a shell expects of a command that was stopped by Ctrl-C."""
_UNREAD = 141
"""And of one whose reader has gone, like ``head``."""
_LOCAL_NEEDS = ("duckdb", "sqlglot", "starlette", "uvicorn")


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``gemini-batch COMMAND …`` and return the exit status.

    0 done, 1 failed, 2 wrong arguments, 130 stopped, 141 nobody reads what is printed.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    # `local` keeps its own option parser, so that `python -m airflow_batch_gemini.local` and this are one thing.
    if arguments[:1] == ["local"]:
        return _local(arguments[1:])
    options = _parser().parse_args(arguments)
    if hasattr(options, "run"):
        try:
            status = int(options.run(options))
            print(end="", flush=True)
        except BrokenPipeError:
            # It is flushed once more when the process ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return _UNREAD
        except KeyboardInterrupt:
            print("Stopped. What was done until then stays as it is.", file=sys.stderr)
            return _STOPPED
        return status
    _parser().print_help()
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gemini-batch", description="Gemini batch inference on Vertex AI inside Airflow pipelines."
    )
    parser.add_argument("--version", action="version", version=f"gemini-batch {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    commands.add_parser(
        "local", add_help=False, help="run the local cloud: Vertex AI, Cloud Storage and BigQuery on one port"
    )
    lint.add_parser(commands)
    estimate.add_parser(commands)
    report.add_parser(commands)
    jobs.add_parser(commands)
    return parser


def _local(arguments: list[str]) -> int:
    missing = [name for name in _LOCAL_NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"gemini-batch local needs {', '.join(missing)}. Nothing was started; "
            "install the extra: pip install 'airflow-batch-gemini[local]'",
            file=sys.stderr,
        )
        return 1
    from airflow_batch_gemini.local.__main__ import main as local_main

    return local_main(arguments)
