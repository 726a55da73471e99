"""Every statement of the load before its judge: GoogleSQL's own analyzer and reference implementation."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import googlesql
import pytest
from outcome_corpus import ASKED, CORPUS, asks, candidate, line, response, sent

from airflow_batch_gemini.batch.allowance import Allowance
from airflow_batch_gemini.batch.columns import NO_COLUMNS, Typed
from airflow_batch_gemini.batch.job import Job
from airflow_batch_gemini.batch.landing import Column
from airflow_batch_gemini.batch.manifest import Identity, Manifest, Part
from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.batch.outcome import Line, Outcome, Reading, classify
from airflow_batch_gemini.batch.pricing import LONG_CONTEXT, Price, cost, price_of
from airflow_batch_gemini.batch.repair import RepairPolicy
from airflow_batch_gemini.batch.schema import Shape
from airflow_batch_gemini.batch.stages import Stages
from airflow_batch_gemini.batch.tally import TOKENS, Tally
from airflow_batch_gemini.exceptions import InvalidNameError
from airflow_batch_gemini.sql import batches, latest, outcomes, publishing, repair, results
from airflow_batch_gemini.sql.audit import audit, standings_after
from airflow_batch_gemini.sql.literal import identifier, string_literal
from airflow_batch_gemini.sql.sources import NOTHING_BESIDE, Beside, PartTables
from airflow_batch_gemini.sql.typed import type_of

REQUESTS, LANDED = TableName.parse("p-x.d.requests"), TableName.parse("p-x.d.landed")
OUTCOMES, RESULTS, ERRORS = (TableName.parse(f"p-x.d.{name}") for name in ("outcomes", "results", "errors"))
BATCHES = TableName.parse("p-x.d.batches")
PUBLISHED = publishing.published_table(RESULTS, ERRORS, "b" * 32)
LOADED = results.LoadedBatch(batch_id="b" * 32, fingerprint="f" * 32, results=RESULTS, errors=ERRORS)
PUBLICATION = publishing.Publication(batch=LOADED, rows=3)
JOB = "projects/p-x/locations/us-central1/batchPredictionJobs/1"
PART = PartTables(part=0, epoch=1, job_name=JOB, requests=REQUESTS, predictions=LANDED)
PROVENANCE = outcomes.Provenance(
    batch_id="b" * 32,
    model="gemini-2.5-pro",
    dag_id='it\'s a "dag" \\ `x`',
    run_id="manual__2026-09-01T00:00:00+00:00",
    batch_date="2026-09-01",
    template_fingerprint="f" * 64,
    template_version="v2",
)
PRO = price_of("gemini-2.5-pro")
OUTCOME_COLUMNS = (
    *(c for c in results.ERRORS if c.name != "loaded_at"),
    Column("answer", "JSON"),
)


def batched(names: Iterable[str], size: int) -> Iterator[list[str]]:
    """Cut a table to what the reference implementation takes as one literal."""
    left = list(names)
    while left:
        yield left[:size]
        del left[:size]


class Judge(googlesql.Judge):
    """GoogleSQL with our tables in its catalog; those of results have *more* columns."""

    def __init__(self, more: Sequence[Column] = ()) -> None:
        landed = [("key", "STRING"), ("status", "STRING"), ("processed_time", "STRING")]
        super().__init__(
            {
                REQUESTS: [("key", "STRING"), ("fingerprint", "STRING"), ("request", "JSON")],
                TableName.parse("p-x.d.copies"): [("key", "STRING"), ("fingerprint", "STRING")],
                TableName.parse("p-x.d.rejected"): [
                    ("key", "STRING"),
                    ("rule", "STRING"),
                    ("message", "STRING"),
                ],
                LANDED: [*landed, ("request", "JSON"), ("response", "JSON")],
                OUTCOMES: [(c.name, type_of(c)) for c in (*OUTCOME_COLUMNS, *more)],
                RESULTS: [(c.name, type_of(c)) for c in (*results.RESULTS, *more)],
                ERRORS: [(c.name, c.type) for c in results.ERRORS],
                BATCHES: [(c.name, c.type) for c in batches.BATCHES],
                PUBLISHED: [("round", "INT64"), ("attempt", "STRING"), ("published_at", "TIMESTAMP")],
            }
        )

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Evaluate a query of outcomes; GoogleSQL writes a NUMERIC that no double holds as text."""
        return [
            {**row, "cost_usd": None if row["cost_usd"] is None else Decimal(str(row["cost_usd"]))}
            for row in super().rows(sql)
        ]


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge()


