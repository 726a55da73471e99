"""gemini_batch(): how it wires its tasks, and what it refuses when the DAG is parsed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, Asset, TaskGroup, task, task_group
from airflow.sdk.exceptions import AirflowException
from airflow.serialization.serialized_objects import DagSerialization

from airflow_batch_gemini import GeminiTemplate
from airflow_batch_gemini.batch.report import newest
from airflow_batch_gemini.operators.prepare import GeminiBatchPrepareOperator
from airflow_batch_gemini.task_groups.gemini_batch import GeminiBatchGroup, gemini_batch

JOB: dict[str, Any] = {
    "template": GeminiTemplate(prompt="{text}"),
    "model": "gemini-3.5-flash",
    "location": "us-central1",
    "work_uri": "gs://my-bucket/gemini",
}
CALL = {**JOB, "sql": "SELECT 1", "results_table": "p.d.t"}
BATCH = {"batch_id": "b", "workspace": "gs://b/w", "rows": 12_345, "size": 6_700_000, "parts": 2, "part": 0}


@pytest.fixture
def dag() -> Iterator[DAG]:
    """A DAG to wire in."""
    with DAG("dag", schedule=None) as made:
        yield made


def wired(dag: DAG) -> dict[str, list[str]]:
    """Each task and what it waits for."""
    return {found.task_id: sorted(found.upstream_task_ids) for found in dag.tasks}


def test_one_call_wires_the_four_tasks(dag: DAG) -> None:
    """The job's tasks are mapped over parts, and whatever comes after the group gets the report."""
    group = gemini_batch(**CALL)
    assert wired(dag) == {
        "gemini_batch.prepare": [],
        "gemini_batch.submit": ["gemini_batch.prepare"],
        "gemini_batch.wait": ["gemini_batch.submit"],
        "gemini_batch.load": ["gemini_batch.prepare", "gemini_batch.wait"],
    }
    mapped = [name for name in wired(dag) if dag.get_task(name).is_mapped]
    assert mapped == ["gemini_batch.submit", "gemini_batch.wait"]
    assert group.output.operator is dag.get_task("gemini_batch.load")
    assert group["prepare"] is dag.get_task("gemini_batch.prepare")


def test_options_reach_the_tasks_they_are_meant_for(dag: DAG) -> None:
    """Those all share go to all; what a task's own dict says wins."""
    gemini_batch(
        **CALL,
        group_id="nightly",
        errors_table="p.d.bad",
        project_id="payer",
        price={"input": 1, "output": 2},
        gcp_conn_id="ours",
        dedupe=True,
        submit={"labels": {"team": "a"}},
        wait={"poll_interval": 7, "gcp_conn_id": "theirs"},
        load={"deferrable": True, "project_id": "landlord"},
        default_args={"retries": 5},
    )
    prepare, load = dag.get_task("nightly.prepare"), dag.get_task("nightly.load")
    submit, wait = dag.get_task("nightly.submit"), dag.get_task("nightly.wait")
    assert (prepare.dedupe, prepare.project_id, prepare.results_table) == (True, "payer", None)
    assert (load.project_id, load.deferrable) == ("landlord", True)
    assert prepare.price == load.price == {"input": 1, "output": 2}
    assert (load.results_table, load.errors_table) == ("p.d.t", "p.d.bad")
    assert submit.partial_kwargs["labels"] == {"team": "a"}
    assert wait.partial_kwargs["poll_interval"] == 7
    told = [prepare.gcp_conn_id, submit.partial_kwargs["gcp_conn_id"], load.gcp_conn_id]
    assert (told, wait.partial_kwargs["gcp_conn_id"]) == (["ours"] * 3, "theirs")
    assert {found.retries for found in dag.tasks} == {5}


