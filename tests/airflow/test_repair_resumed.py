"""Jobs that ended early, resumed: their output is what the next job reads, and what they answered is paid for once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException
from repair_side import CALM, DEAR, TEMPLATE, KilledError, Story, cancelled_halfway, rows

from airflow_batch_gemini.batch.layout import Workspace
from airflow_batch_gemini.batch.names import GcsUri, TableName
from airflow_batch_gemini.batch.purchase import ledger_uri
from airflow_batch_gemini.batch.ref import BatchRef
from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
from airflow_batch_gemini.hooks.workspace import WorkspaceHook
from airflow_batch_gemini.operators._manifest import ManifestKeeper

COUNT = 12
PEACE = {**CALM, "fail_after_rows": 0, "expire": False, "pace": "immediate"}


@pytest.fixture
def vertex(in_files: Story) -> Iterator[GeminiBatchHook]:
    """To look at jobs, and to cancel them."""
    hook = GeminiBatchHook()
    yield hook
    hook.close()


@pytest.fixture
def paid(in_files: Story) -> Callable[[], int]:
    """Rows that were billed since the test began."""
    before = in_files.bill()
    return lambda: in_files.bill() - before


def bought_and_failed(story: Story, vertex: GeminiBatchHook) -> None:
    """Buy the first round; its job fails half-way."""
    story.cloud.knobs(fail_after_rows=7)
    story.buy()


def bought_and_cancelled(story: Story, vertex: GeminiBatchHook) -> None:
    """Buy the first round; somebody cancels its job half-way."""
    cancelled_halfway(story, vertex)


def inputs(story: Story, vertex: GeminiBatchHook, number: int) -> list[str]:
    return [vertex.get(name).input_uri for name in story.jobs[number]]


def resumed(story: Story, number: int = 1) -> list[str | None]:
    """The job that each part of a round goes on with."""
    return [part.resumes and part.resumes.job_name for part in story.manifest(number).parts]


def content(story: Story, uri: str) -> list[Any]:
    """Lines of a file, or rows of a table, in an order of their own."""
    if uri.startswith("gs://"):
        stored = story.storage.read(GcsUri.parse(uri))
        assert stored is not None
        return sorted(stored.data.splitlines())
    sql = f"SELECT TO_JSON_STRING(t) AS line FROM `{uri.removeprefix('bq://')}` AS t"
    return sorted(
        row["line"] for row in story.warehouse.query_rows(sql, project="demo", location="us-central1")
    )


@pytest.mark.parametrize("end", ["partial_after_rows", "expire_after_rows"])
def test_a_job_that_ended_early_in_another_way_is_gone_on_with(
    story: Story, paid: Callable[[], int], end: str
) -> None:
    """A partial success, and one that expired at work, as one that failed."""
    story.cloud.knobs(**{end: 7, "unfinished_lines": True})
    story.prepare(rows(COUNT))
    story.go()
    story.cloud.knobs(**{**PEACE, end: 0})
    story.repair(resume=True)
    assert resumed(story) == story.jobs[0]
    assert story.go(1)["standing"]["succeeded"] == COUNT == paid()


@pytest.mark.parametrize("way", ["storage", "bigquery"])
def test_two_attempts_at_a_repair_with_a_death_between_make_the_batch_that_one_makes(
    in_files: Story, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The same rows, the same output to go on with, the same fingerprint."""
    story, made = in_files, []
    story.way = way
    story.cloud.knobs(fail_after_rows=7, unfinished_lines=True)
    story.prepare(rows(COUNT))
    story.go()

    def fatal(self: ManifestKeeper, manifest: Any) -> None:
        made.append(manifest)
        raise KilledError

    with monkeypatch.context() as patched, pytest.raises(KilledError):
        patched.setattr(ManifestKeeper, "keep", fatal)
        story.repair(resume=True)
    made.append(story.repair(resume=True))
    whole, again = ([(part.rows, part.checksum, part.resumes) for part in one.parts] for one in made)
    assert whole == again
    assert made[0].fingerprint(0) == made[1].fingerprint(0)


