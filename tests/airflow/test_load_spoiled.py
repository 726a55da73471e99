"""Output that is not whole, from job to tables: each row accounted for, or a refusal that says what is missing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from load_side import World, answer, good

from airflow_batch_gemini.batch.names import GcsUri, TableName
from airflow_batch_gemini.exceptions import ConfigurationError, LandingError, OutputError
from airflow_batch_gemini.hooks.warehouse import WarehouseHook

if TYPE_CHECKING:
    from airflow_batch_gemini.batch.manifest import Medium
    from airflow_batch_gemini.local.server import LocalCloud

ROWS = 12
KEYS = [f"row {number}" for number in range(ROWS)]


@pytest.fixture
def batch(cloud: LocalCloud, bucket: str, dataset: str) -> World:
    """One part that the local Vertex AI has not answered yet."""
    return World(cloud, bucket, dataset, [KEYS])


def nothing_published(batch: World) -> bool:
    hook = WarehouseHook()
    try:
        tables = [f"{batch.dataset}.{name}" for name in ("results", "results_errors")]
        return (
            all(hook.table_info(TableName.parse(table)) is None for table in tables)
            and batch.ledger(0).state == "SUBMITTED"
        )
    finally:
        hook.close()


@pytest.mark.parametrize(
    ("knobs", "error", "says"),
    [
        ({"output_shards": 3, "lost_shards": 1}, OutputError, "1 of its .*-00002-of-00003.*put them back"),
        ({"output_shards": 3, "lost_shards": 3}, OutputError, r"there is no predictions\.jsonl"),
        ({"cut_last_line": True}, LandingError, "failed: invalid: .*Line: 12;"),
        ({"corrupt_line_rate": 0.7}, LandingError, "failed: invalid: .*Line: "),
        ({"invalid_utf8_rate": 0.7}, LandingError, "failed: invalid: .*Line: "),
        ({"unknown_key_rate": 0.7}, OutputError, "carry a key that is no request of this batch"),
        ({"empty_output": True}, OutputError, "says that it answered 12 rows, but its output .* has none"),
    ],
    ids=str,
)
def test_an_output_that_is_not_whole_publishes_nothing_and_the_error_says_what_is_missing(
    batch: World, knobs: dict[str, Any], error: type[Exception], says: str
) -> None:
    """Nor does a retry; what came back stays where it is."""
    batch.cloud.knobs(**knobs)
    batch.bought()
    for _ in range(2):
        with pytest.raises(error, match=says):
            batch.load()
    assert nothing_published(batch)


@pytest.mark.parametrize(
    ("knobs", "says"),
    [({"unknown_key_rate": 0.7}, "carry a key"), ({"empty_output": True}, "has none of them")],
    ids=str,
)
def test_an_output_table_that_is_not_whole_publishes_nothing_either(
    cloud: LocalCloud, bucket: str, dataset: str, knobs: dict[str, Any], says: str
) -> None:
    """Predictions in BigQuery are read where they are, and judged alike."""
    predictions: Medium = "bigquery"
    batch = World(cloud, bucket, dataset, [KEYS], predictions=predictions)
    cloud.knobs(**knobs)
    batch.bought()
    with pytest.raises(OutputError, match=says):
        batch.load()
    assert nothing_published(batch)


@pytest.mark.parametrize(
    "knobs",
    [{"cut_last_line": True}, {"corrupt_line_rate": 0.5}, {"invalid_utf8_rate": 0.5}],
    ids=str,
)
def test_corrupt_lines_that_are_allowed_are_counted_and_their_rows_are_missing(
    batch: World, knobs: dict[str, Any]
) -> None:
    """The counts still add up; one line more than allowed lands nothing."""
    batch.cloud.knobs(**knobs, duplicate_rate=0.3)
    job = batch.bought()
    lines = output(batch, job.output_uri)
    corrupt = [line for line in lines if not is_json(line)]
    with pytest.raises(LandingError):
        batch.load(max_corrupt_lines=len(corrupt) - 1)
    assert nothing_published(batch)
    report = batch.load(max_corrupt_lines=len(corrupt))
    came = {json.loads(line)["key"].removeprefix("k_") for line in lines if is_json(line)}
    assert 0 < len(came) < ROWS or "cut_last_line" in knobs
    assert report["corrupt_lines"] == len(corrupt) > 0
    assert report["outcomes"]["missing"] == ROWS - len(came)
    assert report["outcomes"]["succeeded"] == len(came)
    assert report["duplicates"] == len(lines) - len(corrupt) - len(came)
    assert {key for key, outcome in batch.outcomes().items() if outcome == "missing"} == set(KEYS) - came
    said = [note for note in report["notes"] if "says that it answered 12 rows" in note]
    assert len(said) == (len(came) < ROWS)


def test_lines_that_never_came_are_missing_rows_and_doubled_ones_count_once(batch: World) -> None:
    """The job counted them as incomplete; that is no reason for a warning."""
    batch.cloud.knobs(missing_rate=0.5, duplicate_rate=0.95)
    job = batch.bought()
    keys = [json.loads(line)["key"] for line in output(batch, job.output_uri)]
    report = batch.load()
    assert report["duplicates"] == len(keys) - len(set(keys)) > 0
    assert report["outcomes"]["missing"] == ROWS - len(set(keys)) > 0
    assert (report["notes"], report["corrupt_lines"]) == ([], 0)


@pytest.mark.parametrize("predictions", ["gcs", "bigquery"])
def test_answers_that_changed_places_are_quarantined_and_never_published(
    cloud: LocalCloud, bucket: str, dataset: str, predictions: Medium
) -> None:
    """Only the echo shows it: the key is right, the answer is another row's."""
    batch = World(cloud, bucket, dataset, [KEYS], predictions=predictions)
    cloud.knobs(swap_echo_rate=0.7, answers="echo")
    batch.bought()
    report = batch.load()
    own = {row["key"] for row in batch.rows() if row["text"] == f"prompt {row['key']}"}
    swapped = [row for row in batch.rows("results_errors") if row["outcome"] == "mismatched"]
    assert own == {row["key"] for row in batch.rows()}
    assert 0 < len(swapped) == report["outcomes"]["mismatched"] == ROWS - len(own)
    assert all(row["text"] != f"prompt {row['key']}" and row["retryable"] for row in swapped)
    assert [row["verified"] for row in batch.rows()] == [True] * len(own)
    [note] = report["notes"]
    assert note.startswith(f"{len(swapped)} rows came back with another request than was sent")


