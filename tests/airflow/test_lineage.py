"""What a preparation and a load read and wrote, as Airflow's own collector has it after they are done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import lineage as airflow_lineage
from airflow.sdk.lineage import HookLineageCollector
from load_side import SCHEMA, World, answer, good, simple
from repair_side import TEMPLATE, Story, rows

from airflow_batch_gemini.batch.lineage import of_preparation
from airflow_batch_gemini.batch.names import TableName
from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator
from airflow_batch_gemini.sql.batches import BATCHES
from airflow_batch_gemini.sql.results import ERRORS, RESULTS

if TYPE_CHECKING:
    from airflow_batch_gemini.batch.manifest import Manifest


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> HookLineageCollector:
    """Airflow's collector, which it uses as soon as somebody reads lineage."""
    found = HookLineageCollector()
    monkeypatch.setattr(airflow_lineage, "get_hook_lineage_collector", lambda: found)
    return found


def inputs(collector: HookLineageCollector) -> list[str]:
    return [found.asset.uri for found in collector.collected_assets.inputs]


def outputs(collector: HookLineageCollector) -> dict[str, Any]:
    return {found.asset.uri: found.asset.extra for found in collector.collected_assets.outputs}


def of_table(name: str) -> str:
    return "bigquery://" + name.replace(".", "/")


def test_a_load_tells_what_it_read_and_where_it_published_with_the_columns(
    world: World, collector: HookLineageCollector
) -> None:
    """Requests and answers of every job in; results, errors and batches out; no row of them."""
    world.schema = SCHEMA
    world.prepare()
    world.answered(0, [answer("a", good('{"n": 1}'))])
    world.answered(1, [answer("d", good('{"n": 4}'))])
    world.load()
    answers = [str(job.output_uri) for job in world.jobs.values()]
    assert inputs(collector) == [f"{world.folder}/requests", *answers]
    found = outputs(collector)
    assert [*found] == [
        of_table(f"{world.dataset}.{name}") for name in ("results", "results_errors", "results_batches")
    ]
    results, errors, batches = ([*extra["columns"]] for extra in found.values())
    assert results == [*(column.name for column in RESULTS), "n"]
    assert (errors, batches) == ([one.name for one in ERRORS], [one.name for one in BATCHES])
    assert next(iter(found.values()))["columns"]["n"] == "INT64"
    assert "prompt" not in str([found]).replace("prompt_tokens", "")


def test_requests_and_answers_in_bigquery_are_told_as_tables(
    world: World, collector: HookLineageCollector
) -> None:
    """A table a part, a table a job."""
    world.requests = world.predictions = "bigquery"
    world.prepare()
    simple(world)
    world.load(batches_table=None)
    tables = [world.tables.requests(0), world.tables.requests(1)]
    tables += [world.tables.predictions(0, 1), world.tables.predictions(1, 1)]
    assert inputs(collector) == [of_table(str(table)) for table in tables]
    assert len(outputs(collector)) == 2


def test_a_load_that_publishes_nothing_tells_of_nothing(
    world: World, collector: HookLineageCollector
) -> None:
    """The tables are what they were."""
    simple(world)
    with pytest.raises(Exception, match="Nothing was published"):
        world.load(max_failed_rate=0.0)
    assert not collector.has_collected


def test_a_preparation_tells_of_its_files_and_its_requests(
    in_files: Story, collector: HookLineageCollector
) -> None:
    """The load that follows goes on from there."""
    in_files.prepare(rows(2))
    assert inputs(collector) == [f"gs://{in_files.bucket}/rows.jsonl"]
    workspace = in_files.manifest().workspace
    assert [*outputs(collector)] == [f"{workspace}/requests"]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (None, []),
        ("gs://bkt/rows/*.jsonl", ["gs://bkt/rows"]),
        ("s3://b/rows.jsonl", []),
        (["gs://bkt/a.jsonl", "gs://bkt/a.jsonl", "gs://bkt/c/d?.csv"], ["gs://bkt/a.jsonl", "gs://bkt/c/d"]),
    ],
)
def test_of_files_the_part_that_has_a_name_is_told_once(world: World, source: Any, told: list[str]) -> None:
    """Other stores have no names that lineage knows."""
    manifest: Manifest = world.manifest
    found = of_preparation(manifest, tables=[], source_uri=source)
    assert [str(data.place) for data in found.inputs] == told
    table = TableName.parse("p.d.source")
    assert of_preparation(manifest, tables=[table, table], source_uri=None).inputs[0].place == table


