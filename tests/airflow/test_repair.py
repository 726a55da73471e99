"""Rows that did not succeed, asked again through the real operators: what was billed, and how the tables end."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException
from repair_side import CALM, DEAR, KINDS, TROUBLES, KilledError, Story, cancelled_halfway, rows

from airflow_batch_gemini import EmbeddingTemplate, GeminiTemplate
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.batch.repair import Action, RepairPolicy, Rule
from airflow_batch_gemini.batch.treatment import CORRECTION, treated
from airflow_batch_gemini.exceptions import ConfigurationError, SourceError
from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
from airflow_batch_gemini.hooks.warehouse import WarehouseHook
from airflow_batch_gemini.operators._files import RequestFiles
from airflow_batch_gemini.operators._manifest import ManifestKeeper
from airflow_batch_gemini.operators.repair import GeminiBatchRepairOperator

COUNTS = {"storage": 1000, "bigquery": 600}


def test_after_the_repair_only_what_cannot_be_mended_is_left_and_every_row_is_billed_once_a_round(
    story: Story,
) -> None:
    """Every trouble there is, two rounds: rows in are rows out, and they say what the model says on a calm day.

    What the reports say that they cost is what was billed.
    """
    count, cloud = COUNTS[story.way], story.cloud
    cloud.knobs(**DEAR)
    calm = replace(story, run_id="calm", results_name="calm", batches={}, jobs={})
    calm.prepare(rows(count))
    calm.go()
    cloud.knobs(**TROUBLES)
    story.prepare(rows(count))
    reports = [story.go()]
    assert story.billed(0) == answered(story, 0)
    assert story.table_usd() == usd(reports[0]) == story.usd(0)
    first = story.outcomes()
    assert {"succeeded", "failed", "truncated", "invalid", "blocked"} <= set(first.values())
    assert len(first) == sum(reports[0]["outcomes"].values()) == count

    for number, knobs in [(1, TROUBLES), (2, {**CALM, "blocked_rate": TROUBLES["blocked_rate"]})]:
        before = story.outcomes()
        deserving = {key for key, outcome in before.items() if outcome not in ("succeeded", "blocked")}
        cloud.knobs(**knobs)
        manifest = story.repair(number)
        assert (manifest.round, manifest.root_batch_id) == (number, story.manifest().batch_id)
        assert set(story.requests(number)) == deserving
        reports.append(story.go(number))
        assert reports[-1]["rows"] == len(deserving)
        assert story.billed(number) == answered(story, number)
        assert story.table_usd(number) == usd(reports[-1]) == story.usd(number)

    for number, report in enumerate(reports):
        assert {kind: report["tokens"][kind] for kind in KINDS} == story.tokens(number)
    assert all(story.tokens(0).values())
    # A row that was asked again is in one table with its last round alone.
    assert story.table_usd() < sum(map(usd, reports)) == sum(map(story.usd, range(3)))
    ended = story.outcomes()
    assert len(ended) == count
    assert set(ended.values()) == {"succeeded", "blocked"}
    standing = reports[-1]["standing"]
    assert standing == {**dict.fromkeys(standing, 0), **Counter(ended.values())}
    _as_on_a_calm_day(story, calm)
    with pytest.raises(AirflowSkipException, match="No row deserves round 3"):
        story.repair(3)


def usd(report: dict[str, Any]) -> Decimal:
    """To the last digit: XCom has no decimals, and JSON writes the shortest digits that mean the same."""
    return Decimal(str(report["cost_usd"]))


def answered(story: Story, number: int) -> int:
    """Rows of a round for which the model did something, as the tables tell right after its load."""
    errors = [row for row in story.errors.values() if row["round"] == number]
    unpaid = [row for row in errors if row["outcome"] in ("failed", "missing") or row["code"] is not None]
    return sum(row["round"] == number for row in story.table().values()) + len(errors) - len(unpaid)


def _as_on_a_calm_day(story: Story, calm: Story) -> None:
    """A request that was sent as it was, in whatever round, has the answer of a job without any trouble."""
    expected, found, first = calm.table(), story.table(), story.requests(0)
    changed = {
        key for number in (1, 2) for key, request in story.requests(number).items() if request != first[key]
    }
    same = found.keys() - changed
    assert len(same) > len(found) * 0.9
    assert {key: found[key]["text"] for key in same} == {key: expected[key]["text"] for key in same}
    assert {row["batch_id"] for row in found.values()} == {story.manifest().batch_id}
    assert {row["round"] for row in found.values()} == {0, 1, 2}


def test_each_row_is_asked_by_its_own_rule(story: Story) -> None:
    """More tokens for what was cut off, a sentence more for what did not fit, the same for what may pass."""
    for knobs, action in [
        ({"truncate_rate": 1.0}, RepairPolicy().treatment(Action.MORE_TOKENS, round=1)),
        ({"invalid_json_rate": 1.0}, RepairPolicy().treatment(Action.CORRECT, round=1)),
        ({"row_error_rate": 1.0}, RepairPolicy().treatment(Action.SAME, round=1)),
    ]:
        story.run_id = story.results_name = next(iter(knobs))
        story.cloud.knobs(**{**CALM, **knobs})
        story.prepare(rows(3))
        story.go()
        story.repair()
        asked, before = story.requests(1), story.requests(0)
        assert asked == {key: treated(request, action) for key, request in before.items()}
        if action.action is Action.MORE_TOKENS:
            assert {one["generationConfig"]["maxOutputTokens"] for one in asked.values()} == {8192}
        story.cloud.knobs(**CALM)
        story.go(1)
        assert set(story.outcomes().values()) == {"succeeded"}


def test_nothing_of_an_answer_is_in_a_correction(in_files: Story) -> None:
    """A request that is corrected differs from the first one by a constant."""
    story = in_files
    story.cloud.knobs(invalid_json_rate=1.0)
    story.prepare(rows(2))
    story.go()
    story.repair()
    assert {str(one["systemInstruction"]) for one in story.requests(1).values()} == {
        str({"parts": [CORRECTION]})
    }


def test_a_row_that_fails_again_has_one_error_the_newest(in_files: Story) -> None:
    """And is asked once more in the next round."""
    story = in_files
    story.cloud.knobs(row_error_rate=1.0)
    story.prepare(rows(3))
    story.go()
    story.cloud.knobs(row_error_code=503)
    story.repair()
    story.go(1)
    assert [(row["round"], row["code"]) for row in story.errors.values()] == [(1, 503)] * 3
    story.cloud.knobs(**CALM)
    assert story.repair(2).rows == 3
    assert story.go(2)["standing"]["succeeded"] == 3
    assert (story.errors, {row["round"] for row in story.table().values()}) == ({}, {2})


def test_a_policy_of_ones_own_sends_what_it_says_and_no_more(in_files: Story) -> None:
    """What is given up is a dead letter at once."""
    story = in_files
    story.cloud.knobs(truncate_rate=1.0)
    story.prepare(rows(2))
    story.go()
    with pytest.raises(AirflowSkipException, match="Nothing was sent"):
        story.repair(policy={"truncated": "give_up"})
    only = RepairPolicy(rules=(Rule(outcome="truncated", action=Action.SAME),))  # type: ignore[arg-type]
    story.repair(policy=only)
    assert story.requests(1) == story.requests(0)


def test_rows_that_cannot_get_more_are_given_up(in_files: Story) -> None:
    """Asking for as much as before would buy as much as before."""
    story = in_files
    story.cloud.knobs(truncate_rate=1.0)
    story.prepare(rows(2), GeminiTemplate(prompt="What is {text}?"))
    story.go()
    with pytest.raises(AirflowSkipException, match="another try would not help"):
        story.repair()


def test_rows_that_had_all_there_is_in_the_round_before_are_not_paid_for_again(story: Story) -> None:
    """The first round of repair asks for the most, in vain; a second one would buy the very same."""
    story.cloud.knobs(truncate_rate=1.0)
    story.prepare(rows(2), GeminiTemplate(prompt="{text}", generation_config={"maxOutputTokens": 40_000}))
    story.go()
    story.repair()
    story.go(1)
    asked = {one["generationConfig"]["maxOutputTokens"] for one in story.requests(1).values()}
    assert (asked, set(story.outcomes().values())) == ({65_536}, {"truncated"})
    with pytest.raises(AirflowSkipException, match="another try would not help"):
        story.repair(2)


def test_a_row_that_shares_another_request_than_before_keeps_no_answer_to_the_old_one(story: Story) -> None:
    """The requests that are sent are the same; whose answer a row gets is not, so it is another batch."""
    story.cloud.knobs(truncate_rate=1.0)
    story.prepare([("a", "one"), ("b", "two"), ("c", "one")], dedupe=True)
    story.go()
    story.cloud.knobs(**CALM)
    story.repair()
    story.go(1)
    assert story.table()["c"]["copy_of"] == "a"
    story.prepare([("a", "one"), ("b", "two"), ("c", "two")], dedupe=True)
    story.go()
    assert set(story.outcomes().values()) == {"truncated"}
    story.repair()
    story.go(1)
    found = story.table()
    assert (found["c"]["copy_of"], found["c"]["text"]) == ("b", found["b"]["text"])


def test_another_model_may_answer_a_round(in_files: Story) -> None:
    """The rows say which one did."""
    story = in_files
    story.cloud.knobs(row_error_rate=1.0)
    story.prepare(rows(2))
    story.go()
    story.cloud.knobs(**CALM)
    manifest = story.repair(model="gemini-2.5-flash")
    assert manifest.model == "publishers/google/models/gemini-2.5-flash"
    story.go(1)
    assert {row["model"] for row in story.table().values()} == {"gemini-2.5-flash"}


def test_a_round_takes_no_more_rows_than_it_may_and_the_next_one_takes_the_others(story: Story) -> None:
    """The first ones, so that the same ones are taken again."""
    story.cloud.knobs(row_error_rate=1.0)
    story.prepare(rows(5))
    story.go()
    assert set(story.repair(max_rows=2) and story.requests(1)) == {"row-00000", "row-00001"}
    story.cloud.knobs(**CALM)
    assert story.go(1)["standing"] | {} == story.load(1)["standing"]
    assert Counter(story.outcomes().values()) == {"succeeded": 2, "failed": 3}
    assert story.repair(2).rows == 3


def test_a_round_spends_no_more_than_it_may(story: Story) -> None:
    """What a row costs is what the others did cost; what nobody knows is no limit that can be kept."""
    story.cloud.knobs(truncate_rate=1.0)
    story.prepare(rows(6))
    story.go()
    with pytest.raises(AirflowSkipException):
        story.repair(max_cost_usd="0.000000001")
    costs = [row["cost_usd"] for row in story.errors.values()]
    # A truncated row is reckoned at twice its answer, so more than two and at most four times what it did cost.
    manifest = story.repair(max_cost_usd=2 * max(costs) * 2)
    assert 2 <= manifest.rows <= 4
    with pytest.raises(ConfigurationError, match="the price of the model is unknown"):
        story.repair(max_cost_usd=1, model="gemini-2.0-flash-001")
    assert story.repair(max_cost_usd=1, price={"input": 1, "output": 1}).rows == 6


def test_without_an_answer_nobody_knows_what_a_row_costs(in_files: Story) -> None:
    """The message says what else there is."""
    story = in_files
    story.cloud.knobs(row_error_rate=1.0)
    story.prepare(rows(2))
    story.go()
    with pytest.raises(ConfigurationError, match=r"no row of the batch was answered.*max_rows="):
        story.repair(max_cost_usd=1)


def test_several_parts_are_repaired_as_one(in_files: Story) -> None:
    """A round needs as many jobs as its own rows do."""
    story = in_files
    story.cloud.knobs(row_error_rate=1.0)
    story.prepare(rows(7), max_rows_per_part=3)
    assert len(story.batches[0]) == 3
    story.go()
    story.cloud.knobs(**CALM)
    assert (story.repair().rows, len(story.batches[1])) == (7, 1)
    assert story.go(1)["standing"]["succeeded"] == 7


def test_rows_that_share_a_request_are_repaired_by_the_one_that_was_sent(story: Story) -> None:
    """Billed once, answered all."""
    source = [("a", "x"), ("b", "y"), ("c", "x"), ("d", "x"), ("e", "y"), ("f", "z")]
    story.cloud.knobs(row_error_rate=0.5)
    story.prepare(source, dedupe=True)
    story.go()
    failed = {key for key, row in story.errors.items() if row["copy_of"] is None}
    while not failed:  # a lucky day: buy anew until something fails
        story.buy(on_finished="rerun")
        story.load()
        failed = {key for key, row in story.errors.items() if row["copy_of"] is None}
    story.cloud.knobs(**CALM)
    assert set(story.repair() and story.requests(1)) == failed
    report = story.go(1)
    assert report["standing"]["succeeded"] == len(source)
    assert story.billed(1) == len(failed)
    found = story.table()
    assert found["c"]["text"] == found["d"]["text"] == found["a"]["text"]
    assert (found["c"]["copy_of"], found["e"]["copy_of"]) == ("a", "b")
    assert all(row["fingerprint"] for row in found.values())


def test_an_incremental_batch_finds_the_answer_that_a_repair_brought(in_files: Story) -> None:
    """By the fingerprint of the request that was asked first, whatever was asked in the end."""
    story = in_files
    story.cloud.knobs(invalid_json_rate=1.0)
    story.prepare(rows(2), incremental=True, results_table=story.results)
    story.go()
    story.cloud.knobs(**CALM)
    story.repair()
    story.go(1)
    story.run_id = "tomorrow"
    with pytest.raises(AirflowSkipException, match="have the answers"):
        story.prepare(rows(2), incremental=True, results_table=story.results)


def test_vectors_are_asked_for_again_as_they_were(in_files: Story) -> None:
    """Nothing can be said to an embedding model but the text."""
    story = in_files
    story.cloud.knobs(row_error_rate=1.0)
    story.prepare(rows(2), EmbeddingTemplate(content="{text}"), model="gemini-embedding-001")
    story.go()
    story.cloud.knobs(**CALM)
    story.repair()
    assert story.requests(1) == story.requests(0)
    assert story.go(1)["standing"]["succeeded"] == 2


# ------------------------------------------------------------------------------------------------- jobs that died


@pytest.mark.parametrize(
    "knobs",
    [
        {"fail_after_rows": 4},
        {"expire": True},
        {"expire_after_rows": 4},
        {"empty_output": True, "fail_after_rows": 4},
    ],
)
def test_of_a_job_that_died_what_was_paid_for_is_landed_and_only_the_rest_is_repaired(
    in_files: Story, knobs: dict[str, Any]
) -> None:
    """What the dead job billed and what the round billed are together no more than the rows."""
    story = in_files
    count = 10
    story.cloud.knobs(**knobs)
    story.prepare(rows(count))
    story.buy()
    story.cloud.knobs(**dict.fromkeys(knobs, 0))
    report = story.load()
    landed = report["outcomes"]["succeeded"]
    assert report["outcomes"]["missing"] == count - landed
    if "empty_output" not in knobs:
        assert landed == story.billed(0)
    assert story.repair().rows == count - landed
    assert story.go(1)["standing"]["succeeded"] == count
    assert story.billed(1) == count - landed


def test_of_a_job_that_succeeded_in_part_the_wait_succeeds_with_a_warning_and_the_rest_is_repaired(
    story: Story, capsys: pytest.CaptureFixture[str]
) -> None:
    """The job is billed for what it answered, the round for what it did not, and both attempts buy once."""
    count, came = 10, 6
    story.cloud.knobs(partial_after_rows=came)
    story.prepare(rows(count))
    story.buy()
    [name] = story.jobs[0]
    ended = story.wait()
    assert [end["state"] for end in ended] == ["JOB_STATE_PARTIALLY_SUCCEEDED"]
    assert (ended[0]["succeeded"], ended[0]["incomplete"]) == (came, count - came)
    assert re.search(
        r"\[warning .*ended with some results missing: 6 done, 0 failed, 4 to do", capsys.readouterr().out
    )
    report = story.load()
    assert (report["outcomes"]["succeeded"], report["outcomes"]["missing"]) == (came, count - came)
    assert (len(story.table()), story.billed(0)) == (came, came)
    story.buy()
    assert story.jobs[0] == [name], "what was answered in part is adopted, not bought anew"
    story.cloud.knobs(partial_after_rows=0)
    story.repair()
    assert set(story.requests(1)) == {
        key for key, outcome in story.outcomes().items() if outcome == "missing"
    }
    assert story.go(1)["standing"]["succeeded"] == count
    assert (story.billed(0), story.billed(1)) == (came, count - came)


def test_of_a_job_that_was_cancelled_halfway_only_the_other_half_is_repaired(in_files: Story) -> None:
    """The rows it had done were exported and billed."""
    story, vertex = in_files, GeminiBatchHook()
    story.prepare(rows(12))
    cancelled_halfway(story, vertex)
    vertex.close()
    landed = story.load()["outcomes"]["succeeded"]
    assert 0 < landed == story.billed(0) < 12
    story.cloud.knobs(pace="immediate")
    assert story.repair().rows == 12 - landed
    assert story.go(1)["standing"]["succeeded"] == 12
    assert story.billed(0) + story.billed(1) == 12


# ------------------------------------------------------------------------------------- deaths, clears and second looks

DEATHS: dict[str, tuple[type, str, str]] = {
    "before a word is written": (ManifestKeeper, "start_over", ""),
    "while the requests are written": (RequestFiles, "verify", ""),
    "while a table is made": (WarehouseHook, "until_done", ""),
    "before the manifest": (ManifestKeeper, "keep", ""),
    "after the manifest": (ManifestKeeper, "keep", "after"),
}


def dying(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Let the worker die when it comes to *step*."""
    owner, method, when = DEATHS[step]
    original = getattr(owner, method)

    def fatal(self: Any, *args: Any, **kwargs: Any) -> Any:
        if when == "after":
            original(self, *args, **kwargs)
        raise KilledError

    monkeypatch.setattr(owner, method, fatal)