@pytest.mark.parametrize(
    ("bought", "state"),
    [(bought_and_failed, "JOB_STATE_FAILED"), (bought_and_cancelled, "JOB_STATE_CANCELLED")],
)
def test_a_job_that_ended_early_is_gone_on_with_and_each_row_is_paid_for_once(
    story: Story, vertex: GeminiBatchHook, bought: Any, state: str
) -> None:
    """Its output is the input of the next job; what comes back of its answers is neither landed nor counted again."""
    story.cloud.knobs(unfinished_lines=True, row_error_rate=0.3)
    story.prepare(rows(COUNT))
    bought(story, vertex)
    before = story.load()
    [dead] = [vertex.get(name) for name in story.jobs[0]]
    done, first = before["outcomes"]["succeeded"], story.table()
    assert (dead.state, story.billed(0)) == (state, done)
    assert 0 < done < COUNT

    story.cloud.knobs(**PEACE)
    manifest = story.repair(resume=True)
    assert (manifest.rows, resumed(story)) == (COUNT - done, [dead.name])
    assert set(story.requests(1)) == set(story.errors)
    report = story.go(1)
    [read] = inputs(story, vertex, 1)
    wrote = dead.output_uri if dead.output_uri.startswith("bq://") else f"{dead.output_uri}/predictions.jsonl"
    assert content(story, read) == content(story, wrote)
    assert read != wrote
    about = story.warehouse.table_info(TableName.parse(read)) if read.startswith("bq://") else None
    found = ledger_uri(read, description=about.description if about else "")
    assert found == Workspace(GcsUri.parse(manifest.workspace)).ledger(0)

    assert (story.billed(0), story.billed(1)) == (done, COUNT - done)
    assert report["standing"]["succeeded"] == COUNT
    assert (report["rows"], report["returned_lines"], report["duplicates"]) == (COUNT - done, done, 0)
    assert report["notes"] == []
    assert float(story.usd(1)) == report["cost_usd"]
    assert story.table_usd() == story.usd(0) + story.usd(1)
    ended = story.table()
    assert {key: ended[key] for key in first} == first
    assert {ended[key]["round"] for key in ended.keys() - first} == {1}
    assert story.load(1)["standing"] == report["standing"]
    assert story.table() == {
        key: {**row, "loaded_at": story.table()[key]["loaded_at"]} for key, row in ended.items()
    }


@pytest.mark.parametrize(
    ("knobs", "options"),
    [
        pytest.param({}, {"resume": True}, id="nothing died"),
        pytest.param({"expire": True}, {"resume": True}, id="it died before it wrote anything"),
        pytest.param({"fail_after_rows": 7, "unfinished_lines": True}, {}, id="nobody wants it"),
        pytest.param(
            {"fail_after_rows": 7, "unfinished_lines": True},
            {"resume": True, "policy": {"failed": "give_up", "missing": "give_up", "mismatched": "give_up"}},
            id="such rows are given up",
        ),
    ],
)
def test_nothing_is_resumed(in_files: Story, knobs: dict[str, Any], options: dict[str, Any]) -> None:
    """Where nothing died, or there is nothing to go on with, or nobody wants it."""
    story = in_files
    story.cloud.knobs(truncate_rate=0.3, **knobs)
    story.prepare(rows(COUNT))
    story.go()
    story.cloud.knobs(**PEACE)
    story.repair(**options)
    assert set(resumed(story)) == {None}
    left = len(story.requests(1))
    story.go(1)
    assert story.billed(1) == left


def test_rows_without_a_line_in_the_output_are_sent_beside_it(story: Story) -> None:
    """A job that goes on with that output could not know them: it runs those that failed, another job the others."""
    story.cloud.knobs(fail_after_rows=7, row_error_rate=0.7)
    story.prepare(rows(COUNT))
    report = story.go()
    done, failed, missing = (report["outcomes"][name] for name in ("succeeded", "failed", "missing"))
    assert (done + failed, missing) == (7, 5)
    story.cloud.knobs(**PEACE)
    manifest = story.repair(resume=True)
    assert [part.rows for part in manifest.parts] == [missing, failed]
    assert resumed(story) == [None, story.jobs[0][0]]
    report = story.go(1)
    assert report["standing"]["succeeded"] == COUNT
    assert (report["returned_lines"], report["notes"]) == (done, [])
    assert story.billed(0) + story.billed(1) == COUNT


