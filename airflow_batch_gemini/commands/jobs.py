"""``gemini-batch jobs``: the jobs that this package has made, listed, shown, cancelled and swept up."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from airflow_batch_gemini.batch import names
from airflow_batch_gemini.commands import _cancelling, _numbers, _showing, _sweeping
from airflow_batch_gemini.commands._google import add_connection, google
from airflow_batch_gemini.commands._listing import described, labelled_jobs, traced
from airflow_batch_gemini.commands._printing import table
from airflow_batch_gemini.exceptions import ConfigurationError, GeminiBatchError, InvalidNameError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_DAYS = 30
_MINUTES = 60.0


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to ``gemini-batch``."""
    parser = commands.add_parser(
        "jobs",
        help="list, show and cancel jobs, and find those that run or answered for nobody",
        description="What Vertex AI knows of the jobs that this package has made, beside what the ledgers say.",
    )
    kinds = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_list(kinds)
    _add_show(kinds)
    _add_cancel(kinds)
    _add_sweep(kinds)


def _add_list(kinds: _SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _parser(
        kinds,
        "list",
        _list,
        "list them: state, DAG, run, part, times",
        "Exit status: 0 listed, 1 Google could not be asked, 2 wrong arguments.",
    )
    _add_place(parser)
    parser.add_argument("--live", action="store_true", help="only those that have not ended")


def _add_show(kinds: _SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _parser(
        kinds,
        "show",
        _show,
        "show one, and what its ledger says of it",
        "Exit status: 0 shown, 1 there is no such job or Google could not be asked, 2 wrong arguments.",
    )
    parser.add_argument("name", help="projects/…/locations/…/batchPredictionJobs/…")


def _add_cancel(kinds: _SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _parser(
        kinds,
        "cancel",
        _cancel,
        "cancel some, or all of a workspace; rows answered until then are kept and paid for",
        "Exit status: 0 all were asked to stop, have ended or are gone; 1 not all; 2 wrong arguments.",
    )
    parser.add_argument("names", nargs="*", metavar="name", help="full names of jobs")
    parser.add_argument("--workspace", metavar="URI", help="or a workspace: every live job of its batch")


def _add_sweep(kinds: _SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _parser(
        kinds,
        "sweep",
        _sweep,
        "find jobs that no ledger owns, and answers that were paid for and never landed",
        "Exit status: 0 nothing is left to look at, 1 something is, or Google could not be asked, 2 wrong arguments.",
    )
    _add_place(parser)
    parser.add_argument(
        "--older-than",
        type=_numbers.minutes,
        default=_MINUTES,
        metavar="MINUTES",
        help="leave out what was made or has ended since: a pipeline may be on its way to it (default: %(default)s)",
    )
    parser.add_argument(
        "--cancel", action="store_true", help="cancel the jobs that run and that no ledger owns"
    )


def _parser(
    kinds: _SubParsersAction[argparse.ArgumentParser],
    name: str,
    work: Callable[[argparse.Namespace], int],
    says: str,
    epilog: str,
) -> argparse.ArgumentParser:
    parser = kinds.add_parser(name, help=says, description=f"{says[0].upper()}{says[1:]}.", epilog=epilog)
    parser.add_argument(
        "--format", choices=["text", "json"], default="text", help="how to print (default: %(default)s)"
    )
    add_connection(parser)
    parser.set_defaults(run=lambda options: _guarded(work, options))
    return parser


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--location", required=True, help="where the jobs run, like us-central1")
    parser.add_argument("--project-id", help="whose jobs (default: the connection's)")
    parser.add_argument(
        "--days",
        type=_numbers.days,
        default=_DAYS,
        help="only jobs that were made in the last so many days (default: %(default)s)",
    )


def _guarded(work: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Do the work; tell an error in a sentence."""
    try:
        return work(options)
    except (InvalidNameError, ConfigurationError) as error:
        print(error, file=sys.stderr)
        return 2
    except GeminiBatchError as error:
        print(error, file=sys.stderr)
        return 1


def _list(options: argparse.Namespace) -> int:
    with google(options.gcp_conn_id, fate="Nothing was listed") as services:
        jobs = labelled_jobs(services, options, now=dt.datetime.now(dt.UTC))
        found = [traced(services, job) for job in jobs if not (options.live and job.ended)]
    if options.format == "json":
        print(json.dumps([described(one) for one in found], indent=1))
    else:
        print(table(_showing.HEAD, [_showing.row(one) for one in found]) or "No jobs.")
    return 0


def _show(options: argparse.Namespace) -> int:
    name = str(names.JobName.parse(options.name))
    with google(options.gcp_conn_id, fate="Nothing was shown") as services:
        shown = _showing.shown(services, name)
    print(json.dumps(shown, indent=1) if options.format == "json" else _showing.text(shown))
    return 0


def _cancel(options: argparse.Namespace) -> int:
    if bool(options.names) == bool(options.workspace):
        raise ConfigurationError("Give names of jobs, or --workspace. Nothing was cancelled.")
    wanted = [str(names.JobName.parse(name)) for name in options.names]
    with google(options.gcp_conn_id, fate="Nothing was cancelled") as services:
        if options.workspace:
            answers = _cancelling.cancel_batch(services, names.GcsUri.parse(options.workspace))
        else:
            answers = _cancelling.cancel_jobs(services, wanted)
    print(json.dumps(answers, indent=1) if options.format == "json" else _cancelling.text(answers))
    return 1 if _cancelling.left_running(answers) else 0


def _sweep(options: argparse.Namespace) -> int:
    now = dt.datetime.now(dt.UTC)
    with google(options.gcp_conn_id, fate="Nothing was looked at") as services:
        jobs = labelled_jobs(services, options, now=now)
        found = _sweeping.sweep(services, jobs, now=now.timestamp(), minutes=options.older_than)
        if options.cancel:
            found = [_sweeping.cancelled(services, one) for one in found]
    if options.format == "json":
        print(json.dumps([_sweeping.described(one) for one in found], indent=1))
    else:
        print(_sweeping.text(found, looked_at=len(jobs)))
    return 1 if any(one.cancelled not in {"asked", "ended", "gone"} for one in found) else 0