def test_what_is_not_said_comes_from_default_args() -> None:
    """Of the DAG or of the group, as for any task; only what the call says hides them."""
    defaults = {
        "gcp_conn_id": "ours",
        "impersonation_chain": "a@b",
        "project_id": "payer",
        "errors_table": "p.d.bad",
    }
    with DAG("dag", schedule=None, default_args=defaults) as dag:
        gemini_batch(**CALL, rounds=1, teardown=True)
        gemini_batch(**CALL, group_id="b", default_args={"gcp_conn_id": "group"})
        gemini_batch(**CALL, group_id="c", gcp_conn_id="call")
    prepare, submit, wait = (dag.get_task(f"gemini_batch.{name}") for name in ("prepare", "submit", "wait"))
    load, repair, cancel = (dag.get_task(f"gemini_batch.{name}") for name in ("load", "repair_1", "cancel"))
    made = [one.unmap({name: "x"}) for one, name in ((submit, "batch"), (wait, "job_name"))]
    assert [one.gcp_conn_id for one in (prepare, *made, load, repair, cancel)] == ["ours"] * 6
    assert [one.impersonation_chain for one in (prepare, *made, load, repair, cancel)] == ["a@b"] * 6
    assert (prepare.project_id, load.project_id, load.errors_table) == ("payer", "payer", "p.d.bad")
    assert [dag.get_task(f"{name}.load").gcp_conn_id for name in "bc"] == ["group", "call"]


@pytest.mark.parametrize("where", ["dag", "parent", "group"])
@pytest.mark.parametrize(
    ("defaults", "said"),
    [({"poll_interval": 0}, "poll_interval=0 is no pause"), ({"on_finished": "x"}, "on_finished='x' wants")],
)
def test_default_args_are_judged_with_the_dag_file(where: str, defaults: dict[str, Any], said: str) -> None:
    """Mapped tasks take them too, and would tell only once they run."""
    given = {one: defaults if one == where else {} for one in ("dag", "parent", "group")}
    with (
        pytest.raises(AirflowException, match=said),
        DAG("dag", schedule=None, default_args=given["dag"]),
        TaskGroup("parent", default_args=given["parent"]),
    ):
        gemini_batch(**CALL, default_args=given["group"])


def test_what_other_tasks_say_reaches_the_mapped_ones(dag: DAG) -> None:
    """They follow the task that says it, and nothing else does."""

    @task
    def said() -> Any: ...

    gemini_batch(
        **CALL,
        max_cost_usd=said(),
        submit={"labels": {"team": said()}},
        wait={"gcp_conn_id": said(), "poll_interval": 7},
    )
    assert wired(dag)["gemini_batch.prepare"] == ["said"]
    assert "said__1" in wired(dag)["gemini_batch.submit"]
    assert "said__2" in wired(dag)["gemini_batch.wait"]
    assert dag.get_task("said__2").downstream_task_ids == {"gemini_batch.wait"}
    with pytest.raises(AirflowException, match="poll_interval=0"):
        gemini_batch(**CALL, group_id="b", wait={"gcp_conn_id": said(), "poll_interval": 0})


