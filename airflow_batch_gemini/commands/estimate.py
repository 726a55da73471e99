"""``gemini-batch estimate``: what a batch of request files will cost, before it is paid for."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from airflow_batch_gemini.batch import parts
from airflow_batch_gemini.batch.embedding import is_embedding_model
from airflow_batch_gemini.batch.estimate import BatchEstimate, check_budget
from airflow_batch_gemini.batch.estimating import estimate, worth_counting
from airflow_batch_gemini.batch.names import location, model_path, project_id
from airflow_batch_gemini.batch.pricing import Price, budget_of, price_of
from airflow_batch_gemini.batch.progress import Progress
from airflow_batch_gemini.batch.request_lines import RequestLines
from airflow_batch_gemini.batch.row_files import blocks
from airflow_batch_gemini.batch.sampling import SAMPLE_ROWS, SampledLine, Sampler
from airflow_batch_gemini.commands._google import connection_known
from airflow_batch_gemini.commands._numbers import usd
from airflow_batch_gemini.commands._reading import Bar, opened
from airflow_batch_gemini.exceptions import ConfigurationError, GeminiBatchError, SourceError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook

FATE = "Nothing was estimated."


@dataclass(frozen=True, kw_only=True)
class Wish:
    """The options, checked."""

    model: str
    location: str
    project_id: str | None
    price: Price | None
    max_cost_usd: Decimal | None


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to ``gemini-batch``."""
    parser = commands.add_parser(
        "estimate",
        help="tell what a batch of request files will cost",
        description="Estimate tokens and cost of request lines, as one batch, before anything is paid.",
        epilog="Exit status: 0 estimated, 1 an unreadable file, no count or more than --max-cost-usd, 2 wrong "
        "arguments.",
    )
    parser.add_argument(
        "files", nargs="+", metavar="file", help="a path, gs://bucket/name, or - for standard input"
    )
    parser.add_argument("--model", required=True, help="the model that is to answer")
    parser.add_argument(
        "--location", default="global", help="where tokens are counted (default: %(default)s)"
    )
    parser.add_argument(
        "--count-tokens",
        action=argparse.BooleanOptionalAction,
        help=f"have the tokens of {SAMPLE_ROWS} requests counted by Vertex AI, free of charge (default: if it can be)",
    )
    parser.add_argument(
        "--price",
        nargs=2,
        type=usd,
        metavar=("INPUT", "OUTPUT"),
        help="USD per million tokens at the standard rate (default: the list of this package)",
    )
    # Text would do, but none at all, as of a variable that is not set, is no limit to those who render templates.
    parser.add_argument("--max-cost-usd", type=usd, help="end with 1 when the high estimate is above")
    parser.add_argument(
        "--format", choices=["text", "json"], default="text", help="how to print (default: %(default)s)"
    )
    parser.add_argument("--project-id", help="the project that counts tokens (default: the connection's)")
    parser.add_argument(
        "--gcp-conn-id",
        default="google_cloud_default",
        help="connection for gs:// and counting (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Estimate, print, and return the exit status."""
    try:
        wish = _wish(options)
    except GeminiBatchError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        found = _estimate(options, wish)
        print(json.dumps(found.to_dict(), indent=1) if options.format == "json" else found.table())
        check_budget(found, wish.max_cost_usd)
    except GeminiBatchError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _wish(options: argparse.Namespace) -> Wish:
    given = None if options.price is None else dict(zip(("input", "output"), options.price, strict=True))
    model = model_path(options.model)
    return Wish(
        model=model,
        location=location(options.location),
        project_id=None if options.project_id is None else project_id(options.project_id),
        price=price_of(model, given),
        max_cost_usd=budget_of(options.max_cost_usd),
    )


def _estimate(options: argparse.Namespace, wish: Wish) -> BatchEstimate:
    sampler = Sampler()
    limit = parts.MAX_EMBEDDING_ROWS if is_embedding_model(wish.model) else parts.MAX_ROWS
    part = -1
    for piece in parts.slices(_lines(options), parts.Limits(rows=limit, most_rows=limit)):
        part += piece.opens
        sampler.add(part, piece.lines)
    lines = sampler.kept
    none = sum(not line.request for line in lines)
    if none == len(lines):
        raise SourceError(f"{' '.join(options.files)}: no line is a request. {FATE}")
    if none:
        found = f"{none:,} of {len(lines):,} lines that were weighed are no requests"
        print(f"{found}, and such a file fails its job; gemini-batch lint says which.", file=sys.stderr)
    return estimate(
        model=wish.model,
        price=wish.price,
        sizes=sampler.sizes,
        lines=lines,
        counted={} if options.count_tokens is False else _counted(options, wish, lines),
    )


def _lines(options: argparse.Namespace) -> Iterator[RequestLines]:
    """Yield the lines of every file, which are one batch together."""
    from airflow_batch_gemini.hooks.source import opened_up

    rows = 0
    for file in options.files:
        with opened(file, options.gcp_conn_id, fate=FATE) as (packed, size):
            progress = Progress(total=size)
            bar = Bar(progress)
            with opened_up(packed, source=file, told=progress.add) as stream:
                for lines in blocks(stream, file):
                    whole = [line + b"\n" for line in lines if line.strip()]
                    yield RequestLines.of(whole)
                    rows += len(whole)
                    bar.show(rows)
            bar.clear()


def _counted(options: argparse.Namespace, wish: Wish, lines: Sequence[SampledLine]) -> Mapping[int, int]:
    """Return by row the tokens of some requests; where they need not be counted, of those that could be."""
    from airflow.sdk.exceptions import AirflowException

    counted: dict[int, int] = {}
    fate = FATE if options.count_tokens else "The estimate is the wider for it."
    try:
        hook = _hook(options.gcp_conn_id, fate=fate)
    except GeminiBatchError as error:
        if options.count_tokens:
            raise
        print(error, file=sys.stderr)
        return counted
    try:
        _count(hook, wish, [line for line in lines if line.request], counted)
    except AirflowException as error:
        fact = f"{str(error).rstrip('.')}."
        if options.count_tokens:
            raise ConfigurationError(f"{fact} {fate}") from error
        print(f"{fact} {fate}", file=sys.stderr)
    return counted


def _hook(gcp_conn_id: str, *, fate: str) -> GeminiBatchHook:
    from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook

    with connection_known(gcp_conn_id, fate=fate):
        return GeminiBatchHook(gcp_conn_id=gcp_conn_id)


def _count(hook: GeminiBatchHook, wish: Wish, lines: Sequence[SampledLine], counted: dict[int, int]) -> None:
    with closing(hook):
        for line in worth_counting(lines, SAMPLE_ROWS, model=wish.model):
            counted[line.row] = hook.count_tokens(
                project_id=wish.project_id, location=wish.location, model=wish.model, request=line.request
            )