@pytest.mark.parametrize(
    ("way", "step"),
    [*(("storage", step) for step in DEATHS if "table" not in step), ("bigquery", "while a table is made")],
)
def test_two_attempts_with_a_death_between_make_the_batch_that_one_makes(
    in_files: Story, monkeypatch: pytest.MonkeyPatch, way: str, step: str
) -> None:
    """The same rows, the same bytes, the same fingerprint; bought once, and nothing left behind."""
    story, made = in_files, []
    story.way = way
    for story.run_id in ("whole", "again"):
        story.cloud.knobs(row_error_rate=1.0)
        story.prepare(rows(20))
        story.go()
        story.cloud.knobs(**CALM)
        if story.run_id == "again":
            with monkeypatch.context() as patched, pytest.raises(KilledError):
                dying(patched, step)
                story.repair()
        made.append(story.repair())
    whole, again = made
    assert [(part.rows, part.size, part.checksum) for part in again.parts] == [
        (part.rows, part.size, part.checksum) for part in whole.parts
    ]
    assert again.fingerprint(0) == whole.fingerprint(0)
    bill = story.bill()
    story.go(1)
    assert story.bill() - bill == 20
    if way == "storage":
        kept = story.storage.list(GcsUri.parse(again.workspace) / "requests")
        assert [one.uri for one in kept] == [part.uri for part in again.parts]