def inline(
    sql: str,
    keys: list[str],
    lines: list[tuple[str, dict[str, Any]]],
    requests: Mapping[str, Any] | None = None,
) -> str:
    """Put rows in the place of the tables."""
    asked = {key: (requests or {}).get(key, ASKED) for key in keys}
    requests_ = ", ".join(
        f"STRUCT({string_literal(key)} AS key, {_json(found)} AS request)" for key, found in asked.items()
    )
    landed = ", ".join(f"STRUCT({_landed(key, found)})" for key, found in [*lines, ("", line())])
    sql = sql.replace(f"`{REQUESTS}`", f"(SELECT * FROM UNNEST([{requests_}]))")
    return sql.replace(f"`{LANDED}`", f"(SELECT * FROM UNNEST([{landed}]) WHERE key != '')")


def _landed(key: str, found: dict[str, Any]) -> str:
    status, answer = found.get("status"), found.get("response")
    return ", ".join(
        [
            f"{string_literal(key)} AS key",
            f"{'CAST(NULL AS STRING)' if status is None else string_literal(status)} AS status",
            f"{string_literal(found['processed_time'])} AS processed_time",
            f"{_json(answer)} AS response",
            f"{_json(found.get('request'))} AS request",
        ]
    )


def _json(document: Any) -> str:
    return "CAST(NULL AS JSON)" if document is None else f"PARSE_JSON({string_literal(json.dumps(document))})"


def expected(key: str, reading: Reading, price: Price | None) -> dict[str, Any]:
    tokens = reading.tokens
    return {
        "batch_id": "b" * 32,
        "key": key,
        "outcome": reading.outcome.value,
        "reason": reading.reason,
        "path": None,
        "verified": reading.verified,
        "code": reading.code,
        "status": reading.status,
        "message": reading.message,
        "retryable": reading.retryable,
        "text": reading.text,
        "answer": reading.answer,
        "finish_reason": reading.finish_reason,
        "model": "gemini-2.5-pro",
        "model_version": reading.model_version,
        "prompt_tokens": tokens.prompt,
        "cached_tokens": tokens.cached,
        "output_tokens": tokens.output,
        "thoughts_tokens": tokens.thoughts,
        "total_tokens": tokens.total,
        "cost_usd": cost(
            price,
            prompt=tokens.prompt,
            cached=tokens.cached,
            output=tokens.output,
            thoughts=tokens.thoughts,
        ),
        "job_name": JOB,
        "part": 0,
        "epoch": 1,
        "round": 0,
        "template_fingerprint": "f" * 64,
        "template_version": "v2",
        "copy_of": None,
        "fingerprint": None,
        "dag_id": PROVENANCE.dag_id,
        "run_id": PROVENANCE.run_id,
        "batch_date": "2026-09-01",
    }


def reference(
    lines: dict[str, dict[str, Any]], shape: Shape, columns: Typed = NO_COLUMNS
) -> dict[str, Reading]:
    read = [
        Line(
            key=key,
            status=found.get("status"),
            processed_time=found["processed_time"],
            response=found.get("response"),
            echo=found.get("request"),
        )
        for key, found in lines.items()
    ]
    return classify(list(lines), read, shape, {key: sent(key) for key in lines}, columns)


@pytest.mark.parametrize("shape", list(Shape))
def test_the_sql_and_the_reference_judge_every_line_of_the_corpus_alike(judge: Judge, shape: Shape) -> None:
    """GoogleSQL's own evaluation of our query gives what batch/outcome.py gives, column by column."""
    sql = outcomes.classify([PART], PROVENANCE, shape=shape, price=PRO)
    found = []
    for names in batched(CORPUS, 200):
        lines, requests = [(f"k_{n}", CORPUS[n]) for n in names], {f"k_{n}": sent(n) for n in names}
        found += judge.rows(inline(sql, list(requests), lines, requests))
    by_key = {row["key"]: row for row in found}
    wrong = {
        key: (difference(by_key[key], expected(key, reading, PRO)))
        for key, reading in reference(CORPUS, shape).items()
    }
    assert len(found) == len(CORPUS)
    assert {key: columns for key, columns in wrong.items() if columns} == {}


