"""Requests of one file before the importer that reads them all as one table: one shape for each JSON path.

Requests of a file are alike. What the rules ask is mostly a matter of a line's shape, that is of everything in it but
its texts and its numbers; so each shape is judged once, and a line of a known one costs a look into a dictionary.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_batch_gemini.batch.lint import RULES, Finding
from airflow_batch_gemini.batch.lint_request import ImporterWalk, lint_request
from airflow_batch_gemini.batch.lint_shape import Frame, Path, Shapes, pieces_of

MAX_PATHS = 10_000
"""Columns that a BigQuery table has at most."""
_CONFIGS = ("generationConfig", "generation_config")
_SCHEMAS = ("responseSchema", "response_schema", "responseJsonSchema", "response_json_schema")
_SAID_ONCE = ("GB112",)
"""Rules of a path and not of a line: said where the path first appears."""
_UNDERSCORE = re.compile(r"_+([a-zA-Z0-9])")


def _is_read(path: Path) -> bool:
    """Whether a rule reads the text or the number at *path*, which begins at the line or at its request."""
    match path[1:] if path[:1] == ("request",) else path:
        case ("contents", "[]", "role") | ("contents" | "content", "role"):
            return True
        case (config, schema, *_):
            return config in _CONFIGS and schema in _SCHEMAS
    return False


@dataclass
class FileLinter:
    """Judges the requests of one file, in their order; of two that cannot be in one file the later one is to blame.

    What a request with an error says of its paths is forgotten with it.

    :param importer: whether they are imported: a ``request`` column of a table is not.
    """

    importer: bool = True
    _walk: ImporterWalk = field(default_factory=lambda: ImporterWalk(optional=True))
    _spelled: dict[str, str] = field(default_factory=dict)
    _schema: str | None = None
    _shapes: Shapes = field(default_factory=lambda: Shapes(_is_read))

    @property
    def frames(self) -> Sequence[Frame]:
        """What good lines had in common of late: one that fits needs no judgement."""
        return self._shapes.frames

    def findings(
        self, data: bytes, request: Mapping[str, Any], *, line: Mapping[str, Any] | None = None
    ) -> Sequence[Finding]:
        """Return what breaks a rule, without row and key.

        :param data: JSON that parses, with the request somewhere in it.
        :param request: the same, parsed.
        :param line: the object that the request is a member of, where what stands beside it is imported too.
        """
        pieces = pieces_of(data)
        if (shape := self._shapes.find(pieces)) is not None:
            return shape.findings
        found = tuple(self._judge(request, line or {"request": request}))
        self._shapes.learn(data, pieces, tuple(one for one in found if one.rule.id not in _SAID_ONCE))
        return found

    def _judge(self, request: Mapping[str, Any], line: Mapping[str, Any]) -> Iterator[Finding]:
        found = list(lint_request(request, importer=False))
        if self.importer:
            found += self._import(line, wrong=bool(found))
        yield from found
        if not any(one.rule.severity == "error" for one in found):
            yield from self._other_schema(request)

    def _import(self, line: Mapping[str, Any], *, wrong: bool) -> list[Finding]:
        """Walk the line over what is known of the file, and keep what it adds unless it is wrong."""
        walk = replace(self._walk, shapes=dict(self._walk.shapes), nulls=set(self._walk.nulls))
        found = list(walk.walk(line))
        new = walk.shapes.keys() - self._walk.shapes.keys()
        if not found and len(walk.shapes) > MAX_PATHS:
            found.append(Finding(rule=RULES["GB115"], detail=f"{MAX_PATHS:,} columns"))
        if found or wrong:
            return found
        self._walk = walk
        for path in sorted(new):
            first = self._spelled.setdefault(_camel(path), path)
            if first != path:
                found.append(Finding(rule=RULES["GB112"], path=path, detail=f"{first} before"))
        return found

    def _other_schema(self, request: Mapping[str, Any]) -> Iterator[Finding]:
        for place in _CONFIGS:
            given = request.get(place)
            config = given if isinstance(given, Mapping) else {}
            for name in _SCHEMAS:
                if config.get(name) is None:
                    continue
                text = json.dumps(config[name], sort_keys=True)
                self._schema = self._schema or text
                if text != self._schema:
                    yield Finding(rule=RULES["GB113"], path=f"request.{place}.{name}")


def _camel(path: str) -> str:
    return _UNDERSCORE.sub(lambda match: match[1].upper(), path)
