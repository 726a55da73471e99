"""Which call is which: the table of the JSON API, over a path's decoded segments."""

from __future__ import annotations

from collections.abc import Callable

from . import bucket_calls as buckets
from . import object_calls as objects
from .calls import Call, Reply, error_reply
from .errors import StorageError, Unsupported
from .store import Storage

Handler = Callable[..., Reply]  # (storage, call, *segments captured by the pattern's stars)

_TABLE: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "b", buckets.list_all),
    ("POST", "b", buckets.insert),
    ("GET", "b/*", buckets.get),
    ("PATCH", "b/*", buckets.patch),
    ("PUT", "b/*", buckets.update),
    ("DELETE", "b/*", buckets.delete),
    ("GET", "b/*/storageLayout", buckets.layout),
    ("GET", "b/*/managedFolders", buckets.no_folders),
    ("GET", "b/*/managedFolders/*", buckets.no_folder),
    ("DELETE", "b/*/managedFolders/*", buckets.no_folder),
    ("GET", "b/*/folders", buckets.no_folders),
    ("GET", "b/*/folders/*", buckets.no_folder),
    ("GET", "projects/*/serviceAccount", buckets.service_account),
    ("GET", "b/*/o", objects.list_page),
    ("GET", "b/*/o/*", objects.get),
    ("PATCH", "b/*/o/*", objects.patch),
    ("PUT", "b/*/o/*", objects.update),
    ("DELETE", "b/*/o/*", objects.delete),
    ("POST", "b/*/o/*/compose", objects.compose_into),
    ("POST", "b/*/o/*/rewriteTo/b/*/o/*", objects.rewrite_to),
    ("POST", "b/*/o/*/copyTo/b/*/o/*", objects.copy_to),
    ("POST", "b/*/o/*/moveTo/o/*", objects.move_to),
)
_BY_SHAPE = [(method, tuple(pattern.split("/")), handler) for method, pattern, handler in _TABLE]


def answer(storage: Storage, call: Call) -> Reply:
    """Answer a call that carries no object bytes; a refusal is an answer too."""
    try:
        for method, pattern, handler in _BY_SHAPE:
            captured = _captured(pattern, call.path) if method == call.method else None
            if captured is not None:
                return handler(storage, call, *captured)
        raise Unsupported(f"The local cloud has no {call.method} /storage/v1/{'/'.join(call.path)}")
    except StorageError as error:
        return error_reply(error)


def _captured(pattern: tuple[str, ...], path: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the segments that a pattern's stars stand for, None when the path is another one."""
    if len(pattern) != len(path) or "" in path:
        return None
    if any(want not in ("*", have) for want, have in zip(pattern, path, strict=True)):
        return None
    return tuple(have for want, have in zip(pattern, path, strict=True) if want == "*")