def difference(found: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    return {name: (found[name], value) for name, value in wanted.items() if found[name] != value}


def test_of_two_lines_with_one_key_success_wins_and_then_the_later_one(judge: Judge) -> None:
    """Duplicates never double a row, whatever order they come in."""
    failed, good = line({}, "Internal error"), line(response(candidate("[1]")))
    late = line(response(candidate("[2]")), time="2026-09-01T11:00:00+00:00")
    tie = line(response(candidate("[9]")), time="2026-09-01T11:00:00+00:00")
    lines = [("k_a", late), ("k_a", good), ("k_b", failed), ("k_b", good), ("k_b", failed), ("k_c", failed)]
    lines += [("k_d", late), ("k_d", tie), ("k_d", late), ("k_unknown", good)]
    sql = outcomes.classify([PART], PROVENANCE, shape=Shape.ARRAY, price=None)
    for order in (lines, lines[::-1]):
        found = judge.rows(inline(sql, ["k_a", "k_b", "k_c", "k_d", "k_e"], order))
        assert {row["key"]: (row["outcome"], row["answer"]) for row in found} == {
            "a": ("succeeded", [2]),
            "b": ("succeeded", [1]),
            "c": ("failed", None),
            "d": ("succeeded", [9]),
            "e": ("missing", None),
        }
        assert len(found) == 5
        read = [Line(key=k[2:], status=v["status"], processed_time=v["processed_time"], response=v["response"])
                for k, v in order]  # fmt: skip
        wanted = classify(list("abcde"), read, Shape.ARRAY)
        assert {row["key"]: row["text"] for row in found} == {k: r.text for k, r in wanted.items()}


@pytest.mark.parametrize("seed", range(3))
def test_any_mix_of_doubled_dropped_and_swapped_lines_is_accounted_for_alike(judge: Judge, seed: int) -> None:
    """Each key has one outcome, and it is the reference's."""
    chance = random.Random(seed)
    requests = {f"k_{n}": asks(f"prompt {n % 50}") for n in range(120)}
    lines: list[tuple[str, dict[str, Any]]] = []
    for key, request in requests.items():
        for _ in range(chance.choice((0, 1, 1, 1, 2, 3))):
            echo = request if chance.random() < 0.7 else chance.choice([*requests.values(), None, {}])
            time = f"2026-09-01T10:{len(lines) // 60:02d}:{len(lines) % 60:02d}.000+00:00"
            lines.append((key, {**CORPUS[chance.choice(MIXED)], "request": echo, "processed_time": time}))
    chance.shuffle(lines)
    sql = outcomes.classify([PART], PROVENANCE, shape=Shape.OBJECT, price=PRO)
    found = judge.rows(inline(sql, list(requests), lines, requests))
    read = [
        Line(
            key=k,
            status=v["status"],
            processed_time=v["processed_time"],
            response=v["response"],
            echo=v["request"],
        )
        for k, v in lines
    ]
    wanted = classify(list(requests), read, Shape.OBJECT, requests)
    assert len(found) == len(wanted)
    assert {
        f"k_{row['key']}": (row["outcome"], row["reason"], row["verified"], row["text"]) for row in found
    } == {key: (one.outcome, one.reason, one.verified, one.text) for key, one in wanted.items()}
    assert {"succeeded", "mismatched", "missing", "failed"} <= {row["outcome"] for row in found}


MIXED = [
    "answer_object",
    "answer_object",
    "answer_cut",
    "error_plain",
    "error_429",
    "finish_MAX_TOKENS",
    "block_SAFETY",
]


def test_a_line_in_another_parts_output_is_no_answer(judge: Judge) -> None:
    """Rows are joined by part and key."""
    other = PartTables(
        part=1, epoch=2, job_name=f"{JOB}2", requests=TableName.parse("p-x.d.landed"), predictions=None
    )
    sql = outcomes.classify([PART, other], PROVENANCE, shape=Shape.TEXT, price=None)
    found = judge.rows(inline(sql, ["k_a"], [("k_b", line(response(candidate("x"))))]))
    assert {row["key"]: (row["outcome"], row["part"], row["epoch"]) for row in found} == {
        "a": ("missing", 0, 1),
        "b": ("missing", 1, 2),
    }


@pytest.mark.parametrize("response_type", ["JSON", "STRING"])
@pytest.mark.parametrize("time_type", ["STRING", "TIMESTAMP", None])
@pytest.mark.parametrize("shape", list(Shape))
def test_the_classification_is_googlesql_whatever_the_output_table_looks_like(
    judge: Judge, response_type: Any, time_type: Any, shape: Shape
) -> None:
    """Columns of a BigQuery destination may differ; the statement is rendered for what is there."""
    part = PartTables(
        part=0,
        epoch=1,
        job_name=JOB,
        requests=REQUESTS,
        predictions=LANDED,
        response_type=response_type,
        time_type=time_type,
    )
    sql = outcomes.classify([part], PROVENANCE, shape=shape, price=PRO)
    types = {"response": "JSON" if response_type == "JSON" else "STRING", "time": time_type or "STRING"}
    answer = '{"candidates": [{"content": {"parts": [{"text": "[1]"}]}, "finishReason": "STOP"}]}'
    row = (
        f"STRUCT('k_a' AS key, '' AS status, CAST('2026-09-01 10:00:00+00' AS {types['time']}) AS processed_time, "
        + (f"JSON '{answer}'" if response_type == "JSON" else f"'{answer}'")
        + " AS response, CAST(NULL AS JSON) AS request)"
    )
    sql = sql.replace(f"`{LANDED}`", f"(SELECT * FROM UNNEST([{row}]))")
    [found] = judge.rows(inline(sql, ["k_a"], []))
    assert found["text"] == "[1]"
    assert found["processed_time"] == (None if time_type is None else "2026-09-01T10:00:00Z")


def test_without_any_output_every_row_is_missing(judge: Judge) -> None:
    """A job that died before its first answer leaves no table; its rows are still accounted for."""
    part = PartTables(part=0, epoch=1, job_name=JOB, requests=REQUESTS, predictions=None)
    found = judge.rows(
        inline(outcomes.classify([part], PROVENANCE, shape=Shape.OBJECT, price=PRO), ["k_a", "k_b"], [])
    )
    assert [(row["outcome"], row["reason"], row["retryable"]) for row in found] == [
        ("missing", "NO_LINE", True)
    ] * 2
    judge.analyse(audit([part], OUTCOMES))


BESIDE = Beside(copies=TableName.parse("p-x.d.copies"), rejected=TableName.parse("p-x.d.rejected"))
MARKED = replace(PART, fingerprinted=True)


def test_a_copy_has_the_outcome_of_the_row_that_was_sent_and_cost_nothing(judge: Judge) -> None:
    """It is named by its fingerprint; tokens and cost are told of the one request that was paid for."""
    sql = outcomes.classify([MARKED], PROVENANCE, shape=Shape.TEXT, price=PRO, beside=BESIDE)
    asked = f"PARSE_JSON({string_literal(json.dumps(ASKED))})"
    sent = f"STRUCT('k_a' AS key, 'f1' AS fingerprint, {asked} AS request), STRUCT('k_b', 'f2', {asked})"
    copies = "STRUCT('k_c' AS key, 'f1' AS fingerprint), STRUCT('k_d', 'f1'), STRUCT('k_e', 'f2')"
    rejected = "STRUCT('f' AS key, 'GB108' AS rule, 'too large' AS message)"
    tables = {REQUESTS: sent, BESIDE.copies: copies, BESIDE.rejected: rejected}
    for table, rows in tables.items():
        sql = sql.replace(f"`{table}`", f"(SELECT * FROM UNNEST([{rows}]))")
    answer = line(response(candidate("yes"), usage={"promptTokenCount": 8, "candidatesTokenCount": 2}))
    found = {row["key"]: row for row in judge.rows(inline(sql, [], [("k_a", answer)]))}
    told = ("outcome", "text", "copy_of", "prompt_tokens", "fingerprint", "job_name")
    assert {key: tuple(row[name] for name in told) for key, row in found.items()} == {
        "a": ("succeeded", "yes", None, 8, "f1", JOB),
        "b": ("missing", None, None, None, "f2", JOB),
        "c": ("succeeded", "yes", "a", 0, "f1", JOB),
        "d": ("succeeded", "yes", "a", 0, "f1", JOB),
        "e": ("missing", None, "b", None, "f2", JOB),
        "f": ("rejected", None, None, None, None, None),
    }
    assert [found[key]["cost_usd"] for key in "ace"] == [Decimal("0.000015"), 0, None]
    assert (found["f"]["reason"], found["f"]["message"], found["f"]["retryable"]) == (
        "GB108",
        "too large",
        False,
    )
    assert found["f"]["batch_date"] == PROVENANCE.batch_date


@pytest.mark.parametrize(("part", "beside"), [(PART, NOTHING_BESIDE), (MARKED, BESIDE)])
def test_the_classification_answers_with_the_columns_that_are_published(
    judge: Judge, part: PartTables, beside: Beside
) -> None:
    """Names and types, so that no MERGE casts anything."""
    sql = outcomes.classify([part], PROVENANCE, shape=Shape.OBJECT, price=PRO, beside=beside)
    found = {c.name: c.column.type.type_kind.name for c in judge.analyse(sql).output_column_list}
    assert found == {c.name: f"TYPE_{c.type}" for c in OUTCOME_COLUMNS}


def test_the_cost_of_a_long_prompt_is_the_long_context_price(judge: Judge) -> None:
    """The tier begins right above its limit."""
    usage = {"candidatesTokenCount": 10}
    lines = [
        (f"k_{n}", line(response(candidate("x"), usage={"promptTokenCount": n, **usage})))
        for n in (LONG_CONTEXT, LONG_CONTEXT + 1)
    ]
    sql = outcomes.classify([PART], PROVENANCE, shape=Shape.TEXT, price=PRO)
    found = {row["key"]: row["cost_usd"] for row in judge.rows(inline(sql, [k for k, _ in lines], lines))}
    assert found == {"200000": Decimal("0.12505"), "200001": Decimal("0.25007625")}


@pytest.mark.parametrize("number", [0, 1])
def test_the_publish_script_is_googlesql_statement_by_statement(judge: Judge, number: int) -> None:
    """Three tables, one transaction, whose turn it is, two merges, and whether all rows are there."""
    script = publishing.publish(
        replace(PUBLICATION, round=number), attempt="0199-a", outcomes=OUTCOMES, published=PUBLISHED
    )
    assert judge.analyse_script(script) == [
        "ResolvedCreateTableStmt",
        "ResolvedCreateTableStmt",
        "ResolvedCreateTableAsSelectStmt",
        "ResolvedBeginStmt",
        "ResolvedUpdateStmt",
        "ResolvedQueryStmt",
        *["ResolvedQueryStmt"] * number,
        "ResolvedMergeStmt",
        "ResolvedMergeStmt",
        "ResolvedQueryStmt",
        "ResolvedCommitStmt",
    ]


MANIFEST = Manifest(
    identity=Identity(dag_id='it\'s a "dag"', run_id="run", task_id="prepare"),
    workspace="gs://b/gemini/dag/run/prepare",
    project_id="p",
    location="us-central1",
    model="publishers/google/models/gemini-2.5-pro",
    requests="gcs",
    predictions="gcs",
    predictions_dataset=None,
    parts=(Part(index=0, uri="gs://b/r.jsonl", rows=4, size=1, checksum="c"),),
    template_fingerprint="f",
    response_schema=None,
    created_at="2026-09-01T00:00:00+00:00",
)


def batch_row(*, round: int, priced: bool = True) -> batches.BatchRow:  # noqa: A002  # the word of the tables
    counted = Tally(
        outcomes={outcome.value: number for number, outcome in enumerate(Outcome)},
        tokens=dict.fromkeys(TOKENS, 7),
        cost_usd=Decimal("0.000000125"),
        without_tokens=1,
        lines=4,
        unknown=0,
    )
    jobs = [Job(name="j", state="JOB_STATE_SUCCEEDED", create_time=1788220800.25, end_time=1788224400.5)]
    found = batches.values(
        replace(MANIFEST, round=round),
        counted,
        Stages.of(prepared_at=MANIFEST.created_at, jobs=jobs, landed=None),
        batch=LOADED,
        priced=priced,
        report_uri="gs://b/report.json",
        batch_date="2026-09-01",
    )
    return batches.BatchRow(table=BATCHES, values=found)


@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize("priced", [True, False])
def test_the_row_of_a_batch_is_published_in_the_same_transaction(
    judge: Judge, number: int, priced: bool
) -> None:
    """After all rows are known to be there; nothing that nobody knows keeps its column from being compared."""
    script = publishing.publish(
        replace(PUBLICATION, round=number),
        attempt="0199-a",
        outcomes=OUTCOMES,
        published=PUBLISHED,
        row=batch_row(round=number, priced=priced),
    )
    kinds = judge.analyse_script(script)
    assert kinds[:3] == ["ResolvedCreateTableStmt"] * 3
    assert kinds[-3:] == ["ResolvedQueryStmt", "ResolvedMergeStmt", "ResolvedCommitStmt"]
    assert ("NOT MATCHED BY SOURCE" in batch_row(round=number).merge(round=number, batch=LOADED)) == (
        number == 0
    )


def test_the_row_of_a_batch_fills_every_column_but_the_time_of_the_publish() -> None:
    """So that equal rounds make equal statements."""
    row = batch_row(round=1)
    assert set(row.values) | {"loaded_at"} == {column.name for column in batches.BATCHES}
    assert row.merge(round=1, batch=LOADED) == batch_row(round=1).merge(round=1, batch=LOADED)


def test_the_row_of_a_batch_means_what_was_counted(judge: Judge) -> None:
    """Literals of every type come back as they went in, and an unknown cost as NULL."""
    merge = batch_row(round=1, priced=False).merge(round=1, batch=LOADED)
    source = merge[merge.index("SELECT") : merge.index(") AS source")]
    [found] = judge.rows(source)
    assert found["dag_id"] == MANIFEST.identity.dag_id
    assert {name: found[name] for name in ("round", "row_count", "rows_of_unknown_cost")} == {
        "round": 1, "row_count": sum(range(len(Outcome))), "rows_of_unknown_cost": 1,
    }  # fmt: skip
    assert (found["cost_usd"], found["submit_seconds"], found["run_seconds"]) == (None, 0.25, None)
    assert (found["submitted_at"], found["landed_at"]) == ("2026-09-01T00:00:00.250Z", None)
    assert found["batch_date"] == "2026-09-01"


def test_the_query_of_the_readme_is_one_over_the_table_of_batches(judge: Judge) -> None:
    """As it is written there."""
    text = (Path(__file__).parents[2] / "README.md").read_text()
    [sql] = [block.partition("```")[0] for block in text.split("```sql\n")[1:] if "_batches`" in block]
    judge.analyse(sql.replace("project.dataset.results_batches", str(BATCHES)))


def test_what_the_rounds_before_came_to_is_googlesql(judge: Judge) -> None:
    """Asked after a later round was published."""
    judge.analyse(batches.rounds_before(BATCHES, LOADED, round=2))


@pytest.mark.parametrize("fingerprinted", [False, True])
@pytest.mark.parametrize("limit", [None, 5])
def test_the_statements_of_a_repair_are_googlesql(
    judge: Judge, fingerprinted: bool, limit: int | None
) -> None:
    """What is asked of the tables, and what makes the requests of a round."""
    policy = RepairPolicy()
    treatments = policy.treatments(round=1)
    allowance = Allowance(max_rows=limit, max_nano=limit, row_costs=(1, 2, 3) if limit else ())
    judge.analyse(repair.standings(LOADED))
    judge.analyse(repair.deserving(LOADED, policy, treatments))
    judge.analyse(repair.copies_of([REQUESTS, REQUESTS], TableName.parse("p-x.d.copies")))
    made = repair.create_repairs(
        TableName.parse("p-x.d.made"),
        LOADED,
        requests=[REQUESTS, REQUESTS],
        fingerprinted=fingerprinted,
        policy=policy,
        treatments=treatments,
        allowance=allowance,
    )
    found = [column.name for column in judge.analyse(made).output_column_list]
    assert found == ["key", "fingerprint", "request"] if fingerprinted else ["key", "request"]


@pytest.mark.parametrize("fingerprinted", [False, True])
def test_the_statements_of_a_repair_that_resumes_jobs_are_googlesql(
    judge: Judge, fingerprinted: bool
) -> None:
    """Which rows those jobs run, and what is left for others."""
    policy, jobs = RepairPolicy(), [JOB, f"{JOB}2"]
    treatments = policy.treatments(round=1)
    judge.analyse(repair.lost_rows(LOADED, jobs, policy, treatments))
    assert "0 AS sent_again" in repair.lost_rows(LOADED, jobs, policy, ())
    judge.analyse(repair.asked_since(LOADED))
    judge.analyse(repair.lost_keys(LOADED, jobs))
    judge.analyse(repair.deserving(LOADED, policy, treatments, resumed=jobs))
    made = repair.create_resumed(
        TableName.parse("p-x.d.made"), LOADED, job_name=JOB, requests=REQUESTS, fingerprinted=fingerprinted
    )
    found = [column.name for column in judge.analyse(made).output_column_list]
    assert found == ["key", "fingerprint", "request"] if fingerprinted else ["key", "request"]


@pytest.mark.parametrize("until", [None, 1_790_000_000.123456])
def test_the_audit_counts_what_a_resumed_job_was_not_asked_for(judge: Judge, until: float | None) -> None:
    """Of each part by itself; of a part without an output there is nothing."""
    part = replace(PART, resumed=REQUESTS, resumed_until=until)
    found = judge.analyse(audit([PART, part, replace(part, part=1)], OUTCOMES))
    assert len(found.output_column_list) == 10
    assert "returned" not in audit([PART, replace(part, predictions=None)], OUTCOMES)


def test_the_audit_counts_outcomes_lines_and_lines_of_unknown_keys(judge: Judge) -> None:
    """One row per outcome, and two for the lines."""
    judge.analyse(audit([PART], OUTCOMES))
    judge.analyse(audit([PART, PART], OUTCOMES))


def standing(name: str, rows: Mapping[str, tuple[str, int]], *, batch: str = LOADED.batch_id) -> str:
    """Rows of a table, by key their outcome and round, in the place of its name."""
    values = [
        f"SELECT '{key}' AS key, '{outcome}' AS outcome, {number} AS round, '{batch}' AS batch_id, "
        f"'{LOADED.fingerprint}' AS batch_fingerprint"
        for key, (outcome, number) in rows.items()
    ]
    return f"({' UNION ALL '.join(values)}) AS {name}"


def test_how_all_rows_will_stand_is_asked_as_they_will_be_published(judge: Judge) -> None:
    """Success wins, then the later round, then what comes now; rows that are of no later round stay as they are."""
    sql = standings_after(LOADED, OUTCOMES)
    judge.analyse(sql)
    new = {
        "mended": ("succeeded", 1),
        "worse": ("blocked", 1),
        "late": ("failed", 1),
        "again": ("invalid", 1),
    }
    succeeded = {"good": ("succeeded", 0), "late_good": ("succeeded", 2)}
    errors = {
        "mended": ("failed", 0), "worse": ("failed", 0), "late": ("truncated", 2), "again": ("missing", 1),
        "left": ("mismatched", 0),
    }  # fmt: skip
    for table, name, rows in [
        (OUTCOMES, "a", {**new, "late_good": ("failed", 1)}),
        (RESULTS, "b", succeeded),
        (ERRORS, "c", errors),
    ]:
        sql = sql.replace(f"`{table}`", standing(name, rows))
    found = judge.rows(f"SELECT *, CAST(NULL AS NUMERIC) AS cost_usd FROM ({sql})")
    assert {row["outcome"]: row["row_count"] for row in found} == {
        "succeeded": 3, "blocked": 1, "truncated": 1, "invalid": 1, "mismatched": 1,
    }  # fmt: skip


def test_the_judge_refuses_what_is_not_googlesql(judge: Judge) -> None:
    """The oracle can say no, so its yes means something."""
    with pytest.raises(Exception, match="nope"):
        judge.analyse("SELECT nope")
    with pytest.raises(Exception, match="loaded_at"):
        judge.analyse(f"SELECT loaded_at FROM `{OUTCOMES}`")


def test_names_and_ids_stay_literals_whatever_they_hold(judge: Judge) -> None:
    """A dag id with quotes and backslashes comes back as it went in."""
    sql = outcomes.classify([PART], PROVENANCE, shape=Shape.TEXT, price=None)
    [found] = judge.rows(inline(sql, ["k_'a\"\\"], []))
    assert (found["dag_id"], found["key"]) == (PROVENANCE.dag_id, "'a\"\\")


HOSTILE = [
    "", "'", '"', "\\", "\\'", "`", "'''", "\n", "\r\n", "\t", "\x00", "\x07", "\x7f", "\u2028", "a{b}", "--", "/*",
    "@p", "?", "%s", "\ufeff", "žluťoučký", "日本語", "🎉", "\U000e0001", "'); DROP TABLE t; --",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_a_string_literal_means_the_text_it_was_made_of(judge: Judge, text: str) -> None:
    """Quotes, backslashes, control characters and emoji; it stays on one line."""
    literal = string_literal(f"a{text}b")
    assert literal.splitlines() == [literal]
    [found] = judge.rows(f"SELECT {literal} AS key, NULL AS cost_usd")
    assert found["key"] == f"a{text}b"


@pytest.mark.parametrize("text", [text for text in HOSTILE if "\x00" not in text])
def test_an_identifier_is_one_name_whatever_it_holds(judge: Judge, text: str) -> None:
    """Column names come from users' tables."""
    name = f"a{text}b"
    [found] = judge.rows(f"SELECT 1 AS {identifier(name)}, NULL AS cost_usd")
    assert found[name] == 1


def test_what_cannot_be_a_literal_is_refused() -> None:
    """Half a character, or no name at all."""
    with pytest.raises(InvalidNameError, match="D800"):
        string_literal("\ud800")
    with pytest.raises(InvalidNameError, match="empty"):
        identifier("")


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        ([Column("key", "STRING"), Column("part", "INT64")], []),
        ([Column("KEY", "STRING", "REQUIRED"), Column("part", "INT64"), Column("more", "JSON")], []),
        ([Column("key", "STRING")], []),
        ([Column("part", "INT64")], ["key STRING is missing"]),
        ([Column("key", "BYTES"), Column("part", "INT64")], ["key is NULLABLE BYTES, not STRING"]),
        (
            [Column("key", "STRING", "REPEATED"), Column("part", "INT64")],
            ["key is REPEATED STRING, not STRING"],
        ),
    ],
)
def test_a_table_that_cannot_take_the_rows_is_told_column_by_column(
    found: list[Column], wrong: list[str]
) -> None:
    """A user's own columns beside ours do no harm, and what is missing can be added, but for whose row it is."""
    assert results.clashes([Column("key", "STRING"), Column("part", "INT64")], found) == wrong


def test_what_is_added_to_a_table_is_googlesql(judge: Judge) -> None:
    """Whatever it is; what is there is left alone."""
    lacks = results.lacking(results.RESULTS, [Column("KEY", "STRING"), Column("batch_id", "STRING")])
    assert {"key", "batch_id"}.isdisjoint(column.name for column in lacks)
    assert judge.analyse_script(results.extend(RESULTS, lacks)) == ["ResolvedAlterTableStmt"]


def test_the_view_of_the_newest_answers_is_googlesql(judge: Judge) -> None:
    """It lies beside the results."""
    view = latest.view_of(RESULTS)
    assert str(view) == f"{RESULTS}_latest"
    assert judge.analyse_script(latest.create_view(view, RESULTS)) == ["ResolvedCreateViewStmt"]