def test_each_row_that_deserves_something_else_goes_its_own_way(story: Story) -> None:
    """To the job that is resumed it is finished; so are rows that nobody can help."""
    story.cloud.knobs(
        fail_after_rows=60, unfinished_lines=True, truncate_rate=0.2, invalid_json_rate=0.2, blocked_rate=0.1,
        row_error_rate=0.1,
    )  # fmt: skip
    story.prepare(rows(80))
    story.go()
    outcomes = story.outcomes()
    assert {"succeeded", "failed", "truncated", "invalid"} <= set(outcomes.values())
    story.cloud.knobs(**{**PEACE, "blocked_rate": 0.1})
    manifest = story.repair(resume=True)
    assert resumed(story) == [None, story.jobs[0][0]]
    assert manifest.parts[1].rows == sum(outcome == "failed" for outcome in outcomes.values())
    by_itself = {
        key for key, outcome in outcomes.items() if outcome not in ("succeeded", "failed", "blocked")
    }
    assert manifest.parts[0].rows == len(by_itself)
    asked = story.requests(1)
    assert {asked[key]["generationConfig"]["maxOutputTokens"] for key in by_itself} == {4096, 8192}
    report = story.go(1)
    assert report["standing"]["succeeded"] + report["standing"]["blocked"] == 80
    assert story.billed(1) == manifest.rows
    assert float(story.usd(1)) == report["cost_usd"]


def test_whoever_runs_the_finished_rows_again_changes_none_of_them_and_it_is_told(story: Story) -> None:
    """How Vertex AI tells finished rows is not known: it might bill them, and their rows stay as they are."""
    story.cloud.knobs(fail_after_rows=7, unfinished_lines=True)
    story.prepare(rows(COUNT))
    story.go()
    first = story.table()
    story.cloud.knobs(**PEACE, rerun_finished=True)
    story.repair(resume=True)
    report = story.go(1)
    assert story.billed(1) == COUNT
    assert (report["rows"], report["returned_lines"], report["standing"]["succeeded"]) == (5, 7, COUNT)
    assert {key: story.table()[key] for key in first} == first
    [note] = report["notes"]
    assert "7 rows that the latter had answered came back with a later time" in note
    assert float(story.table_usd(1)) == report["cost_usd"] < float(story.usd(1))


def test_a_death_between_the_post_and_the_ledger_pays_once(
    story: Story, monkeypatch: pytest.MonkeyPatch, paid: Callable[[], int]
) -> None:
    """The second attempt finds the resumed job by its labels; the copy of the output is its input as it was."""
    story.cloud.knobs(fail_after_rows=7, unfinished_lines=True)
    story.prepare(rows(COUNT))
    story.go()
    story.cloud.knobs(**PEACE)
    story.repair(resume=True)
    write, posted = WorkspaceHook.write, GeminiBatchHook.create

    def fatal(self: WorkspaceHook, uri: GcsUri, data: bytes, **options: Any) -> Any:
        if b'"SUBMITTED"' in data:
            raise KilledError
        return write(self, uri, data, **options)

    posts = []

    def counted(self: GeminiBatchHook, **options: Any) -> Any:
        posts.append(options)
        return posted(self, **options)

    monkeypatch.setattr(GeminiBatchHook, "create", counted)
    with monkeypatch.context() as patched, pytest.raises(KilledError):
        patched.setattr(WorkspaceHook, "write", fatal)
        story.buy(1)
    report = story.go(1)
    assert len(posts) == 1
    assert report["standing"]["succeeded"] == COUNT == paid()


