"""What is known to break a job or a request, before it is paid for: one table of rules, and the checks behind it.

The importer reads a request file as BigQuery reads JSONL, one type per JSON path over the whole file; a single breach
fails the whole job (page "Batch inference", section "Prepare input"). A ``request`` column of a BigQuery table is
opaque to it, so its rules do not bind there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NoReturn

from airflow_batch_gemini.batch.template import FilePart, Text
from airflow_batch_gemini.exceptions import RowError, TemplateError

MAX_LEVELS = 15
"""Objects inside objects that the importer takes, ``request`` being the first."""
MAX_KEY_BYTES = 1024
MAX_LINE_BYTES = 20_000_000
"""Longest request: what Gemini takes in one body."""
ROLES = frozenset({"user", "model"})
OUTPUT_NAMES = frozenset({"response", "status", "processed_time"})
"""What Vertex AI writes beside a request; in its input these names are reserved."""

_LEGAL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


Severity = Literal["error", "warning"]
OnLint = Literal["fail", "drop", "ignore"]
"""What becomes of a row that breaks a rule: nothing is prepared, it is left out, or it is sent all the same."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One thing that must not be."""

    id: str
    says: str
    fix: str
    importer: bool = False
    """Whether only the importer of request files minds."""
    severity: Severity = "error"
    """An error breaks the row or the whole job; a warning may."""


def _table(*rules: Rule) -> Mapping[str, Rule]:
    return MappingProxyType({rule.id: rule for rule in rules})


RULES = _table(
    Rule(
        id="GB101",
        says="a member name is not a legal column name",
        fix="use letters, digits and underscores, and do not begin with a digit",
        importer=True,
    ),
    Rule(id="GB102", says="an object is empty", fix="leave it out, or give it a member", importer=True),
    Rule(
        id="GB103",
        says=f"objects nest deeper than {MAX_LEVELS} levels",
        fix="flatten the response schema",
        importer=True,
    ),
    Rule(
        id="GB104",
        says="a value is null where only scalars may be",
        fix="leave the member out",
        importer=True,
    ),
    Rule(
        id="GB105",
        says="cachedContent is not supported in batches",
        fix="put the content into the prompt; implicit caching still applies",
    ),
    Rule(id="GB106", says="the request has no contents", fix="give it a prompt"),
    Rule(id="GB107", says="a role is unknown", fix=f"use one of {', '.join(sorted(ROLES))}"),
    Rule(
        id="GB108", says="the request is too large", fix="shorten the row's text, or point to a file instead"
    ),
    Rule(id="GB109", says="a media URI is malformed", fix="use gs://bucket/name or https://host/path"),
    Rule(
        id="GB110", says="the MIME type of a media URI is unknown", fix="set mime_type= of the Media column"
    ),
    Rule(
        id="GB111",
        says="a path holds a list, an object and a scalar in different places",
        fix="give the path one shape everywhere",
        importer=True,
    ),
    Rule(
        id="GB112",
        says="a field is written in snake_case here and in camelCase elsewhere",
        fix="keep to one spelling",
        importer=True,
        severity="warning",
    ),
    Rule(
        id="GB113",
        says="the response schema is another one than that of earlier requests",
        fix="put requests of different schemas into batches of their own",
        severity="warning",
    ),
    Rule(
        id="GB114",
        says="RAG retrieval is not supported in batches",
        fix="retrieve beforehand, and put what was found into the prompt",
    ),
    Rule(
        id="GB115",
        says="the file has more different fields than a table has columns",
        fix="keep varying names out of the requests: use values instead",
        importer=True,
    ),
    Rule(id="GB121", says="the key is missing or empty", fix="give every row a key"),
    Rule(id="GB122", says="the key is used twice", fix="make keys unique"),
    Rule(id="GB123", says=f"the key is longer than {MAX_KEY_BYTES} bytes", fix="use a shorter key"),
    Rule(id="GB124", says="the key has control characters", fix="remove them"),
    Rule(id="GB125", says="a value has no text", fix="cast it in the query, or leave the column out"),
    Rule(
        id="GB126",
        says="a value does not fit its field of the generation config",
        fix="correct it, or make it NULL for what the template says",
    ),
    Rule(id="GB131", says="the line is no JSON object", fix="write one JSON object a line, in UTF-8"),
    Rule(id="GB132", says="an empty line stands between others", fix="remove it", severity="warning"),
    Rule(id="GB133", says="the line has no request", fix='write {"request": {…}}, or a request alone'),
    Rule(
        id="GB134",
        says="the file begins with a byte order mark",
        fix="save it as UTF-8 without one; prepare leaves it out",
    ),
    Rule(
        id="GB135",
        says="a member beside the request has a name that Vertex AI writes itself",
        fix="rename it; a file with response and status is the output of a job",
    ),
    Rule(
        id="GB136",
        says="the key looks like a number and may come back as another one",
        fix="begin it with a letter; prepare does so",
        severity="warning",
    ),
    Rule(
        id="GB137",
        says="the file is more than one job takes",
        fix="let prepare cut it into parts, or cut it yourself",
        severity="warning",
    ),
    Rule(id="GB138", says="the file has no requests", fix="give it a line"),
    Rule(
        id="GB139",
        says="the line is a request alone, which only prepare takes",
        fix='write {"request": {…}} where a job is to read this very file',
        severity="warning",
    ),
    Rule(
        id="GB141",
        says="the model is retired",
        fix="choose a current one",
        severity="warning",
    ),
    Rule(
        id="GB142",
        says="the model is not served in this location",
        fix="use global, us or eu",
        severity="warning",
    ),
)
"""By id. A rule keeps its id for ever."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One breach: which rule, which row, where in the request. It never quotes a prompt or a row."""

    rule: Rule
    key: str | None = None
    row: str = ""
    """Where the row stands in its source."""
    path: str = ""
    detail: str = ""

    @property
    def said(self) -> str:
        """What is wrong and what to do, without saying of which row."""
        where = ", ".join(filter(None, [self.path, self.detail]))
        return f"{self.rule.says}{f' ({where})' if where else ''}; {self.rule.fix}."

    def __str__(self) -> str:
        key = f"key {self.key[:100]!r}" if self.key is not None else ""
        place = ", ".join(filter(None, [self.row, key, self.path]))
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.rule.id} {place or 'template'}: {self.rule.says}{detail}; {self.rule.fix}."


