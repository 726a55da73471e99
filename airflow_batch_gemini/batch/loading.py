"""What a load starts from: for every part the one job that was paid for, and where its answers lie."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from airflow_batch_gemini.batch.job import Job
from airflow_batch_gemini.batch.ledger import Ledger
from airflow_batch_gemini.batch.manifest import Manifest, Part
from airflow_batch_gemini.exceptions import OutputError


@dataclass(frozen=True, kw_only=True)
class PartJob:
    """A part and the job that answered it."""

    part: Part
    epoch: int
    job: Job
    output_uri: str | None
    """``gs://`` folder or ``bq://`` table; ``None`` when the job ended without writing any."""


def paid_ledger(manifest: Manifest, part: int, ledger: Ledger | None) -> Ledger:
    """Return the ledger of *part* if it names a job for these very requests."""
    if ledger is None or ledger.job_name is None:
        state = "has no ledger" if ledger is None else f"is {ledger.state}"
        raise OutputError(
            f"Part {part} {state}: no job was submitted for it. Run submit for every part first."
        )
    if ledger.fingerprint != manifest.fingerprint(part):
        raise OutputError(
            f"Part {part} was prepared anew after {ledger.job_name} was submitted, so that job answers other requests. "
            "Its output is kept; clear submit to buy answers to the new requests."
        )
    return ledger


def part_job(part: Part, ledger: Ledger, job: Job) -> PartJob:
    """Return what the ended *job* of a part left behind.

    A job that failed, was cancelled or expired may have answered some rows; those are landed, the rest is ``missing``.
    """
    if not job.ended:
        raise OutputError(f"{job.name} is {job.state} and still at work: wait for it first, then load.")
    if job.rule.success and not job.output_uri:
        raise OutputError(
            f"{job.name} is {job.state} but does not say where it wrote. Nothing was published; look at the job in "
            "the console."
        )
    output_uri = job.output_uri if job.rule.has_output and job.output_uri else None
    return PartJob(part=part, epoch=ledger.epoch, job=job, output_uri=output_uri)


_NONE: Mapping[int, int] = {}
_OUTPUT = "predictions.jsonl"
_SHARD = re.compile(r"(?P<base>.*)-(?P<number>[0-9]+)-of-(?P<count>[0-9]+)", re.DOTALL)


def prediction_files(names: Iterable[str]) -> list[str]:
    """Return those of *names* that hold answers, sorted: ``predictions.jsonl`` or its shards, in whatever folder.

    ``incremental_predictions…`` is what a running job has so far; its lines come again in the final file.
    """
    return sorted(name for name in names if name.rpartition("/")[2].startswith(_OUTPUT))


def missing_shards(names: Iterable[str]) -> list[str]:
    """Return the shards that *names* speak of and that are not among them.

    A shard says how many there are, ``predictions.jsonl-00001-of-00003``: one absent is an output cut short, and the
    others do not show it.
    """
    found: dict[int, set[int]] = {}
    for name in prediction_files(names):
        if match := _SHARD.fullmatch(name):
            found.setdefault(int(match["count"]), set()).add(int(match["number"]))
    return [
        f"{_OUTPUT}-{number:05d}-of-{count:05d}"
        for count, numbers in sorted(found.items())
        for number in range(count)
        if number not in numbers
    ]


def check_shards(part_job: PartJob, names: Iterable[str]) -> None:
    """Raise when a job that succeeded left an incomplete set of shards.

    One that died may have died while it wrote them: what it wrote is landed, the rest of its rows is ``missing``.
    """
    job = part_job.job
    if job.rule.success and (gone := missing_shards(names)):
        shown = ", ".join(gone[:10]) + (f" and {len(gone) - 10} more" if len(gone) > 10 else "")
        raise OutputError(
            f"{job.name} is {job.state}, but {len(gone)} of its output files are not below {part_job.output_uri}: "
            f"{shown}. Nothing was published and nothing is lost: put them back, then clear this task."
        )


def check_answered(
    jobs: Mapping[int, Job], answered: Mapping[int, int], returned: Mapping[int, int] = _NONE
) -> list[str]:
    """Compare what came back with what Vertex AI says it answered; return what a person should know.

    :param jobs: the job of every part.
    :param answered: rows of every part that a readable line came back for.
    :param returned: by part, lines of rows that a job before had answered; a resumed job may count them in.
    :raises OutputError: a job succeeded and says that it answered rows, but not one line of it came back. They were
        paid for and must be somewhere; landed as ``missing`` the next repair would buy them all again. Where the job
        gives no count, nobody knows better than the output, and its rows are landed as ``missing``.
    """
    notes = []
    for part, job in jobs.items():
        came, said = answered.get(part, 0), job.counts.succeeded or 0
        lines = came + returned.get(part, 0)
        if said and not lines and job.rule.success:
            raise OutputError(
                f"{job.name} is {job.state} and says that it answered {said:,} rows, but its output {job.output_uri} "
                "has none of them. Nothing was published; put the output back and clear this task, or buy the answers "
                "anew by clearing submit with on_finished='rerun'."
            )
        if said > lines:
            notes.append(
                f"{job.name} says that it answered {said:,} rows of part {part}, but {lines:,} came back; the others "
                "are missing."
            )
        elif not came and job.rule.success:
            notes.append(
                f"{job.name} is {job.state}, but no answer came back: all rows of part {part} are missing."
            )
    return notes


def check_returned(manifest: Manifest, jobs: Mapping[int, Job], anew: Mapping[int, int]) -> list[str]:
    """Return what a person should know of lines that a resumed job was not asked for.

    :param anew: by part, those that say they are later than the job that had answered their rows.
    """
    return [
        f"{jobs[part.index].name} went on with {part.resumes.job_name}, and {count:,} rows that the latter had "
        "answered came back with a later time: Vertex AI may have run them anew, and billed them. They are left as "
        "they are; what came back for them is published nowhere, and is no part of the cost."
        for part in manifest.parts
        if part.resumes is not None and (count := anew.get(part.index, 0))
    ]