def test_a_resumed_job_whose_input_was_fenced_off_leaves_the_output_where_it_was(
    story: Story, monkeypatch: pytest.MonkeyPatch, paid: Callable[[], int]
) -> None:
    """An attempt that died before it posted is fenced off by its own copy; the next one reads another."""
    story.cloud.knobs(fail_after_rows=7, unfinished_lines=True)
    story.prepare(rows(COUNT))
    before = story.go()
    story.cloud.knobs(**PEACE)
    story.repair(resume=True)

    def fatal(self: GeminiBatchHook, **options: Any) -> Any:
        raise KilledError

    with monkeypatch.context() as patched, pytest.raises(KilledError):
        patched.setattr(GeminiBatchHook, "create", fatal)
        story.buy(1)
    assert story.go(1)["standing"]["succeeded"] == COUNT
    assert paid() == COUNT
    again = story.load()
    assert again["outcomes"] == before["outcomes"]
    assert story.outcomes() == dict.fromkeys(story.outcomes(), "succeeded")


def test_an_output_of_several_files_is_put_together(
    in_files: Story, vertex: GeminiBatchHook, paid: Callable[[], int]
) -> None:
    """One job reads one file."""
    story = in_files
    story.cloud.knobs(fail_after_rows=7, unfinished_lines=True, output_shards=5)
    story.prepare(rows(COUNT))
    story.go()
    story.cloud.knobs(**PEACE, output_shards=2)
    manifest = story.repair(resume=True)
    [part] = manifest.parts
    assert part.resumes is not None
    assert [stored.uri[-5:] for stored in part.resumes.outputs] == ["00005"] * 5
    report = story.go(1)
    [read] = inputs(story, vertex, 1)
    assert content(story, read) == sorted(
        line for stored in part.resumes.outputs for line in content(story, stored.uri)
    )
    assert report["standing"]["succeeded"] == COUNT == paid()


@pytest.mark.parametrize(
    "knobs", [{"corrupt_line_rate": 0.7}, {"cut_last_line": True, "output_shards": 3}], ids=["garbled", "cut"]
)
def test_an_output_that_nobody_can_read_whole_is_not_gone_on_with(
    in_files: Story, knobs: dict[str, Any]
) -> None:
    """One line that is no JSON fails a whole import; the rows are sent as requests."""
    story = in_files
    story.cloud.knobs(fail_after_rows=7, unfinished_lines=True, **knobs)
    story.prepare(rows(COUNT))
    story.buy()
    assert story.load(max_corrupt_lines=COUNT)["corrupt_lines"]
    story.cloud.knobs(**PEACE, corrupt_line_rate=0, cut_last_line=False, output_shards=1)
    story.repair(resume=True)
    assert resumed(story) == [None]
    assert story.go(1)["standing"]["succeeded"] == COUNT


@pytest.mark.parametrize("other", [{}, {"response": {}, "status": "INTERNAL"}], ids=["alike", "an error"])
@pytest.mark.parametrize("answered", [True, False])
def test_an_output_with_a_line_twice_is_not_gone_on_with(
    in_files: Story,
    vertex: GeminiBatchHook,
    paid: Callable[[], int],
    answered: bool,
    other: dict[str, Any],
) -> None:
    """A line without a response is run, although its row has another line: each row is paid for once."""
    story = in_files
    story.cloud.knobs(fail_after_rows=7, unfinished_lines=True)
    story.prepare(rows(COUNT))
    story.buy()
    output = GcsUri.parse(f"{vertex.get(story.jobs[0][0]).output_uri}/predictions.jsonl")
    stored = story.storage.read(output)
    assert stored is not None
    line = next(one for one in map(json.loads, stored.data.splitlines()) if bool(one["response"]) == answered)
    story.storage.write(output, stored.data + json.dumps({**line, **other}).encode() + b"\n")
    assert story.load()["duplicates"] == 1
    story.cloud.knobs(**PEACE)
    story.repair(resume=True)
    assert resumed(story) == [None]
    assert story.go(1)["standing"]["succeeded"] == COUNT == paid()


