"""The rules by which the service imports input files, one line at a time over the whole input.

The service loads JSONL as BigQuery would: every JSON path has one type in the whole input. A single breach
fails the whole job, and nothing is billed. That a list directly inside a list is refused follows from
BigQuery, which has no such column; nobody has seen the service say it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import orjson

FAILED_TO_IMPORT = (
    "Failed to import data. Please check 'Prepare input' section of the batch predictions documentation. "
)
MAX_LEVELS = 15
_LEGAL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}")
_INTEGER = re.compile(r"[+-]?\d{1,18}")
_FLOAT = re.compile(r"[+-]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d{1,3})?")
_OUTPUT_ONLY = ("response", "status")

Shape = Literal["scalar", "struct"]
SiblingType = Literal["STRING", "INT64", "FLOAT64", "BOOL", "JSON"]


class ImportRefusedError(Exception):
    """The input breaks a rule; the message is the service's own fragment."""


@dataclass(slots=True)
class _Path:
    """What is known so far of one JSON path: ``None`` is "not seen yet"."""

    shape: Shape | None = None
    repeated: bool | None = None
    nulled: bool = False
    children: dict[str, _Path] | None = None


@dataclass(slots=True)
class _Sibling:
    kinds: set[str]
    integers: bool = True
    numbers: bool = True


class Importer:
    """Takes lines one by one, keeps one small tree of paths, and refuses at the first breach."""

    def __init__(self) -> None:
        self._root = _Path(children={})
        self._siblings: dict[str, _Sibling] = {}
        self.rows = 0
        self._requests = 0

    def take(self, line: bytes) -> None:
        """Learn from one line.

        :raises ImportRefusedError: the line breaks a rule, alone or together with an earlier one.
        """
        self.rows += 1
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise ImportRefusedError(
                f"Error while reading data, line {self.rows}: invalid JSON: {error}."
            ) from None
        if not isinstance(row, dict):
            raise ImportRefusedError(
                f"Error while reading data, line {self.rows}: a JSON object is required."
            )
        if is_output_line(row):
            # A line of an earlier job's output: its echo and response were never meant to be columns.
            self._requests += 1
            row = {
                key: value
                for key, value in row.items()
                if key not in (*_OUTPUT_ONLY, "request", "processed_time")
            }
        elif row.get("request") is not None:
            self._requests += 1
        _merge(self._root, row, "", 0)
        for key, value in row.items():
            if key != "request":
                self._learn_sibling(key, value)

    def finish(self) -> None:
        """Check what only the whole input shows.

        :raises ImportRefusedError: no rows, or no request in any of them.
        """
        if not self.rows:
            raise ImportRefusedError("The input is empty.")
        if not self._requests:
            raise ImportRefusedError("No such field: request.")

    def sibling_types(self) -> dict[str, SiblingType]:
        """Return the columns beside ``request`` and the type each was given."""
        return {name: _sibling_type(seen) for name, seen in self._siblings.items()}

    def _learn_sibling(self, key: str, value: Any) -> None:
        seen = self._siblings.setdefault(key, _Sibling(set()))
        if value is None:
            return
        seen.kinds.add(type(value).__name__)
        if isinstance(value, str):
            seen.integers = seen.integers and _INTEGER.fullmatch(value) is not None
            seen.numbers = seen.numbers and _FLOAT.fullmatch(value) is not None


def is_output_line(row: dict[str, Any]) -> bool:
    """Say whether a line comes from the output of an earlier job, which is how a job is resumed."""
    return "status" in row and "response" in row and "request" in row


def coerced(value: Any, kind: SiblingType) -> Any:
    """Return a sibling's value as its column holds it: text that looks like a number becomes one."""
    if isinstance(value, str) and kind == "INT64":
        return int(value)
    if isinstance(value, str) and kind == "FLOAT64":
        return float(value)
    return value


def _sibling_type(seen: _Sibling) -> SiblingType:
    if seen.kinds & {"dict", "list"}:
        return "JSON"
    if seen.kinds == {"bool"}:
        return "BOOL"
    if seen.kinds and "bool" not in seen.kinds and seen.numbers:
        return "INT64" if "float" not in seen.kinds and seen.integers else "FLOAT64"
    return "STRING"


def _merge(path: _Path, row: dict[str, Any], name: str, level: int) -> None:
    if level > MAX_LEVELS:
        raise ImportRefusedError(
            f"Schema nested too deeply, at least {level} compared to the maximum allowed level of {MAX_LEVELS}."
        )
    children = path.children
    if children is None:
        children = path.children = {}
    for key, value in row.items():
        child = children.get(key)
        if child is None:
            if not _LEGAL_NAME.fullmatch(key):
                raise ImportRefusedError(
                    f'Invalid field name "{key}". Fields must contain only letters, numbers, and underscores, '
                    "start with a letter or underscore, and be at most 300 characters long."
                )
            child = children[key] = _Path()
        kind = type(value)
        if kind is str or kind is int or kind is bool or kind is float:
            if child.shape == "scalar" and child.repeated is False:
                continue  # the common case, without building the path's name
            _note(child, "scalar", f"{name}.{key}" if name else key, repeated=False)
            continue
        full = f"{name}.{key}" if name else key
        if kind is dict:
            _note_struct(child, value, full, level, repeated=False)
        elif kind is list:
            _note_list(child, value, full, level)
        else:
            _note_null(child, full)


def _note_struct(child: _Path, value: dict[str, Any], full: str, level: int, *, repeated: bool) -> None:
    if not value:
        raise ImportRefusedError(
            f"Unsupported empty struct type for field '{full}': Cannot store struct '{full}' with no fields."
        )
    _note(child, "struct", full, repeated=repeated)
    _merge(child, value, full, level + 1)


def _note_list(child: _Path, values: list[Any], full: str, level: int) -> None:
    if not values:
        _note(child, child.shape, full, repeated=True)
    for value in values:
        if value is None:
            raise ImportRefusedError(f"Only optional fields can be set to NULL. Field: {full}; Value: NULL")
        if isinstance(value, list):
            raise ImportRefusedError(
                f"Array specified for non-repeated field: {full}. A list cannot hold a list."
            )
        if isinstance(value, dict):
            _note_struct(child, value, full, level, repeated=True)
        else:
            _note(child, "scalar", full, repeated=True)


def _note_null(child: _Path, full: str) -> None:
    child.nulled = True
    if child.repeated or child.shape == "struct":
        raise ImportRefusedError(f"Only optional fields can be set to NULL. Field: {full}; Value: NULL")


def _note(child: _Path, shape: Shape | None, full: str, *, repeated: bool) -> None:
    if child.repeated is not None and child.repeated != repeated:
        raise ImportRefusedError(f"Repeated field must be imported as a JSON array. Field: {full}.")
    child.repeated = repeated
    if shape is not None:
        if child.shape is not None and child.shape != shape:
            raise ImportRefusedError(
                f"Field {full} has changed type: it is a {_word(child.shape)} in one place and a "
                f"{_word(shape)} in another."
            )
        child.shape = shape
    if child.nulled and (child.repeated or child.shape == "struct"):
        raise ImportRefusedError(f"Only optional fields can be set to NULL. Field: {full}; Value: NULL")


def _word(shape: Shape) -> str:
    return "record" if shape == "struct" else "scalar"