def test_a_round_that_was_sent_is_not_chosen_anew(in_files: Story) -> None:
    """Its answers have changed the tables: chosen from those it would be another batch, and be paid for."""
    story = in_files
    story.cloud.knobs(row_error_rate=0.6)
    story.prepare(rows(30))
    story.go()
    before = story.repair()
    story.go(1)
    tables, bill = story.tables, story.bill()
    for _ in range(2):
        assert story.repair() == before
        story.go(1)
        assert (story.tables, story.bill()) == (tables, bill)


def test_a_whole_run_that_is_cleared_buys_nothing_and_changes_nothing(in_files: Story) -> None:
    """Prepared, submitted, loaded and repaired again from the first task on."""
    story = in_files
    story.cloud.knobs(row_error_rate=0.5)

    def run() -> None:
        story.prepare(rows(30))
        story.go()
        for number in (1, 2):
            story.repair(number)
            story.go(number)

    run()
    tables, bill = story.tables, story.bill()
    run()
    assert (story.tables, story.bill()) == (tables, bill)


def test_other_arguments_choose_anew_among_what_has_not_succeeded(in_files: Story) -> None:
    """What a round has brought stays, and is not bought again."""
    story = in_files
    story.cloud.knobs(row_error_rate=1.0)
    story.prepare(rows(6))
    story.go()
    story.cloud.knobs(**CALM)
    story.repair(max_rows=2)
    story.go(1)
    assert story.repair().rows == 4
    assert not set(story.requests(1)) & set(story.table())
    assert story.go(1)["standing"]["succeeded"] == 6
    assert story.billed(1) == 4


