"""What a group does when its job does not end well, or when there is more than one of it."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk import DAG, Asset, task, task_group

from airflow_batch_gemini import GeminiTemplate
from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.exceptions import SourceError
from airflow_batch_gemini.hooks.workspace import WorkspaceHook
from airflow_batch_gemini.local.server import LocalCloud
from airflow_batch_gemini.task_groups.gemini_batch import gemini_batch

pytestmark = [
    pytest.mark.usefixtures("airflow_db"),
    # Airflow's own code warns of its own future; ours is held to no warnings everywhere else.
    pytest.mark.filterwarnings("default"),
]


ROUND = ("submit", "wait", "load")


def rows(name: str = "") -> Iterator[dict[str, str]]:
    """Three rows, called after *name*."""
    for number in range(3):
        yield {"key": f"r{name}{number}", "text": "Say hello."}


@pytest.fixture
def job(bucket: str) -> dict[str, Any]:
    """What every batch here has in common."""
    return {
        "template": GeminiTemplate(prompt="{text}"),
        "model": "gemini-2.5-flash",
        "location": "us-central1",
        "work_uri": f"gs://{bucket}/gemini",
        "default_args": {"retries": 0},
    }


def states(dag: DAG) -> dict[str, set[str]]:
    """Run the DAG and return in which states its tasks ended."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    bag = DagBag(os.devnull)
    bag.bag_dag(dag)
    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(bag, "dags-folder", None)
    found: dict[str, set[str]] = {}
    for ti in dag.test().get_task_instances():
        found.setdefault(ti.task_id.rpartition(".")[2], set()).add(str(ti.state))
    return found


def keys(table: str) -> list[str]:
    """The keys in a table of the local BigQuery."""
    from airflow_batch_gemini.hooks.warehouse import WarehouseHook

    found = WarehouseHook().query_rows(f"SELECT key FROM `{table}`", project="demo", location="us-central1")
    return sorted(row["key"] for row in found)


@pytest.mark.parametrize("teardown", [True, False])
def test_a_teardown_cancels_what_still_runs_after_the_wait(
    cloud: LocalCloud, bucket: str, dataset: str, job: dict[str, Any], teardown: bool
) -> None:
    """Of every part; without it the jobs run on, and in both cases the run has failed."""
    cloud.knobs(pace="seconds:600")
    with DAG(f"group_teardown_{teardown}", schedule=None) as dag:
        gemini_batch(
            **job,
            rows=rows,
            max_rows_per_part=2,
            results_table=f"{dataset}.results",
            teardown=teardown,
            wait={"timeout": 1, "poll_interval": 0.5},
        )
    ended = states(dag)
    assert ended["wait"] == {"failed"}
    assert ended["load"] == {"upstream_failed"}
    assert ended.get("cancel") == ({"success"} if teardown else None)
    ledgers = [
        found for found in WorkspaceHook().list(GcsUri.parse(f"gs://{bucket}")) if "/ledger/" in found.uri
    ]
    kept = [WorkspaceHook().read(GcsUri.parse(found.uri)) for found in ledgers if found.uri.endswith("json")]
    said = [json.loads(stored.data)["state"] for stored in kept if stored]
    assert said == ["CANCELLED" if teardown else "SUBMITTED"] * 2
    # What runs on is to have ended before another test counts.
    cloud.knobs(pace="immediate")
    cloud.settle()


def test_in_a_mapped_group_each_instance_is_a_batch(
    cloud: LocalCloud, dataset: str, job: dict[str, Any]
) -> None:
    """Their prepare tasks have folders of their own, and all rows land in one table."""
    with DAG("group_mapped", schedule=None) as dag:

        @task_group
        def each(name: str) -> None:
            gemini_batch(**job, rows=rows, op_kwargs={"name": name}, results_table=f"{dataset}.results")

        @task
        def which() -> list[str]:
            return ["a", "b"]

        each.expand(name=which())
    billed = cloud.stats()["billed_rows"]
    assert set().union(*states(dag).values()) == {"success"}
    assert keys(f"{dataset}.results") == [f"r{name}{n}" for name in "ab" for n in range(3)]
    assert cloud.stats()["billed_rows"] - billed == 6