def test_a_line_that_repeats_no_request_is_landed_and_counted(world: World) -> None:
    """Nobody can say that it is not its key's answer."""
    lines = [answer(key, good(key)) for key in "abc"]
    del lines[0]["request"]
    world.answered(0, [*lines, answer("b", good("not yours"), of="a")])
    world.answered(1, [answer("d", good("d"))])
    report = world.load()
    assert set(world.outcomes().values()) == {"succeeded"}
    assert [(row["text"], row["verified"]) for row in world.rows()] == [
        ("a", None), ("b", True), ("c", True), ("d", True),
    ]  # fmt: skip
    assert (report["unverified"], report["duplicates"]) == (1, 1)
    assert "only the key says whose answers they are" in report["notes"][0]


def test_a_job_without_any_answer_is_landed_with_a_warning(batch: World) -> None:
    """It says itself that it answered nobody: every row is missing, and a repair may buy it."""
    batch.cloud.knobs(missing_rate=1)
    batch.bought()
    report = batch.load()
    assert report["outcomes"]["missing"] == ROWS
    [note] = report["notes"]
    assert "no answer came back: all rows of part 0 are missing" in note


def test_line_separators_in_an_answer_end_no_line(batch: World) -> None:
    """U+2028, U+2029 and U+0085 are letters like others, on their way through files and statements."""
    batch.cloud.knobs(line_separator_rate=1)
    batch.bought()
    assert batch.load()["outcomes"]["succeeded"] == ROWS
    assert all(row["text"].endswith("\u2028\u2029\x85") for row in batch.rows())


def test_a_job_that_died_while_it_wrote_its_shards_is_landed_as_far_as_it_came(batch: World) -> None:
    """There will be no others: what was paid for is kept, the rest is missing."""
    batch.cloud.knobs(output_shards=3, lost_shards=2, fail_after_rows=9)
    job = batch.bought()
    assert job.state == "JOB_STATE_FAILED"
    report = batch.load()
    assert report["outcomes"]["succeeded"] == 3
    assert report["outcomes"]["missing"] == 9
    assert "answered 9 rows of part 0, but 3 came back" in report["notes"][0]


def test_a_line_of_fifty_megabytes_lands(batch: World) -> None:
    """BigQuery reads rows of up to 100 MB."""
    batch.cloud.knobs(long_answer_bytes=50_000_000)
    batch.bought()
    assert batch.load()["outcomes"]["succeeded"] == ROWS
    hook = WarehouseHook()
    sql = f"SELECT MAX(LENGTH(text)) AS longest FROM `{batch.dataset}.results`"
    assert list(hook.query_rows(sql, project="demo", location="us-central1")) == [{"longest": 50_000_000}]
    hook.close()


def test_a_line_over_the_limit_fails_the_load(world: World) -> None:
    """Allowed corrupt lines or not: it is an answer, and no small one."""
    job = world.answered(0, [])
    world.answered(1, [answer("d", good("d"))])
    world.put_bytes(GcsUri.parse(job.output_uri) / "predictions.jsonl", b"x" * (100 << 20) + b"x\n")
    with pytest.raises(LandingError, match="larger than the maximum"):
        world.load(max_corrupt_lines=5)


def test_fewer_corrupt_lines_than_none_cannot_be_allowed(world: World) -> None:
    """Told before anything is asked."""
    with pytest.raises(ConfigurationError, match="max_corrupt_lines=-1"):
        world.operator(max_corrupt_lines=-1)


def output(batch: World, folder: str) -> list[bytes]:
    uri = GcsUri.parse(folder) / "predictions.jsonl"
    with batch.cloud.parts.storage.open(uri.bucket, uri.name) as file:
        return file.read().splitlines()


def is_json(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
