"""Errors in BigQuery's own shape: a reason, a message and, over HTTP, a status."""

from __future__ import annotations

from collections.abc import Mapping

_HTTP: Mapping[str, tuple[int, str]] = {
    "invalid": (400, "INVALID_ARGUMENT"),
    "invalidQuery": (400, "INVALID_ARGUMENT"),
    "notFound": (404, "NOT_FOUND"),
    "duplicate": (409, "ALREADY_EXISTS"),
    "resourceInUse": (400, "FAILED_PRECONDITION"),
    "conditionNotMet": (412, "FAILED_PRECONDITION"),
    "resourcesExceeded": (400, "RESOURCE_EXHAUSTED"),
    "stopped": (499, "CANCELLED"),
    "notImplemented": (501, "UNIMPLEMENTED"),
    "backendError": (503, "UNAVAILABLE"),
    "internalError": (500, "INTERNAL"),
}


class BigQueryError(Exception):
    """A refusal the caller can read; `reason` is one of BigQuery's own words."""

    def __init__(self, reason: str, message: str, *, location: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.location = location

    @property
    def code(self) -> int:
        """The HTTP status that goes with the reason."""
        return _HTTP[self.reason][0]

    def proto(self) -> dict[str, str]:
        """Render the ErrorProto that a job's status holds."""
        proto = {"reason": self.reason, "message": self.message}
        return proto if self.location is None else {**proto, "location": self.location}

    def body(self) -> dict[str, object]:
        """Render the body of an HTTP error."""
        code, status = _HTTP[self.reason]
        return {
            "error": {
                "code": code,
                "message": self.message,
                "errors": [{"domain": "global", **self.proto()}],
                "status": status,
            }
        }


class NotFound(BigQueryError):  # noqa: N818 - named after what BigQuery answers
    """A dataset, table or job that is not there."""

    def __init__(self, message: str) -> None:
        super().__init__("notFound", message)


def invalid(message: str) -> BigQueryError:
    """Make the error for a request that BigQuery itself would refuse."""
    return BigQueryError("invalid", message)


def invalid_query(message: str) -> BigQueryError:
    """Make the error for a statement that BigQuery itself would refuse."""
    return BigQueryError("invalidQuery", message, location="query")


def unsupported(what: str) -> BigQueryError:
    """Make the error for something that BigQuery does and this stand-in does not."""
    return BigQueryError("invalidQuery", f"the local BigQuery does not support {what}", location="query")


def not_found(kind: str, name: str, *, location: str | None = None) -> NotFound:
    """Make BigQuery's "Not found" for a dataset, table or job."""
    message = f"Not found: {kind} {name}"
    if location is not None:
        message += f" was not found in location {location}"
    return NotFound(message)


def duplicate(kind: str, name: str) -> BigQueryError:
    """Make BigQuery's "Already Exists" for a dataset, table or job."""
    return BigQueryError("duplicate", f"Already Exists: {kind} {name}")
