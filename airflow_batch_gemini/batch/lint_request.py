"""What one request breaks by itself: the checks behind the rules, and the walk that the importer would take."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_batch_gemini.batch.lint import MAX_LEVELS, ROLES, RULES, Finding
from airflow_batch_gemini.batch.template import FilePart, Text

_LEGAL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}")
_INDEX = re.compile(r"\[\d+\]")


def lint_request(request: Mapping[str, Any], *, importer: bool) -> Iterator[Finding]:
    """Yield every breach that one request, or a template's request with its holes, commits by itself.

    :param importer: whether the request goes into a request file; a BigQuery table is not imported.
    """
    for check in _CHECKS:
        yield from check(request)
    if importer:
        yield from ImporterWalk().walk({"request": request})


def _cached_content(request: Mapping[str, Any]) -> Iterator[Finding]:
    for name in ("cachedContent", "cached_content"):
        if request.get(name) is not None:
            yield Finding(rule=RULES["GB105"], path=f"request.{name}")


def _contents(request: Mapping[str, Any]) -> Iterator[Finding]:
    if "content" in request and "contents" not in request:  # an embedding request
        yield from _turn(request["content"], "request.content")
        return
    contents = request.get("contents")
    turns = [contents] if isinstance(contents, Mapping) else contents
    if not isinstance(turns, (list, tuple)) or not turns:
        yield Finding(rule=RULES["GB106"], path="request.contents")
        return
    for i, turn in enumerate(turns):
        yield from _turn(turn, f"request.contents[{i}]")


def _turn(turn: Any, path: str) -> Iterator[Finding]:
    parts = turn.get("parts") if isinstance(turn, Mapping) else None
    parts = [parts] if isinstance(parts, Mapping) else parts
    if not isinstance(parts, (list, tuple)) or not parts:
        yield Finding(rule=RULES["GB106"], path=f"{path}.parts")
        return
    for i, part in enumerate(parts):
        if not _has_data(part):
            yield Finding(rule=RULES["GB106"], path=f"{path}.parts[{i}]", detail="a part without data")
    role = turn.get("role")
    if role is not None and not (isinstance(role, str) and role in ROLES):
        yield Finding(rule=RULES["GB107"], path=f"{path}.role")


def _has_data(part: Any) -> bool:
    if isinstance(part, Mapping):
        return any(value is not None for value in part.values())
    return _is_record(part)


def _rag(request: Mapping[str, Any]) -> Iterator[Finding]:
    tools = request.get("tools")
    for i, tool in enumerate(tools if isinstance(tools, (list, tuple)) else ()):
        retrieval = tool.get("retrieval") if isinstance(tool, Mapping) else None
        for name in ("vertexRagStore", "vertex_rag_store"):
            if isinstance(retrieval, Mapping) and retrieval.get(name) is not None:
                yield Finding(rule=RULES["GB114"], path=f"request.tools[{i}].retrieval.{name}")


_CHECKS: tuple[Callable[[Mapping[str, Any]], Iterator[Finding]], ...] = (_cached_content, _contents, _rag)


@dataclass
class ImporterWalk:
    """Follows every path as the importer does; remembers which shape each has had.

    :param optional: whether a scalar may be null, as it may in a file; a template has no reason to send one.
    """

    optional: bool = False
    shapes: dict[str, str] = field(default_factory=dict)
    nulls: set[str] = field(default_factory=set)

    def walk(self, value: Any, path: str = "", level: int = 0) -> Iterator[Finding]:
        """Yield what the importer would refuse in an object at *path*."""
        if level > MAX_LEVELS:
            yield Finding(rule=RULES["GB103"], path=path)
            return
        for name, member in value.items():
            inner = f"{path}.{name}" if path else name
            if not _LEGAL_NAME.fullmatch(name):
                yield Finding(rule=RULES["GB101"], path=inner)
            yield from self._member(member, inner, level)

    def _member(self, value: Any, path: str, level: int) -> Iterator[Finding]:
        repeated = isinstance(value, (list, tuple))
        members = value if repeated else [value]
        if not members:
            yield from self._note(path, path, "list")
        for i, member in enumerate(members):
            place = f"{path}[{i}]" if repeated else path
            if isinstance(member, (list, tuple)):
                yield Finding(rule=RULES["GB111"], path=place, detail="a list directly inside a list")
            elif member is None:
                yield from self._note_null(path, place, repeated=repeated)
            else:
                kind = "objects" if _is_record(member) else "scalars"
                yield from self._note(path, place, f"list of {kind}" if repeated else kind)
                if isinstance(member, Mapping):
                    if not member:
                        yield Finding(rule=RULES["GB102"], path=place)
                    yield from self.walk(member, place, level + 1)

    def _note(self, path: str, place: str, shape: str) -> Iterator[Finding]:
        plain = _INDEX.sub("", path)
        known = self.shapes.setdefault(plain, shape)
        if known == "list" and shape.startswith("list of"):
            self.shapes[plain] = shape
        elif known != shape and not (shape == "list" and known.startswith("list")):
            yield Finding(rule=RULES["GB111"], path=place, detail=f"{known} before, {shape} here")
        elif plain in self.nulls and shape != "scalars":
            yield Finding(rule=RULES["GB104"], path=place, detail=f"null before, {shape} here")

    def _note_null(self, path: str, place: str, *, repeated: bool) -> Iterator[Finding]:
        plain = _INDEX.sub("", path)
        if self.optional and not repeated and self.shapes.get(plain, "scalars") == "scalars":
            self.nulls.add(plain)
        else:
            yield Finding(rule=RULES["GB104"], path=place)


def _is_record(value: Any) -> bool:
    return isinstance(value, (Mapping, FilePart)) and not isinstance(value, Text)