def test_a_first_round_that_was_bought_anew_is_repaired_anew(in_files: Story) -> None:
    """Other rows are left without an answer."""
    story = in_files
    story.cloud.knobs(row_error_rate=1.0)
    story.prepare(rows(6))
    story.go()
    story.repair(max_rows=2)
    story.cloud.knobs(**CALM)
    story.go(1)
    story.cloud.knobs(missing_rate=0.5)
    story.buy(on_finished="rerun")
    story.load()
    assert story.outcomes() | dict.fromkeys(("row-00000", "row-00001"), "succeeded") == story.outcomes()
    left = {key for key, outcome in story.outcomes().items() if outcome != "succeeded"}
    if left:
        story.repair()
        assert set(story.requests(1)) == left


# ---------------------------------------------------------------------------------------------------- what is refused


def test_nothing_is_repaired_before_the_batch_is_loaded(story: Story) -> None:
    """Or from tables that are not those it was loaded into."""
    story.prepare(rows(3))
    with pytest.raises(SourceError, match="load the batch first"):
        story.repair()
    story.go()
    with pytest.raises(SourceError, match="no table that GeminiBatchLoadOperator has loaded"):
        story.repair(errors_table=f"{story.dataset}.elsewhere")
    story.run_id, loaded = "other", story.results
    story.prepare(rows(3))
    assert loaded == story.results
    with pytest.raises(SourceError, match="has 3 rows, but 0 of them"):
        story.repair()


