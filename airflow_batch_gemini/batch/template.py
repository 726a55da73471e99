"""A request with holes: compiled once into segments, which a row fills in Python and a column fills in SQL.

A segment is fixed JSON, a JSON string with columns in it, the part of a file whose URI a column holds, or an object
that has what columns say. Their concatenation, holes filled, is the JSON of one request.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from airflow_batch_gemini.batch.typed import Kind
from airflow_batch_gemini.exceptions import TemplateError

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}\x00-\x1f\x7f]+)\}|[{}]")
_TAME = re.compile(r"[\w.:-]{1,64}")
"""What messages show of columns: words. Longer texts may be a prompt's, or a row's that stands for a header."""


@dataclass(frozen=True)
class Column:
    """A hole: the text of a column."""

    name: str


@dataclass(frozen=True)
class Fixed:
    """JSON that is the same in every request."""

    json: str


@dataclass(frozen=True)
class Text:
    """One JSON string: words and columns in turn."""

    pieces: tuple[str | Column, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns in it, each as often as it occurs."""
        return tuple(piece.name for piece in self.pieces if isinstance(piece, Column))


@dataclass(frozen=True)
class FilePart:
    """``,{"fileData": …}`` after other parts, for each URI of a column that has several; nothing for NULL and empty."""

    column: str
    mime_type: str | None
    """``None``: by the extension of each URI."""
    more: str = ""
    """JSON members of the part beside ``fileData``, each after a comma."""


@dataclass(frozen=True)
class Value:
    """A hole that is no text: a member that is left out where the column is NULL and *default* ``None``."""

    column: str
    kind: Kind
    default: str | None = None
    """JSON."""


@dataclass(frozen=True)
class Members:
    """``,"name":{…}`` after other members: an object with holes in it, or nothing where it would be empty."""

    name: str
    fixed: tuple[str, ...]
    """JSON of the members that every request has."""
    values: tuple[tuple[str, Value], ...]
    inner: tuple[Members, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns in it."""
        own = tuple(value.column for _, value in self.values)
        return own + tuple(column for one in self.inner for column in one.columns)


Segment = Fixed | Text | FilePart | Members


def parse_text(text: object, *, where: str) -> Text:
    """Read a text with ``{column}`` placeholders; ``{{`` and ``}}`` are literal braces.

    :param where: what the text is called in messages, which never quote it.
    """
    if not isinstance(text, str) or not text:
        raise TemplateError(f"{where} must be a text that is not empty. Nothing was sent.")
    _check_unicode(text, where)
    pieces: list[str | Column] = []
    start = 0
    for token in _TOKEN.finditer(text):
        pieces.append(text[start : token.start()])
        start = token.end()
        if token[1] is not None:
            pieces.append(Column(token[1]))
        elif token[0] in {"{{", "}}"}:
            pieces.append(token[0][0])
        else:
            raise TemplateError(
                f"{where} has a single {token[0]!r} at character {token.start() + 1}: a placeholder is {{column}}, and "
                f"a literal brace is written {token[0] * 2!r}. Nothing was sent."
            )
    pieces.append(text[start:])
    return Text(tuple(_joined(pieces)))


def compile_request(request: Mapping[str, Any]) -> tuple[Segment, ...]:
    """Return the segments of *request*, a JSON document whose leaves may be holes.

    A :class:`FilePart` stands after the first of its list; an object with a :class:`Value` in it is a member of
    *request* itself, and not its first.
    """
    segments: list[Segment] = []
    for segment in _emit(request):
        last = segments[-1] if segments else None
        if isinstance(segment, Fixed) and isinstance(last, Fixed):
            segments[-1] = Fixed(last.json + segment.json)
        else:
            segments.append(segment)
    return tuple(segments)


def columns_of(segments: Sequence[Segment]) -> tuple[str, ...]:
    """Return every column the segments need, in order of first use."""
    found: dict[str, None] = {}
    for segment in segments:
        if isinstance(segment, (Text, Members)):
            found.update(dict.fromkeys(segment.columns))
        elif isinstance(segment, FilePart):
            found[segment.column] = None
    return tuple(found)


def check_columns(
    segments: Sequence[Segment], *, key_column: str, available: Sequence[str], source: str
) -> None:
    """Refuse a template that needs a column which the rows of *source* do not have.

    :raises TemplateError: naming the placeholder and the columns there are.
    """
    for column in (key_column, *columns_of(segments)):
        if column not in available:
            what = "key_column" if column == key_column else "the template's column"
            shown = repr(column) if _TAME.fullmatch(column) else "whose name is not one word"
            raise TemplateError(
                f"{what} {shown} is no column of {source}. Its columns: {_listed(available)}. Nothing was sent; "
                "correct the name."
            )


def _listed(names: Sequence[str]) -> str:
    shown = [name for name in names if _TAME.fullmatch(name)][:50]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _emit(value: Any) -> Iterator[Segment]:
    if isinstance(value, Text):
        yield value if value.columns else Fixed(_json("".join(map(str, value.pieces))))
    elif isinstance(value, FilePart):
        yield value
    elif isinstance(value, Mapping):
        for i, (key, member) in enumerate(value.items()):
            if i and _has_values(member):
                yield _members(key, member)
                continue
            yield Fixed(("{" if i == 0 else ",") + _json_name(key) + ":")
            yield from _emit(member)
        yield Fixed("}" if value else "{}")
    elif isinstance(value, (list, tuple)):
        yield Fixed("[")
        for i, member in enumerate(value):
            if i and not isinstance(member, FilePart):
                yield Fixed(",")
            yield from _emit(member)
        yield Fixed("]")
    else:
        yield Fixed(_json(value))


def _has_values(value: Any) -> bool:
    return isinstance(value, Mapping) and any(
        isinstance(member, Value) or _has_values(member) for member in value.values()
    )


def _members(name: str, value: Mapping[str, Any]) -> Members:
    values = tuple((key, member) for key, member in value.items() if isinstance(member, Value))
    inner = tuple(_members(key, member) for key, member in value.items() if _has_values(member))
    others = dict(value)
    for known in (*(key for key, _ in values), *(one.name for one in inner)):
        del others[known]
    fixed = (_without_holes({key: member})[1:-1] for key, member in others.items())
    return Members(name, tuple(fixed), values, inner)


def _without_holes(value: Any) -> str:
    return "".join(segment.json for segment in _emit(value) if isinstance(segment, Fixed))


def _json_name(key: object) -> str:
    if isinstance(key, str):
        return _json(key)
    raise TemplateError(
        f"The template holds a member name of type {type(key).__name__}, not a string. Nothing was sent."
    )


def _json(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        raise TemplateError(
            "The template holds a number that is not finite, which is no JSON. Nothing was sent."
        )
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        raise TemplateError(
            f"The template holds a value of type {type(value).__name__} that is no JSON. Nothing was sent."
        ) from None


def _joined(pieces: list[str | Column]) -> Iterator[str | Column]:
    words = ""
    for piece in pieces:
        if isinstance(piece, str):
            words += piece
            continue
        if words:
            yield words
        yield piece
        words = ""
    if words:
        yield words


def _check_unicode(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TemplateError(
            f"{where} has half a character (a lone surrogate) at character {error.start + 1}. Nothing was sent."
        ) from None