@pytest.mark.parametrize(
    ("way", "fate"), [("storage", "changed"), ("storage", "deleted"), ("bigquery", "deleted")]
)
def test_where_the_output_is_not_there_any_more_its_rows_are_sent_as_requests(
    in_files: Story, paid: Callable[[], int], way: str, fate: str
) -> None:
    """The rest of the round was sent by then: it is neither stuck nor chosen, and bought, anew."""
    story, in_files.way = in_files, way
    story.cloud.knobs(fail_after_rows=7, unfinished_lines=True, truncate_rate=0.5)
    story.prepare(rows(COUNT))
    cut = story.go()["outcomes"]["truncated"]
    story.cloud.knobs(**PEACE)
    *others, part = story.repair(resume=True).parts
    assert part.resumes is not None
    assert (sum(other.rows for other in others), part.rows) == (cut, COUNT - 7)
    [output] = part.resumes.outputs
    if story.way == "bigquery":
        story.warehouse.client("demo").delete_table(output.uri.removeprefix("bq://"))
    elif fate == "changed":
        story.storage.write(GcsUri.parse(output.uri), b"{}\n")
    else:
        story.storage.delete(GcsUri.parse(output.uri))
    report = story.go(1)
    assert (report["standing"]["succeeded"], report["returned_lines"], report["notes"]) == (COUNT, 0, [])
    assert paid() == COUNT + cut


def test_of_several_jobs_those_that_ended_early_are_resumed(story: Story, paid: Callable[[], int]) -> None:
    """Each by a job of its own; those that share a request get its answer."""
    source = [(f"row-{number}", f"thing {number % 8}") for number in range(10)]
    story.cloud.knobs(fail_after_rows=2, unfinished_lines=True)
    story.prepare(source, max_rows_per_part=3, dedupe=True)
    assert [part.rows for part in story.manifest().parts] == [3, 3, 2]
    story.go()
    story.cloud.knobs(**PEACE)
    manifest = story.repair(resume=True)
    assert resumed(story) == story.jobs[0][:2]
    assert [part.rows for part in manifest.parts] == [1, 1]
    report = story.go(1)
    assert (report["standing"]["succeeded"], report["returned_lines"], paid()) == (10, 4, 8)
    found = story.table()
    assert (found["row-8"]["text"], found["row-9"]["text"]) == (
        found["row-0"]["text"],
        found["row-1"]["text"],
    )


@pytest.mark.parametrize(
    ("limit", "parts"),
    [({"max_rows": 2}, [2]), ({"max_rows": 4}, [1, 3]), ({"max_cost_usd": "0.000000001"}, None)],
)
def test_limits_hold_for_all_that_a_resumed_job_runs(
    in_files: Story, limit: dict[str, Any], parts: list[int] | None
) -> None:
    """It cannot be told to run less."""
    story = in_files
    story.cloud.knobs(fail_after_rows=5, unfinished_lines=True, truncate_rate=1.0)
    story.prepare(rows(8))
    story.go()
    story.cloud.knobs(**PEACE)
    if parts is None:
        with pytest.raises(AirflowSkipException, match="allows none"):
            story.repair(resume=True, **limit)
        return
    assert [part.rows for part in story.repair(resume=True, **limit).parts] == parts
    story.go(1)
    assert story.billed(1) == sum(parts)


def test_rows_that_a_resumed_job_loses_are_sent_in_the_next_round(
    story: Story, paid: Callable[[], int]
) -> None:
    """Once a round was loaded nothing is resumed: what it has answered would be paid for again."""
    story.cloud.knobs(fail_after_rows=4, unfinished_lines=True)
    story.prepare(rows(COUNT))
    story.go()
    story.cloud.knobs(fail_after_rows=5)  # one more than there are finished ones, in whatever order they come
    story.repair(resume=True)
    middle = story.go(1)
    left = COUNT - middle["standing"]["succeeded"]
    assert 0 < left < COUNT - 4
    story.cloud.knobs(**PEACE)
    assert (story.repair(2, resume=True).rows, resumed(story, 2)) == (left, [None])
    assert story.go(2)["standing"]["succeeded"] == COUNT == paid()