def test_an_incremental_batch_looks_into_the_table_it_lands_in(dag: DAG) -> None:
    """It is named once."""
    gemini_batch(**CALL, incremental=True)
    assert dag.get_task("gemini_batch.prepare").results_table == "p.d.t"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"modle": "m"}, r"gemini_batch\(\) sets modle: .*did you mean model\?"),
        ({"task_id": "mine"}, r"gemini_batch\(\) sets task_id: the group does that"),
        ({"submit": {"on_finish": "adopt"}}, "submit= sets on_finish: .*did you mean on_finished"),
        ({"submit": {"part": 1}}, "submit= sets part: the group does that"),
        ({"submit": {"on_finished": "again"}}, "on_finished='again' wants adopt or rerun"),
        ({"wait": {"pol_interval": 3}}, "wait= sets pol_interval: .*did you mean poll_interval"),
        ({"wait": {"job_name": "x"}}, "wait= sets job_name: the group does that"),
        ({"wait": {"on_timeout": "cancell"}}, "on_timeout='cancell' wants leave or cancel"),
        ({"wait": {"cancel_on_kill": True, "deferrable": False}}, "cancel_on_kill= and start_from_trigger="),
        ({"load": {"batchdate": "x"}}, "load= sets batchdate: .*did you mean batch_date"),
        ({"load": {"results_table": "x"}}, "load= sets results_table: the group does that"),
        ({"load": {"hold": True}}, "load= sets hold: the group does that"),
        ({"rounds": 1, "load": {"max_failed_rate": 7}}, "max_failed_rate=7 is no share"),
        ({"load": {"max_corrupt_lines": -1}}, "max_corrupt_lines=-1"),
        ({"rounds": 1, "repair": {"polcy": {}}}, "repair= sets polcy: .*did you mean policy"),
        ({"rounds": 1, "repair": {"round": 3}}, "repair= sets round: the group does that"),
        ({"rounds": 1, "repair": {"policy": {"invalid": "pray"}}}, "pray"),
        ({"repair": {"max_rows": 3}}, "repair= is for rounds=, and there are none"),
        ({"resume": True}, "resume= is for rounds=, and there are none"),
        ({"rounds": 10}, "rounds=10 is not a number from 0 to 9"),
        ({"rounds": -1}, "rounds=-1 is not a number"),
        ({"rounds": True}, "rounds=True is not a number"),
        ({"approval": {"subjct": "x"}}, "approval= sets subjct: .*did you mean subject"),
        ({"approval": {"options": ["a"]}}, "approval= sets options: the group does that"),
        ({"dedupe": True, "on_lint": "pass"}, "on_lint='pass' is none of"),
        ({"rows": list}, "Rows come either from"),
        ({"batch": "{{ ti.xcom_pull() }}"}, "batch= wants the output of a prepare task"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_an_error_of_the_dag_file(dag: DAG, options: Any, said: str) -> None:
    """A mapped task would tell only once it runs, when the batch has been paid for."""
    with pytest.raises((AirflowException, TypeError), match=said):
        gemini_batch(**{**CALL, **options})


def test_an_argument_that_is_missing_is_named(dag: DAG) -> None:
    """As Airflow does for an operator."""
    with pytest.raises(TypeError, match="missing keyword argument 'model'"):
        gemini_batch(**{name: value for name, value in CALL.items() if name != "model"})


def test_a_batch_from_outside_begins_with_submit(dag: DAG) -> None:
    """Arguments of prepare would be lost, so they are refused; the prepare task is not the group's."""
    prepare = GeminiBatchPrepareOperator(task_id="mine", sql="SELECT 1", **JOB)
    gemini_batch(batch=prepare.output, results_table="p.d.t", approval=True)
    assert wired(dag)["gemini_batch.submit"] == ["gemini_batch.approve", "mine"]
    assert wired(dag)["gemini_batch.load"] == ["gemini_batch.wait", "mine"]
    assert "task_ids='mine'" in dag.get_task("gemini_batch.approve").body
    with pytest.raises(AirflowException, match="prepared already: model belong"):
        gemini_batch(batch=prepare.output, results_table="p.d.t", model="m", group_id="other")


def test_several_batches_are_not_taken_for_one(dag: DAG) -> None:
    """Each would be paid for, and no load could land them."""

    @task.gemini_batch(**JOB)
    def letters(day: str) -> Iterator[dict[str, str]]:
        yield {"key": day, "text": "x"}

    @task_group
    def each(day: str) -> Any:
        return letters(day)

    @task_group
    def whole(day: str) -> None:
        gemini_batch(batch=letters(day), results_table="p.d.t")

    each.expand(day=["a", "b"])
    for name, batch in (("a", letters.expand(day=["a", "b"])), ("b", dag.get_task("each.letters").output)):
        with pytest.raises(AirflowException, match="several batches"):
            gemini_batch(batch=batch, results_table="p.d.t", group_id=name)
    whole.expand(day=["a", "b"])
    assert wired(dag)["whole.gemini_batch.submit"] == ["whole.letters"]


@pytest.mark.parametrize("inside", [True, False])
def test_in_a_mapped_group_a_batch_is_found_where_it_was_prepared(dag: DAG, inside: bool) -> None:
    """By the person who is asked, and by a wait that begins in the triggerer."""

    @task.gemini_batch(**JOB)
    def letters() -> Iterator[dict[str, str]]:
        yield {}

    @task_group
    def each(day: str, batch: Any) -> None:
        gemini_batch(
            batch=letters() if batch is None else batch,
            results_table=day,
            approval=True,
            wait={"start_from_trigger": True},
        )

    each.partial(batch=None if inside else letters()).expand(day=["p.d.a", "p.d.b"])
    found = "ti.map_index" if inside else "-1"
    assert f"letters', map_indexes={found})" in dag.get_task("each.gemini_batch.approve").body
    args = dag.get_task("each.gemini_batch.wait").start_trigger_args
    assert "map_indexes=ti.map_index) }}" in args.trigger_kwargs["job_name"]


@pytest.mark.parametrize("mapped", [True, False])
def test_in_a_mapped_group_no_rule_lets_submit_run_over_a_rejection(dag: DAG, mapped: bool) -> None:
    """Airflow itself keeps it from that elsewhere."""

    @task_group(default_args={"trigger_rule": "none_failed"})
    def each(uri: str) -> None:
        gemini_batch(**JOB, source_uri=uri, results_table="p.d.t", approval=True)

    if not mapped:
        each("gs://my-bucket/a")
        return
    with pytest.raises(AirflowException, match=r"trigger_rule='none_failed' .* would send"):
        each.expand(uri=["gs://my-bucket/a"])


def test_in_a_mapped_group_nothing_is_mapped_again(dag: DAG) -> None:
    """Airflow knows no mapping within a mapping; a batch has one part there."""

    @task_group
    def each(uri: str) -> None:
        gemini_batch(**JOB, source_uri=uri, results_table="p.d.t")

    each.expand(uri=["gs://my-bucket/a", "gs://my-bucket/b"])
    assert not any(found.is_mapped for found in dag.tasks)
    assert len(dag.tasks) == 4


def test_two_groups_live_in_one_dag(dag: DAG) -> None:
    """Under different names."""
    gemini_batch(**CALL, group_id="a")
    gemini_batch(**CALL, group_id="b")
    assert {name.partition(".")[0] for name in wired(dag)} == {"a", "b"}


def test_rounds_hang_one_after_the_other(dag: DAG) -> None:
    """Each is chosen from the first batch once the round before has landed; the last word has one task."""
    group = gemini_batch(**CALL, rounds=2, repair={"max_rows": 5})
    found = {name.removeprefix("gemini_batch."): upstream for name, upstream in wired(dag).items()}
    for suffix, before in (("_1", "load"), ("_2", "load_1")):
        assert found[f"repair{suffix}"] == [f"gemini_batch.{before}", "gemini_batch.prepare"]
        assert found[f"submit{suffix}"] == [f"gemini_batch.repair{suffix}"]
        assert found[f"wait{suffix}"] == [f"gemini_batch.submit{suffix}"]
        assert found[f"load{suffix}"] == [f"gemini_batch.repair{suffix}", f"gemini_batch.wait{suffix}"]
    assert found["report"] == [f"gemini_batch.load{suffix}" for suffix in ("", "_1", "_2")]
    assert group.output.operator is dag.get_task("gemini_batch.report")
    repairs = [dag.get_task(f"gemini_batch.repair_{number}") for number in (1, 2)]
    assert [(one.round, one.max_rows, one.results_table) for one in repairs] == [
        (1, 5, "p.d.t"),
        (2, 5, "p.d.t"),
    ]


GATED = {
    "max_failed_rate": 0.01,
    "deferrable": True,
    "retries": 4,
    "max_corrupt_lines": 2,
    "batch_date": "{{ ds }}",
}


def test_with_a_gate_nothing_is_published_before_the_last_round_is_judged(dag: DAG) -> None:
    """The loads hold their rows back and the repairs choose from them; one task publishes, in the place of report."""
    group = gemini_batch(**CALL, rounds=2, project_id="payer", load={**GATED, "trigger_rule": "none_skipped"})
    found = {name.removeprefix("gemini_batch."): dag.get_task(name) for name in wired(dag)}
    assert [found[f"load{n}"].hold for n in ("", "_1", "_2")] == [True] * 3
    assert [found[f"load{n}"].max_failed_rate for n in ("", "_1", "_2")] == [None] * 3
    assert [found[f"load{n}"].max_corrupt_lines for n in ("", "_1", "_2")] == [2] * 3
    assert (found["repair_1"].hold, found["repair_2"].hold) == (True, True)
    publish = found["publish"]
    assert (publish.max_failed_rate, publish.max_invalid_rate, publish.results_table) == (0.01, None, "p.d.t")
    assert (publish.deferrable, publish.retries, publish.project_id) == (True, 4, "payer")
    assert (publish.trigger_rule, found["load"].trigger_rule) == (
        "none_failed_min_one_success",
        "none_skipped",
    )
    upstream = {name.removeprefix("gemini_batch.") for name in publish.upstream_task_ids}
    assert upstream == {"prepare", "load", "load_1", "load_2"}
    assert group.output.operator is publish
    assert "report" not in found


def test_without_rounds_the_load_itself_is_judged(dag: DAG) -> None:
    """It holds nothing back."""
    gemini_batch(**CALL, load=GATED)
    load = dag.get_task("gemini_batch.load")
    assert (load.hold, load.max_failed_rate) == (False, 0.01)
    assert "gemini_batch.publish" not in wired(dag)


@pytest.mark.parametrize(
    ("options", "last"),
    [
        ({}, "load"),
        ({"rounds": 2}, "report"),
        ({"rounds": 2, "load": {"max_invalid_rate": 0.5}}, "publish"),
    ],
)
@pytest.mark.parametrize("several", [False, True])
def test_an_asset_is_told_of_by_the_last_task_alone(
    dag: DAG, options: dict[str, Any], last: str, several: bool
) -> None:
    """A DAG that waits for it runs once a batch, not once a round."""
    asset = Asset("labels")
    load = {**options.get("load", {}), "outlets": [asset] if several else asset}
    gemini_batch(**CALL, **{**options, "load": load})
    assert [found.task_id for found in dag.tasks if found.outlets] == [f"gemini_batch.{last}"]
    assert dag.get_task(f"gemini_batch.{last}").outlets == [asset]


def test_the_rounds_resume_jobs_where_that_is_wanted(dag: DAG) -> None:
    """What the repair's own dict says wins."""
    gemini_batch(**CALL, rounds=2, resume=True)
    gemini_batch(**CALL, rounds=1, resume=True, repair={"resume": False}, group_id="other")
    gemini_batch(**CALL, rounds=1, group_id="plain")
    names = ["gemini_batch.repair_1", "gemini_batch.repair_2", "other.repair_1", "plain.repair_1"]
    assert [dag.get_task(name).resume for name in names] == [True, True, False, False]


@pytest.mark.parametrize(
    ("reports", "last"),
    [
        ([{"n": 0}, None, None], {"n": 0}),
        ([{"n": 0}, {"n": 1}, None], {"n": 1}),
        ([{"n": 0}, {"n": 1}, {"n": 2}], {"n": 2}),
    ],
)
def test_the_report_is_that_of_the_last_round_that_was_not_skipped(reports: Any, last: Any) -> None:
    """Airflow hands over nothing for a task that was skipped."""
    assert newest(reports) == last


def of_round(number: int, *, created: str, ended: str, loaded: str) -> dict[str, Any]:
    """A report, with the minutes at which its round came to which stage."""
    times = {"first_job_created": created, "last_job_ended": ended, "loaded": loaded}
    return {
        "round": number,
        "times": {name: f"2026-09-01T10:{time}:00+00:00" for name, time in times.items()},
    }


FIRST = of_round(0, created="01", ended="02", loaded="03")
SECOND = of_round(1, created="04", ended="05", loaded="06")
THIRD = of_round(2, created="07", ended="08", loaded="09")


ANEW = of_round(0, created="10", ended="11", loaded="12")


@pytest.mark.parametrize(
    ("reports", "last"),
    [
        pytest.param([FIRST, SECOND, THIRD], 2, id="as they came"),
        pytest.param([ANEW, SECOND, THIRD], 0, id="the first was bought anew"),
        pytest.param([FIRST, of_round(1, created="10", ended="11", loaded="12"), THIRD], 1, id="the second was"),
        pytest.param([{**FIRST, "times": {**FIRST["times"], "loaded": ANEW["times"]["loaded"]}}, SECOND], 1,
                     id="the first was loaded again"),
        pytest.param([ANEW, of_round(1, created="04", ended="05", loaded="13")], 1, id="an older job was adopted"),
    ],
)  # fmt: skip
def test_what_a_skipped_task_returned_before_it_was_cleared_is_no_report(
    reports: list[dict[str, Any]], last: int
) -> None:
    """Airflow hands it over all the same."""
    assert newest(reports)["round"] == last


@pytest.mark.parametrize(
    "options", [{}, {"approval": True}, {"teardown": True}, {"teardown": True, "rounds": 1}]
)
def test_what_follows_the_group_follows_the_last_report(dag: DAG, options: Any) -> None:
    """Neither a teardown nor a gate is between them, and the group comes back from Airflow's database."""

    @task
    def after() -> None: ...

    group = gemini_batch(**CALL, **options)
    assert isinstance(group, GeminiBatchGroup)
    group >> after()
    assert wired(dag)["after"] == [f"gemini_batch.{'report' if 'rounds' in options else 'load'}"]
    stored = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert set(stored.task_dict) == set(dag.task_dict)


def test_the_teardown_runs_whatever_became_of_the_waits(dag: DAG) -> None:
    """But not when nothing was submitted. Clearing a later task submits again, which adopts; it prepares nothing."""
    gemini_batch(**CALL, teardown=True)
    cancel = dag.get_task("gemini_batch.cancel")
    assert cancel.is_teardown
    assert {"gemini_batch.wait", "gemini_batch.load", "gemini_batch.submit"} <= set(cancel.upstream_task_ids)
    assert [found.task_id for found in dag.tasks if found.is_setup] == ["gemini_batch.submit"]


@pytest.fixture
def body(dag: DAG) -> Callable[[Any], str]:
    """What the gate shows of a batch that prepare returned."""
    gemini_batch(**CALL, approval=True)
    approve = dag.get_task("gemini_batch.approve")

    def shown(returned: Any) -> str:
        ti = SimpleNamespace(map_index=-1, xcom_pull=lambda task_ids, map_indexes: returned)
        return str(approve.render_template(approve.body, {"ti": ti}))

    return shown


UNKNOWN = {"usd_low": None, "usd_expected": None, "usd_high": None, "canary_rows": 0, "canary_failures": 0}


def test_the_gate_shows_how_much_it_is(body: Callable[[Any], str]) -> None:
    """A cost that nobody knows is not said to be nothing."""
    shown = body([{**BATCH, **UNKNOWN}, {**BATCH, **UNKNOWN, "part": 1}])
    assert shown.startswith(
        "**12,345** requests in 2 jobs, 6.7 MB.\n\n| cost: low | expected | high |\n|---|---|---|\n"
    )
    assert "\n| unknown | unknown | unknown |\n\nThe requests" in shown
    assert shown.endswith("under `gs://b/w/requests/`.")


def test_the_gate_shows_what_it_will_cost_and_how_a_canary_went(body: Callable[[Any], str]) -> None:
    """And where to read what the canary answered."""
    figures = {"usd_low": 1.5, "usd_expected": 2, "usd_high": 3.25, "canary_rows": 20, "canary_failures": 1}
    shown = body([{**BATCH, **figures}])
    assert "\n| 1.5000 USD | 2.0000 USD | 3.2500 USD |\n\n" in shown
    assert "Of 20 rows that were asked beforehand, 1 failed." in shown
    assert "beforehand, none failed." in body([{**BATCH, **figures, "parts": 1, "canary_failures": 0}])
    assert "`gs://b/w/canary/`" in shown


def test_the_gate_says_what_it_is_told_to(dag: DAG) -> None:
    """Subject, body and whatever else Airflow's operator takes."""
    gemini_batch(**CALL, approval={"subject": "Pay?", "body": "{{ ds }}", "fail_on_reject": True})
    approve = dag.get_task("gemini_batch.approve")
    assert (approve.subject, approve.body, approve.fail_on_reject) == ("Pay?", "{{ ds }}", True)
