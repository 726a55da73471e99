"""Requests of one file before the importer that reads them all as one table: one shape for each JSON path.

Requests of a file are alike. What the rules ask is mostly a matter of a line's skeleton, that is of everything in it
but its texts and the digits of its numbers; so each skeleton is judged once, and a line of a known one costs a look
into a dictionary.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_batch_gemini.batch.lint import RULES, Finding, ImporterWalk, lint_request

MAX_PATHS = 10_000
"""Columns that a BigQuery table has at most."""
_MAX_SKELETONS = 10_000
"""Remembered at once; a file of ever new ones takes time and not memory."""
_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
_NAME_ENDS = re.compile(rb"\s*:")
_UNDERSCORE = re.compile(r"_+([a-zA-Z0-9])")


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
    _names: dict[bytes, tuple[int, ...]] = field(default_factory=dict)
    _judged: dict[tuple[Any, ...], tuple[Finding, ...]] = field(default_factory=dict)

    def findings(
        self, data: bytes, request: Mapping[str, Any], *, line: Mapping[str, Any] | None = None
    ) -> Sequence[Finding]:
        """Return what breaks a rule, without row and key.

        :param data: JSON that parses, with the request somewhere in it.
        :param request: the same, parsed.
        :param line: the object that the request is a member of, where what stands beside it is imported too.
        """
        skeleton = self._skeleton(data)
        found = self._judged.get(skeleton)
        if found is None:
            if len(self._judged) >= _MAX_SKELETONS:
                self._judged.clear()
            found = self._judged[skeleton] = tuple(self._judge(request, line or {"request": request}))
        return found

    def _skeleton(self, data: bytes) -> tuple[Any, ...]:
        """Return all of *data* but digits and those texts that no rule reads."""
        if b"\\" in data:
            # Without escaped quotes every quote begins or ends a text.
            data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
        pieces = data.split(b'"')
        between = b'"'.join(pieces[::2]).translate(_DIGITS)
        places = self._names.get(between)
        if places is None:
            if len(self._names) >= _MAX_SKELETONS:
                self._names.clear()
            places = self._names[between] = _places_of_names(pieces)
        names = tuple([pieces[place] for place in places])
        if b"role" not in names:
            return between, names
        return (
            between,
            names,
            *[pieces[at + 2] for at in places if pieces[at] == b"role" and at + 2 < len(pieces)],
        )

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
        config = request.get("generationConfig", request.get("generation_config"))
        schema = (
            config.get("responseSchema", config.get("response_schema"))
            if isinstance(config, Mapping)
            else None
        )
        if schema is None:
            return
        text = json.dumps(schema, sort_keys=True)
        self._schema = self._schema or text
        if text != self._schema:
            yield Finding(rule=RULES["GB113"], path="request.generationConfig.responseSchema")


def _places_of_names(pieces: Sequence[bytes]) -> tuple[int, ...]:
    """Return which of the texts, the pieces with odd numbers, a colon follows."""
    return tuple(place for place in range(1, len(pieces) - 1, 2) if _NAME_ENDS.match(pieces[place + 1]))


def _camel(path: str) -> str:
    return _UNDERSCORE.sub(lambda match: match[1].upper(), path)