QUERIES = {
    "two tables": ("SELECT a.key, b.text FROM {a} AS a JOIN {b} AS b ON a.key = b.key", ["a", "b"]),
    "one table in several places": (
        "SELECT key, (SELECT MAX(text) FROM {b}) AS text FROM {b} WHERE key IN (SELECT key FROM {b})",
        ["b"],
    ),
    "names that are no tables": (
        "WITH a AS (SELECT key, '{b}' AS text FROM {a}) SELECT * FROM a -- and {b}",
        ["a"],
    ),
    "a view": ("SELECT * FROM {seen}", ["seen", "b"]),
    "no table": ("SELECT 'k' AS key, 't' AS text", []),
}


@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.parametrize("way", ["storage", "bigquery"])
def test_a_preparation_tells_of_the_tables_that_its_query_read(
    in_files: Story, collector: HookLineageCollector, name: str, way: str
) -> None:
    """By BigQuery's own reading of it, whether the rows pass the worker or not; each once, and none of its own."""
    story, (sql, told) = in_files, QUERIES[name]
    names = {table: f"`{story.dataset}.{table}`" for table in ("a", "b", "seen")}
    for statement in (
        "CREATE TABLE {a} AS SELECT 'k' AS key, 'x' AS text",
        "CREATE TABLE {b} AS SELECT 'k' AS key, 'y' AS text",
        "CREATE VIEW {seen} AS SELECT key, text FROM {b}",
    ):
        list(story.warehouse.query_rows(statement.format(**names), project="demo", location="us-central1"))
    tables = {"requests_dataset": story.dataset, "predictions_dataset": story.dataset}
    GeminiBatchPrepareOperator(
        task_id="prepare",
        sql=sql.format(**names),
        template=TEMPLATE,
        model="gemini-3.5-flash",
        location="us-central1",
        work_uri=f"gs://{story.bucket}/gemini",
        project_id="demo",
        **(tables if way == "bigquery" else {}),
    ).execute(story.context("prepare"))
    assert sorted(inputs(collector)) == sorted(of_table(f"{story.dataset}.{table}") for table in told)
    assert len(outputs(collector)) == 1


def test_a_table_that_is_named_is_told_as_it_is_named(
    in_files: Story, collector: HookLineageCollector
) -> None:
    """A view included: what is behind it is its own affair."""
    story = in_files
    for statement in (
        f"CREATE TABLE `{story.dataset}.b` AS SELECT 'k' AS key, 'y' AS text",
        f"CREATE VIEW `{story.dataset}.seen` AS SELECT key, text FROM `{story.dataset}.b`",
    ):
        list(story.warehouse.query_rows(statement, project="demo", location="us-central1"))
    GeminiBatchPrepareOperator(
        task_id="prepare",
        source_table=f"{story.dataset}.seen",
        template=TEMPLATE,
        model="gemini-3.5-flash",
        location="us-central1",
        work_uri=f"gs://{story.bucket}/gemini",
        project_id="demo",
    ).execute(story.context("prepare"))
    assert inputs(collector) == [of_table(f"{story.dataset}.seen")]


def test_a_collector_that_fails_fails_no_load(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """All work is done by then."""

    def broken() -> HookLineageCollector:
        raise RuntimeError("somebody's plug-in")

    monkeypatch.setattr(airflow_lineage, "get_hook_lineage_collector", broken)
    simple(world)
    assert world.load()["rows"] == 4
    assert world.ledger(0).state == "LOADED"


def test_openlineage_is_told_the_columns_too(world: World) -> None:
    """By its provider's own extractor, where that is installed; nothing is known of a load that did not end."""
    pytest.importorskip("airflow.providers.openlineage")
    from airflow.providers.openlineage.extractors.base import DefaultExtractor

    simple(world)
    operator = world.operator()
    nothing = DefaultExtractor(operator).extract_on_complete(None)
    assert nothing is not None
    assert (nothing.inputs, nothing.outputs) == ([], [])
    operator.execute(world.context())
    found = DefaultExtractor(operator).extract_on_complete(None)
    assert found is not None
    requests = f"{world.folder}/requests".removeprefix(f"gs://{world.bucket}/")
    assert (found.inputs[0].namespace, found.inputs[0].name) == (f"gs://{world.bucket}", requests)
    assert [(data.namespace, data.name) for data in found.outputs] == [
        ("bigquery", f"{world.dataset}.{name}") for name in ("results", "results_errors", "results_batches")
    ]
    fields = [[field.name for field in data.facets["schema"].fields] for data in found.outputs]
    assert fields == [[column.name for column in columns] for columns in (RESULTS, ERRORS, BATCHES)]