def test_what_a_round_has_answered_is_not_bought_again_by_resuming(
    story: Story, paid: Callable[[], int]
) -> None:
    """The output of the first job still lacks it."""
    story.cloud.knobs(fail_after_rows=4, unfinished_lines=True)
    story.prepare(rows(COUNT))
    story.go()
    story.cloud.knobs(**PEACE)
    story.repair(resume=True, max_rows=3)
    story.go(1)
    for number, arguments in [(1, {"max_rows": 2}), (2, {})]:
        story.repair(number, resume=True, **arguments)
        assert resumed(story, number) == [None]
        report = story.go(number)
    assert report["standing"]["succeeded"] == COUNT == paid()


def test_requests_and_answers_may_lie_in_different_places(
    in_files: Story, vertex: GeminiBatchHook, paid: Callable[[], int]
) -> None:
    """What is read is what was written, wherever the requests are."""
    story = in_files
    story.cloud.knobs(fail_after_rows=7, unfinished_lines=True)
    for way, options, scheme in [
        ("storage", {"predictions_dataset": story.dataset}, "bq://"),
        ("bigquery", {"predictions_dataset": None}, "gs://"),
    ]:
        story.way = story.run_id = story.results_name = way
        story.cloud.knobs(fail_after_rows=7)
        story.prepare(rows(COUNT), TEMPLATE, **options)
        story.go()
        story.cloud.knobs(**PEACE)
        story.repair(resume=True)
        assert story.go(1)["standing"]["succeeded"] == COUNT
        assert inputs(story, vertex, 1)[0].startswith(scheme)
    assert paid() == 2 * COUNT


def test_a_repair_that_resumes_is_not_chosen_anew_and_one_that_does_not_is_another(in_files: Story) -> None:
    """It is an argument like any other."""
    story = in_files
    story.cloud.knobs(fail_after_rows=7, unfinished_lines=True)
    story.prepare(rows(COUNT))
    story.go()
    plain = story.repair()
    resuming = story.repair(resume=True)
    assert plain.parts[0].checksum == resuming.parts[0].checksum
    assert plain.fingerprint(0) != resuming.fingerprint(0)
    story.cloud.knobs(**PEACE)
    story.go(1)
    bill, tables = story.bill(), story.tables
    assert story.repair(resume=True) == resuming
    story.go(1)
    assert (story.bill(), story.tables) == (bill, tables)
    assert BatchRef.from_xcom(story.batches[1]).folder == Workspace(GcsUri.parse(resuming.workspace)).folder


@pytest.mark.parametrize("number", range(3))
def test_whatever_befell_the_first_jobs_a_round_that_resumes_them_pays_for_each_of_its_rows_once(
    story: Story, number: int
) -> None:
    """Every trouble at once, in several parts and files: rows in are rows out, and the report comes to the bill."""
    count = 60
    story.cloud.knobs(
        fail_after_rows=14, unfinished_lines=number != 2, output_shards=1 + number, row_error_rate=0.1,
        truncate_rate=0.1, invalid_json_rate=0.1, blocked_rate=0.05, missing_rate=0.1,
        swap_echo_rate=0.03, **DEAR,
    )  # fmt: skip
    story.prepare(rows(count), max_rows_per_part=20)
    story.go()
    first = story.table()
    story.cloud.knobs(**{**PEACE, "blocked_rate": 0.05, "duplicate_rate": 0.1})
    manifest = story.repair(resume=True)
    assert any(resumed(story))
    report = story.go(1)
    assert story.billed(1) == manifest.rows == report["rows"]
    assert float(story.usd(1)) == report["cost_usd"]
    assert report["notes"] == []
    ended = story.table()
    assert {key: ended[key] for key in first} == first
    assert len(story.outcomes()) == count
    assert set(story.outcomes().values()) <= {"succeeded", "blocked"}
