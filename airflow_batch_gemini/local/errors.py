"""Errors in the shape every Google REST interface answers them in."""

from __future__ import annotations

from typing import Any

STATUS_OF = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def error_body(code: int, message: str, status: str | None = None) -> dict[str, Any]:
    """Render ``{"error": {"code", "message", "status"}}``, the status word following from the code."""
    return {"error": {"code": code, "message": message, "status": status or STATUS_OF.get(code, "UNKNOWN")}}


class CloudError(Exception):
    """An answer other than success; the app shell turns it into an HTTP answer."""

    def __init__(self, code: int, message: str, *, status: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status or STATUS_OF.get(code, "UNKNOWN")

    def body(self) -> dict[str, Any]:
        """Return the JSON body of the answer."""
        return error_body(self.code, self.message, self.status)


def invalid(message: str) -> CloudError:
    """400 INVALID_ARGUMENT."""
    return CloudError(400, message)


def not_found(message: str) -> CloudError:
    """404 NOT_FOUND."""
    return CloudError(404, message)


def failed_precondition(message: str) -> CloudError:
    """400 FAILED_PRECONDITION: well formed, but not in this state."""
    return CloudError(400, message, status="FAILED_PRECONDITION")