def test_a_round_is_no_batch_to_repair(in_files: Story) -> None:
    """Every round repairs the first one."""
    story = in_files
    story.cloud.knobs(row_error_rate=1.0)
    story.prepare(rows(3))
    story.go()
    story.repair()
    story.batches[0] = story.batches[1]
    with pytest.raises(ConfigurationError, match="wants what prepare returned"):
        story.repair(2)


def test_request_files_that_are_not_those_prepared_are_not_sent(in_files: Story) -> None:
    """Nobody can say what those rows asked."""
    story = in_files
    story.cloud.knobs(row_error_rate=1.0)
    story.prepare(rows(3))
    story.go()
    story.storage.write(GcsUri.parse(story.manifest().parts[0].uri), b"{}\n")
    with pytest.raises(SourceError, match="not what was prepared"):
        story.repair()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"round": 0}, "round=0"),
        ({"round": 10}, "round=10"),
        ({"round": True}, "round=True"),
        ({"max_rows": 0}, "max_rows=0"),
        ({"resume": "False"}, "resume='False' is neither"),
        ({"max_cost_usd": "much"}, "max_cost_usd='much'"),
        ({"max_cost_usd": -1}, "max_cost_usd=-1"),
        ({"policy": {"truncated": "twice"}}, "policy="),
        ({"price": {"in": 1}}, "price="),
    ],
)
def test_arguments_that_mean_nothing_are_refused_when_the_dag_is_read(
    given: dict[str, Any], said: str
) -> None:
    """Before any task runs."""
    with pytest.raises(ConfigurationError, match=said):
        GeminiBatchRepairOperator(task_id="repair", batch=[], results_table="d.t", **given)
