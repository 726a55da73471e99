"""What Cloud Storage answers when it will not do what was asked.

StorageError
├── NotModified          304  the reader already has it
├── Invalid              400  the request can never work
├── NotFound             404  no such bucket, object or upload
├── Conflict             409  the bucket exists, is not empty, or the folder is in use
├── PreconditionFailed   412  somebody else wrote first
├── RangeNotSatisfiable  416  no such bytes
├── Cancelled            499  the upload was cancelled by its client
├── Unsupported          501  Google has it, the local cloud has not
└── SourceChanged        503  a file was changed by hand while it was being copied; try again
"""

from __future__ import annotations

from typing import ClassVar


class StorageError(Exception):
    """Carries the HTTP status and the reason word that Google's clients read."""

    code: ClassVar[int] = 500
    reason: ClassVar[str] = "backendError"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class NotModified(StorageError):
    """The object still is what the reader said it has."""

    code = 304
    reason = "notModified"


class Invalid(StorageError):
    """A name, number, checksum or body that can never be accepted."""

    code = 400
    reason = "invalid"


class NotFound(StorageError):
    """No such bucket, object, generation or upload."""

    code = 404
    reason = "notFound"


class Conflict(StorageError):
    """The bucket exists already or is not empty, or another process holds the data folder."""

    code = 409
    reason = "conflict"


class PreconditionFailed(StorageError):
    """The object is not in the state the caller required; nothing was changed."""

    code = 412
    reason = "conditionNotMet"


class RangeNotSatisfiable(StorageError):
    """The range starts behind the last byte."""

    code = 416
    reason = "requestedRangeNotSatisfiable"


class Cancelled(StorageError):
    """The resumable upload was deleted by its client."""

    code = 499
    reason = "clientClosedRequest"


class Unsupported(StorageError):
    """A call of the real service that the local cloud refuses rather than pretends to do."""

    code = 501
    reason = "notImplemented"


class SourceChanged(StorageError):
    """A file under the root was changed by another program while it was being read."""

    code = 503