@pytest.fixture(params=["Approve", "Reject"])
def answer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a person says as soon as the question is asked."""
    said = str(request.param)
    event = {
        "chosen_options": [said],
        "params_input": {},
        "responded_at": dt.datetime(2026, 11, 29, tzinfo=dt.UTC),
        "responded_by_user": None,
    }

    def execute(operator: Any, context: Any) -> Any:
        return operator.execute_complete(context, event)

    monkeypatch.setattr("airflow.providers.standard.operators.hitl.HITLOperator.execute", execute)
    return said


@pytest.mark.parametrize("mapped", [True, False])
def test_a_batch_is_paid_for_as_it_was_answered(
    cloud: LocalCloud, dataset: str, job: dict[str, Any], mapped: bool, answer: str
) -> None:
    """In a mapped group, too, where Airflow itself skips nothing for a rejection."""
    with DAG(f"group_{answer}_{mapped}", schedule=None) as dag:

        @task_group
        def each(name: str) -> None:
            gemini_batch(
                **job,
                rows=rows,
                op_kwargs={"name": name},
                approval=True,
                results_table=f"{dataset}.results",
            )

        if mapped:
            each.expand(name=["a", "b"])
        else:
            each("a")
    billed = cloud.stats()["billed_rows"]
    ended = states(dag)
    expected = "success" if answer == "Approve" else "skipped"
    assert [ended[name] for name in ("prepare", *ROUND)] == [{"success"}, *[{expected}] * 3]
    asked = 6 if mapped else 3
    assert cloud.stats()["billed_rows"] - billed == (asked if answer == "Approve" else 0)


def test_where_every_row_was_answered_before_the_whole_group_is_skipped(
    cloud: LocalCloud, dataset: str, job: dict[str, Any]
) -> None:
    """Nothing is sent a second time, a teardown does not fail over it, and what comes after is skipped too."""

    @task
    def after() -> None: ...

    for number, state in enumerate(("success", "skipped")):
        with DAG(f"group_incremental_{number}", schedule=None) as dag:
            group = gemini_batch(
                **job, rows=rows, incremental=True, teardown=True, results_table=f"{dataset}.results"
            )
            group >> after()
        billed = cloud.stats()["billed_rows"]
        assert set().union(*states(dag).values()) == {state}
        assert cloud.stats()["billed_rows"] - billed == (3 if state == "success" else 0)


def rounds(job: dict[str, Any], dataset: str, name: str, **options: Any) -> DAG:
    """A DAG of a group with two rounds of repair over 40 rows, and a task after it that gets its report."""

    def forty() -> Iterator[dict[str, str]]:
        yield from ({"key": f"r{number}", "text": f"Say {number}."} for number in range(40))

    @task
    def after(report: dict[str, Any]) -> dict[str, Any]:
        return report

    with DAG(name, schedule=None) as dag:
        group = gemini_batch(
            **job,
            rows=forty,
            rounds=2,
            results_table=f"{dataset}.results",
            wait={"poll_interval": 0.5},
            **options,
        )
        after(group.output)
    return dag


def test_rounds_ask_again_and_bill_only_what_is_asked(
    cloud: LocalCloud, dataset: str, job: dict[str, Any]
) -> None:
    """A third of the rows fails in each job: after two rounds what is left is told, and all rows are in one table."""
    cloud.knobs(row_error_rate=0.34)
    before = cloud.stats()["billed_rows"]
    dag = rounds(job, dataset, "group_rounds")
    ended = states(dag)
    assert set().union(*ended.values()) == {"success"}
    assert {f"{name}{suffix}" for name in ROUND for suffix in ("", "_1", "_2")} <= ended.keys()
    good, bad = keys(f"{dataset}.results"), keys(f"{dataset}.results_errors")
    assert len(good) > 34
    assert sorted(good + bad) == sorted(f"r{number}" for number in range(40))
    # A row that failed is not billed, so what was billed is what was answered.
    assert cloud.stats()["billed_rows"] - before == len(good)


def test_where_nothing_deserves_it_the_rounds_are_skipped_and_nothing_else(
    cloud: LocalCloud, dataset: str, job: dict[str, Any]
) -> None:
    """What comes after the group runs, and gets the report of the only round there was."""
    ended = states(rounds(job, dataset, "group_rounds_calm", teardown=True))
    skipped = {name for name, states_of in ended.items() if states_of == {"skipped"}}
    again = {f"{name}_{number}" for name in ("repair", *ROUND, "cancel") for number in (1, 2)}
    assert skipped == again
    assert {name for name, states_of in ended.items() if states_of == {"success"}} == ended.keys() - again


def test_a_round_that_cannot_be_submitted_fails_what_comes_after(
    cloud: LocalCloud, dataset: str, job: dict[str, Any]
) -> None:
    """It is no skip; what the first round landed stays."""
    cloud.knobs(row_error_rate=0.34)
    ended = states(rounds(job, dataset, "group_rounds_refused", repair={"model": "gemini-9-imaginary"}))
    assert ended["load"] == {"success"}
    assert ended["submit_1"] == {"failed"}
    assert ended["report"] == ended["after"] == ended["repair_2"] == {"upstream_failed"}
    assert 0 < len(keys(f"{dataset}.results")) < 40


def test_a_failed_job_is_resumed_where_that_is_wanted(
    cloud: LocalCloud, dataset: str, job: dict[str, Any]
) -> None:
    """The second job goes on with what the first one wrote, and dies of it too; no row is billed twice."""
    cloud.knobs(fail_after_rows=20, unfinished_lines=True)
    billed = cloud.stats()["billed_rows"]
    dag = rounds(job, dataset, "group_rounds_resumed", load={"trigger_rule": "none_skipped"}, resume=True)
    ended = states(dag)
    assert ended["repair_1"] == ended["submit_1"] == ended["load_1"] == ended["after"] == {"success"}
    assert ended["wait"] == ended["wait_1"] == {"failed"}
    good, bad = keys(f"{dataset}.results"), keys(f"{dataset}.results_errors")
    assert len(good) > 20
    assert sorted(good + bad) == sorted(f"r{number}" for number in range(40))
    assert cloud.stats()["billed_rows"] - billed == len(good)


def test_what_a_failed_job_answered_is_landed_when_the_load_is_told_not_to_mind(
    cloud: LocalCloud, dataset: str, job: dict[str, Any]
) -> None:
    """Each job dies after ten rows: three of them answer thirty, none twice, and the rest is told as missing."""
    cloud.knobs(fail_after_rows=10)
    billed = cloud.stats()["billed_rows"]
    ended = states(rounds(job, dataset, "group_rounds_dead", load={"trigger_rule": "none_skipped"}))
    assert ended["wait"] == ended["wait_1"] == ended["wait_2"] == {"failed"}
    assert ended["load"] == ended["load_2"] == ended["after"] == {"success"}
    good, bad = keys(f"{dataset}.results"), keys(f"{dataset}.results_errors")
    assert (len(good), len(bad)) == (30, 10)
    assert cloud.stats()["billed_rows"] - billed == 30


LABELS = Asset("labels")


def events(dag: DAG) -> list[dict[str, Any]]:
    """What was told of the asset by the runs of a DAG."""
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        found = session.scalars(select(AssetEvent).where(AssetEvent.source_dag_id == dag.dag_id))
        return [dict(one.extra) for one in found]


@pytest.mark.parametrize("gate", [{}, {"max_failed_rate": 0.2}])
def test_rounds_tell_of_their_asset_once_and_of_all_rows(
    cloud: LocalCloud, dataset: str, job: dict[str, Any], gate: dict[str, float]
) -> None:
    """A third of the rows fails in each job, which a gate at the first load would not let through."""
    cloud.knobs(row_error_rate=0.34)
    before = cloud.stats()["billed_rows"]
    dag = rounds(job, dataset, f"group_rounds_told_{len(gate)}", load={"outlets": [LABELS], **gate})
    ended = states(dag)
    assert set().union(*ended.values()) == {"success"}
    assert ("publish" in ended) == bool(gate)
    good, bad = keys(f"{dataset}.results"), keys(f"{dataset}.results_errors")
    assert sorted(good + bad) == sorted(f"r{number}" for number in range(40))
    [told] = events(dag)
    assert told["standing"]["succeeded"] == len(good) == cloud.stats()["billed_rows"] - before
    assert told["round"] == 2


def test_a_gate_that_the_last_round_does_not_pass_publishes_no_round(
    cloud: LocalCloud, dataset: str, job: dict[str, Any]
) -> None:
    """Whoever reads the tables sees none of it, and nobody is told."""
    cloud.knobs(blocked_rate=0.5)
    dag = rounds(job, dataset, "group_rounds_judged", load={"outlets": [LABELS], "max_failed_rate": 0.01})
    ended = states(dag)
    assert (ended["load"], ended["publish"], ended["after"]) == ({"success"}, {"failed"}, {"upstream_failed"})
    assert events(dag) == []
    with pytest.raises(SourceError, match="Not found"):
        keys(f"{dataset}.results")
