"""Where Google's types stop: protos become our :class:`Job`, Google's errors become ours."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from airflow_batch_gemini.batch.job import Counts, Job
from airflow_batch_gemini.exceptions import (
    GeminiBatchError,
    JobLostError,
    PaymentUnknownError,
    RefusedForNowError,
    ServiceError,
    SubmitRefusedError,
)

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1 import BatchPredictionJob

REQUEST_SECONDS = 60.0
"""How long one request may take."""
AMBIGUOUS = frozenset({408, 409, 429, 499})
"""4xx that do not say that nothing was done; 499 is CANCELLED: broken off, perhaps after the job was made."""
_SETTING_UP = re.compile(r"service agents? .*(?:provision|creat)", re.IGNORECASE)
"""A project's first job is refused with FAILED_PRECONDITION until Google has made the accounts it runs as."""


def to_proto(body: Mapping[str, Any]) -> BatchPredictionJob:
    """Return the proto of a REST body."""
    from google.cloud.aiplatform_v1 import BatchPredictionJob

    return BatchPredictionJob.from_json(json.dumps(body))


def to_job(answer: BatchPredictionJob) -> Job:
    """Return what this package keeps of a job."""
    from google.cloud.aiplatform_v1 import BatchPredictionJob

    pb = BatchPredictionJob.pb(answer)
    return Job(
        name=pb.name,
        display_name=pb.display_name,
        state=_state(pb.state),
        model=pb.model,
        labels=dict(pb.labels),
        input_uri=_input_uri(pb.input_config),
        output_uri=_output_uri(pb.output_info),
        counts=_counts(pb.completion_stats) if pb.HasField("completion_stats") else Counts(),
        error_code=pb.error.code,
        error_message=pb.error.message,
        create_time=_epoch(pb, "create_time"),
        start_time=_epoch(pb, "start_time"),
        end_time=_epoch(pb, "end_time"),
        update_time=_epoch(pb, "update_time"),
    )


def _state(number: int) -> str:
    """Return Google's name of a state; a number this client does not know stays a number."""
    from google.cloud.aiplatform_v1 import JobState

    try:
        return str(JobState(number).name)
    except ValueError:
        return str(number)


def _input_uri(config: Any) -> str:
    if config.bigquery_source.input_uri:
        return str(config.bigquery_source.input_uri)
    return str(next(iter(config.gcs_source.uris), ""))


def _output_uri(info: Any) -> str:
    """Return the directory, or the table by its full name: Vertex AI may name table and dataset apart."""
    if info.gcs_output_directory:
        return str(info.gcs_output_directory)
    table = str(info.bigquery_output_table).removeprefix("bq://")
    dataset = str(info.bigquery_output_dataset).removeprefix("bq://")
    if table and dataset and table.count(".") < 2:
        table = f"{dataset}.{table.rpartition('.')[2]}"
    return f"bq://{table}" if table else ""


def _counts(stats: Any) -> Counts:
    succeeded, failed, incomplete = (
        None if n < 0 else int(n)
        for n in (stats.successful_count, stats.failed_count, stats.incomplete_count)
    )
    return Counts(succeeded=succeeded, failed=failed, incomplete=incomplete)


def _epoch(pb: Any, name: str) -> float | None:
    if not pb.HasField(name):
        return None
    stamp = getattr(pb, name)
    return float(stamp.seconds + stamp.nanos / 1e9)


@contextmanager
def translated(doing: str, *, job_name: str | None = None) -> Iterator[None]:
    """Turn Google's errors while *doing* something that pays for nothing into ours.

    :param job_name: the job asked about: 403 and 404 then mean that it is lost.
    """
    from google.api_core.exceptions import GoogleAPIError, RetryError
    from google.auth.exceptions import GoogleAuthError
    from google.protobuf.json_format import ParseError

    try:
        yield
    except GeminiBatchError:
        raise
    except (GoogleAPIError, GoogleAuthError, ParseError, OSError, ValueError, *_aiohttp_errors()) as error:
        cause = error.cause if isinstance(error, RetryError) else error
        status = _http_status(cause)
        if job_name and status in {403, 404}:
            raise JobLostError(
                f"{job_name} cannot be looked at any more ({_told(cause)}). It was deleted, or the caller may "
                "not see it; what it answered was paid for and stays at its destination."
            ) from error
        raise ServiceError(
            f"{doing} failed ({_told(cause)}). Nothing was changed by it; a retry asks again.",
            http_status=status,
        ) from error


@contextmanager
def counting(model: str) -> Iterator[None]:
    """Turn Google's errors while counting tokens into one of ours that quotes none: it might quote the prompt."""
    try:
        with translated("Counting tokens"):
            yield
    except ServiceError as error:
        cause = f"HTTP {error.http_status}" if error.http_status else type(error.__cause__).__name__
        raise ServiceError(
            f"Tokens could not be counted with {model} ({cause}). Counting costs nothing, and no job was sent.",
            http_status=error.http_status,
        ) from None


@contextmanager
def one_payment(display_name: str) -> Iterator[None]:
    """Tell apart what may follow a create request: refused for good, for now, or nobody knows."""
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except GoogleAPICallError as error:
        status = _http_status(error) or 0
        if status == 429 or (status == 400 and _SETTING_UP.search(str(error))):
            raise RefusedForNowError(
                f"Vertex AI does not take job {display_name!r} yet ({_told(error)}). Nothing was created; "
                "a retry asks again.",
                http_status=status,
                pause_seconds=_retry_after(error.response),
            ) from error
        if 400 <= status < 500 and status not in AMBIGUOUS:
            raise SubmitRefusedError(
                f"Vertex AI refused job {display_name!r} ({_told(error)}). Nothing was created or paid; "
                "correct it and submit again."
            ) from error
        raise _unknown(display_name, error) from error
    except GoogleAuthError as error:
        raise ServiceError(
            f"No token for job {display_name!r} could be had ({_told(error)}). Nothing was created; a retry asks again."
        ) from error
    except Exception as error:
        raise _unknown(display_name, error) from error


def _retry_after(response: Any) -> float:
    """Return the seconds that a refusal tells to wait; 0 when it tells none, an hour when it tells more."""
    value = str((getattr(response, "headers", None) or {}).get("Retry-After", ""))
    if value.isascii() and value.isdigit():
        seconds = float(value)
    else:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return 0.0
    return min(max(seconds, 0.0), 3600.0)


def _unknown(display_name: str, error: Exception) -> PaymentUnknownError:
    return PaymentUnknownError(
        f"Creating job {display_name!r} got no clear answer ({_told(error)}). The job may exist; "
        "it is looked for by its labels before anything is paid again."
    )


def _http_status(error: object) -> int | None:
    code = getattr(error, "code", None)
    return int(code) if isinstance(code, int) else None


def _told(error: object) -> str:
    return f"{type(error).__name__}: {error}"[:500]


def _aiohttp_errors() -> tuple[type[Exception], ...]:
    from aiohttp import ClientError

    return (ClientError,)
