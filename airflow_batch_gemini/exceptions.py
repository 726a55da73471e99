"""Everything this package raises, split by what the reader of the message can do.

::

    GeminiBatchError
    ├── NothingPaidError           no job was created; no money was spent
    │   ├── InvalidNameError   *   a project, bucket, object, table or job name is not well formed
    │   ├── EndpointError      *   an endpoint is neither Google's nor a trusted local one
    │   ├── ConfigurationError *   arguments that cannot work together
    │   ├── TemplateError      *   the request template is wrong (unknown placeholder, bad schema, …)
    │   ├── SourceError        *   the rows cannot be read, or there are none
    │   ├── RowError           *   one row is wrong (duplicate key, NULL key, too large, …)
    │   ├── GateError          *   the batch may cost more, or fail more often, than it is allowed to
    │   ├── RequestRefusedError *  Vertex AI refused one direct request, definitely (4xx)
    │   └── SubmitRefusedError *   Vertex AI refused the job, definitely (4xx)
    ├── PaymentUnknownError        a request that is paid for got no clear answer; it is not simply sent again
    ├── PaidError                  a job exists or has ended; what it answered is kept
    │   ├── JobFailedError     *   the job ended without success
    │   ├── JobLostError       *   the job cannot be looked at any more (403, 404)
    │   ├── OutputError        *   the job's output is missing, partial or not what was asked for
    │   ├── AccountingError    *   the outcomes do not add up to the rows
    │   ├── QualityError       *   more rows ended without a usable answer than the load lets through
    │   └── LandingError           BigQuery failed while landing the output; a retry goes on from there
    ├── OwnershipLostError     *   a newer attempt of the same task owns the ledger now
    └── ServiceError               a Google service could not be reached or answered 429 or 5xx; a retry helps
        └── RefusedForNowError     Vertex AI refused the job, definitely, for a reason that passes: quota, set-up

``*`` marks the errors that a retry cannot mend: they are also ``AirflowFailException``, so Airflow fails the task
at once. A message says the fact, the fate of the job, and the next step.
"""

from __future__ import annotations

from airflow.sdk.exceptions import AirflowException, AirflowFailException


class GeminiBatchError(AirflowException):
    """Any error of this package."""


class NothingPaidError(GeminiBatchError):
    """No job was created and no money was spent."""


class InvalidNameError(NothingPaidError, AirflowFailException, ValueError):
    """A project, bucket, object, table, location or job name is not well formed."""


class EndpointError(NothingPaidError, AirflowFailException, ValueError):
    """An endpoint is neither Google's nor loopback nor explicitly trusted: no token is sent there."""


class ConfigurationError(NothingPaidError, AirflowFailException, ValueError):
    """Arguments that cannot work together, found before anything was sent."""


class TemplateError(NothingPaidError, AirflowFailException, ValueError):
    """The request template is wrong: an unknown placeholder, a bad schema, an unsupported field."""


class SourceError(NothingPaidError, AirflowFailException, ValueError):
    """The source cannot be read as rows, or has none."""


class RowError(NothingPaidError, AirflowFailException, ValueError):
    """One row cannot become a request: its key is missing, doubled or illegal, or its request is too large.

    :param rule: id of the rule that it breaks.
    :param key: the row's key, where it is known.
    :param said: what is wrong and what to do, without the row.
    """

    def __init__(self, message: str = "", *, rule: str = "", key: str | None = None, said: str = "") -> None:
        super().__init__(message)
        self.rule, self.key, self.said = rule, key, said


class GateError(NothingPaidError, AirflowFailException):
    """The batch may cost more, or fail more often, than it is allowed to; no job was created.

    Where a canary found that out, its few answers are paid for, and the message says so.
    """


class SubmitRefusedError(NothingPaidError, AirflowFailException):
    """Vertex AI refused to create the job with a definite client error."""


class RequestRefusedError(NothingPaidError, AirflowFailException):
    """Vertex AI refused one direct request with a definite client error; it was not billed.

    :param http_status: the HTTP status.
    """

    def __init__(self, message: str, *, http_status: int) -> None:
        super().__init__(message)
        self.http_status = http_status


class PaymentUnknownError(GeminiBatchError):
    """A request that is paid for ended without a clear answer: a job may exist, an answer may have been billed.

    A retry looks for the job before it pays; a direct call is not repeated.

    :param http_status: the HTTP status, or ``None`` when no answer came.
    """

    def __init__(self, message: str, *, http_status: int | None = None) -> None:
        super().__init__(message)
        self.http_status = http_status


class PaidError(GeminiBatchError):
    """A job exists, or has ended; whatever it answered is kept."""


class JobFailedError(PaidError, AirflowFailException):
    """The job ended without success."""


class JobLostError(PaidError, AirflowFailException):
    """The job cannot be looked at any more: it was deleted, or the caller may not see it."""


class OutputError(PaidError, AirflowFailException):
    """The job's output is missing, partial, or does not belong to this batch."""


class AccountingError(PaidError, AirflowFailException):
    """The outcomes do not add up to the rows that were sent; nothing was published."""


class QualityError(PaidError, AirflowFailException):
    """More rows ended without a usable answer than the load is allowed to publish; nothing was published."""


class LandingError(PaidError):
    """BigQuery failed while landing the output; a retry goes on from the last finished step."""


class OwnershipLostError(GeminiBatchError, AirflowFailException):
    """A newer attempt of the same task has taken over the ledger; this one must stop."""


class ServiceError(GeminiBatchError):
    """A Google service could not be reached, or answered 429 or 5xx; a retry helps.

    :param http_status: the HTTP status, or ``None`` when no answer came.
    """

    def __init__(self, message: str, *, http_status: int | None = None) -> None:
        super().__init__(message)
        self.http_status = http_status


class RefusedForNowError(ServiceError):
    """Vertex AI refused to create the job for want of something that time brings. Nothing was created; ask again.

    :param pause_seconds: no sooner than this, as Vertex AI said; 0 when it did not.
    """

    def __init__(self, message: str, *, http_status: int, pause_seconds: float = 0.0) -> None:
        super().__init__(message, http_status=http_status)
        self.pause_seconds = pause_seconds
