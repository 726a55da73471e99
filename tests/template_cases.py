"""Templates with rows for them, as hostile as they may be, and the request that each row should become.

For every test of the renderers: what Python makes of a row, what BigQuery makes of it, and what the long way gives.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from airflow_batch_gemini import EmbeddingTemplate, GeminiTemplate, Media, Turn
from airflow_batch_gemini.batch.fields import PER_ROW
from airflow_batch_gemini.batch.landing import Column
from airflow_batch_gemini.batch.media import mime_type_of
from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.batch.render import Renderer
from airflow_batch_gemini.batch.request import Template
from airflow_batch_gemini.batch.rows import RowBatch
from airflow_batch_gemini.batch.text import text_of
from airflow_batch_gemini.batch.typed import Kind
from airflow_batch_gemini.sql import prepare
from airflow_batch_gemini.sql.literal import identifier, string_literal

TABLE = TableName.parse("my-project.data.gemini_requests")

Piece = str | tuple[str]
"""Words, or the name of a column."""

WORDS = st.text(
    st.one_of(
        st.sampled_from("{}'\"`\\\n\r\t\u2028\u2029😀é\x00\x7f%$;-,"),
        st.sampled_from("ab 01"),
        st.characters(codec="utf-8"),
    ),
    max_size=12,
)
# BigQuery takes no column whose name has a dollar sign, and the analyzer keeps such names for itself.
NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="{}$"), min_size=1, max_size=9
)


def _literal(kind: str, spelled: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda value: f"CAST(NULL AS {kind})" if value is None else spelled(value)


def _float_literal(value: float) -> str:
    return f"CAST({string_literal(repr(value))} AS FLOAT64)"


def _strings(values: Sequence[str]) -> str:
    return f"CAST([{', '.join(map(string_literal, values))}] AS ARRAY<STRING>)"


_UTC = st.just(dt.UTC)
_DOCUMENTS = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | WORDS,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2)
    ),
    max_leaves=4,
).map(lambda value: json.loads(json.dumps(value, sort_keys=True)))  # as BigQuery keeps it

LITERALS: Mapping[str, Callable[[Any], str]] = {
    "STRING": _literal("STRING", string_literal),
    "INT64": _literal("INT64", str),
    "FLOAT64": _literal("FLOAT64", _float_literal),
    "BOOL": _literal("BOOL", str),
    "NUMERIC": _literal("NUMERIC", lambda value: f"NUMERIC '{value}'"),
    "DATE": _literal("DATE", lambda value: f"DATE '{value}'"),
    "TIMESTAMP": _literal("TIMESTAMP", lambda value: f"TIMESTAMP '{value.isoformat()}'"),
    "BYTES": _literal("BYTES", lambda value: f"CAST({string_literal(value.decode())} AS BYTES)"),
    "JSON": _literal("JSON", lambda value: f"PARSE_JSON({string_literal(json.dumps(value))})"),
    "STRING[]": _strings,
}
"""How a value of a type is written in SQL."""

VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "STRING": st.none() | WORDS,
    "INT64": st.none() | st.integers(-(2**63) + 1, 2**63 - 1),
    "FLOAT64": st.none() | st.floats(),
    "BOOL": st.none() | st.booleans(),
    "NUMERIC": st.none() | st.decimals(-(10**12), 10**12, places=9),
    "DATE": st.none() | st.dates(),
    "TIMESTAMP": st.none() | st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30), timezones=_UTC),  # noqa: DTZ001
    "BYTES": st.none() | WORDS.map(str.encode),
    "JSON": st.none() | _DOCUMENTS,
    "STRING[]": st.lists(WORDS, max_size=3),
}
"""What a column of a type may hold."""

URIS = st.builds(
    lambda middle, extension: f"gs://b/{middle}.{extension}",
    st.text(st.sampled_from("a \"'\\é😀`%{},"), max_size=4),
    st.sampled_from(["png", "MP4", "pdf", "wav"]),
)
NOTHING = st.sampled_from([None, ""])

UNFIT = object()
TEXTS: Mapping[Kind, Mapping[str, Any]] = {
    Kind.NUMBER: {"0.7": 0.7, "-0": 0.0, "1": 1.0, "1e-3": 0.001, "2E5": 2e5, "0.30000000000000000001": 0.3}
    | dict.fromkeys(["warm", "nan", "1.", " 1", "1e999", "+1"], UNFIT),
    Kind.INTEGER: {"7": 7, "-0": 0, "2147483647": 2147483647}
    | dict.fromkeys(["007", "2147483648", "7.0", "seven", " 7", "7\n"], UNFIT),
    Kind.BOOLEAN: {"true": True, "false": False} | dict.fromkeys(["True", "1"], UNFIT),
    Kind.WORD: {word: word for word in ("LOW", "MEDIA_RESOLUTION_HIGH")}
    | dict.fromkeys(['"', "two words", "é", "\\", "x\n"], UNFIT),
}
"""What a text says to a field of a kind."""

SETTINGS: Mapping[Kind, Sequence[tuple[str, st.SearchStrategy[Any]]]] = {
    Kind.NUMBER: [
        ("FLOAT64", st.floats(-2, 2) | st.floats()),
        ("INT64", st.integers(-(10**14), 10**14)),
        ("NUMERIC", st.decimals(-(10**6), 10**6, places=9)),
    ],
    Kind.INTEGER: [
        ("INT64", st.integers(-(2**31), 2**31 - 1) | st.integers(-(2**40), 2**40)),
        ("FLOAT64", st.integers(-(2**31), 2**31).map(float) | st.floats()),
    ],
    Kind.BOOLEAN: [("BOOL", st.booleans())],
    Kind.WORD: [],
}
"""Types of columns, beside texts, that may fill a field of a kind, with what they may hold: good and bad."""

DEFAULTS = {Kind.NUMBER: 0.5, Kind.INTEGER: 9, Kind.BOOLEAN: True, Kind.WORD: "HIGH"}


@dataclass(frozen=True)
class Case:
    """A template, the columns of its source, and rows of it."""

    arguments: Mapping[str, Any]
    """Of the template, with texts as pieces."""
    types: Mapping[str, str]
    rows: Sequence[Mapping[str, Any]]

    @property
    def template(self) -> Template:
        spelled = dict(self.arguments)
        for name in ("prompt", "system_instruction", "content", "title"):
            if spelled.get(name) is not None:
                spelled[name] = _spelled(spelled[name])
        if "content" in spelled:
            return EmbeddingTemplate(**spelled)
        spelled["turns"] = [Turn(role, _spelled(pieces)) for role, pieces in spelled["turns"]]
        return GeminiTemplate(**spelled)

    @property
    def columns(self) -> list[Column]:
        return [
            Column(name, kind.removesuffix("[]"), "REPEATED" if kind.endswith("[]") else "NULLABLE")
            for name, kind in self.types.items()
        ]

    @property
    def sql(self) -> str:
        """The query that makes the requests."""
        made = (
            ", ".join(
                f"{LITERALS[kind](row[name])} AS {identifier(name)}" for name, kind in self.types.items()
            )
            for row in self.rows
        )
        statement = prepare.create_requests(
            " UNION ALL ".join(f"SELECT {row}" for row in made),
            table=TABLE,
            template=self.template,
            key_column="key",
            columns=self.columns,
        )
        head, _, query = statement.partition(" AS\n")
        assert head.startswith("CREATE OR REPLACE TABLE")
        return query

    @property
    def suits_local_bigquery(self) -> bool:
        """Not with names that BigQuery has no columns of, nor with NUL in a literal, which it says it cannot do."""
        return "\\u0000" not in self.sql and not any(set(name) & {"`", "."} for name in self.types)

    def line(self, row: Mapping[str, Any]) -> bytes:
        """The line that Python makes of a row."""
        return line_of(self.template, row)

    def expected(self, row: Mapping[str, Any]) -> dict[str, Any] | None:
        """The request built the long way, ``None`` where a value does not fit its field."""
        given = self.arguments
        if "content" in given:
            return self._expected_embedding(row)
        contents = [
            {"role": role, "parts": [{"text": self._filled(pieces, row)}]} for role, pieces in given["turns"]
        ]
        parts: list[dict[str, Any]] = [{"text": self._filled(given["prompt"], row)}]
        for media in given["media"]:
            held = row[media.column]
            for uri in held if isinstance(held, list) else [held]:
                if uri:
                    file = {"fileUri": uri, "mimeType": media.mime_type or mime_type_of(uri)}
                    more = {"videoMetadata": media.video_metadata} if media.video_metadata else {}
                    parts.append({"fileData": file, **more})
        request: dict[str, Any] = {"contents": [*contents, {"role": "user", "parts": parts}]}
        if given["system_instruction"] is not None:
            text = self._filled(given["system_instruction"], row)
            request["systemInstruction"] = {"parts": [{"text": text}]}
        config = json.loads(json.dumps(given["generation_config"]))
        for path, column in given["config_columns"].items():
            *outer, name = path.split(".")
            inner = config
            for step in outer:
                inner = inner.setdefault(step, {})
            value = row[column]
            if value not in (None, ""):
                inner[name] = _setting(value, PER_ROW[path])
                if inner[name] is UNFIT:
                    return None
        config = {name: value for name, value in config.items() if value != {}}
        return request | ({"generationConfig": config} if config else {})

    def _expected_embedding(self, row: Mapping[str, Any]) -> dict[str, Any]:
        given = self.arguments
        config = {
            name: given[name] for name in ("task_type", "output_dimensionality") if given[name] is not None
        }
        if given["title"] is not None:
            config["title"] = self._filled(given["title"], row)
        request = {"content": {"parts": [{"text": self._filled(given["content"], row)}]}}
        return request | ({"embed_content_config": config} if config else {})

    def _filled(self, pieces: Sequence[Piece], row: Mapping[str, Any]) -> str:
        null_as = self.arguments["null_as"]
        return "".join(
            piece if isinstance(piece, str) else null_as if row[piece[0]] is None else text_of(row[piece[0]])
            for piece in pieces
        )


def line_of(template: Template, row: Mapping[str, Any], *, key_column: str = "key") -> bytes:
    """Render one row."""
    renderer = Renderer(template, key_column=key_column)
    batch = RowBatch(source="rows.jsonl", unit="line", first=7, rows=[row])
    _, [line] = renderer.make(batch)
    return line


def _spelled(pieces: Sequence[Piece]) -> str:
    return "".join(
        one.replace("{", "{{").replace("}", "}}") if isinstance(one, str) else f"{{{one[0]}}}"
        for one in pieces
    )


def _setting(value: Any, kind: Kind) -> Any:
    """What a value is for a field, :data:`UNFIT` where it is nothing."""
    if isinstance(value, str):
        return TEXTS[kind].get(value, UNFIT)
    if kind in (Kind.BOOLEAN, Kind.WORD):
        return value if isinstance(value, bool) and kind is Kind.BOOLEAN else UNFIT
    number = float(value)
    if kind is Kind.NUMBER:
        return number if number == 0 or 1e-99 <= abs(number) < 1e100 else UNFIT
    return int(number) if number.is_integer() and -(2**31) <= number < 2**31 else UNFIT


@st.composite
def cases(draw: st.DrawFn, *, max_rows: int = 2, kinds: Sequence[str] = tuple(VALUES)) -> Case:
    """Draw a template with columns of all types, and rows for it."""
    names = draw(
        st.lists(NAMES, min_size=10, max_size=10, unique_by=str.casefold).filter(
            lambda found: "key" not in map(str.casefold, found)
        )
    )
    words = dict(zip(names[:4], draw(st.lists(st.sampled_from(kinds), min_size=4, max_size=4)), strict=True))
    texts = st.lists(st.one_of(WORDS, st.sampled_from(names[:4]).map(lambda name: (name,))), max_size=4)
    values = {name: VALUES[kind] for name, kind in words.items()}
    types = {"key": "STRING", **words}
    arguments: dict[str, Any]
    if draw(st.integers(0, 9)) == 0:
        arguments = {
            "content": ["x", *draw(texts)],
            "title": draw(st.none() | texts.map(lambda found: ["t", *found])),
            "task_type": draw(st.none() | st.just("CLUSTERING")),
            "output_dimensionality": draw(st.none() | st.integers(1, 3072)),
        }
    else:
        arguments = {
            "prompt": ["x", *draw(texts)],
            "system_instruction": draw(st.none() | texts.map(lambda found: ["y", *found])),
            "turns": draw(
                st.lists(
                    st.tuples(st.sampled_from(["user", "model"]), texts.map(lambda found: ["z", *found])),
                    max_size=2,
                )
            ),
            "media": draw(_media(names[4:6], types, values)),
            **draw(_settings(names[6:], types, values)),
        }
    arguments["null_as"] = draw(WORDS)
    rows = [
        {"key": f"a{i}", **{name: draw(strategy) for name, strategy in values.items()}}
        for i in range(draw(st.integers(1, max_rows)))
    ]
    return Case(arguments, types, rows)


@st.composite
def _media(
    draw: st.DrawFn, names: Sequence[str], types: dict[str, str], values: dict[str, Any]
) -> list[Media]:
    found = []
    for name in names[: draw(st.integers(0, 2))]:
        types[name] = draw(st.sampled_from(["STRING", "STRING[]"]))
        one = URIS | NOTHING
        values[name] = one if types[name] == "STRING" else st.lists(URIS | st.just(""), max_size=3)
        video = draw(st.none() | st.just({"startOffset": "1.5s", "fps": 0.5}))
        mime_type = draw(st.none() | st.just("video/x-any"))
        found.append(Media(column=name, mime_type=mime_type, video_metadata=video))
    return found


@st.composite
def _settings(
    draw: st.DrawFn, names: Sequence[str], types: dict[str, str], values: dict[str, Any]
) -> dict[str, Any]:
    config: dict[str, Any] = draw(st.sampled_from([{}, {"stopSequences": ["'", '"']}]))
    columns = {}
    fields = draw(st.lists(st.sampled_from(sorted(PER_ROW)), max_size=len(names), unique=True))
    for name, field in zip(names, fields, strict=False):
        kind = PER_ROW[field]
        texts = ("STRING", st.sampled_from(["", *TEXTS[kind]]))
        types[name], strategy = draw(st.sampled_from([texts, *SETTINGS[kind]]))
        values[name] = st.none() | strategy
        columns[field] = name
        if draw(st.booleans()):
            *outer, last = field.split(".")
            inner = config = json.loads(json.dumps(config))
            for step in outer:
                inner = inner.setdefault(step, {})
            inner[last] = DEFAULTS[kind]
    return {"generation_config": config, "config_columns": columns}