def refuse_row(rule_id: str, **about: Any) -> NoReturn:
    """Raise :class:`RowError` for a breach by one row."""
    finding = Finding(rule=RULES[rule_id], **about)
    raise RowError(
        f"{finding} Nothing was sent, and no prepared request was kept.",
        rule=rule_id,
        key=finding.key,
        said=finding.said,
    )


def refuse_template(findings: Iterable[Finding]) -> None:
    """Raise :class:`TemplateError` when there is a finding, naming the first ten."""
    found = list(findings)
    if found:
        more = f" … and {len(found) - 10} more." if len(found) > 10 else ""
        raise TemplateError(f"{' '.join(map(str, found[:10]))}{more} Nothing was sent; correct the template.")


def key_rule(key: str) -> str | None:
    """Return the id of the rule that *key* breaks, or ``None``."""
    if not key:
        return "GB121"
    if len(key) > MAX_KEY_BYTES // 4 and len(key.encode(errors="replace")) > MAX_KEY_BYTES:
        return "GB123"
    return "GB124" if _CONTROL.search(key) else None


def keys_are_fine(keys: Sequence[str]) -> bool:
    """Whether it is plain that none of *keys* breaks a rule; ``False`` says nothing."""
    fits = all(keys) and max(map(len, keys), default=0) <= MAX_KEY_BYTES // 4
    return fits and "".join(keys).isprintable()


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
        if name in request:
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
            if isinstance(retrieval, Mapping) and name in retrieval:
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
        if known == "list" and shape.startswith("list"):
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


_INDEX = re.compile(r"\[\d+\]")


def _is_record(value: Any) -> bool:
    return isinstance(value, (Mapping, FilePart)) and not isinstance(value, Text)
