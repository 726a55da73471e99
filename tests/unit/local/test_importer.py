"""Every rule by which the service imports files, as a table."""

import json
from typing import Any

import pytest

from airflow_batch_gemini.local.vertex.importer import Importer, ImportRefusedError, coerced

SCALAR, OTHER = {"x": "a"}, {"x": 1}


def take(*rows: Any) -> Importer:
    importer = Importer()
    for row in rows:
        importer.take(row if isinstance(row, bytes) else json.dumps(row).encode())
    importer.finish()
    return importer


def request(value: Any) -> dict[str, Any]:
    return {"request": value}


def nested(levels: int) -> dict[str, Any]:
    """A row whose deepest struct is `levels` below the row itself."""
    value: Any = {"leaf": 1}
    for _ in range(levels - 1):
        value = {"a": value}
    return {"request": value}


@pytest.mark.parametrize(
    ("rows", "fragment"),
    [
        pytest.param([request({"x": [1]}), request({"x": 1})], "Field: request.x", id="array then scalar"),
        pytest.param(
            [request({"x": 1}), request({"x": [1]})],
            "Repeated field must be imported as a JSON array. Field: request.x",
            id="scalar then array",
        ),
        pytest.param(
            [request({"x": {"y": 1}}), request({"x": [{"y": 1}]})], "Repeated field", id="struct then array"
        ),
        pytest.param(
            [request({"x": []}), request({"x": "a"})], "Repeated field", id="empty array then scalar"
        ),
        pytest.param([request({"x": 1}), request({"x": {"y": 1}})], "changed type", id="scalar then struct"),
        pytest.param([request({"x": [1, {"y": 1}]})], "changed type", id="mixed within one array"),
        pytest.param(
            [request({"x": [{"y": 1}, {"y": [1]}]})], "Field: request.x.y", id="inside array elements"
        ),
        pytest.param(
            [{"request": {"a": 1}, "tag": 1}, {"request": {"a": 1}, "tag": [1]}], "tag", id="siblings too"
        ),
        pytest.param(
            [nested(16)], "Schema nested too deeply, at least 16 compared to the maximum", id="16 levels"
        ),
        pytest.param([request({"$defs": {"a": 1}})], 'Invalid field name "$defs"', id="dollar name"),
        pytest.param([request({"$ref": "x"})], 'Invalid field name "$ref"', id="reference"),
        pytest.param([request({"my field": 1})], 'Invalid field name "my field"', id="space"),
        pytest.param([request({"a/b": 1})], 'Invalid field name "a/b"', id="slash"),
        pytest.param([request({"": 1})], 'Invalid field name ""', id="no name at all"),
        pytest.param([request({"1a": 1})], 'Invalid field name "1a"', id="digit first"),
        pytest.param([request({"a" * 301: 1})], "Invalid field name", id="301 characters"),
        pytest.param(
            [request({"generationConfig": {}})],
            "Cannot store struct 'request.generationConfig' with no fields",
            id="empty object",
        ),
        pytest.param(
            [request({"tools": [{"google_search": {}}]})],
            "Cannot store struct 'request.tools.google_search' with no fields",
            id="empty object in an array",
        ),
        pytest.param([request({"tools": [{}]})], "no fields", id="empty element"),
        pytest.param([request({})], "'request' with no fields", id="empty request"),
        pytest.param([request({"enum": ["a", None]})], "NULL. Field: request.enum", id="null in an array"),
        pytest.param(
            [request({"enum": ["a"]}), request({"enum": None})], "NULL. Field: request.enum", id="null array"
        ),
        pytest.param(
            [request({"enum": None}), request({"enum": ["a"]})], "NULL. Field: request.enum", id="null first"
        ),
        pytest.param(
            [request({"x": {"y": 1}}), request({"x": None})], "NULL. Field: request.x", id="null struct"
        ),
        pytest.param([request({"x": [[1]]})], "non-repeated field: request.x", id="array in an array"),
        pytest.param([request({"x": 1}), b"{not json"], "line 2", id="not JSON"),
        pytest.param([b"[1]"], "a JSON object is required", id="not an object"),
        pytest.param([b'{"request": NaN}'], "invalid JSON", id="NaN"),
        pytest.param([b'{"request": {"x": "\xff"}}'], "invalid JSON", id="not UTF-8"),
        pytest.param([], "empty", id="no rows"),
        pytest.param([{"prompt": "x"}], "No such field: request", id="no request anywhere"),
    ],
)
def test_a_breach_is_refused_with_the_services_words(rows: list[Any], fragment: str) -> None:
    """Alone or together with an earlier line."""
    with pytest.raises(ImportRefusedError) as caught:
        take(*rows)
    assert fragment in str(caught.value)


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([nested(15)], id="15 levels"),
        pytest.param(
            [request({"x": 1}), request({"x": "a"}), request({"x": 1.5})], id="scalars of several kinds"
        ),
        pytest.param([request({"x": None}), request({"x": 1})], id="null for an optional scalar"),
        pytest.param([request({"x": [1]}), request({"y": 1})], id="a path that is missing"),
        pytest.param([request({"x": []}), request({"x": [{"y": 1}]})], id="an empty array fits any array"),
        pytest.param([request({"a" * 300: 1})], id="300 characters"),
        pytest.param([request({"_a1": 1})], id="underscore first"),
        pytest.param([b'{"request": {"text": "a\xe2\x80\xa8b"}}'], id="U+2028 in text ends no line"),
        pytest.param(
            [{"request": {"a": 1}, "status": "", "response": {}, "processed_time": "t", "key": "k"}],
            id="a line of an earlier output, empty response and all",
        ),
    ],
)
def test_what_keeps_the_rules_is_taken(rows: list[Any]) -> None:
    """No false alarm."""
    assert take(*rows).rows == len(rows)


@pytest.mark.parametrize(
    ("values", "kind", "coerced_to"),
    [
        (["000000", "17"], "INT64", [0, 17]),
        (["1.50", "2"], "FLOAT64", [1.5, 2.0]),
        (["1", "one"], "STRING", ["1", "one"]),
        ([1, "2"], "INT64", [1, 2]),
        ([1, 2.5], "FLOAT64", [1, 2.5]),
        ([True, False], "BOOL", [True, False]),
        ([{"a": 1}], "JSON", [{"a": 1}]),
        (["k1", None], "STRING", ["k1", None]),
        (["9" * 30], "FLOAT64", [1e30]),
    ],
)
def test_a_sibling_column_has_one_type_for_all_rows(
    values: list[Any], kind: str, coerced_to: list[Any]
) -> None:
    """Text that looks like a number becomes one, which is why keys start with a letter."""
    importer = take(*({"request": {"a": 1}, "s": value} for value in values))
    found = importer.sibling_types()
    assert found == {"s": kind}
    assert [coerced(value, found["s"]) for value in values] == coerced_to
