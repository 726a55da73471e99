"""What is known to break a job or a request, before it is paid for: one table of rules, and what is said of a breach.

The importer reads a request file as BigQuery reads JSONL, one type per JSON path over the whole file; a single breach
fails the whole job (page "Batch inference", section "Prepare input"). A ``request`` column of a BigQuery table is
opaque to it, so its rules do not bind there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NoReturn

from airflow_batch_gemini.exceptions import RowError, TemplateError

MAX_LEVELS = 15
"""Objects inside objects that the importer takes, ``request`` being the first."""
MAX_KEY_BYTES = 1024
MAX_LINE_BYTES = 20_000_000
"""Longest request: what Gemini takes in one body."""
ROLES = frozenset({"user", "model"})
OUTPUT_NAMES = frozenset({"response", "status", "processed_time"})
"""What Vertex AI writes beside a request; in its input these names are reserved."""

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
